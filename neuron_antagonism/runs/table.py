"""The table of a run: signed RAC and RCC with intervals, `Fail` where the direction is wrong (NeuronLLM Table 1)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text


PROTOCOL = "held-out"
COMPLETENESS_TOLERANCE = 0.1
TITLES = {"degrade": "Degrade", "enhance": "Enhance"}
WIDTH = 100


class ResultTable:
    """The tables of a run, one a task and one for the averages; `str()` gives plain text.

    Args:
        results: what results.json holds.
    """

    def __init__(self, results: Mapping[str, Any]) -> None:
        """Keep the results."""
        self.results = results

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict a task, scorer and mode: the cells of the `held-out` protocol."""
        return [cell for found in self.results["tasks"].values() for cell in found["cells"][PROTOCOL]]

    def __rich__(self) -> Group:
        """What a rich console prints."""
        return Group(*self._tables())

    def __str__(self) -> str:
        """Plain text."""
        console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False)
        console.print(self)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    def _tables(self) -> Iterator[Table]:
        for task, found in self.results["tasks"].items():
            yield _task_table(task, found)
        yield self._averages()

    def _averages(self) -> Table:
        table = _table("Mean over tasks: RAC % / RCC %", ["Scorer"], list(TITLES.values()))
        averages = {(a["scorer"], a["mode"]): a for a in self.results["averages"]}
        for scorer in dict.fromkeys(scorer for scorer, _ in averages):
            table.add_row(scorer, *(_average(averages.get((scorer, mode))) for mode in TITLES))
        return table


def _table(title: str, left: list[str], right: list[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _task_table(task: str, found: Mapping[str, Any]) -> Table:
    before, planted = found["before"], found["planted"]
    title = (
        f"{task}: unedited accuracy {before['acc']:.1%}, comprehension {before['com']:.1%} "
        f"({before['examples']} examples)"
    )
    columns = ["Acc", "RAC %", "RCC %", "good:bad", *([] if planted is None else ["planted"])]
    table = _table(title, ["Scorer"], columns)
    for mode, label in TITLES.items():
        table.add_row(Text(label, style="bold"))
        for cell in (c for c in found["cells"][PROTOCOL] if c["mode"] == mode):
            row = [f" {cell['scorer']}", *_cell(cell)]
            table.add_row(*row, *([] if planted is None else [_planted(planted[cell["scorer"]])]))
    return table


def _cell(cell: Mapping[str, Any]) -> list[str]:
    used = "varies" if cell["n_good"] is None else f"{cell['n_good']}:{cell['n_bad']}"
    figures = [_figure(cell[metric], cell[f"{metric}_interval"]) for metric in ("rac", "rcc")]
    if cell["failed"]:
        figures = [f"Fail {figure}" for figure in figures]
    return [f"{cell['acc_after']:.1%}", *figures, used]


def _figure(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:+.1f}" + (f" [{interval[0]:.0f}, {interval[1]:.0f}]" if interval else "")


def _average(average: Mapping[str, Any] | None) -> str:
    if average is None:
        return "-"
    figures = " / ".join(_figure(average[metric], None) for metric in ("rac", "rcc"))
    return ("Fail " if average["failed"] else "") + figures


def _planted(found: Mapping[str, Any]) -> str:
    return " ".join("-" if found[role] is None else f"{found[role]:.2f}" for role in ("good", "bad"))


def layer_lines(results: Mapping[str, Any], scorer: str) -> Iterator[str]:
    """Where a scorer's neurons sit: per task, how many good and bad ones each layer has."""
    for task, found in results["tasks"].items():
        layers = found["layers"].get(scorer)
        if layers is None:
            continue
        parts = [f"{role} {' '.join(f'{n:3d}' for n in layers[role])}" for role in ("good", "bad") if layers[role]]
        yield f"{task:12s} {'   '.join(parts)}"




def notes(results: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know besides the figures: short sets, completeness, what the signs mean."""
    for task, found in results["tasks"].items():
        for line in found["split"]["notes"]:
            yield f"note: {task}: {line}"
        for scorer, a in found["attribution"].items():
            error = a["completeness_error"]
            if error is not None and error > COMPLETENESS_TOLERANCE:
                yield (
                    f"warning: {task}: {scorer}'s integrated gradients miss {error:.0%} of what they should sum to at "
                    f"{a['steps']} steps ({a['quadrature']}); --steps auto takes as many as it needs"
                )
    if any(found["planted"] is not None for found in results["tasks"].values()):
        yield "planted: share of a scorer's strongest good and bad neurons that were planted in that role"
    yield (
        f"RAC, RCC: relative change of accuracy and comprehension, signed so that + is what the edit is for; [..]: 95 % "
        f"interval over examples (random: over draws); Fail: either is negative; protocol {results['protocol']}"
    )
