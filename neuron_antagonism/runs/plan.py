"""Planning: everything that can be wrong with a run is found here, before anything is created."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import neuron_antagonism
from neuron_antagonism.engine.base import Path as IntegrationPath
from neuron_antagonism.engine.choose import ENGINES, Choice, choose
from neuron_antagonism.engine.memory import check_fits
from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.files import inside, there, unwritable
from neuron_antagonism.method.attribute import own_target, with_fixed_z
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.load import load_model
from neuron_antagonism.neurons import check_count
from neuron_antagonism.plugin.base import Intervention, Observer, Scorer, Task
from neuron_antagonism.plugin.manager import registry, run_check
from neuron_antagonism.progress import Progress, prefixed
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.identity import identity
from neuron_antagonism.tasks.load import LoadedTask, load_task, make_task
from neuron_antagonism.tasks.splits import Split


@dataclass(frozen=True)
class TaskPlan:
    """One task, its examples, and hashes of what they came from."""

    loaded: LoadedTask
    split: Split
    data_hash: str
    key: str

    @property
    def name(self) -> str:
        """The task's name."""
        return self.loaded.name


@dataclass(frozen=True)
class Plan:
    """A run that can be carried out."""

    config: RunConfig
    model: HookedModel
    model_hash: str
    scorers: tuple[Scorer, ...]
    strengthen: Intervention
    weaken: Intervention
    tasks: tuple[TaskPlan, ...]
    engine: Choice
    observers: tuple[Observer, ...] = ()

    @property
    def steady(self) -> frozenset[str]:
        """Scorers that don't draw: those whose chosen edit stands for the scorer."""
        return frozenset(scorer.name for scorer in self.scorers if not scorer.draws)


