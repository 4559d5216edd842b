"""Which rows stand where in a table of the paper, whatever is printed of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from neuron_antagonism.report.grids import Grid, Section
from neuron_antagonism.report.paper.cells import average
from neuron_antagonism.report.rows import Row

Cell = Sequence[Sequence[Row]]
"""The rows of each task that it is the average of; of one task, or seed after seed, those of that."""


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Args:
        name: what stands before it.
        cells: by column.
    """

    name: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Layout:
    """A table whose cells are rows.

    Args:
        title: one line.
        corner: what the lines' names are.
        across: what the columns' names are.
        sections: lines by heading.
        notes: what a reader needs to understand the cells that the paper prints.
        averaged: whether the average over the columns stands in a last one.
        columns: their names; default: those of the first line.
        shown: what the paper prints in a cell.
    """

    title: str
    corner: str
    across: str
    sections: Mapping[str, Sequence[Line]]
    notes: Sequence[str]
    columns: Sequence[str]
    averaged: bool = False
    shown: Callable[[Cell], str] = average

    def grid(self) -> Grid:
        """As the paper prints it."""
        found = [
            Section(
                name,
                [
                    [line.name, *(self.shown(line.cells[one]) for one in self.columns), *self._average(line)]
                    for line in lines
                ],
            )
            for name, lines in self.sections.items()
        ]
        last = ["Average"] if self.averaged else []
        return Grid(self.title, [self.corner, *self.columns, *last], found, self.notes)

    def _average(self, line: Line) -> list[str]:
        return [self.shown([rows for cell in line.cells.values() for rows in cell])] if self.averaged else []
