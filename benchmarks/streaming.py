"""How much memory a long stream of questions takes, beside a short one.

    python benchmarks/streaming.py --questions 100000

Questions of the demonstration model go through attribution (ACE) and evaluation in batches, as anyone would feed a
stream; each size runs in a process of its own. Prints the largest resident memory of each, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from itertools import islice

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import neuron_antagonism as na  # torch must see the variables above

BATCH = 250
FEW = 1000


def main() -> None:
    """Run a short and a long stream, or, within their processes, one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--one", action="store_true", help="stream in this process, and print what it took as JSON")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(stream(asked.questions)))
        return
    found = []
    for count in (FEW, asked.questions):
        command = [sys.executable, __file__, "--one", "--questions", str(count)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{count:,} questions: {found[-1]['mib']:,.0f} MiB at most, {found[-1]['seconds']:.0f} s", flush=True)
    print(f"ratio {found[1]['mib'] / found[0]['mib']:.2f}")


def stream(count: int) -> dict[str, float]:
    """Attribute and evaluate so many questions, a batch at a time."""
    start = time.monotonic()
    model = na.load_model("demo")
    split = na.load_task("sentiment").split(identify=100, select=0, evaluate=300)
    pool = [question for example in (*split.identify, *split.evaluate) for question in example.proxies]
    # the stream repeats the sample's questions with texts that differ: nothing that is kept by text helps
    every = (
        na.Question(f"{number} {question.prompt}", question.options, question.answer)
        for number, question in ((n, pool[n % len(pool)]) for n in range(count))
    )
    right = 0.0
    while batch := list(islice(every, BATCH)):
        scores = na.attribute(model, batch, "ace").scores
        right += na.evaluate(model, batch).acc * len(batch)
        assert scores.isfinite().all()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"mib": peak, "seconds": time.monotonic() - start, "accuracy": right / count}


if __name__ == "__main__":
    main()
