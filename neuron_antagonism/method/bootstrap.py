"""The stratified bootstrap that every interval rests on, and corrected p-values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer, Shaped

from neuron_antagonism.errors import UsageError

REPLICATES = 10_000
MOST_DROPPED = 0.01

Interval = tuple[float, float]

_CHUNK = 2**22  # numbers held at once while drawing or summing: 32 MiB


class Resamples:
    """Draws of examples within strata, made once and shared by everything measured on those examples.

    Args:
        strata: the stratum of each example (any labels); each replicate draws as many of each as there are.
        n: replicates.
        seed: the same seed and strata give the same draws.

    Attributes:
        counts: how often each example occurs in each replicate, `[replicate, example]`.

    Raises:
        UsageError: no examples, or no replicates.
    """

    counts: Integer[np.ndarray, "replicate example"]

    def __init__(self, strata: Shaped[np.ndarray, " example"], n: int = REPLICATES, seed: int = 0) -> None:
        """Draw."""
        if strata.ndim != 1 or not strata.size or n < 1:
            raise UsageError(f"bootstrap of {strata.shape} strata, {n} replicates; accepted: 1-D, at least 1")
        self.strata, self.n, self.seed = strata, n, seed
        rng = np.random.default_rng(seed)
        self.counts = np.zeros((n, strata.size), np.uint16)
        for label in np.unique(strata):
            self._draw(np.flatnonzero(strata == label), rng)

    def _draw(self, members: Integer[np.ndarray, " member"], rng: np.random.Generator) -> None:
        rows = max(1, _CHUNK // members.size)
        for start in range(0, self.n, rows):
            here = min(rows, self.n - start)
            cells = rng.integers(members.size, size=(here, members.size))
            cells += members.size * np.arange(here)[:, None]
            counts = np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape)
            self.counts[start : start + here, members] = counts

    def sums(
        self, values: Shaped[np.ndarray, "*rest example"], rows: slice = slice(None)
    ) -> Float[np.ndarray, "*rest replicate"]:
        """Each replicate's sum of a per-example quantity, float64; exact for integers.

        Args:
            values: any number of per-example vectors.
            rows: which replicates; default: all.
        """
        flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
        counts = self.counts[rows]
        out = np.empty((flat.shape[0], counts.shape[0]))
        step = max(1, _CHUNK // counts.shape[1])
        for start in range(0, counts.shape[0], step):
            out[:, start : start + step] = flat @ counts[start : start + step].T.astype(np.float64)
        return out.reshape(*values.shape[:-1], counts.shape[0])


def ratio_of_sums(
    numerator: Float[np.ndarray, " replicate"], denominator: Float[np.ndarray, " replicate"]
) -> tuple[Float[np.ndarray, " kept"] | None, int]:
    """Each replicate's `100 · numerator / denominator`, and how many were dropped for a zero denominator.

    None instead of the ratios when more than 1 % had to be dropped.
    """
    usable = denominator != 0
    dropped = int(usable.size - usable.sum())
    if dropped > MOST_DROPPED * usable.size:
        return None, dropped
    return 100.0 * numerator[usable] / denominator[usable] + 0.0, dropped


def percentile_interval(values: Float[np.ndarray, " replicate"] | None) -> Interval | None:
    """The 2.5 % and 97.5 % percentiles; None of None."""
    if values is None:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def two_sided_p(values: Float[np.ndarray, " replicate"]) -> float:
    """Twice the smaller share of replicates on one side of zero, each counted with one more; at most 1."""
    below, above = int((values <= 0).sum()), int((values >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + values.size))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment of one family of p-values; None stays None and doesn't count."""
    there = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(there):
        largest = max(largest, min(1.0, (len(there) - rank) * p))
        adjusted[index] = largest
    return adjusted
