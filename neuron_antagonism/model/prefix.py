"""The tokens that prompts begin with, once they were run: their keys and values; and what fills up shorter prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
from einops import repeat

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

PAD_ID = 0  # never attended to

MIN_SHARED = 8
"""Fewer common tokens than this are not worth a pass of their own."""


MIN_FAMILY = 4
"""Fewer prompts than this are not worth forwards of their own for what only they begin with."""

WORTHWHILE = 0.25
"""Share of the tokens to be run that prompts must save, if they are not to be run together."""


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


def families(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of the prompts that had better be run together, for the sake of what they begin with.

    All are one family, unless by running some of them apart, such as those that show one order of the same answered
    examples, many tokens less are run. Prompts alone decide.
    """
    return _families(prompts, list(range(len(prompts))), 0)


def _families(prompts: Sequence[Sequence[int]], own: list[int], start: int) -> list[list[int]]:
    """Families of some prompts, which have their first `start` tokens in common."""
    shared, longest = start, min(len(prompts[i]) for i in own) - 1
    first = prompts[own[0]]
    while shared < longest and all(prompts[i][shared] == first[shared] for i in own):
        shared += 1
    if len(own) < 2 * MIN_FAMILY or shared >= longest:
        return [own]
    by_next: dict[int, list[int]] = {}
    for i in own:
        by_next.setdefault(prompts[i][shared], []).append(i)
    found = [f for group in by_next.values() if len(group) >= MIN_FAMILY for f in _families(prompts, group, shared)]
    rest = [i for group in by_next.values() if len(group) < MIN_FAMILY for i in group]
    found += [rest] if rest else []
    together = shared + sum(len(prompts[i]) - shared for i in own)
    apart = sum(_tokens(prompts, family) for family in found)
    return found if together - apart >= WORTHWHILE * together else [own]


def _tokens(prompts: Sequence[Sequence[int]], own: Sequence[int]) -> int:
    """Tokens to be run of prompts that share what they begin with."""
    columns = zip(*(prompts[i] for i in own), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns)) if len(own) > 1 else 0
    return shared + sum(len(prompts[i]) - shared for i in own)


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
