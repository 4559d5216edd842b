"""Exact ablation: what silencing each single neuron really does."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from pydantic import Field

import neuron_antagonism as na

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ablation(na.Scorer):
    """Mean over the questions of F(w) − F(w with this neuron alone at zero): the causal ground truth, no approximation.

    Costs a forward of one token for every neuron and question; the other scorers approximate it.
    """

    name = "ablation"
    reference = "exact single-neuron ablation; F as in NeuronLLM Eq. 3 unless `target` names another scorer's"

    class Options(na.Options):
        """Options of the ablation."""

        target: str = Field(default="ace", description="the scorer whose target F is")

    @property
    def target(self) -> na.Target:  # type: ignore[override]  # a property, as contracts allow
        """The other scorer's target."""
        return na.target_of(self.options.target)

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """Silence every neuron at the last position, one at a time."""
        import torch

        found = na.ablate(
            model,
            examples,
            self.target,
            engine=settings.engine,
            site=settings.site,
            max_tokens=settings.max_tokens,
            progress=settings.progress,
        )
        edges = [0, *accumulate(len(example.proxies) for example in examples)]
        return na.Attribution(
            scores=found.effects.mean(0).float(),
            example_scores=torch.stack([found.effects[a:b].sum(0) for a, b in pairwise(edges)]).float(),
            scorer=self.name,
            options=self.options.model_dump(),
            target=found.target,
            engine=found.engine,
            engine_reason=found.engine_reason,
            site=settings.site,
        )


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Ablation]
