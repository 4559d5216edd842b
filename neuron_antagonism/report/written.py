"""Tables and figures of a suite as files beside its results."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuron_antagonism.errors import AntagonismWarning
from neuron_antagonism.files import file_name, write_whole
from neuron_antagonism.report.boards import board, by_task, choices, choices_in_all
from neuron_antagonism.report.grids import FORMS as GRID_FORMS
from neuron_antagonism.report.grids import Grid, write_grid
from neuron_antagonism.report.paper.cells import each, where
from neuron_antagonism.report.paper.companions import comparisons, intervals
from neuron_antagonism.report.paper.figures import FORMS, drawn
from neuron_antagonism.report.paper.published import beside, of_model
from neuron_antagonism.report.paper.tables import LAYOUTS, TABLES
from neuron_antagonism.report.rows import Row, write_rows
from neuron_antagonism.report.together import together

Models = Sequence[Mapping[str, Any]]

OWN = ("judging", "choices", "antagonism")
"""Parts with tables that are not the paper's."""


def grids(part: Mapping[str, Any], rows: Sequence[Row], models: Models) -> Iterator[tuple[str, Grid]]:
    """Name and table of each that a part gives; of several models one a model.

    Args:
        part: its spec, as a suite's file states it.
        rows: the part's.
        models: those that were measured, as a manifest describes them.
    """
    for name, suffix, own in _by_model(rows):
        about = [model for model in models if not name or model["name"] == name]
        model = of_model(about[0]) if about else None
        for number in part.get("tables", ()):
            grid = beside(TABLES[number](own), number, model)
            title = f"{grid.title} ({name})" if name else grid.title
            yield f"table{number}{suffix}", replace(grid, title=title)
        for label, grid in _own(part, own):
            title = f"{grid.title} ({name})" if name else grid.title
            yield f"{file_name(label)}{suffix}", replace(grid, title=title)


def companions(part: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[tuple[str, Grid]]:
    """Name and table of what stands beside a part's tables of the paper: intervals, and paired differences.

    Args:
        part: its spec, as a suite's file states it.
        rows: the part's.
    """
    for name, suffix, own in _by_model(rows):
        for number in part.get("tables", ()):
            if number not in LAYOUTS:
                continue
            layout = LAYOUTS[number](own)
            for label, grid in (("intervals", intervals(layout)), ("differences", comparisons(layout))):
                if grid is not None:
                    title = f"{grid.title} ({name})" if name else grid.title
                    yield f"table{number}-{label}{suffix}", replace(grid, title=title)


def _own(part: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[tuple[str, Grid]]:
    """Tables that are not the paper's: one a task and scorer or board, and of choices what all tasks say."""
    for task, own in by_task(rows) if part["part"] in OWN else ():
        if part["part"] == "judging":
            yield f"{part['name']}-{task}", board(part["name"], task, own)
            continue
        for scorer in each(own, "scorer"):
            of_scorer = where(own, scorer=scorer)
            grid = together(part, task, of_scorer) if part["part"] == "antagonism" else choices(task, of_scorer)
            yield _label(part, scorer, task), grid
    for scorer in each(rows, "scorer") if part["part"] == "choices" else ():
        in_all = choices_in_all(where(rows, scorer=scorer))
        if in_all is not None:
            yield _label(part, scorer), in_all


def _label(part: Mapping[str, Any], scorer: str, *task: str) -> str:
    return "-".join([part["name"], *task, *([scorer] if len(part["scorers"]) > 1 else [])])


def write_tables(out: Path, suite: Mapping[str, Any], parts: Mapping[str, Sequence[Row]], models: Models) -> None:
    """Write what is not there of tables (Markdown, CSV, LaTeX, JSON) and figures (PNG, SVG, what is drawn as CSV).

    What can't be drawn is warned of: the figures that it would show are in the results.

    Args:
        out: the suite's directory.
        suite: its spec, as its file states it.
        parts: rows by part's name.
        models: those that were measured, as a manifest describes them.
    """
    for part in suite["parts"]:
        rows = parts[part["name"]]
        if not rows:
            continue
        if part.get("tables") or part["part"] in OWN:
            for name, grid in (*grids(part, rows, models), *companions(part, rows)):
                (out / "tables").mkdir(exist_ok=True)
                write_grid(out / "tables", name, grid)
        for _, suffix, own in _by_model(rows):
            for number in part.get("figures", ()):
                _write_figure(out / "figures", f"figure{number}{suffix}", number, own)


def _write_figure(folder: Path, name: str, number: int, rows: Sequence[Row]) -> None:
    files = {form: folder / f"{name}.{form}" for form in FORMS}
    folder.mkdir(exist_ok=True)
    write_rows(folder / f"{name}.csv", rows)
    try:
        data = drawn(number, rows)
    except Exception as error:  # whatever a plotting library finds wrong with names or numbers
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        warnings.warn(f"{name} can't be drawn: {reason}", AntagonismWarning, stacklevel=3)
        return
    for form, file in files.items():
        write_whole(file, data[form])


def tables_there(out: Path, suite: Mapping[str, Any], parts: Mapping[str, Sequence[Row]], models: Models) -> bool:
    """Whether every table and figure is there; arguments as in `write_tables`."""
    names = []
    for part in suite["parts"]:
        rows = parts[part["name"]]
        every = (*grids(part, rows, models), *companions(part, rows))
        names += [out / "tables" / f"{name}.{form}" for name, _ in every for form in GRID_FORMS]
        names += [
            out / "figures" / f"figure{number}{suffix}.csv"
            for _, suffix, _ in _by_model(rows)
            for number in part.get("figures", ())
        ]
    return all(name.is_file() for name in names)


def _by_model(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """Name, ending of file names, and rows of each model."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get("model", ""), []).append(row)
    taken: set[str] = set()
    for name, own in groups.items():
        suffix = f"-{file_name(name)}" if name else ""
        while suffix in taken:
            suffix += "_"
        taken.add(suffix)
        yield name, suffix, own
