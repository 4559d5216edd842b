"""The tokens that prompts begin with, run once: their keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
from einops import repeat

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel

PAD_ID = 0  # never attended to

MIN_SHARED = 8
"""Fewer common tokens than this are not worth a pass of their own."""


class Prefix:
    """Keys and values of the first tokens of prompts, computed under whatever edit is active.

    Args:
        model: the model.
        ids: the tokens, equally many for each prompt; none where `after` holds them all.
        after: what they follow, the same for every prompt.
    """

    def __init__(self, model: HookedModel, ids: Int[Tensor, "prompt position"], after: Prefix | None = None) -> None:
        """Run the tokens."""
        prompts, n = ids.shape
        start = after.length if after is not None else 0
        self.length: int = start + n
        self._tuples = model.keeps_tuples
        cache: Any = after.cache(prompts) if after is not None else None if self._tuples else _bare([])
        if n:
            mask = {"attention_mask": torch.ones(prompts, self.length, dtype=torch.long, device=ids.device)}
            kwargs = {"past_key_values": cache, **(mask if start else {}), **model.keep_last}
            with torch.no_grad():
                if self._tuples:
                    _, cache = model.forward_and_cache(ids, **kwargs)
                else:
                    model.forward(ids, use_cache=True, **kwargs)
        self._kv: list[tuple[Tensor, Tensor]] = (
            [(keys, values) for keys, values in cache]
            if self._tuples
            else [(layer.keys, layer.values) for layer in cache.layers]
        )

    def cache(self, rows: int) -> Any:
        """A fresh cache for a batch of `rows`, in which each prompt's keys and values stand equally often in turn."""
        each = rows // self._kv[0][0].shape[0]
        kv = [(_repeated(keys, each), _repeated(values, each)) for keys, values in self._kv]
        return tuple(kv) if self._tuples else _bare(kv)


def shared_prefix(model: HookedModel, prompts: Sequence[Sequence[int]]) -> Prefix | None:
    """The prefix that all prompts share, each keeping a token of its own; None where it is not worth a pass."""
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    n = min(sum(1 for _ in alike), min(len(ids) for ids in prompts) - 1)
    if len(prompts) < 2 or n < MIN_SHARED or not model.independent(prompts):
        return None
    return Prefix(model, torch.tensor([prompts[0][:n]], device=model.device))


def padded(prompts: Sequence[Sequence[int]], device: torch.device) -> Int[Tensor, "prompt position"]:
    """Token ids padded on the right, where by causality no real position sees them, to one length."""
    rows = torch.full((len(prompts), max(map(len, prompts))), PAD_ID, dtype=torch.long, device=device)
    for row, ids in zip(rows, prompts, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return rows


def _repeated(values: Float[Tensor, "prompt ..."], n: int) -> Float[Tensor, "row ..."]:
    # of a single prompt, and for n = 1, this is a view: what is not there several times takes no memory
    return repeat(values, "prompt ... -> (prompt copy) ...", copy=n)


def _bare(kv: Sequence[tuple[Any, Any]]) -> Any:
    """A cache that was not made from the config, which would cut sliding-window layers short."""
    from transformers import DynamicCache

    return DynamicCache(list(kv)) if kv else DynamicCache()
