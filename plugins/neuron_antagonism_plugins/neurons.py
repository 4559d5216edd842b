"""NEURONS: somebody's published neurons instead of an attribution."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

from einops import repeat
from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._files import malformed

ACCEPTED = "CSV or JSON rows of layer, neuron, and of role (good or bad) or a signed score"
ROLES = {"good": 1.0, "bad": -1.0}
SMALLEST, LARGEST = 1e-37, 1e38
"""Sizes of scores, which are kept in single precision."""

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
        rows = na.neuron_rows(self.options.file)
        if not rows:
            raise na.DataError(f"{self.options.file}: holds no neurons; accepted: {ACCEPTED}")
        for column in ("task", "scorer"):
            rows = self._only(column, rows)
        found: dict[tuple[int, int], float] = {}
        self.site = rows[0].site
        for number, row in enumerate(rows):
            if row.site != self.site:
                raise malformed(row.place, row.site, f"one site for all, such as {self.site}")
            if (row.layer, row.neuron) in found:
                raise na.DataError(f"{row.place}: neuron {row.layer}.{row.neuron} stands there twice; accepted: once")
            found[row.layer, row.neuron] = _score(row, 1 - number / (len(rows) + 1))
        return [(*pair, score) for pair, score in found.items()]

    def _only(self, column: str, rows: list[na.NeuronRow]) -> list[na.NeuronRow]:
        """The rows of one task or scorer."""
        there = sorted({str(row.columns[column]) for row in rows if row.columns.get(column)})
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
        return [row for row in rows if not there or str(row.columns.get(column)) == wanted]


def _score(row: na.NeuronRow, by_place: float) -> float:
    """The role gives the sign, the score the size; without a score the place in the file does."""
    role = str(row.columns.get("role") or "").lower()
    if role and role not in ROLES:
        raise malformed(row.place, role, "the role good or bad")
    if row.score is not None and row.score and not SMALLEST <= abs(row.score) <= LARGEST:
        raise malformed(row.place, row.score, f"{ACCEPTED}, of a size from {SMALLEST} to {LARGEST}")
    if not role and row.score is None:
        raise malformed(row.place, dict(row.columns), "a role, or a score whose sign tells it")
    if row.score == 0:
        raise malformed(row.place, dict(row.columns), "a score other than 0")
    size = by_place if row.score is None else abs(row.score)
    return ROLES[role] * size if role else float(row.score or 0)


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Neurons]
