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
    so that intervals need not be symmetric (Zou & Donner 2008, Statistics in Medicine 27:1693). A bootstrap's interval
    of a share near 0 or 1 ends close to its value on that side; there half its width is taken, as too little would add
    up: such averages' intervals hold the truth in more than 95 %.

    Args:
        values: figures of texts that have nothing to do with each other, such as those of different tasks.
        intervals: of each, at one level, which is that of the average too; each holds its value.

    Raises:
        UsageError: none, or as many intervals as there are not values.
    """
    if not values or len(values) != len(intervals):
        raise UsageError(f"{len(values)} values have {len(intervals)} intervals; accepted: one each, at least one")
    pairs = list(zip(values, intervals, strict=True))
    mean, n = fmean(values), len(values)
    down = math.hypot(*(max(value - low, (high - low) / 2) for value, (low, high) in pairs))
    up = math.hypot(*(max(high - value, (high - low) / 2) for value, (low, high) in pairs))
    return mean, (mean - down / n, mean + up / n)
