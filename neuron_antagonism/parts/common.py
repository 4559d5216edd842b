"""Neurons that several tasks share, edited on each of them (NeuronLLM, Table 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_antagonism.method.shared import common
from neuron_antagonism.neurons import check_count
from neuron_antagonism.parts.of_tasks import GroupRows
from neuron_antagonism.parts.specs import Common
from neuron_antagonism.parts.sweeping import Sweeping
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.units.neurons import Candidate

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk


@dataclass(frozen=True)
class CommonRows(GroupRows):
    """The part `common`: a row for each task, protocol, scorer and direction.

    A neuron is common where it is among the `count` good neurons of at least two tasks, or among the bad ones; lists
    are deepened until there are `count` of a role. A row holds what a row of the part `effects` does of the edit, and
    how many common neurons there were of each role, and how deep one had to go.
    """

    kind = "common"
    spec: Common

    def depth(self, n_units: int) -> int:
        """As many as are wanted, or edited."""
        return min(max(self.spec.count, self.spec.budget), n_units)

    def check(self, desk: Desk) -> None:
        """Neurons enough, and scorers that fit."""
        check_count(self.spec.budget, desk.model.n_layers * desk.model.units(self.classes.site), "budget")
        super().check(desk)

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task."""
        split = self.sizes.at(desk).split
        if len(group) < 2:
            return Payload({"rows": [], "notes": ["of one task alone there are no common neurons"]})
        rows = []
        for scorer in self.spec.scorers:
            ranked = self.rankings(desk, group, scorer)
            good, bad = (
                common(tasks, self.spec.count, self.spec.count) if len(tasks) > 1 else None for tasks in ranked.values()
            )
            assert good is not None
            candidate = Candidate(scorer, 0, good.neurons, None if bad is None else bad.neurons)
            sweeping = Sweeping(desk, split, self.classes.site, self.name)
            about = {
                "common_good": len(good.neurons),
                "common_bad": None if bad is None else len(bad.neurons),
                "depth_good": good.depth,
                "depth_bad": None if bad is None else bad.depth,
            }
            found = sweeping.rows(sweeping.sweeps([candidate], self.spec.budget), scorer)
            rows += [{"task": desk.job.name} | row | about for row in found]
        return Payload({"rows": rows, "notes": split.report.notes})
