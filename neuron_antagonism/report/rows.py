"""Rows of figures as CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuron_antagonism.csvs import csv_text
from neuron_antagonism.files import write_whole

Row = Mapping[str, Any]
"""One row of a part's figures."""


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the columns of all of them; an interval becomes two columns, `_low` and `_high`."""
    flat = [dict(pair for name, value in row.items() for pair in _columns(name, value)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    write_whole(path, csv_text(names, flat).encode())


def _columns(name: str, value: Any) -> list[tuple[str, Any]]:
    if not name.endswith("interval"):
        return [(name, value)]
    low, high = value if value is not None else (None, None)
    return [(f"{name}_low", low), (f"{name}_high", high)]
