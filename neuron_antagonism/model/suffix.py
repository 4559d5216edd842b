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
    """What one copy of a token gives to each block, by layer.

    Args:
        hidden: what enters the block.
        returned: how many values it returns (0: a tensor, no tuple).
        shapes: of all else that it gets, by place and by name, see `_shapes`.
    """

    hidden: dict[int, Float[Tensor, "row position width"]] = field(default_factory=dict)
    returned: dict[int, int] = field(default_factory=dict)
    shapes: dict[int, tuple[Any, dict[str, Any]]] = field(default_factory=dict)


@contextmanager
def recording(model: HookedModel) -> Iterator[BlockInputs]:
    """Within the context, the forward's block inputs are recorded."""
    found = BlockInputs()

    def record(layer: int) -> Callable[..., None]:
        def hook(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            found.hidden[layer] = (args[0] if args else kwargs["hidden_states"]).detach()
            found.returned[layer] = len(output) if isinstance(output, tuple) else 0
            found.shapes[layer] = _shapes(args), {name: _shapes(value) for name, value in kwargs.items()}

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
            rows, count = hidden.shape[0] // len(inputs.hidden[at]), counts[at]
            new = repeat(inputs.hidden[at], "prompt 1 width -> (prompt row) copy width", row=rows, copy=count - below)
            # where nothing is there yet, what was passed on may lie on another device
            hidden = torch.cat([hidden[:, :below], new], dim=1) if below else new
            by_place, by_name = inputs.shapes[at]
            rest = _of_first(args[1:], by_place[1:], count, total)
            named = {name: _of_first(value, by_name[name], count, total) for name, value in kwargs.items()}
            return whole(hidden, *rest, **named)

        return forward

    with ExitStack() as stack:
        for at, block in enumerate(model.bridge.blocks):
            below = counts[at - 1] if at else counts[0]
            if counts[at] == 0:
                stack.enter_context(_replaced(block, passing(at)))
            elif below < total:
                stack.enter_context(_replaced(block, running(at, below, block.forward)))
        yield


@contextmanager
def _replaced(block: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Within the context, a block runs another forward; one that was put there before comes back."""
    before = vars(block).get("forward")
    vars(block)["forward"] = forward
    try:
        yield
    finally:
        vars(block).pop("forward")
        if before is not None:
            vars(block)["forward"] = before


def _shapes(value: Any) -> Any:
    """The shapes of the tensors in nested tuples and lists; None for anything else."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return [_shapes(one) for one in value] if type(value) in (tuple, list) else None


def _of_first(value: Any, one: Any, count: int, total: int) -> Any:
    """What belongs to the first copies, of all that a block gets beside its input: masks, positions, angles.

    Args:
        value: what it gets for all copies.
        one: its shapes for a single copy: what has grown from there on has a place for each copy, the last ones last.
        count: how many copies the block runs.
        total: how many there are.

    Raises:
        ValueError: something has grown otherwise.
    """
    if count == total:
        return value
    if type(value) in (tuple, list):
        return type(value)(_of_first(part, own, count, total) for part, own in zip(value, one, strict=True))
    if not isinstance(value, Tensor):
        return value
    for dim, (now, was) in enumerate(zip(value.shape, one, strict=True)):
        if now - was == total - 1:
            value = value.narrow(dim, 0, now - total + count)
        elif now != was:
            raise ValueError(f"a block gets {tuple(value.shape)} for {total} copies and {one} for one")
    return value
