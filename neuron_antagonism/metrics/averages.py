"""The average of figures of independent texts, with an interval from theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from neuron_antagonism.errors import UsageError
from neuron_antagonism.metrics.bootstrap import Interval


def average(values: Sequence[float], intervals: Sequence[Interval]) -> tuple[float, Interval]:
    """The mean of independent figures, and its interval by the method of variance estimates recovery.

    Each end's distance from the mean is the root of the summed squares of its figures' distances, over their number,
    so that intervals need not be symmetric (Zou & Donner 2008, Statistics in Medicine 27:1693).

    Args:
        values: figures of texts that have nothing to do with each other, such as those of different tasks.
        intervals: of each, at one level, which is that of the average too; each holds its value.

    Raises:
        UsageError: none, or as many intervals as there are not values.
    """
    if not values or len(values) != len(intervals):
        raise UsageError(f"{len(values)} values have {len(intervals)} intervals; accepted: one each, at least one")
    mean, n = fmean(values), len(values)
    down = math.hypot(*(value - low for value, (low, _) in zip(values, intervals, strict=True)))
    up = math.hypot(*(high - value for value, (_, high) in zip(values, intervals, strict=True)))
    return mean, (mean - down / n, mean + up / n)
