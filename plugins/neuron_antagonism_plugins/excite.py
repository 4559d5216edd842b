"""Excite: a neuron's value is doubled."""

from __future__ import annotations

import neuron_antagonism as na


class Excite(na.Intervention):
    """Doubles chosen neurons."""

    name = "excite"
    scale = 2.0
    reference = "NeuronLLM §3.5"


@na.hookimpl
def neuron_antagonism_interventions() -> list[type[na.Intervention]]:
    """Register the intervention."""
    return [Excite]
