"""Questions with their values and whether the model answers them rightly, for scorers that compare the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import neuron_antagonism as na

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


def answered(
    model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings, scorer: str
) -> tuple[Float[Tensor, "question layer unit"], Bool[Tensor, " question"]]:
    """The values of all units at each question's last position, and whether the question is answered rightly.

    One forward a question, batched; on the CPU in the model's precision, float32 or wider.

    Raises:
        DataError: every question is answered rightly, or every one wrongly.
    """
    import torch

    values: dict[int, Tensor] = {}
    right: dict[int, bool] = {}

    def see(seen: na.Observation) -> None:
        values.update(zip(seen.questions, seen.values, strict=True))
        right.update(zip(seen.questions, seen.right.tolist(), strict=True))

    na.observe(
        model,
        examples,
        see,
        site=settings.site,
        seed=settings.seed,
        max_tokens=settings.max_tokens,
        progress=settings.progress,
    )
    if len(set(right.values())) < 2:
        which = "rightly" if right[0] else "wrongly"
        raise na.DataError(
            f"scorer {scorer!r}: the model answers all of the {len(right)} questions {which}; accepted: examples of "
            "which it answers some rightly and some wrongly"
        )
    order = range(len(right))
    return torch.stack([values[i] for i in order]), torch.tensor([right[i] for i in order])


def by_example(
    questions: Float[Tensor, "question layer unit"], examples: Sequence[na.Example]
) -> Float[Tensor, "example layer unit"]:
    """Sums over each example's questions."""
    import torch

    owners: Int[Tensor, " question"] = torch.tensor([e for e, one in enumerate(examples) for _ in one.proxies])
    sums = questions.new_zeros(len(examples), *questions.shape[1:])
    return sums.index_add_(0, owners, questions)
