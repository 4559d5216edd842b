"""ACE: additive cross-entropy, the scorer of NeuronLLM."""

from __future__ import annotations

import neuron_antagonism as na
from neuron_antagonism_plugins._targets import LetterProbability


class Ace(na.Scorer):
    """Integrated gradients of the right letter's probability among the four, additively reordered."""

    name = "ace"
    target = LetterProbability()
    reference = "NeuronLLM §3.4, Eqs. 3-5"


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Ace]
