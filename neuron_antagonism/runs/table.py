"""The table of a run: signed RAC and RCC with intervals, `Fail` where the direction is wrong (NeuronLLM Table 1)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from neuron_antagonism.method.attribute import COMPLETENESS_TOLERANCE
from neuron_antagonism.runs.results import PROTOCOL

TITLES = {"degrade": "Degrade", "enhance": "Enhance"}
WIDTH = 100
NARROW = 92
LEAST_MASS = 0.5


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

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """What a rich console prints; where it is narrow, the intervals of RCC are left out."""
        narrow = options.max_width < NARROW
        for task, found in self.results["tasks"].items():
            yield _task_table(task, found, narrow)
        yield self._averages()
        if any(found["planted"] is not None for found in self.results["tasks"].values()):
            yield self._planted()

    def __str__(self) -> str:
        """Plain text."""
        console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False)
        console.print(self)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    def _averages(self) -> Table:
        table = _table("Mean over tasks: RAC % / RCC %", ["Scorer"], list(TITLES.values()))
        averages = {(a["scorer"], a["mode"]): a for a in self.results["averages"]}
        for scorer in dict.fromkeys(scorer for scorer, _ in averages):
            table.add_row(scorer, *(_average(averages.get((scorer, mode))) for mode in TITLES))
        return table

    def _planted(self) -> Table:
        tasks = {task: found["planted"] for task, found in self.results["tasks"].items()}
        first = next(iter(tasks.values()))
        k = next(iter(first.values()))["k"]
        table = _table(f"Planted neurons in the {k} strongest (good bad)", ["Scorer"], list(tasks))
        for scorer, one in first.items():
            label = f"{scorer} (ceiling)" if one.get("kind") == "ceiling" else scorer
            table.add_row(label, *(_precision(found[scorer]) for found in tasks.values()))
        return table


def _table(title: str, left: list[str], right: list[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _task_table(task: str, found: Mapping[str, Any], narrow: bool) -> Table:
    before = found["before"]
    title = (
        f"{task}: unedited accuracy {before['acc']:.1%}, comprehension {before['com']:.1%} "
        f"({before['examples']} examples)\nletter mass {before['letter_mass']:.2f}"
    )
    table = _table(title, ["Scorer"], ["Acc", "RAC %", "RCC %", "g:b", "at all"])
    at_all = {(effect["scorer"], effect["mode"]): effect for effect in found["at_all"]}
    for mode, label in TITLES.items():
        table.add_row(Text(label, style="bold"))
        for cell in (c for c in found["cells"][PROTOCOL] if c["mode"] == mode):
            table.add_row(f" {cell['scorer']}", *_cell(cell, at_all.get((cell["scorer"], mode)), narrow))
    return table


def _cell(cell: Mapping[str, Any], at_all: Mapping[str, Any] | None, narrow: bool) -> list[str]:
    used = "varies" if cell["n_good"] is None else f"{cell['n_good']}:{cell['n_bad']}"
    rac = _figure(cell["rac"], cell["rac_interval"])
    rcc = _figure(cell["rcc"], None if narrow else cell["rcc_interval"])
    everywhere = "-" if at_all is None else f"{at_all['acc_after']:.1%}"
    return [f"{cell['acc_after']:.1%}", f"Fail {rac}" if cell["failed"] else rac, rcc, used, everywhere]


def _figure(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:+.1f}" + (f" [{interval[0]:.0f}, {interval[1]:.0f}]" if interval else "")


def _average(average: Mapping[str, Any] | None) -> str:
    if average is None:
        return "-"
    figures = " / ".join(_figure(average[metric], None) for metric in ("rac", "rcc"))
    return ("Fail " if average["failed"] else "") + figures


def _precision(found: Mapping[str, Any]) -> str:
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
        mass = found["before"]["letter_mass"]
        if mass < LEAST_MASS:
            yield (
                f"warning: {task}: where its answer is read, the model gives the letters only {mass:.1%} of its "
                "probability: it would write something else there"
            )
        for line, scorers in _incomplete(found["attribution"]).items():
            yield f"warning: {task}: the integrated gradients of {', '.join(scorers)} miss {line}"
    yield (
        "letter mass: probability of the option letters among all tokens, where the answer is read. "
        f"Acc: accuracy under the edit (protocol {results['protocol']}). RAC, RCC: relative change of accuracy and "
        "comprehension, + where the edit does what it is for; [..]: 95 % interval over examples (random: over draws); "
        "Fail: either is negative; n/a: nothing was right (understood) before. g:b: good and bad neurons touched, "
        "fewer than the budget where a scorer has no more; varies: over the draws. at all: accuracy with the edit at "
        "all positions; -: not measured for draws."
    )


def _incomplete(attributions: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Scorers whose gradients miss more than the tolerance, by what there is to say."""
    lines: dict[str, list[str]] = {}
    for scorer, a in attributions.items():
        error = a["completeness_error"]
        if error is not None and error > COMPLETENESS_TOLERANCE:
            line = (
                f"{error:.0%} of what they should sum to at {a['steps']} steps ({a['quadrature']}); "
                "--steps auto takes as many as it needs"
            )
            lines.setdefault(line, []).append(scorer)
    return lines
