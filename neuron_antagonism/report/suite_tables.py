"""The tables of a suite, for people; `results.json` and the CSV files hold every figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from neuron_antagonism.report.boards import COLUMNS, JUDGES, by_task, number
from neuron_antagonism.report.rows import Row
from neuron_antagonism.report.written import grids

Spec = Mapping[str, Any]
"""A part's spec, as a suite's file states it."""


CLASSES = (
    "On it, On others: accuracy on the class and on all others, in % (confidence: probability of the right "
    "answer's token in the whole vocabulary). Drop: how much accuracy falls, in points, with its 95 % interval; "
    "negative: it rises. Changed: share of the others' answers that are other ones, in %. Perpl.: perplexity of "
    "plain text."
)
GRID = (
    "Controls: classes whose accuracy drops by a tenth or more. Matched: of these, those with a rival: of the "
    "suite's whole masks with no smaller drop, the one that changes the others' answers least. Spared: how much "
    "more it changes them. Better, Worse: classes where its interval leaves out 0."
)
SHAPES = (
    "Gaussian: share of the units that pass a test of normality (5 %). |Skew|, Kurtosis: medians. Overlap: of the "
    "class's Gaussians with the other classes', 0 to 1, of its units (of all). Shown: the plotted unit, as "
    "layer.unit, and its own."
)
EDITS = (
    "RAC, RCC: relative change of accuracy and comprehension, + where the edit does what it is for. Others: "
    "change of accuracy on the other tasks, in points. Perpl.: perplexity of plain text, times the unedited "
    "model's."
)

RUN = (
    "Accuracy under the edit, its change where understood examples are as frequent as in the data, and that change "
    "of accuracy beyond RANDOM's mean, + where the edit does what it is for: % and points; of several seeds the median "
    "(smallest to largest). Planted: share of planted good and bad neurons found, mean."
)


BOARD = "Of several seeds the mean. -: nothing to measure, as CPR where the model does no better than its baseline."


def tables(
    suite: Spec, parts: Mapping[str, Sequence[Row]], models: Sequence[Mapping[str, Any]] = ()
) -> Iterator[Table | Text]:
    """The tables of every part, in the suite's order, those about classes one a task; then what their columns mean.

    Args:
        suite: its spec, as its file states it.
        parts: rows by part's name.
        models: those that were measured, as a manifest describes them.
    """
    if suite.get("form") == "words":
        shots = "as many as the task says" if suite["shots"] is None else suite["shots"]
        yield Text(f"asked in words, answered examples shown (of each class, or in all): {shots}")
    legends: dict[str, None] = {}
    for part in suite["parts"]:
        if part["part"] not in KINDS or part.get("tables"):
            for _, grid in grids(part, parts[part["name"]], models) if parts[part["name"]] else ():
                yield grid.rich()
                legends |= dict.fromkeys(grid.notes)
            continue
        shown, legend = KINDS[part["part"]]
        for about, rows in _apart(parts[part["name"]], keep=part["part"] in ("effects", "judging")):
            if about:
                yield Text(about, style="bold")
            yield from shown(part, rows)
        legends |= dict.fromkeys(legend(part))
    for line in legends:
        yield Text(line, style="dim")


def _apart(rows: Sequence[Row], *, keep: bool) -> Iterator[tuple[str, list[Row]]]:
    """Rows of one model and seed at a time, and what tells them apart; of one model alone where seeds are kept."""
    names = ["model"] if keep else ["model", "seed"]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        about = ", ".join(f"{name} {row[name]}" for name in names if name in row)
        groups.setdefault(about, []).append(row)
    yield from groups.items()


def _masking(part: Spec, rows: Sequence[Row]) -> Iterator[Table]:
    shown = _grid if _is_grid(part) else _by_class
    for task, own in by_task(rows):
        yield shown(part, task, own)


def _is_grid(part: Spec) -> bool:
    return len(part["shares"]) * len(part["taus"]) > 1


def _distributed(part: Spec, rows: Sequence[Row]) -> Iterator[Table]:
    for task, own in by_task(rows):
        yield _distributions(part, task, own)


def _gated(part: Spec, rows: Sequence[Row]) -> Iterator[Table]:
    yield _gating(part, rows)


def _effects(part: Spec, rows: Sequence[Row]) -> Iterator[Table]:
    columns = ["Acc %", "as it comes", "net", "Planted"]
    for task, own in by_task([row for row in rows if row["protocol"] == "held-out"]):
        seeds = len({row.get("seed") for row in own})
        natural = _spread([100 * row["natural"] for row in own if row["natural"] is not None])
        title = f"{task}, {part['name']}: unedited {_spread([100 * row['acc_before'] for row in own])} %"
        title += f", as examples come {natural} %" + (f"; {seeds} seeds" if seeds > 1 else "")
        table = _table(title, ["Scorer"], columns)
        for mode in dict.fromkeys(row["mode"] for row in own):
            table.add_row(mode.capitalize())
            for scorer in dict.fromkeys(row["scorer"] for row in own):
                cells = [row for row in own if (row["scorer"], row["mode"]) == (scorer, mode)]
                planted = [_mean_of(cells, f"planted_{role}") for role in ("good", "bad")]
                table.add_row(
                    f" {scorer}",
                    _spread([100 * row["acc_after"] for row in cells]),
                    _spread([row["population_acc"] for row in cells], sign="+"),
                    _spread([row["net"] for row in cells], sign="+"),
                    " ".join(planted) if any(one != "-" for one in planted) else "-",
                )
        yield table


def _board(part: Spec, rows: Sequence[Row]) -> Iterator[Table]:
    judged = {row["judge"] for row in rows}
    columns = {title: judge for title, judge in COLUMNS.items() if judge in judged}
    for task, own in by_task(rows):
        title = f"{task}, {part['name']}: {part['evaluate']} held-out examples, target {part['target']}"
        table = _table(title, ["Scorer"], list(columns))
        # ten columns in a terminal of eighty
        table.collapse_padding = True
        for scorer in dict.fromkeys(row["scorer"] for row in own):
            cells = {
                judge: [r for r in own if (r["scorer"], r["judge"]) == (scorer, judge)] for judge in columns.values()
            }
            table.add_row(
                f"({scorer})" if scorer == "ceiling" else scorer, *(_judged(cells[j]) for j in columns.values())
            )
        yield table


def _judged(cells: Sequence[Row]) -> str:
    there = [cell["value"] for cell in cells if cell["value"] is not None]
    return number(float(np.mean(there))) if there else "-"


def _spread(values: Sequence[float | None], sign: str = "") -> str:
    """One value, or the median of several with the smallest and the largest."""
    there = [value for value in values if value is not None]
    if not there:
        return "-"
    if len(set(there)) == 1:
        return f"{there[0]:{sign}.1f}"
    return f"{np.median(there):{sign}.0f} ({min(there):{sign}.0f} to {max(there):{sign}.0f})"


def _mean_of(rows: Sequence[Row], name: str) -> str:
    there = [row[name] for row in rows if row[name] is not None]
    return f"{np.mean(there):.2f}" if there else "-"


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    shown = Text(title, style="italic")  # as text: a task's or class's name may hold what rich takes for markup
    table = Table(title=shown, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _by_class(part: Spec, task: str, rows: Sequence[Row]) -> Table:
    masks = f"{part['shares'][0]:.0%} of each layer, τ = {part['taus'][0]:g}"
    title = f"{task}, {part['name']}: accuracy % (confidence %); {masks}"
    columns = ["On it", "Drop", "On others", "Drop", "Changed", "Perpl."]
    table = _table(title, ["Class", "Mask"], columns)
    for row in rows:
        first = row["mask"] == "none"
        if first and row is not rows[0]:
            table.add_section()
        cells = [cell for side in ("target", "complement") for cell in _side(row, side)]
        changed = "" if first else _points(row["complement_changed"])
        table.add_row(Text(row["concept"] if first else ""), row["mask"], *cells, changed, _number(row["perplexity"]))
    return table


def _side(row: Row, side: str) -> tuple[str, str]:
    level = f"{100 * row[f'{side}_accuracy']:.0f} ({100 * row[f'{side}_confidence']:.0f})"
    if row["mask"] == "none":
        return level, ""
    return level, _points(row[f"{side}_accuracy_drop"], row[f"{side}_accuracy_drop_interval"], sign="+")


def _points(value: float | None, interval: Sequence[float] | None = None, sign: str = "-") -> str:
    """Points of a hundred, with their interval."""
    if value is None:
        return "-"
    ends = "" if interval is None else f" [{round(100 * interval[0])}, {round(100 * interval[1])}]"
    return f"{round(100 * value):{sign}d}{ends}"


def _grid(part: Spec, task: str, rows: Sequence[Row]) -> Table:
    title = f"{task}, {part['name']}: means over {len({row['concept'] for row in rows})} classes, in points"
    columns = ["Drop on it", "On others", "Changed", "Controls", "Matched", "Spared", "Better", "Worse"]
    table = _table(title, ["Share", "Mask"], columns)
    for share in part["shares"]:
        for tau in (*part["taus"], None):
            cells = [row for row in rows if row["share"] == share and row["tau"] == tau]
            table.add_row(
                f"{100 * share:.3g}%" if tau == part["taus"][0] else "",
                "whole" if tau is None else f"τ = {tau:g}",
                *(_points(_mean(cells, f"{side}_accuracy_drop"), sign="+") for side in ("target", "complement")),
                _points(_mean(cells, "complement_changed")),
                *(_spared(cells) if tau is not None else [""] * 5),
            )
    return table


def _spared(cells: Sequence[Row]) -> list[str]:
    """Classes that a range mask controls, those with a rival, what it spares, and where that is better or worse."""
    controlled = sum(row.get("controls", False) for row in cells)
    found = [row for row in cells if row.get("spared") is not None]
    if not found:
        return [str(controlled), "0", "-", "", ""]
    better = sum(row["spared_interval"][0] > 0 for row in found)
    worse = sum(row["spared_interval"][1] < 0 for row in found)
    return [str(controlled), str(len(found)), _points(_mean(found, "spared"), sign="+"), str(better), str(worse)]


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _distributions(part: Spec, task: str, rows: Sequence[Row]) -> Table:
    title = f"{task}, {part['name']}: values on rightly answered questions, {part['share']:.0%} of each layer"
    columns = ["Answers", "Gaussian", "|Skew|", "Kurtosis", "Overlap", "(all)", "Shown", "Overlap"]
    table = _table(title, ["Class"], columns)
    for row in rows:
        table.add_row(
            Text(row["concept"]),
            str(row["questions"]),
            f"{row['normal_share']:.0%}",
            f"{row['median_abs_skewness']:.2f}",
            f"{row['median_kurtosis']:+.2f}",
            f"{row['overlap_selected']:.2f}",
            f"({row['overlap_all']:.2f})",
            row["shown"],
            f"{row['shown_overlap']:.2f}",
        )
    return table


def _gating(part: Spec, rows: Sequence[Row]) -> Table:
    how = f"budget {part['budget']}, ratio {part['ratio']:g}, at all positions"
    title = f"{part['name']}: {', '.join(part['scorers'])}, {how}"
    several = len(part["scorers"]) > 1
    names = ["Task", *(["Scorer"] if several else []), "Mode", "Edit"]
    table = _table(title, names, ["Acc %", "RAC %", "RCC %", "Others", "Perpl."])
    reasons = dict.fromkeys(row["reason"] for row in rows if row["reason"])
    table.caption = Text("\n".join(f"-: {reason}" for reason in reasons)) if reasons else None
    for place, row in enumerate(rows):
        first = place == 0 or rows[place - 1]["task"] != row["task"]
        if first and place:
            table.add_section()
        about = [
            Text(row["task"] if first else ""),
            *([row["scorer"]] if several else []),
            row["mode"],
            "whole" if row["tau"] is None else f"τ = {row['tau']:g}",
        ]
        if row["reason"]:
            table.add_row(*about, *"-----")
            continue
        table.add_row(
            *about,
            f"{100 * row['accuracy_before']:.0f} → {100 * row['accuracy']:.0f}",
            *(_percent(row[name], row[f"{name}_interval"]) for name in ("rac", "rcc")),
            _points(row["other_tasks"], sign="+"),
            f"× {row['perplexity_ratio']:.2f}",
        )
    return table


def _percent(value: float | None, interval: Sequence[float] | None) -> str:
    ends = "" if interval is None else f" [{interval[0]:.0f}, {interval[1]:.0f}]"
    return "n/a" if value is None else f"{value:+.0f}{ends}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value < 1e6 else f"{value:.1e}"


Shown = Callable[[Spec, Sequence[Row]], Iterator[Table]]

KINDS: dict[str, tuple[Shown, Callable[[Spec], list[str]]]] = {
    "masking": (_masking, lambda part: [CLASSES, *([GRID] if _is_grid(part) else [])]),
    "distributions": (_distributed, lambda part: [SHAPES]),
    "gating": (_gated, lambda part: [EDITS]),
    "effects": (_effects, lambda part: [RUN]),
    "judging": (_board, lambda part: [*(JUDGES[one] for one in part["judges"] if one in JUDGES), BOARD]),
}
"""By the kind of a part, its tables and what their columns mean."""
