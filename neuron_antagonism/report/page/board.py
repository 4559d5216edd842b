"""The sections of a leaderboard: every scorer by every judge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from neuron_antagonism.report.boards import COLUMNS
from neuron_antagonism.report.page import charts
from neuron_antagonism.report.page.blocks import Column, Control, Figure, Page, Section, Table

Rows = list[dict[str, Any]]

LOWER = {"CMD", "Tok"}
"""Columns in which less is better."""
CEILING = "ceiling"
CURVE = re.compile(r"^(faithfulness(?:-absolute)?)\.(f|completeness|comprehensiveness)@(\d+(?:\.\d+)?)%$")
CURVES = {
    "f": ("faithfulness: first neurons alone (ideal 1)", 1),
    "completeness": ("completeness: without them (ideal 0)", 0),
    "comprehensiveness": ("comprehensiveness: lost without them", None),
}
"""By measure, its panel and its ideal."""
RANKINGS = {"faithfulness": "signed: the most helpful first", "faithfulness-absolute": "absolute: the strongest first"}
DOSE = re.compile(r"^dose\.(good|bad)@(\d+(?:\.\d+)?)$")
BEYOND = 0.5
"""Of the values' span in a panel: what of an interval lies further out is not drawn, and tooltips tell it."""
GRID = (Control("model", "Model"), Control("seed", "Seed"), Control("task", "Task"))


def add_board(page: Page, part: Mapping[str, Any], rows: Rows, name: str, title: str) -> None:
    """Add the sections of a leaderboard's rows."""
    scorers = list(dict.fromkeys(row["scorer"] for row in rows if row["scorer"] != CEILING))
    headline = _headline(rows, [*scorers, CEILING])
    judges = [one for one in COLUMNS if any(row["judge"] == one for row in headline)]
    figures = [
        Figure(
            f"{name}-board",
            "Scorers by judges",
            "A matrix of scorers by judges; each cell holds the figure, and is darker the better its scorer ranks.",
            charts.document(charts.board(judges)),
            f"{name}-board",
        )
    ]
    lead = (
        f"Each column is a judge, on {part['evaluate']} held-out examples (target {part['target']}): darker is better "
        "among the scorers of that column, and no column alone decides. Truth: Spearman correlation with exact "
        "ablation; Top: overlap of the 100 best; CPR, CMD: faithfulness (CMD: less is better); Enh, Deg: change of the "
        "right letter's log-odds beyond matched random neurons; Dose: per unit of the factor; Same: overlap between "
        "draws of examples; Plant: AUROC of planted neurons; Tok: tokens in forwards (less is better)."
    )
    page.add(Section(name, title, lead, figures, GRID), **{f"{name}-board": headline})
    judged = [row for row in rows if row["value"] is not None and not _is_point(row["judge"])]
    each = Figure(
        f"{name}-judge",
        "One judge",
        "For each scorer the figure of the judge that is chosen, with its 95 % interval where it has one.",
        charts.document(charts.forest("scorer", "value")),
        f"{name}-judge",
        "",
        ("value", "low", "high"),
    )
    columns = (
        *(Column(field, field.capitalize()) for field in ("model", "seed", "task") if any(field in r for r in rows)),
        *(Column("judge", "Judge"), Column("scorer", "Scorer"), Column("value", "Value", "number", ("low", "high"))),
    )
    table = Table(f"{name}-all", "Every figure", f"{name}-all", columns, folded=True)
    lead = (
        "One judge at a time, every scorer with its 95 % interval over texts: scorers whose intervals overlap are not "
        "told apart by this judge."
    )
    page.add(
        Section(f"{name}-judges", f"{title}: judge by judge", lead, [each], (*GRID, Control("judge", "Judge"))),
        **{f"{name}-judge": judged},
    )
    _dose(page, rows, scorers, name, title)
    _faithfulness(page, rows, scorers, name, title, str(part["target"]))
    _agreement(page, rows, scorers, name, title)
    lead = "All figures of all judges, to sort and search."
    page.add(Section(f"{name}-figures", f"{title}: all figures", lead, [table]), **{f"{name}-all": rows})


def _about(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("model", "seed", "task", "scorer") if name in row}


def _headline(rows: Rows, scorers: Sequence[str]) -> Rows:
    """The figures that stand in the table, with their place among the scorers of their task, model and seed."""
    found: Rows = []
    for title, judge in COLUMNS.items():
        groups: dict[tuple[Any, ...], Rows] = {}
        for row in (row for row in rows if row["judge"] == judge and row["value"] is not None):
            groups.setdefault(tuple(row.get(name) for name in ("model", "seed", "task")), []).append(row)
        for own in groups.values():
            ranked = sorted((row["value"] for row in own if row["scorer"] != CEILING), reverse=title not in LOWER)
            for row in own:
                place = ranked.index(row["value"]) if row["scorer"] != CEILING else None
                strength = None if place is None or len(ranked) < 2 else 1 - place / (len(ranked) - 1)
                value = row["value"]
                shown = f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
                about = {"judge": title, "about": judge, "value": value, "shown": shown, "strength": strength or 0}
                about |= {"order": scorers.index(row["scorer"])}
                found.append(_about(row) | about | {"place": None if place is None else place + 1})
    return found


