"""A table of texts, and the forms in which people want it: Markdown, CSV, LaTeX, JSON, and a terminal's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from neuron_antagonism.csvs import csv_lines
from neuron_antagonism.files import write_whole


@dataclass(frozen=True)
class Section:
    """Rows under one heading.

    Args:
        name: the heading; "" = none.
        rows: the texts of each row, as many as there are columns.
    """

    name: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Grid:
    """A table.

    Args:
        title: one line.
        columns: their headings; the first is that of the rows' names.
        sections: one after the other.
        notes: what a reader needs to understand the cells.
    """

    title: str
    columns: Sequence[str]
    sections: Sequence[Section]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """As GitHub reads it; a section is a row in bold."""
        lines = [f"**{_md(self.title)}**", "", _md_row(self.columns)]
        lines.append("|" + "|".join([" --- ", *(" ---: " for _ in self.columns[1:])]) + "|")
        for section in self.sections:
            if section.name:
                lines.append(_md_row([f"**{_md(section.name)}**", *("" for _ in self.columns[1:])], escape=False))
            lines += [_md_row(row) for row in section.rows]
        for note in self.notes:
            lines += ["", _md(note)]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """One line a row, its section in the first column."""
        rows = [[one.name, *row] for one in self.sections for row in one.rows]
        return csv_lines([["section", *self.columns], *rows])

    def latex(self) -> str:
        """A table for `booktabs`."""
        width = len(self.columns)
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(self.title)}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", _tex_row(self.columns)]
        for section in self.sections:
            lines.append(r"\midrule")
            if section.name:
                lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_tex(section.name)}}}}} \\")
            lines += [_tex_row(row) for row in section.rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par\footnotesize {_tex(note)}" for note in self.notes]
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        sections = [{"name": one.name, "rows": [list(row) for row in one.rows]} for one in self.sections]
        return {"title": self.title, "columns": list(self.columns), "sections": sections, "notes": list(self.notes)}

    def rich(self) -> Table:
        """For a terminal, without the notes."""
        table = Table(title=Text(self.title, style="italic"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        # five columns of figures in a terminal of eighty
        table.collapse_padding = True
        table.add_column(Text(self.columns[0]), no_wrap=True)
        for name in self.columns[1:]:
            table.add_column(Text(name), justify="right", no_wrap=True)
        for section in self.sections:
            if section.name:
                # a heading in the first column would widen it
                table.add_row(Text(section.name, style="bold"))
            for row in section.rows:
                table.add_row(*(Text(cell) for cell in (f" {row[0]}", *row[1:])))
        return table


FORMS: Mapping[str, Callable[[Grid], str]] = {
    "md": Grid.markdown,
    "csv": Grid.csv,
    "tex": Grid.latex,
    "json": lambda grid: json.dumps(grid.to_json(), indent=1, ensure_ascii=False) + "\n",
}
"""By a file's ending, how a table is written."""


def write_grid(directory: Path, name: str, grid: Grid) -> None:
    """Write a table in every form."""
    for ending, form in FORMS.items():
        write_whole(directory / f"{name}.{ending}", form(grid).encode())


def _md(text: str) -> str:
    return re.sub(r"([\\|*_<>`\[\]#])", r"\\\1", " ".join(text.split()))


def _md_row(cells: Sequence[str], *, escape: bool = True) -> str:
    return "| " + " | ".join(_md(cell) if escape else cell for cell in cells) + " |"


_TEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "°": r"$^\circ$",
    "±": r"$\pm$",
    "→": r"$\to$",
    "−": r"$-$",
    "×": r"$\times$",
    "π": r"$\pi$",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in " ".join(text.split()))


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(_tex(cell) for cell in cells) + r" \\"
