"""Tables 1 to 8 of NeuronLLM from the rows of the parts `effects`, `common`, `budgets` and `cross`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from neuron_antagonism.report.grids import Grid, Section
from neuron_antagonism.report.paper.cells import (
    MODES,
    PROTOCOLS,
    average,
    by_task,
    cell,
    each,
    mean,
    notes,
    signed,
    where,
)
from neuron_antagonism.report.rows import Row


def table1(rows: Sequence[Row]) -> Grid:
    """All scorers on all tasks, under each protocol."""
    tasks, scorers = each(rows, "task"), each(rows, "scorer")
    sections = []
    there = [name for name in PROTOCOLS if where(rows, protocol=name)]
    for protocol in there:
        for mode, short in MODES.items():
            own = where(rows, protocol=protocol, mode=mode)
            lines = [[scorer, *by_task(where(own, scorer=scorer), tasks)] for scorer in scorers]
            sections.append(Section(f"{short}, {protocol}", lines))
    return Grid("Table 1: scorers side by side", ["Scorer", *tasks, "Average"], sections, notes(rows, protocols=there))


def table2(rows: Sequence[Row]) -> Grid:
    """The other scorers with good neurons only, and with bad ones too; averages over tasks."""
    tasks, first = each(rows, "task"), method(rows)
    scorers = [name for name in each(where(rows, protocol="bad"), "scorer") if name not in (first, "random")]
    sections = []
    for protocol in ("matched", "held-out"):
        lines = []
        for scorer in scorers:
            own = where(rows, scorer=scorer)
            line = [scorer]
            for mode in MODES:
                for kind in ("good", protocol):
                    there = where(own, mode=mode, protocol=kind)
                    line.append(average([where(there, task=task) for task in tasks]))
            lines.append(line)
        sections.append(Section(protocol, lines))
    columns = [f"{short} {kind}" for short in MODES.values() for kind in ("original", "enabled")]
    return Grid(
        "Table 2: other scorers enabled by bad neurons, means over tasks",
        ["Scorer", *columns],
        sections,
        notes(rows, _ENABLED, protocols=("matched", "held-out")),
    )


_ENABLED = "Original: good neurons only; enabled: good and bad ones."


def table3(rows: Sequence[Row]) -> Grid:
    """The first scorer's good neurons, its bad ones, and both; averages over tasks."""
    own = where(rows, scorer=method(rows))
    lines = [[short, *_kinds(where(own, mode=mode))] for mode, short in MODES.items()]
    columns = ["Mode", "Good", "Bad", "Both", "Both, held-out"]
    about = "Both: at its best ratio on the evaluation set; held-out: chosen on other examples."
    return Grid(
        f"Table 3: {method(rows)}'s good and bad neurons, means over tasks",
        columns,
        [Section("", lines)],
        notes(rows, about),
    )


def _kinds(rows: Sequence[Row]) -> list[str]:
    tasks = each(rows, "task")
    return [
        average([where(rows, protocol=kind, task=task) for task in tasks])
        for kind in ("good", "bad", "matched", "held-out")
    ]


def table4(rows: Sequence[Row]) -> Grid:
    """What the model answers unedited, on the drawn set and on examples as they come."""
    tasks = each(rows, "task")
    first = [where(where(rows, task=task, scorer=method(rows), protocol="held-out"), mode="enhance") for task in tasks]
    drawn = [[name, *(_percent(mean(own, field)) for own in first)] for name, field in _DRAWN.items()]
    natural = [[name, *(_level(own, field) for own in first)] for name, field in _NATURAL.items()]
    natural.append(["Understood (π)", *(_percent(mean(own, "understood")) for own in first)])
    above = ["Above chance", *("yes" if all(r["above_chance"] for r in own) else "no" for own in first)]
    return Grid(
        "Table 4: unedited performance, %",
        ["", *tasks],
        [Section("evaluation set", drawn), Section("as examples come", [*natural, above])],
        ["In brackets: 95 % intervals over texts. Com: at least two thirds of an example's questions right."],
    )


_DRAWN = {"Acc": "acc_before", "Com": "com_before"}
_NATURAL = {"Acc": "natural", "Com": "natural_com"}


def _level(rows: Sequence[Row], field: str) -> str:
    ends = rows[0][f"{field}_interval"] if len(rows) == 1 else None
    shown = _percent(mean(rows, field))
    return shown if ends is None else f"{shown} [{100 * ends[0]:.0f}, {100 * ends[1]:.0f}]"


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"


