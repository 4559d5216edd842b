"""Progress as callers ask for it: a function, a bar, or nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from neuron_antagonism.errors import UsageError
from neuron_antagonism.progress import Progress


def told(progress: Progress | bool | None) -> AbstractContextManager[Progress | None]:
    """The function to call; bars are finished on leaving.

    Args:
        progress: a function, whether a bar is shown on stderr, or None for nothing.

    Raises:
        UsageError: anything else.
    """
    if progress is None or callable(progress):
        return nullcontext(progress)
    if not isinstance(progress, bool):
        raise UsageError(f"progress is {progress!r:.80}; accepted: a function of three arguments, True, False, or None")
    from neuron_antagonism.report.progress import reporter

    return reporter(quiet=not progress)
