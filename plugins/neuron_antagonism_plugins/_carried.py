"""Letters and numbers that the data itself writes before each option, as in AQuA's `A)70`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from neuron_antagonism_plugins._files import malformed

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_CARRIED = re.compile(
    r"(?P<open>[(\[（]?)\s*(?P<label>[A-Za-z]|[0-9]{1,2})\s*(?P<close>[)\]）.:．：、])(?P<rest>.*)", re.DOTALL
)
_BRACKETS = (")", "]", "）")

Parts = Mapping[int, re.Match[str]]
"""Label, mark and rest by the places of the options that have them."""


def without_letters(
    where: str, texts: Sequence[str], labels: Sequence[str] | None
) -> tuple[list[str] | None, list[str] | None]:
    """The options without what is written before each, and the numbers among it.

    It is taken off where every option of a row carries its own, in order: `A)`, `(A)`, `[A]`, `A.`, `A:`, also a, 1
    or 0 first. One alone, or two with dots, may be initials (`A. Lincoln`) and stay.

    Args:
        where: the row, for errors.
        texts: the options; "" where one is empty.
        labels: the row's own labels of them, which the options may carry as well.

    Returns:
        The bare texts, None where nothing is carried; and the numbers, None where letters or nothing are carried.

    Raises:
        DataError: only some carry theirs, or all do in another order.
    """
    filled = [place for place, text in enumerate(texts) if text]
    parts = {place: part for place in filled if (part := _carried(texts[place]))}
    if not parts:
        return None, None
    numbers = [[str(n + start) for n in range(len(texts))] for start in (1, 0)]
    for order in (*([labels] if labels else []), LETTERS, LETTERS.lower(), *numbers):
        placed = [place for place in parts if place < len(order) and parts[place]["label"] == order[place]]
        if len(placed) == len(filled):
            if sum(bool(parts[place]["rest"].strip()) for place in placed) < 2:
                return None, None  # the options are letters
            bare = [parts[place]["rest"].strip() if text else "" for place, text in enumerate(texts)]
            return bare, list(order[: len(texts)]) if order in numbers else None
        if _some(parts, placed, len(filled)) or _permuted(parts, order, len(filled)):
            raise malformed(where, list(texts), "letters in order before every option, or before none")
    return None, None


def _some(parts: Parts, placed: Sequence[int], count: int) -> bool:
    """Whether several options carry their own, by more than chance: two of four may be initials."""
    brackets = all(parts[place]["close"] in _BRACKETS for place in placed)
    return len(placed) > 1 and (brackets or len(placed) >= count - 1)


def _permuted(parts: Parts, order: Sequence[str], count: int) -> bool:
    """Whether all options carry one each, in another order, by more than chance."""
    brackets = all(part["close"] in _BRACKETS for part in parts.values())
    carried = sorted(part["label"] for part in parts.values())
    return len(parts) == count > 1 and (brackets or count > 2) and carried == sorted(order[:count])


def _carried(text: str) -> re.Match[str] | None:
    found = _CARRIED.fullmatch(text)
    if found is None or (found["open"] and found["close"] not in _BRACKETS):
        return None
    # 1.5 and 2:30 are a number and a time
    glued = found["close"] in (".", ":") and found["rest"][:1].strip()
    return None if glued and (found["label"].isdigit() or found["close"] == ":") else found
