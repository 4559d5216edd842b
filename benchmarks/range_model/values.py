"""What the planted units' values are, beside what was planted and beside the other units."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from masks import unit_sets
from planting import LAYERS, Plan
from texts import LABELS, HeldOut
from torch import Tensor

import neuron_antagonism as na


def found_units(model: na.HookedModel, held_out: HeldOut, plan: Plan) -> list[dict[str, Any]]:
    """By topic, how many units each set has, and how many of them are planted."""
    rows = []
    for topic in LABELS:
        sets = unit_sets(model, held_out, plan, topic)
        planted = sets["planted"]
        for name, units in sets.items():
            rows.append({"topic": topic, "set": name, "units": len(units), "planted": len(units & planted)})
    return rows


def levels(model: na.HookedModel, held_out: HeldOut, plan: Plan) -> list[dict[str, Any]]:
    """Of every planted unit and topic: the planted level, and the fitted mean and standard deviation."""
    found = na.value_statistics(model, held_out.identify, LABELS)
    rows = []
    for number, topic in enumerate(LABELS):
        moments = found.of(topic)
        for (layer, unit), level in zip(plan.units, plan.levels[:, number].tolist(), strict=True):
            mean, std = float(moments.mean[layer, unit]), float(moments.std[layer, unit])
            rows.append({"unit": f"{layer}.{unit}", "topic": topic, "level": level, "mean": mean, "std": std})
    return rows


def shapes(model: na.HookedModel, held_out: HeldOut, plan: Plan) -> list[dict[str, Any]]:
    """Planted units and others, by layer: overlap of two topics' values, and how many of them look Gaussian.

    The overlap is the mean over units and pairs of topics; `gaussian` is the share of units and topics whose
    normality has p >= 0.05.
    """
    found = na.value_statistics(model, held_out.identify, LABELS)
    topics = [found.of(topic) for topic in LABELS]
    overlap = torch.stack([na.gaussian_overlap(a.mean, a.std, b.mean, b.std) for a, b in combinations(topics, 2)])
    gaussian = torch.stack([moments.normality >= 0.05 for moments in topics]).double()
    planted = torch.zeros(overlap.shape[1:], dtype=torch.bool)
    planted[tuple(zip(*plan.units, strict=True))] = True
    groups: dict[str, Tensor] = {"planted": planted}
    for layer in range(model.n_layers):
        here = torch.zeros_like(planted)
        here[layer] = ~planted[layer]
        groups[f"others of layer {layer}" + (" (planted)" if layer in LAYERS else "")] = here
    return [
        {
            "units": name,
            "count": int(group.sum()),
            "overlap": float(overlap[:, group].mean()),
            "largest overlap": float(overlap[:, group].max()),
            "gaussian": float(gaussian[:, group].mean()),
        }
        for name, group in groups.items()
    ]
