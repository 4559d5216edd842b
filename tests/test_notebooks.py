"""The notebooks run as they stand, and show what they are committed with."""

from __future__ import annotations

import sys
from typing import Any

import nbformat
import notebooks
import pytest

MACHINE = ("/home/", "/root/", "/tmp/", "/usr/", "site-packages", "C:\\", str(notebooks.FOLDER.parents[1]), sys.prefix)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any) -> list[tuple[str, ...]]:
    """The kinds of a cell's outputs: figures differ by rounding from machine to machine."""
    return [
        (output.output_type, *sorted(output.get("data", {output.get("name", ""): None}))) for output in cell.outputs
    ]


def test_there_are_two():
    """The first steps, and a scorer of one's own."""
    assert [path.stem for path in notebooks.ALL] == ["first_steps", "own_scorer"]


@pytest.mark.parametrize("path", notebooks.ALL, ids=lambda path: path.stem)
def test_what_is_committed(path):
    """Outputs of one run from top to bottom, small, without errors and without a word of the machine they come from."""
    committed = nbformat.read(path, as_version=4)
    nbformat.validate(committed)
    assert path.stat().st_size < 300_000
    assert [cell.execution_count for cell in code(committed)] == list(range(1, len(code(committed)) + 1))
    assert sum(bool(cell.outputs) for cell in code(committed)) >= 8
    streams = {output.name for cell in code(committed) for output in cell.outputs if output.output_type == "stream"}
    assert streams <= {"stdout"}
    text = path.read_text(encoding="utf-8")
    assert not [part for part in MACHINE if part in text]
    assert committed.metadata == notebooks.METADATA
    assert not any(cell.metadata for cell in committed.cells)


@pytest.mark.parametrize("path", notebooks.ALL, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path):
    """No cell fails or warns, each shows what it shows where it is committed, and nothing is left behind."""
    committed = nbformat.read(path, as_version=4)
    ran = notebooks.stripped(notebooks.executed(path, tmp_path))
    for before, after in zip(code(committed), code(ran), strict=True):
        assert shown(after) == shown(before), after.source
    assert list(tmp_path.iterdir()) == []
