"""Simulated outcomes: examples with a chance before and after an edit, read until both halves of a set are full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import beta, norm

from neuron_antagonism.metrics.outcomes import Outcomes, needed

PROXIES = 3
GRID = np.linspace(-6, 6, 6001)
COPULA = 0.5  # correlation of an example's chances before and after, as normal scores
READ_PER_WANTED = 8  # examples that are drawn for each one of a set: enough for both halves to fill


@dataclass(frozen=True)
class World:
    """How examples answer.

    Args:
        before: mean chance of a right answer unedited.
        after: mean chance under the edit of an example that is understood unedited, and of one that is not.
        within: correlation of an example's proxies.
        per_text: examples of a text, which share its chances.
    """

    before: float
    after: tuple[float, float]
    within: float
    per_text: int = 1

    def draw(self, n: int, methods: int, rng: np.random.Generator) -> np.ndarray:
        """Right proxies of `n` examples as they come, `[1 + methods, example]`: unedited, then under each edit."""
        texts = -(-n // self.per_text)
        scores = rng.standard_normal((1 + methods, texts))
        scores[1:] = COPULA * scores[0] + np.sqrt(1 - COPULA**2) * scores[1:]
        scores = np.repeat(scores, self.per_text, axis=1)[:, :n]
        before = rng.binomial(PROXIES, self._chance(scores[0], self.before))
        means = np.where(before >= needed(np.array([PROXIES])), *self.after)
        after = rng.binomial(PROXIES, self._chance(scores[1:], means))
        return np.concatenate([before[None], after])

    def _chance(self, scores: np.ndarray, mean: float | np.ndarray) -> np.ndarray:
        found = np.empty(scores.shape)
        means = np.broadcast_to(mean, scores.shape)
        for one in np.unique(means):
            here = means == one
            found[here] = np.interp(scores[here], GRID, _quantiles(float(one), self.within))
        return found

    def truth(self, methods: int, rng: np.random.Generator, n: int = 1_000_000) -> dict[str, np.ndarray]:
        """Shares of right proxies and of understood examples, `[1 + methods]`: of all, of known ones, of others."""
        right = self.draw(n, methods, rng)
        known = right[0] >= 2
        return {
            f"{metric} {name}": values[:, chosen].mean(1)
            for metric, values in (("acc", right / PROXIES), ("com", right >= 2))
            for name, chosen in (("all", slice(None)), ("known", known), ("other", ~known))
        } | {"share": np.array(known.mean())}


@cache
def _quantiles(mean: float, within: float) -> np.ndarray:
    """The Beta distribution's quantiles at the normal scores of the grid."""
    total = 1 / within - 1
    found: np.ndarray = beta.ppf(norm.cdf(GRID), mean * total, (1 - mean) * total)
    return found


@dataclass(frozen=True)
class Sample:
    """One evaluation set: outcomes unedited and under each edit; and what was read for it (None: not by stratum)."""

    outcomes: tuple[Outcomes, ...]
    read: tuple[int, int] | None


def samples(world: World, n: int, methods: int, count: int, stratified: bool, seed: int) -> Iterator[Sample]:
    """Evaluation sets, half understood as a run draws them, or as the examples come."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        right = world.draw(READ_PER_WANTED * n if stratified else n, methods, rng)
        read = None
        if stratified:
            known = right[0] >= 2
            halves = [np.flatnonzero(known)[: n // 2], np.flatnonzero(~known)[: n - n // 2]]
            stop = max(half[-1] for half in halves) + 1
            read = (int(known[:stop].sum()), int(stop))
            right = right[:, np.concatenate(halves)]
        yield Sample(tuple(outcomes(right, stratified, world.per_text)), read)


def outcomes(right: Sequence[np.ndarray], stratified: bool, per_text: int = 1) -> Iterator[Outcomes]:
    """Outcomes unedited and under each edit; the first say what is understood."""
    n = len(right[0])
    strata = right[0] >= 2 if stratified else None
    for one in right:
        yield Outcomes(one, np.full(n, PROXIES), np.zeros(n), "", strata, np.arange(n) // per_text)
