"""What work reports while it goes on; imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def prefixed(progress: Progress | None, prefix: str) -> Progress | None:
    """The same reports under a longer name; None stays None."""
    return None if progress is None else lambda what, done, total: progress(f"{prefix}{what}", done, total)


def note(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)
