"""Neuron sets edited at every ratio of good and bad ones, as rows under every protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuron_antagonism.method.edits import MAKERS, Edit
from neuron_antagonism.method.evaluate import Evaluation, evaluate_many
from neuron_antagonism.metrics.outcomes import MODES
from neuron_antagonism.metrics.protocols import SHOWN, Cell, cells, cells_at
from neuron_antagonism.metrics.sweeps import GOOD_ONLY, N_RATIOS, Sweep, Swept, best_ratio
from neuron_antagonism.parts.natural import natural_levels
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.units.neurons import Candidate

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

EFFECT = (
    *("scorer", "mode", "protocol", "ratio", "n_good", "n_bad", "acc_before", "acc_after", "com_before", "com_after"),
    *("rac", "rac_interval", "rcc", "rcc_interval", "population_acc", "population_acc_interval", "failed"),
)
"""What a row holds of a cell."""

ALONE = {"good": GOOD_ONLY, "bad": 0}
"""Protocols of a fixed ratio, in tenths: one kind of neurons by itself."""

Place = tuple[int, str, int]
"""Which of the neuron sets, mode, and ratio in tenths."""


@dataclass(frozen=True)
class Sweeping:
    """Sweeps the ratio of neuron sets on a task's selection and evaluation examples.

    Args:
        desk: what there is to work with.
        split: the task's examples.
        site: where the neurons are.
        what: what is being done, for the reader.
    """

    desk: Desk
    split: Split
    site: str
    what: str

    def sweeps(self, candidates: Sequence[Candidate], budget: int) -> list[Sweep]:
        """The sweep of each neuron set, at one budget."""
        edits = self._edits(candidates, budget)
        sides = [self._answers(name, edits) for name in ("select", "evaluate")]
        found = []
        for number, candidate in enumerate(candidates):
            select, evaluate = (self._swept(*side, number) for side in sides)
            available = np.zeros((len(MODES), N_RATIOS), dtype=bool)
            available[:, list(candidate.tenths())] = True
            used = np.zeros((len(MODES), N_RATIOS, 2), dtype=np.int64)
            for (one, mode, tenths), edit in edits.items():
                if one == number:
                    used[MODES.index(mode), tenths] = edit.n_good or 0, edit.n_bad or 0
            task = self.desk.job.name
            found.append(Sweep(candidate.scorer, evaluate, select, available, used, candidate.draw, task, available))
        return found

    def rows(self, sweeps: Sequence[Sweep], method: str) -> list[dict[str, Any]]:
        """The rows of a task under every protocol, and of good and bad neurons by themselves.

        Args:
            sweeps: the task's.
            method: the scorer that the protocol `paper` lets choose its ratio.
        """
        resamples = sweeps[0].evaluation.baseline.resamples(self.desk.job.seed)
        read = self.split.natural.counts
        rows = effect_rows(sweeps, ("paper", "matched", SHOWN), method=method, resamples=resamples, read=read)
        natural = natural_levels(self.split, sweeps[0].evaluation.baseline, resamples, self.desk.job.seed)
        return [row | {"above_chance": natural["above_chance"]} for row in rows]

    def choose(self, candidate: Candidate, budget: int) -> dict[str, int]:
        """By mode the ratio, in tenths, that the selection examples choose."""
        swept = self._swept(*self._answers("select", self._edits([candidate], budget)), 0)
        return {mode: best_ratio(swept, mode, candidate.tenths()) for mode in MODES}

    def edit(self, candidate: Candidate, mode: str, tenths: int, budget: int) -> Edit:
        """A candidate's edit at one ratio."""
        how: dict[str, Any] = {"budget": budget, "ratio": tenths / 10, "site": self.site}
        return MAKERS[mode](candidate.good, candidate.bad, **how)

    def _edits(self, candidates: Sequence[Candidate], budget: int) -> dict[Place, Edit]:
        return {
            (number, mode, tenths): self.edit(candidate, mode, tenths, budget)
            for number, candidate in enumerate(candidates)
            for mode in MODES
            for tenths in candidate.tenths()
        }

    def _answers(self, name: str, edits: Mapping[Place, Edit]) -> tuple[Evaluation, dict[Place, Evaluation]]:
        told = self.desk.told(f"{self.what}, {name}")
        examples = getattr(self.split, name)
        base, *found = evaluate_many(
            self.desk.model, examples, [None, *edits.values()], seed=self.desk.job.seed, progress=told
        )
        return base, dict(zip(edits, found, strict=True))

    def _swept(self, base: Evaluation, answers: Mapping[Place, Evaluation], candidate: int) -> Swept:
        shape = (len(MODES), N_RATIOS, base.outcomes.n_examples)
        right, surprise = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.float32)
        for (number, mode, tenths), answer in answers.items():
            if number == candidate:
                outcomes = answer.outcomes
                right[MODES.index(mode), tenths] = outcomes.right
                surprise[MODES.index(mode), tenths] = outcomes.cross_entropy
        return Swept(right, surprise, base.outcomes)


def effect_rows(sweeps: Sequence[Sweep], protocols: Sequence[str], **how: Any) -> list[dict[str, Any]]:
    """A row for each protocol, scorer and mode; with every ratio evaluated also for good and bad neurons alone.

    Args:
        sweeps: one task's.
        protocols: which.
        how: further arguments of `cells`.
    """
    found: list[Cell] = [one for protocol in protocols for one in cells(sweeps, protocol, **how)]
    rows = [row_of(one, one.protocol) for one in found]
    if set(protocols) - {SHOWN}:
        for name, tenths in ALONE.items():
            fixed = {key: how.get(key) for key in ("resamples", "read")}
            rows += [row_of(one, name) for one in cells_at(sweeps, tenths, **fixed)]
    return rows


def row_of(cell: Cell, protocol: str) -> dict[str, Any]:
    """What a row holds of a cell."""
    told = cell.to_json()
    return {name: protocol if name == "protocol" else told[name] for name in EFFECT}
