"""`na.run`: from what is asked for to a result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_antagonism.csvs import csv_text
from neuron_antagonism.errors import RunError, UsageError
from neuron_antagonism.files import expanded, write_whole
from neuron_antagonism.plugin.base import Observer, Scorer, Task
from neuron_antagonism.plugin.foreign import foreign
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.progress import Progress
from neuron_antagonism.runs.backends import Backend
from neuron_antagonism.runs.backends.choose import backend_of
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.environment import machine, software
from neuron_antagonism.runs.lock import claimed
from neuron_antagonism.runs.runfile import check_resumable, merged, read_run_file, resumed, stored_options
from neuron_antagonism.runs.store import Store, shelf_of
from neuron_antagonism.runs.unit import Memory, Payload, Unit
from neuron_antagonism.suites.directory import (
    MANIFEST,
    NEURONS,
    QUESTIONS,
    RESULTS,
    RUN_SCHEMA,
    preparing,
    under_way,
    write_json,
)
from neuron_antagonism.suites.plan import Plan, listed, make_plan, plain
from neuron_antagonism.suites.result import RunResult, finished, load_run
from neuron_antagonism.suites.told import told

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.parts.effects import Effects
    from neuron_antagonism.runs.execute import Work
    from neuron_antagonism.runs.job import Job
    from neuron_antagonism.units.neurons import Acting

__all__ = ["RunResult", "carry", "load_run", "run"]


def run(
    model: str | HookedModel | None = None,
    tasks: Sequence[str | Path | Task] | None = None,
    scorers: Sequence[str | Scorer] | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    cache: str | Path | None = None,
    backend: str = "serial",
    workers: int = 1,
    reference: str | HookedModel | None = None,
    progress: Progress | bool | None = None,
    **options: Any,
) -> RunResult:
    """Find the good and bad neurons of tasks, edit them, and measure the effect.

    What is in the directory or in the cache already is not computed again, whatever was asked before; a run that is
    finished there is read, and loads no model.

    Args:
        model: a name (see `load_model`) or a loaded model; default: the embedded one.
        tasks, scorers: registered names or instances, of tasks also files that state one; default: the four tasks and
            six scorers that are shipped.
        config: a run file (see `read_run_file`), or an earlier run's manifest; what is given here goes before it.
        out: the run's directory; None = nothing is written but what a cache that is given keeps.
        resume: complete the run in `out`: its own options hold where none are given.
        cache: a directory of units that several runs share; default: what NEURON_ANTAGONISM_CACHE names, or none.
        backend: "serial", "processes" or "ray": where tasks are carried out.
        workers: how many tasks at a time.
        reference: the model whose understanding stratifies the sets, a name or loaded; default: the model itself.
        progress: called with what is being done, how much is done and how much there is; or whether a bar is shown.
        options: further fields of `RunConfig`: data, options, budget, seed, identify, select, evaluate, engine, …

    Raises:
        AntagonismError: something asked for is wrong; nothing has been created then.
        RunError: the run failed under way; what it had finished is in `out`.
    """
    tasks, scorers = (None if things is None else listed(things) for things in (tasks, scorers))
    names = {
        "model": model if isinstance(model, str) or model is None else model.name,
        "tasks": _names(tasks),
        "scorers": _names(scorers),
    }
    if isinstance(reference, str):
        options, reference = {**options, "reference": reference}, None
    given = {**{name: value for name, value in names.items() if value is not None}, **options}
    directory = None if out is None else expanded(out)
    if resume and directory is None:
        raise UsageError("resume was given without out; accepted: the directory of the run to complete")
    if resume and directory is not None:
        check_resumable(directory, asked=bool(given) or config is not None)
    asked = _config(given, config, directory if resume else None, scorers)
    loaded = None if isinstance(model, str) else model
    plan = make_plan(asked, model=loaded, tasks=tasks or (), scorers=scorers or (), reference=reference)
    with told(progress) as tell:
        return carry(plan, directory, cache=cache, backend=backend, workers=workers, progress=tell)


def _config(
    given: Mapping[str, Any], config: str | Path | None, stored: Path | None, scorers: Sequence[str | Scorer] | None
) -> RunConfig:
    """What was asked for, what a file says, and of a run that is resumed what its directory says."""
    if config is None and stored is not None:
        instances = [scorer.name for scorer in scorers or () if isinstance(scorer, Scorer)]
        return RunConfig.of(**resumed(stored_options(stored), dict(given), instances))
    return RunConfig.of(**merged(read_run_file(config) if config is not None else {}, dict(given)))


def carry(
    plan: Plan,
    out: Path | None = None,
    *,
    cache: str | Path | None = None,
    backend: str = "serial",
    workers: int = 1,
    progress: Progress | None = None,
) -> RunResult:
    """Carry out a plan; arguments and errors as in `run`."""
    at = backend_of(backend, workers)
    if out is None:
        return _Run(plan, None, shelf_of(None, cache), at, progress).result()
    there = finished(out, plan.key)
    if there is not None:
        return there
    shelf = shelf_of(out, cache)
    with claimed(out):
        return _Run(plan, out, shelf, at, progress).result()


class _Run:
    """The state of one run: what is known so far, task by task.

    Attributes:
        group: the tasks that have not failed.
    """

    def __init__(
        self, plan: Plan, out: Path | None, shelf: Store | Memory, backend: Backend, progress: Progress | None
    ) -> None:
        # only now is torch imported
        from neuron_antagonism.parts.effects import Effects
        from neuron_antagonism.runs.execute import Work

        self.plan, self.out, self.shelf, self.backend, self.progress = plan, out, shelf, backend, progress
        # a run in memory has no report that could show them
        self.part: Effects = Effects(plan.config, plan.scorers, plan.strengthen, plan.weaken, described=out is not None)
        self.work: Work = Work(dict.fromkeys(plan.jobs, (self.part,)))
        self.manifest: dict[str, Any] = {}
        self.told: set[str] = set()
        self.results: dict[str, dict[str, Any]] = {}
        self.sweeps: dict[str, Any] = {}
        self.group = plan.jobs

    def result(self) -> RunResult:
        """Compute what is missing, and collect."""
        from neuron_antagonism.runs.execute import carry_out, prepare

        self.part.check_options()
        try:
            with preparing(self.shelf, self.out):
                prepare(self.work, self.shelf, self.backend, strict=True, made=self.shelf.put, progress=self.progress)
            with under_way(self.out), self._told_of_errors():
                self.manifest = self._manifest()
                write_json(self.out, MANIFEST, self.manifest, indent=1)
                self._write_questions()
                self._tell("before_run", self.manifest)
                carried = carry_out(
                    self.work,
                    self.shelf,
                    self.backend,
                    failed={},
                    made=self._made,
                    settled=self._settled,
                    progress=self.progress,
                )
                for job, seconds in carried.seconds.items():
                    told = {f"{job.name}: {kind}": round(spent, 3) for kind, spent in seconds.items()}
                    self.manifest["timings"] |= told
                return self._collected(carried.failed)
        finally:
            self.backend.close()

    def _collected(self, failed: Mapping[Job, Exception]) -> RunResult:
        from neuron_antagonism.parts.results import collected, whole_results

        done = [job for job in self.plan.jobs if job not in failed]
        if failed and self.part.settling.of(done, self.shelf) != self.part.settling.of(self.group, self.shelf):
            # without the failed tasks fewer steps were enough
            self.results.clear()
        self.group = tuple(done)
        for job in done:
            self._settled(job)
        found = [collected(self.part, job, tuple(done), self.shelf) for job in done]
        results = {"schema": RUN_SCHEMA} | whole_results(found, self.results, self.sweeps, self.plan.config.seed)
        if failed:
            results["failed"] = {job.name: str(error) for job, error in failed.items()}
        self.manifest["units"] = {job.name: self._units(job, done) for job in done}
        self.manifest["steps"] = self.part.settling.of(done, self.shelf) if done else self.plan.config.steps
        self._write_neurons(done)
        write_json(self.out, RESULTS, results)
        self.manifest["finished"] = not failed
        write_json(self.out, MANIFEST, self.manifest, indent=1)
        if failed:
            first = next(iter(failed.values()))
            names = ", ".join(job.name for job in failed)
            raise RunError(f"{first}" if len(self.plan.jobs) == 1 else f"task {names} failed: {first}") from first
        return RunResult(self.manifest, results, self.out, self._fetch)

    def _settled(self, job: Job) -> None:
        """A task has come as far as it can by itself."""
        from neuron_antagonism.parts.results import collected, task_results

        if job.name in self.results or not self.part.answered(job, self.group, self.shelf):
            return
        found = collected(self.part, job, self.group, self.shelf)
        for name, attribution in found.attributions.items():
            if f"{job.name}|{name}" not in self.told and any(s.name == name for s in self.plan.scorers):
                self.told.add(f"{job.name}|{name}")
                self._tell("after_attribution", job.name, name, attribution)
        sweeps = found.sweeps()
        self.results[job.name], self.sweeps[job.name] = task_results(found, sweeps), sweeps
        if job.name not in self.told:
            self.told.add(job.name)
            self._tell("after_evaluation", job.name, self.results[job.name])

    def _made(self, unit: Unit, payload: Payload) -> None:
        self.shelf.put(unit, payload)
        if unit.kind == "scores":
            from neuron_antagonism.units.scores import read

            job = next(job for job in self.plan.jobs if unit.label.startswith(f"{job.name}."))
            name = unit.label.removeprefix(f"{job.name}.")
            if any(scorer.name == name for scorer in self.plan.scorers):
                self.told.add(f"{job.name}|{name}")
                self._tell("after_attribution", job.name, name, read(payload))

    @contextmanager
    def _told_of_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # of a task that failed, what failed there
            cause = error.__cause__ if isinstance(error, RunError) and error.__cause__ is not None else error
            for observer in self.plan.observers:
                try:
                    observer.on_error(cause)
                except Exception as second:  # must not hide the first
                    error.add_note(f"observer {observer.name!r} failed in on_error(): {second!r}")
            raise

    def _tell(self, event: str, *values: Any) -> None:
        for observer in self.plan.observers:
            tell(observer, event, *values)

    def _manifest(self) -> dict[str, Any]:
        plan = self.plan
        prepared = {job.name: self.part.sizes.of(job, self.shelf) for job in plan.jobs}
        first = next(one for one in prepared.values() if one is not None)
        used = {scorer.name for scorer in plan.scorers}
        tasks = {type(job.task.loaded.task) for job in plan.jobs}
        letters = [row for one in prepared.values() if one is not None for row in one.payload.meta["letters"]]
        return {
            "schema": RUN_SCHEMA,
            "key": plan.key,
            "finished": False,
            **software(),
            "plugins": {
                entry.name: f"{entry.distribution} {entry.version}"
                for entry in registry()
                if (entry.kind == "scorer" and entry.name in used) or entry.cls in tasks
            },
            "machine": machine() | {"device": first.model["device"]},
            "config": plain(plan.config),
            "model": {name: value for name, value in first.model.items() if name not in ("units", "planted", "device")},
            "letters": [
                {"ending": ending, "letters": letters, "suffix": suffix, "form": form, "mass": mass}
                for ending, letters, _, suffix, form, mass, _ in {json.dumps(row): row for row in letters}.values()
            ],
            "data": {
                job.name: {
                    "source": job.task.loaded.source,
                    "train": job.task.loaded.train,
                    "sha256": job.task.data,
                }
                for job in plan.jobs
            },
            "scorers": {s.name: json.loads(self._fixed(s).options.model_dump_json()) for s in plan.scorers},
            "engine": dict(first.engine),
            "timings": {},
            "units": {},
        }

    def _fixed(self, scorer: Scorer) -> Scorer:
        """The scorer with its z as a count."""
        from neuron_antagonism.units.scores import Scoring

        unit = Scoring(self.part.sizes, self.part.settings).unit(self.plan.jobs[0], self.shelf, scorer)
        recipe = None if unit is None else unit.recipe
        return recipe.scorer if isinstance(recipe, Scoring) and recipe.scorer is not None else scorer

    def _units(self, job: Job, done: Sequence[Job]) -> dict[str, Any]:
        """The files of a task, by what they hold."""
        acting = self.part.acting(done, self.shelf)
        assert acting is not None
        found: dict[str, Any] = {"examples": _named(self.part.sizes.unit(job))}
        for kind in ("scores", "neurons", "fits"):
            found[kind] = {}
        for scorer in self.plan.scorers:
            units = {
                "scores": acting.choosing.scores(job, self.shelf, scorer),
                "neurons": acting.choosing.unit(job, self.shelf, scorer),
                "fits": acting.unit(job, self.shelf, scorer),
            }
            for kind, unit in units.items():
                if unit is not None:
                    found[kind][scorer.name] = _named(unit)
        return found | self._shown(job, done, acting)

    def _shown(self, job: Job, done: Sequence[Job], acting: Acting) -> dict[str, Any]:
        """Files that no figure needs any more, for whoever looks at single questions and neurons: a report."""
        from neuron_antagonism.parts.effects import CEILING

        unedited = self.part.asking("evaluate").unit(job, self.shelf)
        each = {s.name: self.part.of_scorer(job, done, self.shelf, s) for s in self.plan.scorers}
        exact = next((s for s in self.part.scored(job, self.shelf) if s.name == CEILING), None)
        truth = None if exact is None else acting.choosing.scores(job, self.shelf, exact)
        return {
            "unedited": None if unedited is None else _named(unedited),
            "answers": {name: _named(one.evaluate) for name, one in each.items() if one.evaluate is not None},
            "described": {name: _named(one.described) for name, one in each.items() if one.described is not None},
            "exact": None if truth is None else _named(truth),
        }

    def _fetch(self, unit: Mapping[str, str]) -> Payload:
        found = self.shelf.get(Unit(unit["kind"], _label(unit["file"]), unit["key"], _NOTHING))
        assert found is not None
        return found

    def _write_questions(self) -> None:
        """questions.jsonl: one line an example, with its task and the key of its file."""
        if self.out is None:
            return
        lines = []
        for job in self.plan.jobs:
            prepared = self.part.sizes.of(job, self.shelf)
            assert prepared is not None
            about = {"task": job.name, "key": self.part.sizes.unit(job).key}
            lines += [json.dumps(about | row, ensure_ascii=False) + "\n" for row in prepared.payload.meta["rows"]]
        write_whole(self.out / QUESTIONS, "".join(lines).encode())

    def _write_neurons(self, done: Sequence[Job]) -> None:
        """neurons.csv: the chosen good and bad neurons of every task and scorer."""
        if self.out is None:
            return
        chosen = {
            (job.name, s.name): self.part.of_scorer(job, tuple(done), self.shelf, s).candidates[0]
            for job in done
            for s in self.plan.scorers
        }
        sets = [neurons for candidate in chosen.values() for _, neurons in candidate.sets if len(neurons)]
        site = {} if all(neurons.site == "post" for neurons in sets) else {"site": sets[0].site}
        columns = ("task", "scorer", "role", "rank", "layer", "neuron", "score")
        rows = [
            dict(zip(columns, (task, scorer, role, rank, *pair, score), strict=True)) | site
            for (task, scorer), candidate in chosen.items()
            for role, neurons in candidate.sets
            for rank, (pair, score) in enumerate(zip(neurons, neurons.scores.tolist(), strict=True), 1)
        ]
        write_whole(self.out / NEURONS, csv_text([*columns, *site], rows).encode())


class _Nothing:
    """The recipe of a unit that is there already."""

    @classmethod
    def make(cls, desk: Any, units: Sequence[Unit]) -> None:
        raise NotImplementedError


_NOTHING = _Nothing()


def _named(unit: Unit) -> dict[str, str]:
    return {"kind": unit.kind, "file": unit.file, "key": unit.key}


def _label(file: str) -> str:
    return file.partition("/")[2].rsplit(".", 2)[0]


def tell(observer: Observer, event: str, *values: Any) -> None:
    """Tell an observer of an event: a plugin's code.

    Raises:
        PluginError: it fails.
    """
    with foreign(f"observer {observer.name!r} failed in {event}()", purposeful=False):
        getattr(observer, event)(*values)


def _names(things: Sequence[str | Path | Scorer | Task] | None) -> tuple[str, ...] | None:
    # a file stands as it was given: its task's name is in the results
    return None if things is None else tuple(str(t) if isinstance(t, str | Path) else t.name for t in things)
