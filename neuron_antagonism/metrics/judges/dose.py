"""Dose response: does the effect grow with how far the chosen neurons are scaled, and how small a one would be seen?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from neuron_antagonism.errors import UsageError
from neuron_antagonism.metrics.judges.means import weighted_means
from neuron_antagonism.metrics.judges.ranks import correlation, ranks

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 4.0)
"""What the activations of the chosen neurons are multiplied by; 1 changes nothing."""


def slope(
    scales: Sequence[float],
    effects: Float[np.ndarray, "scale question"],
    weights: Float[np.ndarray, "draw question"] | None = None,
) -> Float[np.ndarray, "*draw"]:
    """Least-squares slope of the mean effect through (1, 0): Σ (s − 1)·ē_s / Σ (s − 1)², in effect a unit of scale.

    Args:
        scales: of each row, not all 1.
        effects: what each scale adds to each question, m(scaled) − m(clean).
        weights: as in `weighted_means`.

    Returns:
        `[]`, or `[draw]`.

    Raises:
        UsageError: as many scales as rows are not there, or none differs from 1.
    """
    distance = _checked(scales, effects) - 1
    if not distance.any():
        raise UsageError(f"scales {tuple(scales)}; accepted: at least one that is not 1")
    found: Float[np.ndarray, "*draw"] = (weighted_means(effects, weights) * distance).sum(-1) / (distance**2).sum()
    return found


def monotonicity(
    scales: Sequence[float],
    effects: Float[np.ndarray, "scale question"],
    weights: Float[np.ndarray, "draw question"] | None = None,
) -> Float[np.ndarray, "*draw"]:
    """Spearman correlation of scale and mean effect: 1 where every larger scale does more, −1 where it does less.

    nan where all effects are equal. Arguments, shapes and errors as in `slope`, for any scales.
    """
    return correlation(ranks(_checked(scales, effects)), ranks(weighted_means(effects, weights)))


def detectable(sd: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest mean effect that a two-sided z test finds: (z_{1−α/2} + z_{power})·sd / √n, in the unit of `sd`.

    Args:
        sd: standard deviation of the effect between the units that are sampled: texts.
        n: how many of them.
        alpha: how often an effect of 0 may be called one.
        power: how often this effect is found.

    Raises:
        UsageError: n below 1, a negative or no sd, or a probability out of range.
    """
    if n < 1 or not sd >= 0 or not 0 < alpha < 1 or not 0 < power < 1:
        raise UsageError(
            f"sd={sd}, n={n}, alpha={alpha}, power={power}; accepted: sd from 0, n from 1, the others between 0 and 1"
        )
    z = NormalDist().inv_cdf
    return (z(1 - alpha / 2) + z(power)) * sd / math.sqrt(n)


def _checked(scales: Sequence[float], effects: Float[np.ndarray, "scale question"]) -> Float[np.ndarray, " scale"]:
    if effects.ndim != 2 or len(effects) != len(scales):
        raise UsageError(f"effects of shape {effects.shape} at {len(scales)} scales; accepted: [scale, question]")
    return np.array(scales, np.float64)
