"""NEURONS: somebody's published neurons instead of an attribution."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from einops import repeat
from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._files import TABLE, lines, malformed

ACCEPTED = "CSV or JSON rows of layer, neuron, and of role (good or bad) or a signed score"
ROLES = {"good": 1.0, "bad": -1.0}

Row = tuple[int, int, float]


class Neurons(na.Scorer):
    """Scores read from a file of good and bad neurons: sets that were published, or another run's neurons.csv.

    A row's role gives its score's sign; a row without a score is scored by its place, strongest first. Neurons that
    the file does not name score 0.
    """

    name = "neurons"
    target = None
    reference = "the file's own"

    class Options(na.Options):
        """Which file, and which of its rows."""

        file: str = Field(default="", description="path of a CSV or JSON file of neurons")
        task: str = Field(default="", description="of a file with several tasks, the one to take")
        scorer: str = Field(default="", description="of a file with several scorers, the one to take")

    site = "post"

    def __init__(self, **options: Any) -> None:
        """Read the file: what is wrong with it is found before anything runs."""
        super().__init__(**options)
        self.rows = self._read()

    def with_options(self, **changes: Any) -> Self:
        """A copy with some options changed, its file read again."""
        other = super().with_options(**changes)
        other.rows = other._read()
        return other

    def check(self, model: na.HookedModel, examples: Sequence[na.Example], site: str) -> None:
        """There must be a file, of neurons that this model has."""
        if not self.options.file:
            raise na.UsageError("scorer 'neurons' has no file; accepted: -o neurons.file=PATH, or run --neurons PATH")
        pairs = ((layer, neuron) for layer, neuron, _ in self.rows)
        na.NeuronSet.of(pairs, self.site).at(site).check(model.n_layers, model.units(site))

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """The file's scores."""
        import torch

        scores = torch.zeros(model.n_layers, model.units(settings.site))
        for layer, neuron, score in self.rows:
            scores[layer, neuron] = score
        return na.Attribution(
            scores=scores,
            example_scores=repeat(scores, "layer neuron -> example layer neuron", example=len(examples)).clone(),
            scorer=self.name,
            options=self.options.model_dump(),
            site=settings.site,
            roles=("good", "bad") if bool((scores < 0).any()) else ("good",),
        )

    def _read(self) -> list[Row]:
        if not self.options.file:
            return []
        rows = _rows(Path(self.options.file))
        for column in ("task", "scorer"):
            rows = self._only(column, rows)
        found: dict[tuple[int, int], float] = {}
        self.site = str(rows[0][1].get("site") or "post")
        for place, (where, row) in enumerate(rows):
            if str(row.get("site") or "post") != self.site:
                raise malformed(where, row.get("site"), f"one site for all, such as {self.site}")
            layer, neuron, score = _row(where, row, 1 - place / (len(rows) + 1))
            if (layer, neuron) in found:
                raise na.DataError(f"{where}: neuron {layer}.{neuron} stands there twice; accepted: each once")
            found[layer, neuron] = score
        return [(*pair, score) for pair, score in found.items()]

    def _only(self, column: str, rows: list[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
        """The rows of one task or scorer."""
        there = sorted({str(row[column]) for _, row in rows if row.get(column)})
        wanted = getattr(self.options, column) or (there[0] if len(there) == 1 else "")
        if there and wanted not in there:
            problem = f"no {column} {wanted!r}" if wanted else f"several {column}s"
            raise na.DataError(
                f"{self.options.file} has {problem}; accepted: -o neurons.{column}= one of {', '.join(there)}"
            )
        if there and column == "task" and not self.options.task:
            warnings.warn(
                f"{self.options.file} holds neurons of the task {wanted!r}; they stand for whatever task is run",
                na.AntagonismWarning,
                stacklevel=2,
            )
        return [(where, row) for where, row in rows if not there or str(row.get(column)) == wanted]


def _rows(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    text = "\n".join(line for _, line in lines(path, ACCEPTED, hub=False, most=TABLE))
    if path.suffix.lower() == ".json":
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise na.DataError(f"{path}: {error}; accepted: {ACCEPTED}") from None
        found = found.get("neurons") if isinstance(found, dict) else found
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise na.DataError(f"{path}: holds no list of rows; accepted: {ACCEPTED}")
        rows = [(f"{path}, row {number}", row) for number, row in enumerate(found, 1)]
    else:
        try:
            rows = [(f"{path}, line {number}", row) for number, row in enumerate(csv.DictReader(text.splitlines()), 2)]
        except csv.Error as error:
            raise na.DataError(f"{path}: {error}; accepted: {ACCEPTED}") from None
    if not rows:
        raise na.DataError(f"{path}: holds no neurons; accepted: {ACCEPTED}")
    return rows


def _row(where: str, row: Mapping[str, Any], by_place: float) -> Row:
    try:
        # as text: 1.7 and true are no indices, though int() takes them
        layer, neuron = int(str(row["layer"])), int(str(row["neuron"]))
        given = row.get("score")
        score = float(given) if given not in (None, "") else None
    except (KeyError, TypeError, ValueError, OverflowError):
        raise malformed(where, dict(row), ACCEPTED) from None
    role = str(row.get("role") or "").lower()
    if role and role not in ROLES:
        raise malformed(where, role, "the role good or bad")
    if layer < 0 or neuron < 0 or (score is not None and not abs(score) < float("inf")):
        raise malformed(where, dict(row), ACCEPTED)
    if not role and score is None:
        raise malformed(where, dict(row), "a role, or a score whose sign tells it")
    if score == 0:
        raise malformed(where, dict(row), "a score other than 0")
    size = by_place if score is None else abs(score)
    return layer, neuron, ROLES[role] * size if role else float(score or 0)


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Neurons]
