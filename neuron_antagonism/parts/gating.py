"""Good and bad neurons edited as a whole, against edited only within the ranges where they help and hinder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from neuron_antagonism.errors import DataError
from neuron_antagonism.method.edits import MAKERS, Edit
from neuron_antagonism.method.evaluate import Evaluation, evaluate_many
from neuron_antagonism.method.perplexity import perplexity
from neuron_antagonism.metrics.compare import compare
from neuron_antagonism.neurons import check_count
from neuron_antagonism.parts.of_tasks import TaskRows
from neuron_antagonism.parts.specs import Gating
from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.units.neurons import Candidate

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk


@dataclass(frozen=True)
class _Case:
    """One edit: of whose neurons, in which direction, gated at which τ (None = whole neurons); or why there is none."""

    scorer: str
    mode: str
    tau: float | None
    edit: Edit | None
    reason: str = ""


@dataclass(frozen=True)
class GatingRows(TaskRows):
    """The part `gating`: one row for each task, scorer, direction and way of editing, at one budget and ratio.

    A bad neuron's range is learned from wrongly answered identification questions, a good one's from rightly answered
    ones; edits act at all positions. Beside RAC and RCC with 95 % intervals stand the side effects: what the edit does
    to the accuracy on the other tasks (mean change, in points of 0 to 1), and to the perplexity of plain text (a
    ratio). Where no range can be learned, because no identification question was answered wrongly for instance, a row
    holds the reason alone.
    """

    kind = "gating"
    of_group = True
    spec: Gating

    def ingredients(self) -> list[Any]:
        """The texts too."""
        return [*super().ingredients(), self.text]

    def slices(self) -> list[Self]:
        """One a scorer."""
        return [self.narrowed(scorers=(name,)) for name in self.spec.scorers]

    def depth(self, n_units: int) -> int:
        """The edits' budget."""
        return self.spec.budget

    def check(self, desk: Desk) -> None:
        """Neurons enough, and scorers that fit."""
        check_count(self.spec.budget, desk.model.n_layers * desk.model.units(self.classes.site))
        super().check(desk)

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task; its edits are tried on the other tasks of the group too."""
        split = self.sizes.at(desk).split
        chosen = [self.candidate(desk, scorer, self.spec.budget) for scorer in self.spec.scorers]
        cases = [case for one in chosen for case in self._cases(desk, split, one)]
        edits = [case.edit for case in cases if case.edit is not None]
        answers = {one.name: self._answers(desk, one, edits) for one in group}
        texts = list(self.text) or [
            example.item.text
            for one in group
            for example in self.split_of(desk, one).evaluate
            if example.item is not None
        ]
        plain, numbers = perplexity(desk.model, texts), count(1)
        rows = []
        for case in cases:
            row = {"task": desk.job.name, **self._about(case)}
            if case.edit is not None:
                number = next(numbers)
                row |= _effects(case, {task: (own[0], own[number]) for task, own in answers.items()}, desk.job)
                row["perplexity_ratio"] = perplexity(desk.model, texts, case.edit) / plain
            rows.append(row)
        return Payload({"rows": rows, "notes": split.report.notes})

    def _answers(self, desk: Desk, job: Job, edits: Sequence[Edit]) -> list[Evaluation]:
        """Unedited, then under each edit, what the model answers to a job's questions."""
        told = desk.told(f"{self.name}, {job.name}")
        with self.reading(desk, job) as split:
            return evaluate_many(desk.model, split.evaluate, [None, *edits], seed=desk.job.seed, progress=told)

    def _about(self, case: _Case) -> dict[str, Any]:
        return {
            "scorer": case.scorer,
            "mode": case.mode,
            "edit": "whole" if case.tau is None else "range",
            "tau": case.tau,
            "budget": self.spec.budget,
            "reason": case.reason,
        }

    def _cases(self, desk: Desk, split: Split, chosen: Candidate) -> list[_Case]:
        spec, cases = self.spec, []
        good, bad = chosen.good, chosen.bad
        ratio = spec.ratio if bad is not None else 1.0
        for mode, maker in MAKERS.items():
            make = partial(maker, good, bad, budget=spec.budget, ratio=ratio, positions="all")
            cases.append(_Case(chosen.scorer, mode, None, make()))
            excite, silence = (registry().make(Intervention, name) for name in (spec.strengthen, spec.weaken))
            try:
                gated = make(strengthen=excite, weaken=silence).fit(desk.model, split.identify)
            except DataError as error:
                cases += [_Case(chosen.scorer, mode, tau, None, str(error)) for tau in spec.taus]
                continue
            cases += [_Case(chosen.scorer, mode, tau, _of_width(gated, tau)) for tau in spec.taus]
        return cases


def _of_width(gated: Edit, tau: float) -> Edit:
    """The same ranges, narrower or wider: what was learned stays."""
    parts = (replace(part, intervention=part.intervention.with_options(tau=tau)) for part in gated.parts)
    return replace(gated, parts=tuple(parts))


def _effects(case: _Case, answers: Mapping[str, tuple[Evaluation, Evaluation]], job: Job) -> dict[str, Any]:
    """What an edit does, from each task's answers without and with it."""
    assert case.edit is not None
    before, after = answers[job.name]
    change = compare(before, after, case.mode, seed=job.seed).to_json()
    others = [new.acc - old.acc for name, (old, new) in answers.items() if name != job.name]
    return {
        "good": case.edit.n_good,
        "bad": case.edit.n_bad,
        "accuracy_before": before.acc,
        "accuracy": after.acc,
        **{name: change[name] for name in ("rac", "rac_interval", "rcc", "rcc_interval", "failed")},
        "other_tasks": float(np.mean(others)) if others else None,
    }
