"""Attribution on the embedded model by every engine, side by side in one run.

    python benchmarks/engines.py

Sixty questions (five examples of each of the four tasks), the four gradient scorers together; the median of three
rounds in which the engines take turns, because the machine's speed drifts.
"""

from __future__ import annotations

import os
import statistics
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # it must see the variable above

import neuron_antagonism as na

TASKS = ("ner", "chunking", "sentiment", "commonsense")
SCORERS = ("ace", "tn", "qrnca", "kn")
ENGINES = ("replay", "rows", "reference")
ROUNDS = 3


def main() -> None:
    """Time the engines and compare their scores."""
    torch.set_num_threads(1)
    model = na.load_model("demo")
    splits = [na.load_task(task).split(identify=5, select=0, evaluate=1) for task in TASKS]

    def scores(engine: str, scorers: tuple[str, ...] = SCORERS) -> tuple[float, torch.Tensor]:
        start = time.perf_counter()
        found = [na.attribute_many(model, split.identify, scorers, engine=engine)["ace"].scores for split in splits]
        return time.perf_counter() - start, torch.stack(found)

    scores("replay")
    rounds = [{engine: scores(engine) for engine in ENGINES} for _ in range(ROUNDS)]
    alone = statistics.median(scores("replay", ("ace",))[0] for _ in range(ROUNDS))
    seconds = {engine: statistics.median(one[engine][0] for one in rounds) for engine in ENGINES}
    truth = rounds[0]["reference"][1]
    print("| engine | seconds | reference / engine | largest relative difference |")
    print("|---|---|---|---|")
    for engine in ENGINES:
        difference = float((rounds[0][engine][1] - truth).abs().max() / truth.abs().max())
        print(f"| {engine} | {seconds[engine]:.1f} | {seconds['reference'] / seconds[engine]:.1f} | {difference:.0e} |")
    print(f"\nACE, TN, QRNCA and KN together cost {seconds['replay'] / alone:.1f} times ACE alone (replay).")


if __name__ == "__main__":
    main()
