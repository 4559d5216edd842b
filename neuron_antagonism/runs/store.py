"""Units on disk. The only place that reads and writes them; nothing half-written, damaged or foreign is ever used."""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from neuron_antagonism import tensors
from neuron_antagonism.errors import AntagonismWarning, DataError, UsageError
from neuron_antagonism.files import CACHE, expanded, there, unwritable
from neuron_antagonism.runs.unit import Memory, Payload, Unit

SMALL = 2**20
"""Payloads of at most so many bytes are kept in memory once read."""


@dataclass
class Store:
    """A directory of units, and perhaps a cache that other directories share.

    What is found in the cache is put into the directory too, which stays whole by itself.

    Args:
        path: the directory; made when something is first put there.
        cache: the shared directory, or None.
        looks: whether it only looks: nothing is made, moved or put anywhere.
    """

    path: Path
    cache: Path | None = None
    looks: bool = False
    _placed: list[Path] = field(default_factory=list, repr=False)
    _read: dict[str, Payload] = field(default_factory=dict, repr=False)
    _known: set[str] = field(default_factory=set, repr=False)

    def has(self, unit: Unit) -> bool:
        """Whether a unit is there, whole and of this key."""
        return unit.key in self._known or self.get(unit) is not None

    def get(self, unit: Unit) -> Payload | None:
        """What a unit holds; None where it is not there.

        A damaged file, or another unit's, is named in a warning and set aside.
        """
        if unit.key in self._read:
            return self._read[unit.key]
        found = self._load(self.path / unit.file, unit)
        if found is None and self.cache is not None:
            found = self._load(self.cache / unit.file, unit)
            if found is not None and not self.looks:
                self._placed.append(self.path / unit.file)
                _link(self.cache / unit.file, self.path / unit.file)
        if found is not None:
            self._keep(unit, found)
        return found

    def put(self, unit: Unit, payload: Payload) -> None:
        """Keep what a unit holds.

        Raises:
            OSError: it can't be written.
        """
        file = self.path / unit.file
        self._placed.append(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        tensors.write(file, payload.arrays, {"kind": unit.kind, "key": unit.key, **payload.meta})
        if self.cache is not None:
            _link(file, self.cache / unit.file)
        self._keep(unit, payload)

    def undo(self) -> None:
        """Take away again what this object has put into the directory; the cache keeps it."""
        for file in self._placed:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
                file.parent.rmdir()
        self._placed.clear()

    def _load(self, file: Path, unit: Unit) -> Payload | None:
        try:
            if not there(file):
                return None
            arrays, document = tensors.read(file)
            if document.pop("key", None) != unit.key or document.pop("kind", None) != unit.kind:
                raise DataError(f"can't use {file}: it holds something else; accepted: what its name says")
        except (DataError, OSError) as error:
            if not self.looks:
                _set_aside(file, error)
            return None
        return Payload(document, arrays)

    def _keep(self, unit: Unit, payload: Payload) -> None:
        self._known.add(unit.key)
        if sum(array.nbytes for array in payload.arrays.values()) <= SMALL:
            self._read[unit.key] = payload


def store_of(out: str | Path, cache: str | Path | None, *, looks: bool = False) -> Store:
    """The store of a directory, and of the cache that is given or that the environment names.

    Args:
        out: the directory.
        cache: the shared directory, or None.
        looks: see `Store`.

    Raises:
        UsageError: the cache can't be used.
    """
    given = cache if cache is not None else os.environ.get(CACHE) or None
    return Store(expanded(out), None if given is None else checked_cache(given), looks)


def shelf_of(out: Path | None, cache: str | Path | None) -> Store | Memory:
    """Where units are kept: see `store_of`; without a directory in the cache that is given, or in memory.

    Raises:
        UsageError: the cache can't be used.
    """
    if out is not None:
        return store_of(out, cache)
    return Memory() if cache is None else Store(checked_cache(cache))


def checked_cache(path: str | Path) -> Path:
    """The directory of a cache, which is made when something is put there.

    Raises:
        UsageError: it can't be.
    """
    found = expanded(path)
    try:
        nearest = next(one for one in (found.absolute(), *found.absolute().parents) if there(one))
    except OSError as error:
        raise unwritable(found, error.strerror) from None
    if not nearest.is_dir():
        raise unwritable(found, f"{nearest} is not a directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"can't write to the cache {found}: no permission; accepted: a directory that can be written")
    return found


def _link(source: Path, target: Path) -> None:
    """The same file at a second place, as a link where the file system has them; nothing half-written stays.

    Raises:
        OSError: it can't be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(target)) from error


def _set_aside(file: Path, error: Exception) -> None:
    """Damaged files stay, under another name, for whoever wants to know what happened."""
    aside = file.with_name(f"{file.name}.damaged")
    with contextlib.suppress(OSError):
        file.replace(aside)
    warnings.warn(
        f"{' '.join(str(error).split())}; set aside as {aside.name}, to be computed again",
        AntagonismWarning,
        stacklevel=4,
    )
