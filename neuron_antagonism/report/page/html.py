"""A page as one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from neuron_antagonism.report.page import vega
from neuron_antagonism.report.page.blocks import Figure, Page, Row, Section, Table
from neuron_antagonism.report.page.palette import CONFIG, DARK, LIGHT

PLAIN = {
    "light": {"tint": "#f2f4f6", "raised": "#ffffff", "edge": "#8b96a1"},
    "dark": {"tint": "#1f252b", "raised": "#1a1f24", "edge": "#6b7681"},
}
"""Colours that charts don't use."""

PICKED = frozenset(
    (
        *("run", "model", "seed", "task", "mode", "scorer", "method", "baseline", "metric", "verdict", "role", "judge"),
        *("pair", "mask", "concept", "proof", "holds", "front", "engine", "target"),
    )
)
"""Fields whose values a table offers as filters, where there are several of them but not many."""


def html(page: Page, names: Sequence[str], version: str) -> str:
    """The text of the file.

    Args:
        page: what it shows.
        names: of the runs or suites on it.
        version: of this program.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_asset("page.html.jinja"))
    scripts = {"vega": vega.script(), "js": _asset("page.js")}
    # no other script runs in the page, whatever a prompt or a name holds
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts.values())
    return template.render(
        page=page,
        several=len(names) > 1,
        version=version,
        hashes=Markup(hashes),
        css=Markup(_colours() + _asset("page.css")),
        data=Markup(as_json(_data(page, names))),
        **{name: Markup(text) for name, text in scripts.items()},
    )


def as_json(value: Any) -> str:
    """JSON that may stand inside a script element: none of its characters can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def packed(rows: Sequence[Row]) -> dict[str, Any]:
    """Rows as fields and as the texts of each, which stand once, and as values or places of texts."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    texts: dict[str, dict[str, int]] = {}
    for name in names:
        values = [value for row in rows if (value := row.get(name)) is not None]
        if values and all(isinstance(value, str) for value in values):
            texts[name] = {value: place for place, value in enumerate(dict.fromkeys(values))}

    def packed_one(row: Row, name: str) -> Any:
        found = row.get(name)
        return found if found is None or name not in texts else texts[name][found]

    return {
        "f": names,
        "t": {name: list(own) for name, own in texts.items()},
        "r": [[packed_one(row, name) for name in names] for row in rows],
    }


def _data(page: Page, names: Sequence[str]) -> dict[str, Any]:
    blocks = [block for section in page.sections for block in section.blocks]
    used = {block.source for block in blocks}
    return {
        "names": list(names),
        "config": CONFIG,
        "rows": {name: packed(rows) for name, rows in page.data.items() if name in used},
        "figures": {block.name: _figure(block) for block in blocks if isinstance(block, Figure)},
        "tables": {block.name: _table(block) for block in blocks if isinstance(block, Table)},
        "sections": {section.name: _section(section) for section in page.sections},
        "questions": page.questions,
        "described": page.described,
    }


def _figure(one: Figure) -> dict[str, Any]:
    return {
        "chart": one.chart,
        "source": one.source,
        "panels": one.panels,
        "share": list(one.share),
        "title": one.title,
        "alt": one.alt,
    }


def _table(one: Table) -> dict[str, Any]:
    columns = [
        {"field": c.field, "title": c.title, "kind": c.kind, "ends": list(c.ends) if c.ends else None, "about": c.about}
        for c in one.columns
    ]
    filters = [c.field for c in one.columns if c.field in PICKED]
    return {"title": one.title, "source": one.source, "columns": columns, "detail": one.detail, "filters": filters}


def _section(one: Section) -> dict[str, Any]:
    return {"controls": [{"field": c.field, "label": c.label, "every": c.every} for c in one.controls]}


def _colours() -> str:
    def said(theme: str, colours: dict[str, str]) -> str:
        return f"color-scheme:{theme};" + "".join(
            f"--{name}:{colour};" for name, colour in (colours | PLAIN[theme]).items()
        )

    light, dark = said("light", LIGHT), said("dark", DARK)
    return (
        f":root{{{light}}}\n"
        f'@media screen{{:root[data-theme="dark"]{{{dark}}}}}\n'
        f'@media screen and (prefers-color-scheme:dark){{:root:not([data-theme="light"]){{{dark}}}}}\n'
    )


@cache
def _asset(name: str) -> str:
    return files("neuron_antagonism.report.page").joinpath("assets", name).read_text("utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
