"""The embedded demonstration model: small, made for this package, with planted good and bad neurons; and plain text.

How it was made, what it reaches and what it does not prove is in `checkpoint/MODEL_CARD.md`; the script is
`benchmarks/demo_model/train.py`.
"""

from __future__ import annotations

import json
from pathlib import Path


def directory() -> Path:
    """The checkpoint: a Hugging Face model directory with its tokenizer."""
    return Path(__file__).resolve().parent / "checkpoint"


def planted() -> dict[str, list[tuple[int, int]]]:
    """The neurons that training made "good" and "bad", each as (layer, neuron)."""
    roles = json.loads((directory() / "planted.json").read_text(encoding="utf-8"))
    return {role: [(layer, neuron) for layer, neuron in roles[role]] for role in ("good", "bad")}


def plain_text() -> tuple[str, ...]:
    """Sentences of everyday English, on which an edit's effect on ordinary text is measured."""
    return tuple((Path(__file__).resolve().parent / "plain_text.txt").read_text(encoding="utf-8").splitlines())
