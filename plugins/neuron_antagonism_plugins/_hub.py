"""Reading `hub:dataset-id` sources of the shipped tasks through the package `datasets`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import neuron_antagonism as na

_PREFIX = "hub:"


def is_hub(source: str) -> bool:
    """Whether a source is read through `datasets` rather than as a file."""
    return source.startswith(_PREFIX)


def is_directory(path: Path) -> bool:
    """Whether a path is that of a directory; no name is too long to ask."""
    try:
        return path.is_dir()
    except OSError:
        return False


@dataclass(frozen=True)
class Split:
    """One split of a loaded data set.

    Args:
        part: "train" or "test", or "" where the data set has only one of them.
        where: source and split, for errors.
        data: the `datasets.Dataset`.
    """

    part: str
    where: str
    data: Any

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return list(self.data.column_names)

    def rows(self, *, named: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield where each row is (for errors, from 0) and its values, class labels as their names or as they are."""
        decoders = {name: _decoder(feature) if named else _as_is for name, feature in self.data.features.items()}
        found = iter(self.data)
        for number in count():
            where = f"{self.where}, row {number}"
            try:
                row = next(found)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                bad = error.object[error.start : error.start + 1]
                raise na.DataError(f"{where}: found {bad!r}; accepted: texts in UTF-8") from None
            yield where, {name: decoders[name](value) for name, value in row.items()}

    def distinct(self, column: str) -> list[Any]:
        """The distinct values of one column, class labels as their names."""
        return [_decoder(self.data.features[column])(value) for value in self.data.unique(column)]


def splits(source: str, accepted: str, test: Sequence[str] = ("test", "validation", "dev")) -> list[Split]:
    """Load a data set's training and test splits.

    Args:
        source: `hub:dataset-id` or `hub:dataset-id:config`; the id may be a local directory.
        accepted: the columns the task reads, for errors.
        test: names of the split that is the test part; the first that has rows.

    Raises:
        UsageError: `datasets` is not installed, or the source names no data set.
        DataError: the data set can't be loaded, has neither split, or is empty.
    """
    loaded = loaded_splits(source)
    found = {}
    for part, names in (("train", ("train",)), ("test", test)):
        if filled := [split for split in names if split in loaded and len(loaded[split])]:
            found[part] = filled[0]
    if not found:
        shown = ", ".join(f"{split} ({len(data)} rows)" for split, data in loaded.items()) or "none"
        raise na.DataError(f"{source}: has the splits {shown}; accepted: rows in train or {test[0]}, {accepted}")
    return [
        Split(part if len(found) > 1 else "", f"{source}, split {split!r}", loaded[split])
        for part, split in found.items()
    ]


def loaded_splits(source: str) -> Mapping[str, Any]:
    """Every split of a data set by its name.

    Raises:
        UsageError: `datasets` is not installed, or the source names no data set.
        DataError: the data set can't be loaded.
    """
    name, config = _parse(source)
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise na.UsageError(
            f"{source}: needs the package datasets, which is not installed; install neuron-antagonism[data]"
        ) from None
    try:
        found: Mapping[str, Any] = datasets.load_dataset(name, config)
    except Exception as error:  # `datasets` raises many kinds, from the network's to the file formats'
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise na.DataError(
            f"{source}: can't be loaded: {reason}; accepted: hub:dataset-id, hub:dataset-id:config, hub:directory"
        ) from error
    return found


def unknown_columns(split: Split, accepted: str) -> na.DataError:
    """The error for a data set without the columns that a task reads."""
    return na.DataError(f"{split.where}: has the columns {', '.join(split.columns)}; accepted: {accepted}")


def _parse(source: str) -> tuple[str, str | None]:
    rest = source.removeprefix(_PREFIX)
    try:
        directory = Path(rest).expanduser()
    except RuntimeError:  # `~` of nobody
        directory = Path(rest)
    if rest and is_directory(directory):  # before the config is split off: a directory's name may hold a colon
        return str(directory), None
    name, _, config = rest.partition(":")
    if not name.strip():
        raise na.UsageError(
            f"the source {source!r} names no data set; accepted: hub:dataset-id or hub:dataset-id:config"
        )
    return name, config or None


def _as_is(value: Any) -> Any:
    return value


def _decoder(feature: Any) -> Callable[[Any], Any]:
    """What turns a column's values into names where they are class labels; other values stay."""
    names = getattr(feature, "names", None)
    if names:
        return lambda value: _named(names, value)
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    inner_names = getattr(inner, "names", None)
    if inner_names:
        return lambda values: [_named(inner_names, value) for value in values or ()]
    return lambda value: value


def _named(names: Sequence[str], value: Any) -> Any:
    # -1 and None mean "no label"; they stay, so that the task's own check reports them.
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
