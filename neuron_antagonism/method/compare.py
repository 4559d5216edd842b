"""Two evaluations of the same examples against each other: what an edit did, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from neuron_antagonism.errors import UsageError
from neuron_antagonism.method.bootstrap import REPLICATES, Resamples
from neuron_antagonism.method.statistics import Effect, Outcomes, effect, sign


@runtime_checkable
class Evaluated(Protocol):
    """Anything with per-example outcomes, such as an Evaluation."""

    @property
    def outcomes(self) -> Outcomes:
        """The counts of each example."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Effect):
    """What an edit did: signed % (None = n/a) with 95 % intervals, differences in points, `failed`."""


def compare(
    before: Evaluated,
    after: Evaluated,
    mode: str = "enhance",
    strata: Shaped[np.ndarray, " example"] | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Comparison:
    """Compare an edited with an unedited evaluation of the same examples (NeuronLLM §4.2).

    Args:
        before, after: evaluations of the same examples, unedited and edited.
        mode: what the edit was for; decides the sign of `rac` and `rcc`.
        strata: the stratum of each example, for the bootstrap; default: whether `before` understood it.
        seed: of the bootstrap; equal seeds and strata draw the same examples.
        replicates: how often examples are resampled for the intervals.

    Raises:
        UsageError: another mode, different example sets, or strata of another length.
    """
    sign(mode)
    old, new = before.outcomes, after.outcomes
    check_same(old, new)
    strata = old.understood if strata is None else np.asarray(strata)
    if strata.shape != old.right.shape:
        raise UsageError(f"strata of shape {strata.shape}; accepted: one for each of {old.n_examples} examples")
    draws = Resamples(strata, replicates, seed)
    sums = [draws.sums(np.stack([one.right, one.understood])) for one in (old, new)]
    return Comparison(**vars(effect(old, new, mode, (sums[0], sums[1]))))


def check_same(before: Outcomes, after: Outcomes) -> None:
    """Raise UsageError unless both are of the same examples."""
    if before.n_examples != after.n_examples:
        raise UsageError(
            f"evaluations of {before.n_examples} and {after.n_examples} examples; accepted: the same examples"
        )
    named = before.examples and after.examples and before.examples != after.examples
    if named or not np.array_equal(before.proxies, after.proxies):
        raise UsageError("evaluations of different example sets; accepted: two of the same examples")
