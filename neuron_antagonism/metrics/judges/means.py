"""Means over questions, plain or weighted: what the figures of most judges are made of."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from neuron_antagonism.errors import UsageError


def weighted_means(
    values: Float[np.ndarray, "*rest question"], weights: Float[np.ndarray, "draw question"] | None = None
) -> Float[np.ndarray, "*shape"]:
    """Σ w·x / Σ w over the questions, `[*rest]`, or `[draw, *rest]` where weights are given.

    Equal rows of values have exactly equal means.

    Args:
        values: any number of per-question columns, in any unit.
        weights: of each question in each draw, not all 0; None = 1 each, and no draws.

    Raises:
        UsageError: no questions, or weights of another number of them.
    """
    questions = values.shape[-1] if values.ndim else 0
    if not questions or (weights is not None and weights.shape != (len(weights), questions)):
        given = "no weights" if weights is None else f"weights {weights.shape}"
        raise UsageError(f"means of values {values.shape} with {given}; accepted: [..., question], [draw, question]")
    flat = np.ascontiguousarray(values, np.float64).reshape(-1, questions)
    if weights is None:
        plain: Float[np.ndarray, "*shape"] = flat.mean(1).reshape(values.shape[:-1])
        return plain
    # not a matrix product: that may add up equal rows in different orders
    sums = np.einsum("dq,rq->dr", np.ascontiguousarray(weights, np.float64), flat)
    found: Float[np.ndarray, "*shape"] = (sums / weights.sum(1, dtype=np.float64)[:, None]).reshape(
        len(weights), *values.shape[:-1]
    )
    return found
