"""Edits of a run, made again from what it stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.settings import Settings
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import Acting, Choosing, Editor
from neuron_antagonism.units.scores import Scoring


def editor_of(manifest: Mapping[str, Any], neurons: Payload, fits: Payload | None) -> Editor:
    """What makes a run's edits of one scorer's neurons; nothing is fitted again.

    Args:
        manifest: the run's.
        neurons: the unit of the scorer's neurons.
        fits: what interventions learned of them.
    """
    c = RunConfig.of(**manifest["config"])
    strengthen, weaken = (registry().make(Intervention, name, c.options.get(name)) for name in (c.strengthen, c.weaken))
    sizes = Sizes(c.identify, c.select, c.evaluate, c.stratified, c.engine)
    choosing = Choosing(Scoring(sizes, Settings()), c.budget)
    return Acting(choosing, strengthen, weaken, c.positions, c.site).editor(neurons, fits)
