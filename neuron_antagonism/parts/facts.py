"""What there is to know of a job's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_antagonism.runs.environment import described
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

KIND = "model"


@dataclass(frozen=True)
class Facts:
    """The part, and the recipe, of what is known of a model."""

    name: str = KIND

    def check(self, desk: Desk) -> None:
        """Nothing is asked for."""

    def first(self, job: Job) -> list[Unit]:
        """The model's unit."""
        return [Unit(KIND, job.model.name, key_of(KIND, job.model.id), self)]

    def units(self, job: Job, group: Sequence[Job], shelf: Shelf) -> list[Unit]:
        """See `Part.units`."""
        return self.first(job)

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Describe it."""
        for unit in units:
            desk.shelf.put(unit, Payload(described(desk.model)))

    def of(self, job: Job, shelf: Shelf) -> Mapping[str, Any] | None:
        """What is known of a job's model."""
        payload = shelf.get(self.first(job)[0])
        return None if payload is None else payload.meta
