"""The tokens that prompts begin with, once they were run: their keys and values; and what fills up shorter prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from einops import repeat

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

PAD_ID = 0  # never attended to

MIN_SHARED = 8
"""Fewer common tokens than this are not worth a pass of their own."""


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the first tokens of prompts, as some edit left them; `sharing` runs them.

    Attributes:
        length: how many tokens these are, equally many for each prompt.
        kv: of each layer, one row a prompt.
        tuples: whether the model's cache is a tuple of them.
    """

    length: int
    kv: Sequence[tuple[Float[Tensor, "prompt ..."], Float[Tensor, "prompt ..."]]]
    tuples: bool

    def cache(self, rows: int) -> Any:
        """A fresh cache for a batch of `rows`, in which each prompt's keys and values stand equally often in turn."""
        each = rows // self.kv[0][0].shape[0]
        kv = [(_repeated(keys, each), _repeated(values, each)) for keys, values in self.kv]
        return tuple(kv) if self.tuples else bare_cache(kv)


def bare_cache(kv: Sequence[tuple[Any, Any]] = ()) -> Any:
    """A cache that was not made from the config, which would cut sliding-window layers short."""
    from transformers import DynamicCache

    return DynamicCache(list(kv)) if kv else DynamicCache()


def padded(prompts: Sequence[Sequence[int]], device: torch.device) -> Int[Tensor, "prompt position"]:
    """Token ids padded on the right, where by causality no real position sees them, to one length."""
    rows = torch.full((len(prompts), max(map(len, prompts))), PAD_ID, dtype=torch.long, device=device)
    for row, ids in zip(rows, prompts, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return rows


def _repeated(values: Float[Tensor, "prompt ..."], n: int) -> Float[Tensor, "row ..."]:
    # of a single prompt, and for n = 1, this is a view: what is not there several times takes no memory
    return repeat(values, "prompt ... -> (prompt copy) ...", copy=n)
