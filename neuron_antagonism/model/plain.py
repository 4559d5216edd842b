"""The plain Hugging Face model below a hooked one: its module names and its weights."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.errors import ModelError
from neuron_antagonism.model.output import taking

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel

# TransformerLens puts its own module in a module's place and keeps that one inside under this name
_WRAPPED = re.compile(r"(?:^|(?<=\.))_original_component(?:\.|$)")
ACCEPTED = "an FFN whose output projection is a Linear or Conv1D; formats json and csv export any edit"


@dataclass(frozen=True)
class Projection:
    """An FFN's output projection in the plain model.

    Args:
        name: of the module, as the plain model has it.
        module: the module itself.
        fan_in_fan_out: whether its weight is [neuron, width] (Conv1D), or [width, neuron].
    """

    name: str
    module: torch.nn.Module
    fan_in_fan_out: bool

    @property
    def weight(self) -> Tensor:
        """The weight as the module holds it; of a quantized one as it is stored."""
        found: Tensor = self.module.get_parameter("weight")
        return found

    def scaled(self, scale: Float[Tensor, " neuron"]) -> Tensor:
        """A new weight that does to unscaled neurons what the old one does to scaled ones."""
        factor = scale.to(self.weight.device, torch.promote_types(self.weight.dtype, torch.float32))
        wide = self.weight.detach().to(factor.dtype)
        return (wide * (factor[:, None] if self.fan_in_fan_out else factor)).to(self.weight.dtype)


def plain_name(name: str) -> str:
    """A module's or weight's name without what TransformerLens put in its place."""
    return _WRAPPED.sub("", name).removesuffix(".")


def reader(model: HookedModel, layer: int) -> tuple[str | None, torch.nn.Module | None]:
    """The module that takes in what the site `post` reads and writes in a layer, of whatever kind, and its name."""
    inner = taking(model.bridge, model.site("post").format(layer))
    names = [name for name, part in model.bridge.original_model.named_modules() if part is inner]
    return (names[0], inner) if names else (None, None)


def column(module: torch.nn.Module, neuron: int, like: Float[Tensor, "*batch neuron"]) -> Float[Tensor, " width"]:
    """What one neuron writes for each unit of its value, in the precision and on the device of some values.

    By the module itself: a quantized weight can't be read as numbers.
    """
    two = like.new_zeros(2, like.shape[-1])
    two[1, neuron] = 1
    with torch.no_grad():
        nothing, one = module(two)
    found: Tensor = one - nothing
    return found


def projection(model: HookedModel, layer: int) -> Projection:
    """The module whose input is what the site `post` reads and writes in a layer.

    Raises:
        ModelError: there is none that scaling its weights could stand for.
    """
    from transformers.pytorch_utils import Conv1D

    name, inner = reader(model, layer)
    if name is None or not isinstance(inner, torch.nn.Linear | Conv1D):
        what = "none that was found" if inner is None else type(inner).__name__
        raise ModelError(
            f"{model.name} ({model.architecture}), layer {layer}: the FFN's output projection is {what}; "
            f"accepted: {ACCEPTED}"
        )
    width = inner.weight.shape[0] if isinstance(inner, Conv1D) else inner.in_features
    if width != model.n_neurons:
        raise ModelError(
            f"{model.name} ({model.architecture}), layer {layer}: the FFN's output projection takes {width} values, "
            f"not {model.n_neurons}; accepted: {ACCEPTED}"
        )
    return Projection(plain_name(name), inner, isinstance(inner, Conv1D))


def is_whole(model: HookedModel) -> bool:
    """Whether every weight is there as the checkpoint has it: not quantized, not kept elsewhere until it is used."""
    taken = model.bridge.original_model
    return not (getattr(taken, "is_quantized", False) or any(weight.is_meta for weight in taken.parameters()))


def plain_model(model: HookedModel) -> Any:
    """A plain Hugging Face model that shares the hooked model's weights; it can be saved, not run.

    Raises:
        ModelError: the weights are not all there as they are, or can't be told apart from what TransformerLens added.
    """
    taken = model.bridge.original_model
    if not is_whole(model):
        raise ModelError(
            f"the weights of {model.name} are quantized or kept on another device than they are used on; accepted for "
            "a checkpoint: the model loaded without either; or format ia3, which holds only the edit"
        )
    # on the meta device this takes neither time nor memory: only names and shapes matter
    try:
        with torch.device("meta"):
            plain = type(taken)(copy.deepcopy(taken.config))
    # code that a checkpoint brings along may compute with its weights when it makes them, and fail in any way
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"can't make an empty {type(taken).__name__}: {type(error).__name__}: {reason}; accepted for a checkpoint: "
            "transformers' own architectures; or format ia3, which holds only the edit"
        ) from None
    found: dict[str, Tensor] = {}
    for name, weight in taken.state_dict().items():
        found.setdefault(plain_name(name), weight)
    wanted = {name: tuple(weight.shape) for name, weight in plain.state_dict().items()}
    wrong = [name for name, shape in wanted.items() if name not in found or tuple(found[name].shape) != shape]
    if wrong:
        raise ModelError(
            f"{model.name} ({model.architecture}): the weight {wrong[0]} can't be told apart from what TransformerLens "
            "put in its place; accepted: format ia3, which holds only the edit"
        )
    plain.load_state_dict({name: found[name] for name in wanted}, assign=True)
    plain.tie_weights()
    return plain.eval().requires_grad_(False)
