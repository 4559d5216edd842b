"""RANGE: a unit is edited only while its value lies where it lies for a concept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._concepts import check_concept

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

SOFT = 0.125
"""What is left of a value at the edge of its range, under the soft edit."""


class _Options(na.Options):
    """Options of every range."""

    tau: float = Field(
        default=2.0, ge=0, description="half the range's width in standard deviations, from 0; inf: the whole neuron"
    )
    concept: str = Field(
        default="", description="the class (an answer's text) whose questions are learned from; unset: every question"
    )
    answered: Literal["role", "right", "wrong", "all"] = Field(
        default="role",
        description="questions learned from: answered 'right', 'wrong', or 'all'; 'role': right, for neurons with a "
        "negative score (bad ones) wrong",
    )


class Range(na.Intervention):
    """Edits a unit only while its value lies in [μ − τσ, μ + τσ], learned at the last position of some questions.

    A fitted copy keeps what it has learned when `with_options` changes `tau` or `inside`.
    """

    name = "range"
    reference = "NeuronLens (Neurons Speak in Ranges, 2025)"

    class Options(_Options):
        """Options of the range, and what happens inside it."""

        inside: Literal["zero", "mean", "soft"] = Field(
            default="zero",
            description="a value inside its range becomes 'zero'; the unit's 'mean' over all questions given; or "
            "'soft': the closer to the range's centre, the closer to 0",
        )

    mean: Float[Tensor, "layer unit"]
    std: Float[Tensor, "layer unit"]
    usual: Float[Tensor, "layer unit"]

    def with_options(self, **changes: Any) -> Self:
        """A copy with some options changed; unfitted where they are those of what was learned."""
        other = super().with_options(**changes)
        if any(getattr(other.options, name) != getattr(self.options, name) for name in ("concept", "answered")):
            other.fitted = False
        return other

    def check(self, model: na.HookedModel, examples: Sequence[na.Example], site: str) -> None:
        """Some question must be of the concept."""
        if self.options.concept:
            check_concept(f"{self.name}.concept", self.options.concept, examples)

    def fit(self, model: na.HookedModel, examples: Sequence[na.Example], neurons: na.NeuronSet) -> Self:
        """A copy that knows the ranges of these neurons.

        Raises:
            DataError: fewer than two questions to learn a range from.
        """
        import copy

        import torch

        concept = self.options.concept
        found = na.value_statistics(model, examples, (concept,) if concept else (), site=neurons.site)
        fitted = copy.copy(self)
        fitted.site, fitted.fitted = neurons.site, True
        # what is not fitted stays NaN, and is refused
        fitted.usual = found.of(answered="all").mean
        fitted.mean, fitted.std = (torch.full_like(fitted.usual, float("nan")) for _ in range(2))
        for answered, chosen in self._learned_from(neurons).items():
            moments = found.of(concept or None, answered)
            if moments.count < 2:
                raise na.DataError(self._too_few(moments.count, answered))
            at = chosen.layers, chosen.neurons
            fitted.mean[at], fitted.std[at] = moments.mean[at], moments.std[at]
        return fitted

    def edit(
        self,
        values: Float[Tensor, "batch position n"],
        layer: int,
        neurons: Int[Tensor, n],
    ) -> Float[Tensor, "batch position n"]:
        """Values outside their ranges stay as they are."""
        import torch

        # bounds are compared in float32: float16 and bfloat16 would move them
        wide = values if values.dtype == torch.float64 else values.float()
        mean, std, usual = (table[layer].to(values.device)[neurons] for table in (self.mean, self.std, self.usual))
        if bool(std.isnan().any()):
            missing = int(neurons[std.isnan()][0])
            raise na.UsageError(
                f"intervention {self.name!r} was not fitted on neuron {layer}.{missing}; accepted: fit() on all "
                "neurons that are edited"
            )
        # ∞ · 0 is no number
        half = torch.full_like(std, self.options.tau) if self.options.tau == float("inf") else self.options.tau * std
        low, high = ((mean + side * half).to(wide.dtype) for side in (-1, 1))
        new = self._new(wide, mean.to(wide.dtype), half.to(wide.dtype), usual.to(wide.dtype))
        return torch.where((wide >= low) & (wide <= high), new.to(values.dtype), values)

    def _new(self, values: Tensor, centre: Tensor, half: Tensor, usual: Tensor) -> Tensor:
        """What values inside their ranges become."""
        import torch

        if self.options.inside == "mean":
            return usual.expand_as(values)
        if self.options.inside == "soft":
            return values * SOFT * (values - centre).abs() / (half + 1e-6)
        return torch.zeros_like(values)

    def _learned_from(self, neurons: na.NeuronSet) -> dict[Literal["right", "wrong", "all"], na.NeuronSet]:
        """By the answers to learn from, the neurons that do."""
        if self.options.answered != "role":
            return {self.options.answered: neurons}
        scored = zip(neurons, neurons.scores.tolist(), strict=True)
        bad = na.NeuronSet.of((pair for pair, score in scored if score < 0), neurons.site)
        parts: dict[Literal["right", "wrong", "all"], na.NeuronSet] = {"right": neurons - bad, "wrong": bad}
        return {answered: part for answered, part in parts.items() if len(part)}

    def _too_few(self, count: int, answered: str) -> str:
        which = "" if answered == "all" else f" answered {'rightly' if answered == 'right' else 'wrongly'}"
        of = f" of the concept {self.options.concept!r}" if self.options.concept else ""
        return (
            f"intervention {self.name!r} was given {count} questions{of}{which} to learn ranges from; accepted: at "
            f"least 2, or another {self.name}.answered"
        )


class RangeExcite(Range):
    """Doubles a unit's value, but only inside the range that it takes for a concept."""

    name = "range-excite"

    class Options(_Options):
        """Options of the range."""

    def _new(self, values: Tensor, centre: Tensor, half: Tensor, usual: Tensor) -> Tensor:
        """What values inside their ranges become."""
        return values * 2


@na.hookimpl
def neuron_antagonism_interventions() -> list[type[na.Intervention]]:
    """Register the interventions."""
    return [Range, RangeExcite]
