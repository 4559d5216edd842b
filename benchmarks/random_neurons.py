"""Random neurons in a strong model, chosen by nothing: an effect that is reported of them is one of the method.

    python benchmarks/random_neurons.py --out benchmarks/results

The demonstration model with its planted bad neurons silenced (exported as a checkpoint and loaded anew) is asked; of a
hundred neurons that are not planted, drawn at random, fifty are excited and fifty silenced, and the other way round.
Half of the evaluation examples are understood by construction, and the same answers are the baseline: by regression to
the mean alone, the others seem to gain. The population effect is to hold 0 nearly always.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

import neuron_antagonism as na  # torch must see the variable above
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.metrics.outcomes import MODES

TASKS = ("ner", "chunking", "sentiment", "commonsense")
TOUCHED = 100


def main() -> None:
    """Measure every task and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--evaluate", type=int, default=100)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    demo = na.load_model("demo")
    with tempfile.TemporaryDirectory() as folder:
        silenced = na.edit(demo.planted["bad"], "silence", positions="all")
        na.export(silenced, model=demo, format="checkpoint", out=Path(folder) / "strong")
        strong = na.load_model(str(Path(folder) / "strong"))
        planted = set(demo.planted["good"]) | set(demo.planted["bad"])
        rows = [row for task in TASKS for row in measured(strong, task, planted, asked.draws, asked.evaluate)]
    text = page(rows, asked.draws, asked.evaluate)
    print(text)
    if asked.out is not None:
        (asked.out / "random_neurons.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        (asked.out / "random_neurons.md").write_text(text, encoding="utf-8")


def measured(model: Any, task: str, planted: set[tuple[int, int]], draws: int, evaluate: int) -> list[dict[str, Any]]:
    """One row a direction: the mean of the draws' effects, and how many intervals hold 0."""
    split = na.load_task(task).split(identify=0, select=0, evaluate=evaluate, seed=0, reference=model)
    rng = np.random.default_rng(0)
    others = [(a, b) for a in range(model.n_layers) for b in range(model.n_neurons) if (a, b) not in planted]
    edits = []
    for _ in range(draws):
        chosen = [others[index] for index in rng.choice(len(others), TOUCHED, replace=False)]
        first, second = (na.NeuronSet.of(half) for half in (chosen[: TOUCHED // 2], chosen[TOUCHED // 2 :]))
        edits += [make(first, second, budget=TOUCHED, ratio=0.5) for make in (na.enhancer, na.degrader)]
    before, *after = evaluate_many(model, split.evaluate, [None, *edits])
    read = split.natural.counts
    rows = []
    for number, mode in enumerate(MODES):
        found = [
            na.compare(before, answers, mode, read=read, replicates=4000) for answers in after[number :: len(MODES)]
        ]
        row: dict[str, Any] = {"task": task, "mode": mode, "accuracy": split.natural.acc, "read": split.natural.read}
        row["rcc"] = float(np.mean([one.rcc for one in found]))
        for metric in ("acc", "com"):
            holds = [low <= 0 <= high for low, high in (getattr(one, f"population_{metric}_interval") for one in found)]
            plain = [low <= 0 <= high for low, high in (getattr(one, f"{metric}_difference_interval") for one in found)]
            row[f"stratified {metric}"] = float(np.mean([getattr(one, f"{metric}_difference") for one in found]))
            row[f"stratified {metric} holds 0"] = float(np.mean(plain))
            row[f"population {metric}"] = float(np.mean([getattr(one, f"population_{metric}") for one in found]))
            row[f"population {metric} holds 0"] = float(np.mean(holds))
        rows.append(row)
    return rows


def page(rows: list[dict[str, Any]], draws: int, evaluate: int) -> str:
    """The table as Markdown."""
    lines = [
        "# Random neurons, chosen by nothing",
        "",
        f"`python benchmarks/random_neurons.py --out benchmarks/results`: {draws} draws of {TOUCHED} neurons that are "
        f"not planted, half excited and half silenced; {evaluate} evaluation examples (or all there are), half of "
        "them understood. Mean over draws of the change in points, and the share of 95 % intervals that hold 0 in "
        "percent; RCC is the stratified relative change of comprehension, signed by the direction.",
        "",
        "| task | direction | accuracy | read | RCC | stratified Acc | holds 0 | stratified Com | holds 0 "
        "| population Acc | holds 0 | population Com | holds 0 |",
        "|---" * 13 + "|",
    ]
    for row in rows:
        shown = [row["task"], row["mode"], f"{100 * row['accuracy']:.1f}", str(row["read"]), f"{row['rcc']:+.1f}"]
        for kind in ("stratified", "population"):
            for metric in ("acc", "com"):
                shown += [f"{row[f'{kind} {metric}']:+.2f}", f"{100 * row[f'{kind} {metric} holds 0']:.1f}"]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
