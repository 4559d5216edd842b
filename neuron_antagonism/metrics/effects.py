"""What an edit did: relative changes, points and the population effect, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from neuron_antagonism.metrics.bootstrap import Interval, Resamples, interval_around, ratio_of_sums
from neuron_antagonism.metrics.outcomes import Outcomes, fails, needed, relative_change, sign

METRICS = {"acc": "rac", "com": "rcc"}
"""Each metric, and the name of its relative change."""

_SHOWN = (
    *("mode", "examples", "proxies", "failed"),
    *("right_before", "right_after", "acc_before", "acc_after", "acc_difference", "acc_difference_interval"),
    *("understood_before", "understood_after", "com_before", "com_after", "com_difference", "com_difference_interval"),
    *("rac", "rac_interval", "rac_dropped", "rcc", "rcc_interval", "rcc_dropped"),
    *("population_acc", "population_acc_interval", "population_com", "population_com_interval"),
)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Counts before and after one edit on one example set, and what follows from them.

    Counts after the edit are fractional only where they are means over several draws.

    Args:
        mode: "enhance" or "degrade".
        examples, proxies: how many there are.
        right_before, right_after: right proxy questions.
        understood_before, understood_after: understood examples.
        rac_interval, rcc_interval: 95 %, in %; None = none can be given.
        rac_dropped, rcc_dropped: replicates left out because their denominator was zero.
        acc_difference_interval, com_difference_interval: 95 %, in points.
        population_acc, population_com: after - before in points where understood examples are as frequent as among all
            that were read: π·Δ(understood) + (1 - π)·Δ(not); None = that share isn't known.
        population_acc_interval, population_com_interval: 95 %, in points.
    """

    mode: str
    examples: int
    proxies: int
    right_before: int
    right_after: int | float
    understood_before: int
    understood_after: int | float
    rac_interval: Interval | None = None
    rcc_interval: Interval | None = None
    rac_dropped: int = 0
    rcc_dropped: int = 0
    acc_difference_interval: Interval | None = None
    com_difference_interval: Interval | None = None
    population_acc: float | None = None
    population_acc_interval: Interval | None = None
    population_com: float | None = None
    population_com_interval: Interval | None = None

    @property
    def acc_before(self) -> float:
        """Share of right proxy questions before the edit."""
        return self.right_before / self.proxies

    @property
    def acc_after(self) -> float:
        """Share of right proxy questions after the edit."""
        return self.right_after / self.proxies

    @property
    def com_before(self) -> float:
        """Share of understood examples before the edit."""
        return self.understood_before / self.examples

    @property
    def com_after(self) -> float:
        """Share of understood examples after the edit."""
        return self.understood_after / self.examples

    @property
    def acc_difference(self) -> float:
        """Acc after - before in percentage points, not turned by the mode; always there."""
        return 100.0 * (self.right_after - self.right_before) / self.proxies

    @property
    def com_difference(self) -> float:
        """Com after - before in percentage points, not turned by the mode; always there."""
        return 100.0 * (self.understood_after - self.understood_before) / self.examples

    @property
    def rac(self) -> float | None:
        """Relative accuracy change, signed %; None where nothing was right before."""
        return relative_change(self.right_before, self.right_after, self.mode)

    @property
    def rcc(self) -> float | None:
        """Relative comprehension change, signed %; None where nothing was understood before."""
        return relative_change(self.understood_before, self.understood_after, self.mode)

    @property
    def failed(self) -> bool:
        """Whether the edit did the opposite by either metric: what the tables print as `Fail`."""
        return fails(self.rac, self.rcc)

    def to_json(self) -> dict[str, Any]:
        """Every count and figure as plain JSON values; n/a is None."""
        return {name: _plain(getattr(self, name)) for name in _SHOWN}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def effect(
    before: Outcomes,
    after: Outcomes,
    mode: str,
    resamples: Resamples | None = None,
    read: tuple[int, int] | None = None,
) -> Effect:
    """What lies between two outcomes of the same examples.

    Args:
        before, after: unedited and edited.
        mode: decides the sign.
        resamples: draws over these examples; None = no intervals.
        read: of a set that was drawn by stratum: how many examples were understood, of how many that were read for it.
    """
    found: dict[str, Any] = {}
    for metric, relative in METRICS.items():
        old, new = values_of(before, metric), values_of(after, metric)
        size = old.size * largest_of(before, metric).mean() / 100.0
        weights = _weights(before.strata, read)
        natural = None if weights is None else _natural(new - old, before.strata, weights) * old.size / size
        found[f"population_{metric}"] = natural
        if resamples is None:
            continue
        means = before_means(before, metric, resamples), after_means(after, metric, resamples)
        sums = resamples.sizes @ means[0], resamples.sizes @ means[1]
        ratios, found[f"{relative}_dropped"] = ratio_of_sums(sign(mode) * (sums[1] - sums[0]), sums[0])
        change = relative_change(old.sum(), new.sum(), mode)
        found[f"{relative}_interval"] = interval_around(change, ratios)
        points = float((new - old).sum() / size)
        found[f"{metric}_difference_interval"] = interval_around(points, (sums[1] - sums[0]) / size)
        if natural is not None:
            drawn = (drawn_weights(resamples, before.strata, read) * (means[1] - means[0])).sum(0)
            found[f"population_{metric}_interval"] = interval_around(natural, drawn * old.size / size)
    return Effect(
        mode=mode,
        examples=before.n_examples,
        proxies=before.n_proxies,
        right_before=before.n_right,
        right_after=after.n_right,
        understood_before=before.n_understood,
        understood_after=after.n_understood,
        **found,
    )


