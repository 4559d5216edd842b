"""Running the tokens that prompts begin with, once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.prefix import MIN_SHARED, Prefix, bare_cache

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


def run_prefix(model: HookedModel, ids: Int[Tensor, "prompt position"], after: Prefix | None = None) -> Prefix:
    """Keys and values of the first tokens of prompts, computed under whatever edit is active.

    Args:
        model: the model.
        ids: the tokens, equally many for each prompt; none where `after` holds them all.
        after: what they follow, the same for every prompt.
    """
    prompts, n = ids.shape
    start = after.length if after is not None else 0
    tuples = model.keeps_tuples
    cache: Any = after.cache(prompts) if after is not None else None if tuples else bare_cache()
    if n:
        mask = {"attention_mask": torch.ones(prompts, start + n, dtype=torch.long, device=ids.device)}
        kwargs = {"past_key_values": cache, **(mask if start else {}), **model.keep_last}
        with torch.no_grad():
            if tuples:
                _, cache = model.forward_and_cache(ids, **kwargs)
            else:
                model.forward(ids, use_cache=True, **kwargs)
    kv = cache if tuples else ((layer.keys, layer.values) for layer in cache.layers)
    return Prefix(start + n, [(keys, values) for keys, values in kv], tuples)


def shared_prefix(model: HookedModel, prompts: Sequence[Sequence[int]]) -> Prefix | None:
    """The prefix that all prompts share, each keeping a token of its own; None where it is not worth a pass."""
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    n = min(sum(1 for _ in alike), min(len(ids) for ids in prompts) - 1)
    if len(prompts) < 2 or n < MIN_SHARED or not model.independent(prompts):
        return None
    return run_prefix(model, torch.tensor([prompts[0][:n]], device=model.device))
