"""Two evaluations of the same examples against each other: what an edit did, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from neuron_antagonism.errors import UsageError
from neuron_antagonism.metrics.bootstrap import REPLICATES
from neuron_antagonism.metrics.effects import Effect, effect
from neuron_antagonism.metrics.outcomes import Outcomes, sign


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
    read: tuple[int, int] | None = None,
) -> Comparison:
    """Compare an edited with an unedited evaluation of the same examples (NeuronLLM §4.2).

    Args:
        before, after: evaluations of the same examples, unedited and edited.
        mode: what the edit was for; decides the sign of `rac` and `rcc`.
        strata: whether a reference model understands each example, of a set that was drawn by that; default: what the
            examples of a split carry themselves, and no strata for any other list.
        seed: of the bootstrap; equal seeds and strata draw the same weights.
        replicates: how many draws of weights the intervals are taken from.
        read: of a set that was drawn by stratum, how many examples were understood, of how many that were read
            (`split.natural.counts`): gives `population_acc` and `population_com`.

    Raises:
        UsageError: another mode, different example sets, or strata of another length.
    """
    sign(mode)
    old, new = before.outcomes, after.outcomes
    check_same(old, new)
    if strata is not None:
        given = np.asarray(strata)
        if given.shape != old.right.shape or not np.isin(given, (False, True)).all():
            raise UsageError(
                f"strata of shape {given.shape}, {given.dtype}; accepted: True or False for each of {old.n_examples} "
                "examples"
            )
        old = replace(old, strata=given.astype(bool))
    return Comparison(**vars(effect(old, new, mode, old.resamples(seed, replicates), read)))


def check_same(before: Outcomes, after: Outcomes) -> None:
    """Raise UsageError unless both are of the same examples."""
    if before.n_examples != after.n_examples:
        raise UsageError(
            f"evaluations of {before.n_examples} and {after.n_examples} examples; accepted: the same examples"
        )
    named = before.examples and after.examples and before.examples != after.examples
    if named or not np.array_equal(before.proxies, after.proxies):
        raise UsageError("evaluations of different example sets; accepted: two of the same examples")
