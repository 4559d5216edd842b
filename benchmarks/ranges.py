"""The suite `neuronlens` on the demonstration model, as it is and with its planted bad neurons silenced.

    python benchmarks/ranges.py [--out DIRECTORY]

One thread. As it is, the model answers half its questions wrongly, because its bad neurons pull at them; silenced,
they leave a model that knows its classes. Writes ranges.md into the directory (default: benchmarks/results), the tables
of the two benches one after the other. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # must see the variable above
from rich.console import Console

import neuron_antagonism as na
from neuron_antagonism.report.suite_tables import tables

RESULTS = Path(__file__).parent / "results"
WIDTH = 110


def main() -> None:
    """Measure both models and write the tables down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="where ranges.md goes")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    demo = na.load_model("demo")
    parts = ["# Ranges on the demonstration model\n\n    python benchmarks/ranges.py\n"]
    with tempfile.TemporaryDirectory() as folder:
        silenced = na.edit(demo.planted["bad"], "silence", positions="all")
        na.export(silenced, model=demo, format="checkpoint", out=Path(folder) / "silenced")
        for title, model in (
            ("As it is", demo),
            ("With its planted bad neurons silenced", na.load_model(Path(folder) / "silenced")),
        ):
            print(title, flush=True)
            parts.append(f"## {title}\n\n```text\n{_tables(model)}```\n")
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "ranges.md").write_text("\n".join(parts), encoding="utf-8")


def _tables(model: na.HookedModel) -> str:
    result = na.bench("neuronlens", model)
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, color_system=None)
    for task, classes in result.left_out.items():
        if classes:
            console.print(f"{task}: left out, for want of rightly answered questions: {classes}", highlight=False)
    for table in tables(result.manifest["suite"], result.parts):
        console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


if __name__ == "__main__":
    main()
