"""The tables of a run: what each edit did, beside chance, RANDOM and its side effects (NeuronLLM Table 1)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from neuron_antagonism.metrics.protocols import SHOWN

TITLES = {"degrade": "Degrade", "enhance": "Enhance"}
WIDTH = 120
NARROW = 118
MARKED = 0.05
BARS = " ▁▂▃▄▅▆▇█"


class ResultTable:
    """The tables of a run, two a task, one for the averages and one for planted neurons; `str()` gives plain text.

    Args:
        results: what results.json holds.
    """

    def __init__(self, results: Mapping[str, Any]) -> None:
        """Keep the results."""
        self.results = results

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict a task, scorer and mode: the cells of the `held-out` protocol."""
        return [cell for found in self.results["tasks"].values() for cell in found["cells"][SHOWN]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text | Table]:
        """What a rich console prints; where it is narrow, only the population effect has its interval."""
        narrow = options.max_width < NARROW
        for task, found in self.results["tasks"].items():
            yield from _task_table(task, found, narrow)
            yield from _side_effects(task, found)
        yield from self._averages()
        if any(found["planted"] is not None for found in self.results["tasks"].values()):
            yield from self._planted()

    def __str__(self) -> str:
        """Plain text."""
        console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False)
        console.print(self)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    def _averages(self) -> tuple[Text, Table]:
        judged = all(found["natural"]["above_chance"] for found in self.results["tasks"].values())
        title = "Mean over tasks: RAC % / RCC %" + ("" if judged else " (a task at chance is among them: no verdict)")
        table = _table(["Scorer"], list(TITLES.values()))
        averages = {(a["scorer"], a["mode"]): a for a in self.results["averages"]}
        for scorer in dict.fromkeys(scorer for scorer, _ in averages):
            table.add_row(scorer, *(_average(averages.get((scorer, mode)), judged) for mode in TITLES))
        return Text(title), table

    def _planted(self) -> tuple[Text, Table]:
        tasks = {task: found["planted"] for task, found in self.results["tasks"].items()}
        first = next(iter(tasks.values()))
        k = next(iter(first.values()))["k"]
        table = _table(["Scorer"], list(tasks))
        for scorer, one in first.items():
            label = f"{scorer} (ceiling)" if one.get("kind") == "ceiling" else scorer
            table.add_row(label, *(_precision(found[scorer]) for found in tasks.values()))
        return Text(f"Planted neurons in the {k} strongest (good bad)"), table


