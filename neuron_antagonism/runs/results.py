"""results.json: the whole sweep's counts and every figure derived from them, by one code path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.bootstrap import Resamples
from neuron_antagonism.method.differences import differences
from neuron_antagonism.method.protocols import PROTOCOLS, Cell, averages, cells
from neuron_antagonism.method.splits import Split
from neuron_antagonism.method.statistics import MODES
from neuron_antagonism.method.sweeps import Sweep, Swept
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.runs.sweep import Candidate

SCHEMA = 1
PROTOCOL = "held-out"


def task_results(
    split: Split,
    attributions: Mapping[str, Attribution],
    candidates: Sequence[Candidate],
    sweeps: Sequence[Sweep],
    planted: Mapping[str, Any] | None,
    n_layers: int,
    seed: int,
) -> dict[str, Any]:
    """Everything that results.json says about one task, as plain JSON values."""
    base = sweeps[0].evaluation.baseline
    resamples = Resamples(sweeps[0].evaluation.strata, seed=seed)
    method = "ace" if "ace" in attributions else sweeps[0].scorer
    protocols = [p for p in PROTOCOLS if p != "paper" or all(_has_good_only(sweep) for sweep in sweeps)]
    first = {candidate.scorer: candidate for candidate in reversed(candidates)}
    return {
        "before": {"acc": base.acc, "com": base.com, "examples": base.n_examples, "questions": base.n_proxies},
        "split": asdict(split.report),
        "attribution": {name: _attribution(a, first[name]) for name, a in attributions.items()},
        "layers": {name: _layers(first[name], n_layers) for name in attributions},
        "planted": planted,
        "cells": {p: [c.to_json() for c in cells(sweeps, p, method=method, resamples=resamples)] for p in protocols},
        "differences": [d.to_json() for d in differences(sweeps, PROTOCOL, method=method, resamples=resamples)],
        "sweep": [row for sweep in sweeps for row in _counts(sweep)],
    }


def run_averages(tasks: Sequence[tuple[str, Sequence[Sweep]]], seed: int) -> list[dict[str, Any]]:
    """Averages over tasks of every scorer and direction under the protocol that is shown."""
    found: list[Cell] = []
    for _, sweeps in tasks:
        # averages take no interval: a handful of replicates keeps the one code path cheap
        found += cells(sweeps, PROTOCOL, resamples=Resamples(sweeps[0].evaluation.strata, n=100, seed=seed))
    return [average.to_json() for average in averages(found)]


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
