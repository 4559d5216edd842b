"""What experiment trackers are told of a run, whichever they are: settings, and figures by name."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import neuron_antagonism as na

FIGURES = ("acc_after", "com_after", "rac", "rcc", "population_acc", "n_good", "n_bad")


def asked_for(variable: str, what: str) -> str | None:
    """What a variable of the environment says; None where nothing is asked for.

    Raises:
        UsageError: it is empty.
    """
    given = os.environ.get(variable)
    if given is not None and not given.strip():
        raise na.UsageError(f"{variable} is empty; accepted: {what}, or no such variable")
    return given


def module(name: str, variable: str, extra: str) -> Any:
    """A tracker's package, imported only where it is asked for.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise na.UsageError(
            f"{variable} is set, which needs the package {extra} ({error}); accepted: pip install "
            f"'neuron-antagonism[{extra}]', or no such variable"
        ) from None


class Tracked(na.Observer):
    """Turns the events of a run into settings, figures and an end; a tracker says what it does with each."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._left = 0

    @property
    def on(self) -> bool:
        """Whether anything is asked for."""
        return False

    def begin(self, name: str, settings: Mapping[str, str]) -> None:
        """A run begins."""

    def log(self, figures: Mapping[str, float]) -> None:
        """Figures of the run, each named once: task/scorer/mode/figure."""

    def end(self, *, failed: bool) -> None:
        """It is over."""

    def before_run(self, manifest: Mapping[str, Any]) -> None:
        """Model, tasks, scorers, sizes, engine, versions."""
        if not self.on:
            return
        config = manifest["config"]
        settings = {name: str(value) for name, value in config.items() if value not in (None, {}, ())}
        settings |= {"engine": manifest["engine"]["name"], "version": manifest["version"]}
        # a run has no event for its end: its tasks are counted
        self._left = len(config["tasks"])
        self.begin(f"{config['model']} seed {config['seed']}", settings)

    def after_attribution(self, task: str, scorer: str, attribution: na.Attribution) -> None:
        """The completeness error, where there is one."""
        if self.on and attribution.completeness_error is not None:
            self.log({f"{task}/{scorer}/completeness_error": float(attribution.completeness_error)})

    def after_evaluation(self, task: str, results: Mapping[str, Any]) -> None:
        """Accuracy and comprehension, before and under every chosen edit; changes with their intervals."""
        if not self.on:
            return
        before = results["before"]
        figures = {f"{task}/unedited/{name}": float(before[name]) for name in ("acc", "com")}
        for cell in results["cells"]["held-out"]:
            name = f"{task}/{cell['scorer']}/{cell['mode']}"
            figures |= {f"{name}/{figure}": float(cell[figure]) for figure in FIGURES if cell.get(figure) is not None}
            for figure in ("rac", "rcc"):
                for end, value in zip(("low", "high"), cell[f"{figure}_interval"] or (), strict=False):
                    figures[f"{name}/{figure}_{end}"] = float(value)
        self.log(figures)
        self._left -= 1
        if not self._left:
            self.end(failed=False)

    def on_error(self, error: BaseException) -> None:
        """The run ends as failed."""
        if self.on and self._left:
            self._left = 0
            self.end(failed=True)
