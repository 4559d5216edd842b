"""What a page is made of: sections with figures and tables, which name the rows that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        field: of the rows.
        title: its heading.
        kind: "text", "code", "number", "signed", "percent" (of a share) or "whole".
        ends: the fields of its interval's ends, shown in brackets.
        about: what it means, in a sentence.
    """

    field: str
    title: str
    kind: str = "text"
    ends: tuple[str, str] | None = None
    about: str = ""


@dataclass(frozen=True)
class Figure:
    """A plot, drawn by the page from rows of its data.

    Args:
        name: unique on the page.
        title: its heading.
        alt: what it shows, for those who can't see it.
        chart: a Vega-Lite document whose data are named `rows`.
        source: the name of its rows.
        panels: a field of the rows: a panel for each of its values; "" = one panel.
        share: fields whose smallest and largest value bound the axis of all panels alike.
    """

    name: str
    title: str
    alt: str
    chart: Mapping[str, Any]
    source: str
    panels: str = ""
    share: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows that sort, filter and search.

    Args:
        name: unique on the page.
        title: its heading.
        source: the name of its rows.
        columns: what is shown.
        folded: whether it is closed at first.
        detail: whether a row opens what else is known of it.
    """

    name: str
    title: str
    source: str
    columns: Sequence[Column]
    folded: bool = False
    detail: str = ""


Block = Figure | Table


@dataclass(frozen=True)
class Control:
    """A choice that filters the rows of a section's blocks by one of their fields.

    Args:
        field: of the rows.
        label: what it chooses.
        every: whether all values together are a choice.
    """

    field: str
    label: str
    every: bool = False


@dataclass(frozen=True)
class Section:
    """One section of a page.

    Args:
        name: its anchor.
        title: its heading.
        lead: one sentence: what one sees, and how to read it.
        blocks: figures and tables.
        controls: choices for all of its blocks.
        partial: a template of its own, for what is no figure or table.
        content: what that template shows.
        said: instead of everything else, why there is nothing to see.
    """

    name: str
    title: str
    lead: str
    blocks: Sequence[Block] = ()
    controls: Sequence[Control] = ()
    partial: str = ""
    content: Any = None
    said: str = ""


@dataclass
class Page:
    """A whole page.

    Args:
        title, subtitle: what it is of.
        key: tells whether a page is of these results.
        sections: in order.
        data: rows by name, each name once.
        questions: what the explorer of questions shows, or None.
        described: what is told of single neurons, by run.
    """

    title: str
    subtitle: str
    key: str
    sections: list[Section] = field(default_factory=list)
    data: dict[str, Sequence[Row]] = field(default_factory=dict)
    questions: dict[str, Any] | None = None
    described: list[dict[str, Any]] = field(default_factory=list)

    def add(self, section: Section, **rows: Sequence[Row]) -> None:
        """Add a section and the rows that it shows; of blocks without a row nothing is left."""
        self.data |= {name: own for name, own in rows.items() if own}
        blocks = [block for block in section.blocks if self.data.get(block.source)]
        if blocks or section.partial or section.said:
            named = {f for block in blocks for row in self.data[block.source] for f in row}
            controls = [control for control in section.controls if control.field in named]
            self.sections.append(replace(section, blocks=blocks, controls=controls))


def told(found: Sequence[tuple[str, Sequence[Row]]], several: bool) -> list[Row]:
    """Rows of all runs, with the run's name where there are several."""
    return [({"run": name} | dict(row)) if several else row for name, own in found for row in own]


def with_run(columns: Sequence[Column], several: bool) -> tuple[Column, ...]:
    """Columns, that of the run first where there are several."""
    return (Column("run", "Run"), *columns) if several else tuple(columns)
