"""The tables of a leaderboard, and of what the method's own choices do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from neuron_antagonism.metrics.outcomes import MODES
from neuron_antagonism.report.grids import Grid, Section
from neuron_antagonism.report.paper.cells import each, where
from neuron_antagonism.report.rows import Row

COLUMNS = {
    "Truth": "agreement.spearman",
    "Top": "agreement.good@100",
    "CPR": "faithfulness.cpr",
    "CMD": "faithfulness.cmd",
    "Enh": "control.enhance-net",
    "Deg": "control.degrade-net",
    "Dose": "dose.good-slope",
    "Same": "stability.good-jaccard",
    "Plant": "planted.good-auroc",
    "Tok": "cost.tokens",
}
"""Of a leaderboard, what stands in the table; results.json has every figure with its interval."""

JUDGES = {
    "agreement": "Truth: does the scorer rank single neurons as silencing each of them does (Spearman)? Top: of its "
    "100 best, the share among the 100 that help most. (ceiling): exact ablation of half of the questions against the "
    "rest.",
    "faithfulness": "CPR: how much of the answer comes back when only the best neurons keep their values (area, higher "
    "is better); CMD: how far that curve is from 1 (lower is better).",
    "control": "Enh, Deg: how much further the right letter's log-odds move (nats) than under random neurons of the "
    "same layers and activity, when the strongest are edited to help or to hinder; + = what the edit is for.",
    "dose": "Dose: does more of the good neurons help more? Log-odds for each unit of their factor.",
    "interaction": "Interaction: do good and bad neurons do together more than one by one?",
    "stability": "Same: would other examples have chosen the same good neurons? Overlap of two draws.",
    "planted": "Plant: are the neurons found that were planted? AUROC, .5 is chance.",
    "cost": "Tok: tokens in forward passes for each question scored.",
}
"""What each judge says, in a sentence for a newcomer."""


def board(part: str, task: str, rows: Sequence[Row], columns: dict[str, str] | None = None) -> Grid:
    """The scorers of a task side by side, with intervals.

    Args:
        part: the part's name.
        task: the task's.
        rows: its rows.
        columns: judges by title; default: those that there are of `COLUMNS`.
    """
    there = set(each(rows, "judge"))
    columns = columns or {title: judge for title, judge in COLUMNS.items() if judge in there}
    lines = []
    for scorer in each(rows, "scorer"):
        own = where(rows, scorer=scorer)
        name = f"({scorer})" if scorer == "ceiling" else str(scorer)
        lines.append([name, *(interval(where(own, judge=judge)) for judge in columns.values())])
    judges = [
        sentence for judge, sentence in JUDGES.items() if any(name.startswith(judge) for name in columns.values())
    ]
    return Grid(f"{part}: {task}", ["Scorer", *columns], [Section("", lines)], [*judges, _brackets(rows)])


def choices(task: str, rows: Sequence[Row]) -> Grid:
    """What each setting of each choice does on a task, beside the standard.

    Args:
        task: the task's name.
        rows: its rows, of one scorer.
    """
    several, shown = len({row.get("seed") for row in rows}), _shown(rows)
    sections = []
    for choice in each(rows, "choice"):
        own = where(rows, choice=choice)
        lines = [
            [str(setting) or "as by default", *_setting(where(own, setting=setting), shown, several)]
            for setting in each(own, "setting")
        ]
        sections.append(Section(str(choice), lines))
    chance = any(row["above_chance"] is False for row in rows)
    beyond = (
        f"smallest and largest of {several} seeds, or of so many in brackets,"
        if several > 1
        else "95 % interval, over texts,"
    )
    reasons = dict.fromkeys(f"{row['choice']} {row['setting']}: {row['reason']}" for row in rows if row["reason"])
    notes = [
        f"{_ENH_DEG}; beyond: {beyond} of what it does beyond the standard's on the same questions. "
        f"{_of_neurons(shown)}",
        *(["The model is not above chance on this task: no verdict."] if chance else []),
        *_short(rows),
        *reasons,
    ]
    mark = "°" if chance else ""
    columns = ["Setting", "Enh", "beyond", "Deg", "beyond ", *(_OF_NEURONS[name] for name in shown)]
    return Grid(f"choices: {task}{mark}, {rows[0]['scorer']}", columns, sections, notes)


def choices_in_all(rows: Sequence[Row]) -> Grid | None:
    """What each setting does beyond the standard on average over tasks and seeds, and on how many it is told from it.

    Args:
        rows: those of one scorer. Of tasks on which the model is not above chance nothing is counted.

    Returns:
        None where fewer than two tasks and seeds are left.
    """
    rows = [row for row in rows if row["above_chance"] is not False]
    cells = len({(row["task"], row.get("seed")) for row in rows})
    if cells < 2:
        return None
    shown = _shown(rows)
    sections = []
    for choice in each(rows, "choice"):
        own = where(rows, choice=choice)
        lines = [_in_all(str(setting), where(own, setting=setting), shown, cells) for setting in each(own, "setting")]
        sections += [Section(str(choice), lines)] if choice != "standard" else []
    seeds = len({row.get("seed") for row in rows})
    tasks = len({row["task"] for row in rows})
    about = ", ".join(f"{count} {what}s" for count, what in ((tasks, "task"), (seeds, "seed")) if count > 1)
    notes = [
        f"{_ENH_DEG}; here the mean over {cells} tasks and seeds of what it does beyond the standard's on the same "
        f"questions. n/k: on n of {cells} its 95 % interval over texts lies above 0, on k below; with 'of', there are "
        "fewer. One interval in twenty lies beside 0 by chance, and seeds of a task are no tasks. "
        f"{_of_neurons(shown)}",
        *_short(rows),
    ]
    columns = ["Setting", "Enh", "n/k", "Deg", "n/k ", *(_OF_NEURONS[name] for name in shown)]
    return Grid(f"choices: {about}, {rows[0]['scorer']}", columns, sections, notes)


_ENH_DEG = (
    "Enh, Deg: change of the right letter's log-odds (nats) under an edit of half good and half bad neurons (good ones "
    "alone where there are no bad ones), + = what it is for, so that the target log-odds is judged by itself"
)
_OF_NEURONS = {"spearman": "Truth", "good@100": "Top", "same": "Same"}
_SAID = {
    "spearman": "Truth: Spearman correlation with exact ablation",
    "good@100": "Top: overlap of the 100 best",
    "same": "Same: overlap of the good neurons with the standard's",
}


def _shown(rows: Sequence[Row]) -> list[str]:
    return [name for name in _OF_NEURONS if any(row["figure"] == name for row in rows)]


def _of_neurons(shown: Sequence[str]) -> str:
    return "; ".join(_SAID[name] for name in shown) + "."


def _short(rows: Sequence[Row]) -> list[str]:
    """Which settings edit fewer neurons than the standard."""
    edited: dict[str, list[int]] = {}
    for row in rows:
        if row.get("n_good") is not None:
            edited.setdefault(f"{row['choice']} {row['setting']}".strip(), []).append(row["n_good"] + row["n_bad"])
    most = max(edited.get("standard", [0]))
    return [
        f"{name}: {_range(counts)} neurons edited, the standard {most}"
        for name, counts in edited.items()
        if min(counts) < most
    ]


def _range(counts: Sequence[int]) -> str:
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


LEAST = 1e-4
"""Nats that a difference must be off 0 to be counted: what rounding leaves between equal edits lies below."""


def _in_all(setting: str, rows: Sequence[Row], shown: Sequence[str], cells: int) -> list[str]:
    told = []
    for mode in MODES:
        there = [row for row in where(rows, figure=f"{mode}-beyond") if row["low"] is not None]
        above, below = sum(row["low"] > LEAST for row in there), sum(row["high"] < -LEAST for row in there)
        counted = f"{above}/{below}" + (f" of {len(there)}" if len(there) < cells else "")
        told += [_plain(there), counted if there else "-"]
    return [setting, *told, *(_plain(where(rows, figure=name)) for name in shown)]


def _setting(rows: Sequence[Row], shown: Sequence[str], seeds: int) -> list[str]:
    cells = []
    for mode in MODES:
        beyond = [row for row in where(rows, figure=f"{mode}-beyond") if row["low"] is not None]
        ends = [beyond[0]["low"], beyond[0]["high"]] if beyond else []
        if beyond and seeds > 1:
            values = [row["value"] for row in beyond]
            ends = [min(values), max(values)]
        fewer = f" ({len(beyond)})" if beyond and len(beyond) < seeds else ""
        cells += [_plain(where(rows, figure=mode)), (" to ".join(number(end) for end in ends) or "-") + fewer]
    return [*cells, *(_plain(where(rows, figure=name)) for name in shown)]


def _plain(rows: Sequence[Row]) -> str:
    there = [row["value"] for row in rows if row["value"] is not None]
    return number(fmean(there)) if there else "-"


def interval(rows: Sequence[Row]) -> str:
    """A figure with its interval; of several seeds the mean, with the smallest and largest."""
    there = [row for row in rows if row["value"] is not None]
    if not there:
        return "-"
    if len(rows) > 1:
        ends = min(row["value"] for row in there), max(row["value"] for row in there)
    elif there[0]["low"] is None:
        return number(there[0]["value"])
    else:
        ends = there[0]["low"], there[0]["high"]
    return f"{_plain(there)} [{number(ends[0])}, {number(ends[1])}]"


def number(value: float) -> str:
    """Two decimals, none from ten on."""
    return f"{round(value, 2) + 0.0:.2f}" if abs(value) < 10 else f"{value:.0f}"


def _brackets(rows: Sequence[Row]) -> str:
    seeds = len({row.get("seed") for row in rows})
    return f"Means of {seeds} seeds [smallest, largest]." if seeds > 1 else "In brackets: 95 % intervals over texts."


def by_task(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows of one task at a time."""
    for task in each(rows, "task"):
        yield str(task), where(rows, task=task)
