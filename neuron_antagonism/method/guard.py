"""Foreign code that is handed a model must leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.errors import PluginError
from neuron_antagonism.model.identity import state

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@contextmanager
def left_as_it_was(model: HookedModel, who: str, ids: Sequence[int]) -> Iterator[None]:
    """Within the context foreign code may use the model; hooks it leaves behind are removed, also where it fails.

    Args:
        model: the model.
        who: names the plugin in the error.
        ids: a prompt whose logits tell whether the model is itself again.

    Raises:
        PluginError: hooks were left behind, or the model's weights or logits are not those of before.
    """
    modules = list(model.bridge.original_model.modules())
    hooks = [{name: dict(vars(module)[name]) for name in HOOKS} for module in modules]
    before = _state(model, ids)
    left = 0
    try:
        yield
    finally:
        for module, kept in zip(modules, hooks, strict=True):
            for name in HOOKS:
                now: dict[int, Any] = vars(module)[name]
                for key in [key for key in now if key not in kept[name]]:
                    del now[key]
                    left += 1
    accepted = "accepted: one that leaves the model as it was"
    if not _same(before, _state(model, ids)):
        raise PluginError(f"{who} changed the model and did not restore it: load the model again; {accepted}")
    if left:
        raise PluginError(f"{who} left {left} hooks on the model, which have been removed; {accepted}")


def _state(model: HookedModel, ids: Sequence[int]) -> tuple[str, torch.Tensor]:
    with torch.no_grad():
        return _sums(model.bridge.original_model), model.last_logits([ids])


def _sums(module: torch.nn.Module) -> str:
    """What changes with nearly any change of the weights: shape, sum and ends of each. Cheap, and no identity."""
    found = []
    for name, tensor in state(module):
        flat = tensor.detach().flatten()
        ends = torch.cat([flat[:64], flat[-64:]]).float().cpu().tolist()
        found.append((name, tuple(tensor.shape), str(tensor.dtype), float(flat.float().sum()), ends))
    return repr(found)


def _same(a: tuple[str, torch.Tensor], b: tuple[str, torch.Tensor]) -> bool:
    # not bitwise: a device may sum in another order the next time
    return a[0] == b[0] and torch.allclose(a[1], b[1], rtol=1e-3, atol=1e-4)
