"""QRNCA: query-relevant neuron cluster attribution, the right letter's probability over the vocabulary."""

from __future__ import annotations

import neuron_antagonism as na
from neuron_antagonism_plugins._targets import VocabularyProbability


class Qrnca(na.Scorer):
    """Integrated gradients of p(right) over the vocabulary, additively reordered."""

    name = "qrnca"
    target = VocabularyProbability()
    reference = "Chen et al. 2025 (QRNCA), as compared in NeuronLLM §4.3"


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Qrnca]
