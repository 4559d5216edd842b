"""Causal agreement: does a scorer rank neurons as exact ablation does on questions that it hasn't seen?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped

from neuron_antagonism.errors import UsageError
from neuron_antagonism.metrics.judges.ranks import correlation, ranks

KS = (20, 100, 500)
"""Sizes of the sets whose overlap is measured."""

FIGURES = ("spearman", "pearson", "sign", *(f"{role}@{k}" for role in ("good", "bad") for k in KS))
"""The figures of an agreement, in their order."""


def agreement(
    scores: Float[np.ndarray, "layer neuron"], truth: Float[np.ndarray, "layer neuron"], *, nonzero: bool = False
) -> dict[str, float]:
    """How far scores agree with what ablating each neuron really does, by the name of each of `FIGURES`.

    - `spearman`, `pearson`: correlation over neurons; equal values share the mean of their ranks.
    - `sign`: share of neurons with the same sign, among those where neither is 0.
    - `good@K`, `bad@K`: |A ∩ B| / K of the K highest (lowest) of both; K at most what there is. Of equal values the
      lower layer's goes first, then the lower index.

    nan where there is nothing to compare: one side is constant, or no neuron is left.

    Args:
        scores: positive = supports the right answer.
        truth: mean effect of the neuron, m(clean) − m(ablated), on held-out questions.
        nonzero: over the neurons whose score isn't 0 only; with few of them, overlaps are 1 by necessity.

    Raises:
        UsageError: different shapes, or a value that isn't finite.
    """
    if truth.shape != scores.shape:
        raise UsageError(f"scores {scores.shape} and truth {truth.shape}; accepted: [layer, neuron] twice")
    return dict(zip(FIGURES, agreements(scores, truth[None], nonzero=nonzero).tolist(), strict=True))


def agreements(
    scores: Float[np.ndarray, "layer neuron"],
    effects: Float[np.ndarray, "question layer neuron"],
    weights: Float[np.ndarray, "draw question"] | None = None,
    *,
    nonzero: bool = False,
) -> Float[np.ndarray, "*draw figure"]:
    """`agreement` with the weighted mean of effects by question, `[figure]` or `[draw, figure]`, in `FIGURES`' order.

    Args:
        scores: as in `agreement`.
        effects: of each neuron on each held-out question.
        weights: of each question in each draw, not all 0; None = 1 each, and no draws.
        nonzero: as in `agreement`.

    Raises:
        UsageError: shapes that don't fit together, or a value that isn't finite.
    """
    shapes = scores.shape, effects.shape, None if weights is None else weights.shape
    fits = effects.ndim == 3 and effects.shape[1:] == scores.shape and scores.size and len(effects)
    if not fits or (weights is not None and weights.shape != (len(weights), len(effects))):
        raise UsageError(
            f"scores, effects and weights {shapes}; accepted: [layer, neuron], [question, layer, neuron], "
            "[draw, question]"
        )
    if not np.isfinite(scores).all() or not np.isfinite(effects).all():
        raise UsageError("scores or effects are NaN or infinite; accepted: finite numbers")
    flat, by_question = scores.astype(np.float64).ravel(), effects.astype(np.float64).reshape(len(effects), -1)
    if nonzero:
        by_question, flat = by_question[:, flat != 0], flat[flat != 0]
    if weights is None:
        plain: Float[np.ndarray, " figure"] = _figures(flat, by_question.mean(0)[None])[0]
        return plain
    return _figures(flat, weights.astype(np.float64) @ by_question / weights.sum(1, dtype=np.float64)[:, None])


def split_half(
    effects: Float[np.ndarray, "question layer neuron"],
    units: Shaped[np.ndarray, " question"],
    seed: int = 0,
    draws: int = 10,
) -> dict[str, float]:
    """The ceiling: agreement of exact ablation with itself on other questions, the mean over random halvings.

    Each half holds half of the texts, rounded down and up. So it is what exact ablation of half as many questions would
    reach as a scorer; `spearman_brown` has the correlations at full length.

    Args:
        effects: of each neuron on each question.
        units: the text of each question (any labels); a text's questions stay in one half.
        seed: of the halvings.
        draws: how many.

    Returns:
        The figures of `agreement`; all nan where there are fewer than two texts.

    Raises:
        UsageError: no draws, units of another length, or effects that `agreements` refuses.
    """
    if draws < 1 or units.shape != effects.shape[:1]:
        raise UsageError(
            f"split halves of {effects.shape} effects, {units.shape} units, {draws} draws; accepted: "
            "[question, layer, neuron], [question], at least 1"
        )
    labels, unit = np.unique(units, return_inverse=True)
    if labels.size < 2:
        return dict.fromkeys(FIGURES, float("nan"))
    first = _halves(labels.size, draws, seed)[:, unit]
    found = [agreements(effects[half].mean(0), effects[~half]) for half in first]
    return dict(zip(FIGURES, np.mean(found, 0).tolist(), strict=True))


def spearman_brown(r: float) -> float:
    """2r / (1 + r): the correlation of halves as it would be of two sets of full length (Spearman, Brown 1910).

    Its square root is what a scorer could reach on average that knew the mean over all possible questions. nan below 0,
    where halves don't agree and the formula says nothing.
    """
    return 2 * r / (1 + r) if r >= 0 else float("nan")


def _halves(texts: int, draws: int, seed: int) -> Bool[np.ndarray, "draw text"]:
    """Whether each text is in the first half."""
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(texts) < texts // 2, (draws, 1)), axis=1)


def _figures(
    scores: Float[np.ndarray, " neuron"], truth: Float[np.ndarray, "draw neuron"]
) -> Float[np.ndarray, "draw figure"]:
    if not scores.size:
        return np.full((len(truth), len(FIGURES)), np.nan)
    columns = [correlation(ranks(scores), ranks(truth)), correlation(scores, truth)]
    signs = np.sign(scores) * np.sign(truth)
    columns.append((signs > 0).sum(1) / np.where((signs != 0).any(1), (signs != 0).sum(1), np.nan))
    for s in (-1, 1):
        ours = np.argsort(s * scores, kind="stable")
        theirs = np.argsort(s * truth, axis=1, kind="stable")
        for k in KS:
            chosen = np.zeros(scores.size, bool)
            chosen[ours[:k]] = True
            columns.append(chosen[theirs[:, :k]].mean(1))
    return np.stack(columns, 1)
