"""Prompts that list their options after letters, taken apart: what is asked, and the options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

CUE = re.compile(
    r"\s*(?:^|\n)[ \t]*(?:the\s+)?(?:(?:correct|best|right)\s+)?(?:answer|response|solution|a)(?:\s+is)?\s*[:：]?\s*\Z",
    re.I,
)
"""The last line of a prompt where it only leads up to the answer."""

_ORDERS = ("ABCDEFGHIJ", "abcdefghij", "1234567890", "0123456789")


class Listed(NamedTuple):
    """What a prompt asks, and the options that it lists."""

    text: str
    options: list[str]


def without_cue(text: str) -> str:
    """A prompt without the line that leads up to the answer, and without blanks around it."""
    return CUE.sub("", text).strip()


def are_labels(choices: Sequence[str]) -> bool:
    """Whether choices are letters or digits in their order, which say nothing by themselves."""
    joined = "".join(choices)
    return len(joined) == len(choices) > 1 and any(order.startswith(joined) for order in _ORDERS)


def listed(text: str, labels: Sequence[str]) -> Listed | None:
    """The question and its options, of a prompt that lists one a line after each label; None where it doesn't."""
    lines = text.split("\n")
    for first in range(len(lines) - len(labels) + 1):
        found = [_after(line, label) for line, label in zip(lines[first:], labels, strict=False)]
        options = [one for one in found if one is not None]
        if len(options) == len(labels):
            rest = [*lines[:first], *lines[first + len(labels) :]]
            return Listed(without_cue("\n".join(rest)), options)
    return None


def _after(line: str, label: str) -> str | None:
    found = re.fullmatch(rf"\s*[(\[]?{re.escape(label)}[)\].:]+\s*(.*?)\s*", line)
    return found[1] if found else None
