"""What a suite's directory was asked for, so that the same can be measured again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_antagonism.errors import DataError
from neuron_antagonism.files import expanded
from neuron_antagonism.suites.directory import MANIFEST, read_json
from neuron_antagonism.suites.spec import Suite

ACCEPTED = "accepted: the directory of a suite, or its manifest.json"

TRUSTED = "trust_remote_code"
"""What no file may switch on."""


@dataclass(frozen=True)
class Asked:
    """What was measured.

    Args:
        suite: its spec.
        models, seeds: the grid.
        tasks: those that there were.
        data: by task, evaluation and training file; only of tasks that had some.
        text: the file of plain text, or None.
        loading: further arguments of `load_model`.
    """

    suite: Suite
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    data: Mapping[str, tuple[str, str | None]]
    text: str | None
    loading: Mapping[str, Any]


def names_manifest(name: str | Path) -> bool:
    """Whether a suite is named by a directory or a manifest, and not by a name or a YAML file."""
    path = expanded(name)
    return path.name == MANIFEST or (path / MANIFEST).is_file()


def asked_in(name: str | Path) -> Asked:
    """What a directory's manifest, or one that is named itself, says was asked for.

    Raises:
        DataError: it is none of a suite, or damaged.
    """
    path = expanded(name)
    file = path if path.name == MANIFEST else path / MANIFEST
    found = read_json(file)
    if not isinstance(found, dict) or not isinstance(found.get("suite"), dict):
        raise DataError(f"{file} is no manifest of a suite; {ACCEPTED}")
    try:
        data = {str(task): (one["source"], one["train"]) for task, one in found["data"].items()}
        loading = {str(key): value for key, value in found["loading"].items() if key != TRUSTED}
        models = tuple(str(model["name"]) for model in found["models"])
        seeds = tuple(int(seed) for seed in found["seeds"])
        tasks = tuple(str(task) for task in found["tasks"])
        text = found["text"]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{file} is damaged ({type(error).__name__}: {error}); {ACCEPTED}") from None
    given = {task: pair for task, pair in data.items() if pair[0] is not None}
    return Asked(Suite.of(found["suite"], str(file)), models, seeds, tasks, given, text, loading)
