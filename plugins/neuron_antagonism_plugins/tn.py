"""TN: truth neurons, the contrast of right and wrong letters over the whole vocabulary."""

from __future__ import annotations

import neuron_antagonism as na
from neuron_antagonism_plugins._targets import ProbabilityDifference


class Tn(na.Scorer):
    """Integrated gradients of p(right) − mean p(wrong) over the vocabulary, additively reordered."""

    name = "tn"
    target = ProbabilityDifference()
    reference = "Li et al. 2025 (Truth Neurons), as compared in NeuronLLM §4.3"


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Tn]
