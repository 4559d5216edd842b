"""How many steps of integrated gradients agree best with exact ablation on held-out questions?

    python benchmarks/steps.py --model demo --tasks ner sentiment --steps 1 4 16 64 --out DIR

Prints a table in Markdown: by model, task and number of steps m, the agreement of the plain mean of integrated
gradients (target letter-probability, no reordering, nothing dropped) with the exact effect of silencing each neuron,
and of the single gradient of all layers (grad-x-act), which m = 1 of one layer at a time equals up to rounding. What
DIR holds is not computed again, so that it can be stopped and gone on with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import neuron_antagonism as na

FIGURES = ("spearman", "pearson", "good@100", "bad@100")
TARGET = "letter-probability"
PLAIN = {"ace": {"z": 0.9999, "ambiguous": "keep"}, "grad-x-act": {"target": TARGET}}


def board(asked: argparse.Namespace, steps: int) -> pd.DataFrame:
    """Agreement of both scorers at so many steps."""
    found = na.leaderboard(
        asked.model,
        asked.tasks,
        list(PLAIN),
        ["agreement"],
        options=PLAIN,
        data={name: (source, train or None) for name, source, train in (one.split("=") for one in asked.data)},
        steps=steps,
        target=TARGET,
        identify=asked.identify,
        evaluate=max(asked.truth, 2),
        truth=asked.truth,
        out=asked.out / f"steps-{steps}",
        cache=asked.out / "cache",
    )
    frame = found.frame
    frame["steps"] = steps
    return frame[frame.judge.isin([f"agreement.{figure}" for figure in FIGURES])]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tasks", nargs="+", default=["ner", "chunking", "sentiment", "commonsense"])
    parser.add_argument("--data", nargs="*", default=[], help="TASK=EVALUATION=TRAINING, files of one's own")
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--identify", type=int, default=5)
    parser.add_argument("--truth", type=int, default=8, help="held-out examples on which every neuron is ablated")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    frame = pd.concat([board(asked, steps) for steps in asked.steps])
    print("| model | task | scores | " + " | ".join(FIGURES) + " |")
    print("|---|---|---|" + "---|" * len(FIGURES))
    for task in dict.fromkeys(frame.task):
        own = frame[frame.task == task]
        first = own[own.steps == asked.steps[0]]
        rows = [(f"IG, m = {s}", own[(own.steps == s) & (own.scorer == "ace")]) for s in asked.steps]
        rows += [("one gradient", first[first.scorer == "grad-x-act"]), ("ceiling", first[first.scorer == "ceiling"])]
        for label, cells in rows:
            by_judge = cells.set_index("judge")
            shown = [_cell(by_judge.loc[f"agreement.{figure}"]) for figure in FIGURES]
            print(f"| {own.model.iloc[0]} | {task} | {label} | " + " | ".join(shown) + " |")


def _cell(row: pd.Series[float]) -> str:
    ends = "" if pd.isna(row.low) else f" [{row.low:.3f}, {row.high:.3f}]"
    return "-" if pd.isna(row.value) else f"{row.value:.3f}{ends}"


if __name__ == "__main__":
    main()
