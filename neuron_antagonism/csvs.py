"""The one way to write rows as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """A line a row, of cells that have no names, or the same ones."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A line of column names, then a line a row: numbers as Python writes them, nothing where a value is None or NaN.

    Args:
        names: of the columns, in order.
        rows: by column; one that a row lacks is left empty.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        # NaN is the one value that differs from itself
        writer.writerow({name: value for name, value in row.items() if value is not None and value == value})
    return text.getvalue()
