"""A stored ratio sweep of one neuron set, and the rule that picks its best ratio (NeuronLLM §3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.method.bootstrap import Resamples
from neuron_antagonism.method.statistics import MODES, Outcomes, needed, sign

N_RATIOS = 11
GOOD_ONLY = 10

# Ratios in tenths, the preferred first when all else is equal: nearest 0.5, then the lower.
PREFERENCE = tuple(sorted(range(N_RATIOS), key=lambda tenths: (abs(tenths - 5), tenths)))

# Cross-entropies are compared on a grid of 2^-20 nats: their sums are then exact, so that a tie between two
# ratios doesn't hang on the order in which a matrix product adds.
_GRID = 2.0**20


@dataclass(frozen=True, eq=False)
class Swept:
    """One example set under every edit of a sweep, and unedited.

    Args:
        right: right proxies, by mode (enhance, degrade), ratio in tenths (0..10) and example.
        cross_entropy: mean letter cross-entropy over an example's proxies in nats, likewise.
        baseline: the same examples unedited.
        strata: the stratum of each example.

    Raises:
        DataError: shapes that don't fit together, or more right proxies than there are.
    """

    right: Integer[np.ndarray, "mode ratio example"]
    cross_entropy: Float[np.ndarray, "mode ratio example"]
    baseline: Outcomes
    strata: Shaped[np.ndarray, " example"]

    def __post_init__(self) -> None:
        """Check the shapes once."""
        shape = (len(MODES), N_RATIOS, self.baseline.n_examples)
        if self.right.shape != shape or self.cross_entropy.shape != shape:
            raise DataError(f"sweep of {self.right.shape} and {self.cross_entropy.shape}; accepted: {shape} twice")
        if self.strata.shape != self.baseline.right.shape:
            raise DataError(f"strata of shape {self.strata.shape}; accepted: {shape[2:]}")
        if not np.issubdtype(self.right.dtype, np.integer) or (self.right < 0).any():
            raise DataError("a sweep's right proxies are negative or no integers; accepted: counts")
        if (self.right > self.baseline.proxies).any():
            raise DataError("a sweep has more right proxies than proxies; accepted: 0 <= right <= proxies")

    def outcomes(self, mode: str, tenths: int) -> Outcomes:
        """The examples under one edit of the sweep."""
        at = MODES.index(mode), tenths
        base = self.baseline
        return Outcomes(self.right[at], base.proxies, self.cross_entropy[at], base.examples)

    def before_sums(self, resamples: Resamples, rows: slice = slice(None)) -> Float[np.ndarray, "2 replicate"]:
        """Right proxies and understood examples of each replicate, unedited."""
        return resamples.sums(_before(self), rows)


@dataclass(frozen=True, eq=False)
class Sweep:
    """One task, one scorer's neurons: every edit's outcomes on the evaluation and the selection set.

    Args:
        scorer: whose neurons; several sweeps of one scorer are its draws (RANDOM).
        evaluation: what is reported on.
        selection: what `held-out` chooses on; None = there is none.
        available: which edits were made; what the others' entries hold is ignored. Default: all.
        used: good and bad neurons that each edit really had, by mode, ratio and (good, bad); passed on.
        draw: tells the sweeps of one scorer apart.
        task: passed on.

    Raises:
        DataError: wrong shapes, or a cross-entropy of an available edit that isn't finite.
    """

    scorer: str
    evaluation: Swept
    selection: Swept | None = None
    available: Bool[np.ndarray, "mode ratio"] | None = None
    used: Integer[np.ndarray, "mode ratio 2"] | None = None
    draw: int = 0
    task: str = ""

    def __post_init__(self) -> None:
        """Check the shapes once, and that what was made is finite."""
        shape = (len(MODES), N_RATIOS)
        if self.available is not None and self.available.shape != shape:
            raise DataError(f"available of {self.scorer!r} has shape {self.available.shape}; accepted: {shape}")
        if self.used is not None and self.used.shape != (*shape, 2):
            raise DataError(f"used of {self.scorer!r} has shape {self.used.shape}; accepted: {(*shape, 2)}")
        made = np.ones(shape, bool) if self.available is None else self.available
        for swept in filter(None, (self.evaluation, self.selection)):
            if not np.isfinite(swept.cross_entropy[made]).all():
                raise DataError(f"a cross-entropy of {self.scorer!r} is NaN or infinite; accepted: finite")

    def ratios(self, mode: str) -> list[int]:
        """The ratios in tenths that were made, the preferred first; none for a mode that wasn't."""
        row = MODES.index(mode)
        return [tenths for tenths in PREFERENCE if self.available is None or self.available[row, tenths]]


def best_ratio(swept: Swept, mode: str, ratios: Sequence[int]) -> int:
    """The best of some ratios (in tenths) on an example set: one ratio for all metrics.

    Highest RCC, then RAC, then the mean letter cross-entropy in the wanted direction, then nearest 0.5, then
    the lower ratio. A metric whose denominator is zero decides nothing.

    Raises:
        UsageError: no ratio to choose from.
    """
    if not ratios:
        raise UsageError(f"no ratio to choose from to {mode}; accepted: at least one")
    ordered = sorted(ratios, key=PREFERENCE.index)
    sums = _per_example(swept, mode, ordered).sum(-1, keepdims=True)
    return ordered[int(_best(sums, _before(swept).sum(-1, keepdims=True), sign(mode))[0])]


def replicate_sums(
    swept: Swept, mode: str, ratios: Sequence[int], resamples: Resamples, rows: slice = slice(None)
) -> Float[np.ndarray, "2 replicate"]:
    """Right proxies and understood examples after the edit; each replicate chooses its own best ratio.

    Args:
        ratios: what is chosen from, in tenths; a single one is fixed.
        rows: which replicates.
    """
    ordered = sorted(ratios, key=PREFERENCE.index)
    sums = resamples.sums(_per_example(swept, mode, ordered), rows)
    chosen = _best(sums, swept.before_sums(resamples, rows), sign(mode))
    return np.take_along_axis(sums[:2], chosen[None, None], axis=1)[:, 0]


def _per_example(swept: Swept, mode: str, ratios: Sequence[int]) -> Float[np.ndarray, "3 ratio example"]:
    """Right proxies, whether understood, and the cross-entropy in grid steps."""
    row = MODES.index(mode)
    right = swept.right[row, ratios].astype(np.float64)
    surprise = np.rint(swept.cross_entropy[row, ratios].astype(np.float64) * _GRID)
    return np.stack([right, right >= needed(swept.baseline.proxies), surprise])


def _before(swept: Swept) -> Float[np.ndarray, "2 example"]:
    return np.stack([swept.baseline.right, swept.baseline.understood]).astype(np.float64)


def _best(
    after: Float[np.ndarray, "3 ratio replicate"], before: Float[np.ndarray, "2 replicate"], factor: int
) -> Integer[np.ndarray, " replicate"]:
    """The position of the best ratio in each replicate; ratios come in order of preference."""
    right, understood, surprise = factor * after
    right0, understood0 = before
    candidates = np.ones(right.shape, bool)
    for value, usable in ((understood, understood0 > 0), (right, right0 > 0), (-surprise, True)):
        allowed = np.where(candidates, value, -np.inf)
        candidates &= (allowed == allowed.max(axis=0)) | ~np.asarray(usable)
    best: Integer[np.ndarray, " replicate"] = candidates.argmax(axis=0)
    return best
