"""AUROC: how well a neuron's value alone tells right answers from wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import neuron_antagonism as na
from neuron_antagonism_plugins._answered import answered, by_example

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


class Auroc(na.Scorer):
    """Area under the ROC curve of a neuron's value at the last position for right against wrong answers, minus ½.

    AUROC_i = mean over all pairs of a rightly and a wrongly answered question of [a_i(right) > a_i(wrong)], ties ½:
    Mann and Whitney's U over the number of pairs. The score lies in −½ … ½; above 0: the value is larger where the
    model is right. It is a correlation: nothing is silenced.

    An example score is the example's share: a pair's part is divided equally between its two questions, and the shares
    of all examples sum to the score. One forward a question, no gradient.
    """

    name = "auroc"
    target = None
    reference = (
        "Mann and Whitney 1947; single neurons as classifiers: Radford et al. 2017 (arXiv 1704.01444), Gurnee et al. "
        "2023 (arXiv 2305.01610)"
    )

    class Options(na.Options):
        """No options."""

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """One pass over the examples."""
        values, right = answered(model, examples, settings, self.name)
        shares = by_example(_shares(values, right), examples)
        return na.Attribution(
            scores=shares.sum(0).float(),
            example_scores=shares.float(),
            scorer=self.name,
            options=self.options.model_dump(mode="json"),
            site=settings.site,
        )


def _shares(
    values: Float[Tensor, "question layer unit"], right: Bool[Tensor, " question"]
) -> Float[Tensor, "question layer unit"]:
    """Each question's share of AUROC − ½; in float64. One layer at a time: sorting doubles what it sorts."""
    import torch

    found = torch.empty(values.shape, dtype=torch.float64)
    for layer in range(values.shape[1]):
        ours, theirs = (values[which, layer].T.contiguous() for which in (right, ~right))
        found[right, layer] = ((_below(ours, theirs) - 0.5) / (2 * ours.shape[1])).T
        found[~right, layer] = ((0.5 - _below(theirs, ours)) / (2 * theirs.shape[1])).T
    return found


def _below(values: Float[Tensor, "unit row"], others: Float[Tensor, "unit other"]) -> Float[Tensor, "unit row"]:
    """The share of the others that lie below each value, equal ones counted half."""
    import torch

    ordered = others.sort(-1).values
    less, no_more = (torch.searchsorted(ordered, values, right=after) for after in (False, True))
    return (less + no_more).double() / (2 * others.shape[1])


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Auroc]
