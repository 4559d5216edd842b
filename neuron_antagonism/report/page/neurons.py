"""What the explorer of neurons shows: the chosen ones, and nothing of the hundreds of thousands that were not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.report.page.run_rows import rounded
from neuron_antagonism.report.page.sources import RunSource

MOST = 6_000
"""Neurons on a page, a neuron once a task: as many of every role's strongest as that allows."""

LONGEST = 40
"""Characters of a scorer's name in a list of choices."""

Choice = tuple[str, str, int, float | None]
"""Scorer, role, rank and score."""


def chosen(run: RunSource, most: int = MOST) -> tuple[list[dict[str, Any]], int]:
    """One row a task and neuron that some scorer chose, strongest first; and how many lines are left to the CSV.

    Args:
        run: the run.
        most: rows at most.
    """
    every = steady(run)
    ranks = sorted({int(row["rank"]) for row in every})
    rows, kept = _rows(run, every), len(every)
    while len(rows) > most and len(ranks) > 1:
        ranks = ranks[: max(1, len(ranks) * most // (len(rows) + 1))]
        own = [row for row in every if int(row["rank"]) <= ranks[-1]]
        rows, kept = _rows(run, own), len(own)
    return rows, len(run.neurons) - kept


def steady(run: RunSource) -> list[Mapping[str, Any]]:
    """The neurons that a scorer chose for a reason: not those that were drawn."""
    tasks = run.results["tasks"].values()
    drawn = {cell["scorer"] for found in tasks for cell in found["cells"][SHOWN] if cell["draws"]}
    return [row for row in run.neurons if row["scorer"] not in drawn]


def _rows(run: RunSource, neurons: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, int, int], list[Choice]] = {}
    for line in neurons:
        place = (line["task"], int(line["layer"]), int(line["neuron"]))
        score = float(line["score"]) if line["score"] else None
        found.setdefault(place, []).append((line["scorer"], line["role"], int(line["rank"]), score))
    wanted = {line["scorer"] for line in neurons}
    rows = []
    for (task, layer, neuron), choices in found.items():
        exact = run.exact.get(task)
        row: dict[str, Any] = {"task": task, "id": f"{layer}.{neuron}", "layer": layer, "neuron": neuron}
        row |= {"roles": _said(choices), "role": _role(choices), "rank": min(rank for _, _, rank, _ in choices)}
        row["chosen_by"] = len({scorer for scorer, _, _, _ in choices})
        row["exact"] = _at(exact, layer, neuron)
        scores = {scorer: score for scorer, _, _, score in choices}
        for scorer, every in run.scores.get(task, {}).items():
            if scorer in wanted:
                scores[scorer] = _at(every, layer, neuron)
        rows.append(row | {f"score {scorer}": score for scorer, score in scores.items()})
    return rounded(sorted(rows, key=lambda row: (row["rank"], -row["chosen_by"])), digits=4)


def _at(array: Any, layer: int, neuron: int) -> float | None:
    if array is None or layer >= array.shape[0] or neuron >= array.shape[1]:
        return None
    value = float(array[layer, neuron])
    return value if value - value == 0 else None


def _said(choices: Sequence[Choice]) -> str:
    parts = []
    for role in ("good", "bad"):
        own = [f"{_short(scorer)} {rank}" for scorer, one, rank, _ in choices if one == role]
        if own:
            parts.append(f"{role}: {', '.join(own)}")
    return "; ".join(parts)


def _short(name: str) -> str:
    """A name as it may stand in thousands of lines."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _role(choices: Sequence[Choice]) -> str:
    roles = {role for _, role, _, _ in choices}
    return roles.pop() if len(roles) == 1 else "both"


def exact_rows(run: RunSource) -> list[dict[str, Any]]:
    """Score against exact effect of every neuron that a scorer chose; bad neurons have negative effects on purpose."""
    rows = []
    for row in steady(run):
        effect = _at(run.exact.get(row["task"]), int(row["layer"]), int(row["neuron"]))
        if effect is not None and row["score"]:
            about = {name: row[name] for name in ("task", "scorer", "role")}
            place = {"id": f"{row['layer']}.{row['neuron']}", "rank": int(row["rank"])}
            rows.append(about | place | {"score": float(row["score"]), "effect": effect})
    return rounded(rows, digits=4)
