"""Figures 2, 4 to 7 and 10 of NeuronLLM from the rows of the parts `cross`, `layers` and `probabilities`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuron_antagonism.report.paper.cells import each, mean, where
from neuron_antagonism.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMS = ("png", "svg")
ROLES = ("good", "bad")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))


def figure2(rows: Sequence[Row]) -> Figure:
    """Task-specific neurons on every task, comprehension."""
    return _crossed(rows, ["specific"], ["rcc"], "task-specific neurons edited on every task")


def figure4(rows: Sequence[Row]) -> Figure:
    """All of a task's neurons, and those that no other task shares, on every task, by both metrics."""
    return _crossed(rows, ["all", "specific"], ["rac", "rcc"], "neurons of each task edited on every task")


def figure5(rows: Sequence[Row]) -> Figure:
    """Layers of the strongest good and bad neurons, by task."""
    figure, axes = _canvas(1, 2, (9.6, 3.4))
    own = where(_first(rows), neurons="all")
    tasks = each(own, "task")
    for axis, role in zip(axes, ROLES, strict=True):
        counts = {task: _by_layer(where(own, role=role, task=task)) for task in tasks}
        for number, (task, values) in enumerate(counts.items()):
            axis.plot(values, label=task, linestyle=STYLES[number % len(STYLES)], marker=".", linewidth=1.4)
        axis.plot(np.mean(list(counts.values()), axis=0), label="mean", color="black", linestyle="--", linewidth=1.8)
        _layered(axis, role)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(f"Layers of the {_counted(own)} strongest neurons of {each(own, 'scorer')[0]}")
    return figure


def figure6(rows: Sequence[Row]) -> Figure:
    """Layers of the common neurons."""
    figure, axes = _canvas(1, 2, (9.6, 3.2))
    first = each(rows, "task")[0]
    own = where(_first(rows), neurons="common", task=first)
    for axis, role in zip(axes, ROLES, strict=True):
        there = where(own, role=role)
        values = _by_layer(there)
        axis.bar(range(len(values)), values, color="0.35", hatch="//" if role == "bad" else None, edgecolor="white")
        _layered(axis, role)
        depth = {row["depth"] for row in there}
        deepest = f", down to place {'/'.join(map(str, sorted(depth)))}" if depth else ""
        axis.set_title(f"{role} neurons: {values.sum():.0f}{deepest}", fontsize=10)
    figure.suptitle(f"Layers of the neurons that at least two tasks share, {_scorer(rows)}")
    return figure