def _is_point(judge: str) -> bool:
    """Whether a figure is one point of a curve, which has a section of its own."""
    return bool(CURVE.match(judge) or DOSE.match(judge))


def _dose(page: Page, rows: Rows, scorers: Sequence[str], name: str, title: str) -> None:
    points = []
    for row in rows:
        match = DOSE.match(row["judge"])
        if match and row["value"] is not None:
            about = _about(row) | {"role": f"{match[1]} neurons", "x": float(match[2])}
            points.append(about | {field: row[field] for field in ("value", "low", "high")})
    figure = Figure(
        f"{name}-dose",
        "Dose response",
        "For each scorer a line of the change of log-odds over the factor by which its neurons are multiplied, with "
        "bands of 95 % intervals; a panel for good neurons and one for bad ones.",
        charts.document(charts.dose(scorers)),
        f"{name}-dose",
        "role",
        ("value", "low", "high"),
    )
    lead = (
        "The right letter's log-odds when a scorer's neurons are multiplied by a factor (0 silences, 1 changes "
        "nothing): good neurons should rise from left to right, bad ones fall; where a line turns back, the dose was "
        "too large; bands are 95 % intervals over texts."
    )
    controls = (*GRID, Control("scorer", "Scorer", True))
    page.add(Section(f"{name}-doses", f"{title}: dose response", lead, [figure], controls), **{f"{name}-dose": points})


def _faithfulness(page: Page, rows: Rows, scorers: Sequence[str], name: str, title: str, target: str) -> None:
    points = []
    for row in rows:
        match = CURVE.match(row["judge"])
        if match and row["value"] is not None:
            panel, ideal = CURVES[match[2]]
            about = _about(row) | {"ranking": RANKINGS[match[1]], "curve": panel, "ideal": ideal}
            points.append(about | {"x": float(match[3]) / 100} | {f: row[f] for f in ("value", "low", "high")})
    _cut(points)
    figure = Figure(
        f"{name}-curves",
        "Faithfulness by share of neurons",
        "For each scorer a line over the share of neurons that is kept, or taken away, on a logarithmic axis, with "
        "bands of 95 % intervals and a dashed line at the ideal; one panel for each measure.",
        charts.document(charts.faithfulness(scorers)),
        f"{name}-curves",
        "curve",
    )
    shares = sorted({point["x"] for point in points}) or [1.0]
    lead = (
        f"How much of what the model does (1 = all of it) the scorer's first neurons carry, from {100 * shares[0]:g} % "
        f"to {100 * shares[-1]:g} % of all neurons; above 1 they do more alone, for those that hold back are left out. "
        "The earlier a line reaches the dashed ideal the better; comprehensiveness is in units of "
        f"{target}; bands are 95 % intervals over texts."
    )
    controls = (*GRID, Control("ranking", "Ranking"), Control("scorer", "Scorer", True))
    page.add(Section(f"{name}-curve", f"{title}: faithfulness", lead, [figure], controls), **{f"{name}-curves": points})


def _cut(points: Rows) -> None:
    """Where each point's band is drawn: one that spans a ratio's every value would leave no room for the lines."""
    panels: dict[tuple[Any, ...], Rows] = {}
    for point in points:
        panels.setdefault(tuple(point.get(f) for f in ("model", "seed", "task", "ranking", "curve")), []).append(point)
    for own in panels.values():
        values = [one["value"] for one in own] + [one["ideal"] for one in own if one["ideal"] is not None]
        room = BEYOND * (max(values) - min(values))
        for one in own:
            if one["low"] is not None:
                one |= {"from": max(one["low"], min(values) - room), "to": min(one["high"], max(values) + room)}


def _agreement(page: Page, rows: Rows, scorers: Sequence[str], name: str, title: str) -> None:
    sides = {"x": COLUMNS["Truth"], "enhance": COLUMNS["Enh"], "degrade": COLUMNS["Deg"]}
    values = {(row["judge"], *_about(row).values()): row["value"] for row in rows}
    found = []
    for row in rows:
        x = values.get((sides["x"], *_about(row).values()))
        mode = next((one for one in ("enhance", "degrade") if row["judge"] == sides[one]), None)
        if mode is not None and x is not None and row["value"] is not None:
            found.append(_about(row) | {"mode": mode, "x": x, "y": row["value"]})
    figure = Figure(
        f"{name}-agreement",
        "Agreement with exact ablation against control",
        "Each point is a scorer: its correlation with exact ablation against what the edits of its neurons do.",
        charts.document(
            charts.scatter(scorers, "scorer", ("Spearman with exact ablation", "change of log-odds as meant, nats"))
        ),
        f"{name}-agreement",
        "mode",
    )
    lead = (
        "If agreeing with exact ablation made for better edits, points would rise to the right: a scorer far from that "
        "line agrees without steering, or steers without agreeing."
    )
    page.add(
        Section(f"{name}-truth", f"{title}: agreement and control", lead, [figure], GRID),
        **{f"{name}-agreement": found},
    )
