"""What the paper's tables print in a cell: relative changes of accuracy and comprehension, or `Fail`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from neuron_antagonism.metrics.outcomes import fails
from neuron_antagonism.report.rows import Row

NOTE = (
    "RAC/RCC in %, signed: + is what the edit is for. Fail: either is negative. n/a: nothing was right before. °: the "
    "model is not above chance on the task: no verdict. Averages are those of the signed values."
)
SEEDS = "Of several seeds: means of the signed values."
PROTOCOLS = {
    "paper": "the first scorer at its best ratio on the evaluation set, the others good neurons only",
    "matched": "all at their best ratio on the evaluation set, random draws at the best of three",
    "held-out": "the ratio chosen on other examples",
}
MODES = {"degrade": "Deg", "enhance": "Enh"}


def where(rows: Iterable[Row], **fields: Any) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in fields.items())]


def each(rows: Iterable[Row], name: str) -> list[Any]:
    """The values of a field, once each, in order of appearance."""
    return list(dict.fromkeys(row[name] for row in rows))


def mean(rows: Sequence[Row], name: str) -> float | None:
    """The mean of a field; None where it is missing somewhere, or there are no rows."""
    values = [row[name] for row in rows]
    return None if not values or any(value is None for value in values) else math.fsum(values) / len(values)


def average(cells: Sequence[Sequence[Row]]) -> str:
    """RAC/RCC of one cell: the average over tasks of the means over seeds; of one task that task's.

    By the paper's rule, failed cells count with their values.
    """
    if not cells or not all(cells):
        return "-"
    rac, rcc = (_average(cells, name) for name in ("rac", "rcc"))
    shown = f"{_number(rac)}/{_number(rcc)}"
    if any(row["above_chance"] is False for own in cells for row in own):
        return f"{shown}°"
    return "Fail" if fails(rac, rcc) else shown


def signed(cells: Sequence[Sequence[Row]]) -> str:
    """The same with its signs, never `Fail`."""
    if not cells or not all(cells):
        return "-"
    chance = "°" if any(row["above_chance"] is False for own in cells for row in own) else ""
    return f"{_number(_average(cells, 'rac'))}/{_number(_average(cells, 'rcc'))}{chance}"


def _average(cells: Sequence[Sequence[Row]], name: str) -> float | None:
    means = [mean(own, name) for own in cells]
    return None if None in means else math.fsum(filter(None, means)) / len(means)


def notes(rows: Sequence[Row], *more: str, protocols: Iterable[str] = ()) -> list[str]:
    """What stands below every table of cells."""
    told = "; ".join(f"{name}: {PROTOCOLS[name]}" for name in protocols)
    return [
        *more,
        *([f"{told[0].upper()}{told[1:]}."] if told else []),
        NOTE,
        *([SEEDS] if len({row.get("seed") for row in rows}) > 1 else []),
    ]


def _number(value: float | None) -> str:
    # -0.0 is no direction
    return "n/a" if value is None else f"{round(value, 1) + 0.0:.1f}"
