"""The figures of a page one by one: as charts of Altair in a notebook, and as PNG and SVG files for a paper."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.report.page.blocks import Control, Figure, Page, Row
from neuron_antagonism.report.page.palette import CONFIG, LIGHT, written_in
from neuron_antagonism.report.page.sources import Source

if TYPE_CHECKING:
    import altair as alt

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""Names the language of a document; nobody fetches it."""

WIDTH, ALONE = 300, 560
"""Pixels of a panel among others, and of one alone."""

APART = frozenset({"task"})
"""Choices of which a paper wants every value, a file each; of the others the first."""


class Plots:
    """The charts of runs or suites, as their page shows them; a chart is saved with `chart.save("name.svg")`.

    Args:
        sources: what was read.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        """Nothing is drawn yet."""
        self._sources = sources

    def levels(self, **choices: str) -> alt.Chart:
        """By task, accuracy unedited, enhanced and degraded; choices: `scorer`."""
        return self.chart("levels", **choices)

    def effects(self, **choices: str) -> alt.Chart:
        """By scorer, effects with their intervals; choices: `task`, `protocol`, `metric`."""
        return self.chart("effects", **choices)

    def sweep(self, **choices: str) -> alt.Chart:
        """Accuracy by the share of good neurons among those touched; choices: `task`, `set`."""
        return self.chart("sweep", **choices)

    def layers(self, **choices: str) -> alt.Chart:
        """By layer, how many good and bad neurons; choices: `scorer`."""
        return self.chart("layers", **choices)

    def cross(self, **choices: str) -> alt.Chart:
        """The task an edit was chosen for against the task that was asked; choices: `scorer`."""
        return self.chart("cross", **choices)

    def side_effects(self, **choices: str) -> alt.Chart:
        """What an edit does for its purpose against what it does to plain text; choices: `task`."""
        return self.chart("pareto", **choices)

    def letters(self, **choices: str) -> alt.Chart:
        """Accuracy by right answer, before and after; choices: `task`, `scorer`."""
        return self.chart("letters", **choices)

    def planted(self) -> alt.Chart:
        """By scorer, the share of planted neurons that it finds."""
        return self.chart("planted")

    def chart(self, name: str, **choices: str) -> alt.Chart:
        """A figure of the page by its name.

        Args:
            name: one of `names`.
            choices: values of what the page lets choose; left out: the first, or all where all are a choice.

        Raises:
            UsageError: there is no such figure, choice or value here.
        """
        import altair as alt

        if name not in self._figures:
            raise UsageError(unknown("figure", name, self.names))
        figure, controls = self._figures[name]
        document = standalone(figure, self._rows(figure, controls, choices))
        found: alt.Chart = alt.Chart.from_dict(document)
        return found

    @property
    def names(self) -> list[str]:
        """Every figure that there is."""
        return list(self._figures)

    def documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every figure with the name of its file, those that are of a task once a task."""
        for name, (figure, controls) in self._figures.items():
            rows = self._page.data[figure.source]
            apart = next((c.field for c in controls if c.field in APART and c.field != figure.panels), None)
            for value in _values(rows, apart) if apart else [""]:
                chosen = {apart: value} if apart else {}
                document = standalone(figure, self._rows(figure, controls, chosen))
                yield f"{name}.{value}" if apart else name, document

    @cached_property
    def _page(self) -> Page:
        from neuron_antagonism.report.page.compose import compose

        return compose(self._sources)

    @cached_property
    def _figures(self) -> dict[str, tuple[Figure, Sequence[Control]]]:
        return {
            block.name: (block, section.controls)
            for section in self._page.sections
            for block in section.blocks
            if isinstance(block, Figure)
        }

    def _rows(self, figure: Figure, controls: Sequence[Control], choices: dict[str, str]) -> list[Row]:
        rows = list(self._page.data[figure.source])
        offered = [c.field for c in controls if c.field != figure.panels and any(c.field in row for row in rows)]
        for name in choices:
            if name not in offered:
                raise UsageError(f"figure {figure.name!r}: {unknown('choice', name, offered)}")
        whole = {c.field for c in controls if c.every} - choices.keys()
        for name in (one for one in offered if one not in whole):
            values = _values(rows, name)
            value = choices.get(name, values[0])
            # "rac" is enough for "RAC, relative change …"
            alike = [one for one in values if one == value] or [
                one for one in values if one.lower().startswith(value.lower())
            ]
            if len(alike) != 1:
                raise UsageError(f"figure {figure.name!r}: {unknown(name, value, values)}")
            rows = [row for row in rows if str(row.get(name)) == alike[0]]
        return rows


def standalone(figure: Figure, rows: Sequence[Row]) -> dict[str, Any]:
    """A figure's whole Vega-Lite document: with its data, its panels beside each other, and the light colours."""
    chart = copy.deepcopy(dict(figure.chart))
    for name in ("$schema", "data", "width"):
        chart.pop(name, None)
    for layer in chart.get("layer", ()):
        # a page finds its rows by their name, in every layer; here they stand above all layers
        layer.pop("data", None)
    params = chart.pop("params", [])
    if figure.share:
        low, high = _ends(rows, figure.share)
        params = [one | {"value": low if one["name"] == "share_low" else high} for one in params]
    found: dict[str, Any] = {"$schema": SCHEMA, "title": figure.title, "data": {"values": [dict(row) for row in rows]}}
    if figure.panels:
        panels = {"field": figure.panels, "type": "nominal", "title": None, "sort": _values(rows, figure.panels)}
        found |= {"facet": panels, "columns": 2, "spec": chart | {"width": WIDTH}}
        if not figure.share:
            # as on the page: panels may be of other units
            found |= {"resolve": {"scale": {"y": "independent"}}}
    else:
        found |= chart | {"width": ALONE}
    found |= {"params": params} if params else {}
    plain: dict[str, Any] = written_in(found | {"config": CONFIG | {"background": "white"}}, LIGHT)
    return plain


def _ends(rows: Sequence[Row], fields: Sequence[str]) -> tuple[float, float]:
    """The ends of a shared axis: all values, and 0."""
    values = [0.0, *(float(row[f]) for row in rows for f in fields if row.get(f) is not None)]
    low, high = min(values), max(values)
    room = 0.04 * (high - low or 1.0)
    return low - (room if low < 0 else 0.0), high + room


def _values(rows: Sequence[Row], field: str) -> list[str]:
    return list(dict.fromkeys(str(row[field]) for row in rows if row.get(field) is not None))
