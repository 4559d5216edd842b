"""What the paper (NeuronLLM, Tables 1 to 8) prints for its own models, to stand beside what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from neuron_antagonism.report.grids import Grid, Section

FILE = Path(__file__).with_name("published.json")

MODELS = {
    "LLaMA 2-7B": (r"llama-?2-7b(-chat)?(-hf)?", 32, 11008),
    "LLaMA 2-13B": (r"llama-?2-13b(-chat)?(-hf)?", 40, 13824),
    "Baichuan 2-7B": (r"baichuan2-7b-(base|chat)", 32, 11008),
}
"""The paper's models: the ends of their names, blocks, neurons of each; the paper doesn't say whether base or chat."""

NOTE = (
    "Published: as NeuronLLM prints it, unsigned, of other questions, 100 examples and for Both, enabled and the first "
    "scorer the best ratio on the evaluation set; tuned chat models and base ones are not told apart there."
)


@cache
def _tables() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["models"]
    return found


def of_model(about: Mapping[str, Any]) -> str | None:
    """The paper's model that has this name and shape; None where it is none of them.

    Args:
        about: name, layers and neurons_per_layer, as a manifest has them.
    """
    last = str(about.get("name", "")).rstrip("/").rpartition("/")[2].lower()
    shape = about.get("layers"), about.get("neurons_per_layer")
    return next((m for m, (ending, *own) in MODELS.items() if re.fullmatch(ending, last) and shape == tuple(own)), None)


def beside(grid: Grid, number: int, model: str | None) -> Grid:
    """A table with the published figures below, where the paper has them for the model.

    Args:
        grid: what was measured.
        number: the table's in the paper.
        model: one of `MODELS`, or None.
    """
    sections = _tables().get(model or "", {}).get(str(number), [])
    own = [
        Section(f"{one['name']} ({model})", [[row.get(column, "-") for column in grid.columns] for row in one["rows"]])
        for one in sections
    ]
    return replace(grid, sections=[*grid.sections, *own], notes=[*grid.notes, NOTE]) if own else grid
