"""Plugins of a directory that is not installed: somebody's distribution as it lies on disk."""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_antagonism.errors import PluginError, UsageError

VARIABLE = "NEURON_ANTAGONISM_PLUGINS_FROM"
"""The environment variable with such directories, for this process and those that it starts."""
ACCEPTED = "accepted: a directory whose pyproject.toml has [project.entry-points.neuron_antagonism]"


@dataclass(frozen=True)
class Distribution:
    """Whose plugins they are, as an installed distribution says it."""

    name: str
    version: str


@dataclass(frozen=True)
class FolderPoint:
    """An entry point of a directory.

    Args:
        name, value: as `importlib.metadata.EntryPoint` has them: a module, or what stands in it after a colon.
        dist: whose it is.
        folder: where its modules are looked for, after everything that is installed.
    """

    name: str
    value: str
    dist: Distribution
    folder: Path

    def load(self) -> Any:
        """The module, or what of it is named.

        Raises:
            PluginError: another module of that name is loaded.
        """
        name, _, attribute = self.value.partition(":")
        places = [str(place) for place in self._places]
        # first while it loads, for its distribution may be installed too; last for what it loads later: no file of the
        # directory takes the place of somebody else's module
        sys.path[:0] = places
        try:
            module = importlib.import_module(name)
        finally:
            del sys.path[: len(places)]
        sys.path.extend(place for place in places if place not in sys.path)
        file = Path(module.__file__ or "").resolve()
        if not any(file.is_relative_to(place.resolve()) for place in self._places):
            raise PluginError(
                f"the module {name!r} of {self.folder} is {file}; accepted: a name that no other module has"
            )
        return getattr(module, attribute) if attribute else module

    @property
    def _places(self) -> list[Path]:
        return [place for place in (self.folder, self.folder / "src") if place.is_dir()]


def listed(folders: Sequence[str]) -> str:
    """Directories as the environment names them.

    Raises:
        UsageError: one whose name has the sign that separates them.
    """
    for one in folders:
        if os.pathsep in one:
            raise UsageError(f"{one}: its name has a {os.pathsep!r}, which separates directories; {ACCEPTED}")
    return os.pathsep.join(os.path.abspath(one) for one in folders)


def asked() -> tuple[Path, ...]:
    """The directories that the environment names."""
    return tuple(Path(one) for one in os.environ.get(VARIABLE, "").split(os.pathsep) if one)


def points_of(folder: Path) -> list[FolderPoint]:
    """The entry points that a directory's pyproject.toml states.

    Raises:
        UsageError: there is none, or it states none.
    """
    try:
        stated: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        project = stated["project"]
        named = project["entry-points"]["neuron_antagonism"]
        dist = Distribution(str(project["name"]), str(project.get("version", "0")))
        return [FolderPoint(str(name), str(value), dist, folder.resolve()) for name, value in named.items()]
    except OSError as error:
        raise UsageError(f"{folder} holds no plugins: {error.strerror}; {ACCEPTED}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{folder / 'pyproject.toml'}: no TOML: {reason}; {ACCEPTED}") from None
    except (KeyError, TypeError, AttributeError):
        raise UsageError(f"{folder / 'pyproject.toml'} states no plugins; {ACCEPTED}") from None
