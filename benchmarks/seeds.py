"""How much depends on the draw: the default run over several seeds, as one Markdown table.

    python benchmarks/seeds.py --seeds 5 --out runs/seeds

Each seed draws other identification, selection and evaluation examples. Runs that are there already are not repeated.
A cell holds the accuracy under the edit in percent: median (smallest to largest) over the seeds.
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
    """Run every seed, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    asked = parser.parse_args()
    runs = [
        na.run(seed=seed, out=asked.out / f"seed{seed}", resume=True).results["tasks"] for seed in range(asked.seeds)
    ]
    tasks, scorers = list(runs[0]), list(runs[0][next(iter(runs[0]))]["attribution"])
    print("| scorer | " + " | ".join(f"{task} {mode}" for task in tasks for mode in MODES) + " | planted good / bad |")
    print("|---" * (2 + len(tasks) * len(MODES)) + "|")
    unedited = [_spread([run[task]["before"]["acc"] for run in runs]) for task in tasks for _ in MODES]
    print("| unedited | " + " | ".join(unedited) + " | |")
    for scorer in scorers:
        cells = [_spread([_after(run[task], scorer, mode) for run in runs]) for task in tasks for mode in MODES]
        print(f"| {scorer} | " + " | ".join(cells) + f" | {_planted(runs, tasks, scorer)} |")


def _after(found: dict[str, Any], scorer: str, mode: str) -> float:
    cells = found["cells"]["held-out"]
    return next(float(c["acc_after"]) for c in cells if (c["scorer"], c["mode"]) == (scorer, mode))


def _spread(values: list[float]) -> str:
    return f"{100 * statistics.median(values):.0f} ({100 * min(values):.0f}–{100 * max(values):.0f})"


def _planted(runs: list[dict[str, Any]], tasks: list[str], scorer: str) -> str:
    """Mean precision over tasks and seeds."""
    shown = []
    for role in ("good", "bad"):
        values = [run[task]["planted"][scorer][role] for run in runs for task in tasks]
        shown.append("-" if None in values else f"{statistics.mean(values):.2f}")
    return " / ".join(shown)


if __name__ == "__main__":
    main()
