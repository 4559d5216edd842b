"""What a model answers unedited on examples as they come, and whether that is above chance."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuron_antagonism.metrics.bootstrap import Interval, Resamples
from neuron_antagonism.metrics.effects import METRICS, natural_level
from neuron_antagonism.metrics.outcomes import Outcomes
from neuron_antagonism.tasks.splits import Split


def natural_levels(split: Split, base: Outcomes, resamples: Resamples, seed: int) -> dict[str, Any]:
    """What the evaluated model answers unedited on examples as they come, and whether that is above chance.

    Of a set that was drawn by the model's own answers, on all examples that were read for it; by another model's, its
    strata weighted as they come; of any other set, on the set itself.
    """
    natural = split.natural
    own = base.strata is not None and np.array_equal(base.strata, base.understood)
    levels: list[tuple[float, Interval] | None] = []
    if own and natural.acc is not None and natural.com is not None:
        intervals = natural.intervals(seed)
        assert intervals is not None
        levels = list(zip((natural.acc, natural.com), intervals, strict=True))
    else:
        levels = [natural_level(base, metric, resamples, natural.counts) for metric in METRICS]
    found: dict[str, Any] = {"read": natural.read or base.n_examples, "understood": natural.understood}
    above = True
    for metric, level, chance in zip(METRICS, levels, (natural.chance, natural.chance_com), strict=True):
        found[metric], found[f"{metric}_interval"] = (None, None) if level is None else (level[0], list(level[1]))
        found[f"chance_{metric}"] = chance
        above = above and level is not None and level[1][0] > chance
    return found | {"options": natural.options, "blind": natural.blind, "above_chance": above}
