"""What the proofs at load cost: `python benchmarks/proofs.py`, as a share of the default run beside them.

The default run is timed in this process, with the model loaded already, so that the share is the largest it can be.
"""

from __future__ import annotations

import os

# waiting threads that spin make small models slow on a busy machine
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import time

import neuron_antagonism as na
from neuron_antagonism.model import load

REPEATS = 5


def seconds(work: object, *given: object) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    assert callable(work)
    work(*given)
    return time.perf_counter() - start


def main() -> None:
    """Print the seconds of a load with its proofs and without, and their share of the default run."""
    na.load_model("demo")  # imports, and the first allocations
    with_proofs, without = [], []
    for _ in range(REPEATS):
        load.forget_proofs()
        with_proofs.append(seconds(na.load_model, "demo"))
        without.append(seconds(na.load_model, "demo"))
    proofs = min(with_proofs) - min(without)
    run = seconds(na.run, na.load_model("demo"))
    print(f"load, proved {min(with_proofs):.2f} s, proved before {min(without):.2f} s; default run {run:.1f} s")
    print(f"proofs {proofs:.2f} s, {proofs / run:.2%} of the default run")


if __name__ == "__main__":
    main()
