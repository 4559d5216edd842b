"""Sets of neurons as (layer, neuron) pairs, whatever they come in."""

from __future__ import annotations

from collections.abc import Iterable

from neuron_antagonism.errors import UsageError

Pair = tuple[int, int]
Chosen = Iterable[Iterable[int]]
"""(layer, neuron) pairs: a NeuronSet, a list of tuples, or an integer array `[k, 2]`."""


def listed(chosen: Chosen) -> list[Pair]:
    """The pairs of a set as plain integers, in its order.

    Raises:
        UsageError: a neuron is there twice.
    """
    found = [(int(layer), int(neuron)) for layer, neuron in chosen]
    if len(set(found)) < len(found):
        raise UsageError(f"a set of {len(found)} neurons names {len(set(found))}; accepted: each neuron once")
    return found
