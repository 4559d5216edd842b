"""Reading the line files of the shipped tasks: UTF-8, one error line for everything that can be wrong."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import neuron_antagonism as na

WRITTEN = 2**18  # bytes of a file that somebody writes by hand, at most
LONGEST = 2**24  # of a line of data
_SHOWN = 80  # characters of a malformed line that an error repeats
_LISTED = 20  # names that an error lists
_BLANKS = re.compile(r"[ \t]+")


def malformed(where: str, found: object, accepted: str) -> na.DataError:
    """The error for something malformed: where it is, what was found, what is accepted."""
    try:
        shown = repr(found)
    except (ValueError, RecursionError):  # Python prints no whole number of thousands of digits
        shown = f"a {type(found).__name__} that is too large to print"
    if len(shown) > _SHOWN:
        shown = shown[: _SHOWN - 3] + "..."
    return na.DataError(f"{where}: found {shown}; accepted: {accepted}")


def at(path: str | Path, number: int) -> str:
    """How an error names a line, counted from 1."""
    return f"{path}, line {number}"


def listed(names: Iterable[object]) -> str:
    """Different names in a line; of many the first."""
    # a lone surrogate can't be printed
    written = (str(name).encode("utf-8", "backslashreplace").decode() for name in dict.fromkeys(names))
    shown = [" ".join(name.split()) for name in written]
    more = f", … ({len(shown)} in all)" if len(shown) > _LISTED else ""
    return ", ".join(shown[:_LISTED]) + more


def readable(where: str, text: str) -> str:
    """The text, where every part of it is a character: JSON may write half of one (`\\ud83d`), which no model reads.

    Raises:
        DataError: it holds a lone surrogate.
    """
    if text.isascii():
        return text
    for place, character in enumerate(text):
        if "\ud800" <= character <= "\udfff":
            around = text[max(0, place - 20) : place + 20]
            raise malformed(where, around, "Unicode text, without a lone surrogate (half of a character)")
    return text


def lines(
    path: str | Path, accepted: str, *, hub: bool = True, most: int | None = None, longest: int = LONGEST
) -> Iterator[tuple[int, str]]:
    r"""Yield number (from 1) and text of each line, without its line end; a byte order mark is dropped.

    Args:
        path: the file; a leading `~` is the home directory.
        accepted: the format in a few words, for the errors.
        hub: whether a `hub:` source would be accepted in the file's place.
        most: bytes of the file, which is refused before it is read where it has more; None = any number.
        longest: bytes of a line, at most.

    Raises:
        DataError: a missing or unreadable file, a directory, one that is too large, bytes that aren't UTF-8 (UTF-16 and
            UTF-32 with or without a mark among them), only blank lines.
    """
    empty = True
    read = 0
    try:
        # Binary: text mode would end lines at a lone "\r" too, and could not name the undecodable line.
        with open(Path(path).expanduser(), "rb") as file:
            if most is not None and os.fstat(file.fileno()).st_size > most:
                raise _too_large(path, most, accepted)
            for number, raw in enumerate(iter(partial(file.readline, longest + 1), b""), 1):
                read += len(raw)
                if len(raw) > longest:
                    raise _too_large(at(path, number), longest, accepted)
                if most is not None and read > most:  # a pipe has no size before it is read
                    raise _too_large(path, most, accepted)
                _check_encoding(at(path, number), raw, number, accepted)
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
    except (ValueError, RuntimeError) as error:  # a path with a null byte, or `~` of nobody
        raise na.DataError(f"{path}: no path: {error}; accepted: a readable file, {accepted}") from None
    if empty:
        raise na.DataError(f"{path}: an empty {'data set' if hub else 'file'}; accepted: {accepted}")


def _too_large(where: str | Path, most: int, accepted: str) -> na.DataError:
    return na.DataError(f"{where}: larger than {most // 2**10:,} KiB; accepted: {accepted}, up to that size")


def _check_encoding(where: str, raw: bytes, number: int, accepted: str) -> None:
    marks = {"UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)}
    for name, known in marks.items():
        if number == 1 and raw.startswith(known):
            raise malformed(where, raw[:8], f"UTF-8 text, not {name}, {accepted}")
    # without a mark the other encodings of Unicode show by these, which no text holds
    if b"\0" in raw:
        start = max(0, raw.index(b"\0") - 1)
        raise malformed(where, raw[start : start + 8], f"UTF-8 text without null bytes, {accepted}")


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
