"""results.json: the whole sweep's counts and every figure derived from them, by one code path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.metrics.bootstrap import Interval, Resamples
from neuron_antagonism.metrics.differences import corrected, differences, net_effects
from neuron_antagonism.metrics.effects import METRICS, natural_level
from neuron_antagonism.metrics.outcomes import MODES, Outcomes
from neuron_antagonism.metrics.protocols import PROTOCOLS, SHOWN, Cell, averages, cells
from neuron_antagonism.metrics.sweeps import Sweep, Swept
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.runs.sweep import Candidate
from neuron_antagonism.tasks.splits import Split

SCHEMA = 2


def task_results(
    split: Split,
    attributions: Mapping[str, Attribution],
    candidates: Sequence[Candidate],
    sweeps: Sequence[Sweep],
    planted: Mapping[str, Any] | None,
    n_layers: int,
    seed: int,
) -> dict[str, Any]:
    """Everything that results.json says about one task, as plain JSON values; differences are not yet corrected."""
    base = sweeps[0].evaluation.baseline
    resamples = base.resamples(seed)
    method = method_of(sweeps)
    protocols = [p for p in PROTOCOLS if p != "paper" or all(_has_good_only(sweep) for sweep in sweeps)]
    first = {candidate.scorer: candidate for candidate in reversed(candidates)}
    read = split.natural.counts
    return {
        "before": {"acc": base.acc, "com": base.com, "examples": base.n_examples, "questions": base.n_proxies},
        "natural": natural_levels(split, base, resamples, seed),
        "split": asdict(split.report),
        "attribution": {name: _attribution(a, first[name]) for name, a in attributions.items()},
        "layers": {name: _layers(first[name], n_layers) for name in attributions},
        "planted": planted,
        "cells": {
            protocol: [one.to_json() for one in cells(sweeps, protocol, method=method, resamples=resamples, read=read)]
            for protocol in protocols
        },
        "net": [one.to_json() for one in net_effects(sweeps, SHOWN, resamples=resamples)],
        "sweep": [row for sweep in sweeps for row in _counts(sweep)],
    }


def method_of(sweeps: Sequence[Sweep]) -> str:
    """The scorer that the others are compared with."""
    names = [sweep.scorer for sweep in sweeps]
    return "ace" if "ace" in names else names[0]


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


def run_averages(tasks: Sequence[Sequence[Sweep]]) -> list[dict[str, Any]]:
    """Averages over tasks of every scorer and direction under the protocol that is shown."""
    found: list[Cell] = []
    for sweeps in tasks:
        # averages take no interval: a handful of replicates keeps the one code path cheap
        few = sweeps[0].evaluation.baseline.resamples(n=100)
        found += cells(sweeps, SHOWN, method=method_of(sweeps), resamples=few)
    return [average.to_json() for average in averages(found)]


def run_differences(tasks: Sequence[Sequence[Sweep]], seed: int) -> dict[str, list[dict[str, Any]]]:
    """By task, the differences between the method and the others, corrected for all that the run's table marks."""
    found = corrected(
        one
        for sweeps in tasks
        for one in differences(
            sweeps, SHOWN, method=method_of(sweeps), resamples=sweeps[0].evaluation.baseline.resamples(seed)
        )
    )
    names = [sweeps[0].task for sweeps in tasks]
    return {name: [one.to_json() for one in found if one.task == name] for name in names}


def _has_good_only(sweep: Sweep) -> bool:
    return all(10 in sweep.ratios(mode) for mode in MODES)


def _attribution(a: Attribution, candidate: Candidate) -> dict[str, Any]:
    return {
        "target": a.target,
        "options": dict(a.options),
        "engine": a.engine,
        "steps": a.steps,
        "quadrature": a.quadrature,
        "completeness_error": a.completeness_error,
        "filtered": None if a.filtered is None else asdict(a.filtered),
        "n_good": len(candidate.good),
        "n_bad": None if candidate.bad is None else len(candidate.bad),
    }


def _layers(candidate: Candidate, n_layers: int) -> dict[str, list[int] | None]:
    def count(neurons: NeuronSet | None) -> list[int] | None:
        return None if neurons is None else np.bincount(neurons.layers.numpy(), minlength=n_layers).tolist()

    return {"good": count(candidate.good), "bad": count(candidate.bad)}


def _counts(sweep: Sweep) -> list[dict[str, Any]]:
    rows = []
    sides: list[tuple[str, Swept | None]] = [("select", sweep.selection), ("evaluate", sweep.evaluation)]
    for name, swept in ((name, swept) for name, swept in sides if swept is not None):
        for mode in MODES:
            for tenths in sorted(sweep.ratios(mode)):
                outcomes = swept.outcomes(mode, tenths)
                used = None if sweep.used is None else sweep.used[MODES.index(mode), tenths].tolist()
                rows.append(
                    {
                        "scorer": sweep.scorer,
                        "draw": sweep.draw,
                        "set": name,
                        "mode": mode,
                        "tenths": tenths,
                        "used": used,
                        "right": outcomes.n_right,
                        "understood": outcomes.n_understood,
                        "cross_entropy": round(float(outcomes.cross_entropy.mean()), 6),
                    }
                )
    return rows
