"""Every error this package raises on purpose: one line that names what is wrong and what is accepted."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Any


class AntagonismError(Exception):
    """Base of all deliberate errors. The command line prints the message and exits with `exit_code`."""

    exit_code = 2

    def __str__(self) -> str:
        """One line, whatever stands in the names and values of others that it repeats: nothing moves a terminal."""
        return "".join(map(_shown, " ".join(super().__str__().splitlines())))


class UsageError(AntagonismError):
    """An argument or option outside what is accepted."""


class PluginError(AntagonismError):
    """A plugin that is unknown, broken, registered twice, or that breaks its contract."""


class DataError(AntagonismError):
    """A data file, question or example that can't be used."""


class ModelError(AntagonismError):
    """A model or tokenizer that can't be loaded or used."""


class RunError(AntagonismError):
    """A run that failed after it had started.

    Args:
        message: what went wrong.
        result: what was finished all the same, of a suite a `BenchResult` with holes; or None.
    """

    exit_code = 1

    def __init__(self, message: str, result: Any = None) -> None:
        """Say what went wrong."""
        super().__init__(message)
        self.result = result


class ExportError(AntagonismError):
    """An export that failed under way, or that does not do what the live edit does; nothing of it is left."""

    exit_code = 1


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()


def unknown(kind: str, name: str, accepted: Iterable[str]) -> str:
    """One line for an unknown name: the nearest accepted one first, then all of them."""
    names = sorted(accepted)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r};{hint} accepted: {', '.join(names) or 'none'}"


class AntagonismWarning(UserWarning):
    """Something a user should know about a result that is still right."""
