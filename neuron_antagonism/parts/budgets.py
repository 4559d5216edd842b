"""The same scores edited at several budgets (NeuronLLM, Table 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_antagonism.parts.of_tasks import TaskRows
from neuron_antagonism.parts.specs import Budgets
from neuron_antagonism.parts.sweeping import Sweeping
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload

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

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task."""
        split = self.sizes.at(desk).split
        n_units = desk.model.n_layers * desk.model.units(self.classes.site)
        rows = []
        for budget in self._budgets(n_units):
            candidates = [self.candidate(desk, scorer, budget) for scorer in self.spec.scorers]
            sweeping = Sweeping(desk, split, self.classes.site, f"{self.name} {budget}")
            about = {"task": desk.job.name, "budget": budget, "share": budget / n_units}
            found = sweeping.rows(sweeping.sweeps(candidates, budget), self.spec.scorers[0])
            rows += [about | row for row in found]
        left = [str(budget) for budget in self.spec.budgets if budget > n_units]
        notes = [f"budgets {', '.join(left)} are left out: the model has {n_units} neurons"] if left else []
        return Payload({"rows": rows, "notes": [*split.report.notes, *notes]})
