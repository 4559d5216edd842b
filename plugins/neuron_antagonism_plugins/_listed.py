"""Prompts that list their options after letters, taken apart: what is asked, and the options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_CUE = re.compile(
    r"(?:the\s+)?(?:(?:correct|best|right)\s+)?(?:answer|response|solution|a)(?:\s+is)?\s*[:：]?", re.IGNORECASE
)
"""A line that only leads up to the answer."""

_LABELLED = re.compile(r"\s*[(\[]?([A-Za-z0-9])[)\].:]+\s*(.*?)\s*")
_ORDERS = ("ABCDEFGHIJ", "abcdefghij", "1234567890", "0123456789")


class Listed(NamedTuple):
    """What a prompt asks, and the options that it lists."""

    text: str
    options: list[str]


def without_cue(text: str) -> str:
    """A prompt without a last line that leads up to the answer, and without blanks around it."""
    before, _, last = text.strip().rpartition("\n")
    return (before if _CUE.fullmatch(last.strip()) else text).strip()


def are_labels(choices: Sequence[str]) -> bool:
    """Whether choices are letters or digits in their order, which say nothing by themselves."""
    joined = "".join(choices)
    return len(joined) == len(choices) > 1 and any(order.startswith(joined) for order in _ORDERS)


def listed(text: str, labels: Sequence[str]) -> Listed | None:
    """The question and its options, of a prompt that lists one a line after each label; None where it doesn't."""
    lines = text.split("\n")
    options: list[str] = []
    for number, line in enumerate(lines):
        found = _LABELLED.fullmatch(line)
        label = found[1] if found else ""
        if label != labels[len(options)]:
            options = []
        if found and label == labels[len(options)]:
            options.append(found[2])
        if len(options) == len(labels):
            rest = [*lines[: number + 1 - len(labels)], *lines[number + 1 :]]
            return Listed(without_cue("\n".join(rest)), options)
    return None
