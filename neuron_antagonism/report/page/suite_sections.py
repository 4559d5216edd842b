"""The sections of a suite: one a part, a plot where one is obvious, and a table of every figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.report.page import board, charts
from neuron_antagonism.report.page.blocks import Block, Column, Control, Figure, Page, Section, Table
from neuron_antagonism.report.page.paper_sections import PAPER
from neuron_antagonism.report.page.run_rows import rounded
from neuron_antagonism.report.page.sources import BenchSource

Rows = list[dict[str, Any]]
Spec = Mapping[str, Any]

GRID = (Control("model", "Model"), Control("seed", "Seed"))
TASK, SCORER = Control("task", "Task"), Control("scorer", "Scorer")
PAIRS = {
    "sub-additive": ("var(--bad)", "triangle-down"),
    "additive": ("var(--none)", "circle"),
    "super-additive": ("var(--good)", "triangle-up"),
}


def add_suite(page: Page, source: BenchSource, before: str = "") -> None:
    """Add the sections of a suite's parts.

    Args:
        page: what they are added to.
        source: the suite.
        before: what the names of its sections begin with, where a page has several suites.
    """
    for number, part in enumerate(source.manifest["suite"]["parts"]):
        rows = rounded([dict(row) for row in source.results["parts"].get(part["name"], [])])
        # what was chosen on other examples than it is reported on comes first
        rows.sort(key=lambda row: row.get("protocol", SHOWN) != SHOWN)
        name = f"{before}part{number}"
        title = part["name"] if not before else f"{source.name}: {part['name']}"
        if not rows:
            page.add(Section(name, title, "", said="Nothing was measured for this part."))
        else:
            KINDS.get(part["part"], _paper if part["part"] in PAPER else _other)(page, part, rows, name, title)


def _every(rows: Rows) -> tuple[Column, ...]:
    """A column for each field; an interval beside its value."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    ends = {name for name in names if name.endswith("_interval")}
    found = []
    for name in (one for one in names if one not in ends):
        values = [row.get(name) for row in rows]
        number = any(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        pair = (f"{name}_low", f"{name}_high") if f"{name}_interval" in ends else None
        title = name.replace("_", " ").capitalize()
        found.append(Column(name, title, "number" if number else "text", pair))
    return tuple(found)


def _flat(rows: Rows) -> Rows:
    """Rows whose intervals are two fields, and whose other values are figures or texts."""
    found = []
    for row in rows:
        flat: dict[str, Any] = {}
        for name, value in row.items():
            if name.endswith("_interval"):
                start = name.removesuffix("_interval")
                flat[f"{start}_low"], flat[f"{start}_high"] = value or (None, None)
            else:
                flat[name] = value if isinstance(value, int | float | str) or value is None else str(value)
        found.append(flat)
    return found


def _table(name: str, rows: Rows, *, folded: bool = True) -> Table:
    return Table(f"{name}-table", "Every figure", f"{name}-all", _every(rows), folded=folded)


def _judging(page: Page, part: Spec, rows: Rows, name: str, title: str) -> None:
    board.add_board(page, part, rows, name, title)


def _antagonism(page: Page, part: Spec, rows: Rows, name: str, title: str) -> None:
    plotted = [
        {f: row[f] for f in ("model", "seed", "task", "scorer", "mode", "pair", "verdict") if f in row}
        | {"value": row["interaction"], "low": row["interaction_interval"][0], "high": row["interaction_interval"][1]}
        for row in rows
        if not row["reason"]
    ]
    figure = Figure(
        f"{name}-pairs",
        "Interaction of pairs",
        "For each pair of sets the interaction in nats with its 95 % interval, by edit.",
        charts.document(charts.forest("pair", "interaction, nats of log-odds", PAIRS, "verdict")),
        f"{name}-pairs",
        "mode",
        ("value", "low", "high"),
    )
    lead = (
        "Left of 0 two sets do less together than one by one (redundant), right of 0 more; G+B is good and bad "
        "neurons, G+G and B+B are two halves of one kind, and random is the control."
    )
    _add(page, (name, title, lead), [figure], rows, plotted, (*GRID, TASK, SCORER))


def _effects(page: Page, part: Spec, rows: Rows, name: str, title: str) -> None:
    plotted = [
        {f: row[f] for f in ("model", "task", "mode", "scorer", "protocol") if f in row}
        | {"seed": str(row.get("seed", "")), "value": row["population_acc"]}
        for row in rows
        if row["population_acc"] is not None
    ]
    figure = Figure(
        f"{name}-pairs",
        "Change of accuracy as examples come",
        "For each scorer a tick for every seed's change of accuracy in points, and a point at their median.",
        charts.document(charts.strip("scorer", "points of accuracy")),
        f"{name}-pairs",
        "mode",
        ("value",),
    )
    seeds = len({row["seed"] for row in plotted})
    lead = (
        "Each tick is one draw of the examples, the point their median: how far ticks lie apart is what an interval "
        "over texts does not show."
        if seeds > 1
        else "Change of accuracy in points, as examples come: to the right it rises. The table has the intervals."
    )
    _add(page, (name, title, lead), [figure], rows, plotted, (GRID[0], TASK, Control("protocol", "Protocol")))


def _masking(page: Page, part: Spec, rows: Rows, name: str, title: str) -> None:
    plotted = [
        {f: row[f] for f in ("model", "seed", "task", "concept", "mask") if f in row}
        | {"share": row["share"], "tau": "whole" if row["tau"] is None else f"τ = {row['tau']:g}"}
        | {"x": 100 * row["complement_changed"], "y": 100 * row["target_accuracy_drop"]}
        for row in rows
        if row["mask"] != "none" and row["complement_changed"] is not None and row["target_accuracy_drop"] is not None
    ]
    taus = list(dict.fromkeys(row["tau"] for row in plotted))
    titles = ("others' answers changed, %", "drop on the class, points")
    figure = Figure(
        f"{name}-pairs",
        "Control against interference",
        "Each point is a mask of one class: how far its accuracy falls against how many of the others' answers change.",
        charts.document(charts.scatter(taus, "tau", titles, ("concept:N", "share:Q"))),
        f"{name}-pairs",
    )
    lead = "Up is more control of the class, left is less interference with the others: the best masks lie top left."
    _add(page, (name, title, lead), [figure], rows, plotted, (*GRID, TASK))


def _gating(page: Page, part: Spec, rows: Rows, name: str, title: str) -> None:
    plotted = [
        {f: row[f] for f in ("model", "seed", "task", "scorer", "mode") if f in row}
        | {"edit": "whole" if row["tau"] is None else f"τ = {row['tau']:g}"}
        | {"value": row["rac"], "low": row["rac_interval"][0], "high": row["rac_interval"][1]}
        for row in rows
        if not row["reason"] and row["rac"] is not None and row["rac_interval"] is not None
    ]
    figure = Figure(
        f"{name}-pairs",
        "Effect of gated edits",
        "For each width of the range, and for whole neurons, the relative change of accuracy with its 95 % interval.",
        charts.document(charts.forest("edit", "RAC, %")),
        f"{name}-pairs",
        "mode",
        ("value", "low", "high"),
    )
    lead = "Neurons edited only within their ranges, against whole neurons: intervals that lie apart differ."
    _add(page, (name, title, lead), [figure], rows, plotted, (*GRID, TASK, SCORER))


def _paper(page: Page, part: Spec, rows: Rows, name: str, title: str) -> None:
    lead, figure, plotted, controls = PAPER[part["part"]](rows, f"{name}-pairs")
    _add(page, (name, title, lead), [figure], rows, plotted, controls)


def _other(page: Page, part: Spec, rows: Rows, name: str, title: str) -> None:
    lead = "Every figure of this part; the CSV file of its name holds the same."
    page.add(Section(name, title, lead, [_table(name, rows, folded=False)]), **{f"{name}-all": _flat(rows)})


def _add(
    page: Page,
    head: tuple[str, str, str],
    figures: Sequence[Block],
    rows: Rows,
    plotted: Rows,
    controls: Sequence[Control],
) -> None:
    """A section with a plot and the table of everything."""
    name, title, lead = head
    blocks = [*figures, _table(name, rows, folded=bool(plotted))]
    page.add(Section(name, title, lead, blocks, controls), **{f"{name}-pairs": plotted, f"{name}-all": _flat(rows)})


KINDS: dict[str, Callable[[Page, Spec, Rows, str, str], None]] = {
    "judging": _judging,
    "antagonism": _antagonism,
    "effects": _effects,
    "masking": _masking,
    "gating": _gating,
}
"""By the kind of a part, what adds its section; of any other its table is shown."""
