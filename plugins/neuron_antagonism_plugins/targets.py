"""The shipped targets by name."""

from __future__ import annotations

import neuron_antagonism as na
from neuron_antagonism_plugins._targets import Contrast, LetterProbability, LogitDifference, LogOdds, Probability


@na.hookimpl
def neuron_antagonism_targets() -> list[type[na.Target]]:
    """Register the targets."""
    return [LetterProbability, Probability, Contrast, LogOdds, LogitDifference]
