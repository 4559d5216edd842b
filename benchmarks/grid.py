"""One grid on every back end: two models, four tasks, three seeds; wall times side by side, and the same results.

    python benchmarks/grid.py [--workers N] [--seeds N] [--backend NAME]… [--out DIRECTORY]

One thread a worker. The models are the demonstration model as it is and with its planted bad neurons silenced; the part
is a small run of the scorers ace, act and random. Every back end begins with nothing; then the suite is asked for again
where it is finished, and in a new directory beside a cache that has everything. Fails where results.json differs by a
byte. Writes grid.md into the directory, where one is given. Takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # must see the variable above

import neuron_antagonism as na
from neuron_antagonism.runs.backends import BACKENDS
from neuron_antagonism.suites.spec import Suite

TASKS = ["ner", "chunking", "sentiment", "commonsense"]
PART = {
    "part": "effects",
    "name": "effects",
    "scorers": ["ace", "act", "random"],
    "identify": 2,
    "select": 4,
    "evaluate": 8,
    "options": {"budget": 50, "random_draws": 5},
}


def main() -> None:
    """Measure the grid on each back end, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="jobs at a time, of processes and ray")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="repeatable; default: all")
    parser.add_argument("--out", type=Path, help="where grid.md goes")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    suite = Suite.of({"name": "grid", "tasks": TASKS, "parts": [PART]}, "grid")
    rows: list[tuple[str, str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = ["demo", _silenced(folder / "silenced")]

        def bench(out: str, **how: Any) -> bytes:
            na.bench(suite, models, seed=list(range(asked.seeds)), out=folder / out, **how)
            return (folder / out / "results.json").read_bytes()

        found = {}
        for backend in asked.backend or BACKENDS:
            workers = 1 if backend == "serial" else asked.workers
            found[backend], seconds = _timed(lambda b=backend, w=workers: bench(b, backend=b, workers=w))
            rows.append((backend, str(workers), seconds))
            print(f"{backend}: {seconds:.0f} s", flush=True)
        first = next(iter(found))
        found["again"], seconds = _timed(lambda: bench(first))
        rows.append(("asked again", "", seconds))
        found["cached"], seconds = _timed(lambda: bench("cached", cache=folder / first))
        rows.append(("a new directory beside a full cache", "", seconds))
        units = len(list((folder / first).rglob("*.safetensors")))
    different = [name for name, results in found.items() if results != found[first]]
    text = _page(rows, len(models) * len(TASKS) * asked.seeds, units, len(json.loads(found[first])["parts"]["effects"]))
    print(text)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "grid.md").write_text(text, encoding="utf-8")
    if different:
        raise SystemExit(f"the results differ: {', '.join(different)} from {first}")


def _silenced(out: Path) -> str:
    demo = na.load_model("demo")
    bad = na.edit(demo.planted["bad"], "silence", positions="all")
    na.export(bad, model=demo, format="checkpoint", out=out)
    return str(out)


def _timed(work: Callable[[], bytes]) -> tuple[bytes, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _page(rows: list[tuple[str, str, float]], jobs: int, units: int, figures: int) -> str:
    lines = [
        "# One grid on every back end",
        "",
        f"`python benchmarks/grid.py`: {jobs} jobs, {units} units, {figures} rows of figures; {os.cpu_count()} cores, "
        f"{platform.machine()}, one thread a worker, torch {torch.__version__}. results.json is the same everywhere.",
        "",
        "| back end | workers | wall, s |",
        "|---|---|---|",
        *(f"| {name} | {workers} | {seconds:.1f} |" for name, workers, seconds in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
