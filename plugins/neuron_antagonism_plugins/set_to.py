"""Set-to: a neuron's value becomes its baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from einops import repeat
from pydantic import Field

import neuron_antagonism as na

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from jaxtyping import Float, Int
    from torch import Tensor


class SetTo(na.Intervention):
    """Sets chosen neurons to zero, to their mean over the identification questions, or to their counterfactual value.

    The counterfactual of a question is the same question with its options rotated, or its own; what a neuron is there
    is patched into the question's last position. The mean is that of the last position too.
    """

    name = "set-to"
    reference = "mean ablation and activation patching, as in MIB (Mueller et al. 2025)"

    class Options(na.Options):
        """The baseline."""

        baseline: Literal["zero", "mean", "counterfactual"] = Field(
            default="mean",
            description="'zero'; 'mean': over the identification questions; 'counterfactual': the value on the "
            "question with its options rotated, or its own counterfactual (in evaluations, at the last position)",
        )

    values: Tensor | None = None

    @property
    def needs_fit(self) -> bool:
        """Only a mean is learned."""
        return bool(self.options.baseline == "mean")

    @property
    def asks(self) -> bool:
        """Only a counterfactual is one question's own."""
        return bool(self.options.baseline == "counterfactual")

    def fit(self, model: na.HookedModel, examples: Sequence[na.Example], neurons: na.NeuronSet) -> Self:
        """Learn every neuron's mean."""
        values = na.baseline_values(model, examples, "mean", site=neurons.site)
        return self.with_state({"values": values}, neurons.site)

    def on(self, model: na.HookedModel, questions: Sequence[na.Question], site: str) -> Self:
        """Read the values on these questions' counterfactuals."""
        if not self.asks:
            return self
        other = self.with_options()
        other.values = na.baseline_values(model, questions, "counterfactual", site=site)
        return other

    def edit(
        self, values: Float[Tensor, "batch position n"], layer: int, neurons: Int[Tensor, " n"]
    ) -> Float[Tensor, "batch position n"]:
        """The baseline, at every position given."""
        if self.options.baseline == "zero":
            return values.new_zeros(values.shape)
        if self.values is None or (self.asks and (values.shape[1] != 1 or len(self.values) != len(values))):
            raise na.UsageError(
                f"{self.name}.baseline={self.options.baseline!r} acts on questions, at their last position; accepted: "
                "na.evaluate with positions='last', or baseline 'zero' or 'mean'"
            )
        own = repeat(self.values[:, layer, neurons.cpu()], "row n -> row position n", position=values.shape[1])
        return own.to(values).expand_as(values).clone()


@na.hookimpl
def neuron_antagonism_interventions() -> list[type[na.Intervention]]:
    """Register the intervention."""
    return [SetTo]
