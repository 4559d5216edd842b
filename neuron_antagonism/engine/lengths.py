"""Whole forwards of questions of one length, whose ends stand at the batch's end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from neuron_antagonism.engine.base import Asked, by_length
from neuron_antagonism.engine.memory import TokenLimit

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel


def each_length(
    model: HookedModel,
    questions: Sequence[Asked],
    work: Callable[[Sequence[int]], None],
    *,
    grad: bool,
    rows: int = 1,
    max_tokens: int | None = None,
) -> None:
    """Call `work` with the indices of questions of one length, as many as a forward may take.

    Args:
        model: the model.
        questions: of any lengths.
        work: does some; called again with fewer where memory runs out.
        grad: whether gradients are taken.
        rows: of a forward, for each question.
        max_tokens: tokens in one forward; None = planned from the free memory.
    """
    prompts = [question.encoded.ids for question in questions]
    limit = TokenLimit(model, max(map(len, prompts)), "reference", grad=grad, given=max_tokens)
    for group in by_length(prompts):
        limit.in_batches(group, lambda i: len(prompts[i]) * rows, work)
