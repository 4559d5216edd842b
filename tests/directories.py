"""Runs that several test files make, and what stands in their directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WHOLE: dict[str, Any] = {
    "tasks": ["sentiment", "ner"],
    "scorers": ["ace", "act", "random"],
    "identify": 2,
    "select": 4,
    "evaluate": 4,
    "budget": 20,
    "random_draws": 2,
}
"""A run of the demonstration model that has a bit of everything."""

FAST: dict[str, Any] = {**WHOLE, "scorers": ["ace", "random"], "budget": 6}
"""A run of a tiny random model, for what needs many runs."""

SAID = ("results.json", "questions.jsonl", "neurons.csv")
"""What a run says: neither times nor the machine are among it."""


def strict(text: str) -> Any:
    """JSON without NaN and infinities."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def read(path: Path) -> Any:
    return strict(path.read_text(encoding="utf-8"))


def same_results(path: Path, other: Path) -> bool:
    """Whether two directories say the same, byte for byte."""
    return all((path / name).read_bytes() == (other / name).read_bytes() for name in SAID)


def units(path: Path) -> dict[str, tuple[int, int]]:
    """Every unit in a directory by its file; the numbers change when it is written again."""
    found = {file: file.stat() for file in path.rglob("*.safetensors")}
    return {str(file.relative_to(path)): (stat.st_ino, stat.st_mtime_ns) for file, stat in found.items()}


def made(path: Path, before: dict[str, tuple[int, int]]) -> set[str]:
    """Kind and label of the units that are new in a directory; none that was there has been written again."""
    after = units(path)
    assert before.items() <= after.items()
    return {file.rsplit(".", 2)[0] for file in after.keys() - before.keys()}
