"""RANDOM: seeded uniform scores, the floor that every method must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

import neuron_antagonism as na

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Random(na.Scorer):
    """Uniform scores on [-1, 1], the same for the same seed."""

    name = "random"
    target = None
    draws = True
    reference = "NeuronLLM §4.3"

    class Options(na.Options):
        """Options of the draw."""

        seed: int = Field(default=0, ge=0, description="seed of the draw, a whole number from 0")

    def aggregate(
        self,
        example_scores: Float[Tensor, "example layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "layer neuron"]:
        """One draw; the questions don't matter."""
        import torch

        generator = torch.Generator().manual_seed(self.options.seed)
        return torch.rand(question_scores.shape[1:], generator=generator) * 2 - 1


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Random]
