"""Values of bare Hugging Face modules, read and written by plain hooks; nothing of the package in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

GATED = ("post", "up", "resid_post")
"""Sites of LLaMA and its like."""


def blocks(module: nn.Module, n: int = 3) -> nn.ModuleList:
    """The list of a model's blocks."""
    return next(m for m in module.modules() if isinstance(m, nn.ModuleList) and len(m) == n)


def output(block: nn.Module) -> nn.Module:
    """The output projection of a block's FFN."""
    names = ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "fc2")
    return next(part for name, part in block.named_modules() if name in names)


def output_weights(block: nn.Module) -> Tensor:
    """What each neuron of a block writes for each unit of its value [neuron, width]."""
    projection = output(block)
    weight = projection.get_parameter("weight").detach()
    return weight.T if isinstance(projection, nn.Linear) else weight


@contextmanager
def taken(module: nn.Module, parts: dict[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Within the context a forward leaves here what each part takes in and gives, by the parts' names."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    handles = []
    for name, part in parts.items():

        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, name: str = name) -> None:
            given = args[0] if args else kwargs["hidden_states"]
            found[name] = given.detach(), (out[0] if isinstance(out, tuple) else out).detach()

        handles.append(part.register_forward_hook(hook, with_kwargs=True))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def writing(module: nn.Module, site: str, f: Callable[[Tensor, int], Tensor]) -> Iterator[None]:
    """Within the context, values [batch, position, unit] become `f(values, layer)` in every forward."""
    handles = []
    for layer, block in enumerate(blocks(module)):

        def before(_: Any, args: tuple[Tensor], layer: int = layer) -> tuple[Tensor]:
            return (f(args[0], layer),)

        def after(_: Any, args: Any, output: Any, layer: int = layer) -> Any:
            if isinstance(output, tuple):
                return (f(output[0], layer), *output[1:])
            return f(output, layer)

        if site == "resid_post":
            handles.append(block.register_forward_hook(after))
        elif site == "up":
            handles.append(block.mlp.up_proj.register_forward_hook(after))
        else:
            handles.append(output(block).register_forward_pre_hook(before))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def logits(module: Any, ids: Sequence[int]) -> Tensor:
    """Of one prompt, at every position."""
    with torch.no_grad():
        found: Tensor = module(torch.tensor([list(ids)])).logits[0]
    return found


def values(module: Any, ids: Sequence[int], site: str) -> Tensor:
    """Of one prompt at the last position [layer, unit]."""
    found: dict[int, Tensor] = {}

    def read(seen: Tensor, layer: int) -> Tensor:
        # some models run their FFN on one long row of tokens
        found[layer] = seen.reshape(-1, seen.shape[-1])[-1].clone()
        return seen

    with writing(module, site, read):
        logits(module, ids)
    return torch.stack([found[layer] for layer in sorted(found)])
