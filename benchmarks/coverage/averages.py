"""Averages over four tasks: what the interval that is recovered from the tasks' holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from outcomes import World, samples

from neuron_antagonism.metrics.averages import average
from neuron_antagonism.metrics.effects import effect

FIGURES = ("rac", "rcc", "population acc")
SETS = {
    "four near 0": ((0.01, 0.01),) * 4,
    "four near 1": ((0.985, 0.97),) * 4,
    "four at chance": ((0.25, 0.25),) * 4,
    "mixed": ((0.01, 0.01), (0.85, 0.55), (0.5, 0.3), (0.985, 0.97)),
}
"""By name, mean chances of a right answer after the edit on each task, of examples understood before and of others."""

Truths = Callable[[dict[str, np.ndarray], bool], dict[str, float]]


def averages_grid() -> Iterator[dict[str, Any]]:
    """Four tasks' sets, drawn by stratum."""
    for name in SETS:
        for n in (48, 100):
            yield {"tasks": name, "n": n}


def averaged(cell: dict[str, Any], repetitions: int, truths: Truths) -> dict[str, Any]:
    """Coverage of one task's intervals and of the average's."""
    n = cell["n"]
    true, found = [], []
    for task, after in enumerate(SETS[cell["tasks"]]):
        world = World(0.5, after, 0.3, 1)
        true.append(truths(world.truth(1, np.random.default_rng(1)), True))
        found.append(list(_effects(world, n, repetitions, seed=10 + task)))
    alone, together = dict.fromkeys(FIGURES, 0.0), dict.fromkeys(FIGURES, 0)
    for repetition in zip(*found, strict=True):
        for name in FIGURES:
            values, intervals = zip(*(one[name] for one in repetition), strict=True)
            _, (low, high) = average(values, intervals)
            together[name] += low <= np.mean([one[name] for one in true]) <= high
            held = [a <= one[name] <= b for one, (a, b) in zip(true, intervals, strict=True)]
            alone[name] += sum(held) / len(held)
    return {
        "one task": {name: alone[name] / repetitions for name in FIGURES},
        "average": {name: together[name] / repetitions for name in FIGURES},
    }


def _effects(world: World, n: int, repetitions: int, seed: int) -> Iterator[dict[str, Any]]:
    resamples = None
    for sample in samples(world, n, 1, repetitions, True, seed=seed):
        # the weights hang on the strata and texts alone, which are the same in every repetition
        resamples = resamples or sample.outcomes[0].resamples(seed=3, n=1000)
        one = effect(sample.outcomes[0], sample.outcomes[1], "enhance", resamples, sample.read)
        yield {
            "rac": (one.rac, one.rac_interval),
            "rcc": (one.rcc, one.rcc_interval),
            "population acc": (one.population_acc, one.population_acc_interval),
        }
