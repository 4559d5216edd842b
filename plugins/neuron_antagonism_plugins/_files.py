"""Reading the line files of the shipped tasks: UTF-8, one error line for everything that can be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import neuron_antagonism as na

_SHOWN = 80  # characters of a malformed line that an error repeats
_LISTED = 20  # names that an error lists
_BLANKS = re.compile(r"[ \t]+")


def malformed(where: str, found: object, accepted: str) -> na.DataError:
    """The error for something malformed: where it is, what was found, what is accepted."""
    shown = repr(found)
    if len(shown) > _SHOWN:
        shown = shown[: _SHOWN - 3] + "..."
    return na.DataError(f"{where}: found {shown}; accepted: {accepted}")


def at(path: str | Path, number: int) -> str:
    """How an error names a line, counted from 1."""
    return f"{path}, line {number}"


def listed(names: Iterable[object]) -> str:
    """Different names in a line; of many the first."""
    shown = [" ".join(str(name).split()) for name in dict.fromkeys(names)]
    more = f", … ({len(shown)} in all)" if len(shown) > _LISTED else ""
    return ", ".join(shown[:_LISTED]) + more


def lines(path: str | Path, accepted: str, *, hub: bool = True) -> Iterator[tuple[int, str]]:
    r"""Yield number (from 1) and text of each line, without its line end; a byte order mark is dropped.

    Args:
        path: the file; a leading `~` is the home directory.
        accepted: the format in a few words, for the errors.
        hub: whether a `hub:` source would be accepted in the file's place.

    Raises:
        DataError: a missing or unreadable file, a directory, bytes that aren't UTF-8, only blank lines.
    """
    name = Path(path).expanduser()
    empty = True
    try:
        # Binary: text mode would end lines at a lone "\r" too, and could not name the undecodable line.
        with open(name, "rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    bad = raw[error.start : error.start + 1]
                    raise malformed(at(path, number), bad, f"UTF-8 text, {accepted}") from None
                empty = empty and not text.strip()
                yield number, text
    except FileNotFoundError:
        raise na.DataError(f"{path}: no such file; accepted: {accepted}{', or hub:dataset-id' * hub}") from None
    except IsADirectoryError:
        raise na.DataError(f"{path}: a directory; accepted: a file, {accepted}{f', or hub:{path}' * hub}") from None
    except OSError as error:
        raise na.DataError(f"{path}: {error.strerror}; accepted: a readable file, {accepted}") from None
    if empty:
        raise na.DataError(f"{path}: an empty {'data set' if hub else 'file'}; accepted: {accepted}")


def columns(line: str) -> list[str]:
    """The columns of a line; only tabs and spaces separate them, because tokens may hold other blanks."""
    return _BLANKS.split(line.strip(" \t"))


def filled_lines(path: str | Path, accepted: str) -> Iterator[tuple[int, str]]:
    """`lines` without the blank ones, which hold nothing."""
    return ((number, text) for number, text in lines(path, accepted) if text.strip())


def blocks(path: str | Path, accepted: str) -> Iterator[list[tuple[int, str]]]:
    """Yield the runs of lines between blank ones; the last one needs no newline after it."""
    block: list[tuple[int, str]] = []
    for number, text in lines(path, accepted):
        if text.strip():
            block.append((number, text))
        elif block:
            yield block
            block = []
    if block:
        yield block
