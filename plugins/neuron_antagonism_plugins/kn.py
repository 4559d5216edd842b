"""KN: knowledge neurons, counted by how many questions they stand out in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._targets import VocabularyProbability

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Kn(na.Scorer):
    """Counts the questions in which a neuron's IG exceeds a share of that question's maximum over all layers.

    The score is the count plus a tie-break below 1/2 from the summed IG. A neuron without a point is scored by the
    same count on −IG, negated: the mirrored bad set, which the original does not have.
    """

    name = "kn"
    target = VocabularyProbability()
    reference = "Dai et al. 2022 (Knowledge Neurons), counted as in NeuronLLM §4.3"

    class Options(na.Options):
        """Options of the count."""

        threshold: float = Field(
            default=0.2, gt=0, lt=1, description="share of a question's largest IG that a neuron must exceed, 0 to 1"
        )

    def aggregate(
        self,
        example_scores: Float[Tensor, "example layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "layer neuron"]:
        """Counts of good points, or minus the counts of mirrored ones."""
        summed = question_scores.sum(0)
        tie = summed / summed.abs().max().clamp_min(1e-30) * 0.49
        good = self._points(question_scores)
        bad = self._points(-question_scores)
        score = (good + tie) * (good > 0) - (bad - tie) * ((good == 0) & (bad > 0))
        return score.to(question_scores.dtype)

    def _points(self, question_scores: Float[Tensor, "question layer neuron"]) -> Float[Tensor, "layer neuron"]:
        largest = question_scores.amax(dim=(1, 2), keepdim=True)
        points: Tensor = ((question_scores > self.options.threshold * largest) & (question_scores > 0)).sum(0)
        return points


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Kn]
