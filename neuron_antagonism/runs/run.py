"""A run from its plan to its result."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import reduce
from pathlib import Path
from typing import Any

from neuron_antagonism.errors import AntagonismError, RunError, UsageError
from neuron_antagonism.files import expanded
from neuron_antagonism.method.attribute import attribute_each
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.edits import Edit, fitted
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.metrics.compare import compare
from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.metrics.sweeps import Sweep
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.plugin.base import Intervention, Observer, Scorer, Task
from neuron_antagonism.plugin.foreign import foreign
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.progress import Progress, prefixed
from neuron_antagonism.runs.claim import claimed
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.environment import described, machine, software
from neuron_antagonism.runs.identity import identity
from neuron_antagonism.runs.plan import Plan, TaskPlan, content_hash, make_out, make_plan
from neuron_antagonism.runs.planted import planted_precision
from neuron_antagonism.runs.results import SCHEMA, run_averages, run_differences, task_results
from neuron_antagonism.runs.runfile import check_resumable, merged, read_run_file, resumed, stored_options
from neuron_antagonism.runs.settle import settled
from neuron_antagonism.runs.side_effects import described_edit, run_side_effects
from neuron_antagonism.runs.store import RunDirectory, RunResult, candidate_of, chosen_edits
from neuron_antagonism.runs.sweep import Act, Candidate, Editing, load_sweeps, save_sweeps, sweep_task
from neuron_antagonism.settings import Settings


def run(
    model: str | HookedModel | None = None,
    tasks: Sequence[str | Path | Task] | None = None,
    scorers: Sequence[str | Scorer] | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reference: str | HookedModel | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> RunResult:
    """Find the good and bad neurons of tasks, edit them, and measure the effect.

    Args:
        model: a name (see `load_model`) or a loaded model; default: the embedded one.
        tasks, scorers: registered names or instances, of tasks also files that state one; default: the four tasks and
            six scorers that are shipped.
        config: a run file (see `read_run_file`), or an earlier run's manifest; what is given here goes before it.
        out: the run's directory; None = nothing is written.
        resume: complete a run that was interrupted in `out`: what is there and still fits is not computed again. Its
            own options hold where none are given.
        reference: the model whose understanding stratifies the sets, a name or loaded; default: the model itself.
        progress: called with what is being done, how much is done and how much there is.
        options: further fields of `RunConfig`: data, options, budget, seed, identify, select, evaluate, engine, …

    Raises:
        AntagonismError: something asked for is wrong; nothing has been created then.
        RunError: the run failed under way; what it had finished is in `out`.
    """
    tasks, scorers = (None if things is None else _listed(things) for things in (tasks, scorers))
    names = {
        "model": model.name if isinstance(model, HookedModel) else model,
        "tasks": _names(tasks),
        "scorers": _names(scorers),
    }
    if isinstance(reference, str):
        options, reference = {**options, "reference": reference}, None
    given = {**{name: value for name, value in names.items() if value is not None}, **options}
    directory = RunDirectory(expanded(out)) if out is not None else None
    if directory is not None and resume:
        check_resumable(directory.path, asked=bool(given) or config is not None)
    with claimed(directory.path, resume=resume) if directory is not None else nullcontext():
        plan = _planned(model, tasks, scorers, given, config, directory, resume, reference, progress)
        if directory is not None:
            make_out(directory.path)
        return execute(plan, directory, progress)


def _planned(
    model: str | HookedModel | None,
    tasks: Sequence[str | Path | Task] | None,
    scorers: Sequence[str | Scorer] | None,
    given: Mapping[str, Any],
    config: str | Path | None,
    directory: RunDirectory | None,
    resume: bool,
    reference: HookedModel | None,
    progress: Progress | None,
) -> Plan:
    """The plan of what `run` was given."""
    if config is None and directory is not None and resume:
        instances = [scorer.name for scorer in scorers or () if isinstance(scorer, Scorer)]
        asked = RunConfig.of(**resumed(stored_options(directory.path), dict(given), instances))
    else:
        asked = RunConfig.of(**merged(read_run_file(config) if config is not None else {}, dict(given)))
    loaded = model if isinstance(model, HookedModel) else None
    stored = directory.read_splits() if directory is not None and resume else None
    return make_plan(
        asked,
        model=loaded,
        tasks=tasks or (),
        scorers=scorers or (),
        stored=stored,
        reference=reference,
        progress=progress,
    )


def execute(plan: Plan, directory: RunDirectory | None = None, progress: Progress | None = None) -> RunResult:
    """Carry out a plan.

    Raises:
        RunError: it failed under way.
    """
    manifest = _manifest(plan)
    try:
        _tell(plan.observers, "before_run", manifest)
        return _Execution(plan, directory, progress, manifest).result()
    except BaseException as error:
        for observer in plan.observers:
            try:
                observer.on_error(error)
            except Exception as second:  # must not hide the first
                error.add_note(f"observer {observer.name!r} failed in on_error(): {second!r}")
        if isinstance(error, AntagonismError):
            raise RunError(str(error)) from error
        if isinstance(error, OSError) and error.strerror:
            where = error.filename or (directory.path if directory is not None else "a file")
            raise RunError(
                f"can't read or write {where}: {error.strerror}; what was finished is kept: --resume goes on from there"
            ) from error
        raise


class _Execution:
    """The state of one run: what is known so far, task by task."""

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory | None,
        progress: Progress | None,
        manifest: dict[str, Any],
    ) -> None:
        self.plan, self.directory, self.progress = plan, directory, progress
        self.results: dict[str, Any] = {"schema": SCHEMA, "protocol": SHOWN, "tasks": {}, "averages": []}
        self.found = RunResult(manifest, self.results, path=directory.path if directory else None)
        self.candidates: dict[str, list[Candidate]] = {}
        self.sweeps: list[tuple[str, list[Sweep]]] = []
        self.timings: dict[str, float] = manifest["timings"]
        self.steps: int | str = plan.config.steps

    def result(self) -> RunResult:
        """Carry out every task and store as it goes."""
        if self.directory is not None:
            self.directory.write_json("manifest.json", self.found.manifest)
            # reports first: the keys in questions.jsonl say that both are there
            self.directory.write_json("splits.json", {t.name: vars(t.split.report) for t in self.plan.tasks})
            self.directory.write_questions({task.name: (task.key, task.split) for task in self.plan.tasks})
        self.steps = self.found.manifest["steps"] = settled(self.plan, self.directory, self._settings("steps"))
        for task in self.plan.tasks:
            self._task(task)
        every = [sweeps for _, sweeps in self.sweeps]
        self.results["averages"] = run_averages(every)
        for name, found in run_differences(every, self.plan.config.seed).items():
            self.results["tasks"][name]["differences"] = found
        for name, effects in run_side_effects(self.plan, self.found.edits, self.directory, self.progress).items():
            self.results["tasks"][name]["side_effects"] = effects
        if self.directory is not None:
            self.directory.write_neurons(self.candidates)
            self.directory.write_json("results.json", self.results, indent=None)
            self.found.manifest["finished"] = True
            self.directory.write_json("manifest.json", self.found.manifest)
        return self.found

    def _task(self, task: TaskPlan) -> None:
        config, model = self.plan.config, self.plan.model
        start = time.perf_counter()
        scorers = self._drawn(task)
        attributions = self._attributions(task, scorers)
        by_name: dict[str, Attribution] = {}
        candidates: list[Candidate] = []
        for (scorer, draw), attribution in zip(scorers, attributions, strict=True):
            candidates.append(candidate_of(attribution, config.budget, draw))
            if scorer.name not in by_name:
                by_name[scorer.name] = attribution
                _tell(self.plan.observers, "after_attribution", task.name, scorer.name, attribution)
        self.timings[f"{task.name}: attribution"] = round(time.perf_counter() - start, 3)
        start = time.perf_counter()
        editing = self._editing(task, candidates)
        sweeps = self._sweeps(task, candidates, editing)
        first = {candidate.scorer: candidate for candidate in reversed(candidates)}
        planted = planted_precision(self.plan, task, candidates, self.directory, self._settings(task.name))
        results = task_results(task.split, by_name, candidates, sweeps, planted, model.n_layers, config.seed)
        edits = chosen_edits(results, first, editing)
        results["at_all"], measured = self._at_all(task, edits)
        results["before"] |= measured
        self.timings[f"{task.name}: evaluation"] = round(time.perf_counter() - start, 3)
        self.results["tasks"][task.name] = results
        self.found.splits[task.name] = task.split
        self.found.attributions[task.name] = by_name
        self.found.edits[task.name] = edits
        self.candidates[task.name] = candidates
        self.sweeps.append((task.name, sweeps))
        _tell(self.plan.observers, "after_evaluation", task.name, results)

    def _drawn(self, task: TaskPlan) -> list[tuple[Scorer, int]]:
        config = self.plan.config
        drawn: list[tuple[Scorer, int]] = []
        for scorer in self.plan.scorers:
            if not scorer.draws:
                drawn.append((scorer, 0))
                continue
            # by name, not by place: a task's draws are the same whatever tasks are beside it, and no other task's
            block = config.seed + zlib.crc32(task.name.encode())
            first = scorer.options.seed + block * config.random_draws
            drawn += [(scorer.with_options(seed=first + draw), draw) for draw in range(config.random_draws)]
        return drawn

    def _settings(self, told: str) -> Settings:
        c = self.plan.config
        progress = prefixed(self.progress, f"{told}: ")
        return Settings(self.steps, c.quadrature, c.engine, c.site, c.budget, c.seed, c.max_tokens, progress)

    def _attributions(self, task: TaskPlan, scorers: Sequence[tuple[Scorer, int]]) -> list[Attribution]:
        keys = [self._scores_key(task, scorer) for scorer, _ in scorers]
        found: dict[int, Attribution] = {}
        if self.directory is not None:
            for i, (scorer, draw) in enumerate(scorers):
                file = self.directory.scores(task.name, scorer.name)
                if draw == 0 and Attribution.stored_key(file) == keys[i]:
                    found[i] = Attribution.load(file)
        missing = [i for i in range(len(scorers)) if i not in found]
        asked = [scorers[i][0] for i in missing]
        new = attribute_each(self.plan.model, task.split.identify, asked, self._settings(task.name))
        for i, attribution in zip(missing, new, strict=True):
            found[i] = attribution
            if self.directory is not None and scorers[i][1] == 0:
                attribution.save_as(self.directory.scores(task.name, scorers[i][0].name), keys[i])
        return [found[i] for i in range(len(scorers))]

    def _scores_key(self, task: TaskPlan, scorer: Scorer) -> str:
        c = self.plan.config
        return content_hash([task.key, identity(scorer), self.steps, c.quadrature, c.engine, c.site, c.budget, c.seed])

    def _editing(self, task: TaskPlan, candidates: Sequence[Candidate]) -> Editing:
        config, plan = self.plan.config, self.plan
        good = reduce(NeuronSet.__or__, (c.good for c in candidates))
        bad = reduce(NeuronSet.__or__, (c.bad for c in candidates if c.bad is not None), NeuronSet.of([]))

        def act(intervention: Intervention) -> Act:
            sets = (fitted(intervention, plan.model, task.split.identify, neurons) for neurons in (good, bad))
            return Act(*sets)

        return Editing(config.budget, config.positions, config.site, act(plan.strengthen), act(plan.weaken))

    def _sweeps(self, task: TaskPlan, candidates: Sequence[Candidate], editing: Editing) -> list[Sweep]:
        config = self.plan.config
        sets = [[c.scorer, c.draw, list(c.good), None if c.bad is None else list(c.bad)] for c in candidates]
        acts = [identity(one) for act in (editing.strengthen, editing.weaken) for one in (act.good, act.bad)]
        how = [editing.budget, editing.positions, editing.site, acts]
        key = content_hash([task.key, sets, how, config.seed, config.engine])
        file = self.directory.sweeps(task.name) if self.directory is not None else None
        stored = load_sweeps(file, key) if file is not None else None
        if stored is not None:
            return stored
        split = task.split
        sweeps = sweep_task(
            self.plan.model,
            task.name,
            {"select": split.select, "evaluate": split.evaluate},
            candidates,
            editing,
            seed=config.seed,
            engine=config.engine,
            max_tokens=config.max_tokens,
            progress=prefixed(self.progress, f"{task.name}: "),
        )
        if file is not None:
            save_sweeps(file, sweeps, key)
        return sweeps

    def _at_all(
        self, task: TaskPlan, edits: Mapping[str, Mapping[str, Edit]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Effects of the chosen edits at all positions, which is what an export does; of scorers that don't draw.

        Also what the unedited model does where the answer is read: the letters' mean probability, and exact ties.
        """
        where = [(scorer, mode) for scorer, modes in edits.items() if scorer in self.plan.steady for mode in modes]
        chosen = [edits[scorer][mode].at("all") for scorer, mode in where]
        config = self.plan.config
        key = content_hash([task.key, where, [described_edit(edit) for edit in chosen], config.site, config.seed])
        name = f"sweeps/{task.name}.all.json"
        stored = self.directory.read_kept(name, key) if self.directory is not None else None
        if stored is not None:
            return stored["effects"], stored["before"]
        answers = evaluate_many(
            self.plan.model,
            task.split.evaluate,
            [None, *chosen],
            seed=config.seed,
            engine=config.engine,
            max_tokens=config.max_tokens,
            progress=prefixed(self.progress, f"{task.name}: "),
        )
        read = task.split.natural.counts
        effects = [
            {"scorer": scorer, "ties": after.ties}
            | compare(answers[0], after, mode, seed=config.seed, read=read).to_json()
            for (scorer, mode), after in zip(where, answers[1:], strict=True)
        ]
        before = {"letter_mass": float(answers[0].letter_mass.mean()), "ties": answers[0].ties}
        if self.directory is not None:
            self.directory.write_json(name, {"key": key, "effects": effects, "before": before})
        return effects, before


