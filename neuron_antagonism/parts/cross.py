"""Each task's neurons edited on every task (NeuronLLM, Figures 2 and 4, Table 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import UsageError
from neuron_antagonism.method.edits import MAKERS, Edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.method.shared import specific
from neuron_antagonism.metrics.effects import effect
from neuron_antagonism.metrics.outcomes import MODES, Outcomes
from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.matching import MATCHED, at_one_ratio, beyond, generator, matched, mean_abs, touched
from neuron_antagonism.parts.natural import natural_levels
from neuron_antagonism.parts.of_tasks import GroupRows
from neuron_antagonism.parts.sharing import Sharing
from neuron_antagonism.parts.specs import Cross
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit, held
from neuron_antagonism.units.answers import Asked, Asking
from neuron_antagonism.units.neurons import ROLES, Candidate

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

FIGURES = (
    *("acc_before", "acc_after", "acc_difference", "acc_difference_interval", "rac", "rac_interval", "rcc"),
    *("rcc_interval", "population_acc", "population_acc_interval", "failed"),
)


@dataclass(frozen=True)
class _Case:
    """An edit of one task's neurons: which kind of them, in which direction, and the same of matched neurons."""

    kind: str
    mode: str
    neurons: Candidate
    edit: Edit
    matched: tuple[Edit, ...] = ()

    @property
    def scorer(self) -> str:
        return self.neurons.scorer


