"""Tables and figures of a suite as files beside its results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuron_antagonism.files import file_name, write_whole
from neuron_antagonism.report.boards import board, by_task, choices
from neuron_antagonism.report.grids import Grid, write_grid
from neuron_antagonism.report.paper.cells import each, where
from neuron_antagonism.report.paper.figures import FIGURES, drawn
from neuron_antagonism.report.paper.published import beside, of_model
from neuron_antagonism.report.paper.tables import TABLES
from neuron_antagonism.report.rows import Row, write_rows


def grids(part: Mapping[str, Any], rows: Sequence[Row], models: Sequence[str]) -> Iterator[tuple[str, Grid]]:
    """Name and table of each that a part gives; of several models one a model.

    Args:
        part: its spec, as a suite's file states it.
        rows: the part's.
        models: the names of the models that were measured.
    """
    for name, own in _by_model(rows):
        model = of_model(name or next(iter(models), ""))
        for number in part.get("tables", ()):
            grid = beside(TABLES[number](own), number, model)
            title = f"{grid.title} ({name})" if name else grid.title
            yield f"table{number}{_suffix(name)}", replace(grid, title=title)
        for label, grid in _own(part, own):
            title = f"{grid.title} ({name})" if name else grid.title
            yield f"{file_name(label)}{_suffix(name)}", replace(grid, title=title)


def _own(part: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[tuple[str, Grid]]:
    """Tables that are not the paper's, one a task."""
    for task, own in by_task(rows) if part["part"] in ("judging", "choices") else ():
        if part["part"] == "judging":
            yield f"{part['name']}-{task}", board(part["name"], task, own)
            continue
        for scorer in each(own, "scorer"):
            label = f"{part['name']}-{task}" + (f"-{scorer}" if len(part["scorers"]) > 1 else "")
            yield label, choices(task, where(own, scorer=scorer))


def write_tables(
    out: Path, suite: Mapping[str, Any], parts: Mapping[str, Sequence[Row]], models: Sequence[str]
) -> None:
    """Write tables (Markdown, CSV, LaTeX, JSON) and figures (PNG, SVG, and what is drawn as CSV).

    Args:
        out: the suite's directory.
        suite: its spec, as its file states it.
        parts: rows by part's name.
        models: the names of the models that were measured.
    """
    for part in suite["parts"]:
        rows = parts[part["name"]]
        if not rows:
            continue
        for name, grid in grids(part, rows, models):
            (out / "tables").mkdir(exist_ok=True)
            write_grid(out / "tables", name, grid)
        for model, own in _by_model(rows):
            for number in part.get("figures", ()):
                (out / "figures").mkdir(exist_ok=True)
                name = f"figure{number}{_suffix(model)}"
                for form, data in drawn(FIGURES[number](own)).items():
                    write_whole(out / "figures" / f"{name}.{form}", data)
                write_rows(out / "figures" / f"{name}.csv", own)


def _by_model(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get("model", ""), []).append(row)
    yield from groups.items()


def _suffix(model: str) -> str:
    return f"-{file_name(model)}" if model else ""
