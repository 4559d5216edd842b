"""Which weights a model has, in one hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel


def fingerprint(model: HookedModel) -> str:
    """A hash over name, shape, sum and ends of every parameter, and the chat template where there is one."""
    digest = hashlib.sha256(model.architecture.encode())
    for name, parameter in _parameters(model):
        flat = parameter.detach().flatten()
        ends = torch.cat([flat[:64], flat[-64:]]).float().cpu().tolist()
        total = float(flat.float().sum())
        digest.update(repr((name, tuple(parameter.shape), str(parameter.dtype), total, ends)).encode())
    if model.chat is not None:
        digest.update(model.chat.source.encode())
    return digest.hexdigest()


def _parameters(model: HookedModel) -> Iterator[tuple[str, Tensor]]:
    """Names and values, also of parameters that accelerate keeps elsewhere until their module is run."""
    from accelerate.utils import align_module_device  # type: ignore[import-untyped]

    seen: set[int] = set()
    for path, module in model.bridge.original_model.named_modules():
        own = [name for name, parameter in module.named_parameters(recurse=False) if id(parameter) not in seen]
        seen |= {id(parameter) for parameter in module.parameters(recurse=False)}
        with align_module_device(module):
            yield from ((f"{path}.{name}".lstrip("."), getattr(module, name)) for name in own)
