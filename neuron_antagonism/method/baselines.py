"""What a neuron that is taken out is set to: zero, its mean, or its value on the counterfactual question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from einops import reduce

from neuron_antagonism.errors import DataError, UsageError, unknown
from neuron_antagonism.method.observe import Observation, observe
from neuron_antagonism.types import Example, Question, as_examples

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.progress import Progress

BASELINES = ("zero", "mean", "counterfactual")
"""By name: 0; the mean over the questions at hand; the value on the question's counterfactual."""

ACCEPTED = (
    'accepted: the baseline "mean" or "zero" with one input step, or questions that list their options after their '
    "letters, or with a counterfactual of their own"
)


def baseline_values(
    model: HookedModel,
    examples: Sequence[Example | Question],
    baseline: str,
    *,
    mean_of: Sequence[Example | Question] | None = None,
    site: str = "post",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "question layer neuron"]:
    """The baseline of every neuron at the last position, float32 or wider, on the CPU; one row where all share it.

    Args:
        model: the unedited model.
        examples: examples or plain questions.
        baseline: "zero"; "mean": over the questions; "counterfactual": a row for each question, in their order.
        mean_of: other examples that the mean is over, such as those that scores come from; None = these.
        site, max_tokens, progress: see `Settings`.

    Raises:
        UsageError: an unknown baseline.
        DataError: a question without a counterfactual.
    """
    own = examples if mean_of is None or baseline != "mean" else mean_of
    questions = [question for example in as_examples(own) for question in example.proxies]
    if checked_baseline(baseline) == "zero":
        return torch.zeros(1, model.n_layers, model.units(site))
    asked = counterfactuals(questions) if baseline == "counterfactual" else questions
    rows: dict[int, Tensor] = {}

    def see(seen: Observation) -> None:
        rows.update(zip(seen.questions, seen.values, strict=True))

    observe(model, asked, see, site=site, max_tokens=max_tokens, progress=progress)
    values = torch.stack([rows[i] for i in range(len(asked))])
    return values if baseline == "counterfactual" else reduce(values, "question layer neuron -> 1 layer neuron", "mean")


def checked_baseline(baseline: str) -> str:
    """A baseline's name.

    Raises:
        UsageError: an unknown one.
    """
    if baseline not in BASELINES:
        raise UsageError(unknown("baseline", baseline, BASELINES))
    return baseline


def counterfactuals(questions: Sequence[Question]) -> list[Question]:
    """The counterfactual of each question.

    Raises:
        DataError: one has none.
    """
    found = []
    for question in questions:
        other = question.counterfactual
        if other is None:
            raise DataError(f"the question {question.prompt[-60:]!r} has no counterfactual; {ACCEPTED}")
        found.append(other)
    return found
