"""Options that name a concept."""

from __future__ import annotations

from collections.abc import Sequence

import neuron_antagonism as na

MOST_CONCEPTS = 100
"""More than these are no classes: statistics are kept for each."""


def concepts_of(examples: Sequence[na.Example]) -> list[str]:
    """The different right answers of some examples, sorted."""
    return sorted({question.concept for example in examples for question in example.proxies})


def check_concept(option: str, concept: str, examples: Sequence[na.Example]) -> None:
    """Raise UsageError unless some example's right answer is the concept."""
    known = concepts_of(examples)
    if concept not in known:
        shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
        raise na.UsageError(
            f"option {option}={concept!r:.80}: none of the {len(examples)} identification examples has it; accepted: "
            f"{shown}, or more examples"
        )
