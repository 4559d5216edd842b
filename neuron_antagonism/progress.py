"""What work reports while it goes on; imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def prefixed(progress: Progress | None, prefix: str) -> Progress | None:
    """The same reports under a longer name; None stays None."""
    return None if progress is None else lambda what, done, total: progress(f"{prefix}{what}", done, total)


@contextmanager
def stage(progress: Progress | None, what: str) -> Iterator[None]:
    """Reports one thing that is done as a whole."""
    if progress is not None:
        progress(what, 0, 1)
    yield
    if progress is not None:
        progress(what, 1, 1)


def note(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)
