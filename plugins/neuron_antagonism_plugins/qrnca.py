"""QRNCA: query-relevant neuron cluster attribution, the right letter's probability over the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from einops import reduce
from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._aggregation import AggregationOptions
from neuron_antagonism_plugins._targets import Probability

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Qrnca(na.Scorer):
    """Integrated gradients of p(right) over the vocabulary, additively reordered or weighted by inverse cluster.

    The option aggregation=ica is the authors' own recipe. A query is an example, its cluster the neurons whose IG
    exceeds `threshold` times the largest IG of a question of it; NA is the sum of what was kept over the query's
    questions, divided by its sum over the cluster; ICA = ln(queries / (occurrences + 1)), where a neuron occurs in a
    query if it is in its cluster. A query's score of a neuron is NA · ICA where that is positive, and 0 for common
    neurons, which occur in more than `common` of the queries. The authors take each query's top neurons; here a
    neuron's score for the task is the sum over the queries. It knows no bad neurons: nothing scores below 0.

    It singles out what is particular to a query. With the five examples of a run and common = 0.3 only neurons that
    occur in exactly one query score; with fewer than four none would, which is an error. A neuron that helps with
    every example scores 0 by design.
    """

    name = "qrnca"
    target = Probability()
    reference = "Chen et al. 2025 (QRNCA), as compared in NeuronLLM §4.3"

    class Options(AggregationOptions):
        """Options of both aggregations."""

        belongs: ClassVar = {**AggregationOptions.belongs, "ica": ("threshold", "common")}

        aggregation: Literal["additive", "ica"] = Field(
            default="additive",
            description="'additive' (as NeuronLLM compares it): additive reordering; 'ica' (Chen et al.): normalised "
            "attribution times inverse cluster attribution, without common neurons; it has no bad neurons",
        )
        threshold: float = Field(
            default=0.2,
            gt=0,
            lt=1,
            description="of 'ica': share of a question's largest IG that a neuron must exceed, 0 to 1",
        )
        common: float = Field(
            default=0.3,
            gt=0,
            le=1,
            description="of 'ica': share of the examples, above 0, at most 1; a neuron that occurs in more scores 0",
        )

    def check(self, model: na.HookedModel, examples: Sequence[na.Example], site: str) -> None:
        """There must be enough examples for a score other than 0."""
        if not self.options.reorders:
            self._check_queries(len(examples))

    def _check_queries(self, queries: int) -> None:
        common = self.options.common
        # fewest queries of which a neuron may occur in one: its ICA must be positive, and one must not be too common
        least = max(3, math.ceil(1 / common))
        if queries < least:
            raise na.UsageError(
                f"qrnca.aggregation='ica' with {queries} examples, where every neuron would score 0; "
                f"accepted: at least {least} with common={common}"
            )

    def aggregate(
        self,
        example_scores: Float[Tensor, "example layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "layer neuron"]:
        """Additive reordering, or the sum over the queries of NA · ICA."""
        if self.options.reorders:
            return super().aggregate(example_scores, question_scores)
        attribution = self._attribution(example_scores, question_scores)
        queries = len(attribution)
        occurrences = (attribution > 0).sum(0).double()
        inverse = (queries / (occurrences + 1)).log().clamp_min(0)
        rare: Tensor = occurrences / queries <= self.options.common
        return (attribution.sum(0) * inverse * rare).to(example_scores.dtype)

    def _attribution(
        self,
        example_scores: Float[Tensor, "query layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "query layer neuron"]:
        """NA of every query: 0 outside its cluster, 1 in all (0 where a query has no positive IG)."""
        queries = len(example_scores)
        self._check_queries(queries)
        if len(question_scores) % queries or not _sums(question_scores, example_scores):
            raise na.UsageError(
                f"qrnca.aggregation='ica' with {len(question_scores)} questions of {queries} examples; "
                "accepted: equally many questions in each example"
            )
        scores = question_scores.double()
        largest = scores.amax(dim=(1, 2), keepdim=True)
        # where no score is positive, none exceeds a share of the largest
        kept = scores * (scores > self.options.threshold * largest)
        summed = _summed(kept, queries)
        return summed / summed.sum(dim=(1, 2), keepdim=True).clamp_min(1e-300)


def _summed(
    question_scores: Float[Tensor, "question layer neuron"], queries: int
) -> Float[Tensor, "query layer neuron"]:
    """The sum over each query's questions, which are equally many and stand together."""
    return reduce(question_scores, "(query question) layer neuron -> query layer neuron", "sum", query=queries)


def _sums(
    question_scores: Float[Tensor, "question layer neuron"], example_scores: Float[Tensor, "query layer neuron"]
) -> bool:
    """Whether equal parts of the questions make up the examples."""
    gap = _summed(question_scores, len(example_scores)) - example_scores
    return float(gap.abs().max()) <= 1e-4 * float(question_scores.abs().max())


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Qrnca]
