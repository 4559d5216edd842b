"""Gradient × activation, and attribution patching: one gradient for all layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._effects import EffectOptions, EffectScorer

if TYPE_CHECKING:
    from collections.abc import Sequence


class GradXAct(EffectScorer):
    """Mean over the questions of (a − b) · ∂F/∂a: the linear estimate of what taking a neuron from a to b does.

    One forward and one backward for all layers. With baseline=zero it is gradient × activation; with
    baseline=counterfactual attribution patching from the question with its options rotated. Unlike integrated gradients
    of a layer at a time, the gradient is that at the values themselves, where a single neuron's ablation begins.
    """

    name = "grad-x-act"
    reference = "Nanda 2023 (attribution patching); Kramár et al. 2024 (AtP*, arXiv 2403.00745), Eq. 1"

    class Options(EffectOptions):
        """Target, baseline, and where neurons are."""

        positions: Literal["last", "all"] = Field(
            default="last",
            description="'last': neurons at the last position; 'all': summed over every position of the prompt, by "
            "whole forwards and backwards",
        )

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """One gradient."""
        options = self.options
        found = na.linear_effects(
            model,
            examples,
            self.target,
            baseline=options.baseline,
            positions=options.positions,
            # whole forwards are one engine, whatever was asked for elsewhere
            engine=settings.engine if options.positions == "last" else "auto",
            site=settings.site,
            max_tokens=settings.max_tokens,
            progress=settings.progress,
        )
        return self.scored(found, examples, settings)


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [GradXAct]
