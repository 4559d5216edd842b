"""The explorers of runs: every question, and every neuron that was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuron_antagonism.report.page import described, neurons, questions
from neuron_antagonism.report.page.blocks import Column, Control, Page, Section, Table, told
from neuron_antagonism.report.page.sources import RunSource


def add_explorers(page: Page, runs: Sequence[RunSource]) -> None:
    """Add both, where there is something to explore."""
    _questions(page, runs)
    _neurons(page, runs, several=len(runs) > 1)


def _questions(page: Page, runs: Sequence[RunSource]) -> None:
    found = questions.explorer(runs)
    if found is None:
        return
    page.questions = found
    lead = (
        "Every question of the evaluation set with its options, and what the model answered before and after an edit; "
        "open a row (Enter, then arrow keys) to read it."
    )
    page.add(Section("questions", "Question by question", lead, partial="questions", content=_left_out(found)))


def _left_out(found: Mapping[str, Any]) -> list[str]:
    said = []
    for one in found["tasks"]:
        if one["left_out"]:
            said.append(f"{one['task']}: {one['left_out']:,} questions more are in questions.jsonl")
        if not one["edits"]:
            said.append(f"{one['task']}: answers are not shown, for this run's directory does not hold them")
        elif all("q" not in edit and "r" not in edit for edit in one["edits"]):
            said.append(f"{one['task']}: probabilities were not kept; the letters that were chosen are shown")
        elif any("r" in edit for edit in one["edits"]):
            said.append(f"{one['task']}: of each question the right option's probability is shown, not every option's")
    return said


def _neurons(page: Page, runs: Sequence[RunSource], *, several: bool) -> None:
    each = [(run, *neurons.chosen(run, neurons.MOST // len(runs))) for run in runs]
    found = told([(run.name, own) for run, own, _ in each], several)
    left = sum(count for _, _, count in each)
    scored = dict.fromkeys(name for row in found for name in row if name.startswith("score "))
    exact = any(row["exact"] is not None for row in found)
    columns = (
        *(Column("id", "Neuron", "code"), Column("task", "Task"), Column("layer", "Layer", "whole")),
        *((Column("run", "Run"),) if several else ()),
        *(Column("role", "Role"), Column("rank", "Best rank", "whole"), Column("chosen_by", "Scorers", "whole")),
        *((Column("exact", "Exact effect", "number", about="of silencing it alone"),) if exact else ()),
        *(Column(name, name.removeprefix("score "), "number", about="score") for name in scored),
    )
    models = {run.manifest["model"]["name"]: run.manifest["model"] for run in runs}
    total = sum(model["layers"] * model["neurons_per_layer"] for model in models.values())
    kept = f" ({left:,} more lines, those of random draws among them, are left to neurons.csv)" if left else ""
    plural = "s" if len(models) > 1 else ""
    page.described = described.explorer(runs, {run.name: own for run, own, _ in each})
    opened = "where else it was chosen" + (", its tokens and its values by right answer" if page.described else "")
    lead = (
        f"The neurons that some scorer chose, as layer.index, of {total:,} in the model{plural}{kept}: "
        f"scores are each scorer's own, in its own unit. Open a row for {opened}."
    )
    table = Table("neurons", "Chosen neurons", "neurons", columns, detail="neuron")
    first = (Control("run", "Run"),) if several else ()
    controls = (*first, Control("task", "Task", True), Control("role", "Role", True))
    page.add(Section("neurons", "Neuron by neuron", lead, [table], controls), neurons=found)
