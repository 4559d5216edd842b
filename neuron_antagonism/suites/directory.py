"""What runs and suites do alike with the directory that they write, and with what goes wrong."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuron_antagonism import tensors
from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import AntagonismError, AntagonismWarning, DataError, RunError
from neuron_antagonism.files import COMPUTED, inside, read_text, there, write_whole
from neuron_antagonism.runs.store import Store
from neuron_antagonism.runs.unit import Memory, Payload

MANIFEST, RESULTS = "manifest.json", "results.json"
QUESTIONS, NEURONS = "questions.jsonl", "neurons.csv"

RUN_SCHEMA, BENCH_SCHEMA = 3, 2
"""Of a run's, and of a suite's, manifest and results."""


def read_json(file: Path) -> Any:
    """A JSON file of a run, or None where there is none.

    Raises:
        DataError: it can't be read.
    """
    accepted = "a file that a run wrote"
    try:
        return parsed_json(read_text(file, accepted, COMPUTED)) if there(file) else None
    except (OSError, ValueError) as error:
        raise DataError(f"can't read {file}: {error}; accepted: {accepted}") from None


def finished_manifest(out: Path, key: str) -> dict[str, Any] | None:
    """The manifest of a directory, where what it tells of is finished and of this key; one that is damaged is named."""
    try:
        # of a place that can't be reached whoever writes there says why
        found = read_json(out / MANIFEST) if os.path.isfile(out / MANIFEST) else None
    except DataError as error:
        warnings.warn(f"{error}; it is written again", AntagonismWarning, stacklevel=3)
        return None
    whole = isinstance(found, dict) and found.get("key") == key and found.get("finished")
    return found if whole else None


def write_json(out: Path | None, name: str, value: Any, indent: int | None = None) -> None:
    """Write a JSON file into a directory, where there is one."""
    if out is not None:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
        write_whole(out / name, text.encode())


@contextmanager
def preparing(shelf: Store | Memory, out: Path | None) -> Iterator[None]:
    """Something that is wrong is found before anything is done: what was made to find out is gone again.

    Raises:
        RunError: something can't be read or written.
    """
    try:
        yield
    except AntagonismError:
        if isinstance(shelf, Store):
            shelf.undo()
        raise
    except OSError as error:
        _raise_unwritten(error, out)
        raise


@contextmanager
def under_way(out: Path | None) -> Iterator[None]:
    """What goes wrong once everything was found to be right is a failure of the run, whatever it is.

    Raises:
        RunError: something that went wrong on purpose, or something that can't be read or written.
    """
    try:
        yield
    except RunError:
        raise
    except AntagonismError as error:
        raise RunError(str(error)) from error
    except OSError as error:
        _raise_unwritten(error, out)
        raise


def _raise_unwritten(error: OSError, out: Path | None) -> None:
    if error.strerror:
        where = error.filename or out or "a file"
        raise RunError(
            f"can't read or write {where}: {error.strerror}; what was finished is kept: the same command goes on from "
            "there"
        ) from error


def fetched(path: Path, unit: Mapping[str, str]) -> Payload:
    """What a unit's file in a directory holds.

    Args:
        path: the directory.
        unit: the file and its key, as a manifest names them.

    Raises:
        DataError: there is no such file, a damaged one, or another run's.
    """
    try:
        file = inside(path, *unit["file"].split("/"))
    except DataError:
        raise DataError(
            f"{path / MANIFEST} names the file {unit['file']!r}; accepted: one inside the directory"
        ) from None
    arrays, document = tensors.read(file)
    if document.pop("key", None) != unit["key"]:
        raise DataError(f"can't read {file}: it is another run's; accepted: a file that this run wrote")
    return Payload(document, arrays)
