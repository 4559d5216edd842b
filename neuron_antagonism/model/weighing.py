"""Where a model would write the letters after a prompt: its probabilities of each place and of the letters there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.model.letters import Encoded, Weight

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel


def weigh(model: HookedModel | None, candidates: Sequence[Encoded]) -> list[Weight] | None:
    """Weigh the places after one prompt at which its letters may be read, by the unedited model.

    Args:
        model: the model.
        candidates: tokens up to each place, and the letters' there.

    Returns:
        A weight each; None where a place lies beyond the model's context.
    """
    if model is None or (model.max_context is not None and max(len(one.ids) for one in candidates) > model.max_context):
        return None
    start = _common([one.ids for one in candidates])
    runs: dict[tuple[int, ...], Float[Tensor, "position vocab"]] = {}
    found = []
    for one in candidates:
        ids = one.ids
        # by causality what comes later changes nothing: a longer run holds the shorter one
        run = next((other for other in runs if other[: len(ids)] == ids), None)
        if run is None:
            longer = max((c.ids for c in candidates if c.ids[: len(ids)] == ids), key=len)
            runs[longer] = _log_probabilities(model, longer, start)
            run = longer
        log_p = runs[run]
        before = sum(float(log_p[at - start, ids[at]]) for at in range(start, len(ids)))
        mass = log_p[len(ids) - start, list(one.letters)].logsumexp(0)
        found.append(Weight(float((before + mass).exp()), float(mass.exp())))
    return found


def _common(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all begin with."""
    same = 0
    for column in zip(*sequences, strict=False):
        if len(set(column)) > 1:
            break
        same += 1
    return same


def _log_probabilities(model: HookedModel, ids: Sequence[int], start: int) -> Float[Tensor, "position vocab"]:
    """After the first `start` tokens and after each further one, on the CPU."""
    wanted = len(ids) - start + 1
    keep = {"logits_to_keep": wanted} if model.keep_last else {}
    with torch.no_grad(), model.unedited():
        logits = model.forward(torch.tensor([list(ids)], device=model.device), **keep)[0, -wanted:]
    return model.checked(logits).double().log_softmax(-1).cpu()
