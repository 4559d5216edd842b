"""Finds plugins, refuses what is wrong with them loudly, and hands them out by name."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from neuron_antagonism.errors import DataError, PluginError, UsageError, unknown
from neuron_antagonism.plugin import chosen, folder, hookspecs
from neuron_antagonism.plugin.base import Configurable, Intervention, Observer, Scorer, Target, Task
from neuron_antagonism.plugin.foreign import foreign, one_line

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.types import Example

GROUP = "neuron_antagonism"
UNKNOWN = "unknown distribution"
KINDS: dict[str, type] = {
    "scorer": Scorer,
    "target": Target,
    "task": Task,
    "intervention": Intervention,
    "observer": Observer,
}

T = TypeVar("T")

_NAME = "a lowercase name without spaces or any of . = : / \\"


@dataclass(frozen=True)
class Registered:
    """One thing a plugin offers: its kind, name, class or instance, and where it comes from."""

    kind: str
    name: str
    thing: Any
    distribution: str
    version: str

    @property
    def cls(self) -> type:
        """The class, whether a class or an instance was registered."""
        return self.thing if isinstance(self.thing, type) else type(self.thing)

    @property
    def key(self) -> str:
        """Under which no two can be used: options name what they belong to, and only targets have none."""
        return _key(self.name, self.kind)


@dataclass(frozen=True)
class Broken:
    """A plugin that could not be used, and why, in one line."""

    entry_point: str
    distribution: str
    error: str


@dataclass(frozen=True)
class LeftOut:
    """A plugin that was not loaded, because its distribution is not among those that may."""

    entry_point: str
    distribution: str


class Registry:
    """Everything registered, by name; names are unique across kinds, those of targets among targets.

    Args:
        entry_points: the entry points to load; default: the installed ones of the group `neuron_antagonism`.
        only: whose plugins may load (see `chosen.allowed`); None = everybody's.
        folders: directories with plugins that are not installed; they load whatever `only` says, and go before an
            installed distribution of the same name.

    Attributes:
        broken: plugins that could not be used, and why.
        left_out: plugins that may not load; nothing of them was imported.
        conflicts: by name, or by ending of task files, the line that refuses it because two plugins have it; neither
            can be used.
    """

    def __init__(
        self,
        entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
        only: str | None = None,
        folders: Iterable[Path] = (),
    ) -> None:
        """Load every entry point that may be; one that fails becomes `broken` and takes nothing else down.

        Raises:
            UsageError: `only` names a distribution without plugins; a directory holds none.
        """
        self.broken: list[Broken] = []
        self.left_out: list[LeftOut] = []
        self.conflicts: dict[str, str] = {}
        self._entries: dict[str, Registered] = {}
        self._readers: dict[str, Registered] = {}
        found = list(importlib.metadata.entry_points(group=GROUP) if entry_points is None else entry_points)
        may = None if only is None else chosen.allowed(only, [point.dist.name for point in found if point.dist])
        own = [each for one in folders for each in folder.points_of(one)]
        here = {chosen.canonical(each.dist.name) for each in own}
        for each in own:
            self._load(each)
        for point in found:
            if point.dist and chosen.canonical(point.dist.name) in here:
                continue
            if may is None or (point.dist and chosen.canonical(point.dist.name) in may):
                self._load(point)
            else:
                self.left_out.append(LeftOut(point.name, point.dist.name if point.dist else UNKNOWN))

    def __iter__(self) -> Iterator[Registered]:
        """All things that can be used, sorted by kind and name."""
        order = list(KINDS)
        usable = (entry for key, entry in self._entries.items() if key not in self.conflicts)
        return iter(sorted(usable, key=lambda entry: (order.index(entry.kind), entry.name)))

    def entry(self, name: str, kind: str | None = None) -> Registered:
        """The registered thing of that name (and kind).

        Raises:
            PluginError: there is none, or two; suggests the nearest name, and says when a broken plugin may have had
                it.
        """
        keys = [_key(name, kind)] if kind is not None else [name, _key(name, "target")]
        for key in keys:
            if key in self.conflicts:
                raise PluginError(self.conflicts[key])
        entry = next((self._entries[key] for key in keys if key in self._entries), None)
        if entry is None or (kind is not None and entry.kind != kind):
            accepted = [e.name for e in self if kind is None or e.kind == kind]
            line = unknown(kind or "plugin", name, accepted)
            if any(b.entry_point == name for b in self.broken):
                line += f"; the plugin {name!r} is installed but broken: see `neuron-antagonism plugins`"
            if self.left_out:
                dists = ", ".join(dict.fromkeys(one.distribution for one in self.left_out))
                line += f"; plugins of {dists} are left out ({chosen.VARIABLE}, --only-plugins or --no-plugins)"
            raise PluginError(line)
        return entry

    def make(self, kind: type[T], name: str, options: Mapping[str, Any] | None = None) -> T:
        """A fresh instance of a registered class, or the registered instance, with `options` set.

        Raises:
            PluginError, UsageError: an unknown name or option, or a plugin that fails.
        """
        label = next(label for label, base in KINDS.items() if base is kind)
        entry = self.entry(name, label)
        thing: Any = entry.thing
        with foreign(f"{label} {name!r} of {entry.distribution} can't be made"):
            if isinstance(thing, type):
                thing = thing(**(options or {})) if issubclass(thing, Configurable) else thing()
            elif options and isinstance(thing, Configurable):
                thing = thing.with_options(**options)
        made: T = thing
        return made

    def task(self, name: str | Path) -> Task:
        """The task of a registered name, or of a file whose ending a registered task reads.

        Raises:
            PluginError: an unknown name or ending, or one that two plugins have.
            AntagonismError: the file can't be read, or its task's name can't be used.
        """
        path = str(name)
        # names hold no dot, so that what ends in one of these is a path
        endings = [ending for ending in self._readers if path.lower().endswith(ending)]
        if not endings:
            if isinstance(name, str) and not Path(name).suffix:
                return self.make(Task, name)
            line = unknown("task", path, self.names("task"))
            raise PluginError(f"{line}, or a file that ends in {', '.join(sorted(self._readers)) or 'nothing known'}")
        ending = max(endings, key=len)
        if ending in self.conflicts:
            raise PluginError(self.conflicts[ending])
        entry = self.entry(self._readers[ending].name, "task")
        with foreign(f"task {entry.name!r} of {entry.distribution} can't read {path}"):
            made = entry.cls.from_file(path)  # type: ignore[attr-defined]
        if not isinstance(made, Task):
            raise PluginError(
                f"task {entry.name!r} of {entry.distribution} made {made!r:.80} of {path}; accepted: a task"
            )
        self._check_own_name(path, made.name, entry)
        return made

    def names(self, kind: str) -> list[str]:
        """Usable names of one kind, sorted."""
        return [entry.name for entry in self if entry.kind == kind]

    def _load(self, point: importlib.metadata.EntryPoint | folder.FolderPoint) -> None:
        dist = point.dist
        where, version = (dist.name, dist.version) if dist else (UNKNOWN, "")
        try:
            found = _offered(point.load(), f"{where}:{point.name}")
            for kind, thing in found:
                check_plugin(kind, thing)
        # a plugin is foreign code: whatever it raises must be reported and must not stop the others
        except (Exception, SystemExit) as error:
            self.broken.append(Broken(point.name, where, _one_line(error)))
            return
        for kind, thing in found:
            self._add(Registered(kind, thing.name, thing, where, version))

    def _add(self, entry: Registered) -> None:
        other = self._entries.get(entry.key)
        if other is None:
            self._entries[entry.key] = entry
        else:
            self.conflicts[entry.key] = (
                f"two plugins are named {entry.name!r}: a {other.kind} of {other.distribution} and a {entry.kind} of "
                f"{entry.distribution}; accepted: one; uninstall or rename one of them"
            )
        for ending in entry.cls.suffixes if issubclass(entry.cls, Task) else ():
            first = self._readers.setdefault(ending, entry)
            if first is not entry:
                self.conflicts[ending] = (
                    f"two tasks read files that end in {ending}: {first.name!r} of {first.distribution} and "
                    f"{entry.name!r} of {entry.distribution}; accepted: one; uninstall one of them"
                )

    def _check_own_name(self, path: str, name: Any, reader: Registered) -> None:
        if not _is_name(name):
            raise DataError(f"{path}: its task is named {name!r:.80}; accepted: {_NAME}, in the file's field name")
        taken = self._entries.get(name)
        # what a file states may have the name of what a file of the same kind states that is shipped
        if taken is not None and (taken is reader or not issubclass(taken.cls, reader.cls)):
            raise DataError(
                f"{path}: its task is named {name!r}, as a {taken.kind} of {taken.distribution} is; "
                "accepted: a name that no plugin has, in the file's field name"
            )


def _key(name: str, kind: str) -> str:
    return f"target {name}" if kind == "target" else name


def registry() -> Registry:
    """The plugins that may load, loaded once per process and choice (`chosen.VARIABLE`, `folder.VARIABLE`).

    Raises:
        UsageError: the choice names a distribution without plugins.
    """
    return _loaded(os.environ.get(chosen.VARIABLE) or None, folder.asked())


@cache
def _loaded(only: str | None, folders: tuple[Path, ...]) -> Registry:
    return Registry(only=only, folders=folders)


def target_of(name: str) -> Target:
    """The target of that name, or a registered scorer's with its default options.

    Raises:
        PluginError: an unknown name.
        UsageError: a scorer without gradients.
    """
    names = registry().names("target")
    if name in names or _key(name, "target") in registry().conflicts:
        return registry().make(Target, name)
    scorers = registry().names("scorer")
    if name not in scorers and name not in registry().conflicts:
        raise PluginError(unknown("target", name, [*names, *scorers]))
    found = registry().make(Scorer, name).target
    if found is None:
        raise UsageError(f"scorer {name!r} has no target; accepted: {', '.join(names)}, or a scorer with gradients")
    return found


def as_target(target: str | Target) -> Target:
    """The target itself, or the one of that name (see `target_of`).

    Raises:
        UsageError: neither; errors of `target_of`.
    """
    if isinstance(target, str):
        return target_of(target)
    if not isinstance(target, Target):
        raise UsageError(f"target {target!r:.80} is no na.Target; accepted: an instance, or a name")
    return target


def run_check(plugin: Configurable, model: HookedModel, examples: Sequence[Example], site: str) -> None:
    """Let a plugin check a model and examples, see `Configurable.check`.

    Raises:
        AntagonismError: they don't fit it; PluginError where the check itself fails.
    """
    with foreign(f"{plugin.name!r} failed in check()"):
        plugin.check(model, examples, site)


def _offered(plugin: Any, label: str) -> list[tuple[str, Any]]:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=label)
    manager.check_pending()
    if not manager.get_hookcallers(plugin):
        raise PluginError("it implements no hook; accepted: functions marked @na.hookimpl, named " + _hook_names())
    offered = []
    for kind in KINDS:
        hook = getattr(manager.hook, f"neuron_antagonism_{kind}s")
        # pluggy drops answers that are None: a forgotten return would go unnoticed
        answers = hook() or [None] * len(hook.get_hookimpls())
        for answer in answers:
            if not isinstance(answer, list | tuple):
                raise PluginError(
                    f"its hook neuron_antagonism_{kind}s returned {answer!r}; accepted: a list of classes"
                )
            offered += [(kind, thing) for thing in answer]
    return offered


def check_plugin(kind: str, thing: Any) -> None:
    """Raise PluginError unless a class or instance of a kind can be registered."""
    cls = thing if isinstance(thing, type) else type(thing)
    if not issubclass(cls, KINDS[kind]):
        raise PluginError(f"{cls.__name__} is registered as a {kind} but does not subclass na.{KINDS[kind].__name__}")
    name = thing.name
    if not _is_name(name):
        raise PluginError(f"{cls.__name__}.name is {name!r}; accepted: {_NAME}")
    if issubclass(cls, Scorer):
        _check_scorer(cls)
    if issubclass(cls, Target) and cls.__call__ is Target.__call__:
        raise PluginError(f"{cls.__name__} has no __call__(); accepted: a target that overrides it")
    if issubclass(cls, Task):
        _check_task(cls)
    if issubclass(cls, Configurable):
        for option, field in cls.Options.model_fields.items():
            if not field.description:
                raise PluginError(f"option {name}.{option} has no description; accepted: Field(description=…)")


def _check_scorer(cls: type[Scorer]) -> None:
    aggregates = cls.attribute is Scorer.attribute and cls.aggregate is Scorer.aggregate
    if aggregates and not issubclass(cls.Options, Scorer.Options):
        raise PluginError(f"{cls.__name__} uses the default aggregate(); its Options must subclass na.Scorer.Options")
    if tuple(cls.roles) not in (("good",), ("good", "bad")):
        raise PluginError(f"{cls.__name__}.roles is {cls.roles!r}; accepted: ('good', 'bad') or ('good',)")
    if cls.draws and "seed" not in cls.Options.model_fields:
        raise PluginError(f"{cls.__name__} draws its scores; its Options must have the field seed")


def _check_task(cls: type[Task]) -> None:
    endings = cls.suffixes
    if not isinstance(endings, tuple) or not all(
        isinstance(e, str) and len(e) > 1 and e[0] == "." and e == e.lower() for e in endings
    ):
        raise PluginError(f"{cls.__name__}.suffixes is {endings!r}; accepted: a tuple of lowercase endings like '.abc'")
    if endings and getattr(cls.from_file, "__func__", None) is Task.from_file.__func__:  # type: ignore[attr-defined]
        raise PluginError(f"{cls.__name__} has suffixes but no from_file(); accepted: both, or neither")


def _is_name(name: Any) -> bool:
    if not isinstance(name, str) or not name or not name.isprintable():
        return False
    return name == name.lower() and not any(character in name for character in " .=:/\\")


def _hook_names() -> str:
    return ", ".join(f"neuron_antagonism_{kind}s" for kind in KINDS)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) if isinstance(error, PluginError | UsageError) else one_line(error)
