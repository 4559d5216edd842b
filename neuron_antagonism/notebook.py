"""What notebooks show of results: small tables, in which every text is text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

MOST = 30
"""Lines of a table; a notebook is no place for more."""


def html_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], caption: str = "") -> str:
    """Rows as an HTML table of at most `MOST` lines.

    Args:
        columns: what is shown, in order.
        rows: by column; what one lacks stays empty.
        caption: what stands above.
    """
    first = list(islice(iter(rows), MOST + 1))
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(_cell(row.get(name)) for name in columns)}</tr>" for row in first[:MOST])
    more = f'<tr><td colspan="{len(columns)}">…</td></tr>' if len(first) > MOST else ""
    above = f'<caption style="text-align:left">{escape(caption)}</caption>' if caption else ""
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}{more}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN is the one value that differs from itself
        return "<td></td>"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f'<td style="text-align:left;white-space:pre-wrap">{escape(text)}</td>'
