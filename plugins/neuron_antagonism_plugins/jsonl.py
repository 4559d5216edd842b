"""Appends what happens in a run to a file of JSON lines, when the environment asks for it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import neuron_antagonism as na

VARIABLE = "NEURON_ANTAGONISM_JSONL"
TOP = 10
CELL = ("scorer", "mode", "ratio", "n_good", "n_bad", "rac", "rac_interval", "rcc", "rcc_interval", "failed")


class Jsonl(na.Observer):
    """Appends every event of a run as a JSON line to the file that NEURON_ANTAGONISM_JSONL names; unset: does nothing.

    Each line holds `event` (before_run, after_attribution, after_evaluation or on_error), `time` (ISO 8601, UTC) and
    `run`: model, seed and the time of its start, which tell the runs of one file apart. The file and its directory
    are made if needed; runs append, several at a time too.
    """

    name = "jsonl"

    def __init__(self) -> None:
        """Read the variable; what can't be written is refused here, before a run creates anything."""
        given = os.environ.get(VARIABLE)
        self._path = Path(given).expanduser() if given else None
        self._run: dict[str, Any] = {}
        if self._path is not None:
            _check(self._path)

    def before_run(self, manifest: Mapping[str, Any]) -> None:
        """Tasks and scorers, engine, versions."""
        config = manifest["config"]
        self._run = {"model": config["model"], "seed": config["seed"], "started": _now()}
        self._append(
            "before_run",
            tasks=config["tasks"],
            scorers=config["scorers"],
            engine=manifest["engine"]["name"],
            version=manifest["version"],
        )

    def after_attribution(self, task: str, scorer: str, attribution: na.Attribution) -> None:
        """Target, engine, completeness error, and the strongest neurons as [layer, neuron, score]."""
        self._append(
            "after_attribution",
            task=task,
            scorer=scorer,
            target=attribution.target,
            engine=attribution.engine,
            completeness_error=attribution.completeness_error,
            good=_strongest(attribution, "good"),
            bad=_strongest(attribution, "bad"),
        )

    def after_evaluation(self, task: str, results: Mapping[str, Any]) -> None:
        """Acc and Com before any edit, and what the run's table shows of every scorer and mode."""
        before = results["before"]
        cells = [{name: cell[name] for name in CELL} for cell in results["cells"]["held-out"]]
        self._append("after_evaluation", task=task, acc_before=before["acc"], com_before=before["com"], held_out=cells)

    def on_error(self, error: BaseException) -> None:
        """Type and message."""
        self._append("on_error", error=type(error).__name__, message=str(error))

    def _append(self, event: str, **values: Any) -> None:
        if self._path is None:
            return
        line = json.dumps({"event": event, "time": _now(), "run": self._run, **values})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # unbuffered: one write a line, so that lines of runs side by side don't mix
            with self._path.open("ab", buffering=0) as file:
                file.write(f"{line}\n".encode())
        except OSError as error:
            raise _unwritable(self._path, error.strerror) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _strongest(attribution: na.Attribution, role: str) -> list[tuple[int, int, float]] | None:
    """The strongest neurons of a role; None where the scorer has no such role."""
    if role not in attribution.roles:
        return None
    k = min(TOP, attribution.scores.numel())
    with warnings.catch_warnings():
        # fewer than asked for is no news here: the run reports it
        warnings.simplefilter("ignore", na.AntagonismWarning)
        found = attribution.good(k) if role == "good" else attribution.bad(k)
    return [(*pair, score) for pair, score in zip(found, found.scores.tolist(), strict=True)]


def _check(path: Path) -> None:
    """Refuse a file that can't be appended to, or made; creates nothing."""
    try:
        nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    except OSError as error:
        raise _unwritable(path, error.strerror) from None
    if path.is_dir():
        raise _unwritable(path, "it is a directory")
    if not path.exists() and not nearest.is_dir():
        raise _unwritable(path, f"{nearest} is not a directory")
    if not os.access(nearest, os.W_OK):
        raise _unwritable(path, "no permission")


def _unwritable(path: Path, reason: str | None) -> na.UsageError:
    return na.UsageError(
        f"can't append to {path}: {reason or 'unknown reason'}; accepted in {VARIABLE}: a file that can be written"
    )


@na.hookimpl
def neuron_antagonism_observers() -> list[type[na.Observer]]:
    """Register the observer."""
    return [Jsonl]
