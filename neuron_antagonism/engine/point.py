"""Gradients at the values themselves: every layer at once, by one forward and one backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange

from neuron_antagonism.engine.base import Asked, leaf_gradients, letter_columns, outputs_of, wide
from neuron_antagonism.engine.copies import Copies, each_batch
from neuron_antagonism.engine.lengths import each_length

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.engine.choose import Choice
    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.plugin.base import Target
    from neuron_antagonism.progress import Progress


@dataclass(frozen=True, eq=False)
class Point:
    """Values and gradients at the last position, on the CPU, float32 or wider.

    Attributes:
        values: a, of every neuron.
        gradients: ∂F/∂a, through everything that comes after.
    """

    values: Float[Tensor, "question layer neuron"]
    gradients: Float[Tensor, "question layer neuron"]


def point_gradients(
    model: HookedModel,
    questions: Sequence[Asked],
    target: Target,
    choice: Choice,
    *,
    site: str = "post",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Point:
    """Gradients of F by the values of all layers' neurons at the last position: a forward and a backward of one token.

    Args:
        model: the model.
        questions: with equally many letters each.
        target: F.
        choice: the engine: a whole forward and backward where it is "reference".
        site, max_tokens, progress: see `Settings`.
    """
    done: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(part: Sequence[int], values: Tensor, gradients: Tensor) -> None:
        done.update(zip(part, zip(values.cpu(), gradients.cpu(), strict=True), strict=True))
        if progress is not None:
            progress("gradients", len(done), len(questions))

    def copied(part: Sequence[int], copies: Copies, _: int) -> None:
        leaves = _Leaves(model)
        with torch.enable_grad():
            logits = copies.logits(1, leaves.add, site)[:, 0]
        keep(part, *leaves.found(target, logits, [questions[i] for i in part]))

    def whole(part: Sequence[int]) -> None:
        leaves = _Leaves(model)
        with torch.enable_grad(), model.writing(range(model.n_layers), leaves.add, site):
            logits = model.last_logits([questions[i].encoded.ids for i in part])
        keep(part, *leaves.found(target, logits, [questions[i] for i in part]))

    if choice.name != "reference":
        each_batch(model, questions, choice.name, 1, copied, grad=True, max_tokens=max_tokens)
    else:
        each_length(model, questions, whole, grad=True, max_tokens=max_tokens)
    values, gradients = zip(*(done[i] for i in range(len(questions))), strict=True)
    return Point(torch.stack(values), torch.stack(gradients))


class _Leaves:
    """What is added to each layer's values at the last position: zeros, whose gradients are those of the values."""

    def __init__(self, model: HookedModel) -> None:
        self._model = model
        self._zeros: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    def add(self, values: Tensor, layer: int) -> Tensor:
        self._values[layer] = values[:, -1].detach()
        self._zeros[layer] = torch.zeros_like(values[:, -1:]).requires_grad_()
        return torch.cat([values[:, :-1], values[:, -1:] + self._zeros[layer]], dim=1)

    def found(self, target: Target, logits: Tensor, questions: Sequence[Asked]) -> tuple[Tensor, Tensor]:
        """Values and gradients [question, layer, neuron]."""
        with torch.enable_grad():
            f = outputs_of([target], logits, *letter_columns(questions, logits))[target]
        order = range(self._model.n_layers)
        gradients, size = leaf_gradients(f, logits, [self._zeros[layer] for layer in order], retain=False)
        here = logits.device
        values = torch.stack([wide(self._values[layer]).to(here) for layer in order], dim=1)
        stacked = torch.stack([gradient[:, 0].to(here) for gradient in gradients], dim=1)
        return values, stacked * rearrange(size, "question -> question 1 1")
