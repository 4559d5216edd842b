"""The same quantity by other means: the public procedure of KN and QRNCA written anew, and captum.

Both work on the bare Hugging Face module and know nothing of this project. The target is the probability of the
right letter over the vocabulary, the sum is the right one, so that the numbers can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

ALL = slice(None)


@contextmanager
def patched(projection: torch.nn.Module, last: Tensor) -> Iterator[None]:
    """The projection's input at the last position replaced, one row of `last` for each row of the batch."""

    def replace(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (torch.cat([args[0][:, :-1], last[:, None]], dim=1),)

    handle = projection.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def values(model: Any, projection: torch.nn.Module, ids: Tensor) -> Tensor:
    """The projection's input at the last position."""
    found: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda module, args: found.append(args[0][:, -1].detach()))
    with torch.no_grad():
        model(ids, use_cache=False)
    handle.remove()
    return found[0]


def probability(model: Any, projection: torch.nn.Module, ids: Tensor, last: Tensor, token: int) -> Tensor:
    """p(token) after the prompt, for each replacement of the projection's input at the last position."""
    with patched(projection, last):
        logits = model(ids.expand(len(last), -1), use_cache=False).logits[:, -1]
    return logits.softmax(-1)[:, token]


def procedure(model: Any, ids: Tensor, token: int, steps: int, layers: slice = ALL) -> Tensor:
    """Layer by layer: one forward for the values, one batch of all steps over the whole sequence, its gradients."""
    scores = []
    for block in model.model.layers[layers]:
        projection = block.mlp.down_proj
        w = values(model, projection, ids)
        scaled = (torch.arange(1, steps + 1, dtype=w.dtype)[:, None] / steps * w).requires_grad_()
        p = probability(model, projection, ids, scaled, token)
        (gradient,) = torch.autograd.grad(p.sum(), scaled)
        scores.append(w[0] * gradient.mean(0))
    return torch.stack(scores)


def by_captum(model: Any, ids: Tensor, token: int, steps: int, layers: slice = ALL) -> Tensor:
    """captum's integrated gradients of the patched activation, layer by layer."""
    scores = []
    for block in model.model.layers[layers]:
        projection = block.mlp.down_proj
        w = values(model, projection, ids)
        ig = IntegratedGradients(lambda last, at=projection: probability(model, at, ids, last, token))
        scores.append(ig.attribute(w, baselines=0 * w, n_steps=steps, method="riemann_right")[0])
    return torch.stack(scores)
