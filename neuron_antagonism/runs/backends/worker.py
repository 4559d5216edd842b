"""A worker of the back end `processes`: `python -m` with the number of the pipe to the driver, and of threads."""

from __future__ import annotations

import signal
import sys
import time
import warnings
from multiprocessing.connection import Connection
from typing import Any

from neuron_antagonism.allocator import keep_memory
from neuron_antagonism.errors import AntagonismError, RunError
from neuron_antagonism.plugin.foreign import one_line
from neuron_antagonism.runs.unit import Memory, Payload, Unit
from neuron_antagonism.runs.work import Done, Order, Workshop, work

EVERY = 0.2
"""Seconds between two reports of progress on one thing."""


class Sending(Memory):
    """A shelf that sends what is put there to the driver.

    Args:
        there: what the order came with.
        send: sends a message.
    """

    def __init__(self, there: Any, send: Any) -> None:
        """Nothing is sent yet."""
        super().__init__(there)
        self._send = send

    def put(self, unit: Unit, payload: Payload) -> None:
        """Keep it here for what comes after, and send it."""
        super().put(unit, payload)
        self._send(("made", unit, payload))


def carried_out(order: Order, workshop: Workshop, send: Any) -> Done:
    """How an order ended; everything that it makes is sent as it comes."""
    last: dict[str, float] = {}

    def progress(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - last.get(what, -EVERY) >= EVERY:
            last[what] = now
            send(("progress", what, done, total))

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            done = Done(order.job, None, work(order, Sending(order.there, send), workshop, progress))
        except AntagonismError as error:
            done = Done(order.job, type(error)(str(error)))
        except Exception as error:  # a worker lives on: what one job does must not end the others
            done = Done(order.job, RunError(one_line(error)))
    for warning in told:
        if issubclass(warning.category, UserWarning):
            send(("warning", str(warning.message)))
    return done


def main() -> None:
    """Carry out orders until the driver is gone."""
    # the driver decides what an interrupt means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory()
    driver: Connection = Connection(int(sys.argv[1]))
    import torch

    torch.set_num_threads(int(sys.argv[2]))
    workshop = Workshop()
    while True:
        try:
            order: Order | None = driver.recv()
        except EOFError:
            return
        if order is None:
            return
        driver.send(("done", carried_out(order, workshop, driver.send)))


if __name__ == "__main__":
    main()
