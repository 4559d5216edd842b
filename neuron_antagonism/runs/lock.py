"""One run at a time in a directory: whoever comes second is told so, and changes nothing."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuron_antagonism.errors import UsageError
from neuron_antagonism.files import there, unwritable

LOCK = ".lock"
ATTEMPTS = 5
PATIENCE = 0.2
"""Seconds to wait for a lock: another run may be about to take its file away."""


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Within the context the directory belongs to this run; what was made for that alone is gone afterwards.

    The lock is the operating system's: it ends with the process, however that ends, so that a file that stays behind
    holds nobody up.

    Args:
        out: the directory; made where it is not there.

    Raises:
        UsageError: another run is writing there, or it can't be written; nothing has been created then.
    """
    from filelock import FileLock

    check_out(out)
    # the full path: somebody may change the working directory before it is released
    out_here = out.absolute()
    made = [path for path in (out_here, *out_here.parents) if not there(path)]
    lock = FileLock(out_here / LOCK)
    try:
        _acquire(lock, out_here, out)
        try:
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


def check_out(out: Path) -> None:
    """Check that a directory can be written; creates nothing.

    Raises:
        UsageError: it can't.
    """
    try:
        # stat, not exists(): that hides why a path can't be reached
        nearest = next(path for path in (out.absolute(), *out.absolute().parents) if there(path))
    except OSError as error:
        raise unwritable(out, error.strerror) from None
    if not nearest.is_dir():
        raise unwritable(out, f"{nearest} is not a directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise unwritable(out, "no permission")


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
        file.write_text(f"{os.getpid()} {platform.node()}\n", encoding="utf-8")


def _holder(file: Path) -> str:
    try:
        number, _, host = file.read_text(encoding="utf-8").strip().partition(" ")
    except (OSError, UnicodeDecodeError):
        return ""
    where = f" on {host}" if host and host != platform.node() else ""
    return f" (process {number}{where})" if number.isdecimal() else ""
