"""Several jobs at a time on a Ray cluster: one that is there already, or one on this machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neuron_antagonism.errors import AntagonismWarning, RunError, UsageError
from neuron_antagonism.model.source import weight_bytes
from neuron_antagonism.progress import Progress
from neuron_antagonism.runs.backends import Made
from neuron_antagonism.runs.backends.processes import TRIES, apart, needed
from neuron_antagonism.runs.unit import Shelf
from neuron_antagonism.runs.work import Done, Order

ADDRESS = "RAY_ADDRESS"
"""The environment variable that names a cluster; unset: one is started on this machine, and ended afterwards."""
BESIDE = 2**30
"""Bytes of memory that an actor asks for beside a model: libraries, and passes."""


class Actor:
    """A worker on the cluster: it loads a model once, and sends everything that it makes as it comes.

    Args:
        threads: of torch, as many as in the driver: results are then the same to the last bit.
    """

    def __init__(self, threads: int) -> None:
        """No model is loaded yet."""
        import torch

        from neuron_antagonism.runs.work import Workshop

        torch.set_num_threads(threads)
        self._workshop = Workshop()

    def carry_out(self, order: Order) -> Iterator[tuple[Any, ...]]:
        """Messages of a worker, the last one how the order ended."""
        import queue
        import threading

        from neuron_antagonism.runs.backends.worker import carried_out

        sent: queue.Queue[tuple[Any, ...]] = queue.Queue()
        thread = threading.Thread(
            target=lambda: sent.put(("done", carried_out(order, self._workshop, sent.put))), daemon=True
        )
        thread.start()
        kind = ""
        while kind != "done":
            message = sent.get()
            kind = message[0]
            yield message


@dataclass
class _Held:
    actor: Any
    models: set[str] = field(default_factory=set)
    order: Order | None = None
    stream: Any = None


class Ray:
    """Several jobs at a time on a Ray cluster.

    Every actor asks for a GPU where the driver has one, for as many cores as it has threads, and for memory: twice the
    size of a task's models' files and `BESIDE`, where these files are known and as far as a node has it.

    Args:
        workers: how many jobs at a time.

    Raises:
        UsageError: ray is not installed.
    """

    def __init__(self, workers: int) -> None:
        """Nothing is started yet."""
        if importlib.util.find_spec("ray") is None:
            raise UsageError(
                "back end 'ray' needs the package ray, which is not installed; accepted: pip install "
                "'neuron-antagonism[ray]', or --backend processes"
            )
        self._most = workers
        self._held: list[_Held] = []
        self._started = False
        self._memory = 0

    def run(self, orders: Sequence[Order], shelf: Shelf, made: Made, progress: Progress | None) -> Iterator[Done]:
        """See `Backend.run`."""
        import ray

        waiting = [apart(order) for order in orders]
        tries: dict[str, int] = {}
        self._connect()
        # an actor that is idle takes any order
        self._memory = max((memory_of(order) for order in waiting), default=0)
        try:
            while waiting or any(held.order is not None for held in self._held):
                self._hand_out(waiting, shelf)
                busy = {held.stream: held for held in self._held if held.order is not None}
                ready, _ = ray.wait(list(busy), num_returns=1, timeout=5)
                for stream in ready:
                    held = busy[stream]
                    try:
                        kind, *rest = ray.get(next(stream))  # type: ignore[arg-type]
                    except (ray.exceptions.RayError, StopIteration) as error:
                        yield from self._lost(held, waiting, tries, error)
                        continue
                    if kind == "made":
                        made(*rest)
                    elif kind == "progress" and progress is not None:
                        progress(*rest)
                    elif kind == "warning":
                        warnings.warn(rest[0], AntagonismWarning, stacklevel=2)
                    elif kind == "done":
                        held.order = held.stream = None
                        yield rest[0]
        except BaseException:
            # whatever they are doing is no longer wanted
            self.close()
            raise

    def close(self) -> None:
        """End every actor, and the cluster where it was started here."""
        if not self._started:
            return
        import ray

        for held in self._held:
            ray.kill(held.actor)
        self._held = []
        ray.shutdown()
        self._started = False

    def _connect(self) -> None:
        import ray

        if self._started:
            return
        if not ray.is_initialized():
            # the same package and plugins as here, wherever this process found them
            environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
            cores = max(self._most * _threads(), os.cpu_count() or 1)
            # left alone, Ray gives its workers the lowest priority but four: beside any other work they stand still
            here: dict[str, Any] = {"num_cpus": cores, "_system_config": {"worker_niceness": 0}}
            # a cluster that is there already has settings of its own
            here = {} if os.environ.get(ADDRESS) else here
            ray.init(
                runtime_env=environment,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                **here,
            )
        self._started = True

    def _hand_out(self, waiting: list[Order], shelf: Shelf) -> None:
        idle = [held for held in self._held if held.order is None]
        while waiting and (idle or len(self._held) < self._most):
            # who has loaded the model goes on with it
            pairs = [(h, o) for h in idle for o in waiting if o.job.model.id in h.models]
            held, order = pairs[0] if pairs else (idle[0] if idle else self._hired(), waiting[0])
            waiting.remove(order)
            if held in idle:
                idle.remove(held)
            held.order, held.models = order, {order.job.model.id}
            sent = replace(order, there=needed(order, shelf))
            held.stream = held.actor.carry_out.options(num_returns="streaming").remote(sent)

    def _hired(self) -> _Held:
        import ray
        import torch

        # what no node has would be waited for without an end
        nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
        most = max((int(node["Resources"].get("memory", 0)) for node in nodes if node["Alive"]), default=0)
        wanted: dict[str, Any] = {"num_cpus": _threads(), "num_gpus": 1 if torch.cuda.is_available() else 0}
        wanted["memory"] = min(self._memory, most)
        held = _Held(ray.remote(Actor).options(max_restarts=0, **wanted).remote(_threads()))
        self._held.append(held)
        return held

    def _lost(self, held: _Held, waiting: list[Order], tries: dict[str, int], error: BaseException) -> Iterator[Done]:
        """An actor has died: its order goes to another one, with what it had finished."""
        self._held.remove(held)
        order = held.order
        assert order is not None
        name = f"{order.job.model.id}|{order.job.name}|{order.job.seed}"
        tries[name] = tries.get(name, 1) + 1
        if tries[name] <= TRIES:
            waiting.insert(0, order)
            return
        reason = " ".join(f"{error}".split())[:200]
        yield Done(order.job, RunError(f"{order.job.name}: its actor died {TRIES} times: {reason}"))


def memory_of(order: Order) -> int:
    """The bytes that an order's models need; 0 where that is not known."""
    models = {model.id: model for model in (order.job.model, order.job.reference) if model is not None}
    sizes = [weight_bytes(model.name, model.loading.get("revision")) for model in models.values()]
    return 0 if None in sizes else 2 * sum(filter(None, sizes)) + BESIDE


def _threads() -> int:
    import torch

    return torch.get_num_threads()
