"""The values of a row's cells: reaching them, and what counts as a text, a number or nothing."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import neuron_antagonism as na
from neuron_antagonism_plugins._files import listed, malformed, readable

_WHOLE = re.compile(r"(-?[0-9]{1,9})(\.0*)?")

Given = TypeVar("Given")
Made = TypeVar("Made")

TEXT = "a text or number that isn't empty"


class Row(NamedTuple):
    """One row: its part of the data set ("train", "test" or ""), where it stands (for errors), its values."""

    part: str
    where: str
    values: dict[str, Any]


class LeftOut(na.DataError):
    """A row that can't be asked because something in it is empty: it is left out and counted under its reason.

    Where no row is left, the error of the first one is raised.
    """

    def __init__(self, message: str, reason: str) -> None:
        """The error's line, and the reason in a few words that hold for other rows too."""
        super().__init__(message)
        self.reason = reason


def cell(row: Row, column: str, field: str) -> Any:
    """The value of a column; a dot reaches into an object (`choices.text`).

    Args:
        row: where to look.
        column: the column's name.
        field: what asks for it, for the error.

    Raises:
        LeftOut: there is no such column; names those there are.
    """
    value: Any = row.values
    for name in [column] if column in row.values else column.split("."):
        if not isinstance(value, dict) or name not in value:
            there = listed(value) if isinstance(value, dict) else "no object to reach into"
            message = f"{row.where}: has no column {column!r}, which {field} names; accepted: {there}"
            raise LeftOut(message, f"no column {column!r}")
        value = value[name]
    return plain(value)


def has(row: Row, column: str) -> bool:
    """Whether a row has a column, be it empty."""
    try:
        cell(row, column, "")
    except LeftOut:
        return False
    return True


def text(row: Row, column: str, field: str) -> str:
    """The text of a cell.

    Raises:
        LeftOut: it is empty.
        DataError: it holds something else.
    """
    value = cell(row, column, field)
    where = f"{row.where}, column {column!r}"
    found = as_text(value)
    if found is None:
        raise malformed(where, value, TEXT)
    if not found:
        raise empty(row, column, value)
    return readable(where, found)


def empty(row: Row, column: str, value: object, accepted: str = TEXT) -> LeftOut:
    """What leaves out a row with an empty cell."""
    return LeftOut(str(malformed(f"{row.where}, column {column!r}", value, accepted)), f"empty column {column!r}")


def kept(task: na.Task, rows: Iterable[Given], read: Callable[[Given], Made]) -> Iterator[Made]:
    """What is read of each row of a part; rows that are left out are counted in the task's `left_out`.

    Raises:
        DataError: what `read` raises; that of the first row where none is left.
    """
    counts: Counter[str] = vars(task).setdefault("left_out", Counter())
    missed: list[LeftOut] = []
    empty = True
    for row in rows:
        try:
            made = read(row)
        except LeftOut as error:
            missed.append(error)
            counts[error.reason] += 1
            continue
        empty = False
        yield made
    if missed and empty:
        raise none_left(missed)


def none_left(missed: Sequence[LeftOut]) -> na.DataError:
    """The error for a part of which no row is left: the first row's, and how many have which reason."""
    reasons = Counter(error.reason for error in missed)
    said = ", ".join(f"{count} of {reason!r}" for reason, count in reasons.items())
    return na.DataError(f"{missed[0]}; no row is left ({said})")


def plain(value: Any) -> Any:
    """A value without numpy's types: a Python number, or nested lists of an array."""
    return value.tolist() if hasattr(value, "tolist") else value


def as_text(value: Any) -> str | None:
    """A value as an option shows it: "" for a missing one, None for what is neither text nor finite number."""
    value = plain(value)
    if isinstance(value, bool):
        return json.dumps(value)
    if value is None:
        return ""
    if isinstance(value, float | Decimal):
        # NaN is how tables of numbers write a missing one
        return "" if math.isnan(value) else str(value) if math.isfinite(value) else None
    if isinstance(value, int):
        return str(value)
    return value.strip() if isinstance(value, str) else None


def same(value: str) -> str:
    """What texts have in common that are equal: canonically equivalent ones (`é` in one or two characters) are."""
    return unicodedata.normalize("NFC", value)


def distinct(values: Iterable[str]) -> list[str]:
    """The different texts that aren't empty, each as it stands first."""
    found: dict[str, str] = {}
    for value in values:
        if value:
            found.setdefault(same(value), value)
    return list(found.values())


def whole(value: str) -> int | None:
    """The whole number that a text writes, as `2` or, where missing values made a column floats, as `2.0`."""
    found = _WHOLE.fullmatch(value)
    return int(found[1]) if found else None
