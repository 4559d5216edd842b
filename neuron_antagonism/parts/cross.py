"""Each task's neurons edited on every task (NeuronLLM, Figures 2 and 4, Table 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_antagonism.method.edits import MAKERS, Edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.method.shared import specific
from neuron_antagonism.metrics.compare import compare
from neuron_antagonism.metrics.outcomes import MODES
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.natural import natural_levels
from neuron_antagonism.parts.of_tasks import GroupRows
from neuron_antagonism.parts.specs import Cross
from neuron_antagonism.parts.sweeping import Sweeping
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.units.neurons import Candidate

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

FIGURES = (
    *("acc_before", "acc_after", "acc_difference", "acc_difference_interval", "rac", "rac_interval", "rcc"),
    *("rcc_interval", "population_acc", "population_acc_interval", "failed"),
)


@dataclass(frozen=True)
class _Case:
    """An edit of one task's neurons: which kind of them, in which direction."""

    scorer: str
    kind: str
    mode: str
    edit: Edit


@dataclass(frozen=True)
class CrossRows(GroupRows):
    """The part `cross`: a row for each task whose neurons are edited, each task that is asked, kind and direction.

    `neurons` says which: `all`, the strongest of the task; `specific`, those left when what two tasks share is taken
    out and the next in the ranking take their place. The ratio is the one that the task whose neurons they are chooses
    on its own selection examples, or, where the spec counts neurons, what it says; then only enhancers are made, and
    of the tasks that it names. `share` is that of the edited neurons among all.
    """

    kind = "cross"
    spec: Cross

    def depth(self, n_units: int) -> int:
        """As many as are edited."""
        return min(
            max((count for pair in self.spec.counts.values() for count in pair), default=self.spec.budget), n_units
        )

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task's neurons."""
        split = self.sizes.at(desk).split
        if len(group) < 2:
            return Payload({"rows": [], "notes": ["of one task alone there is nothing to cross"]})
        cases = [case for scorer in self.spec.scorers for case in self._cases(desk, group, scorer)]
        rows: list[dict[str, Any]] = []
        n_units = desk.model.n_layers * desk.model.units(self.classes.site)
        # who is counted chooses rows and columns; what is common, all tasks decide
        for other in group if cases else ():
            if self.spec.counts and other.name not in self.spec.counts:
                continue
            there = self.split_of(desk, other)
            told = desk.told(f"{self.name}, {other.name}")
            edits = [None, *(case.edit for case in cases)]
            before, *after = evaluate_many(desk.model, there.evaluate, edits, seed=desk.job.seed, progress=told)
            base, seed = before.outcomes, desk.job.seed
            above = natural_levels(there, base, base.resamples(seed), seed)["above_chance"]
            for case, answers in zip(cases, after, strict=True):
                read = there.natural.counts
                change = compare(before, answers, case.mode, seed=desk.job.seed, read=read).to_json()
                n_good, n_bad = case.edit.n_good or 0, case.edit.n_bad or 0
                about: dict[str, Any] = {"task": desk.job.name, "asked": other.name, "scorer": case.scorer}
                about |= {"neurons": case.kind, "above_chance": above}
                about |= {"mode": case.mode, "n_good": n_good, "n_bad": n_bad, "share": (n_good + n_bad) / n_units}
                rows.append(about | {name: change[name] for name in FIGURES})
        return Payload({"rows": rows, "notes": split.report.notes})

    def _cases(self, desk: Desk, group: Sequence[Job], scorer: str) -> Iterator[_Case]:
        task, counts = desk.job.name, self.spec.counts
        if counts and task not in counts:
            return
        ranked = self.rankings(desk, group, scorer)
        for kind in ("all", "specific"):
            if counts:
                n_good, n_bad = counts[task]
                candidate = self._chosen(ranked, task, scorer, kind, max(counts[task]))
                total = n_good + n_bad
                how: dict[str, Any] = {"budget": total, "ratio": n_good / total, "site": self.classes.site}
                yield _Case(scorer, kind, "enhance", MAKERS["enhance"](candidate.good, candidate.bad, **how))
                continue
            candidate = self._chosen(ranked, task, scorer, kind, self.spec.budget)
            sweeping = Sweeping(desk, self.sizes.at(desk).split, self.classes.site, f"{self.name}, {kind}")
            chosen = sweeping.choose(candidate, self.spec.budget)
            for mode in MODES:
                yield _Case(scorer, kind, mode, sweeping.edit(candidate, mode, chosen[mode], self.spec.budget))

    def _chosen(
        self, ranked: Mapping[str, Mapping[str, NeuronSet]], task: str, scorer: str, kind: str, count: int
    ) -> Candidate:
        sets = {
            role: (specific(tasks, count)[task] if kind == "specific" else tasks[task].top(count)) if tasks else None
            for role, tasks in ranked.items()
        }
        assert sets["good"] is not None
        return Candidate(scorer, 0, sets["good"], sets["bad"])
