"""Silence: a neuron's value becomes 0."""

from __future__ import annotations

import neuron_antagonism as na


class Silence(na.Intervention):
    """Sets chosen neurons to 0."""

    name = "silence"
    scale = 0.0
    reference = "NeuronLLM §3.5"


@na.hookimpl
def neuron_antagonism_interventions() -> list[type[na.Intervention]]:
    """Register the intervention."""
    return [Silence]