def _tell(observers: Sequence[Observer], event: str, *values: Any) -> None:
    for observer in observers:
        with foreign(f"observer {observer.name!r} failed in {event}()", purposeful=False):
            getattr(observer, event)(*values)


def _listed(things: Any) -> list[Any]:
    """Names, files or instances from whatever holds them in an order."""
    if isinstance(things, str):
        raise UsageError(f"tasks or scorers are the text {things!r}; accepted: a list of names, files or instances")
    if isinstance(things, Mapping) or hasattr(things, "columns") or not hasattr(things, "__iter__"):
        raise UsageError(
            f"tasks or scorers are given as a {type(things).__name__} ({' '.join(str(things).split()):.60}); "
            "accepted: a list of names, files or instances"
        )
    return list(things)


def _names(things: Sequence[str | Path | Scorer | Task] | None) -> tuple[str, ...] | None:
    # a file stands as it was given: its task's name is in the results
    return None if things is None else tuple(str(t) if isinstance(t, str | Path) else t.name for t in things)


def _manifest(plan: Plan) -> dict[str, Any]:
    model = plan.model
    return {
        "schema": SCHEMA,
        "finished": False,
        **software(),
        "plugins": {
            entry.name: f"{entry.distribution} {entry.version}"
            for entry in registry()
            if entry.name in {s.name for s in plan.scorers} or entry.cls in {type(t.loaded.task) for t in plan.tasks}
        },
        "machine": machine(model),
        # by way of JSON text, which writes an infinity as a text
        "config": json.loads(plan.config.model_dump_json()),
        "model": described(model, plan.model_hash),
        "letters": [
            {"ending": ending[-40:], "letters": list(letters), **vars(form)}
            for (ending, letters, _), form in model.letters.chosen.items()
        ],
        "data": {
            t.name: {"source": t.loaded.source, "train": t.loaded.train, "sha256": t.data_hash} for t in plan.tasks
        },
        "scorers": {s.name: json.loads(s.options.model_dump_json()) for s in plan.scorers},
        "engine": {"name": plan.engine.name, "reason": plan.engine.reason},
        "timings": {},
    }
