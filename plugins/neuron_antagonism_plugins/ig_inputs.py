"""Integrated gradients over the inputs: the gradient's mean between the counterfactual question and the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._effects import TAKEN_TO, Baseline, EffectOptions, EffectScorer

if TYPE_CHECKING:
    from collections.abc import Sequence


class IgInputs(EffectScorer):
    """Mean over the questions of (a − b) · mean over k = 1 … K of ∂F/∂a at the inputs e′ + (k/K)(e − e′).

    e are the embeddings of the question's tokens and e′ those of its counterfactual: the options rotated, as many
    tokens, another right letter. Costs K whole forwards and backwards a question.
    """

    name = "ig-inputs"
    reference = (
        "Hanna et al. 2024 (EAP-IG, arXiv 2403.17806), Eq. 4; the neuron-level IG inputs of MIB (Mueller et al. 2025)"
    )

    class Options(EffectOptions):
        """Target, baseline, where neurons are, and points of the path."""

        baseline: Baseline = Field(default="counterfactual", description=TAKEN_TO)
        positions: Literal["last", "all"] = Field(
            default="last",
            description="'last': neurons at the last position; 'all': summed over every position of the prompt",
        )
        input_steps: int = Field(default=5, ge=1, le=256, description="K, points of the path, 1 to 256")

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """K gradients."""
        options = self.options
        found = na.linear_effects(
            model,
            examples,
            self.target,
            baseline=options.baseline,
            positions=options.positions,
            input_steps=options.input_steps,
            site=settings.site,
            max_tokens=settings.max_tokens,
            progress=settings.progress,
        )
        return self.scored(found, examples, settings)


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [IgInputs]
