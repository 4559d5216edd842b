"""What a suite's directory was asked for, so that the same can be measured again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_antagonism.errors import DataError
from neuron_antagonism.files import expanded
from neuron_antagonism.suites.directory import MANIFEST, read_json
from neuron_antagonism.suites.spec import Suite, shipped_names

ACCEPTED = "accepted: the directory of a suite, or its manifest.json"

LOADING = ("dtype", "device", "device_map", "load_in_8bit", "load_in_4bit", "revision", "adapter", "chat_template")
"""Arguments of `load_model` that a file may give; it may not switch on the checkpoint's own code."""


class Asked(BaseModel):
    """What was asked for beside the suite, as a manifest has it.

    Args:
        models, seeds, tasks: () = the suite's.
        data: by task, evaluation and training file.
        text: the file of plain text, or None.
        loading: further arguments of `load_model`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[str, ...] = ()
    seeds: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = ()
    tasks: tuple[str, ...] = ()
    data: dict[str, tuple[str, str | None]] = Field(default_factory=dict)
    text: str | None = None
    loading: dict[str, str | bool | dict[str, int | str] | None] = Field(default_factory=dict)


def named(
    models: Sequence[str],
    seeds: Sequence[int],
    tasks: Sequence[str],
    data: Mapping[str, tuple[str, str | None]],
    text: str | Path | None,
    loading: Mapping[str, Any],
) -> Asked:
    """What is asked for, its files by their whole paths, so that it can be asked for from anywhere."""
    files = {task: (_whole(one), None if other is None else _whole(other)) for task, (one, other) in data.items()}
    kept = {name: value for name, value in loading.items() if name in LOADING and value not in (None, False)}
    return Asked(
        models=tuple(map(_whole, models)),
        seeds=tuple(seeds),
        tasks=tuple(map(_whole, tasks)),
        data=files,
        text=None if text is None else _whole(str(text)),
        loading=kept,
    )


def _whole(name: str) -> str:
    """A file's whole path; what is no file, such as a name or a Hub id, as it is."""
    path = expanded(name)
    try:
        return os.path.abspath(path) if path.exists() else name
    except OSError:  # a name that is too long for a file's
        return name


def names_manifest(name: str | Path) -> bool:
    """Whether a suite is named by a directory or a manifest, and not by a shipped name or a YAML file."""
    if str(name) in shipped_names():
        return False
    path = expanded(name)
    return path.name == MANIFEST or (path / MANIFEST).is_file()


def asked_in(name: str | Path) -> tuple[Suite, Asked, dict[str, list[str]]]:
    """The suite that a directory's manifest states, what was asked for beside it, and by task the hashes of its data.

    Raises:
        DataError: it is none of a suite, or damaged.
    """
    path = expanded(name)
    file = path if path.name == MANIFEST else path / MANIFEST
    found = read_json(file)
    if not isinstance(found, dict) or not isinstance(found.get("suite"), dict):
        raise DataError(f"{file} is no manifest of a suite; {ACCEPTED}")
    try:
        asked = Asked.model_validate(found["asked"])
        unknown = sorted(set(asked.loading) - set(LOADING))
        if unknown:
            raise DataError(f"{file} loads models with {unknown[0]!r}; accepted: {', '.join(LOADING)}")
        hashes = {str(task): [str(one) for one in about["sha256"]] for task, about in found["data"].items()}
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{file} is damaged (asked.{where}: {first['msg'].lower()}); {ACCEPTED}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is damaged ({type(error).__name__}: {error}); {ACCEPTED}") from None
    return Suite.of(found["suite"], str(file)), asked, hashes
