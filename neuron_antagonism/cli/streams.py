"""Output on streams of any encoding, and streams whose reader has gone."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

READABLE = "neuron_antagonism.readable"
"""The name of how characters are written that a stream's encoding lacks."""

ASCII = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "…": "...", "×": "x", "·": "*", "→": "->", "≥": ">=", "≤": "<=", "∞": "inf",
        "“": '"', "”": '"', "‘": "'", "’": "'", "«": '"', "»": '"', "│": "|", "█": "#", "░": ".", "•": "*",
        "α": "alpha", "μ": "mu", "σ": "sigma", "τ": "tau", "Σ": "sum", "Δ": "delta", "π": "pi", "²": "^2", "³": "^3",
    }
)  # fmt: skip


def readable(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that can't be encoded: the nearest ASCII ones, or their escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = []
    for character in error.object[error.start : error.end]:
        plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        line = "-" if "─" <= character <= "╿" else ""
        known = character.translate(ASCII)
        found.append(
            known if known.isascii() else line or plain or character.encode("ascii", "backslashreplace").decode()
        )
    return "".join(found), error.end


def settle() -> None:
    """Let both streams write whatever they are given."""
    codecs.register_error(READABLE, readable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and not is_unicode(stream.encoding):
            stream.reconfigure(errors=READABLE)


_document: TextIO | None = None


@contextmanager
def for_one_document(asked: bool) -> Iterator[None]:
    """Within the context, where it is asked for, only `document` is stdout: what plugins print goes to stderr."""
    global _document  # noqa: PLW0603  # as sys.stdout is
    if not asked:
        yield
        return
    kept = _document = sys.stdout
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        _document, sys.stdout = None, kept


def document() -> TextIO:
    """Where a JSON document goes."""
    return _document or sys.stdout


def is_unicode(encoding: str | None) -> bool:
    """Whether an encoding has every character."""
    return (encoding or "").lower().replace("_", "-").startswith("utf")


def abandon() -> None:
    """What is still to be written to stdout goes nowhere: nobody reads it, or it can't be written."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        # a stream without a file below it
        return