def values_of(outcomes: Outcomes, metric: str) -> Float[np.ndarray, " example"]:
    """Right proxies of each example ("acc"), or whether it is understood ("com")."""
    return (outcomes.right if metric == "acc" else outcomes.understood).astype(np.float64)


def largest_of(outcomes: Outcomes, metric: str) -> Float[np.ndarray, " example"]:
    """The most that `values_of` can be."""
    return outcomes.proxies.astype(np.float64) if metric == "acc" else np.ones(outcomes.n_examples)


def before_means(before: Outcomes, metric: str, resamples: Resamples) -> Float[np.ndarray, "stratum replicate"]:
    """Each replicate's mean of a metric unedited, by stratum."""
    low, high = before.least_and_most()
    if metric == "com":
        low, high = low >= needed(before.proxies), high >= needed(before.proxies)
    return resamples.means(values_of(before, metric), low, high)


def after_means(after: Outcomes, metric: str, resamples: Resamples) -> Float[np.ndarray, "stratum replicate"]:
    """Each replicate's mean of a metric under an edit, by stratum."""
    return resamples.means(values_of(after, metric), 0.0, largest_of(after, metric), after=True)


def _weights(
    strata: Bool[np.ndarray, " example"] | None, read: tuple[int, int] | None
) -> Float[np.ndarray, " stratum"] | None:
    """How frequent each stratum of a set is among all that was read, in the order of its labels; None = unknown."""
    if strata is None:
        return np.ones(1)
    if read is None or read[1] == 0:
        return None
    share = read[0] / read[1]
    found = {False: 1 - share, True: share}
    there = [bool(label) for label in np.unique(strata)]
    if any(weight > 0 for label, weight in found.items() if label not in there):
        return None
    return np.array([found[label] for label in there])


def drawn_weights(
    resamples: Resamples, strata: Bool[np.ndarray, " example"] | None, read: tuple[int, int] | None
) -> Float[np.ndarray, "stratum replicate"]:
    """The same in each replicate; for what `_weights` knows."""
    if strata is None or read is None or resamples.labels.size < 2:
        return np.ones((1, resamples.n))
    share = resamples.shares(*read)
    return np.stack([1 - share, share])


def _natural(
    values: Float[np.ndarray, " example"],
    strata: Bool[np.ndarray, " example"] | None,
    weights: Float[np.ndarray, " stratum"],
) -> float:
    """The mean of a quantity where strata are as frequent as they are in the data."""
    if strata is None:
        return float(values.mean())
    means = [values[strata == label].mean() for label in np.unique(strata)]
    return float(weights @ np.array(means))


def natural_level(
    outcomes: Outcomes, metric: str, resamples: Resamples, read: tuple[int, int] | None
) -> tuple[float, Interval] | None:
    """Acc or Com unedited where strata are as frequent as they are in the data, 0..1, with its interval."""
    weights = _weights(outcomes.strata, read)
    if weights is None:
        return None
    size = largest_of(outcomes, metric).mean()
    value = _natural(values_of(outcomes, metric), outcomes.strata, weights) / size
    means = before_means(outcomes, metric, resamples)
    drawn = (drawn_weights(resamples, outcomes.strata, read) * means).sum(0) / size
    interval = interval_around(value, drawn)
    assert interval is not None
    return value, interval