@dataclass(frozen=True)
class CrossRows(GroupRows):
    """The part `cross`: a row for each task whose neurons are edited, each task that is asked, kind and direction.

    `neurons` says which: `all`, the strongest of the task; `specific`, those left when what two tasks share is taken
    out and the next in the ranking take their place. The ratio is the one that the task whose neurons they are chooses
    on its own selection examples, or, where the spec counts neurons, what it says; then only enhancers are made, and
    of the tasks that it names. `share` is that of the edited neurons among all. `matched_…` is what the same edit of
    random neurons of the same layers and activity does, `beyond_…` how much further the task's own get.
    """

    kind = "cross"
    spec: Cross

    def depth(self, n_units: int) -> int:
        """As many as are edited."""
        return min(
            max((count for pair in self.spec.counts.values() for count in pair), default=self.spec.budget), n_units
        )

    def alone(self, job: Job, shelf: Shelf) -> list[Unit]:
        """The scores, and the answers without an edit."""
        unedited = Asking(self.sizes, "evaluate").unit(job, shelf)
        assert unedited is not None
        return [*super().alone(job, shelf), unedited]

    def further(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Iterator[Unit]:
        """Neurons whose ratio is chosen, and the answers that choose it."""
        if self.spec.counts or len(group) < 2:
            return
        sweeping = self.sweeping(job, shelf, self.spec.budget)
        for scorer in self.spec.scorers:
            for neurons in self._neurons(job, group, shelf, scorer).values():
                yield from sweeping.units(job, shelf, neurons, ("select",))

    def _neurons(self, job: Job, group: Sequence[Job], shelf: Shelf, scorer: str) -> dict[str, Unit]:
        budget = self.spec.budget
        own = Sharing(self, tuple(group), scorer, budget, budget, task=job.name)
        return {"all": self.neurons_of(job, shelf, scorer, budget), "specific": own.unit(shelf)}

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task's neurons."""
        split = self.sizes.at(desk).split
        if len(group) < 2:
            return Payload({"rows": [], "notes": ["of one task alone there is nothing to cross"]})
        notes = list(split.report.notes)
        cases = [
            self._beside_matched(desk, case, notes)
            for scorer in self.spec.scorers
            for case in self._cases(desk, group, scorer)
        ]
        rows: list[dict[str, Any]] = []
        n_units = desk.model.n_layers * desk.model.units(self.classes.site)
        # who is counted chooses rows and columns; what is common, all tasks decide
        for other in group if cases else ():
            if self.spec.counts and other.name not in self.spec.counts:
                continue
            told = desk.told(f"{self.name}, {other.name}")
            edits, seed = [edit for case in cases for edit in (case.edit, *case.matched)], desk.job.seed
            with self.reading(desk, other) as there:
                after = iter(evaluate_many(desk.model, there.evaluate, edits, seed=seed, progress=told))
            unedited = Asking(self.sizes, "evaluate").unit(other, desk.shelf)
            base = Asked(held(desk.shelf, unedited)).baseline
            resamples, read = base.resamples(seed), there.natural.counts
            above = natural_levels(there, base, resamples, seed)["above_chance"]
            for case in cases:
                own, *others = (next(after).outcomes for _ in (case.edit, *case.matched))
                change = effect(base, own, case.mode, resamples, read).to_json()
                n_good, n_bad = case.edit.n_good or 0, case.edit.n_bad or 0
                about: dict[str, Any] = {"task": desk.job.name, "asked": other.name, "scorer": case.scorer}
                about |= {"neurons": case.kind, "above_chance": above}
                about |= {"mode": case.mode, "n_good": n_good, "n_bad": n_bad, "share": (n_good + n_bad) / n_units}
                about |= {name: change[name] for name in FIGURES}
                control = _beyond(case, base, own, others, seed, read) if self.spec.matched else {}
                rows.append(about | control)
        return Payload({"rows": rows, "notes": notes})

    def _beside_matched(self, desk: Desk, case: _Case, notes: list[str]) -> _Case:
        """A case with the same edit of random neurons of the same layers and activity; a note where there are none."""
        n_good, total = case.edit.n_good or 0, (case.edit.n_good or 0) + (case.edit.n_bad or 0)
        if not self.spec.matched or not total:
            return case
        how: dict[str, Any] = {"budget": total, "ratio": n_good / total}
        active = mean_abs(desk, self.sizes.at(desk).split.identify, self.classes.site)
        try:
            found = matched(touched(case.neurons, case.edit), active, self.spec.matched, generator(desk.job))
        except UsageError as error:
            notes.append(f"{case.scorer}, {case.kind}: no matched neurons: {error}")
            return case
        edits = (MAKERS[case.mode](one.good, one.bad, site=self.classes.site, **how) for one in found)
        return replace(case, matched=tuple(edits))

    def _cases(self, desk: Desk, group: Sequence[Job], scorer: str) -> Iterator[_Case]:
        task, counts = desk.job.name, self.spec.counts
        if counts and task not in counts:
            return
        if not counts:
            sweeping = self.sweeping(desk.job, desk.shelf, self.spec.budget)
            for kind, neurons in self._neurons(desk.job, group, desk.shelf, scorer).items():
                chosen = sweeping.choose(desk.job, desk.shelf, neurons)
                for mode in MODES:
                    edit = sweeping.edit(desk.shelf, neurons, mode, chosen[mode])
                    yield _Case(kind, mode, sweeping.first(desk.shelf, neurons), edit)
            return
        n_good, n_bad = counts[task]
        total = n_good + n_bad
        how: dict[str, Any] = {"budget": total, "ratio": n_good / total, "site": self.classes.site}
        ranked = self.rankings(desk, group, scorer)
        for kind in ("all", "specific"):
            good, bad = (self._counted(ranked[role], task, kind, max(counts[task])) for role in ROLES)
            assert good is not None
            edit = MAKERS["enhance"](good, bad, **how)
            yield _Case(kind, "enhance", Candidate(scorer, 0, good, bad), edit)

    def _counted(self, tasks: Mapping[str, NeuronSet], task: str, kind: str, count: int) -> NeuronSet | None:
        if not tasks:
            return None
        return specific(tasks, count)[task] if kind == "specific" else tasks[task].top(count)


def _beyond(
    case: _Case, base: Outcomes, own: Outcomes, others: Sequence[Outcomes], seed: int, read: tuple[int, int] | None
) -> dict[str, Any]:
    """What a row holds of matched neurons, from the outcomes of an edit and of the same of each draw of them."""
    one = at_one_ratio(case.scorer, 0, case.mode, base, own)
    control = [at_one_ratio(MATCHED, draw, case.mode, base, found) for draw, found in enumerate(others)]
    return beyond([one], control, SHOWN, seed, read)[case.mode]
