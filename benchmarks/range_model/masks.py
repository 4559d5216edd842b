"""What masking does to answers: every set of units, by range and as a whole, for every topic."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from planting import LAYERS, Plan
from texts import LABELS, HeldOut

import neuron_antagonism as na

TAU = 2.0
TAUS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 8.0, 12.0, 16.0)
POSITIONS = ("all", "last")
SHARE = 0.3

Answers = dict[str, np.ndarray]
"""Of one kind of masking: `acc` and `confidence`, `[masked topic, question]`; `base …` the same with nothing masked."""


def unit_sets(model: na.HookedModel, held_out: HeldOut, plan: Plan, topic: str) -> dict[str, na.NeuronSet]:
    """By name, the sets that are masked for a topic: the planted one, the scorer's, both together, and a random one."""
    planted = na.NeuronSet.of(plan.units)
    few = len(planted) / len(LAYERS) / model.n_neurons
    by_layer = chosen(model, held_out, topic, share=few, layers=LAYERS)
    others = [(layer, unit) for layer in LAYERS for unit in range(model.n_neurons) if (layer, unit) not in planted]
    return {
        "planted": planted,
        "strongest, of planted layers": by_layer,
        "strongest, of all layers": chosen(model, held_out, topic, share=SHARE).top(len(planted)),
        "share 0.3 of planted layers": chosen(model, held_out, topic, share=SHARE, layers=LAYERS),
        "share 0.3 of all layers": chosen(model, held_out, topic, share=SHARE),
        # what an edit of an early layer does to the ranges of a later one
        **{
            f"planted and share 0.3 of layer {layer}": planted
            | chosen(model, held_out, topic, share=SHARE, layers=(layer,))
            for layer in LAYERS
        },
        "random others of planted layers": na.NeuronSet.of(random.Random(topic).sample(others, len(planted))),
    }


def chosen(model: na.HookedModel, held_out: HeldOut, topic: str, **options: Any) -> na.NeuronSet:
    """Every unit that the scorer gives a score, largest mean value first."""
    found = na.attribute(model, held_out.identify, "neuronlens", options={"concept": topic, **options})
    return found.good(int((found.scores > 0).sum()))


def masked(model: na.HookedModel, held_out: HeldOut, plan: Plan) -> dict[tuple[Any, ...], Answers]:
    """Answers by (set, way, positions) and, for the sweep, ("tau", τ, positions)."""
    rows: dict[tuple[Any, ...], list[list[np.ndarray]]] = {}
    for topic in LABELS:
        edits = dict(_edits(model, held_out, unit_sets(model, held_out, plan, topic), topic))
        base, *after = na.evaluate_many(model, held_out.evaluate, [None, *edits.values()])
        for key, found in zip(edits, after, strict=True):
            rows.setdefault(key, []).append([*_numbers(base), *_numbers(found)])
    names = ("base acc", "base confidence", "acc", "confidence")
    return {key: dict(zip(names, np.stack(row, 1), strict=True)) for key, row in rows.items()}


def _edits(
    model: na.HookedModel, held_out: HeldOut, sets: dict[str, na.NeuronSet], topic: str
) -> Iterator[tuple[tuple[Any, ...], na.Edit]]:
    for name, units in sets.items():
        ways: dict[str, str | na.Intervention] = {"range": _fitted(model, held_out, units, topic), "whole": "silence"}
        for way, intervention in ways.items():
            for positions in POSITIONS:
                yield (name, way, positions), na.edit(units, intervention, positions=positions)
    fitted = _fitted(model, held_out, sets["planted"], topic)
    for tau in TAUS:
        for positions in POSITIONS:
            yield ("tau", tau, positions), na.edit(sets["planted"], fitted.with_options(tau=tau), positions=positions)


def _fitted(model: na.HookedModel, held_out: HeldOut, units: na.NeuronSet, topic: str) -> na.Intervention:
    # rightly answered questions of the topic, whatever scores the units carry
    options = {"tau": TAU, "concept": topic, "answered": "right"}
    return na.edit(units, "range", options=options).fit(model, held_out.identify).parts[0].intervention


def _numbers(found: na.Evaluation) -> list[np.ndarray]:
    return [found.right.double().numpy(), found.confidence.double().numpy()]
