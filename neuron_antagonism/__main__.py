"""`python -m neuron_antagonism`."""

from neuron_antagonism.cli.app import main

if __name__ == "__main__":
    main()
