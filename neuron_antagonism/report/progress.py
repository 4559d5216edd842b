"""Progress for people: bars on a terminal, plain lines in a pipe; always on stderr."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from neuron_antagonism.progress import note

EVERY = 10.0
"""Seconds of work after which a pipe gets a line, whatever there is to say."""


BRIEF = 1.0
"""Seconds below which a stage of a single thing, such as loading a model, is not told of in a pipe."""


@contextmanager
def reporter(quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A callback for `progress=`, or None when quiet; bars are finished on leaving."""
    if quiet:
        yield None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        lines = Lines()
        try:
            yield lines
        finally:
            lines.close()
        return
    columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        yield Bars(bars)


class Bars:
    """Shows (what, done, total) calls as bars; a stage is done when `done` reaches `total`."""

    def __init__(self, bars: Progress) -> None:
        """No bar yet."""
        self._bars = bars
        self._ids: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """One report."""
        if what not in self._ids:
            self._ids[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._ids[what], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._ids.pop(what))


@dataclass
class _Stage:
    start: float
    done: int
    total: int


class Lines:
    """Shows (what, done, total) calls as lines: one for each finished stage, and one at least every ten seconds.

    A stage of a single thing that took less than a second has none.

    Args:
        clock: seconds, for tests.
        say: prints a line.
        every: seconds after which there is a line, whatever there is to say.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, say: Callable[[str], None] = note, every: float = EVERY
    ) -> None:
        """Nothing is being done yet."""
        self._clock, self._say, self._every = clock, say, every
        # what a stage's first report speaks of began when the last one ended
        self._heard = self._said = clock()
        self._stages: dict[str, _Stage] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, what: str, done: int, total: int) -> None:
        """One report."""
        with self._lock:
            now = self._clock()
            stage = self._stages.setdefault(what, _Stage(self._heard, done, total))
            stage.done, stage.total, self._heard = done, total, now
            if done >= total:
                del self._stages[what]
                if total == 1 and now - stage.start < BRIEF:
                    return
                self._tell(f"{what}: {total} in {now - stage.start:.1f} s", now)
            elif now - self._said >= self._every:
                self._tell(self._going_on(now), now)

    def tick(self) -> None:
        """Say something where nothing has been said for a while."""
        with self._lock:
            now = self._clock()
            if now - self._said >= self._every:
                self._tell(self._going_on(now), now)

    def close(self) -> None:
        """No line comes after this."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(self._every / 4):
            self.tick()

    def _tell(self, line: str, now: float) -> None:
        if not self._closed.is_set():
            self._said = now
            self._say(line)

    def _going_on(self, now: float) -> str:
        if not self._stages:
            return f"working, {now - self._heard:.0f} s since the last report"
        what, stage = next(reversed(self._stages.items()))
        spent = now - stage.start
        left = f", about {spent * (stage.total - stage.done) / stage.done:.0f} s left" if stage.done else ""
        return f"{what}: {stage.done} of {stage.total}, {spent:.0f} s so far{left}"
