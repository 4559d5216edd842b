"""Where jobs are carried out: in this process, in others on this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from neuron_antagonism.progress import Progress
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.runs.work import Done, Order

Made = Callable[[Unit, Payload], None]
"""Called in the driver with every unit as soon as it is there; it puts it on the shelf."""


class Backend(Protocol):
    """Carries out orders; nothing but `made` writes."""

    def run(self, orders: Sequence[Order], shelf: Shelf, made: Made, progress: Progress | None) -> Iterator[Done]:
        """Carry out orders in any order, and say of each how it ended, as soon as it has.

        Args:
            orders: what is asked for; one for a job.
            shelf: what is there.
            made: called with every unit as soon as it is there.
            progress: called with what is being done, how much is done and how much there is.
        """
        ...

    def close(self) -> None:
        """Let everything go that was held for the next call of `run`."""
        ...
