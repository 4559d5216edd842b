"""Writes the figures of runs for TensorBoard, when the environment asks for it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import neuron_antagonism as na
from neuron_antagonism_plugins._tracked import Tracked, asked_for, module

VARIABLE = "NEURON_ANTAGONISM_TENSORBOARD"


class TensorBoard(Tracked):
    """Writes the figures of every run into the directory that NEURON_ANTAGONISM_TENSORBOARD names; unset: does nothing.

    Each run has a directory of its own there: a scalar for each figure, `task/scorer/mode/figure`, and its settings as
    a text. Needs the extra `tensorboard`.
    """

    name = "tensorboard"

    def __init__(self) -> None:
        """Read the variable; a missing package is named here, before a run creates anything."""
        super().__init__()
        self._folder = asked_for(VARIABLE, "a directory")
        self._writer: Any = None
        if self._folder is not None:
            module("tensorboard", VARIABLE, "tensorboard")

    @property
    def on(self) -> bool:
        """Whether a directory is named."""
        return self._folder is not None

    def begin(self, name: str, settings: Mapping[str, str]) -> None:
        """A directory of its own."""
        writers = module("torch.utils.tensorboard", VARIABLE, "tensorboard")
        own = f"{re.sub(r'[^a-zA-Z0-9.-]+', '_', name).strip('_.')[-80:]}-{time.time_ns()}"
        try:
            self._writer = writers.SummaryWriter(str(Path(str(self._folder)).expanduser() / own))
        except OSError as error:
            raise na.UsageError(
                f"can't write to {self._folder}: {error.strerror}; accepted in {VARIABLE}: a writable directory"
            ) from None
        self._writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in settings.items()))

    def log(self, figures: Mapping[str, float]) -> None:
        """A scalar each."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, 0)

    def end(self, *, failed: bool) -> None:
        """What was written is kept."""
        self._writer.close()


@na.hookimpl
def neuron_antagonism_observers() -> list[type[na.Observer]]:
    """Register the observer."""
    return [TensorBoard]
