"""What the FFNs of a model write: their output projections, by module and by numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ROWS = 512
"""Neurons that are sent through a module at once, where its weight can't be read."""


def taking(bridge: Any, point: str) -> torch.nn.Module | None:
    """The plain module whose input the hook point of that name is; None where there is none."""
    wanted = bridge.hook_dict[point]
    owner = next((part for part in bridge.modules() if getattr(part, "hook_in", None) is wanted), None)
    inner = getattr(owner, "original_component", None)
    # a module that was loaded twice was wrapped twice
    while (within := getattr(inner, "original_component", None)) is not None:
        inner = within
    return inner if isinstance(inner, torch.nn.Module) else None


def written(module: torch.nn.Module, values: Float[Tensor, "row neuron"]) -> Float[Tensor, "row width"]:
    """What a module makes of values in its own precision, bias included; float32 or wider."""
    with torch.no_grad():
        found: Tensor = module(values)
    return found if found.dtype == torch.float64 else found.float()


def output_weights(
    module: torch.nn.Module, n_neurons: int, like: Float[Tensor, "*shape"]
) -> Float[Tensor, "neuron width"]:
    """What each neuron writes for each unit of its value; float32 or wider.

    Read from the weight of a plain Linear or Conv1D; of any other module, such as a quantized one, by what it writes
    for each neuron alone less what it writes for none.

    Args:
        module: an FFN's output projection.
        n_neurons: how many values it takes.
        like: a tensor of the precision and on the device that it is given its values in.

    Raises:
        ModelError: it takes another number of values.
    """
    from transformers.pytorch_utils import Conv1D

    weight = getattr(module, "weight", None)
    # subclasses hold their weights in forms of their own; a weight on meta is loaded when the module is called
    if type(module) in (torch.nn.Linear, Conv1D) and isinstance(weight, torch.Tensor) and not weight.is_meta:
        found = weight.detach() if isinstance(module, Conv1D) else weight.detach().T
        if len(found) != n_neurons:
            raise ModelError(f"an output projection takes {len(found)} values; accepted: one for each of {n_neurons}")
        return found if found.dtype == torch.float64 else found.float()
    parts = []
    with torch.no_grad():
        nothing = module(like.new_zeros(1, n_neurons))
        for start in range(0, n_neurons, ROWS):
            rows = like.new_zeros(min(ROWS, n_neurons - start), n_neurons)
            rows[:, start:].fill_diagonal_(1)
            parts.append(module(rows) - nothing)
    found = torch.cat(parts)
    return found if found.dtype == torch.float64 else found.float()
