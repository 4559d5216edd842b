"""Tables 1 to 8 of NeuronLLM from the rows of the parts `effects`, `common`, `budgets` and `cross`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from neuron_antagonism.report.grids import Grid, Section
from neuron_antagonism.report.paper.cells import MODES, PROTOCOLS, each, mean, notes, signed, where
from neuron_antagonism.report.paper.layout import Layout, Line
from neuron_antagonism.report.rows import Row


def _by(rows: Sequence[Row], name: str, values: Sequence[str]) -> dict[str, list[list[Row]]]:
    """A cell for each value of a field."""
    return {value: [where(rows, **{name: value})] for value in values}


def _over_tasks(rows: Sequence[Row], tasks: Sequence[str]) -> list[list[Row]]:
    """One cell, the average over tasks."""
    return [where(rows, task=task) for task in tasks]


def table1(rows: Sequence[Row]) -> Layout:
    """All scorers on all tasks, under each protocol."""
    tasks, scorers = each(rows, "task"), each(rows, "scorer")
    there = [name for name in PROTOCOLS if where(rows, protocol=name)]
    sections = {
        f"{short}, {protocol}": [
            Line(scorer, _by(where(rows, protocol=protocol, mode=mode, scorer=scorer), "task", tasks))
            for scorer in scorers
        ]
        for protocol in there
        for mode, short in MODES.items()
    }
    told = notes(rows, protocols=there)
    return Layout("Table 1: scorers side by side", "Scorer", "Task", sections, told, tasks, averaged=True)


def table2(rows: Sequence[Row]) -> Layout:
    """The other scorers with good neurons only, and with bad ones too; averages over tasks."""
    tasks, first = each(rows, "task"), method(rows)
    scorers = [name for name in each(where(rows, protocol="bad"), "scorer") if name not in (first, "random")]
    sections = {
        protocol: [
            Line(
                scorer,
                {
                    f"{short} {name}": _over_tasks(where(rows, scorer=scorer, mode=mode, protocol=kind), tasks)
                    for mode, short in MODES.items()
                    for name, kind in (("original", "good"), ("enabled", protocol))
                },
            )
            for scorer in scorers
        ]
        for protocol in ("matched", "held-out")
    }
    columns = [f"{short} {kind}" for short in MODES.values() for kind in ("original", "enabled")]
    told = notes(rows, _ENABLED, protocols=("matched", "held-out"))
    title = "Table 2: other scorers enabled by bad neurons, means over tasks"
    return Layout(title, "Scorer", "Neurons", sections, told, columns)


_ENABLED = "Original: good neurons only; enabled: good and bad ones."


def table3(rows: Sequence[Row]) -> Layout:
    """The first scorer's good neurons, its bad ones, and both; averages over tasks."""
    own, tasks = where(rows, scorer=method(rows)), each(rows, "task")
    lines = [
        Line(
            short,
            {name: _over_tasks(where(own, mode=mode, protocol=kind), tasks) for kind, name in _KINDS.items()},
        )
        for mode, short in MODES.items()
    ]
    title = f"Table 3: {method(rows)}'s good and bad neurons, means over tasks"
    return Layout(title, "Mode", "Neurons", {"": lines}, notes(rows, _BOTH), list(_KINDS.values()))


_KINDS = {"good": "Good", "bad": "Bad", "matched": "Both", "held-out": "Both, held-out"}
_BOTH = "Both: at its best ratio on the evaluation set; held-out: chosen on other examples."


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


def table5(rows: Sequence[Row]) -> Layout:
    """Common neurons edited on each task."""
    tasks, several = each(rows, "task"), len(each(rows, "scorer")) > 1
    # of one set there is no other scorer that could choose differently: `paper` and `matched` are the same
    sections = {
        protocol: [
            Line(
                f"{scorer}, {short}" if several else short,
                _by(where(rows, protocol=protocol, scorer=scorer, mode=mode), "task", tasks),
            )
            for scorer in each(where(rows, protocol=protocol), "scorer")
            for mode, short in MODES.items()
        ]
        for protocol in ("matched", "held-out")
    }
    depth = "; ".join(
        f"{scorer}: {_range(own, f'common_{role}')} common {role} neurons, down to place {_range(own, f'depth_{role}')}"
        for scorer in each(rows, "scorer")
        for role in ("good", "bad")
        if (own := [row for row in where(rows, scorer=scorer) if row[f"common_{role}"] is not None])
    )
    told = notes(rows, f"{depth}.", protocols=("matched", "held-out"))
    return Layout("Table 5: common neurons", "Mode", "Task", sections, told, tasks, averaged=True)


