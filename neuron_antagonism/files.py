"""Paths as people write them; files that appear whole or not at all, and saying where that can't be."""

from __future__ import annotations

import os
import re
from pathlib import Path

from neuron_antagonism.errors import UsageError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, then move it there; nothing half-written stays.

    Raises:
        OSError: it can't be written; `path` is as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # a full disk names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def file_name(label: str) -> str:
    """A label as part of a file's name: a name may be anybody's, and must not lead to another folder."""
    plain = re.sub(r"[^\w.-]+", "_", label).lstrip(".")
    # file systems take 255 bytes, of which keys and endings need a part
    return plain.encode()[:150].decode(errors="ignore")


def expanded(path: str | Path) -> Path:
    """A path whose leading `~` is a user's folder, as a shell would have it.

    Raises:
        UsageError: there is no such user, or it is no path.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{path}: no folder of a user of that name is known; accepted: a path, or ./~… for a name that begins so"
        ) from None
    except TypeError:
        raise UsageError(f"{path!r:.80} is no path; accepted: a text or pathlib.Path") from None


def homed(name: str) -> str:
    """What may be a path or a name of something else: only one that begins with `~` is expanded."""
    return str(expanded(name)) if name.startswith("~") else name


def there(path: Path) -> bool:
    """Whether a path exists.

    Raises:
        OSError: it can't be reached, which `exists` would hide.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def unwritable(out: Path, reason: str | None) -> UsageError:
    """The error for a directory that can't be written."""
    return UsageError(f"can't write to {out}: {reason or 'unknown reason'}; accepted: a directory that can be written")
