"""The guide's table of public names. `python tests/public_names.py` writes it anew."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import neuron_antagonism as na

GUIDE = Path(__file__).parents[1] / "neuron_antagonism" / "README.md"
BEGIN, END = "<!-- names: begin; written by tests/public_names.py -->\n", "<!-- names: end -->\n"

GROUPS = {
    "Data and questions": (
        *("load_task", "LoadedTask", "Split", "concept_split", "ConceptSplit", "build_examples", "Item", "Question"),
        *("Example", "LabelQuestion"),
    ),
    "Models and attribution": (
        *(
            "load_model",
            "HookedModel",
            "attribute",
            "attribute_many",
            "Attribution",
            "Settings",
            "NeuronSet",
            "neuron_rows",
            "NeuronRow",
        ),
        *("baseline_values", "linear_effects", "LinearEffects", "ablate", "Ablation"),
        *("observe", "Observation", "value_statistics", "ValueStatistics", "gaussian_overlap", "Moments"),
        *("describe", "Description"),
    ),
    "Edits and evaluation": (
        *("edit", "enhancer", "degrader", "Edit", "evaluate", "evaluate_many", "Evaluation", "compare", "Comparison"),
        *(
            "faithfulness",
            "faithfulness_many",
            "Faithfulness",
            "perplexity",
            "generate",
            "export",
            "Export",
            "push",
            "Pushed",
        ),
    ),
    "Runs and suites": (
        *("run", "load_run", "RunResult", "bench", "BenchResult", "Suite", "leaderboard", "Leaderboard"),
        "__version__",
    ),
    "Plugins": ("hookimpl", "Scorer", "Target", "target_of", "Task", "Intervention", "Observer", "Options"),
    "Errors": (
        *("AntagonismError", "UsageError", "DataError", "ModelError", "PluginError", "RunError", "ExportError"),
        "AntagonismWarning",
    ),
}
"""Every public name, where a reader looks for it."""

WITHOUT = {
    "__version__": "The version, a text.",
    "hookimpl": "Marks a function as an implementation of a hook.",
}
"""What is no class or function of this package, and has no docstring of its own."""


def line(name: str) -> str:
    """The first sentence of a name's docstring."""
    thing: Any = getattr(na, name)
    paragraph = " ".join((WITHOUT.get(name) or inspect.getdoc(thing) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=\.) ", paragraph)[0]
    return sentence.replace("|", "\\|")


def table() -> str:
    """The tables of all groups."""
    parts = []
    for group, names in GROUPS.items():
        rows = "".join(f"| `{name}` | {line(name)} |\n" for name in names)
        parts.append(f"\n### {group}\n\n| name | what it is |\n|---|---|\n{rows}")
    return "".join(parts) + "\n"


def written(guide: str) -> str:
    """The guide with the table as the code has it."""
    before, rest = guide.split(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    GUIDE.write_text(written(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