def table5(rows: Sequence[Row]) -> Grid:
    """Common neurons edited on each task."""
    tasks, several = each(rows, "task"), len(each(rows, "scorer")) > 1
    sections = []
    # of one set there is no other scorer that could choose differently: `paper` and `matched` are the same
    for protocol in ("matched", "held-out"):
        own = where(rows, protocol=protocol)
        lines = [
            [f"{scorer}, {short}" if several else short, *by_task(where(own, scorer=scorer, mode=mode), tasks)]
            for scorer in each(own, "scorer")
            for mode, short in MODES.items()
        ]
        sections.append(Section(protocol, lines))
    depth = "; ".join(
        f"{scorer}: {_range(own, f'common_{role}')} common {role} neurons, down to place {_range(own, f'depth_{role}')}"
        for scorer in each(rows, "scorer")
        for role in ("good", "bad")
        if (own := [row for row in where(rows, scorer=scorer) if row[f"common_{role}"] is not None])
    )
    return Grid(
        "Table 5: common neurons",
        ["Mode", *tasks, "Average"],
        sections,
        notes(rows, f"{depth}.", protocols=("matched", "held-out")),
    )


def _range(rows: Sequence[Row], name: str) -> str:
    values = sorted({row[name] for row in rows if row[name] is not None})
    return "no" if not values else str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def table6(rows: Sequence[Row]) -> Grid:
    """Good neurons, bad ones and both, of every scorer that has both, on every task."""
    tasks = each(rows, "task")
    kinds = {"good": "Good", "bad": "Bad", "matched": "Both", "held-out": "Both, held-out"}
    sections = []
    for scorer in (name for name in each(where(rows, protocol="bad"), "scorer") if name != "random"):
        for mode, short in MODES.items():
            own = where(rows, scorer=scorer, mode=mode)
            lines = [[name, *by_task(where(own, protocol=kind), tasks)] for kind, name in kinds.items()]
            sections.append(Section(f"{scorer}, {short}", lines))
    about = "Both: at its best ratio on the evaluation set; held-out: chosen on other examples."
    return Grid(
        "Table 6: good neurons, bad neurons, both", ["Neurons", *tasks, "Average"], sections, notes(rows, about)
    )


def table7(rows: Sequence[Row]) -> Grid:
    """Budgets."""
    scorers, tasks = each(rows, "scorer"), each(rows, "task")
    sections = []
    for task in tasks:
        for protocol in ("paper", "held-out"):
            for mode, short in MODES.items():
                own = where(rows, task=task, protocol=protocol, mode=mode)
                lines = [
                    [
                        f"{budget} ({_share(where(own, budget=budget))})",
                        *(cell(where(own, budget=budget, scorer=scorer)) for scorer in scorers),
                    ]
                    for budget in each(own, "budget")
                ]
                name = f"{short}, {protocol}"
                sections.append(Section(f"{task}, {name}" if len(tasks) > 1 else name, lines))
    about = "In brackets: the budget's share of all neurons."
    told = f"Table 7: budgets, {tasks[0]}" if len(tasks) == 1 else "Table 7: budgets"
    return Grid(told, ["Budget", *scorers], sections, notes(rows, about, protocols=("paper", "held-out")))


def _share(rows: Sequence[Row]) -> str:
    return f"{100 * float(rows[0]['share']):.2g}%" if rows else "-"


def table8(rows: Sequence[Row]) -> Grid:
    """Enhancers of one task's neurons on the other tasks."""
    asked = each(rows, "asked")
    sections, scorers = [], each(rows, "scorer")
    for scorer in scorers:
        for kind in ("specific", "all"):
            own = where(rows, neurons=kind, mode="enhance", scorer=scorer)
            lines = []
            for task in each(own, "task"):
                there = where(own, task=task)
                count = f"{there[0]['n_good']} good, {there[0]['n_bad']} bad, {_share(there)}"
                lines.append([f"{task} ({count})", *(signed(where(there, asked=other)) for other in asked)])
            name = "neurons that no other task shares" if kind == "specific" else "all of a task's neurons"
            sections.append(Section(f"{scorer}: {name}" if len(scorers) > 1 else name, lines))
    about = "Rows: whose neurons are edited, how many, and their share of all; columns: the task that is asked."
    plain = "RAC/RCC in % with their signs: + is an improvement. °: the model is not above chance on the task asked."
    return Grid("Table 8: enhancers across tasks", ["Neurons of", *asked], sections, [about, plain])


def method(rows: Sequence[Row]) -> str:
    """The scorer under test: the first."""
    return str(rows[0]["scorer"])


TABLES: Mapping[int, Callable[[Sequence[Row]], Grid]] = {
    1: table1,
    2: table2,
    3: table3,
    4: table4,
    5: table5,
    6: table6,
    7: table7,
    8: table8,
}
"""By the paper's number."""
