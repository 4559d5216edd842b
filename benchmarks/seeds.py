"""How much depends on the draw: the default run over several seeds, as Markdown tables.

    python benchmarks/seeds.py --seeds 5 --out runs/seeds

Each seed draws other identification, selection and evaluation examples. Runs that are there already are not repeated.
A cell holds the median (smallest to largest) over the seeds.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import neuron_antagonism as na  # torch must see the variable above

MODES = ("enhance", "degrade")


def main() -> None:
    """Run every seed, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    asked = parser.parse_args()
    runs = []
    for seed in range(asked.seeds):
        out = asked.out / f"seed{seed}"
        runs.append(na.run(seed=seed, out=out, resume=(out / "manifest.json").exists()).results["tasks"])
    tasks, scorers = list(runs[0]), list(runs[0][next(iter(runs[0]))]["attribution"])
    print("Accuracy under the edit, %\n")
    head(tasks, " planted good / bad |")
    unedited = [_spread([100 * run[task]["before"]["acc"] for run in runs]) for task in tasks for _ in MODES]
    print("| unedited | " + " | ".join(unedited) + " | |")
    for scorer in scorers:
        cells = [_cells(runs, task, scorer, mode, "acc_after", 100) for task in tasks for mode in MODES]
        print(f"| {scorer} | " + " | ".join(cells) + f" | {_planted(runs, tasks, scorer)} |")
    print(f"| ablation (ceiling) | {' | ' * (2 * len(tasks) - 1)} | {_planted(runs, tasks, 'ablation')} |")
    print("\nChange of accuracy as examples come, points\n")
    head(tasks)
    natural = [_spread([100 * run[task]["natural"]["acc"] for run in runs]) for task in tasks for _ in MODES]
    print("| unedited accuracy, % | " + " | ".join(natural) + " |")
    for scorer in scorers:
        cells = [_cells(runs, task, scorer, mode, "population_acc", 1) for task in tasks for mode in MODES]
        print(f"| {scorer} | " + " | ".join(cells) + " |")
    print("\nNet of RANDOM's mean, points of accuracy in the wanted direction\n")
    head(tasks)
    for scorer in (name for name in scorers if name != "random"):
        cells = [_spread([_net(run[task], scorer, mode) for run in runs]) for task in tasks for mode in MODES]
        print(f"| {scorer} | " + " | ".join(cells) + " |")


def head(tasks: list[str], more: str = "") -> None:
    """A table's head."""
    print("| scorer | " + " | ".join(f"{task} {mode}" for task in tasks for mode in MODES) + " |" + more)
    print("|---" * (1 + len(tasks) * len(MODES) + bool(more)) + "|")


def _cells(runs: list[dict[str, Any]], task: str, scorer: str, mode: str, figure: str, factor: float) -> str:
    found = [
        factor * float(cell[figure])
        for run in runs
        for cell in run[task]["cells"]["held-out"]
        if (cell["scorer"], cell["mode"]) == (scorer, mode)
    ]
    return _spread(found)


def _net(found: dict[str, Any], scorer: str, mode: str) -> float:
    return next(
        float(one["points"])
        for one in found["net"]
        if (one["method"], one["mode"], one["metric"]) == (scorer, mode, "rac")
    )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def _planted(runs: list[dict[str, Any]], tasks: list[str], scorer: str) -> str:
    """Mean precision over tasks and seeds."""
    shown = []
    for role in ("good", "bad"):
        values = [run[task]["planted"][scorer][role] for run in runs for task in tasks]
        shown.append("-" if None in values else f"{statistics.mean(values):.2f}")
    return " / ".join(shown)


if __name__ == "__main__":
    main()
