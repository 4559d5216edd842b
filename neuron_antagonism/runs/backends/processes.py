"""Several jobs at a time, each in a process of its own on this machine."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from neuron_antagonism.errors import AntagonismWarning, RunError, UsageError
from neuron_antagonism.progress import Progress
from neuron_antagonism.runs.backends import Made
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.runs.work import Done, Order

WORKER = "neuron_antagonism.runs.backends.worker"
MAIN = b"\x8c\x08__main__"
"""How a pickle names the module __main__."""

TRIES = 3
"""An order whose worker dies is given to another one, so many times in all."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    line: Connection
    models: set[str] = field(default_factory=set)
    order: Order | None = None


class Processes:
    """Several jobs at a time, each in a process of its own on this machine.

    Every worker takes as many threads as this process has: results are then the same to the last bit. Where that is
    more than there are cores, OMP_NUM_THREADS says how many threads there should be.

    Args:
        workers: how many jobs at a time.
    """

    def __init__(self, workers: int) -> None:
        """No process is started yet."""
        self._most = workers
        self._workers: list[_Worker] = []

    def run(self, orders: Sequence[Order], shelf: Shelf, made: Made, progress: Progress | None) -> Iterator[Done]:
        """See `Backend.run`."""
        waiting = [sendable(order) for order in orders]
        tries: dict[str, int] = {}
        try:
            while waiting or any(worker.order is not None for worker in self._workers):
                self._hand_out(waiting, shelf)
                yield from self._heard(waiting, tries, made, progress)
        except BaseException:
            # whatever they are doing is no longer wanted
            self.close()
            raise

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers:
            worker.line.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
        self._workers = []

    def _hand_out(self, waiting: list[Order], shelf: Shelf) -> None:
        idle = [worker for worker in self._workers if worker.order is None]
        while waiting and (idle or len(self._workers) < self._most):
            # who has loaded the model goes on with it
            pairs = [(w, o) for w in idle for o in waiting if o.job.model.id in w.models]
            worker, order = pairs[0] if pairs else (idle[0] if idle else self._hired(), waiting[0])
            waiting.remove(order)
            if worker in idle:
                idle.remove(worker)
            worker.order = order
            worker.models = {order.job.model.id}
            try:
                worker.line.send(replace(order, there=needed(order, shelf)))
            except OSError:
                # it is dead: who listens to it is told, and gives the order to another one
                continue

    def _hired(self) -> _Worker:
        """A new worker."""
        import torch

        line, theirs = Pipe()
        # the same package and plugins as here, wherever this process found them
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", WORKER, str(theirs.fileno()), str(torch.get_num_threads())]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        # the worker's alone: when it dies, this end must hear of it
        theirs.close()
        worker = _Worker(process, line)
        self._workers.append(worker)
        return worker

    def _heard(
        self, waiting: list[Order], tries: dict[str, int], made: Made, progress: Progress | None
    ) -> Iterator[Done]:
        """Whatever the workers have to say, at least one thing."""
        for line in wait([worker.line for worker in self._workers if worker.order is not None]):
            worker = next(one for one in self._workers if one.line is line)
            assert worker.order is not None
            try:
                kind, *rest = worker.line.recv()
            except (EOFError, OSError):
                yield from self._lost(worker, waiting, tries)
                continue
            if kind == "made":
                made(*rest)
            elif kind == "progress" and progress is not None:
                progress(*rest)
            elif kind == "warning":
                warnings.warn(rest[0], AntagonismWarning, stacklevel=2)
            elif kind == "done":
                worker.order = None
                yield rest[0]

    def _lost(self, worker: _Worker, waiting: list[Order], tries: dict[str, int]) -> Iterator[Done]:
        """A worker has died: its order goes to another one, with what it had finished."""
        self._workers.remove(worker)
        worker.line.close()
        worker.process.kill()
        code, order = worker.process.wait(), worker.order
        assert order is not None
        name = f"{order.job.model.id}|{order.job.name}|{order.job.seed}"
        tries[name] = tries.get(name, 1) + 1
        if tries[name] <= TRIES:
            waiting.insert(0, order)
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        yield Done(
            order.job,
            RunError(f"{order.job.name}: its worker {how}, {TRIES} times; accepted: more memory, or fewer workers"),
        )


def sendable(order: Order) -> Order:
    """The order for another process.

    Raises:
        UsageError: something in it stays in this process.
    """
    found = apart(order)
    try:
        written = pickle.dumps(found)
    except Exception as error:  # whatever a plugin's object raises
        reason = " ".join(f"{error}".split())
    else:
        if MAIN not in written:
            return found
        reason = "a class of the script itself, __main__"
    raise UsageError(
        f"something that was given can't be sent to another process ({reason}); accepted by other back ends than "
        "'serial': names, and instances of classes that can be imported"
    )


def apart(order: Order) -> Order:
    """The order without what stays in this process; errors as in `Job.apart`."""
    wanted = tuple(replace(one, group=tuple(job.apart() for job in one.group)) for one in order.wanted)
    return replace(order, job=order.job.apart(), wanted=wanted)


def needed(order: Order, shelf: Shelf) -> dict[str, Payload]:
    """What is there already of an order's units, of what they are computed from, and of the other jobs' that matter."""
    units: dict[str, Unit] = {}
    for wanted in order.wanted:
        for unit in wanted.part.units(order.job, wanted.group, shelf):
            units.update({one.key: one for one in (unit, *unit.needs)})
        for job in wanted.group:
            # what a job does never hangs on another one's scores, which are large: only on what was chosen from them
            others = wanted.part.units(job, wanted.group, shelf) if job != order.job else ()
            units.update({one.key: one for one in others if one.kind != "scores"})
    found: dict[str, Any] = {key: shelf.get(unit) for key, unit in units.items()}
    return {key: payload for key, payload in found.items() if payload is not None}
