"""Neurons that several tasks share, and those that are one task's own, as units that edits are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_antagonism.method.shared import common, specific
from neuron_antagonism.parts.of_tasks import GroupRows
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.units.neurons import Candidate, packed

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

KIND = "shared"


@dataclass(frozen=True)
class Sharing:
    """Chooses neurons by the rankings of all tasks of a group; a recipe.

    Args:
        part: whose scores are ranked.
        group: the tasks.
        scorer: whose scores.
        count: neurons of each role.
        budget: neurons that an edit of them touches.
        task: whose own neurons; "" = those that tasks share.
    """

    part: GroupRows
    group: tuple[Job, ...]
    scorer: str
    count: int
    budget: int
    task: str = ""

    def unit(self, shelf: Shelf) -> Unit:
        """The unit of them, the same whichever task asks; every task's scores are there."""
        scores = tuple(self.part.scores(one, shelf, self.scorer) for one in self.group)
        key = key_of(KIND, [one.key for one in scores], self.count, self.budget, self.task)
        label = f"{self.task}.{self.scorer}.specific" if self.task else f"{self.scorer}.common"
        return Unit(KIND, label, key, self, scores)

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Choose; of common neurons the unit says how deep one had to go."""
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Sharing)
            desk.shelf.put(unit, recipe._chosen(desk))

    def _chosen(self, desk: Desk) -> Payload:
        ranked = self.part.rankings(desk, self.group, self.scorer)
        if self.task:
            sets = {role: specific(tasks, self.count)[self.task] if tasks else None for role, tasks in ranked.items()}
            about = {}
        else:
            shared = {role: common(tasks, self.count, self.count) if tasks else None for role, tasks in ranked.items()}
            sets = {role: None if one is None else one.neurons for role, one in shared.items()}
            about = {f"depth_{role}": None if one is None else one.depth for role, one in shared.items()}
        good, bad = sets["good"], sets["bad"]
        assert good is not None
        if bad is not None:
            # what helps two tasks and hinders two others can't be strengthened and weakened at once
            good, bad = good - bad, bad - good
        found = packed([Candidate(self.scorer, 0, good, bad)])
        return Payload(dict(found.meta) | about, found.arrays)
