"""Planted truth: does a scorer find the neurons that were put into a model to help or to hinder?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from neuron_antagonism.errors import UsageError
from neuron_antagonism.metrics.judges.pairs import Chosen, listed
from neuron_antagonism.metrics.judges.ranks import ranks


def precision(chosen: Chosen, planted: Chosen) -> float:
    """|chosen ∩ planted| / |chosen|, 0 to 1; nan where none is chosen.

    Precision@K is that of the top K; it can't exceed |planted| / K.

    Raises:
        UsageError: a neuron is in one of the sets twice.
    """
    found = listed(chosen)
    return len(set(found) & set(listed(planted))) / len(found) if found else float("nan")


def auroc(scores: Float[np.ndarray, "layer neuron"], planted: Chosen) -> float:
    """P(a planted neuron scores above one that isn't), ties ½: the Mann–Whitney U over the number of pairs.

    Of bad neurons it is that of −scores. Planted neurons of the other role count among those that aren't.

    Args:
        scores: positive = supports the right answer.
        planted: the planted neurons of one role.

    Returns:
        0 to 1, ½ of scores that know nothing; nan where no neuron or every neuron is planted.

    Raises:
        UsageError: a planted neuron that doesn't exist or is there twice, or a score that is NaN.
    """
    if scores.ndim != 2 or np.isnan(scores).any():
        raise UsageError(f"scores of shape {scores.shape}; accepted: numbers [layer, neuron]")
    mask = np.zeros(scores.shape, bool)
    for layer, neuron in listed(planted):
        if not (0 <= layer < scores.shape[0] and 0 <= neuron < scores.shape[1]):
            raise UsageError(f"planted neuron {layer}.{neuron} of {scores.shape} neurons; accepted: one that exists")
        mask[layer, neuron] = True
    there, others = int(mask.sum()), int((~mask).sum())
    if not there or not others:
        return float("nan")
    total = float(ranks(scores.ravel())[mask.ravel()].sum())
    return (total - there * (there + 1) / 2) / (there * others)
