"""Choosing an engine by proof: the fast ones must reproduce the plain forward on the model and prompts at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from neuron_antagonism.engine.base import Engine
from neuron_antagonism.engine.copies import KINDS, Copies
from neuron_antagonism.engine.reference import ReferenceEngine
from neuron_antagonism.engine.replay import CopiesEngine
from neuron_antagonism.errors import UsageError, unknown

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

ENGINES = ("auto", "replay", "rows", "reference")

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Accepted difference of logits relative to their largest magnitude; wrong masks differ by 10 % and more."""


@dataclass(frozen=True)
class Choice:
    """The engine that will be used, and why."""

    name: str
    reason: str

    def engine(self) -> Engine:
        """An engine of that name."""
        return ReferenceEngine() if self.name == "reference" else CopiesEngine(self.name)


_proved: WeakKeyDictionary[HookedModel, dict[tuple[str, int], Choice]] = WeakKeyDictionary()


def choose(model: HookedModel, prompts: Sequence[Sequence[int]], engine: str = "auto") -> Choice:
    """The engine to use for these prompts.

    `auto` runs unmodified copies of the longest prompt's last token and compares their logits with the plain full
    pass; the first engine of replay, rows that agrees is taken, else reference.

    Raises:
        UsageError: an unknown engine, or one that was asked for and does not hold for this model.
    """
    if engine not in ENGINES:
        raise UsageError(unknown("engine", engine, ENGINES))
    if engine == "reference":
        return Choice("reference", "asked for")
    if model.edited_at_last:
        if engine != "auto":
            raise UsageError(
                f"engine {engine!r} can't work under an active edit at the last position; accepted: 'auto'"
            )
        return Choice("reference", "an edit at the last position is active")
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
        if isinstance(difference, float) and difference <= TOLERANCE[model.dtype]:
            refusals = "".join(f"; {line}" for line in refused)
            reason = f"logits of copies agree with the full pass within {difference:.1e}{refusals}"
            proved[key] = Choice(kind, reason)
            return proved[key]
        what = f"differs by {difference:.1%}" if isinstance(difference, float) else f"fails: {difference}"
        refused.append(f"{kind} {what} on {model.architecture}")
    if engine != "auto":
        raise UsageError(
            f"engine {engine!r} does not hold for this model: {refused[0]}; accepted: 'auto' or 'reference'"
        )
    proved[key] = Choice("reference", "; ".join(refused))
    return proved[key]


def _difference(model: HookedModel, ids: Sequence[int], kind: str) -> float | str:
    """Largest difference of three copies' logits from the full pass, relative to the largest logit; or the failure."""
    try:
        with torch.no_grad():
            clean = model.last_logits([ids])
            copies = Copies(model, [ids], kind).logits(3, lambda values, layer: values)[0]
    # an architecture that can't take a cache or this mask raises whatever it likes; that is an answer here
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return float((copies - clean).abs().max() / clean.abs().max().clamp_min(1e-12))
