"""Forwards that start at a later block: what lies below is not run again where it would give the same.

An unedited block gives every copy of a token the same output. So the input of each block is recorded once, and a
forward that changes nothing below a block starts there. This steps between a model's own blocks, so it is used only
where `engine.choose` has seen it give the plain forward's logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from einops import repeat

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

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
def starting_at(model: HookedModel, layer: int, inputs: BlockInputs) -> Iterator[None]:
    """Within the context, forwards of one token, or of copies of it, start at `layer`; restored on exit.

    Args:
        model: the model.
        layer: the first block that is run; 0 = all of them.
        inputs: recorded from one copy of the same rows' tokens.
    """

    def passing(at: int) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            if at == layer - 1:
                recorded = inputs.hidden[layer]
                rows, copies = hidden.shape[0] // recorded.shape[0], hidden.shape[1]
                hidden = repeat(recorded, "prompt 1 width -> (prompt row) copy width", row=rows, copy=copies)
            rest = inputs.returned[at] - 1
            return hidden if rest < 0 else (hidden, *[None] * rest)

        return forward

    blocks = [model.bridge.blocks[at] for at in range(layer)]
    try:
        for at, block in enumerate(blocks):
            vars(block)["forward"] = passing(at)
        yield
    finally:
        for block in blocks:
            vars(block).pop("forward", None)
