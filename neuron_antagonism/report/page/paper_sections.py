"""The sections of the parts that the paper's tables and figures are made of, and of what the method's choices do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuron_antagonism.report.page import charts
from neuron_antagonism.report.page.blocks import Control, Figure

Rows = list[dict[str, Any]]

GRID = (Control("model", "Model"), Control("seed", "Seed"))
TASK, SCORER, PROTOCOL = Control("task", "Task"), Control("scorer", "Scorer"), Control("protocol", "Protocol")
KIND = Control("neurons", "Neurons")

Shown = tuple[str, Figure, Rows, Sequence[Control]]
"""Lead, figure, the rows that it plots, and choices."""


def _kept(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in ("model", "seed", *names) if name in row}


def budgets(rows: Rows, source: str) -> Shown:
    """Accuracy over the budget."""
    plotted = [
        _kept(row, "task", "scorer", "mode", "protocol")
        | {"x": row["budget"], "value": 100 * row["acc_after"], "before": 100 * row["acc_before"]}
        for row in rows
    ]
    names = list(dict.fromkeys(row["scorer"] for row in rows))
    figure = Figure(
        source,
        "Accuracy by budget",
        "For each scorer a line of accuracy over the number of neurons that are edited, by edit; a dashed line is the "
        "unedited model.",
        charts.document(charts.budgets(names, sorted({row["budget"] for row in rows}))),
        source,
        "mode",
    )
    lead = (
        "More neurons to the right, the unedited model dashed: where a line is flat already at the left, a few neurons "
        "do it all; where it turns back, more of them stand in each other's way."
    )
    return lead, figure, plotted, (*GRID, TASK, PROTOCOL)


def cross(rows: Rows, source: str) -> Shown:
    """The task an edit was chosen for against the task that was asked."""
    plotted = [
        _kept(row, "task", "asked", "scorer", "mode", "neurons") | {"points": row["acc_difference"]} for row in rows
    ]
    figure = Figure(
        source,
        "Across tasks",
        "A matrix: the task whose neurons are edited by the task that was asked; cells are changes in points.",
        charts.document(charts.cross()),
        source,
        "mode",
    )
    lead = (
        "Rows are the task whose neurons are edited, columns the task that was asked; with specific neurons, which no "
        "other task shares, strong colours should stay on the diagonal if tasks have neurons of their own."
    )
    return lead, figure, plotted, (*GRID, SCORER, KIND)


def layers(rows: Rows, source: str) -> Shown:
    """Neurons by layer: all, those that tasks share, and what is left without them."""
    plotted = [
        _kept(row, "task", "scorer", "role", "neurons", "layer", "count")
        | {"side": row["count"] if row["role"] == "good" else -row["count"]}
        for row in rows
    ]
    figure = Figure(
        source,
        "Neurons by layer",
        "For each task the number of good neurons (upwards) and bad neurons (downwards) in every layer.",
        charts.document(charts.layers()),
        source,
        "task",
        ("side",),
    )
    lead = (
        "Layer 0 is the first; bars up are good neurons, bars down bad ones: all, the common ones that two tasks "
        "share, and the specific ones that are left when these are taken out and replaced."
    )
    return lead, figure, plotted, (*GRID, SCORER, KIND)


def common(rows: Rows, source: str) -> Shown:
    """What editing the common neurons does."""
    plotted = [
        _kept(row, "task", "scorer", "mode", "protocol")
        | {"value": row["acc_after"] * 100 - row["acc_before"] * 100, "low": None, "high": None}
        for row in rows
    ]
    figure = Figure(
        source,
        "Common neurons",
        "For each scorer the change of accuracy under edits of the neurons that all tasks share, by edit.",
        charts.document(charts.forest("scorer", "change of accuracy, points")),
        source,
        "mode",
        ("value",),
    )
    lead = "Edits of the neurons that tasks share: change of accuracy on the evaluation set, to the right it rises."
    return lead, figure, plotted, (*GRID, TASK, PROTOCOL)


def probabilities(rows: Rows, source: str) -> Shown:
    """The options' probabilities of single questions under several edits."""
    plotted = [
        _kept(row, "task", "mode", "edit", "probability")
        | {"question": str(row["question"]), "what": "right" if row["right"] else "wrong"}
        | {"option": f"{row['option']} (right)" if row["right"] else row["option"]}
        for row in rows
    ]
    figure = Figure(
        source,
        "Probability of each option",
        "For each edit the probability of every option of one question; the right one is named as such.",
        charts.document(charts.options()),
        source,
        "edit",
    )
    lead = (
        "One question at a time, unedited (original) and under each edit: an enhancer should move probability to the "
        "right option of a question that was answered wrongly, a degrader away from it."
    )
    return lead, figure, plotted, (*GRID, TASK, Control("mode", "Edit"), Control("question", "Question"))


def choices(rows: Rows, source: str) -> Shown:
    """What the method's own choices do, one at a time."""
    plotted = [
        _kept(row, "task", "scorer", "figure", "value", "low", "high")
        | {"what": f"{row['choice']} {row['setting']}".strip()}
        for row in rows
        if row["value"] is not None
    ]
    figure = Figure(
        source,
        "One choice at a time",
        "For each setting of each choice its figure with a 95 % interval.",
        charts.document(charts.forest("what", "value")),
        source,
        "",
        ("value", "low", "high"),
    )
    lead = (
        "The standard stands first, below it one choice at a time is another: what lies beyond its interval is what "
        "the choice does; “beyond” is the difference from the standard on the same questions."
    )
    return lead, figure, plotted, (*GRID, TASK, SCORER, Control("figure", "Figure"))


PAPER = {
    "budgets": budgets,
    "cross": cross,
    "layers": layers,
    "common": common,
    "probabilities": probabilities,
    "choices": choices,
}
"""By the kind of a part."""
