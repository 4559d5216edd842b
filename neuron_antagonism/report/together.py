"""The table of the part `antagonism`: what two sets of neurons do together, and what one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from neuron_antagonism.report.grids import Grid, Section
from neuron_antagonism.report.paper.cells import each, where
from neuron_antagonism.report.rows import Row

TOGETHER = (
    "First, Second, Both: change of the right letter's log-odds under the edit of one set, of the other, and of both "
    "(nats; + is what the edit is for). Interaction: Both - First - Second, with its 95 % interval over texts, of "
    "random pairs over draws. Weak sets have little to lose: read it beside First and Second. G+B: good and "
    "bad neurons. G+G, B+B: twice as many of one kind, dealt to two sets in turn; 2G, 2B: the strongest of these, and "
    "the next. random: means over pairs of random sets, edited as G and B are. G+B ahead: what G+B does beyond this "
    "pair, which has as many neurons, with its interval."
)
SEEDS = (
    "Of several seeds: means [smallest, largest]; n/k: on n of them the interval lies above 0, on k below. Each seed "
    "draws other examples to choose neurons from, and other texts."
)


def together(part: Mapping[str, Any], task: str, rows: Sequence[Row]) -> Grid:
    """Every pair in both directions, with intervals; of several seeds how far they agree.

    Args:
        part: its spec, as a suite's file states it.
        task: the task's name.
        rows: its rows, of one scorer.
    """
    where_edited = "at the last position" if part["positions"] == "last" else "at all positions"
    title = f"{part['name']}: {task}, {rows[0]['scorer']}, {part['n']} + {part['n']} neurons, {where_edited}"
    sections = [
        Section(str(mode).capitalize(), [_line(str(pair), where(own, pair=pair)) for pair in each(own, "pair")])
        for mode in each(rows, "mode")
        for own in [where(rows, mode=mode)]
    ]
    columns = ["Pair", "First", "Second", "Both", "Interaction", "G+B ahead"]
    several = len({row.get("seed") for row in rows}) > 1
    return Grid(title, columns, sections, [TOGETHER, *([SEEDS] if several else []), *_notes(rows, part["n"])])


def _line(pair: str, rows: Sequence[Row]) -> list[str]:
    there = [row for row in rows if not row["reason"]]
    if not there:
        return [pair, *"-----"]
    changes = [_signed(fmean(row[f"delta_{which}"] for row in there)) for which in ("first", "second", "both")]
    ahead = [row for row in there if row.get("ahead") is not None]
    return [pair, *changes, _figure(there, "interaction"), _figure(ahead, "ahead", ends=len(ahead) < 2)]


def _figure(rows: Sequence[Row], name: str, *, ends: bool = True) -> str:
    """A figure with its interval; of several seeds their mean with its ends, and how many tell it from nothing."""
    if not rows:
        return ""
    values, intervals = [row[name] for row in rows], [row[f"{name}_interval"] for row in rows]
    low, high = intervals[0] if len(rows) == 1 else (min(values), max(values))
    between = f" [{round(low, 2) + 0.0:.2f}, {round(high, 2) + 0.0:.2f}]" if ends else ""
    above, below = sum(low > 0 for low, _ in intervals), sum(high < 0 for _, high in intervals)
    return f"{_signed(fmean(values))}{between}" + (f" {above}/{below}" if len(rows) > 1 else "")


def _signed(value: float) -> str:
    # -0.0 is no direction
    return f"{round(value, 2) + 0.0:+.2f}"


def _notes(rows: Sequence[Row], n: int) -> Iterator[str]:
    notes: dict[str, None] = {}
    for row in rows:
        sizes = row["n_first"], row["n_second"]
        if row["reason"]:
            notes[f"{row['pair']}: {row['reason']}"] = None
        elif sizes != (n, n):
            notes[f"{row['pair']}: {sizes[0]} and {sizes[1]} neurons"] = None
    yield from notes