def figure7(rows: Sequence[Row]) -> Figure:
    """How the layers change when common neurons are left out."""
    figure, axes = _canvas(1, 2, (10.4, 2.9))
    rows = _first(rows)
    tasks = each(rows, "task")
    changes = {
        role: np.array(
            [
                _by_layer(where(rows, role=role, task=task, neurons="specific"))
                - _by_layer(where(rows, role=role, task=task, neurons="all"))
                for task in tasks
            ]
        )
        for role in ROLES
    }
    bound = max(float(np.abs(values).max()) for values in changes.values() if values.size) or 1.0
    for axis, role in zip(axes, ROLES, strict=True):
        image = axis.imshow(changes[role], cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
        _numbered(axis, changes[role], bound, "{:+.0f}")
        left = [_by_layer(where(rows, role=role, task=task, neurons="specific")).sum() for task in tasks]
        axis.set_yticks(range(len(tasks)), [f"{task} ({own:.0f})" for task, own in zip(tasks, left, strict=True)])
        axis.set_xticks(range(changes[role].shape[1]))
        _layered(axis, role, counts=False)
    figure.colorbar(image, ax=axes, label="neurons more (+), fewer (-)")
    figure.suptitle(
        f"{_scorer(rows)}: layers without common neurons (in brackets: how many are left), less those of all",
        fontsize=10,
    )
    return figure


def figure10(rows: Sequence[Row]) -> Figure:
    """Probabilities of the options of some questions under edits."""
    # one panel a question: those of other seeds are others
    panels: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        panels.setdefault((row.get("seed"), row["task"], row["mode"], row["question"]), []).append(row)
    shown = list(panels.values())
    lines = -(-len(shown) // 2)
    figure, axes = _canvas(lines, min(2, len(shown)), (10.6, 2.4 * lines))
    for axis, own in zip(axes, shown, strict=False):
        edits = each(own, "edit")
        options = each(own, "option")
        values = np.array([[mean(where(own, edit=e, option=o), "probability") for o in options] for e in edits], float)
        axis.imshow(values, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        _numbered(axis, values, 1.0, "{:.2f}")
        right = [bool(where(own, option=option)[0]["right"]) for option in options]
        axis.set_xticks(range(len(options)), [f"{o} ✓" if r else o for o, r in zip(options, right, strict=True)])
        axis.set_yticks(range(len(edits)), [_told(where(own, edit=edit)[0]) for edit in edits])
        chance = "" if own[0]["above_chance"] else "°"
        seed = f", seed {own[0]['seed']}" if "seed" in own[0] else ""
        axis.set_title(f"{own[0]['task']}{chance}, {own[0]['mode']}{seed}", fontsize=10)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    figure.suptitle("Probabilities of the options (cross-entropy in nats); *: the edit does what it is for")
    return figure


def _told(row: Row) -> str:
    return f"{row['edit']}{'*' if row['success'] else ''} ({row['cross_entropy']:.2f})"


def _crossed(rows: Sequence[Row], kinds: Sequence[str], metrics: Sequence[str], title: str) -> Figure:
    rows = _first(rows)
    tasks = each(rows, "task")
    modes = ("degrade", "enhance")
    panels = [(kind, metric, mode) for kind in kinds for metric in metrics for mode in modes]
    columns = len(metrics) * len(modes)
    figure, axes = _canvas(len(kinds), columns, (3.1 * columns + 0.8, 2.9 * len(kinds) + 0.4))
    own = {panel: where(rows, neurons=panel[0], mode=panel[2]) for panel in panels}
    grids = {
        panel: np.array(
            [[mean(where(own[panel], task=t, asked=a), panel[1]) for t in tasks] for a in tasks], dtype=float
        )
        for panel in panels
    }
    bound = max((float(np.nanmax(np.abs(grid))) for grid in grids.values() if not np.isnan(grid).all()), default=1.0)
    for number, (axis, (kind, metric, mode)) in enumerate(zip(axes, panels, strict=True)):
        image = axis.imshow(grids[kind, metric, mode], cmap="RdBu", vmin=-bound or -1, vmax=bound or 1)
        _numbered(axis, grids[kind, metric, mode], bound, "{:+.0f}")
        edited = [f"{task}\n{_touched(where(own[kind, metric, mode], task=task, asked=task))}" for task in tasks]
        axis.set_xticks(range(len(tasks)), edited, rotation=30, ha="right", fontsize=7)
        asked = [_marked(task, where(rows, asked=task)) for task in tasks]
        axis.set_yticks(range(len(tasks)), asked if number % columns == 0 else [""] * len(tasks), fontsize=8)
        axis.set_title(f"{kind}, {mode}, {metric.upper()}", fontsize=9)
    figure.colorbar(image, ax=axes, label="%, + = what the edit is for", shrink=0.8)
    told = "columns: whose neurons, good + bad; rows: the task that is asked; °: not above chance"
    figure.suptitle(f"{_scorer(rows)}: {title} ({told})", fontsize=9)
    return figure


def _touched(rows: Sequence[Row]) -> str:
    """How many good and bad neurons an edit has; of several seeds the means."""
    return "" if not rows else " + ".join(f"{mean(rows, name) or 0:.0f}" for name in ("n_good", "n_bad"))


def _marked(task: str, rows: Sequence[Row]) -> str:
    return f"{task}°" if any(row["above_chance"] is False for row in rows) else task


def _scorer(rows: Sequence[Row]) -> str:
    return str(rows[0]["scorer"])


def _first(rows: Sequence[Row]) -> list[Row]:
    """The first scorer's: a figure is of one."""
    return where(rows, scorer=rows[0]["scorer"]) if rows else []


def _by_layer(rows: Sequence[Row]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How many neurons each layer has; of several seeds the mean."""
    return np.array([mean(where(rows, layer=layer), "count") for layer in each(rows, "layer")], dtype=float)


def _counted(rows: Sequence[Row]) -> int:
    first = rows[0]
    same = where(rows, task=first["task"], role=first["role"], scorer=first["scorer"])
    return sum(row["count"] for row in same if row.get("seed") == first.get("seed"))


def _layered(axis: Any, role: str, *, counts: bool = True) -> None:
    axis.set_title(f"{role} neurons", fontsize=10)
    axis.set_xlabel("layer (0 first)")
    if counts:
        axis.set_ylabel("neurons")
        axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)


def _numbered(axis: Any, values: np.ndarray[Any, Any], bound: float, form: str) -> None:
    """Numbers in the cells of a map: nothing is said by colour alone."""
    if values.size > 400:
        return
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            dark = abs(value) > 0.6 * bound
            text = form.format(value + 0.0)
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")


def _canvas(lines: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(lines, columns)).ravel())


FIGURES: Mapping[int, Callable[[Sequence[Row]], Figure]] = {
    2: figure2,
    4: figure4,
    5: figure5,
    6: figure6,
    7: figure7,
    10: figure10,
}
"""By the paper's number."""


def drawn(number: int, rows: Sequence[Row], forms: Iterable[str] = FORMS) -> dict[str, bytes]:
    """A figure's file in each form; the same rows give the same bytes.

    Args:
        number: the figure's in the paper.
        rows: what is drawn.
        forms: "png", "svg".
    """
    import matplotlib

    found = {}
    # a name may hold dollars; the identifiers in an SVG are random otherwise
    how: Any = {"text.parse_math": False, "svg.hashsalt": "neuron_antagonism", "svg.fonttype": "none"}
    with matplotlib.rc_context(how):
        figure = FIGURES[number](rows)
        for form in forms:
            out = io.BytesIO()
            about = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
            figure.savefig(out, format=form, dpi=160, metadata=about)
            found[form] = out.getvalue()
    return found
