"""How many integration steps a job's scorers need, where that is left to be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_antagonism.method.attribute import settled_steps
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.scorers import passes_of_its_own
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import identity, key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.settings import Settings
from neuron_antagonism.units.examples import Sizes

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

KIND = "steps"
AUTO = "auto"


@dataclass(frozen=True)
class Settling:
    """Finds the number of steps.

    Args:
        sizes: the examples.
        scorers: all that will score them.
        settings: how they will; its steps are "auto".
    """

    sizes: Sizes
    scorers: tuple[Scorer, ...]
    settings: Settings

    def unit(self, job: Job, shelf: Shelf) -> Unit | None:
        """What a job needs; None while its examples are not known."""
        prepared = self.sizes.of(job, shelf)
        if prepared is None:
            return None
        integrating = [identity(scorer) for scorer in self.scorers if not passes_of_its_own(scorer)]
        how = [self.settings.quadrature, prepared.engine["name"], self.settings.site]
        key = key_of(KIND, job.model.id, prepared.set_hash("identify"), integrating, how)
        return Unit(KIND, job.name, key, self, needs=(self.sizes.unit(job),))

    def of(self, jobs: Sequence[Job], shelf: Shelf) -> int | str | None:
        """The one number for all jobs; None while it is not known; "auto" where no scorer needs one."""
        if self.settings.steps != AUTO:
            return self.settings.steps
        units = [self.unit(job, shelf) for job in jobs]
        payloads = [None if unit is None else shelf.get(unit) for unit in units]
        found = [payload.meta["steps"] for payload in payloads if payload is not None]
        if len(found) < len(jobs):
            return None
        return max((steps for steps in found if steps != AUTO), default=AUTO)

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Double the steps until every completeness error is within the tolerance."""
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Settling)
            examples = recipe.sizes.at(desk).split.identify
            steps = settled_steps(desk.model, [examples], recipe.scorers, recipe.settings)
            desk.shelf.put(unit, Payload({"steps": steps}))
