"""The settings of the method's own choices: what each changes, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import DataError
from neuron_antagonism.parts.judging.agreement import in_turn
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

INTEGRATED = ("target", "aggregation", "steps", "quadrature")
"""Choices of how gradients are integrated, and what becomes of them."""


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
        scorer, choice, setting = self.scorer, self.choice, self.setting
        if choice in OPTIONS or (choice == "target" and "target" in type(scorer.options).model_fields):
            return scorer.with_options(**{choice: setting})
        if choice not in INTEGRATED or setting == "own":
            return scorer
        target = own_target(scorer)
        if target is None or passes_of_its_own(scorer):
            accepted = f"accepted: choices without {', '.join(INTEGRATED)}"
            raise DataError(f"{scorer.name} leaves no integrated gradients to the core; {accepted}")
        if choice == "target":
            return _with(scorer, target=as_target(setting))
        if choice == "aggregation":
            return _with(Mean(), target=target, roles=scorer.roles)
        return scorer

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
        if self.choice == "wordings":
            # in turn, so that right letters stay balanced
            return in_turn(self.examples, self.setting)
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


def _with(scorer: Scorer, **attributes: Any) -> Scorer:
    """A copy of a scorer, some attributes of its class being others."""
    other = copy.copy(scorer)
    # where the class has a property of that name, an instance takes no value
    other.__class__ = type(type(scorer).__name__, (type(scorer),), attributes)
    for name in attributes:
        vars(other).pop(name, None)
    return other


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
