"""A directory that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuron_antagonism.errors import ExportError, UsageError
from neuron_antagonism.files import there, unwritable


def check_free(out: Path) -> None:
    """Check that a directory can be made there; creates nothing.

    Raises:
        UsageError: something is there, or it can't be written.
    """
    try:
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            raise UsageError(f"{out} is a file or a link; accepted: a new or empty directory")
        if out.is_dir() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty; accepted: a new or empty directory")
        # stat, not exists(): that hides why a path can't be reached
        nearest = next(path for path in out.absolute().parents if there(path))
    except OSError as error:
        raise unwritable(out, error.strerror) from None
    if not nearest.is_dir():
        raise unwritable(out, f"{nearest} is not a directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise unwritable(out, "no permission")


@contextmanager
def placed(out: Path) -> Iterator[Path]:
    """An empty directory to fill: it becomes `out` at the end, and is gone after an exception.

    Raises:
        UsageError: it can't be made.
        ExportError: it can't be filled, such as on a full disk.
    """
    # the full path: a relative one would mean another place if somebody changes the working directory
    out = out.absolute()
    made = [path for path in out.parents if not path.exists()]
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
        except OSError as error:
            raise unwritable(out, error.strerror) from None
        try:
            yield partial
            # safetensors makes files that only their owner can read
            for path in partial.rglob("*"):
                if path.is_file():
                    path.chmod(partial.stat().st_mode & 0o666)
            partial.replace(out)
        except Exception as error:
            if not (isinstance(error, OSError) or type(error).__name__ == "SafetensorError"):
                raise
            # safetensors wraps the system's error in a class of its own, with the reason in its text
            reason = getattr(error, "strerror", None) or str(error)
            raise ExportError(
                f"can't write to {out}: {reason}; nothing is left there; accepted: a directory with enough space"
            ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for path in made:
            # somebody else may have put something there meanwhile
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file by its path inside the directory."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