def make_plan(
    config: RunConfig,
    *,
    model: HookedModel | None = None,
    tasks: Sequence[str | Path | Task] = (),
    scorers: Sequence[str | Scorer] = (),
    stored: Mapping[str, tuple[str, Split]] | None = None,
    reference: HookedModel | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Check everything, load the model, read the data and choose the examples.

    Args:
        config: what was asked for.
        model: a loaded model instead of `config.model`.
        tasks, scorers: names (of tasks also files) or instances instead of the config's names.
        stored: by task, the key and split of an earlier run in the same directory.
        reference: the model whose understanding stratifies; default: the model itself.
        progress: called while examples are chosen.

    Raises:
        AntagonismError: anything that is wrong with what was asked.
    """
    made = _scorers(scorers or config.scorers, config.options)
    strengthen, weaken = (_intervention(name, config.options) for name in (config.strengthen, config.weaken))
    loaded = _tasks(tasks or config.tasks, config.data)
    observers = tuple(registry().make(Observer, name) for name in registry().names("observer"))
    _check_options(config.options, [*made, strengthen, weaken])
    if config.engine not in ENGINES:
        raise UsageError(unknown("engine", config.engine, ENGINES))
    if config.steps != "auto":
        IntegrationPath.of(config.quadrature, config.steps, config.site)
    pools = [task.items(config.seed) for task in loaded]
    ready = model or load_model(config.model, **config.loading())
    if ready.is_edited:
        raise UsageError("a run was started inside model.edited(); accepted: outside, a run makes its own edits")
    n_total = ready.n_layers * ready.units(config.site)
    check_count(config.budget, n_total)
    fixed = [with_fixed_z(scorer, n_total, config.budget) for scorer in made]
    model_hash = ready.fingerprint()
    judge = _judge(config, ready, reference)
    judge_hash = model_hash if judge is ready else judge.fingerprint() if judge is not None else ""
    plans = []
    for task, pool in zip(loaded, pools, strict=True):
        data_hash = content_hash([[repr(item) for item in part] for part in pool])
        wording = [
            task.task.role,
            task.task.rule,
            list(task.task.stems),
            repr(task.task.demonstration),
            identity(task.task),
        ]
        sizes = [config.identify, config.select, config.evaluate, config.seed]
        hashes = [data_hash, model_hash, judge_hash]
        key = content_hash([neuron_antagonism.__version__, task.name, wording, *hashes, sizes])
        earlier = (stored or {}).get(task.name)
        if earlier is not None and earlier[0] == key:
            split = earlier[1]
        else:
            split = task.split(
                config.identify,
                config.select,
                config.evaluate,
                seed=config.seed,
                reference=judge,
                fits=ready,
                progress=prefixed(progress, f"{task.name}: "),
            )
        for plugin in (*fixed, strengthen, weaken):
            run_check(plugin, ready, split.identify, config.site)
        plans.append(TaskPlan(task, split, data_hash, key))
    asked = [q for plan in plans for example in plan.split.identify for q in example.proxies]
    prompts = [encoded.ids for encoded in ready.encode_all(asked)]
    engine = choose(ready, prompts, config.engine)
    check_fits(ready, max(map(len, prompts)), engine.name)
    return Plan(config, ready, model_hash, tuple(fixed), strengthen, weaken, tuple(plans), engine, observers)


def _judge(config: RunConfig, ready: HookedModel, given: HookedModel | None) -> HookedModel | None:
    """The model whose understanding stratifies; None = none does."""
    if not config.stratified:
        if given is not None or config.reference is not None:
            raise UsageError("a reference was given to a run that is not stratified; accepted: one of the two")
        return None
    if given is not None or config.reference in (None, config.model):
        return given or ready
    same = {name: value for name, value in config.loading().items() if name not in ("revision", "adapter")}
    return load_model(str(config.reference), **same)


def check_out(out: Path, *, resume: bool | None) -> None:
    """Check that a run can be written to a directory; creates nothing.

    Args:
        out: the directory.
        resume: whether a run there is to be completed; None = what is to be written can't be.

    Raises:
        UsageError: it can't be written, or holds a run already and `resume` is off.
    """
    try:
        # stat, not exists(): that hides why a path can't be reached
        taken = there(out / "manifest.json")
        nearest = next(path for path in (out.absolute(), *out.absolute().parents) if there(path))
    except OSError as error:
        raise unwritable(out, error.strerror) from None
    if taken and not resume:
        or_else = "" if resume is None else ", or --resume to complete that run"
        raise UsageError(f"{out} holds a run already; accepted: another directory{or_else}")
    if not nearest.is_dir():
        raise unwritable(out, f"{nearest} is not a directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise unwritable(out, "no permission")


def make_out(out: Path, folders: Sequence[str] = ("scores", "sweeps")) -> None:
    """Make the run's directory and the folders in it.

    Raises:
        UsageError: it can't be written.
    """
    try:
        for folder in ("", *folders):
            (out / folder).mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(out, error.strerror) from None


def _scorers(things: Sequence[str | Scorer], options: Mapping[str, Mapping[str, Any]]) -> list[Scorer]:
    made = []
    for thing in things:
        if isinstance(thing, str):
            made.append(registry().make(Scorer, thing, options.get(thing)))
        elif isinstance(thing, Scorer):
            made.append(thing.with_options(**options.get(thing.name, {})))
        else:
            raise UsageError(f"scorer {thing!r} is neither a name nor an instance of na.Scorer")
        # a target may depend on the options, and refuse them
        own_target(made[-1])
    once("scorer", [scorer.name for scorer in made])
    return made


def _intervention(name: str, options: Mapping[str, Mapping[str, Any]]) -> Intervention:
    return registry().make(Intervention, name, options.get(name))


def _tasks(things: Sequence[str | Path | Task], data: Mapping[str, tuple[str, str | None]]) -> list[LoadedTask]:
    made = [make_task(thing) for thing in things]
    names = [task.name for task in made]
    once("task", names)
    for name in data:
        if name not in names:
            raise UsageError(f"data was given for {unknown('task', name, names)}")
    loaded = []
    for task, name in zip(made, names, strict=True):
        source, train = data.get(name, (None, None))
        loaded.append(load_task(task, source=source, train=train))
    return loaded


def _check_options(options: Mapping[str, Any], used: Sequence[Scorer | Intervention]) -> None:
    names = {thing.name for thing in used}
    for name in options:
        if name not in names:
            registry().entry(name)
            raise UsageError(
                f"options were given for {name!r}, which this run does not use; used: {', '.join(sorted(names))}"
            )


def once(kind: str, names: Sequence[str]) -> None:
    """Raise UsageError where a name is there twice, DataError where one can't be that of a file."""
    for name in names:
        inside(Path(), name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{kind} {twice[0]!r} was given twice; accepted: each once")


def content_hash(value: Any) -> str:
    """SHA-256 of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()
