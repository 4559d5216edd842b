"""Neurons that several tasks share, and those that are one task's own (NeuronLLM, appendix C.1, C.2 and C.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuron_antagonism.errors import UsageError
from neuron_antagonism.neurons import NeuronSet

Pair = tuple[int, int]


@dataclass(frozen=True)
class Shared:
    """Neurons that are among the strongest of at least two tasks.

    Attributes:
        neurons: those in most tasks first, then those of the best mean place; without scores.
        depth: how far down every task's ranking one had to go.
    """

    neurons: NeuronSet
    depth: int


def common(rankings: Mapping[str, NeuronSet], count: int, depth: int) -> Shared:
    """The neurons of one role that several tasks share.

    A neuron is common where at least two tasks have it among their first `depth`. Where there are fewer than `count`,
    every list is deepened, one place at a time, until there are, or until all lists end. A mean place is over the
    tasks that have the neuron; of equals the lower layer's goes first, then the lower index.

    Args:
        rankings: by task, neurons of the role, strongest first.
        count: how many are wanted.
        depth: how far down the rankings one goes at first.

    Raises:
        UsageError: fewer than two tasks.
    """
    _check(rankings)
    lists = {task: list(ranking) for task, ranking in rankings.items()}
    places: dict[Pair, list[int]] = {}
    shared = 0
    deepest = max(map(len, lists.values()))
    reached = min(depth, deepest)
    for place in range(deepest):
        if place >= reached:
            if shared >= count:
                break
            reached = place + 1
        for ranking in lists.values():
            if place < len(ranking):
                found = places.setdefault(ranking[place], [])
                found.append(place)
                shared += len(found) == 2
    several = {pair: own for pair, own in places.items() if len(own) > 1}
    order = sorted(several, key=lambda pair: (-len(several[pair]), sum(several[pair]) / len(several[pair]), pair))
    return Shared(NeuronSet.of(order[:count], _site(rankings)), reached)


def specific(rankings: Mapping[str, NeuronSet], depth: int) -> dict[str, NeuronSet]:
    """Each task's own neurons of one role: common ones are left out, and the next in the ranking take their place.

    Who takes a place may be common then, and is left out too, until the first `depth` of no two tasks share a neuron.

    Args:
        rankings: by task, neurons of the role, strongest first.
        depth: how many each task should have; fewer where its ranking ends.

    Raises:
        UsageError: fewer than two tasks.
    """
    _check(rankings)
    lists = {task: list(ranking) for task, ranking in rankings.items()}
    left_out: set[Pair] = set()
    while True:
        own = {task: [pair for pair in ranking if pair not in left_out][:depth] for task, ranking in lists.items()}
        seen: set[Pair] = set()
        shared: set[Pair] = set()
        for pairs in own.values():
            shared |= seen & set(pairs)
            seen |= set(pairs)
        if not shared:
            return {task: NeuronSet.of(pairs, _site(rankings)) for task, pairs in own.items()}
        left_out |= shared


def _check(rankings: Mapping[str, NeuronSet]) -> None:
    if len(rankings) < 2:
        raise UsageError(f"neurons of {', '.join(rankings) or 'no task'}; accepted: rankings of at least two tasks")


def _site(rankings: Mapping[str, NeuronSet]) -> str:
    return next((ranking.site for ranking in rankings.values() if len(ranking)), "post")
