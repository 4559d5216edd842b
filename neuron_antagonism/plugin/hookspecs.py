"""The hook specifications and both pluggy markers.

A plugin is an importable module (or object) named by an entry point of the group `neuron_antagonism`. Each hook
is called once, when plugins are first needed; the answers of all plugins are joined and sorted by name. A name
that is taken, by whatever kind, is an error that names both distributions.
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from neuron_antagonism.plugin.base import Intervention, Observer, Scorer, Target, Task

PROJECT = "neuron_antagonism"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def neuron_antagonism_scorers() -> Sequence[type[Scorer] | Scorer]:
    """Scorers to offer by name. Returns: classes (instances are accepted and keep their options)."""
    raise AssertionError("a specification is never called")


@hookspec
def neuron_antagonism_targets() -> Sequence[type[Target] | Target]:
    """Targets to offer by name. Returns: classes or instances."""
    raise AssertionError("a specification is never called")


@hookspec
def neuron_antagonism_tasks() -> Sequence[type[Task] | Task]:
    """Tasks to offer by name. Returns: classes or instances."""
    raise AssertionError("a specification is never called")


@hookspec
def neuron_antagonism_interventions() -> Sequence[type[Intervention] | Intervention]:
    """Interventions to offer by name. Returns: classes (instances are accepted and keep their options)."""
    raise AssertionError("a specification is never called")


@hookspec
def neuron_antagonism_observers() -> Sequence[type[Observer] | Observer]:
    """Observers that watch every run. Returns: classes or instances."""
    raise AssertionError("a specification is never called")
