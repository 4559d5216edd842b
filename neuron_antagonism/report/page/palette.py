"""Colours by what they stand for, light and dark, and the look of every chart.

Charts name colours as the page's style sheet does (`var(--good)`), so that one drawing serves both themes and the
printer; a file of its own gets the light ones written in. Hues are those of Okabe and Ito, which colour-blind readers
tell apart, darkened where thin marks would be too pale on white; shapes and words say the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def _named(names: str, colours: str) -> dict[str, str]:
    return dict(zip(names.split(), colours.split(), strict=True))


def _numbered(letter: str, colours: str) -> dict[str, str]:
    return {f"{letter}{i}": colour for i, colour in enumerate(colours.split())}


LIGHT = {
    **_named("ink soft line paper good bad none", "#1a1d21 #55606b #d5dae0 #ffffff #00629b #b8480a #5c6670"),
    **_numbered("c", "#00629b #b8480a #007a5a #9c3f83 #7a6200 #5b4bb5 #b3203a #2b7f96 #555b61 #6b4a2b"),
    # from falls to rises; the middle is nothing
    **_numbered("d", "#a63d06 #d9793f #f3c6a5 #eceff2 #aecfe4 #4f94c0 #00558a"),
    # from little to much
    **_numbered("s", "#eceff2 #c3d9e8 #86b6d6 #3d84b4 #00558a"),
}
DARK = {
    **_named("ink soft line paper good bad none", "#e8ebee #a9b4bf #3a434c #15191d #56b4e9 #f0915c #a3adb7"),
    **_numbered("c", "#56b4e9 #f0915c #3fc79a #dd8fc8 #dfc04a #a79bf0 #ff8095 #6fcbdf #b9c0c7 #c9a27c"),
    **_numbered("d", "#e8762f #b05a26 #6e4128 #2a3138 #254e69 #2f78a8 #56b4e9"),
    **_numbered("s", "#2a3138 #254358 #29608a #3a8cc0 #79c6f2"),
}

SERIES = [f"var(--c{i})" for i in range(10)]
DIVERGING = [f"var(--d{i})" for i in range(7)]
RISING = [f"var(--s{i})" for i in range(5)]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"]
DASHES = [[1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [4, 4]]

FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

CONFIG: dict[str, Any] = {
    "font": FONT,
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--ink)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelLimit": 130,
        "titleLimit": 320,
        "labelOverlap": True,
    },
    "axisQuantitative": {"tickCount": 6},
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 130,
        "symbolSize": 80,
        "orient": "bottom",
        "direction": "horizontal",
        "columns": 4,
        "symbolStrokeWidth": 2,
    },
    "header": {"labelColor": "var(--ink)", "titleColor": "var(--soft)", "labelFontSize": 13, "labelLimit": 300},
    "title": {"color": "var(--ink)", "subtitleColor": "var(--soft)", "anchor": "start", "fontSize": 14},
    "text": {"color": "var(--ink)", "fontSize": 12},
}


def written_in(document: Any, colours: dict[str, str] = LIGHT) -> Any:
    """A chart's document with colours in place of their names."""
    if isinstance(document, dict):
        return {name: written_in(value, colours) for name, value in document.items()}
    if isinstance(document, list):
        return [written_in(value, colours) for value in document]
    if isinstance(document, str) and document.startswith("var(--") and document.endswith(")"):
        return colours.get(document[6:-1], document)
    return document


def cycled(values: Sequence[Any], count: int) -> list[Any]:
    """As many values as are needed, from the first again where they end."""
    return [values[i % len(values)] for i in range(count)]