def _range(rows: Sequence[Row], name: str) -> str:
    values = sorted({row[name] for row in rows if row[name] is not None})
    return "no" if not values else str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def table6(rows: Sequence[Row]) -> Layout:
    """Good neurons, bad ones and both, of every scorer that has both, on every task."""
    tasks = each(rows, "task")
    sections = {
        f"{scorer}, {short}": [
            Line(name, _by(where(rows, scorer=scorer, mode=mode, protocol=kind), "task", tasks))
            for kind, name in _KINDS.items()
        ]
        for scorer in each(where(rows, protocol="bad"), "scorer")
        if scorer != "random"
        for mode, short in MODES.items()
    }
    title = "Table 6: good neurons, bad neurons, both"
    return Layout(title, "Neurons", "Task", sections, notes(rows, _BOTH), tasks, averaged=True)


def table7(rows: Sequence[Row]) -> Layout:
    """Budgets."""
    scorers, tasks = each(rows, "scorer"), each(rows, "task")
    sections = {}
    for task in tasks:
        for protocol in ("paper", "held-out"):
            for mode, short in MODES.items():
                own = where(rows, task=task, protocol=protocol, mode=mode)
                name = f"{short}, {protocol}"
                sections[f"{task}, {name}" if len(tasks) > 1 else name] = [
                    Line(
                        f"{budget} ({_share(where(own, budget=budget))})",
                        _by(where(own, budget=budget), "scorer", scorers),
                    )
                    for budget in each(own, "budget")
                ]
    told = notes(rows, "In brackets: the budget's share of all neurons.", protocols=("paper", "held-out"))
    title = f"Table 7: budgets, {tasks[0]}" if len(tasks) == 1 else "Table 7: budgets"
    return Layout(title, "Budget", "Scorer", sections, told, scorers)


def _share(rows: Sequence[Row]) -> str:
    return f"{100 * float(rows[0]['share']):.2g}%" if rows else "-"


def table8(rows: Sequence[Row]) -> Layout:
    """Enhancers of one task's neurons on the other tasks."""
    asked, scorers = each(rows, "asked"), each(rows, "scorer")
    sections = {}
    for scorer in scorers:
        for kind, told in (("specific", "neurons that no other task shares"), ("all", "all of a task's neurons")):
            own = where(rows, neurons=kind, mode="enhance", scorer=scorer)
            lines = []
            for task in each(own, "task"):
                there = where(own, task=task)
                count = f"{there[0]['n_good']} good, {there[0]['n_bad']} bad, {_share(there)}"
                lines.append(Line(f"{task} ({count})", _by(there, "asked", asked)))
            sections[f"{scorer}: {told}" if len(scorers) > 1 else told] = lines
    about = "Rows: whose neurons are edited, how many, and their share of all; columns: the task that is asked."
    plain = "RAC/RCC in % with their signs: + is an improvement. °: the model is not above chance on the task asked."
    title = "Table 8: enhancers across tasks"
    return Layout(title, "Neurons of", "Asked", sections, [about, plain], asked, shown=signed)


def method(rows: Sequence[Row]) -> str:
    """The scorer under test: the first."""
    return str(rows[0]["scorer"])


LAYOUTS: Mapping[int, Callable[[Sequence[Row]], Layout]] = {
    1: table1,
    2: table2,
    3: table3,
    5: table5,
    6: table6,
    7: table7,
    8: table8,
}
"""By the paper's number, the tables of edits."""


def _as_printed(number: int) -> Callable[[Sequence[Row]], Grid]:
    return lambda rows: LAYOUTS[number](rows).grid()


TABLES: Mapping[int, Callable[[Sequence[Row]], Grid]] = {
    number: table4 if number == 4 else _as_printed(number) for number in range(1, 9)
}
"""By the paper's number, each as the paper prints it."""
