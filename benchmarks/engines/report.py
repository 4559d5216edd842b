"""Rows as Markdown tables."""

from __future__ import annotations

from typing import Any

import sections


def markdown(found: dict[str, Any]) -> str:
    """A table for each section, headed by what it measures."""
    parts = []
    for name, section in sections.SECTIONS.items():
        if name not in found:
            continue
        rows = found[name]
        columns = list(rows[0])
        lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
        lines += [" | ".join(_cell(column, row[column]) for column in columns) for row in rows]
        heading = " ".join((section.__doc__ or name).split())
        parts.append(f"**{name}**: {heading}\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n")
    return "\n".join(parts)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        if "difference" in column or "error" in column:
            return f"{value:.0e}"
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
