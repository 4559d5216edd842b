"""Many variants of a prompt's last token after one shared prefix.

Whatever an edit or an integration step changes at the last position, by causality nothing before it moves. So the
prefix is computed once, and the variants of the last token are run together: side by side in one sequence under a
mask that lets each see the prefix and itself ("replay"), or as rows of a batch ("rows").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from einops import rearrange, repeat

from neuron_antagonism.engine.base import Asked, by_length, longest_first
from neuron_antagonism.engine.memory import TokenLimit
from neuron_antagonism.errors import UsageError
from neuron_antagonism.model.prefix import Prefix, families, padded
from neuron_antagonism.model.sharing import run_prefix, shared_prefix
from neuron_antagonism.model.suffix import BlockInputs, recording, stepping

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel, Write

KINDS = ("replay", "rows")


def batchable(prompts: Sequence[Sequence[int]], kind: str) -> list[list[int]]:
    """Indices of prompts in groups that may share a batch, longest first; "rows" takes no padding."""
    return [longest_first(prompts)] if kind == "replay" else by_length(prompts)


def batches(
    model: HookedModel, prompts: Sequence[Sequence[int]], kind: str
) -> Iterator[tuple[list[int], Prefix | None]]:
    """Indices of prompts in groups as `batchable`, each with the run tokens that its family of prompts begins with."""
    for family in families(prompts):
        own = [prompts[i] for i in family]
        shared = shared_prefix(model, own)
        for group in batchable(own, kind):
            yield [family[i] for i in group], shared


def own_tokens(prompts: Sequence[Sequence[int]], shared: Prefix | None, i: int) -> int:
    """How many tokens of a prompt are not run yet."""
    return len(prompts[i]) - (shared.length if shared is not None else 0)


class Copies:
    """Copies of the last token of some prompts (at least two tokens each), run from cached prefixes.

    Args:
        model: the model.
        prompts: token ids of each prompt; of one length for "rows".
        kind: "replay" or "rows".
        shared: the first tokens of all these prompts, already run.
    """

    def __init__(
        self, model: HookedModel, prompts: Sequence[Sequence[int]], kind: str, shared: Prefix | None = None
    ) -> None:
        """Run the prefixes once and keep their keys and values."""
        self.model = model
        self.kind = kind
        self._lengths = [len(ids) - 1 for ids in prompts]
        self._last = torch.tensor([ids[-1] for ids in prompts], device=model.device)
        start = shared.length if shared is not None else 0
        own = padded([ids[start:-1] for ids in prompts], model.device)
        # what pads a prefix on its right no real token sees, and no copy either: its mask says so
        self._prefix = run_prefix(model, own, shared)
        self._inputs = BlockInputs()

    def clean(self, site: str = "post") -> tuple[Float[Tensor, "prompt vocab"], list[Float[Tensor, "prompt neuron"]]]:
        """Logits of the untouched model, float32 or wider, and its neuron values by layer.

        What enters each block is remembered, so that `logits` can start at a later one.
        """
        found: dict[int, Tensor] = {}

        def read(values: Tensor, layer: int) -> Tensor:
            found[layer] = values[:, 0]
            return values

        with self.model.computing(), torch.no_grad(), recording(self.model) as self._inputs:
            logits = self.logits(1, read, site)[:, 0]
        return logits, [found[layer] for layer in range(self.model.n_layers)]

    def logits(
        self, n: int, write: Write, site: str = "post", counts: Sequence[int] | None = None
    ) -> Float[Tensor, "prompt copy vocab"]:
        """Logits of `n` copies per prompt, float32 or wider.

        Args:
            n: copies per prompt.
            write: gets each layer's values as [prompt, copy, neuron], the first `counts[layer]` copies of them, and
                returns the new ones.
            site: where it reads and writes.
            counts: by block, how many copies it runs, see `stepping`; a copy may be changed only where it is run, and
                `clean` must have run. "rows" takes all copies or none. None = every block runs all.
        """
        side_by_side = self.kind == "replay"
        steps = [n] * self.model.n_layers if counts is None else counts
        if not side_by_side:
            if not set(steps) <= {0, n}:
                raise UsageError(f"copies as rows come in as {sorted(set(steps))}; accepted: all {n} at one block")
            steps = [count // n for count in steps]
        run = self._replay if side_by_side else self._rows
        with self.model.computing(), stepping(self.model, steps, self._inputs):
            return self.model.checked(run(n, write, site))

    def _replay(self, n: int, write: Write, site: str) -> Tensor:
        prompts = len(self._lengths)
        position = torch.tensor(self._lengths, device=self._last.device)
        with self.model.writing(range(self.model.n_layers), write, site):
            return self.model.forward(
                repeat(self._last, "prompt -> prompt copy", copy=n),
                past_key_values=self._prefix.cache(prompts),
                use_cache=True,
                attention_mask=copies_mask(self.model, self._lengths, self._prefix.length, n),
                position_ids=repeat(position, "prompt -> prompt copy", copy=n),
            )

    def _rows(self, n: int, write: Write, site: str) -> Tensor:
        prompts, length = len(self._lengths), self._prefix.length + 1

        def rows(values: Tensor, layer: int) -> Tensor:
            apart = rearrange(values, "(prompt copy) 1 neuron -> prompt copy neuron", copy=n)
            return rearrange(write(apart, layer), "prompt copy neuron -> (prompt copy) 1 neuron")

        mask = torch.ones(prompts * n, length, dtype=torch.long, device=self._last.device)
        with self.model.writing(range(self.model.n_layers), rows, site):
            logits = self.model.forward(
                repeat(self._last, "prompt -> (prompt copy) 1", copy=n),
                past_key_values=self._prefix.cache(prompts * n),
                use_cache=True,
                attention_mask=mask,
            )
        return rearrange(logits, "(prompt copy) 1 vocab -> prompt copy vocab", copy=n)


def copies_mask(model: HookedModel, lengths: Sequence[int], longest: int, n: int) -> Tensor | dict[str, Tensor]:
    """The additive 4-D mask under which each copy sees its prefix and itself; by layer type where these differ.

    Args:
        model: the model, whose sliding windows are applied.
        lengths: tokens of each prompt's prefix.
        longest: to which prefixes are padded.
        n: copies per prompt.
    """
    config = model.bridge.original_model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or [])
    full = _mask(model, lengths, longest, n, None)
    if window is None or not bool(getattr(config, "use_sliding_window", True)):
        return full
    windowed = _mask(model, lengths, longest, n, window)
    if not kinds:
        return windowed
    named: dict[str, Tensor] = {kind: windowed if "sliding" in kind else full for kind in kinds}
    # models with a single kind of layer take the plain tensor
    return named if len(kinds) > 1 else next(iter(named.values()))


def _mask(model: HookedModel, lengths: Sequence[int], longest: int, n: int, window: int | None) -> Tensor:
    ends = torch.tensor(lengths, device=model.device)[:, None]
    key = torch.arange(longest, device=model.device)
    prefix = (key < ends) & (key > ends - (window if window is not None else longest + 1))
    itself = torch.eye(n, dtype=torch.bool, device=model.device)
    before = repeat(prefix, "prompt key -> prompt copy key", copy=n)
    beside = repeat(itself, "copy key -> prompt copy key", prompt=len(lengths))
    seen = torch.cat([before, beside], dim=-1)
    mask = torch.zeros(seen.shape, dtype=model.dtype, device=model.device)
    return mask.masked_fill(~seen, torch.finfo(model.dtype).min)[:, None]


def each_batch(
    model: HookedModel,
    questions: Sequence[Asked],
    kind: str,
    wanted: int,
    work: Callable[[Sequence[int], Copies, int], None],
    *,
    grad: bool,
    max_tokens: int | None = None,
) -> None:
    """Call `work` on batches of questions: their indices, their copies, and how many of each a forward may take.

    Args:
        model: the model.
        questions: at least two tokens each.
        kind: "replay" or "rows".
        wanted: copies of each question that there are to run; no forward is offered more.
        work: does a batch; called again with a smaller one where memory runs out.
        grad: whether gradients are taken.
        max_tokens: copies × prompts in one forward; None = planned from the free memory.
    """
    prompts = [q.encoded.ids for q in questions]
    limit = TokenLimit(model, max(map(len, prompts)), kind, grad=grad, given=max_tokens)
    for group, shared in batches(model, prompts, kind):
        own = partial(own_tokens, prompts, shared)

        def tokens(i: int, own: Callable[[int], int] = own) -> int:
            return max(limit.copies(wanted), own(i))

        def copied(part: list[int], shared: Prefix | None = shared) -> None:
            work(part, Copies(model, [prompts[i] for i in part], kind, shared), limit.copies(wanted))

        limit.in_batches(group, tokens, copied)
