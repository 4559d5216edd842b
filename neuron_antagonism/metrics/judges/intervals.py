"""95 % intervals of any judge's figure over the texts of its questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Shaped

from neuron_antagonism.errors import UsageError
from neuron_antagonism.metrics.bootstrap import MOST_DROPPED, Interval, Resamples, interval_around
from neuron_antagonism.metrics.judges.agreement import FIGURES, agreements

DRAWS = 1000
AGREEMENT_DRAWS = 200
"""Fewer, as each ranks all neurons of a model: the ends then hang on five draws each."""

_CHUNK = 2**20  # numbers that one column's weighted means may hold at once: 8 MiB


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure, or an array of them, with the ends of its 95 % interval; ends are nan where none can be given."""

    value: Float[np.ndarray, "*shape"]
    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]


def text_weights(
    units: Shaped[np.ndarray, " question"],
    strata: Shaped[np.ndarray, " question"] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Float[np.ndarray, "draw question"]:
    """The random weights of `Resamples`, of each stratum adding up to as many questions as it has.

    Without its unseen texts: of what has no bounds, nothing is known of texts that were not seen, and counting them as
    average ones would make intervals of few texts too narrow.

    Args:
        units: the text of each question (any labels); a text's questions have one weight.
        strata: of each question, of a set that was drawn by stratum; None = it was not.
        draws: how many.
        seed: the same seed, units and strata give the same weights.

    Raises:
        UsageError: no questions, no draws, or strata of another length.
    """
    given = np.zeros(units.shape) if strata is None else strata
    weights = Resamples(given, units, draws, seed).weights.astype(np.float64)
    for label in np.unique(given):
        here = given == label
        weights[:, here] *= here.sum() / weights[:, here].sum(1, keepdims=True)
    return weights


def over_texts(
    statistic: Callable[..., Float[np.ndarray, "*shape"]],
    *columns: Float[np.ndarray, "*shape"],
    units: Shaped[np.ndarray, " question"],
    strata: Shaped[np.ndarray, " question"] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    centred: bool = False,
) -> Estimate:
    """A statistic of per-question columns with its percentile interval under the weighted bootstrap over texts.

    Ends are widened to hold the value. They are nan where more than 1 % of the draws have no value, as of ratios whose
    denominator may be 0, and where there are fewer than two texts.

    Args:
        statistic: `statistic(*columns)` is the figure, `[*rest]`; `statistic(*columns, weights=w)` with `w` of
            `[draw, question]` is that of each draw, `[draw, *rest]`: `faithfulness`, `areas`, `slope` with its scales
            bound, and others.
        columns: passed on; each holds numbers of every question.
        units, strata, seed: as in `text_weights`.
        draws: of weights.
        centred: shift the draws so that their median is the value. For a statistic that noise biases, such as a
            correlation with a noisy truth: resampling adds noise a second time, so its draws lie lower than they
            should, while their spread is about right. The interval is then one for what such a set shows on average.

    Raises:
        UsageError: from the statistic or the bootstrap.
    """
    value = np.asarray(statistic(*columns), np.float64)
    weights = text_weights(units, strata, draws, seed)
    rows = max(1, _CHUNK * units.size // max((column.size for column in columns), default=1))
    parts = [statistic(*columns, weights=weights[start : start + rows]) for start in range(0, draws, rows)]
    drawn = np.concatenate(parts).reshape(draws, -1)
    few = np.unique(units).size < 2
    ends = [
        (np.nan, np.nan) if few else _ends(one, column, centred)
        for one, column in zip(value.ravel(), drawn.T, strict=True)
    ]
    low, high = np.array(ends).reshape(-1, 2).T
    return Estimate(value, low.reshape(value.shape), high.reshape(value.shape))


def agreement_over_texts(
    scores: Float[np.ndarray, "layer neuron"],
    effects: Float[np.ndarray, "question layer neuron"],
    units: Shaped[np.ndarray, " question"],
    *,
    nonzero: bool = False,
    draws: int = AGREEMENT_DRAWS,
    seed: int = 0,
) -> dict[str, tuple[float, Interval]]:
    """Each figure of `agreement` with its interval over texts: centred, and within what the figure can be.

    It is of the agreement with exact ablation on so many questions, on average; with ever more of them agreement grows.

    Args:
        scores, effects, nonzero: as in `agreements`.
        units, seed: as in `text_weights`.
        draws: of weights; 200 take seconds for 46,080 neurons.

    Raises:
        UsageError: as in `agreements` and `text_weights`.
    """
    if units.shape != effects.shape[:1]:
        raise UsageError(f"{units.shape} units of {effects.shape} effects; accepted: one a question")
    statistic = partial(agreements, scores, nonzero=nonzero)
    found = over_texts(statistic, effects, units=units, draws=draws, seed=seed, centred=True)
    least = np.array([-1.0 if name in ("spearman", "pearson") else 0.0 for name in FIGURES])
    low, high = np.clip(found.low, least, 1.0), np.clip(found.high, least, 1.0)
    return {name: (float(found.value[i]), (float(low[i]), float(high[i]))) for i, name in enumerate(FIGURES)}


def _ends(value: float, drawn: Float[np.ndarray, " draw"], centred: bool) -> Interval:
    there = drawn[~np.isnan(drawn)]
    if np.isnan(value) or drawn.size - there.size > MOST_DROPPED * drawn.size:
        return np.nan, np.nan
    found = interval_around(float(value), there - np.median(there) + value if centred else there)
    assert found is not None
    return found
