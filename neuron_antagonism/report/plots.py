"""Plots of a suite as PNG; matplotlib is imported only here, and draws without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BINS = 24


def plot_values(
    rows: Sequence[Mapping[str, Any]], values: Sequence[Mapping[str, Any]], tau: float, title: str
) -> bytes:
    """One panel for each class's unit: histograms of its values by class, and the class's range.

    Args:
        rows: of each class the unit shown, its μ and σ on the class, and its mean overlap.
        values: the units' values by class.
        tau: half the range's width in σ.
        title: what it is of.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(2, len(rows))
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(6.4 * columns, 3.2 * lines + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    classes = list(dict.fromkeys(row["concept"] for row in rows))
    for axis, row in zip(axes, rows, strict=False):
        own = [value for value in values if value["unit_of"] == row["concept"]]
        edges = np.histogram_bin_edges([value["value"] for value in own], BINS)
        low, high = (row["shown_mean"] + side * tau * row["shown_std"] for side in (-1, 1))
        axis.axvspan(low, high, color="0.9")
        for number, name in enumerate(classes):
            theirs = [value["value"] for value in own if value["concept"] == name]
            mine = name == row["concept"]
            axis.hist(
                theirs,
                edges,
                density=True,
                histtype="stepfilled" if mine else "step",
                alpha=0.75 if mine else 1.0,
                linewidth=1.2,
                color=f"C{number % 10}",
            )
        axis.set_title(
            f"unit {row['shown']}: {row['concept']} (Gaussian overlap {row['shown_overlap']:.2f})", fontsize=10
        )
        axis.set_xlabel("value at the last position")
        axis.set_yticks([])
    for axis in axes[len(rows) :]:
        axis.set_axis_off()
    lines_by_class = [Line2D([], [], color=f"C{number % 10}", linewidth=4) for number in range(len(classes))]
    figure.legend(lines_by_class, classes, loc="outside lower center", ncols=min(8, len(classes)), frameon=False)
    figure.suptitle(f"{title}: values on rightly answered questions; grey: the class's range, τ = {tau:g}")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()
