"""Whose turn it is: a model computes for one thread at a time, in the state that its numbers need."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch

from neuron_antagonism.errors import UsageError

DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices that may have an autocast of their own."""

PATIENCE = 0.05  # seconds between looks at who holds a model


class Turn:
    """A lock that a thread may take again, and that says when another one keeps it open-endedly.

    What this package does takes its turn and gives it back, so another thread waits. An edit that a user has entered
    may stay for as long as the user likes, waiting for that very thread perhaps: then the other one is refused.
    """

    def __init__(self) -> None:
        """Nobody's turn."""
        self._lock = threading.RLock()
        self._kept: list[int] = []

    @contextmanager
    def taken(self, *, kept: bool = False) -> Iterator[None]:
        """Within the context it is this thread's turn.

        Args:
            kept: until the user leaves the context.

        Raises:
            UsageError: another thread keeps it.
        """
        me = threading.get_ident()
        while not self._lock.acquire(timeout=PATIENCE):
            if any(holder != me for holder in self._kept):
                raise UsageError(
                    "the model is being edited by model.edited() in another thread; accepted: its use in that thread, "
                    "or after the edit, or a copy of the model"
                )
        if kept:
            self._kept.append(me)
        try:
            yield
        finally:
            if kept:
                self._kept.remove(me)
            self._lock.release()


@contextmanager
def without_autocast() -> Iterator[None]:
    """Within the context nothing is cast to another precision; also a decorator.

    A backward pass outside of the forward's context would be cast as well.
    """
    with ExitStack() as stack:
        for kind in DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def as_evaluated(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Within the context no module trains (no dropout) and there is no autocast; given back afterwards."""
    training = [module for module in modules if module.training]
    with without_autocast():
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True
