"""The same scores edited at several budgets (NeuronLLM, Table 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_antagonism.parts.of_tasks import TaskRows
from neuron_antagonism.parts.specs import Budgets
from neuron_antagonism.parts.sweeping import SETS, swept_rows
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk


@dataclass(frozen=True)
class BudgetRows(TaskRows):
    """The part `budgets`: a row for each task, budget, protocol, scorer and direction.

    The depth of selection is the budget; scores are those of the largest one, so that the threshold z does not change
    with it. A budget that the model has no neurons for is left out. `share` is the budget's share of all neurons.
    """

    kind = "budgets"
    spec: Budgets

    def depth(self, n_units: int) -> int:
        """The largest budget that there are neurons for."""
        return max(self._budgets(n_units), default=n_units)

    def _budgets(self, n_units: int) -> list[int]:
        return [budget for budget in self.spec.budgets if budget <= n_units]

    def further(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Iterator[Unit]:
        """Every budget's neurons, and the answers under their edits."""
        for budget in self._budgets(self.n_units(job, shelf)):
            sweeping = self.sweeping(job, shelf, budget)
            for scorer in self.spec.scorers:
                yield from sweeping.units(job, shelf, self.neurons_of(job, shelf, scorer, budget), SETS)

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task."""
        job, shelf = desk.job, desk.shelf
        split, n_units = self.sizes.at(desk).split, self.n_units(job, shelf)
        rows = []
        for budget in self._budgets(n_units):
            sweeping = self.sweeping(job, shelf, budget)
            neurons = [self.neurons_of(job, shelf, scorer, budget) for scorer in self.spec.scorers]
            sweeps = [sweep for unit in neurons for sweep in sweeping.sweeps(job, shelf, unit)]
            about = {"task": job.name, "budget": budget, "share": budget / n_units}
            rows += [about | row for row in swept_rows(sweeps, self.spec.scorers[0], split, job.seed)]
        left = [str(budget) for budget in self.spec.budgets if budget > n_units]
        notes = [f"budgets {', '.join(left)} are left out: the model has {n_units} neurons"] if left else []
        return Payload({"rows": rows, "notes": [*split.report.notes, *notes]})