def _table(left: list[str], right: list[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _task_table(task: str, found: Mapping[str, Any], narrow: bool) -> tuple[Text, Table]:
    table = _table(["Scorer"], ["Acc", "RAC %", "RCC %", "as it comes", "net", "g:b", "at all"])
    at_all = {(effect["scorer"], effect["mode"]): effect for effect in found["at_all"]}
    net = {(one["method"], one["mode"]): one for one in found["net"] if one["metric"] == "rac"}
    judged = found["natural"]["above_chance"]
    marked = {
        (one["baseline"], one["mode"])
        for one in found["differences"]
        if judged and one["p_holm"] is not None and one["p_holm"] < MARKED
    }
    for mode, label in TITLES.items():
        table.add_row(Text(label, style="bold"))
        for cell in (c for c in found["cells"][SHOWN] if c["mode"] == mode):
            name = (cell["scorer"], mode)
            figures = _cell(cell, at_all.get(name), net.get(name), judged, narrow)
            table.add_row(f" {cell['scorer']}{' *' if name in marked else ''}", *figures)
    return Text(f"{task}: {_heading(found)}"), table


def _heading(found: Mapping[str, Any]) -> str:
    """What the model answers unedited: on the evaluation set, on examples as they come, and by chance."""
    before, natural, split = found["before"], found["natural"], found["split"]
    half = ""
    if split["reference"]:
        known, other = split["understood"]["evaluate"]
        half = f", by construction {known} understood by {split['reference']} and {other} not"
    levels = f"accuracy {before['acc']:.1%}, comprehension {before['com']:.1%}"
    words = split.get("form") == "words"
    asked = f"asked in words, {split['shown']} answered examples shown\n" if words else ""
    lines = [f"{asked}unedited {levels} ({before['examples']} examples{half})"]
    if natural["acc"] is None:
        lines.append("as examples come: not known (the share that is understood was not measured)")
    else:
        lines.append(
            f"as examples come ({natural['read']} read): accuracy {level(natural, 'acc')}, "
            f"comprehension {level(natural, 'com')}"
        )
    rules = {"guess": 1 / natural["options"], **natural["blind"]}
    lines.append(
        f"by chance: accuracy {natural['chance_acc']:.1%}, comprehension {natural['chance_com']:.1%} "
        f"(best of {', '.join(f'{name} {value:.1%}' for name, value in rules.items())})"
    )
    ties = f", {before['ties']} exact ties" if before["ties"] else ""
    lines.append(f"{'option' if words else 'letter'} mass {before['letter_mass']:.2f}{ties}")
    if not natural["above_chance"]:
        lines.append("NOT ABOVE CHANCE unedited: no verdict on any edit")
    return "\n".join(lines)


def level(natural: Mapping[str, Any], metric: str) -> str:
    """A natural accuracy or comprehension with its interval, in percent."""
    if natural[metric] is None:
        return "not known"
    low, high = natural[f"{metric}_interval"]
    return f"{natural[metric]:.1%} [{100 * low:.0f}, {100 * high:.0f}]"


def _cell(
    cell: Mapping[str, Any],
    at_all: Mapping[str, Any] | None,
    net: Mapping[str, Any] | None,
    judged: bool,
    narrow: bool,
) -> list[str]:
    used = "varies" if cell["n_good"] is None else f"{cell['n_good']}:{cell['n_bad']}"
    rac = _figure(cell["rac"], None if narrow else cell["rac_interval"])
    rcc = _figure(cell["rcc"], None if narrow else cell["rcc_interval"])
    natural = _figure(cell["population_acc"], cell["population_acc_interval"])
    gained = "-" if net is None else _figure(net["points"], None if narrow else net["points_interval"])
    everywhere = "-" if at_all is None else f"{at_all['acc_after']:.1%}"
    failed = "Fail " if judged and cell["failed"] else ""
    return [f"{cell['acc_after']:.1%}", failed + rac, rcc, natural, gained, used, everywhere]


def _side_effects(task: str, found: Mapping[str, Any]) -> tuple[Text, Table]:
    effects = found["side_effects"]
    letters = list(effects["rows"][0]["by_letter"]) if effects["rows"] else []
    columns = ["changed", f"right, {' '.join(letters)}" if letters else "right", "other tasks", "KL", "perplexity"]
    table = _table(["Scorer"], columns)
    for mode, label in TITLES.items():
        table.add_row(Text(label, style="bold"))
        for row in (row for row in effects["rows"] if row["mode"] == mode):
            others = row["other_tasks"].values()
            table.add_row(
                f" {row['scorer']}",
                f"{row['answers_changed']:.0%}",
                " ".join(_share(one["right_after"], one["questions"]) for one in row["by_letter"].values()) or "-",
                " ".join(f"{points:+.0f}" for points in others) if others else "-",
                f"{row['kl']:.3f}",
                f"×{row['perplexity_ratio']:.3g}",
            )
    return Text(f"{task}: side effects (text: {effects['text']})"), table


def _share(right: int, questions: int) -> str:
    return f"{100 * right / questions:3.0f}" if questions else "  -"


def _figure(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:+.1f}" + (f" [{interval[0]:.0f}, {interval[1]:.0f}]" if interval else "")


def _average(average: Mapping[str, Any] | None, judged: bool) -> str:
    if average is None:
        return "-"
    figures = " / ".join(_figure(average[metric], None) for metric in ("rac", "rcc"))
    return ("Fail " if judged and average["failed"] else "") + figures


def _precision(found: Mapping[str, Any]) -> str:
    return " ".join("-" if found[role] is None else f"{found[role]:.2f}" for role in ("good", "bad"))


def layer_lines(results: Mapping[str, Any], scorer: str, *, bars: bool = True) -> Iterator[str]:
    """Where a scorer's neurons sit: per task, how many good and bad ones each layer has.

    Args:
        results: what results.json holds.
        scorer: whose.
        bars: whether a small bar for each layer follows; narrow encodings have none.
    """
    for task, found in results["tasks"].items():
        layers = found["layers"].get(scorer)
        if layers is None:
            continue
        parts = [
            f"{role} {' '.join(f'{n:3d}' for n in layers[role])}{f'  {_bars(layers[role])}' if bars else ''}"
            for role in ("good", "bad")
            if layers[role]
        ]
        yield f"{task:12s} {'   '.join(parts)}"


def _bars(counts: Sequence[int]) -> str:
    """Counts as bars of a line's height, the largest full; what is none is a gap."""
    most = max(counts) or 1
    return "".join(BARS[-(-n * (len(BARS) - 1) // most)] for n in counts)
