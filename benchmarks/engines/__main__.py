"""Speed, memory and precision of the engines beside their peers, in one run.

    python benchmarks/engines [--only SECTION]… [--out DIRECTORY]

One thread. Writes engines.json and engines.md into the directory (default: benchmarks/results). Every figure is a
median over rounds in which the ways take turns, unless its section says otherwise. The whole takes about half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sections  # torch must see the variable above
import torch
from report import markdown

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Measure what was asked for and write it down; what is in the file from before and not asked for stays."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=list(sections.SECTIONS), help="one section; repeatable")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where engines.json and engines.md go")
    parser.add_argument("--peak", choices=list(sections.LARGE_WAYS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.peak:
        print(json.dumps({"megabytes": sections.peak(asked.peak)}))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "engines.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    found["machine"] = {"processor": platform.machine(), "threads": 1, "torch": torch.__version__}
    for name in asked.only or sections.SECTIONS:
        print(f"{name} …", flush=True)
        found[name] = sections.SECTIONS[name]()
        file.write_text(json.dumps(found, indent=1) + "\n")
        (asked.out / "engines.md").write_text(markdown(found))
        print(markdown({name: found[name]}), flush=True)


if __name__ == "__main__":
    main()
