"""Logs the settings and figures of runs with Weights & Biases, when the environment asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import neuron_antagonism as na
from neuron_antagonism_plugins._tracked import Tracked, asked_for, module

VARIABLE = "NEURON_ANTAGONISM_WANDB"


class Wandb(Tracked):
    """Logs every run to the Weights & Biases project that NEURON_ANTAGONISM_WANDB names; unset: does nothing.

    Settings are the run's config, figures its summary, `task/scorer/mode/figure`. Its own variables hold, such as
    WANDB_MODE=offline. Needs the extra `wandb`.
    """

    name = "wandb"

    def __init__(self) -> None:
        """Read the variable; a missing package is named here, before a run creates anything."""
        super().__init__()
        self._project = asked_for(VARIABLE, "a project's name")
        self._run: Any = None
        if self._project is not None:
            module("wandb", VARIABLE, "wandb")

    @property
    def on(self) -> bool:
        """Whether a project is named."""
        return self._project is not None

    def begin(self, name: str, settings: Mapping[str, str]) -> None:
        """A run of its own, beside any that the caller's own code has."""
        init = module("wandb", VARIABLE, "wandb").init
        self._run = init(project=self._project, name=name, config=dict(settings), reinit="create_new")

    def log(self, figures: Mapping[str, float]) -> None:
        """The run's summary: each figure is measured once."""
        self._run.summary.update(dict(figures))

    def end(self, *, failed: bool) -> None:
        """Finished or failed."""
        self._run.finish(exit_code=int(failed))


@na.hookimpl
def neuron_antagonism_observers() -> list[type[na.Observer]]:
    """Register the observer."""
    return [Wandb]
