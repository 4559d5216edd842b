"""What intervals cover and how often tests reject: `python benchmarks/coverage --out benchmarks/results`.

Simulated outcomes (`outcomes.py`) go through the same code as a run's. A nominal 95 % interval is to hold the truth in
93 to 97 % of the repetitions; where nothing differs a test is to give p < .05 in at most 6 %, p < .001 in at most .3 %.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from averages import FIGURES, averaged, averages_grid
from outcomes import Sample, World, samples

from neuron_antagonism.metrics.bootstrap import Resamples
from neuron_antagonism.metrics.differences import differences
from neuron_antagonism.metrics.effects import effect
from neuron_antagonism.metrics.outcomes import Outcomes
from neuron_antagonism.metrics.sweeps import N_RATIOS, Sweep, Swept

SIZES = (48, 100, 300)
AFTER = ((0.01, 0.01), (0.985, 0.97), (0.85, 0.55), (0.5, 0.3), (0.25, 0.25))
WITHIN = (0.3, 0.6)
BEFORE = 0.5
REPLICATES = 3000
DRAW_SDS = (0.0, 0.05, 0.15, 0.3)
SHOWN = ("rac", "rcc", "acc", "com", "population acc", "population com", "difference acc", "difference com")


def main() -> None:
    """Run every cell and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("runs/coverage"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "coverage.json"
    found: dict[str, Any] = {"repetitions": asked.repetitions, "cells": [], "random": [], "averages": []}
    if file.exists() and (before := json.loads(file.read_text(encoding="utf-8")))["repetitions"] == asked.repetitions:
        # takes the better part of an hour: what is there already is not simulated again
        found = {"averages": [], **before}
    kinds = (
        ("cells", grid(), covered),
        ("random", random_grid(), rejected),
        ("averages", averages_grid(), partial(averaged, truths=truths)),
    )
    for kind, every, measure in kinds:
        for cell in every:
            if any(all(old[name] == value for name, value in plain(cell).items()) for old in found[kind]):
                continue
            found[kind].append(plain(cell | measure(cell, asked.repetitions)))
            print(found[kind][-1], flush=True)
            file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (asked.out / "coverage.md").write_text(page(found), encoding="utf-8")


def plain(value: Any) -> Any:
    """The same as JSON has it."""
    return json.loads(json.dumps(value))


def grid() -> Iterator[dict[str, Any]]:
    """Sets drawn by stratum; sets as they come; sets of texts with three examples each."""
    for within in WITHIN:
        for after in AFTER:
            for n in SIZES:
                yield {"set": "stratified", "within": within, "after": after, "n": n, "before": BEFORE}
    for after in AFTER:
        yield {"set": "as it comes", "within": 0.3, "after": after, "n": 100, "before": BEFORE}
    yield {"set": "stratified", "within": 0.3, "after": AFTER[2], "n": 100, "before": 0.7}
    yield {"set": "texts of three", "within": 0.3, "after": AFTER[2], "n": 300, "before": BEFORE}


def covered(cell: dict[str, Any], repetitions: int) -> dict[str, Any]:
    """Coverage of each interval, and rejections of the test between two equal methods."""
    world = World(cell["before"], tuple(cell["after"]), cell["within"], 3 if cell["set"] == "texts of three" else 1)
    stratified = cell["set"] == "stratified"
    true = truths(world.truth(1, np.random.default_rng(1)), stratified)
    hits = dict.fromkeys(SHOWN, 0)
    p_values: list[float] = []
    resamples: Resamples | None = None
    for sample in samples(world, cell["n"], 2, repetitions, stratified, seed=2):
        # the weights hang on the strata and texts alone, which are the same in every repetition
        resamples = resamples or sample.outcomes[0].resamples(seed=3, n=REPLICATES)
        intervals, p = measured(sample, resamples)
        p_values += p
        for name, interval in intervals.items():
            assert interval is not None
            assert interval[1] > interval[0], f"{name} has no width"
            hits[name] += interval[0] <= true[name] <= interval[1]
    return {
        "coverage": {name: hits[name] / repetitions for name in SHOWN},
        "p05": float(np.mean(np.array(p_values) < 0.05)),
        "p001": float(np.mean(np.array(p_values) < 0.001)),
    }


def truths(of: dict[str, np.ndarray], stratified: bool) -> dict[str, float]:
    """What each interval is to hold."""
    found: dict[str, float] = {"difference acc": 0.0, "difference com": 0.0}
    for metric, relative in (("acc", "rac"), ("com", "rcc")):
        natural = of[f"{metric} all"]
        shown = (of[f"{metric} known"] + of[f"{metric} other"]) / 2 if stratified else natural
        found[relative] = float(100 * (shown[1] - shown[0]) / shown[0])
        found[metric] = float(100 * (shown[1] - shown[0]))
        found[f"population {metric}"] = float(100 * (natural[1] - natural[0]))
    return found


def measured(sample: Sample, resamples: Resamples) -> tuple[dict[str, Any], list[float]]:
    """The intervals that a run would print of one set, and the p-values of two equal methods."""
    before, one, two = sample.outcomes
    found = effect(before, one, "enhance", resamples, sample.read)
    between = differences(sweeps(before, [[one], [two]]), "held-out", method="0", resamples=resamples)
    intervals = {
        "rac": found.rac_interval,
        "rcc": found.rcc_interval,
        "acc": found.acc_difference_interval,
        "com": found.com_difference_interval,
        "population acc": found.population_acc_interval,
        "population com": found.population_com_interval,
    } | {f"difference {name}": one.interval for name, one in zip(("acc", "com"), between, strict=True)}
    return intervals, [one.p_value for one in between if one.p_value is not None]


def sweeps(before: Outcomes, scorers: list[list[Outcomes]]) -> list[Sweep]:
    """Each scorer's draws as sweeps of a single ratio, enhancers only."""
    available = np.zeros((2, N_RATIOS), bool)
    available[0, -1] = True
    found = []
    for number, draws in enumerate(scorers):
        for draw, after in enumerate(draws):
            right = np.zeros((2, N_RATIOS, before.n_examples), np.int64)
            right[0, -1] = after.right
            swept = Swept(right, np.zeros(right.shape), before)
            found.append(Sweep(str(number), swept, None, available, draw=draw))
    return found


def random_grid() -> Iterator[dict[str, Any]]:
    """A method that is one more draw of RANDOM, whose draws' effects scatter by so much."""
    for n, draws in ((48, 20), (100, 20), (48, 199)):
        for sd in DRAW_SDS:
            yield {"n": n, "draws": draws, "sd": sd}


def rejected(test: dict[str, Any], repetitions: int) -> dict[str, Any]:
    """How often a method that is one more draw is told from the draws; and what the net effect's interval covers."""
    rng = np.random.default_rng(4)
    n, draws, sd = test["n"], test["draws"], test["sd"]
    p_values, hits = [], 0
    resamples: Resamples | None = None
    # many draws cost much: fewer repetitions, and their own error stands beside
    repetitions = repetitions if draws < 100 else max(1, repetitions // 4)
    for _ in range(repetitions):
        levels = np.clip(0.5 + sd * rng.standard_normal(1 + draws), 0.01, 0.99)
        base = rng.binomial(3, rng.beta(1.2, 1.2, n))
        strata = base >= 2
        order = np.argsort(~strata, kind="stable")
        chances = np.clip(levels[:, None] + 0.15 * rng.standard_normal((1 + draws, n)), 0, 1)
        right = rng.binomial(3, chances)
        before, method, *others = (Outcomes(one[order], np.full(n, 3), np.zeros(n), "", None) for one in (base, *right))
        resamples = resamples or before.resamples(seed=3, n=REPLICATES)
        found = differences(sweeps(before, [[method], others]), "held-out", method="0", resamples=resamples)
        p_values += [one.p_value for one in found if one.p_value is not None]
        # what the method's own level is beyond the mean of all that could have been drawn
        mean = float(np.clip(0.5 + sd * np.random.default_rng(5).standard_normal(100_000), 0.01, 0.99).mean())
        interval = found[0].points_interval
        assert interval is not None
        true = 100 * (_expected(levels[0]) - (_expected_mean(sd) if sd else _expected(mean)))
        hits += interval[0] <= true <= interval[1]
    p = np.array(p_values)
    return {
        "repetitions": repetitions,
        "p05": float((p < 0.05).mean()),
        "p001": float((p < 0.001).mean()),
        "net coverage": hits / repetitions,
    }


def _expected(level: float, draws: int = 20_000) -> float:
    """Accuracy of an edit of that level: chances are cut off at 0 and 1."""
    noise = np.random.default_rng(6).standard_normal(draws)
    return float(np.clip(level + 0.15 * noise, 0, 1).mean())


_MEANS: dict[float, float] = {}


def _expected_mean(sd: float) -> float:
    if sd not in _MEANS:
        levels = np.clip(0.5 + sd * np.random.default_rng(5).standard_normal(2000), 0.01, 0.99)
        _MEANS[sd] = float(np.mean([_expected(level) for level in levels]))
    return _MEANS[sd]


def page(found: dict[str, Any]) -> str:
    """The tables as Markdown."""
    error = 100 * np.sqrt(0.95 * 0.05 / found["repetitions"])
    lines = [
        "# What intervals cover, and how often tests reject",
        "",
        f"`python benchmarks/coverage --out benchmarks/results`, {found['repetitions']} repetitions a cell: a coverage "
        f"of 95 % is known to ± {error:.1f} points (one standard error). Before, after: mean chance of a right answer; "
        "after an edit, of examples that were understood before and of the others. Within: correlation of an example's "
        "three proxies. Coverage of nominal 95 % intervals in percent; then how often the test of two equal methods "
        "gives p < .05 and p < .001, in percent.",
        "",
        "| set | before | after | within | n | " + " | ".join(SHOWN) + " | p < .05 | p < .001 |",
        "|---" * (len(SHOWN) + 7) + "|",
    ]
    for cell in found["cells"]:
        shares = " | ".join(f"{100 * share:.1f}" for share in cell["coverage"].values())
        known, other = cell["after"]
        where = f"{cell['set']} | {cell['before']} | {known}, {other} | {cell['within']} | {cell['n']}"
        lines.append(f"| {where} | {shares} | {100 * cell['p05']:.1f} | {100 * cell['p001']:.2f} |")
    lines += [
        "",
        "A method that is one more draw of RANDOM, by rank among the draws; their true accuracies scatter by `sd`. "
        "`net`: coverage of the interval of the method's accuracy beyond RANDOM's mean.",
        "",
        "| n | draws | sd | repetitions | p < .05 | p < .001 | net |",
        "|---" * 7 + "|",
    ]
    for test in found["random"]:
        shown = f"{100 * test['p05']:.1f} | {100 * test['p001']:.2f} | {100 * test['net coverage']:.1f}"
        lines.append(f"| {test['n']} | {test['draws']} | {test['sd']} | {test['repetitions']} | {shown} |")
    lines += [
        "",
        "Averages over four tasks whose answers after the edit are near 0 (a degrader's), near 1 (an enhancer's), at "
        "chance, or all of these: coverage of one task's intervals, and of the average's, recovered from them.",
        "",
        "| tasks | n | " + " | ".join(f"{name}: one | average" for name in FIGURES) + " |",
        "|---" * (2 + 2 * len(FIGURES)) + "|",
    ]
    for cell in found["averages"]:
        shares = " | ".join(f"{100 * cell[of][name]:.1f}" for name in FIGURES for of in ("one task", "average"))
        lines.append(f"| {cell['tasks']} | {cell['n']} | {shares} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
