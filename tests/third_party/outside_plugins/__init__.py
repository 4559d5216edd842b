"""Plugins for neuron_antagonism that its authors did not write."""
