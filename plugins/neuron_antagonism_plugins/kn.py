"""KN: knowledge neurons, counted by how many questions they stand out in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._targets import Probability

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Kn(na.Scorer):
    """Counts the questions in which a neuron's IG exceeds a share of that question's maximum over all layers.

    The original has no bad set: here a bad point is the same count on −IG. The larger of a neuron's two counts decides
    whether it is good or bad, and where both are equal, its summed IG does. The score is that count, negated for a bad
    neuron, plus a tie-break below 1/2 from the summed IG: within a role, by count, then by summed IG.

    The option `share` keeps only neurons that score a point of their role in at least that share of the questions, as
    the original does: 0.7 in Dai et al., who adapt it until 2 to 5 neurons are left (share=adaptive); EleutherAI's port
    has threshold=0.3 and share=0.5. The others score 0.
    """

    name = "kn"
    target = Probability()
    reference = "Dai et al. 2022 (Knowledge Neurons), counted as in NeuronLLM §4.3"

    class Options(na.Options):
        """Options of the count."""

        threshold: float = Field(
            default=0.2, gt=0, lt=1, description="share of a question's largest IG that a neuron must exceed, 0 to 1"
        )
        share: Annotated[float, Field(gt=0, le=1)] | Literal["adaptive"] | None = Field(
            default=None,
            description="share of the questions in which a neuron must score a point, above 0, at most 1, else it "
            "scores 0; 'adaptive': 0.7, in steps of 0.05 raised while more than 5 good neurons are left, then lowered "
            "while fewer than 2 are; unset: one question is enough",
        )

    def aggregate(
        self,
        example_scores: Float[Tensor, "example layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "layer neuron"]:
        """The larger of the counts of good and bad points, negated where bad, of neurons with enough of them."""
        summed = question_scores.sum(0)
        tie = summed / summed.abs().max().clamp_min(1e-30) * 0.49
        good, bad = self._points(question_scores), self._points(-question_scores)
        role = (good - bad).sign()
        role = role.where(role != 0, summed.sign())
        count = good.maximum(bad)
        score = (role * count + tie) * (role != 0) * (count > 0)
        share = self.options.share
        if share is not None:
            # divided, not multiplied: 11 of 20 is 0.55, but 0.55 · 20 is more than 11
            reached = count.double() / len(question_scores)
            share = _adapted(reached * (role > 0)) if share == "adaptive" else share
            score = score * (reached >= share)
        return score.to(question_scores.dtype)

    def _points(self, question_scores: Float[Tensor, "question layer neuron"]) -> Float[Tensor, "layer neuron"]:
        largest = question_scores.amax(dim=(1, 2), keepdim=True)
        points: Tensor = ((question_scores > self.options.threshold * largest) & (question_scores > 0)).sum(0)
        return points


def _adapted(good_share: Float[Tensor, "layer neuron"]) -> float:
    """The share that leaves 2 to 5 good neurons; where steps of 0.05 jump over that, the highest that leaves two."""

    def left(twentieths: int) -> int:
        return int((good_share >= twentieths / 20).sum())

    twentieths = 14
    while twentieths < 20 and left(twentieths) > 5:
        twentieths += 1
    while twentieths > 1 and left(twentieths) < 2:
        twentieths -= 1
    return twentieths / 20


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Kn]
