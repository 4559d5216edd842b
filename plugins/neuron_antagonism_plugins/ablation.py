"""Exact ablation: what taking out each single neuron really does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._effects import TARGETS, EffectOptions, EffectScorer

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ablation(EffectScorer):
    """Mean over the questions of F(w) − F(w with this neuron alone at its baseline): the causal truth, exactly.

    Costs a forward of one token for every neuron and question; the other scorers approximate it.
    """

    name = "ablation"
    reference = "exact single-neuron ablation; F as in NeuronLLM Eq. 3 unless `target` says another"

    class Options(EffectOptions):
        """Options of the ablation."""

        target: str = Field(default="ace", description=f"the target F: {TARGETS}")

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """Set every neuron to its baseline at the last position, one at a time."""
        found = na.ablate(
            model,
            examples,
            self.target,
            baseline=self.options.baseline,
            engine=settings.engine,
            site=settings.site,
            max_tokens=settings.max_tokens,
            progress=settings.progress,
        )
        return self.scored(found, examples, settings)


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Ablation]
