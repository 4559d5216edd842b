"""An edit as a PEFT LoRA: to scale k columns of a matrix is to add one of rank k, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.errors import ModelError, UsageError
from neuron_antagonism.exports.adapter import write_adapter
from neuron_antagonism.exports.choose import scales
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.plain import Projection, is_whole, projection

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

VLLM_RANKS = (16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for --max-lora-rank, from its default up."""


def ranks(edit: Edit, n_neurons: int) -> dict[int, int]:
    """By layer, the columns of its output projection that an edit scales; layers without any are left out."""
    found = {layer: int((scale != 1).sum()) for layer, scale in scales(edit, n_neurons).items()}
    return {layer: rank for layer, rank in found.items() if rank}


def limits(found: Mapping[int, int]) -> list[str]:
    """What programs other than PEFT must be told of a LoRA of these ranks by layer; a line each."""
    largest, said = max(found.values()), []
    default = VLLM_RANKS[0]
    if largest > default:
        wide = ", ".join(f"{layer} ({rank})" for layer, rank in found.items() if rank > default)
        needed = next((rank for rank in VLLM_RANKS if rank >= largest), None)
        way = f"--max-lora-rank {needed}" if needed else f"it takes {VLLM_RANKS[-1]} at most; format checkpoint"
        said.append(f"vLLM takes rank {default} unless told otherwise: {way} (layers of more columns: {wide})")
    if len(set(found.values())) > 1:
        said.append(
            'llama.cpp knows one rank for all layers: format gguf, or convert a copy with "lora_alpha": 0 in '
            "adapter_config.json, which leaves every layer's factor at 1"
        )
    return said


def write_lora(folder: Path, model: HookedModel, edit: Edit) -> None:
    """Write the adapter's two files.

    A module has A of shape [rank, neuron], whose rows choose the edited neurons, and B of shape [width, rank], whose
    columns are theirs in the output projection times (scale − 1). Alpha is the rank everywhere: the factor is 1.

    Raises:
        UsageError, ModelError: as in `factors`.
    """
    found = factors(model, edit, "lora")
    tensors = {name: _as_stored(pair, model) for name, (_, pair) in found.items()}
    by_module = {name: len(a) for name, (a, _) in tensors.items()}
    largest = max(by_module.values())
    smaller = {name: rank for name, rank in sorted(by_module.items()) if rank < largest}
    config = {
        "alpha_pattern": smaller,
        "bias": "none",
        "fan_in_fan_out": any(place.fan_in_fan_out for place, _ in found.values()),
        "init_lora_weights": True,
        "lora_alpha": largest,
        "lora_dropout": 0.0,
        "r": largest,
        "rank_pattern": smaller,
        "use_dora": False,
        "use_rslora": False,
    }
    write_adapter(folder, model, "LORA", config, tensors)


def factors(model: HookedModel, edit: Edit, form: str) -> dict[str, tuple[Projection, tuple[Tensor, Tensor]]]:
    """The projections that an edit changes, by name, each with A and B of its change.

    Raises:
        ModelError: quantized weights, or a projection that several modules share.
        UsageError: an edit that scales every neuron by 1.
    """
    if not is_whole(model):
        raise ModelError(
            f"the weights of {model.name} are quantized or kept on another device than they are used on, so that their "
            "columns can't be read; accepted for a LoRA: the model loaded without either; or format ia3"
        )
    places = {layer: projection(model, layer) for layer in ranks(edit, model.n_neurons)}
    if not places:
        raise UsageError(f"the edit scales every neuron by 1; accepted by {form}: an edit that changes some")
    _check_alone(model, places)
    by_layer = scales(edit, model.n_neurons)
    return {place.name: (place, factored(place, by_layer[layer])) for layer, place in places.items()}


def factored(
    place: Projection, scale: Float[Tensor, " neuron"]
) -> tuple[Float[Tensor, "rank neuron"], Float[Tensor, "width rank"]]:
    """A and B whose product is what scaling adds to a projection's weight; on the CPU, float32 or wider."""
    neurons = (scale != 1).nonzero()[:, 0]
    weight = place.weight.detach().cpu()
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    columns = weight[neurons].T if place.fan_in_fan_out else weight[:, neurons]
    choice = torch.zeros(len(neurons), len(scale), dtype=weight.dtype)
    choice[torch.arange(len(neurons)), neurons] = 1
    return choice, columns * (scale[neurons].to(weight.dtype) - 1)


def _as_stored(pair: tuple[Tensor, Tensor], model: HookedModel) -> tuple[Tensor, Tensor]:
    """In the model's dtype where that loses nothing, as with factors of 0 and 2."""
    a, b = (one.to(model.dtype) for one in pair)
    return (a, b) if torch.equal(b.to(pair[1].dtype), pair[1]) else pair


def _check_alone(model: HookedModel, places: Mapping[int, Projection]) -> None:
    """A LoRA belongs to a module by its name: of a weight that several layers have, it would change one's."""
    weights = {layer: projection(model, layer).weight for layer in range(model.n_layers)}
    for layer, place in places.items():
        others = [other for other, weight in weights.items() if other != layer and weight is place.weight]
        if others:
            raise ModelError(
                f"{model.name} ({model.architecture}): layers {layer} and {others[0]} share the weight of their output "
                "projection, of which a LoRA would change one; accepted for a LoRA: weights of their own"
            )
