"""Parts whose figures are rows: a job's are one unit, or one for each slice that is measured by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from neuron_antagonism.parts.specs import Classes, PartSpec
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import identity, key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk


@dataclass(frozen=True)
class Rows(ABC):
    """A part that measures rows of figures, one unit for each job and slice.

    Args:
        spec: what is measured.
        classes: how examples are drawn by class, and where units are.
        text: plain texts for perplexity; () = the texts of the evaluation examples.
    """

    kind: ClassVar[str]
    of_group: ClassVar[bool] = False
    """Whether a job's rows depend on the other jobs of its model and seed."""

    aside: ClassVar[frozenset[str]] = frozenset({"name", "tasks", "tables", "figures"})
    """Fields of the spec that a job's rows do not depend on."""

    spec: PartSpec
    classes: Classes
    text: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        return self.spec.name

    def ingredients(self) -> list[Any]:
        """What determines the rows beside model, task, seed and the units that are needed: plain JSON values."""
        plugins = [identity(plugin) for plugin in self.spec.plugins()]
        plugins += [identity(target) for target in self.spec.targets()]
        return [self.spec.model_dump(mode="json", exclude=set(self.aside)), plugins]

    def slices(self) -> Sequence[Self]:
        """Parts, of this kind, of whose rows these consist, so that one more computes its own alone: unless a part says
        so there is one, itself."""
        return [self]

    def merged(self, payloads: Sequence[Payload]) -> Payload:
        """What the slices found, as one: their rows, and each note once."""
        rows = [row for payload in payloads for row in payload.meta["rows"]]
        notes = [note for payload in payloads for note in payload.meta["notes"]]
        return Payload({"rows": rows, "notes": list(dict.fromkeys(notes))})

    @abstractmethod
    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of the desk's job, as `rows` of a payload; beside them `notes` for the reader.

        Args:
            desk: what there is to work with.
            group: all jobs of the same model and seed.
        """

    def check(self, desk: Desk) -> None:  # noqa: B027  # most parts have nothing to check
        """Nothing is to be checked, unless a part says so."""

    def first(self, job: Job) -> list[Unit]:
        """Nothing must be there before, unless a part says so."""
        return []

    def needs(self, job: Job, group: Sequence[Job], shelf: Shelf) -> list[Unit]:
        """What must be there before rows are measured, beside `first` of every job of the group."""
        return []

    def units(self, job: Job, group: Sequence[Job], shelf: Shelf) -> list[Unit]:
        """See `Part.units`."""
        return list(dict.fromkeys(unit for one in self.slices() for unit in one._units(job, group, shelf)))

    def unit(self, job: Job, group: Sequence[Job], needs: Sequence[Unit]) -> Unit:
        """The unit of a job's rows."""
        what = [job.model.id, job.task.id, job.seed, self.ingredients(), [need.key for need in needs]]
        label = f"{job.name}.{self.name}"
        return Unit(self.kind, label, key_of(self.kind, *what), Measuring(self, tuple(group)), tuple(needs))

    def _units(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Iterator[Unit]:
        own = self.first(job)
        yield from own
        every = [unit for one in (group if self.of_group else (job,)) for unit in self.first(one)]
        if not all(shelf.has(unit) for unit in every):
            return
        needs = self.needs(job, group, shelf)
        yield from needs
        if all(shelf.has(unit) for unit in needs):
            yield self.unit(job, group, [*every, *needs])

    def found(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Payload | None:
        """A job's rows; None where they are not there."""
        payloads = []
        for one in self.slices():
            unit = next((unit for unit in one._units(job, group, shelf) if unit.kind == self.kind), None)
            payload = None if unit is None else shelf.get(unit)
            if payload is None:
                return None
            payloads.append(payload)
        return payloads[0] if len(payloads) == 1 else self.merged(payloads)

    def narrowed(self, **fields: Any) -> Self:
        """The same part with other fields of its spec."""
        return replace(self, spec=self.spec.model_copy(update=fields))

    @classmethod
    def joined(cls, found: Found) -> dict[str, dict[Job, list[dict[str, Any]]]]:
        """The rows of all parts of this kind, by part and job; here they may be set against each other.

        Args:
            found: by part's name, what there is of each job.
        """
        return {
            part: {job: [dict(row) for row in payload.meta["rows"]] for job, payload in own.items()}
            for part, own in found.items()
        }

    def finish(self, found: Iterable[tuple[Mapping[str, Any], Payload]], out: Path) -> None:  # noqa: B027  # most don't
        """Write what stands beside the rows, such as plots; nothing, unless a part says so.

        Args:
            found: what there is of each job, and what tells the job from others: its task, its model, its seed.
            out: the suite's directory.
        """


Found = Mapping[str, Mapping[Job, Payload]]
"""By part's name and job, what there is."""


@dataclass(frozen=True)
class Measuring:
    """Measures the rows of a part.

    Args:
        part: the part.
        group: all jobs of the same model and seed.
    """

    part: Rows
    group: tuple[Job, ...]

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """One part after the other; what they share is kept on the desk."""
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Measuring)
            desk.shelf.put(unit, recipe.part.measure(desk, recipe.group))
