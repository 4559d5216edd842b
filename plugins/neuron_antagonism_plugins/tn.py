"""TN: truth neurons, the contrast of right and wrong letters over the whole vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._aggregation import AggregationOptions
from neuron_antagonism_plugins._targets import Contrast

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


LEAST = 2
"""Examples without which a t-test has no spread to go by."""


class Tn(na.Scorer):
    """Integrated gradients of p(right) − mean p(wrong) over the vocabulary, additively reordered or t-tested.

    The option aggregation=t-test is the authors' own selection: a neuron's score is the mean x̄ of its n example
    scores where Student's one-sample t-test rejects H0: mean = 0, and 0 elsewhere: t = x̄ / (s / √n) with n − 1
    degrees of freedom, rejected where P(|T| ≥ |t|) < alpha (greater: P(T ≥ t), less: P(T ≤ t)). Nothing corrects for
    the number of neurons: with alpha = 0.05 about every twentieth neuron without any effect is kept. A neuron whose
    scores are all alike is kept unless they are 0. With alternative=greater there are no bad neurons, with
    alternative=less no good ones.
    """

    name = "tn"
    target = Contrast()
    reference = "Li et al. 2025 (Truth Neurons), as compared in NeuronLLM §4.3"

    class Options(AggregationOptions):
        """Options of both aggregations."""

        belongs: ClassVar = {**AggregationOptions.belongs, "t-test": ("alpha", "alternative")}

        aggregation: Literal["additive", "t-test"] = Field(
            default="additive",
            description="'additive' (as NeuronLLM compares it): additive reordering; 't-test' (Li et al.): the mean "
            "over at least two examples where it differs from 0 significantly, else 0",
        )
        alpha: float = Field(
            default=0.05, gt=0, le=0.5, description="level of significance of the t-test, above 0, at most 0.5"
        )
        alternative: Literal["two-sided", "greater", "less"] = Field(
            default="two-sided",
            description="what the t-test accepts instead of a mean of 0: 'two-sided': any other, "
            "'greater': a positive one, 'less': a negative one",
        )

    def check(self, model: na.HookedModel, examples: Sequence[na.Example], site: str) -> None:
        """A t-test needs two examples."""
        if not self.options.reorders and len(examples) < LEAST:
            raise _too_few("one example")

    def aggregate(
        self,
        example_scores: Float[Tensor, "example layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "layer neuron"]:
        """Additive reordering, or the significant means."""
        if self.options.reorders:
            return super().aggregate(example_scores, question_scores)
        scores = example_scores.double()
        significant: Tensor = self._p_values(scores) < self.options.alpha
        return (scores.mean(0) * significant).to(example_scores.dtype)

    def _p_values(self, scores: Float[Tensor, "example layer neuron"]) -> Float[Tensor, "layer neuron"]:
        import torch
        from scipy.special import stdtr  # type: ignore[import-untyped]  # scipy ships no types

        n = len(scores)
        # by the range, not the variance: rounding of the mean gives equal scores a small one
        if n < LEAST or bool((scores == scores[0]).all()):
            raise _too_few("one example" if n < LEAST else f"{n} examples of equal scores")
        # equal scores: infinite, or NaN where they are 0, which is below no alpha
        t = scores.mean(0) / (scores.std(0) / n**0.5)
        beyond = {"two-sided": -t.abs(), "greater": -t, "less": t}[self.options.alternative]
        p: Tensor = torch.from_numpy(stdtr(n - 1, beyond.cpu().numpy())).to(scores.device)
        return 2 * p if self.options.alternative == "two-sided" else p


def _too_few(found: str) -> na.UsageError:
    return na.UsageError(f"tn.aggregation='t-test' with {found}; accepted: at least two examples that differ")


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Tn]
