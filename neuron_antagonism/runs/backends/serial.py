"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neuron_antagonism.errors import AntagonismError
from neuron_antagonism.progress import Progress
from neuron_antagonism.runs.backends import Made
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.runs.work import Done, Order, Workshop, work


class Serial:
    """One job after the other, in this process."""

    def __init__(self) -> None:
        """No model is loaded yet."""
        self.workshop = Workshop()

    def run(self, orders: Sequence[Order], shelf: Shelf, made: Made, progress: Progress | None) -> Iterator[Done]:
        """See `Backend.run`; what nobody foresaw ends the run here, with its traceback."""
        # the model that is held first: loading it again may take minutes
        for order in sorted(orders, key=lambda order: not self.workshop.holds(order.job.model)):
            try:
                seconds = work(order, _Telling(shelf, made), self.workshop, progress)
            except AntagonismError as error:
                yield Done(order.job, error)
            else:
                yield Done(order.job, None, seconds)

    def close(self) -> None:
        """Let the models go."""
        self.workshop.keep()


class _Telling:
    """A shelf whose owner hears of everything that is put there."""

    def __init__(self, shelf: Shelf, made: Made) -> None:
        self._shelf, self._made = shelf, made

    def get(self, unit: Unit) -> Payload | None:
        return self._shelf.get(unit)

    def has(self, unit: Unit) -> bool:
        return self._shelf.has(unit)

    def put(self, unit: Unit, payload: Payload) -> None:
        self._made(unit, payload)
