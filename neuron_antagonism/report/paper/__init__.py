"""The tables and figures of the paper (NeuronLLM), made from the rows of a suite's parts."""
