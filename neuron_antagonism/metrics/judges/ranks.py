"""Ranks and correlations along the last axis, for many draws at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def ranks(values: Float[np.ndarray, "*draw item"]) -> Float[np.ndarray, "*draw item"]:
    """Ranks from 1, lowest first; equal values share the mean of their ranks."""
    # scipy.stats takes half a second to import, and planning a benchmark imports this
    from scipy.stats import rankdata  # type: ignore[import-untyped]  # scipy ships no types

    found: Float[np.ndarray, "*draw item"] = rankdata(values, axis=-1)
    return found


def correlation(
    first: Float[np.ndarray, "*draw item"], second: Float[np.ndarray, "*draw item"]
) -> Float[np.ndarray, "*draw"]:
    """Pearson's r over the last axis, −1 to 1; of ranks it is Spearman's. nan where one side is constant."""
    found: Float[np.ndarray, "*draw"] = np.clip((_unit(first) * _unit(second)).sum(-1), -1.0, 1.0)
    return found


def _unit(values: Float[np.ndarray, "*draw item"]) -> Float[np.ndarray, "*draw item"]:
    """Centred and of length 1; nan where there is no spread."""
    varies = np.ptp(values, axis=-1, keepdims=True) > 0
    centred = np.where(varies, values - values.mean(-1, keepdims=True), np.nan)
    # squares of tiny values would vanish
    centred /= np.abs(centred).max(-1, keepdims=True)
    found: Float[np.ndarray, "*draw item"] = centred / np.sqrt((centred**2).sum(-1, keepdims=True))
    return found
