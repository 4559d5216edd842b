"""ACT: mean activation, a baseline without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._answered import by_example

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Act(na.Scorer):
    """Mean value of each neuron at the last position over the questions; it has no bad set.

    With weight=output-norm: the mean of |a_i| · ‖W_out[i]‖, the size of what the neuron writes into the FFN's output
    (Wanda's importance of a weight, |weight| · ‖input‖, for a whole neuron).
    """

    name = "act"
    target = None
    roles = ("good",)
    reference = "NeuronLLM §4.3; weight=output-norm: Wanda (Sun et al. 2024, arXiv 2306.11695) §3, Eq. 1"

    class Options(na.Options):
        """Options of the mean."""

        weight: Literal["none", "output-norm"] = Field(
            default="none",
            description="'none': the value as it is; 'output-norm' (Wanda): its size times the norm of the neuron's "
            "output weights, at site 'post'",
        )

    @property
    def own_passes(self) -> bool:
        """Plain values are those that the gradients of other scorers are taken at: no pass is needed for them."""
        return bool(self.options.weight != "none")

    def check(self, model: na.HookedModel, examples: Sequence[na.Example], site: str) -> None:
        """Only FFN neurons have output weights."""
        if self.own_passes and site != "post":
            raise na.UsageError(f"option act.weight='output-norm' at site {site!r}; accepted: weight='none', or 'post'")

    def aggregate(
        self,
        example_scores: Float[Tensor, "example layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "layer neuron"]:
        """The mean over the questions."""
        return question_scores.mean(0)

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """One pass over the examples, for the option weight=output-norm alone."""
        import torch

        seen: dict[int, Tensor] = {}
        na.observe(
            model,
            examples,
            lambda found: seen.update(zip(found.questions, found.values.abs(), strict=True)),
            site=settings.site,
            seed=settings.seed,
            max_tokens=settings.max_tokens,
            progress=settings.progress,
        )
        sizes = torch.stack([seen[i] for i in range(len(seen))])
        for layer in range(model.n_layers):
            sizes[:, layer] *= model.output_weights(layer).norm(dim=-1).to(sizes)
        return na.Attribution(
            scores=sizes.mean(0).float(),
            example_scores=by_example(sizes, examples).float(),
            scorer=self.name,
            options=self.options.model_dump(mode="json"),
            site=settings.site,
            roles=self.roles,
        )


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Act]
