"""Matched random neurons: a control that differs from what a scorer chose in nothing but the choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from neuron_antagonism.errors import UsageError
from neuron_antagonism.metrics.judges.pairs import Chosen, Pair, listed

NEAREST = 20
"""Candidates that a replacement is drawn from."""


def matched_random(
    chosen: Sequence[Chosen], mean_abs: Float[np.ndarray, "layer neuron"], rng: np.random.Generator
) -> list[Int[np.ndarray, "k 2"]]:
    """Random sets with as many neurons in each layer as the chosen ones, and mean |a| as near as can be.

    One neuron after another, set by set in their order: of its layer's neurons that are in no chosen set and not yet
    taken, the 20 nearest in mean |a| (all where there are fewer; of equally near ones the lower index) are the
    candidates, and one of them is drawn, each as likely. So sets are disjoint from each other and from all chosen ones.
    Where the chosen ones are simply a layer's most active, no others are as active: compare the means of both.

    Args:
        chosen: sets that are replaced together, such as the good and the bad neurons.
        mean_abs: mean of |a| of every neuron over the identification questions.
        rng: the same state gives the same sets.

    Returns:
        Of each set its (layer, neuron) pairs: row i replaces the set's i-th neuron.

    Raises:
        UsageError: a layer with too few other neurons, a neuron that doesn't exist or is in a set twice, or a mean that
            isn't finite.
    """
    sets = [listed(one) for one in chosen]
    _check(sets, mean_abs)
    free = np.ones(mean_abs.shape, bool)
    for layer, neuron in (pair for one in sets for pair in one):
        free[layer, neuron] = False
    found = []
    for one in sets:
        rows = np.empty((len(one), 2), np.int64)
        for row, (layer, neuron) in enumerate(one):
            candidates = np.flatnonzero(free[layer])
            distances = np.abs(mean_abs[layer, candidates] - mean_abs[layer, neuron])
            nearest = candidates[np.argsort(distances, kind="stable")[:NEAREST]]
            taken = nearest[rng.integers(nearest.size)]
            free[layer, taken] = False
            rows[row] = layer, taken
        found.append(rows)
    return found


def _check(sets: Sequence[Sequence[Pair]], mean_abs: Float[np.ndarray, "layer neuron"]) -> None:
    if mean_abs.ndim != 2 or not np.isfinite(mean_abs).all():
        raise UsageError(f"mean |a| of shape {mean_abs.shape}; accepted: finite numbers [layer, neuron]")
    layers, neurons = mean_abs.shape
    every = [pair for one in sets for pair in one]
    for layer, neuron in every:
        if not (0 <= layer < layers and 0 <= neuron < neurons):
            raise UsageError(
                f"neuron {layer}.{neuron} does not exist; accepted: layers 0 to {layers - 1}, "
                f"neurons 0 to {neurons - 1}"
            )
    distinct = Counter(layer for layer, _ in set(every))
    for layer, needed in sorted(Counter(layer for layer, _ in every).items()):
        if needed > neurons - distinct[layer]:
            raise UsageError(
                f"layer {layer} has {neurons - distinct[layer]} neurons besides those chosen to match {needed}; "
                "accepted: sets that leave at least as many of each layer as they take"
            )
