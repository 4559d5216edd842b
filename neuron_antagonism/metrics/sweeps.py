"""A stored ratio sweep of one neuron set, and the rule that picks its best ratio (NeuronLLM §3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Integer

from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.metrics.outcomes import MODES, Outcomes, needed, sign

N_RATIOS = 11
GOOD_ONLY = 10

# Ratios in tenths, the preferred first when all else is equal: nearest 0.5, then the lower.
PREFERENCE = tuple(sorted(range(N_RATIOS), key=lambda tenths: (abs(tenths - 5), tenths)))

# Cross-entropies are compared on a grid of 2^-20 nats: their sums are then exact, so that a tie between two
# ratios doesn't hang on the order in which they are added.
_GRID = 2.0**20


@dataclass(frozen=True, eq=False)
class Swept:
    """One example set under every edit of a sweep, and unedited.

    Args:
        right: right proxies, by mode (enhance, degrade), ratio in tenths (0..10) and example.
        cross_entropy: mean letter cross-entropy over an example's proxies in nats, likewise.
        baseline: the same examples unedited.

    Raises:
        DataError: shapes that don't fit together, or more right proxies than there are.
    """

    right: Integer[np.ndarray, "mode ratio example"]
    cross_entropy: Float[np.ndarray, "mode ratio example"]
    baseline: Outcomes

    def __post_init__(self) -> None:
        """Check the shapes once."""
        shape = (len(MODES), N_RATIOS, self.baseline.n_examples)
        if self.right.shape != shape or self.cross_entropy.shape != shape:
            raise DataError(f"sweep of {self.right.shape} and {self.cross_entropy.shape}; accepted: {shape} twice")
        if not np.issubdtype(self.right.dtype, np.integer) or (self.right < 0).any():
            raise DataError("a sweep's right proxies are negative or no integers; accepted: counts")
        if (self.right > self.baseline.proxies).any():
            raise DataError("a sweep has more right proxies than proxies; accepted: 0 <= right <= proxies")

    def outcomes(self, mode: str, tenths: int) -> Outcomes:
        """The examples under one edit of the sweep."""
        at = MODES.index(mode), tenths
        return replace(self.baseline, right=self.right[at], cross_entropy=self.cross_entropy[at])


@dataclass(frozen=True, eq=False)
class Sweep:
    """One task, one scorer's neurons: every edit's outcomes on the evaluation and the selection set.

    Args:
        scorer: whose neurons; several sweeps of one scorer are its draws (RANDOM).
        evaluation: what is reported on.
        selection: what `held-out` chooses on; None = there is none.
        available: which edits were made on the evaluation set; what the others' entries hold is ignored. Default: all.
        offered: which edits were made on the selection set. Default: the same.
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
    offered: Bool[np.ndarray, "mode ratio"] | None = None

    def __post_init__(self) -> None:
        """Check the shapes once, and that what was made is finite."""
        shape = (len(MODES), N_RATIOS)
        for name in ("available", "offered"):
            mask = getattr(self, name)
            if mask is not None and mask.shape != shape:
                raise DataError(f"{name} of {self.scorer!r} has shape {mask.shape}; accepted: {shape}")
        if self.used is not None and self.used.shape != (*shape, 2):
            raise DataError(f"used of {self.scorer!r} has shape {self.used.shape}; accepted: {(*shape, 2)}")
        every = np.ones(shape, bool)
        made = every if self.available is None else self.available
        offered = made if self.offered is None else self.offered
        for swept, mask in ((self.evaluation, made), (self.selection, offered)):
            if swept is not None and not np.isfinite(swept.cross_entropy[mask]).all():
                raise DataError(f"a cross-entropy of {self.scorer!r} is NaN or infinite; accepted: finite")

    def ratios(self, mode: str) -> list[int]:
        """The ratios in tenths that were evaluated, the preferred first; none for a mode that wasn't."""
        return _preferred(self.available, mode)

    def offers(self, mode: str) -> list[int]:
        """The ratios in tenths that `held-out` chooses from, the preferred first."""
        return _preferred(self.available if self.offered is None else self.offered, mode)


def _preferred(mask: Bool[np.ndarray, "mode ratio"] | None, mode: str) -> list[int]:
    row = MODES.index(mode)
    return [tenths for tenths in PREFERENCE if mask is None or mask[row, tenths]]


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
    right, understood, surprise = sign(mode) * _sums(swept, mode, ordered)
    base = swept.baseline
    candidates = np.ones(right.shape, bool)
    for value, usable in ((understood, base.n_understood), (right, base.n_right), (-surprise, True)):
        if usable:
            candidates &= value == np.where(candidates, value, -np.inf).max()
    return ordered[int(candidates.argmax())]


def _sums(swept: Swept, mode: str, ratios: Sequence[int]) -> Float[np.ndarray, "3 ratio"]:
    """Right proxies, understood examples, and the cross-entropy in grid steps."""
    row = MODES.index(mode)
    right = swept.right[row, ratios].astype(np.float64)
    surprise = np.rint(swept.cross_entropy[row, ratios].astype(np.float64) * _GRID)
    sums: Float[np.ndarray, "3 ratio"] = np.stack([right, right >= needed(swept.baseline.proxies), surprise]).sum(-1)
    return sums
