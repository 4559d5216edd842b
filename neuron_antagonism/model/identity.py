"""Which weights a module has, in one hash of their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 2**24
"""Values that are copied at once from where they are kept."""


def weights_sha256(module: torch.nn.Module) -> str:
    """SHA-256 over name, shape, dtype and bytes of all that a module's state holds.

    These are its parameters and persistent buffers, and what quantized layers store beside them; also where accelerate
    keeps them elsewhere until they are used. The same on every device and for any number of threads; another in another
    precision. What is shared is read once, and counts as equal copies under all of its names would.
    """
    # what is loaded for a moment may get the id of what was just let go: only ids of what stays are remembered
    stays = {id(parameter): parameter for parameter in module.parameters()}
    known: dict[int, str] = {}
    contents: dict[str, str] = {}
    for name, tensor in state(module):
        contents[name] = known.get(id(tensor)) or _content(tensor)
        if id(tensor) in stays:
            known[id(tensor)] = contents[name]
    return hashlib.sha256(repr(sorted(contents.items())).encode()).hexdigest()


def state(module: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and values as in a module's `state_dict`, one submodule at a time, so that offloaded ones are there."""
    from accelerate.utils import align_module_device  # type: ignore[import-untyped]

    for path, part in module.named_modules():
        with align_module_device(part):
            own: dict[str, Tensor] = {}
            part._save_to_state_dict(own, f"{path}." if path else "", keep_vars=True)
            # a module may store what is no tensor
            yield from ((name, value) for name, value in own.items() if isinstance(value, torch.Tensor))


def _content(tensor: Tensor) -> str:
    digest = hashlib.sha256(repr((str(tensor.dtype), tuple(tensor.shape))).encode())
    flat = tensor.detach().reshape(-1)
    for start in range(0, len(flat), CHUNK):
        digest.update(flat[start : start + CHUNK].cpu().view(torch.uint8).numpy().data)
    return digest.hexdigest()
