"""Paths as people write them; files that appear whole or not at all, and that are read only up to a size."""

from __future__ import annotations

import os
import re
from pathlib import Path

from neuron_antagonism.errors import DataError, UsageError

CACHE = "NEURON_ANTAGONISM_CACHE"
"""The environment variable that names a cache where none is given."""

WRITTEN = 2**18
"""Bytes of a document that somebody writes by hand (a run file, a suite, an adapter's config), at most."""
TABLE = 2**26
"""Bytes of a list of neurons or a plain text, at most."""
COMPUTED = 2**30
"""Bytes of a JSON document that a run wrote, at most."""


def read_text(path: Path, accepted: str, most: int = WRITTEN) -> str:
    """The text of a UTF-8 file, with `\\n` as ends of lines and without a byte order mark.

    Args:
        path: the file.
        accepted: what is read, for the errors.
        most: bytes; what is larger is refused before it is read, or after as many bytes of what has no size (a pipe).

    Raises:
        DataError: it can't be read, is larger, or holds something else than UTF-8.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = b"" if size > most else file.read(most + 1)
    except (OSError, ValueError) as error:  # of a path with a null byte a ValueError
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{path}: {reason}; accepted: {accepted}") from None
    if max(size, len(data)) > most:
        raise DataError(f"{path}: larger than {most // 2**10:,} KiB; accepted: {accepted}, up to that size")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: bytes that are not UTF-8; accepted: {accepted}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def inside(folder: Path, *names: str) -> Path:
    """The path of folders and a file below a folder, by names that may come from somebody else's JSON.

    Raises:
        DataError: a name that could lead out of the folder.
    """
    for name in names:
        if set(name) & set("/\\:\0") or not name.strip(". "):
            raise DataError(f"{name!r:.80} can't be the name of a file; accepted: a name without / \\ :")
    return folder.joinpath(*names)


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
