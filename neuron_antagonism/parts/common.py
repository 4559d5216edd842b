"""Neurons that several tasks share, edited on each of them (NeuronLLM, Table 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_antagonism.neurons import check_count
from neuron_antagonism.parts.of_tasks import GroupRows
from neuron_antagonism.parts.sharing import Sharing
from neuron_antagonism.parts.specs import Common
from neuron_antagonism.parts.sweeping import held, swept_rows
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit

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

    def further(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Iterator[Unit]:
        """Common neurons, and the answers under their edits."""
        sweeping = self.sweeping(job, shelf, self.spec.budget)
        for scorer in self.spec.scorers if len(group) > 1 else ():
            yield from sweeping.units(job, shelf, self._shared(group, scorer).unit(shelf), ("select", "evaluate"))

    def _shared(self, group: Sequence[Job], scorer: str) -> Sharing:
        return Sharing(self, tuple(group), scorer, self.spec.count, self.spec.budget)

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task."""
        job, shelf, split = desk.job, desk.shelf, self.sizes.at(desk).split
        if len(group) < 2:
            return Payload({"rows": [], "notes": ["of one task alone there are no common neurons"]})
        sweeping, rows = self.sweeping(job, shelf, self.spec.budget), []
        for scorer in self.spec.scorers:
            shared = self._shared(group, scorer).unit(shelf)
            chosen, told = sweeping.first(shelf, shared), held(shelf, shared).meta
            about = {
                "common_good": len(chosen.good),
                "common_bad": None if chosen.bad is None else len(chosen.bad),
                "depth_good": told["depth_good"],
                "depth_bad": told["depth_bad"],
            }
            found = swept_rows(sweeping.sweeps(job, shelf, shared), scorer, split, job.seed)
            rows += [{"task": job.name} | row | about for row in found]
        return Payload({"rows": rows, "notes": split.report.notes})
