"""From jobs to a shelf that holds every unit of them: what is missing is computed, what is there is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from neuron_antagonism.progress import Progress
from neuron_antagonism.runs.backends import Backend, Made
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.runs.work import Order, Part, Wanted


@dataclass(frozen=True)
class Work:
    """Jobs, and what is measured of each.

    Args:
        parts: by job, in the order in which they are to be carried out.
    """

    parts: Mapping[Job, tuple[Part, ...]]

    def wanted(self, job: Job, without: Iterable[Job] = ()) -> tuple[Wanted, ...]:
        """The parts of a job, each with all jobs of its model and seed that have the part, but for some."""
        left_out = set(without)
        beside = [
            other
            for other in self.parts
            if other not in left_out and (other.model, other.seed) == (job.model, job.seed)
        ]
        return tuple(
            Wanted(part, tuple(other for other in beside if part in self.parts[other])) for part in self.parts[job]
        )

    def units(self, job: Job, shelf: Shelf, without: Iterable[Job] = ()) -> list[Unit]:
        """Every unit of a job that can be named yet, once each."""
        wanted = self.wanted(job, without)
        return list({unit.key: unit for one in wanted for unit in one.part.units(job, one.group, shelf)}.values())

    def missing(self, job: Job, shelf: Shelf, without: Iterable[Job] = ()) -> list[Unit]:
        """Of these, what is not there."""
        return [unit for unit in self.units(job, shelf, without) if not shelf.has(unit)]


@dataclass
class Carried:
    """How work ended.

    Attributes:
        made: units that were computed, in the order in which they came.
        failed: by job, why it could not be finished.
        seconds: by job, what was spent on each kind of units.
    """

    made: list[Unit] = field(default_factory=list)
    failed: dict[Job, Exception] = field(default_factory=dict)
    seconds: dict[Job, dict[str, float]] = field(default_factory=dict)


def prepare(
    work: Work, shelf: Shelf, backend: Backend, *, strict: bool, made: Made, progress: Progress | None = None
) -> Carried:
    """Compute what comes first of every job of which anything is missing, and check what is asked for.

    Args:
        work: jobs and parts.
        shelf: what is there.
        backend: where it is computed.
        strict: whether a job that fails ends everything.
        made: called with every unit as soon as it is there.
        progress: called with what is being done, how much is done and how much there is.

    Raises:
        AntagonismError: the first job's that failed, where that ends everything.
    """
    orders = []
    for job, parts in work.parts.items():
        if work.missing(job, shelf):
            first = frozenset(unit.key for part in parts for unit in part.first(job))
            orders.append(Order(job, work.wanted(job), only=first, check=True))
    return _run(orders, shelf, backend, made, progress, strict=strict)


def carry_out(
    work: Work,
    shelf: Shelf,
    backend: Backend,
    *,
    failed: Mapping[Job, Exception],
    made: Made,
    settled: Callable[[Job], None] | None = None,
    progress: Progress | None = None,
) -> Carried:
    """Compute what is missing of every job.

    Args:
        work: jobs and parts.
        shelf: what is there.
        backend: where it is computed.
        failed: jobs to leave out.
        made: called with every unit as soon as it is there.
        settled: called with every job that has come as far as it can without the others, in their order.
        progress: called with what is being done, how much is done and how much there is.
    """
    whole = Carried(failed=dict(failed))
    while True:
        orders = [
            Order(job, work.wanted(job, whole.failed))
            for job in work.parts
            if job not in whole.failed and work.missing(job, shelf, whole.failed)
        ]
        if not orders:
            return whole
        found = _run(orders, shelf, backend, made, progress, strict=False, settled=settled)
        if not found.made and not found.failed:
            raise RuntimeError("units are missing and none was computed")
        whole.made += found.made
        whole.failed |= found.failed
        for job, seconds in found.seconds.items():
            before = whole.seconds.setdefault(job, {})
            before |= {kind: before.get(kind, 0.0) + spent for kind, spent in seconds.items()}


def _run(
    orders: Sequence[Order],
    shelf: Shelf,
    backend: Backend,
    made: Made,
    progress: Progress | None,
    *,
    strict: bool,
    settled: Callable[[Job], None] | None = None,
) -> Carried:
    found = Carried()

    def hear(unit: Unit, payload: Payload) -> None:
        made(unit, payload)
        found.made.append(unit)

    for done in backend.run(orders, shelf, hear, progress):
        if done.error is not None:
            if strict:
                raise done.error
            found.failed[done.job] = done.error
        else:
            found.seconds[done.job] = dict(done.seconds)
            if settled is not None:
                settled(done.job)
    return found
