"""Where a model would write the letters after a prompt: its probabilities of each place and of the letters there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from neuron_antagonism.model.letters import Encoded, Weight

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def weigh(
    candidates: Sequence[Encoded], log_probabilities: Callable[[Sequence[int], int], Float[Tensor, "position vocab"]]
) -> list[Weight]:
    """Weigh the places after one prompt at which its letters may be read.

    Args:
        candidates: tokens up to each place, and the letters' there.
        log_probabilities: of a model, after the first so many of these tokens and after each further one.

    Returns:
        A weight each.
    """
    start = _common([one.ids for one in candidates])
    runs: dict[tuple[int, ...], Float[Tensor, "position vocab"]] = {}
    found = []
    for one in candidates:
        ids = one.ids
        # by causality what comes later changes nothing: a longer run holds the shorter one
        run = next((other for other in runs if other[: len(ids)] == ids), None)
        if run is None:
            longer = max((c.ids for c in candidates if c.ids[: len(ids)] == ids), key=len)
            runs[longer] = log_probabilities(longer, start)
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
