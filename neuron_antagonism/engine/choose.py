"""Choosing an engine by proof: the fast ones must reproduce the plain forward on the model and prompts at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from neuron_antagonism.engine.base import Engine
from neuron_antagonism.engine.copies import KINDS, Copies
from neuron_antagonism.engine.memory import is_out_of_memory, too_little
from neuron_antagonism.engine.reference import ReferenceEngine
from neuron_antagonism.engine.replay import CopiesEngine, Steps
from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.model.agreement import BATCHED, difference
from neuron_antagonism.model.sharing import run_prefix

if TYPE_CHECKING:
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel

COPIES = 3
"""With which an engine is tried."""

ENGINES = ("auto", "replay", "rows", "reference")


@dataclass(frozen=True)
class Choice:
    """The engine that will be used, and why; and what its forwards may leave out."""

    name: str
    reason: str
    steps: Steps = "all"

    def engine(self, max_tokens: int | None = None) -> Engine:
        """An engine of that name; see there for `max_tokens`."""
        if self.name == "reference":
            return ReferenceEngine(max_tokens)
        return CopiesEngine(self.name, max_tokens, self.steps)


_proved: WeakKeyDictionary[HookedModel, dict[tuple[str, int], Choice]] = WeakKeyDictionary()


def checked_engine(engine: str) -> str:
    """An engine's name.

    Raises:
        UsageError: an unknown one.
    """
    if engine not in ENGINES:
        raise UsageError(unknown("engine", engine, ENGINES))
    return engine


def choose(model: HookedModel, prompts: Sequence[Sequence[int]], engine: str = "auto") -> Choice:
    """The engine to use for these prompts.

    A model whose positions depend on a batch's length (`HookedModel.independent`) takes reference. Else `auto` runs
    unmodified copies of the longest prompt's last token, and of one half as long, in the ways that
    attribution and evaluation will, and compares their logits with the plain full pass; the first engine of replay,
    rows that agrees is taken, else reference.

    Raises:
        UsageError: an unknown engine, or one that was asked for and does not hold for this model.
        ModelError: not even a single prompt fits into memory.
    """
    checked_engine(engine)
    if engine == "reference":
        return Choice("reference", "asked for")
    if model.edited_at_last:
        if engine != "auto":
            raise UsageError(
                f"engine {engine!r} can't work under an active edit at the last position; accepted: 'auto'"
            )
        return Choice("reference", "an edit at the last position is active")
    if not model.independent(prompts):
        why = "a prompt's logits depend on the length of what it is run with"
        if engine != "auto":
            raise UsageError(f"engine {engine!r} does not hold for this model: {why}; accepted: 'auto' or 'reference'")
        return Choice("reference", f"{why}: prompts of different lengths are run apart, and nothing is cached")
    if min(len(ids) for ids in prompts) < 2:
        if engine != "auto":
            raise UsageError(f"engine {engine!r} needs prompts of at least two tokens; accepted: 'reference'")
        return Choice("reference", "a prompt of a single token has no prefix to share")
    longest = max(prompts, key=len)
    proved = _proved.setdefault(model, {})
    key = (engine, len(longest))
    # a window or a position limit shows only at length: a proof holds for shorter prompts, not for longer ones
    held = [choice for (kind, length), choice in proved.items() if kind == engine and length >= len(longest)]
    if held:
        return held[0]
    refused: list[str] = []
    for kind in KINDS if engine == "auto" else (engine,):
        difference = _difference(model, longest, kind)
        if isinstance(difference, float) and difference <= BATCHED[model.dtype]:
            steps = _steps(model, longest, kind)
            refusals = "".join(f"; {line}" for line in refused)
            # the bound, not the figure, which is that of whichever prompts were asked about first
            reason = f"logits of copies agree with the full pass within {BATCHED[model.dtype]:.0e}{refusals}"
            if steps == "all":
                reason += "; every forward runs all blocks, for starting at a later one does not hold here"
            proved[key] = Choice(kind, reason, steps)
            return proved[key]
        what = f"differs by {difference:.1%}" if isinstance(difference, float) else f"fails: {difference}"
        refused.append(f"{kind} {what} on {model.architecture}")
    if engine != "auto":
        raise UsageError(
            f"engine {engine!r} does not hold for this model: {refused[0]}; accepted: 'auto' or 'reference'"
        )
    proved[key] = Choice("reference", "; ".join(refused))
    return proved[key]


def _steps(model: HookedModel, ids: Sequence[int], kind: str) -> Steps:
    """The most that forwards may leave out: copies that come in at later blocks must say the same."""
    last = model.n_layers

    def holds(counts: Sequence[int]) -> bool:
        found = _difference(model, ids, kind, counts)
        return isinstance(found, float) and found <= BATCHED[model.dtype]

    if not holds([COPIES * (layer == last - 1) for layer in range(last)]):
        return "all"
    # copies that are rows come in all at once
    one_by_one = kind == "replay" and holds([COPIES * (layer + 1) // last for layer in range(last)])
    return "growing" if one_by_one else "late"


def _difference(model: HookedModel, ids: Sequence[int], kind: str, counts: Sequence[int] | None = None) -> float | str:
    """Largest difference of the logits from the full pass, relative to the largest logit; or the failure.

    With `counts`, of copies that come in so.
    """
    try:
        with torch.no_grad():
            # as in use: prompts of two lengths, whose prefixes are in two pieces, the first of them shared
            first = len(ids) // 2
            prompts = [ids, ids[: first + 1]]
            clean = torch.cat([model.last_logits([prompt]) for prompt in prompts])
            shared = run_prefix(model, torch.tensor([ids[:first]], device=model.device))
            batches = [prompts] if kind == "replay" else [[prompt] for prompt in prompts]
            copies = [_untouched(Copies(model, batch, kind, shared), counts) for batch in batches]
            whole = model.last_logits(prompts, shared)[:, None]
    # an architecture that can't take a cache or this mask raises whatever it likes; that is an answer here
    except Exception as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise too_little(model.device) from None
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    got = torch.cat([torch.cat(copies), whole], dim=1)
    return difference(got, clean[:, None].expand_as(got))


def _untouched(copies: Copies, counts: Sequence[int] | None) -> Tensor:
    if counts is not None:
        copies.clean()
    return copies.logits(COPIES, lambda values, layer: values, counts=counts)
