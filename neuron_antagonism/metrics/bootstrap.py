"""The weighted bootstrap that every interval rests on, and p-values.

Each draw weights the texts of a set at random (a Bayesian bootstrap), and along with them a few texts that were not
seen: of every kind of extreme outcome, about a third of a text. So no interval has zero width where all outcomes are
alike, which is where resampling what was seen fails. The weights' spread was chosen by simulation:
`benchmarks/coverage` measures what the intervals cover.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from einops import pack, unpack
from jaxtyping import Float, Integer, Shaped

from neuron_antagonism.errors import UsageError

REPLICATES = 10_000
MOST_DROPPED = 0.01
UNSEEN = 0.35
"""Mean weight of a text that was not seen, beside one for each that was."""
SPREAD = 3
"""Texts less than there are, as which a stratum's weights spread: as few as make up for not knowing their variance."""

Interval = tuple[float, float]

_CHUNK = 2**22  # numbers held at once while drawing: 32 MiB


class Resamples:
    """Random weights of texts within strata, made once and shared by everything measured on those examples.

    Args:
        strata: the stratum of each example (any labels); each replicate holds as many of each as there are. Strata are
            for sets that were drawn by stratum; any other set is one stratum.
        units: the text of each example (any labels): examples of one text are weighted together; None = a text each.
        n: replicates.
        seed: the same seed, strata and units give the same draws.

    Attributes:
        weights: of each example in each replicate, `[replicate, example]`.
        labels: of the strata, in order.
        sizes: examples in each stratum.

    Raises:
        UsageError: no examples, no replicates, or units of another length.
    """

    weights: Float[np.ndarray, "replicate example"]

    def __init__(
        self,
        strata: Shaped[np.ndarray, " example"],
        units: Shaped[np.ndarray, " example"] | None = None,
        n: int = REPLICATES,
        seed: int = 0,
    ) -> None:
        """Draw."""
        if strata.ndim != 1 or not strata.size or n < 1:
            raise UsageError(f"bootstrap of {strata.shape} strata, {n} replicates; accepted: 1-D, at least 1")
        units = np.arange(strata.size) if units is None else units
        if units.shape != strata.shape:
            raise UsageError(f"bootstrap of {strata.shape} strata and {units.shape} units; accepted: equally many")
        self.strata, self.n, self.seed = strata, n, seed
        self.labels, of = np.unique(strata, return_inverse=True)
        self.sizes = np.bincount(of)
        self._parts = [np.flatnonzero(of == label) for label in range(self.labels.size)]
        rng = np.random.default_rng(seed)
        _, first, unit = np.unique(units, return_index=True, return_inverse=True)
        shapes = np.empty(first.size)
        for label in range(self.labels.size):
            here = of[first] == label
            size = int(here.sum())
            shapes[here] = max(size - SPREAD, size / 4) / max(size, 1)
        self.weights = np.empty((n, strata.size), np.float32)
        rows = max(1, _CHUNK // first.size)
        for start in range(0, n, rows):
            drawn = rng.standard_gamma(shapes, (min(rows, n - start), first.size))
            self.weights[start : start + rows] = drawn[:, unit]
        # by quantity, extreme and stratum: what is measured before and after an edit has unseen texts of its own
        self._unseen = rng.standard_gamma(UNSEEN, (2, 2, self.labels.size, n))
        for label, here in enumerate(self._parts):
            # a text has several examples, an unseen one as many as a seen one on average
            self._unseen[:, :, label] *= here.size / np.unique(units[here]).size
        self._seen = [self.weights[:, here].sum(1, dtype=np.float64) for here in self._parts]

    def means(
        self,
        values: Shaped[np.ndarray, "*rest example"],
        low: Shaped[np.ndarray, " example"] | float,
        high: Shaped[np.ndarray, " example"] | float,
        *,
        after: bool = False,
    ) -> Float[np.ndarray, "*rest stratum replicate"]:
        """Each replicate's weighted mean of a per-example quantity in each stratum, in the order of `labels`.

        Args:
            values: any number of per-example vectors.
            low, high: the least and the most that the quantity can be, of each example or of all.
            after: whether it is measured under an edit; the unseen texts of one kind of quantity take the other's mean.
        """
        flat, rest = pack([values.astype(np.float32)], "* example")
        ends = [np.broadcast_to(np.asarray(end, np.float64), flat.shape[-1:]) for end in (low, high)]
        out = np.empty((flat.shape[0], self.labels.size, self.n))
        for label, here in enumerate(self._parts):
            own, other = self._unseen[int(after), :, label], self._unseen[1 - int(after), :, label].sum(0)
            extremes = sum(weight * end[here].mean() for weight, end in zip(own, ends, strict=True))
            total = self._seen[label] + own.sum(0) + other
            mean = flat[:, here].mean(1, dtype=np.float64)
            out[:, label] = (flat[:, here] @ self.weights[:, here].T + extremes + other * mean[:, None]) / total
        (found,) = unpack(out, rest, "* stratum replicate")
        return found

    def sums(
        self,
        values: Shaped[np.ndarray, "*rest example"],
        low: Shaped[np.ndarray, " example"] | float,
        high: Shaped[np.ndarray, " example"] | float,
        *,
        after: bool = False,
    ) -> Float[np.ndarray, "*rest replicate"]:
        """Each replicate's sum of a per-example quantity over a set of as many examples; arguments as in `means`."""
        found: Float[np.ndarray, "*rest replicate"] = self.sizes @ self.means(values, low, high, after=after)
        return found

    def shares(self, successes: int, trials: int) -> Float[np.ndarray, " replicate"]:
        """Draws of the probability behind a count: Jeffreys' Beta distribution."""
        rng = np.random.default_rng([self.seed, successes, trials])
        return rng.beta(successes + 0.5, trials - successes + 0.5, self.n)

    def mixtures(self, values: Float[np.ndarray, "draw replicate"]) -> Float[np.ndarray, " replicate"]:
        """Each replicate's weighted mean over the draws of a scorer, which are a sample themselves."""
        rng = np.random.default_rng([self.seed, len(values)])
        weights = rng.standard_gamma(max(len(values) - SPREAD, 1) / len(values), values.shape)
        found: Float[np.ndarray, " replicate"] = (weights * values).sum(0) / weights.sum(0)
        return found


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


def interval_around(value: float | None, draws: Float[np.ndarray, " replicate"] | None) -> Interval | None:
    """The 2.5 % and 97.5 % percentiles of the draws, as far as needed widened to hold the value itself; None of None.

    An outcome at its extreme lies outside of what the draws' middle covers, though it may be the truth.
    """
    if value is None or draws is None:
        return None
    low, high = percentile_interval(draws)
    return min(low, value) + 0.0, max(high, value) + 0.0


def percentile_interval(values: Float[np.ndarray, " value"]) -> Interval:
    """The 2.5 % and 97.5 % percentiles."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def sign_flip_p(
    differences: Float[np.ndarray, " example"],
    units: Integer[np.ndarray, " example"],
    replicates: int = REPLICATES,
    seed: int = 0,
) -> float:
    """Two-sided p of paired differences: how often their sum is as far from 0 when each text's sign is drawn anew."""
    _, unit = np.unique(units, return_inverse=True)
    by_text = np.bincount(unit, weights=differences)
    by_text = by_text[by_text != 0]
    signs = np.random.default_rng(seed).integers(0, 2, (replicates, by_text.size), dtype=np.int8) * 2.0 - 1.0
    # the sums are of whole numbers or of thirds: what is equal is to count as equal
    extreme = np.abs(signs @ by_text) >= abs(by_text.sum()) - 1e-9
    return float(1 + extreme.sum()) / (1 + replicates)


def rank_p(value: float, draws: Sequence[float]) -> float:
    """One-sided p of a value among draws of the same: (1 + draws at least as large) / (1 + draws)."""
    return (1 + sum(draw >= value for draw in draws)) / (1 + len(draws))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment of one family of p-values; None stays None and doesn't count."""
    there = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(there):
        largest = max(largest, min(1.0, (len(there) - rank) * p))
        adjusted[index] = largest
    return adjusted
