"""What a run is asked for, checked as far as no model is needed; imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.files import inside
from neuron_antagonism.plugin.base import Intervention, Observer, Scorer, Task
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.plugin.scorers import own_target
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.job import Job, ModelSource, TaskSource
from neuron_antagonism.runs.keys import identity, key_of
from neuron_antagonism.tasks.load import LoadedTask, load_task, make_task
from neuron_antagonism.tasks.wording import Wording

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel


@dataclass(frozen=True)
class Plan:
    """A run that can be prepared.

    Args:
        config: what was asked for.
        scorers, strengthen, weaken: instances.
        jobs: one a task.
        observers: who is told.
    """

    config: RunConfig
    scorers: tuple[Scorer, ...]
    strengthen: Intervention
    weaken: Intervention
    jobs: tuple[Job, ...]
    observers: tuple[Observer, ...]

    @property
    def key(self) -> str:
        """What determines the run's results, and nothing else."""
        first = self.jobs[0]
        ids = [first.model.id, None if first.reference is None else first.reference.id]
        plugins = [identity(one) for one in (*self.scorers, self.strengthen, self.weaken)]
        return key_of("run", self.config.model_dump_json(), *ids, [job.task.id for job in self.jobs], plugins)


def make_plan(
    config: RunConfig,
    *,
    model: HookedModel | None = None,
    tasks: Sequence[str | Path | Task] = (),
    scorers: Sequence[str | Scorer] = (),
    reference: HookedModel | None = None,
) -> Plan:
    """Make every plugin, read the data, and find out which weights are meant.

    Args:
        config: what was asked for.
        model: a loaded model instead of `config.model`.
        tasks, scorers: names (of tasks also files) or instances instead of the config's names.
        reference: the model whose understanding stratifies; default: the model itself.

    Raises:
        AntagonismError: anything that is wrong with what was asked.
    """
    made = _scorers(scorers or config.scorers, config.options)
    strengthen, weaken = (
        registry().make(Intervention, name, config.options.get(name)) for name in (config.strengthen, config.weaken)
    )
    for one in (strengthen, weaken):
        if one.asks:
            raise UsageError(
                f"intervention {one!r} depends on the question, and a run's edits act on plain text too; accepted: in "
                "na.evaluate, or another option in a run"
            )
    loaded = loaded_tasks(tasks or config.tasks, config.data)
    for task in loaded:
        Wording(task.task, config.form, config.shots)
    observers = tuple(registry().make(Observer, name) for name in registry().names("observer"))
    _check_options(config.options, [*made, strengthen, weaken])
    data = [TaskSource.of(task, config.seed) for task in loaded]
    source = ModelSource.of(config.model if model is None else model, config.loading())
    judge = _judge(config, reference)
    jobs = tuple(Job(source, task, config.seed, judge) for task in data)
    return Plan(config, tuple(made), strengthen, weaken, jobs, observers)


def loaded_tasks(things: Sequence[str | Path | Task], data: Mapping[str, tuple[str, str | None]]) -> list[LoadedTask]:
    """Tasks, each once, with their own data where it is given.

    Raises:
        AntagonismError: an unknown task, one that is there twice, or data for another one.
    """
    made = [make_task(thing) for thing in things]
    names = [task.name for task in made]
    once("task", names)
    for name in data:
        if name not in names:
            raise UsageError(f"data was given for {unknown('task', name, names)}")
    sources = [data.get(name, (None, None)) for name in names]
    return [load_task(task, source=own[0], train=own[1]) for task, own in zip(made, sources, strict=True)]


def listed(things: Any) -> list[Any]:
    """Names, files or instances from whatever holds them in an order.

    Raises:
        UsageError: one name alone, or something without an order.
    """
    if isinstance(things, str):
        raise UsageError(f"tasks or scorers are the text {things!r}; accepted: a list of names, files or instances")
    if isinstance(things, Mapping) or hasattr(things, "columns") or not hasattr(things, "__iter__"):
        raise UsageError(
            f"tasks or scorers are given as a {type(things).__name__} ({' '.join(str(things).split()):.60}); "
            "accepted: a list of names, files or instances"
        )
    return list(things)


def once(kind: str, names: Sequence[str]) -> None:
    """Raise UsageError where a name is there twice, DataError where one can't be that of a file."""
    for name in names if kind != "model" else ():
        inside(Path(), name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{kind} {twice[0]!r} was given twice; accepted: each once")


def _judge(config: RunConfig, given: HookedModel | None) -> ModelSource | None:
    """The model whose understanding stratifies, where it is another one than the run's."""
    if not config.stratified:
        if given is not None or config.reference is not None:
            raise UsageError("a reference was given to a run that is not stratified; accepted: one of the two")
        return None
    if given is not None:
        return ModelSource.of(given, {})
    if config.reference in (None, config.model):
        return None
    same = {name: value for name, value in config.loading().items() if name not in ("revision", "adapter")}
    return ModelSource.of(str(config.reference), same)


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


def _check_options(options: Mapping[str, Any], used: Sequence[Scorer | Intervention]) -> None:
    names = {thing.name for thing in used}
    for name in options:
        if name not in names:
            registry().entry(name)
            raise UsageError(
                f"options were given for {name!r}, which this run does not use; used: {', '.join(sorted(names))}"
            )


def plain(config: RunConfig) -> dict[str, Any]:
    """The options as plain JSON values: an infinity is a text there."""
    found: dict[str, Any] = json.loads(config.model_dump_json())
    return found
