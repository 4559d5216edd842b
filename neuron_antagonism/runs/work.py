"""Carrying out an order: the same code in this process and in any other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from neuron_antagonism.progress import Progress, prefixed, stage
from neuron_antagonism.runs.job import Job, ModelSource
from neuron_antagonism.runs.unit import Payload, Shelf, Unit

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel


class Part(Protocol):
    """What is measured of jobs: plain data that can be sent anywhere."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def check(self, desk: Desk) -> None:
        """Raise where the job's model and examples don't allow what is asked; nothing is computed here.

        Called where something is missing, once what `first` names is there.
        """
        ...

    def first(self, job: Job) -> list[Unit]:
        """What must be there before anything can be checked."""
        ...

    def units(self, job: Job, group: Sequence[Job], shelf: Shelf) -> list[Unit]:
        """Every unit of a job that can be named yet: what depends on others comes once those are on the shelf.

        Args:
            job: the job.
            group: all jobs of its model and seed, in order; what depends on all of them comes once all are known.
            shelf: what is there.
        """
        ...


@dataclass(frozen=True)
class Wanted:
    """A part of a job.

    Args:
        part: what is measured.
        group: all jobs of its model and seed of which the part is measured.
    """

    part: Part
    group: tuple[Job, ...]


@dataclass(frozen=True)
class Order:
    """What a worker is asked for.

    Args:
        job: the job.
        wanted: what is measured of it.
        only: keys of the units that are wanted; None = whatever becomes possible.
        check: whether the parts are to check the job.
        there: payloads by key, for a worker that can't reach the shelf.
    """

    job: Job
    wanted: tuple[Wanted, ...]
    only: frozenset[str] | None = None
    check: bool = False
    there: Mapping[str, Payload] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Done:
    """How an order ended.

    Args:
        job: its job.
        error: why it failed; None = it didn't.
        seconds: spent on each kind of units.
    """

    job: Job
    error: Exception | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


class Workshop:
    """The models that a process holds: those of the job at hand.

    Attributes:
        notes: what the units of a job share in memory from one order to the next, by job.
    """

    def __init__(self) -> None:
        """None yet."""
        self._held: dict[str, HookedModel] = {}
        self.notes: dict[Job, dict[Any, Any]] = {}

    def keep(self, *sources: ModelSource | None) -> None:
        """Let go of every other model, and of what was noted about it."""
        wanted = {source.id for source in sources if source is not None}
        self._held = {name: model for name, model in self._held.items() if name in wanted}
        self.notes = {job: notes for job, notes in self.notes.items() if job.model.id in wanted}

    def holds(self, source: ModelSource) -> bool:
        """Whether the model of a source is loaded."""
        return source.id in self._held

    def model(self, source: ModelSource) -> HookedModel:
        """The model of a source, loaded when it is first asked for."""
        if source.id not in self._held:
            self._held[source.id] = source.load()
        return self._held[source.id]


@dataclass
class Desk:
    """What a worker has for one job.

    Attributes:
        job: the job.
        shelf: what is there, and where what is made is put.
        progress: called with what is being done, how much is done and how much there is.
        notes: what the units of this order share in memory.
    """

    job: Job
    shelf: Shelf
    workshop: Workshop
    progress: Progress | None = None
    notes: dict[Any, Any] = field(default_factory=dict)

    @property
    def kept(self) -> dict[Any, Any]:
        """What the units of this job share in memory from one order to the next."""
        return self.workshop.notes.setdefault(self.job, {})

    def told(self, what: str) -> Progress | None:
        """Progress under a longer name."""
        return prefixed(self.progress, f"{what}, ")

    @property
    def model(self) -> HookedModel:
        """The job's model."""
        if self.workshop.holds(self.job.model):
            return self.workshop.model(self.job.model)
        with stage(self.progress, "model"):
            return self.workshop.model(self.job.model)

    @property
    def reference(self) -> HookedModel:
        """The model whose understanding stratifies."""
        return self.workshop.model(self.job.reference or self.job.model)


def work(order: Order, shelf: Shelf, workshop: Workshop, progress: Progress | None) -> dict[str, float]:
    """Carry out an order.

    Args:
        order: what is asked for.
        shelf: what is there, and where what is made is put.
        workshop: the models of this process.
        progress: called with what is being done, how much is done and how much there is.

    Returns:
        Seconds spent on each kind of units.
    """
    job = order.job
    workshop.keep(job.model, job.reference)
    desk = Desk(job, shelf, workshop, prefixed(progress, f"{job.name}: "))
    with _letters_kept(job):
        return _worked(order, desk)


@contextmanager
def _letters_kept(job: Job) -> Iterator[None]:
    """A model that was given loaded remembers afterwards where it has read letters before."""
    given = [one.loaded for one in (job.model, job.reference) if one is not None and one.loaded is not None]
    before = [(model, model.letters.told()) for model in given]
    try:
        yield
    finally:
        for model, told in before:
            model.letters.recall(told)


def _worked(order: Order, desk: Desk) -> dict[str, float]:
    shelf, seconds = desk.shelf, dict[str, float]()
    while missing := _missing(order, shelf):
        # one recipe for all units of a kind: what they share is computed once
        kinds: dict[str, list[Unit]] = {}
        for unit in missing:
            kinds.setdefault(unit.kind, []).append(unit)
        for kind, units in kinds.items():
            start = time.perf_counter()
            units[0].recipe.make(desk, units)
            seconds[kind] = seconds.get(kind, 0.0) + time.perf_counter() - start
        left = [unit.label for unit in missing if not shelf.has(unit)]
        if left:
            raise RuntimeError(f"nothing was put on the shelf for {left[0]} ({missing[0].kind})")
        if order.only is not None:
            break
    if order.check:
        for one in order.wanted:
            one.part.check(desk)
    return seconds


def _missing(order: Order, shelf: Shelf) -> list[Unit]:
    found = {unit.key: unit for one in order.wanted for unit in one.part.units(order.job, one.group, shelf)}
    wanted = found.values() if order.only is None else [unit for key, unit in found.items() if key in order.only]
    return [unit for unit in wanted if not shelf.has(unit)]
