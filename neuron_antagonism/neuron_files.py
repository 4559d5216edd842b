"""The one way to read a file of neurons: a set, those of a run, or those that somebody published."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import DataError
from neuron_antagonism.files import TABLE, expanded, read_text

ACCEPTED = "a CSV or JSON file of neurons"
FIELDS = "the fields layer and neuron (whole numbers from 0), and score where it is known"


@dataclass(frozen=True)
class NeuronRow:
    """A neuron as a file states it.

    Args:
        place: file and line (of JSON, entry), for errors.
        layer, neuron: block and index, from 0.
        score: None where it is not known.
        site: where it is; "post" where the file does not say.
        columns: everything that the row holds, as it stands there: the role, the task, the scorer.
    """

    place: str
    layer: int
    neuron: int
    score: float | None
    site: str
    columns: Mapping[str, Any]


def neuron_rows(path: str | Path) -> list[NeuronRow]:
    """The neurons of a CSV file with a header, or of a JSON list (or a list under `neurons`), in order.

    Args:
        path: the file; a leading `~` is the home directory.

    Raises:
        DataError: no such file, one that is too large, a missing field, a value that is no number; names the line.
    """
    file = expanded(path)
    text = read_text(file, ACCEPTED, TABLE)
    rows = _json_rows(text, file) if file.suffix.lower() == ".json" else _csv_rows(text, file)
    return [_row(place, row) for place, row in rows]


def _row(place: str, row: Any) -> NeuronRow:
    if not isinstance(row, dict):
        raise DataError(f"{place}: {row!r:.80} is no neuron; accepted: {FIELDS}")
    site = row.get("site")
    if not isinstance(site, str | None):
        raise DataError(f"{place}: the site {site!r:.80} is no name; accepted: a name such as post")
    try:
        layer, neuron = _index(row["layer"]), _index(row["neuron"])
        given = row.get("score")
        if isinstance(given, bool):
            raise ValueError(repr(given))
        score = None if given in (None, "") else float(given)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{place}: {error!s:.200} is missing or no number; accepted: {FIELDS}") from None
    return NeuronRow(place, layer, neuron, score, site or "post", row)


def _json_rows(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = parsed_json(text)
    except ValueError as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = getattr(error, "msg", error)
        raise DataError(f"{path}{line}: {reason}; accepted: a JSON list of neurons") from None
    rows = rows.get("neurons", rows) if isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a JSON {type(rows).__name__}; accepted: a list of neurons")
    for number, row in enumerate(rows, start=1):
        yield f"{path}, entry {number}", row


def _csv_rows(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        if not {"layer", "neuron"} <= set(reader.fieldnames or ()):
            found = repr(text[:80].splitlines()[0]) if text.strip() else "an empty file"
            raise DataError(f"{path}, line 1: {found}; accepted: a header with layer and neuron")
        for row in reader:
            yield f"{path}, line {reader.line_num}", row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; accepted: CSV of layer, neuron and score") from None


def _index(value: object) -> int:
    """A layer or neuron index; float("1.0") and True are none."""
    number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else -1
    if not 0 <= number < 2**31:
        raise ValueError(repr(value))
    return number
