"""Neurons that several tasks share, edited on each of them (NeuronLLM, Table 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.neurons import check_count
from neuron_antagonism.parts.matching import Matching, beyond
from neuron_antagonism.parts.of_tasks import GroupRows
from neuron_antagonism.parts.sharing import Sharing
from neuron_antagonism.parts.specs import Common
from neuron_antagonism.parts.sweeping import SETS, swept_rows
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit, held

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk


@dataclass(frozen=True)
class CommonRows(GroupRows):
    """The part `common`: a row for each task, protocol, scorer and direction.

    A neuron is common where it is among the `count` good neurons of at least two tasks, or among the bad ones; lists
    are deepened until there are `count` of a role; what is common in both roles is left out of both. A row holds what a
    row of the part `effects` does of the edit, how many common neurons there were of each role, and how deep one had to
    go. `matched_…` is what random neurons of the same layers and activity do in their place under the protocols
    `matched` and `held-out`, `beyond_…` how much further the common ones get.
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
            shared = self._shared(group, scorer).unit(shelf)
            yield from sweeping.units(job, shelf, shared, SETS)
            if self.spec.matched and shelf.has(shared):
                yield from sweeping.units(job, shelf, self._matched(job, shelf, shared), SETS)

    def _shared(self, group: Sequence[Job], scorer: str) -> Sharing:
        return Sharing(self, tuple(group), scorer, self.spec.count, self.spec.budget)

    def _matched(self, job: Job, shelf: Shelf, shared: Unit) -> Unit:
        return Matching(self.sizes, self.classes.site, self.spec.matched).unit(job, shelf, shared)

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task."""
        job, shelf, split = desk.job, desk.shelf, self.sizes.at(desk).split
        if len(group) < 2:
            return Payload({"rows": [], "notes": ["of one task alone there are no common neurons"]})
        sweeping = self.sweeping(job, shelf, self.spec.budget)
        rows: list[dict[str, Any]] = []
        notes = list(split.report.notes)
        for scorer in self.spec.scorers:
            shared = self._shared(group, scorer).unit(shelf)
            chosen, told = sweeping.first(shelf, shared), held(shelf, shared).meta
            about = {
                "common_good": len(chosen.good),
                "common_bad": None if chosen.bad is None else len(chosen.bad),
                "depth_good": told["depth_good"],
                "depth_bad": told["depth_bad"],
            }
            own, control = sweeping.sweeps(job, shelf, shared), []
            if self.spec.matched:
                unit = self._matched(job, shelf, shared)
                control = sweeping.sweeps(job, shelf, unit)
                reason = held(shelf, unit).meta.get("reason")
                notes += [f"{scorer}: no matched neurons: {reason}"] if reason else []
            beside = {
                protocol: beyond(own, control, protocol, job.seed, split.natural.counts)
                for protocol in ("matched", SHOWN)
            }
            for row in swept_rows(own, scorer, split, job.seed):
                compared = beside.get(row["protocol"], {}).get(row["mode"], {})
                rows.append({"task": job.name} | row | about | compared)
        return Payload({"rows": rows, "notes": notes})
