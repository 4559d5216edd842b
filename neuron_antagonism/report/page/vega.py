"""The scripts that draw charts in a page, out of vl-convert's own wheel; and charts as PNG and SVG."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""What the page uses. Vega and Vega-Lite alone would be smaller, but the bundle's own names for them are null."""

SCALE = 3.0
"""Pixels of a PNG for each of a chart's: 216 a printed inch."""


@cache
def script() -> str:
    """Vega-Embed, which brings Vega and Vega-Lite, as one script for a page."""
    import vl_convert

    found: str = vl_convert.javascript_bundle(SNIPPET)
    # nothing in there may end the element that it stands in; in strings, the only place for it, the two are the same
    return re.sub("</(script)", r"<\\/\1", found, flags=re.IGNORECASE)


def svg(document: dict[str, Any]) -> str:
    """A chart with its data as an SVG drawing."""
    import vl_convert

    found: str = vl_convert.vegalite_to_svg(document)
    return found


def png(document: dict[str, Any]) -> bytes:
    """A chart with its data as a PNG image."""
    import vl_convert

    found: bytes = vl_convert.vegalite_to_png(document, scale=SCALE)
    return found
