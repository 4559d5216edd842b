"""The answer of a run in a few sentences: can a task be turned up and down, by how much, with what, at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuron_antagonism.metrics.protocols import SHOWN

MODES = {"enhance": "up", "degrade": "down"}
MOST_LAYERS = 3
"""Layers that an answer names."""


@dataclass(frozen=True)
class Turn:
    """What an edit did to a task in one direction.

    Args:
        mode: "enhance" or "degrade".
        verdict: "yes", "not shown", "fails", or "no verdict" of a model at chance.
        says: why, in words.
        points: change of accuracy in points.
        as_it_comes: whether that is of examples as they come, and not of the evaluation set.
        interval: its ends, or None.
        cell: the cell that it is read from.
    """

    mode: str
    verdict: str
    says: str
    points: float
    as_it_comes: bool
    interval: tuple[float, float] | None
    cell: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """The answer for one task.

    Args:
        task: its name.
        scorer: whose neurons it is about: the first scorer that does not draw.
        judged: whether the model is above chance unedited.
        turns: up and down.
        where: in which layers the neurons sit mostly.
        cost: what the edits do elsewhere; "" where nothing was measured.
    """

    task: str
    scorer: str
    judged: bool
    turns: tuple[Turn, ...]
    where: str
    cost: str

    @property
    def headline(self) -> str:
        """Whether the task can be turned, in one line."""
        if not self.judged:
            return "no verdict: unedited the model is not above chance"
        said = {MODES[turn.mode]: turn.verdict for turn in self.turns}
        yes = [side for side in ("up", "down") if said.get(side) == "yes"]
        if len(yes) == 2:
            return "can be turned up and down"
        if yes:
            other = "down" if yes == ["up"] else "up"
            return f"can be turned {yes[0]}" + (f"; {other}: {said[other]}" if other in said else "")
        return "turning it is not shown, in either direction"


def answers(results: Mapping[str, Any]) -> list[Answer]:
    """The answer for every task of a run."""
    return [answer(task, found) for task, found in results["tasks"].items()]


def answer(task: str, found: Mapping[str, Any]) -> Answer:
    """The answer for one task.

    Args:
        task: its name.
        found: what results.json holds of it.
    """
    name = leading(found)
    own = [cell for cell in found["cells"][SHOWN] if cell["scorer"] == name]
    judged = bool(found["natural"]["above_chance"])
    turns = tuple(_turn(found, cell, judged) for mode in MODES for cell in own if cell["mode"] == mode)
    return Answer(task, name, judged, turns, _where(found["layers"].get(name)), _cost(found, name))


def leading(found: Mapping[str, Any]) -> str:
    """The scorer that a task's answer is about: the first that does not draw, else the first."""
    cells = found["cells"][SHOWN]
    return str(next((cell["scorer"] for cell in cells if not cell["draws"]), cells[0]["scorer"]))


def lines(results: Mapping[str, Any]) -> Iterator[str]:
    """The answer in plain lines: what they show, then one a task."""
    every = answers(results)
    scorers = ", ".join(dict.fromkeys(one.scorer for one in every))
    yield f"The answer ({scorers}: accuracy as examples come; then what the edits do to other tasks and plain text)"
    width = max(len(one.task) for one in every)
    for one in every:
        yield f"  {one.task:{width}}  {_line(one, results['tasks'][one.task])}"


def _line(one: Answer, found: Mapping[str, Any]) -> str:
    if not one.judged:
        return one.headline
    said = []
    for turn in one.turns:
        doubt = "" if turn.verdict == "yes" else f" ({turn.verdict}: {turn.says})"
        said.append(f"{MODES[turn.mode]} {measured(turn)}{doubt}")
    rows = {row["mode"]: row for row in found["side_effects"]["rows"] if row["scorer"] == one.scorer}
    each = [rows[turn.mode] for turn in one.turns if turn.mode in rows]
    beside = []
    if all(row["other_tasks"] for row in each) and each:
        beside.append("other tasks " + " / ".join(_mean(row["other_tasks"]) for row in each))
    if each:
        beside.append("perplexity " + " / ".join(f"×{row['perplexity_ratio']:.2f}" for row in each))
    return "; ".join((", ".join(said), *((", ".join(beside),) if beside else ())))


def _mean(others: Mapping[str, float]) -> str:
    return f"{sum(others.values()) / len(others):+.0f}".replace("-", "−")


def measured(turn: Turn) -> str:
    """An effect in points with its interval."""
    ends = "" if turn.interval is None else f" [{turn.interval[0]:.0f}, {turn.interval[1]:.0f}]"
    where = "" if turn.as_it_comes else " on the evaluation set"
    return f"{turn.points:+.0f} points{ends}".replace("-", "−") + where


def touched(cell: Mapping[str, Any]) -> str:
    """How many neurons of each kind an edit touches."""
    if cell["n_good"] is None:
        return "random neurons"
    return f"{cell['n_good']} good and {cell['n_bad']} bad neurons"


def _turn(found: Mapping[str, Any], cell: Mapping[str, Any], judged: bool) -> Turn:
    as_it_comes = cell["population_acc"] is not None
    name = "population_acc" if as_it_comes else "acc_difference"
    points, ends = cell[name], cell[f"{name}_interval"]
    interval = None if ends is None else (float(ends[0]), float(ends[1]))
    verdict, says = (
        _judged(found, cell, points, interval) if judged else ("no verdict", "the model is not above chance")
    )
    return Turn(cell["mode"], verdict, says, float(points), as_it_comes, interval, cell)


def _judged(
    found: Mapping[str, Any], cell: Mapping[str, Any], points: float, interval: tuple[float, float] | None
) -> tuple[str, str]:
    """Whether an effect is one: in its direction, apart from 0, and beyond what random neurons do."""
    sign = 1.0 if cell["mode"] == "enhance" else -1.0
    if sign * points < 0:
        return "fails", "accuracy moves the other way"
    if interval is None:
        return "not shown", "it has no interval"
    if min(sign * end for end in interval) <= 0:
        return "not shown", "its interval includes 0"
    net = next(
        (
            one
            for one in found["net"]
            if (one["method"], one["mode"], one["metric"]) == (cell["scorer"], cell["mode"], "rac")
        ),
        None,
    )
    if net is None:
        return "yes", "not compared with random neurons"
    ends = net["points_interval"]
    if ends is None or ends[0] <= 0:
        return "not shown", "random neurons of the same number do as much"
    return "yes", "more than random neurons do"


def _where(layers: Mapping[str, Sequence[int] | None] | None) -> str:
    if layers is None:
        return ""
    said = []
    for role in ("good", "bad"):
        counts = layers[role]
        if counts and sum(counts):
            top = sorted(range(len(counts)), key=lambda layer: -counts[layer])[:MOST_LAYERS]
            named = ", ".join(f"{layer} ({counts[layer]})" for layer in sorted(top) if counts[layer])
            said.append(f"{role} neurons mostly in layers {named}")
    return "; ".join(said)


def _cost(found: Mapping[str, Any], scorer: str) -> str:
    rows = [row for row in found["side_effects"]["rows"] if row["scorer"] == scorer]
    said = []
    for mode, side in MODES.items():
        for row in (row for row in rows if row["mode"] == mode):
            tasks = f"other tasks {_mean(row['other_tasks'])} points, " if row["other_tasks"] else ""
            said.append(f"{side}: {tasks}perplexity ×{row['perplexity_ratio']:.3g}")
    return "; ".join(said)
