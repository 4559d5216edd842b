"""One run at a time in a directory: whoever comes second is told so, and changes nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuron_antagonism.errors import UsageError
from neuron_antagonism.files import there, unwritable
from neuron_antagonism.runs.plan import check_out

LOCK = ".lock"
ATTEMPTS = 5
PATIENCE = 0.2
"""Seconds to wait for a lock: another run may be about to take its file away."""


@contextmanager
def claimed(out: Path, *, resume: bool | None) -> Iterator[None]:
    """Within the context the directory belongs to this run; what was made for that alone is gone afterwards.

    The lock is the operating system's: it ends with the process, however that ends.

    Args:
        out: the directory; made where it is not there.
        resume: see `check_out`.

    Raises:
        UsageError: another run is writing there, or what `check_out` refuses; nothing has been created then.
    """
    from filelock import FileLock

    try:
        locked = there(out / LOCK)
        if not locked:
            # most refusals need no lock, and so leave no trace of one
            check_out(out, resume=resume)
        # the full path: somebody may change the working directory before it is released
        out_here = out.absolute()
        made = [path for path in (out_here, *out_here.parents) if not there(path)]
    except OSError as error:
        raise unwritable(out, error.strerror) from None
    lock = FileLock(out_here / LOCK)
    try:
        _acquire(lock, out_here, out)
        try:
            # again, now that nobody else can be writing a manifest
            check_out(out, resume=resume)
            _sign(out_here / LOCK)
            yield
        finally:
            # while it is held: afterwards the file may be another run's
            with contextlib.suppress(OSError):
                (out_here / LOCK).unlink()
            lock.release()
    finally:
        for path in made:
            # one that something was put into stays
            with contextlib.suppress(OSError):
                path.rmdir()


def _acquire(lock: object, folder: Path, shown: Path) -> None:
    from filelock import FileLock, Timeout

    assert isinstance(lock, FileLock)
    for attempt in range(ATTEMPTS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=PATIENCE, poll_interval=PATIENCE / 10)
            return
        except Timeout:
            raise UsageError(
                f"{shown} is being written by another run{_holder(folder / LOCK)}; accepted: another directory"
            ) from None
        except OSError as error:
            # a run that was refused takes the directory away that it had made, perhaps just now
            if not isinstance(error, FileNotFoundError) or attempt == ATTEMPTS - 1:
                raise unwritable(shown, error.strerror) from None


def _sign(file: Path) -> None:
    """Say who holds the lock; whoever is refused reads it."""
    with contextlib.suppress(OSError):
        file.write_text(f"{os.getpid()}\n", encoding="ascii")


def _holder(file: Path) -> str:
    try:
        number = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" (process {number})" if number.isdecimal() else ""
