"""ACT: mean activation, a baseline without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import neuron_antagonism as na

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Act(na.Scorer):
    """Mean value of each neuron at the last position over the questions; it has no bad set."""

    name = "act"
    target = None
    roles = ("good",)
    reference = "NeuronLLM §4.3"

    class Options(na.Options):
        """No options."""

    def aggregate(
        self,
        example_scores: Float[Tensor, "example layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "layer neuron"]:
        """The mean over the questions."""
        return question_scores.mean(0)


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Act]
