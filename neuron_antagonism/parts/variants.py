"""The settings of the method's own choices: what each changes, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import DataError
from neuron_antagonism.plugin.base import Options, Scorer
from neuron_antagonism.plugin.manager import as_target
from neuron_antagonism.plugin.scorers import own_target, passes_of_its_own
from neuron_antagonism.settings import Settings
from neuron_antagonism.types import Example, Question, rotated

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

OPTIONS = ("ambiguous", "z")
"""Choices that are options of the scorer."""


@dataclass(frozen=True)
class Variant:
    """One setting of one choice; or the standard, which is no setting of any.

    Args:
        choice, setting: what is changed, and to what.
        scorer, settings, examples: how neurons are scored.
        positions: where edits act.
    """

    choice: str
    setting: Any
    scorer: Scorer
    settings: Settings
    examples: Sequence[Example]
    positions: str = "last"

    def acting(self) -> Scorer:
        """The scorer, with what is changed of it.

        Raises:
            DataError: it has nothing of the kind.
        """
        scorer = self.scorer
        if self.choice in OPTIONS:
            return scorer.with_options(**{self.choice: self.setting})
        if self.choice not in ("target", "aggregation") or self.setting == "own":
            return scorer
        target = own_target(scorer)
        if target is None or passes_of_its_own(scorer):
            raise DataError(f"{scorer.name} integrates no gradients; accepted: choices without target and aggregation")
        if self.choice == "target":
            scorer = copy.copy(scorer)
            scorer.target = as_target(self.setting)
            return scorer
        mean = Mean()
        mean.target = target
        return mean

    def asked(self) -> list[Example]:
        """The examples, as this setting asks them.

        Raises:
            DataError: there are fewer examples or wordings than it takes, or options that can't be put elsewhere.
        """
        there = {"examples": len(self.examples), "wordings": min(len(one.proxies) for one in self.examples)}
        if self.choice in there and self.setting > there[self.choice]:
            raise DataError(f"there are {there[self.choice]} {self.choice}; accepted: at most so many")
        if self.choice not in ("wordings", "letters", "order") or self.setting in ("balanced", "as asked"):
            return list(self.examples)
        return [asked(example, self.choice, self.setting) for example in self.examples]


class Mean(Scorer):
    """A target's integrated gradients, averaged over the questions: no reordering, nothing dropped."""

    name = "mean"

    class Options(Options):
        """No options."""

    def aggregate(
        self,
        example_scores: Float[Tensor, "example layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "layer neuron"]:
        """The mean over the questions."""
        return question_scores.mean(0)


def variants(standard: Variant, choices: dict[str, tuple[Any, ...]], identify: Sequence[Example]) -> Iterator[Variant]:
    """A variant for each setting of each choice.

    Args:
        standard: what is changed.
        choices: settings by choice.
        identify: as many examples as any setting takes.
    """
    for choice, values in choices.items():
        for value in values:
            own = replace(standard, choice=choice, setting=value)
            if choice in ("steps", "quadrature", "site"):
                own = replace(own, settings=replace(standard.settings, **{choice: value}))
            elif choice == "examples":
                own = replace(own, examples=identify[:value])
            elif choice == "positions":
                own = replace(own, positions=value)
            yield own


def asked(example: Example, choice: str, value: Any) -> Example:
    """An identification example asked in another way."""
    if choice == "wordings":
        return replace(example, proxies=example.proxies[:value])
    turns = 1 if choice == "order" else None
    return replace(example, proxies=tuple(_turned(question, turns) for question in example.proxies))


def _turned(question: Question, turns: int | None) -> Question:
    """A question with its options so many letters further on; None: the right one at the first letter."""
    count = (len(question.letters) - question.answer) % len(question.letters) if turns is None else turns
    for _ in range(count):
        turned = rotated(question)
        if turned is None:
            raise DataError(
                "a question does not list its options after their letters, so that they can't be put in another order; "
                "accepted: choices without letters and order"
            )
        question = turned
    return question
