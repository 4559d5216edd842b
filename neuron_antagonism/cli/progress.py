"""Progress for people: bars on a terminal, a plain line per finished stage in a pipe; always on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from neuron_antagonism.cli.common import note


@contextmanager
def reporter(quiet: bool) -> Iterator[Reporter | None]:
    """A callback for `progress=`, or None when quiet; bars are finished on leaving."""
    if quiet:
        yield None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Reporter(None)
        return
    columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        yield Reporter(bars)


class Reporter:
    """Shows (what, done, total) calls; a stage is done when `done` reaches `total`."""

    def __init__(self, bars: Progress | None) -> None:
        """Bars, or None for plain lines."""
        self._bars = bars
        self._started: dict[str, float] = {}
        self._ids: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """One report."""
        start = self._started.setdefault(what, time.monotonic())
        if self._bars is None:
            if done >= total:
                note(f"{what}: {total} in {time.monotonic() - start:.1f} s")
                del self._started[what]
            return
        if what not in self._ids:
            self._ids[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._ids[what], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._ids.pop(what))
            del self._started[what]
