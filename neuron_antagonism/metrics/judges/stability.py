"""Stability: what other identification examples would have chosen and done, on one fixed evaluation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from neuron_antagonism.errors import UsageError
from neuron_antagonism.metrics.judges.pairs import Chosen, listed


def jaccard(sets: Sequence[Chosen]) -> float:
    """Mean over all pairs of draws of |A ∩ B| / |A ∪ B|, 0 to 1, of one role's sets; two empty sets are equal: 1.

    Raises:
        UsageError: fewer than two draws, or a set that names a neuron twice.
    """
    drawn = _drawn(sets)
    return float(np.mean([len(a & b) / len(a | b) if a | b else 1.0 for a, b in combinations(drawn, 2)]))


def role_changes(good_sets: Sequence[Chosen], bad_sets: Sequence[Chosen]) -> float:
    """Share of neurons that are good in one draw and bad in another, among those that any draw chose; nan of none.

    Args:
        good_sets, bad_sets: of each draw, in the same order.

    Raises:
        UsageError: fewer than two draws, unequally many, one neuron both good and bad in one draw, or named twice.
    """
    good, bad = _drawn(good_sets), _drawn(bad_sets)
    if len(good) != len(bad):
        raise UsageError(f"{len(good)} good and {len(bad)} bad sets; accepted: one of each a draw")
    if any(a & b for a, b in zip(good, bad, strict=True)):
        raise UsageError("a neuron is good and bad in one draw; accepted: one role a draw")
    ever_good, ever_bad = frozenset().union(*good), frozenset().union(*bad)
    every = ever_good | ever_bad
    return len(ever_good & ever_bad) / len(every) if every else float("nan")


def _drawn(sets: Sequence[Chosen]) -> list[frozenset[tuple[int, int]]]:
    if len(sets) < 2:
        raise UsageError(f"stability over {len(sets)} draws; accepted: at least 2")
    return [frozenset(listed(chosen)) for chosen in sets]


@dataclass(frozen=True)
class VarianceSplit:
    """Variance of a mean effect over draws and examples, by what it comes from; squared unit of the effect.

    Args:
        by_draw, by_example, by_rest: variance between draws of identification examples, between evaluated examples, and
            of what is neither (their interaction and noise), of a single cell each.
        n_draws, n_examples: how many the mean is over.
    """

    by_draw: float
    by_example: float
    by_rest: float
    n_draws: int
    n_examples: int

    @property
    def draws(self) -> float:
        """What draws add to the variance of the mean: `by_draw / n_draws`."""
        return self.by_draw / self.n_draws

    @property
    def examples(self) -> float:
        """What examples add: `by_example / n_examples`."""
        return self.by_example / self.n_examples

    @property
    def rest(self) -> float:
        """What the rest adds: `by_rest / (n_draws · n_examples)`."""
        return self.by_rest / (self.n_draws * self.n_examples)

    @property
    def total(self) -> float:
        """Variance of the mean."""
        return self.draws + self.examples + self.rest


def variance_split(effects: Float[np.ndarray, "draw example"]) -> VarianceSplit:
    """Variance of the mean effect by draws and examples: two crossed random effects, one value a cell.

    From mean squares (Searle, Casella and McCulloch 1992, "Variance Components"): `by_rest = MS_rest`,
    `by_draw = (MS_draw − MS_rest) / examples`, `by_example = (MS_example − MS_rest) / draws`. A negative estimate is 0,
    so parts near 0 are a little too large on average. Examples count as independent: give means by text where a text
    has several.

    Raises:
        UsageError: fewer than two draws or examples, or an effect that isn't finite.
    """
    if effects.ndim != 2 or min(effects.shape) < 2 or not np.isfinite(effects).all():
        raise UsageError(f"effects of shape {effects.shape}; accepted: finite [draw, example], at least 2 of each")
    draws, examples = effects.shape
    by_draw = effects.mean(1, dtype=np.float64)
    by_example = effects.mean(0, dtype=np.float64)
    rest = effects - by_draw[:, None] - by_example + by_draw.mean()
    noise = float((rest**2).sum() / ((draws - 1) * (examples - 1)))
    return VarianceSplit(
        by_draw=max(0.0, float(by_draw.var(ddof=1)) - noise / examples),
        by_example=max(0.0, float(by_example.var(ddof=1)) - noise / draws),
        by_rest=noise,
        n_draws=draws,
        n_examples=examples,
    )
