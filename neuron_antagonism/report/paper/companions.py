"""Beside each of the paper's tables of edits: its figures with intervals, and who is compared with whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from neuron_antagonism.metrics.averages import average
from neuron_antagonism.metrics.bootstrap import holm
from neuron_antagonism.report.grids import Grid, Section
from neuron_antagonism.report.paper.layout import Layout
from neuron_antagonism.report.rows import Row

AVERAGE = "average"

FIGURES = {"rac": "RAC %", "rcc": "RCC %", "population_acc": "As it comes, points"}
"""What is shown of a cell, and under which heading."""

COMPARED = {"method": "{method} − this", "both": "both − this", "beyond": "this − matched"}
"""Differences that a row may hold, and what they are of."""

FIGURES_NOTE = (
    "RAC, RCC: in %, signed: + is what the edit is for. As it comes: accuracy after less before, in points, where "
    "understood examples are as frequent as in the data. [..]: 95 % interval over texts, for this choice of "
    "identification and selection examples; none where the ratio was chosen on the evaluation set itself. Of random "
    "draws, whatever the protocol, their spread: the 2.5 and 97.5 % percentiles, of a few draws nearly the least and "
    "the greatest. "
    "Edited: good:bad neurons. Lines and columns are of the same texts: compare them by paired differences."
)
AVERAGE_NOTE = (
    "Average: the mean over tasks; its interval is recovered from theirs (MOVER, Zou & Donner 2008, no end nearer "
    "than half a task's width), taking for granted that no two tasks share texts. What tasks have in common, such as "
    "neurons chosen from all of them, lies outside it. None of random draws, nor where a task has no figure, no "
    "interval, or a model that is not above chance."
)
CHANCE_NOTE = "°: the model is not above chance on the task: no verdict."
MATCHED_NOTE = (
    "× matched: means over draws of random neurons in their place, as many of each layer and about as active, edited "
    "alike; where a ratio is chosen, each set chooses its own."
)
SEEDS_NOTE = "Of several seeds: each by itself, then their mean (smallest to largest, standard deviation)."
COMPARED_NOTES = {
    "method": "{method} − this: how much further {method} gets than this scorer, each at the ratio that it chose on "
    "other examples.",
    "both": "both − this: how much further the same scorer gets with good and bad neurons, at the ratio that it chose "
    "on other examples, than with this kind alone.",
    "beyond": "this − matched: how much further these neurons get than random ones in their place, as many of each "
    "layer and about as active, on average over draws; where a ratio is chosen, each set chooses its own.",
}
TESTS_NOTE = (
    "In % of the unedited level, + = the first does more of what is wanted. [..]: 95 % interval over texts, and over "
    "draws where there are any. p: paired, two-sided, signs of texts drawn anew; against draws one-sided, the rank "
    "among them, so that n draws give no p below 1/(n + 1). Holm: corrected over the {count} comparisons of this "
    "table. What was chosen on the evaluation set itself has neither interval nor p."
)


@dataclass(frozen=True)
class _Place:
    """Where a cell's rows of one task stand.

    Args:
        section, line, column: their names.
        rows: seed after seed.
    """

    section: str
    line: str
    column: str
    rows: Sequence[Row]


def _places(layout: Layout) -> list[_Place]:
    return [
        _Place(name, line.name, column, rows)
        for name, lines in layout.sections.items()
        for line in lines
        for column in layout.columns
        for rows in line.cells[column]
        if rows
    ]


@dataclass(frozen=True)
class _About:
    """The columns that say what a line is of: the task where a cell is of several, the seed where there are several.

    Args:
        layout: the table.
        tasks, seeds: whether there are several.
    """

    layout: Layout
    tasks: bool
    seeds: bool

    @classmethod
    def of(cls, layout: Layout, places: Sequence[_Place]) -> _About:
        several = any(
            len(cell) > 1 for lines in layout.sections.values() for line in lines for cell in line.cells.values()
        )
        return cls(layout, several, any(len(place.rows) > 1 for place in places))

    @property
    def columns(self) -> list[str]:
        return [self.layout.corner, self.layout.across, *(["Task"] * self.tasks), *(["Seed"] * self.seeds)]

    def cells(self, place: _Place, seed: Any) -> list[str]:
        task = [str(place.rows[0]["task"])] * self.tasks
        return [place.line, place.column, *task, *([str(seed)] * self.seeds)]


def intervals(layout: Layout) -> Grid:
    """Every figure of a table with its interval, the neurons that were edited, and of several seeds the spread."""
    places = _places(layout)
    about = _About.of(layout, places)
    sections: dict[str, list[list[str]]] = {}
    for place in places:
        sections.setdefault(place.section, []).extend(_lines(about, place))
    averages = list(_averages(layout, about))
    for section, line in averages:
        sections[section].append(line)
    drawn = any(row.get("matched_draws") for place in places for row in place.rows)
    notes = [FIGURES_NOTE, *([AVERAGE_NOTE] if averages else []), *([MATCHED_NOTE] if drawn else [])]
    notes += [SEEDS_NOTE] if about.seeds else []
    notes += [CHANCE_NOTE] if any(_at_chance(row) for place in places for row in place.rows) else []
    return Grid(
        f"{layout.title}, figures with intervals",
        [*about.columns, "Edited", *FIGURES.values()],
        [Section(name, lines) for name, lines in sections.items()],
        notes,
    )


def _lines(about: _About, place: _Place) -> Iterator[list[str]]:
    for row in place.rows:
        own = about.cells(place, row.get("seed", ""))
        yield [*own, _edited(row), *(_figure(row, name) for name in FIGURES)]
        if row.get("matched_draws"):
            yield [*own, f"{row['matched_draws']} × matched", *(_figure(row, f"matched_{name}") for name in FIGURES)]
    if len(place.rows) > 1:
        ratios = {_edited(row) for row in place.rows}
        edited = ratios.pop() if len(ratios) == 1 else "varies"
        yield [*about.cells(place, "all"), edited, *(_spread([row[name] for row in place.rows]) for name in FIGURES)]


def _averages(layout: Layout, about: _About) -> Iterator[tuple[str, list[str]]]:
    """Section and line of each average over tasks, seed by seed."""
    for section, lines in layout.sections.items():
        for line in lines:
            cells = dict(line.cells)
            if layout.averaged:
                cells = {AVERAGE: [rows for cell in cells.values() for rows in cell]}
            for column, cell in cells.items():
                tasks = [rows for rows in cell if rows]
                if len(tasks) < 2 or not (about.tasks or layout.averaged):
                    continue
                for seed in dict.fromkeys(row.get("seed", "") for rows in tasks for row in rows):
                    own = [row for rows in tasks for row in rows if row.get("seed", "") == seed]
                    if len(own) == len(tasks):
                        what = [line.name, column, *([AVERAGE] * about.tasks), *([str(seed)] * about.seeds)]
                        yield section, [*what, "", *(_average(own, name) for name in FIGURES)]


def _average(rows: Sequence[Row], name: str) -> str:
    """The mean over tasks, with an interval where each of them has one over its texts."""
    values, ends = [row[name] for row in rows], [row[f"{name}_interval"] for row in rows]
    if None in values:
        return "n/a"
    at_chance = any(_at_chance(row) for row in rows)
    if None in ends or at_chance or any(row.get("interval_over", "examples") != "examples" for row in rows):
        return _number(fmean(values)) + "°" * at_chance
    mean, (low, high) = average(values, [(low, high) for low, high in ends])
    return f"{_number(mean)} [{_number(low)}, {_number(high)}]"


def _at_chance(row: Row) -> bool:
    return row.get("above_chance") is False


def _edited(row: Row) -> str:
    return "varies" if row["n_good"] is None else f"{row['n_good']}:{row['n_bad']}"


def _figure(row: Row, name: str) -> str:
    if row[name] is None:
        return "n/a"
    ends, mark = row[f"{name}_interval"], "°" * _at_chance(row)
    return _number(row[name]) + mark + ("" if ends is None else f" [{_number(ends[0])}, {_number(ends[1])}]")


def _spread(values: Sequence[float | None]) -> str:
    """The mean over seeds, and how far they lie apart."""
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return "n/a"
    return f"{_number(fmean(there))} ({_number(min(there))} to {_number(max(there))}, sd {stdev(there):.1f})"


def _number(value: float) -> str:
    # -0.0 is no direction
    return f"{round(value, 1) + 0.0:.1f}"


def comparisons(layout: Layout) -> Grid | None:
    """The paired differences that a table's rows hold, with p-values; None where they hold none."""
    places = _places(layout)
    about = _About.of(layout, places)
    # a row may stand in several sections: the last is that of the protocol under which rows are compared
    found: dict[tuple[int, str], tuple[_Place, Row]] = {}
    for place in places:
        for row in place.rows:
            for prefix in COMPARED:
                if any(row.get(f"{prefix}_{metric}_p") is not None for metric in ("rac", "rcc")):
                    found.pop((id(row), prefix), None)
                    found[id(row), prefix] = place, row
    if not found:
        return None
    p_values = [row[f"{prefix}_{metric}_p"] for (_, prefix), (_, row) in found.items() for metric in ("rac", "rcc")]
    corrected = iter(holm(p_values))
    sections: dict[str, list[list[str]]] = {}
    for (_, prefix), (place, row) in found.items():
        line = [*about.cells(place, row.get("seed", "")), COMPARED[prefix].format_map(_named(row))]
        for metric in ("rac", "rcc"):
            name = f"{prefix}_{metric}"
            line += [_figure(row, name), _p(row[f"{name}_p"]), _p(next(corrected))]
        sections.setdefault(place.section, []).append(line)
    told = {prefix: row for (_, prefix), (_, row) in found.items()}
    count = sum(p is not None for p in p_values)
    return Grid(
        f"{layout.title}, paired differences",
        [
            *about.columns,
            "Difference",
            *(f"{head}{what}" for head in ("RAC", "RCC") for what in (" %", ": p", ": Holm")),
        ],
        [Section(name, lines) for name, lines in sections.items()],
        [*(COMPARED_NOTES[one].format_map(_named(row)) for one, row in told.items()), TESTS_NOTE.format(count=count)],
    )


def _named(row: Row) -> Mapping[str, str]:
    return {"method": str(row.get("method", ""))}


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
