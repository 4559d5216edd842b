"""Forwards in which a copy of a token comes in at a later block: what lies below gives the same for every copy.

An unedited block gives every copy of a token the same output. So the input of each block is recorded once, and a copy
comes in at the block that changes it. This steps between a model's own blocks, so it is used only where
`engine.choose` has seen it give the plain forward's logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from einops import repeat
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

    from neuron_antagonism.model.hooked import HookedModel


@dataclass
class BlockInputs:
    """What enters each block, by layer, and how many values a block returns (0: a tensor, no tuple)."""

    hidden: dict[int, Float[Tensor, "row position width"]] = field(default_factory=dict)
    returned: dict[int, int] = field(default_factory=dict)


@contextmanager
def recording(model: HookedModel) -> Iterator[BlockInputs]:
    """Within the context, the forward's block inputs are recorded."""
    found = BlockInputs()

    def record(layer: int) -> Callable[..., None]:
        def hook(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            found.hidden[layer] = (args[0] if args else kwargs["hidden_states"]).detach()
            found.returned[layer] = len(output) if isinstance(output, tuple) else 0

        return hook

    with ExitStack() as stack:
        for layer, block in enumerate(model.bridge.blocks):
            handle = block.register_forward_hook(record(layer), with_kwargs=True)
            stack.callback(handle.remove)
        yield found


@contextmanager
def stepping(model: HookedModel, counts: Sequence[int], inputs: BlockInputs) -> Iterator[None]:
    """Within the context, a forward of copies of one token runs in each block only those that have come in by then.

    Copies that come in at a block stand behind those that are there, and get what was recorded as its input.

    Args:
        model: the model.
        counts: by block, the copies of a row that it runs: all of them in the last one, and never fewer than in the
            block below; 0 = it is left out.
        inputs: recorded from one copy of the same rows' tokens; not used where the first block runs all copies.
    """
    total = counts[-1]

    def passing(at: int) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            rest = inputs.returned[at] - 1
            return hidden if rest < 0 else (hidden, *[None] * rest)

        return forward

    def running(at: int, below: int, whole: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs.pop("hidden_states")
            rows = hidden.shape[0] // len(inputs.hidden[at])
            new = repeat(
                inputs.hidden[at], "prompt 1 width -> (prompt row) copy width", row=rows, copy=counts[at] - below
            )
            hidden = torch.cat([hidden[:, :below], new], dim=1)
            rest = (_of_first(value, counts[at], total) for value in args[1:])
            return whole(hidden, *rest, **{name: _of_first(value, counts[at], total) for name, value in kwargs.items()})

        return forward

    blocks = list(model.bridge.blocks)
    try:
        for at, block in enumerate(blocks):
            below = counts[at - 1] if at else counts[0]
            if counts[at] == 0:
                vars(block)["forward"] = passing(at)
            elif below < total:
                vars(block)["forward"] = running(at, below, block.forward)
        yield
    finally:
        for block in blocks:
            vars(block).pop("forward", None)


def _of_first(value: Any, count: int, total: int) -> Any:
    """What belongs to the first copies, of all that a block gets beside its input: masks, positions, angles."""
    if isinstance(value, tuple | list):
        return type(value)(_of_first(one, count, total) for one in value)
    if not isinstance(value, Tensor) or value.ndim < 2 or count == total:
        return value
    if value.ndim == 4 and value.shape[2] == total:
        # a mask, in which the copies are the last keys too
        return value[:, :, :count, : value.shape[3] - total + count]
    return value[:, :count] if value.shape[1] == total else value
