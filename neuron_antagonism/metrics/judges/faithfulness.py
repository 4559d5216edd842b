"""Faithfulness: what is left of the model when only the neurons that a scorer ranks first are.

m is the target on a question, in its own unit; k the share of all neurons that are kept, the others at a baseline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.metrics.judges.means import weighted_means

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of all neurons that are kept: MIB's."""

RANKINGS = ("signed", "absolute")


def kept_masks(
    scores: Float[np.ndarray, "layer neuron"], shares: Sequence[float] = SHARES, ranking: str = "signed"
) -> Bool[np.ndarray, "share layer neuron"]:
    """Which neurons are kept at each share: `max(1, share · all)` of them, halves rounded up; ties to the lower index.

    Args:
        scores: of every neuron; positive = supports the right answer.
        shares: of all neurons, above 0 to 1, in any order.
        ranking: "signed" keeps the highest scores first, "absolute" those farthest from 0. Of equal scores the lower
            layer's goes first, then the lower index.

    Raises:
        UsageError: another ranking, a share out of range, or scores that aren't finite or not of layers and neurons.
    """
    if ranking not in RANKINGS:
        raise UsageError(unknown("ranking", ranking, RANKINGS))
    if any(not 0 < share <= 1 for share in shares):
        raise UsageError(f"shares {tuple(shares)}; accepted: above 0, at most 1")
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise UsageError(f"scores of shape {scores.shape}; accepted: finite numbers [layer, neuron]")
    strength = (scores if ranking == "signed" else np.abs(scores)).ravel()
    place = np.empty(strength.size, np.int64)
    place[np.argsort(-strength, kind="stable")] = np.arange(strength.size)
    # rounded first: 0.145 · 100 is a little less than 14.5 in floating point
    counts = [max(1, math.floor(round(share * strength.size, 9) + 0.5)) for share in shares]
    return (place < np.array(counts)[:, None]).reshape(len(shares), *scores.shape)


def faithfulness(
    kept: Float[np.ndarray, "*share question"],
    empty: Float[np.ndarray, " question"],
    clean: Float[np.ndarray, " question"],
    weights: Float[np.ndarray, "draw question"] | None = None,
) -> Float[np.ndarray, "*shape"]:
    """f(k) = (mean m(top k kept) − mean m(none kept)) / (mean m(clean) − mean m(none kept)): a ratio of means.

    1 is the whole model, 0 the baseline; above 1 where what is left out hinders. nan where the model does no better
    than its baseline (a denominator of 0 or less): there is nothing to be faithful to. MIB, Mueller et al. 2025.

    Args:
        kept: m with the top k kept and the rest at baseline.
        empty: m with every neuron at baseline.
        clean: m of the unedited model.
        weights: as in `weighted_means`.

    Returns:
        `[*share]`, or `[draw, *share]`.

    Raises:
        UsageError: different numbers of questions.
    """
    if not kept.shape[-1:] == empty.shape == clean.shape:
        raise UsageError(
            f"faithfulness of {kept.shape}, {empty.shape}, {clean.shape}; accepted: [share, question], [question] twice"
        )
    first = (..., *(None,) * (kept.ndim - 1))
    none, whole = weighted_means(empty, weights)[first], weighted_means(clean, weights)[first]
    gained = whole - none
    found: Float[np.ndarray, "*shape"] = (weighted_means(kept, weights) - none) / np.where(gained > 0, gained, np.nan)
    return found


def completeness(
    complement: Float[np.ndarray, "*share question"],
    empty: Float[np.ndarray, " question"],
    clean: Float[np.ndarray, " question"],
    weights: Float[np.ndarray, "draw question"] | None = None,
) -> Float[np.ndarray, "*shape"]:
    """Faithfulness of the complement, the top k at baseline and the rest kept: 0 where the top k are all that counts.

    Marks et al. 2024, "Sparse Feature Circuits"; shapes, nan and errors as in `faithfulness`.
    """
    return faithfulness(complement, empty, clean, weights)


def comprehensiveness(
    clean: Float[np.ndarray, " question"],
    removed: Float[np.ndarray, "*share question"],
    weights: Float[np.ndarray, "draw question"] | None = None,
) -> Float[np.ndarray, "*shape"]:
    """mean m(clean) − mean m(top k removed), in the unit of m; high where the top k were needed.

    DeYoung et al. 2020 (ERASER), there of tokens.

    Returns:
        `[*share]`, or `[draw, *share]`.

    Raises:
        UsageError: different numbers of questions.
    """
    if removed.shape[-1:] != clean.shape:
        raise UsageError(
            f"comprehensiveness of {clean.shape}, {removed.shape}; accepted: [question], [share, question]"
        )
    return weighted_means(clean - removed, weights)


def covered(shares: Sequence[float]) -> float:
    """The range of k that shares span: what CPR + CMD comes to where f is at most 1 at every share.

    Raises:
        UsageError: fewer than two shares, or not in increasing order.
    """
    if len(shares) < 2 or (np.diff(shares) <= 0).any():
        raise UsageError(f"shares {tuple(shares)}; accepted: at least two, in increasing order")
    return float(shares[-1] - shares[0])


def cpr(shares: Sequence[float], f: Float[np.ndarray, "*draw share"]) -> Float[np.ndarray, "*draw"]:
    """Circuit performance ratio ∫ f dk over the covered range, by the trapezoid rule; higher is better.

    MIB, Mueller et al. 2025. nan where f is anywhere.

    Raises:
        UsageError: f is not of these shares, or they don't increase.
    """
    covered(shares)
    if f.shape[-1:] != (len(shares),):
        raise UsageError(f"f of shape {f.shape} at {len(shares)} shares; accepted: [..., share]")
    found: Float[np.ndarray, "*draw"] = ((f[..., 1:] + f[..., :-1]) / 2 * np.diff(shares)).sum(-1)
    return found


def cmd(shares: Sequence[float], f: Float[np.ndarray, "*draw share"]) -> Float[np.ndarray, "*draw"]:
    """Circuit–model distance ∫ |1 − f| dk, as `cpr`; lower is better.

    MIB takes the trapezoid of |1 − f| at the shares, also where f crosses 1 in between.
    """
    return cpr(shares, np.abs(1 - f))


def areas(
    kept: Float[np.ndarray, "share question"],
    empty: Float[np.ndarray, " question"],
    clean: Float[np.ndarray, " question"],
    weights: Float[np.ndarray, "draw question"] | None = None,
    *,
    shares: Sequence[float] = SHARES,
) -> Float[np.ndarray, "*draw 2"]:
    """CPR and CMD together, `[2]` or `[draw, 2]`, straight from the questions; arguments as in `faithfulness`."""
    f = faithfulness(kept, empty, clean, weights)
    return np.stack([cpr(shares, f), cmd(shares, f)], -1)
