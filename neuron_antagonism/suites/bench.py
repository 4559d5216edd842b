"""`na.bench`: a suite from its spec to its results, on a grid of models, tasks and seeds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import AntagonismWarning, DataError, RunError, UsageError, unknown
from neuron_antagonism.files import TABLE, expanded, read_text
from neuron_antagonism.notebook import html_table
from neuron_antagonism.parts.specs import Classes, OfTasks
from neuron_antagonism.progress import Progress
from neuron_antagonism.report.rows import write_rows
from neuron_antagonism.report.written import tables_there, write_tables
from neuron_antagonism.runs.backends import Backend
from neuron_antagonism.runs.backends.choose import backend_of
from neuron_antagonism.runs.environment import machine, software
from neuron_antagonism.runs.job import Job, ModelSource, TaskSource
from neuron_antagonism.runs.keys import identity, key_of
from neuron_antagonism.runs.lock import claimed
from neuron_antagonism.runs.store import Store, shelf_of
from neuron_antagonism.runs.unit import Memory, Payload
from neuron_antagonism.suites.again import Asked, asked_in, named, names_manifest
from neuron_antagonism.suites.directory import (
    BENCH_SCHEMA,
    MANIFEST,
    RESULTS,
    finished_manifest,
    preparing,
    read_json,
    under_way,
    write_json,
)
from neuron_antagonism.suites.plan import listed, once
from neuron_antagonism.suites.spec import Suite, find_suite
from neuron_antagonism.suites.told import told
from neuron_antagonism.tasks.load import LoadedTask, load_task, make_task
from neuron_antagonism.tasks.wording import Wording
from neuron_antagonism.types import whole

if TYPE_CHECKING:
    import pandas as pd

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.parts.rows import Rows
    from neuron_antagonism.runs.execute import Work

Data = Mapping[str, tuple[str, str | None]]


@dataclass(repr=False)
class BenchResult:
    """What a suite measured.

    Attributes:
        manifest: what was asked for, of which models, with which versions; and seconds spent, by part and task.
        parts: rows by the part's name, as its module describes them; of several models or seeds with these beside.
        left_out: by job, classes of which the model answers too few questions rightly to learn from, and how many.
        notes: what a reader should know of the examples, a line each.
        failed: by job, why it could not be finished. A job is named by its task, where there are several models or
            seeds as model/seed/task.
        path: the directory it was written to, or None.
    """

    manifest: dict[str, Any]
    parts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    path: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """What results.json holds."""
        shown = {"schema": BENCH_SCHEMA, "notes": self.notes, "left_out": self.left_out, "parts": self.parts}
        return shown | ({"failed": self.failed} if self.failed else {})

    def __repr__(self) -> str:
        """How much was measured; the figures are in `frame`."""
        rows = ", ".join(f"{name}: {len(rows)} rows" for name, rows in self.parts.items())
        failed = f", {len(self.failed)} jobs failed" if self.failed else ""
        return f"BenchResult({rows}{failed}{'' if self.path is None else f', {str(self.path)!r}'})"

    def _repr_html_(self) -> str:
        """The first rows of every part, for a notebook."""
        tables = []
        for name, rows in self.parts.items():
            columns = [*dict.fromkeys(column for row in rows for column in row)]
            tables.append(html_table(columns, rows, f"{name}: {len(rows)} rows"))
        return "".join(tables)

    def frame(self, part: str) -> pd.DataFrame:
        """The rows of a part as a pandas frame; an interval is a column of pairs.

        Raises:
            UsageError: no such part.
        """
        import pandas as pd

        if part not in self.parts:
            raise UsageError(unknown("part", part, self.parts))
        return pd.DataFrame(self.parts[part])


@dataclass(frozen=True)
class BenchPlan:
    """A suite that can be prepared.

    Args:
        suite: what is measured.
        jobs: by part's name, its jobs in order.
        texts: plain texts for perplexity; () = the examples' own.
        text: the file that they come from.
        asked: what was asked for beside the suite.
    """

    suite: Suite
    jobs: Mapping[str, tuple[Job, ...]]
    texts: tuple[str, ...]
    text: str | None
    asked: Asked = field(default_factory=Asked)

    @cached_property
    def every(self) -> list[Job]:
        """All jobs, those of one model together."""
        found = dict.fromkeys(job for jobs in self.jobs.values() for job in jobs)
        models = list(dict.fromkeys(job.model for job in found))
        return sorted(found, key=lambda job: models.index(job.model))

    @property
    def strict(self) -> bool:
        """Whether a job that can't be prepared ends everything: of several models the others go on."""
        return not self._several["model"]

    @cached_property
    def _several(self) -> dict[str, bool]:
        return {name: len({getattr(job, name) for job in self.every}) > 1 for name in ("model", "seed")}

    @property
    def key(self) -> str:
        """What determines the results, and nothing else."""
        jobs = [[name, [[job.model.id, job.task.id, job.seed] for job in own]] for name, own in self.jobs.items()]
        plugins = [identity(plugin) for part in self.suite.parts for plugin in part.plugins()]
        targets = [identity(target) for part in self.suite.parts for target in part.targets()]
        return key_of("bench", self.suite.model_dump(mode="json"), jobs, self.texts, plugins, targets)

    def about(self, job: Job) -> dict[str, Any]:
        """What tells a job's rows from others', beside the task, where the grid has several."""
        values = {"model": job.model.name, "seed": job.seed}
        return {name: value for name, value in values.items() if self._several[name]}

    def label(self, job: Job) -> str:
        """What people call a job: its task, after what tells it from others."""
        return "/".join(str(value) for value in (*self.about(job).values(), job.name))


def bench(
    suite: str | Path | Suite,
    model: str | HookedModel | Sequence[str | HookedModel] = (),
    *,
    tasks: Sequence[str | Path] = (),
    data: Data | None = None,
    text: str | Path | None = None,
    seed: int | Sequence[int] = (),
    form: str | None = None,
    shots: int | None = None,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    backend: str = "serial",
    workers: int = 1,
    progress: Progress | bool | None = None,
) -> BenchResult:
    """Measure a suite on a grid of models, tasks and seeds.

    What is in the directory or in the cache already is not computed again, whatever was asked before.

    Args:
        suite: a shipped suite's name, a YAML file that states one, or a `Suite`; or the directory of one that was
            measured, whose models, tasks, data, seeds and texts are taken where no others are given.
        model: names (see `load_model`) or loaded models, one or several; default: the suite's, or the embedded one.
        tasks: tasks instead of all that the suite names: names or task files.
        data: by task, its own evaluation file and, or None, training file.
        text: a file of plain text for perplexity, a text on each line; None = the examples' own texts.
        seed: of every draw, one or several; default: the suite's.
        form, shots: how questions are answered, "letters" or "words", and how many answered examples a prompt shows in
            words, see `LoadedTask.split`; default: the suite's.
        out: the directory for results; None = nothing is written but what a cache that is given keeps.
        cache, backend, workers: as in `run`.
        progress: called with what is being done, how much is done and how much there is; or whether a bar is shown.

    Raises:
        AntagonismError: something asked for is wrong; nothing has been created then.
        RunError: a job failed under way; what was finished is in `out`.
    """
    plan = plan_bench(suite, model, tasks=tasks, data=data, text=text, seed=seed, form=form, shots=shots)
    where = None if out is None else expanded(out)
    with told(progress) as tell:
        return carry_bench(plan, where, cache=cache, backend=backend, workers=workers, progress=tell)


def plan_bench(
    suite: str | Path | Suite,
    model: str | HookedModel | Sequence[str | HookedModel] = (),
    *,
    tasks: Sequence[str | Path] = (),
    data: Data | None = None,
    text: str | Path | None = None,
    seed: int | Sequence[int] = (),
    form: str | None = None,
    shots: int | None = None,
    loading: Mapping[str, Any] | None = None,
) -> BenchPlan:
    """Check what can be checked without a model, and read the data; arguments as in `bench`. Imports no torch.

    Args:
        loading: further arguments of `load_model`.
    """
    stated, before, hashes = _before(suite)
    spec = _asked_in(stated, form, shots)
    given = {name: value for name, value in (loading or {}).items() if value not in (None, False)}
    loading = {**before.loading, **given}
    models = _several(model) or before.models
    seeds = _seeds(seed) or before.seeds or spec.seeds
    instead = tuple(str(name) for name in listed(tasks)) or before.tasks
    text = text if text is not None else before.text
    texts = _texts(text)
    wanted = {
        part.name: tuple(instead or (part.tasks if isinstance(part, OfTasks) else ()) or spec.tasks)
        for part in spec.parts
    }
    every = _loaded(dict.fromkeys(str(name) for names in wanted.values() for name in names), data or {}, before.data)
    for task in every.values():
        if hashes.get(task.name) and not {TaskSource.of(task, s).data for s in seeds} <= {*hashes[task.name]}:
            line = f"the data of task {task.name!r} are not those that {suite} was measured on"
            warnings.warn(line, AntagonismWarning, stacklevel=2)
    for part in spec.parts if spec.form == "words" else ():
        for name in wanted[part.name]:
            Wording(every[str(name)].task, spec.form, spec.shots)
    for names in wanted.values():
        once("task", [every[str(name)].name for name in names])
    for part in spec.parts:
        part.check_tasks([every[str(name)].name for name in wanted[part.name]])
        part.targets()
    for part in spec.parts:
        part.plugins()
    read = {(name, s): TaskSource.of(task, s) for name, task in every.items() for s in seeds}
    sources = _sources(models or spec.models or ("demo",), loading)
    jobs = {
        name: tuple(Job(source, read[str(task), s], s) for source in sources for s in seeds for task in names)
        for name, names in wanted.items()
    }
    there = {task.name: (task.source, task.train) for task in every.values() if task.source is not None}
    asked = named([source.name for source in sources], seeds, instead, there, text, loading)
    return BenchPlan(spec, jobs, texts, None if text is None else str(text), asked)


def _before(suite: str | Path | Suite) -> tuple[Suite, Asked, dict[str, list[str]]]:
    """A suite, and of one that was measured before what it was asked for and the hashes of its data."""
    if not isinstance(suite, Suite) and names_manifest(suite):
        return asked_in(suite)
    return (suite if isinstance(suite, Suite) else find_suite(suite)), Asked(), {}


def _asked_in(suite: Suite, form: str | None, shots: int | None) -> Suite:
    """The suite with its questions answered in another form."""
    given = {name: value for name, value in {"form": form, "shots": shots}.items() if value is not None}
    return Suite.of(suite.model_dump(mode="json") | given, f"suite {suite.name}") if given else suite


def carry_bench(
    plan: BenchPlan,
    out: Path | None = None,
    *,
    cache: str | Path | None = None,
    backend: str = "serial",
    workers: int = 1,
    progress: Progress | None = None,
) -> BenchResult:
    """Carry out a plan; arguments and errors as in `bench`."""
    at = backend_of(backend, workers)
    if out is None:
        return _Bench(plan, None, shelf_of(None, cache), at, progress).result()
    there = finished(out, plan.key)
    if there is not None:
        return there
    shelf = shelf_of(out, cache)
    with claimed(out):
        return _Bench(plan, out, shelf, at, progress).result()


def finished(out: Path, key: str) -> BenchResult | None:
    """The suite's results in a directory, where they are finished and of this key; no torch is imported."""
    manifest = finished_manifest(out, key)
    if manifest is None:
        return None
    try:
        results = read_json(out / RESULTS)
        found = BenchResult(manifest, results["parts"], results["left_out"], results["notes"], {}, out)
        whole = all((out / f"{name}.csv").is_file() for name in found.parts)
    except (DataError, KeyError, TypeError, AttributeError):
        # what is damaged is collected again
        return None
    shown = found.manifest["suite"], found.parts, found.manifest["models"]
    if whole and not tables_there(out, *shown):
        write_tables(out, *shown)
    return found if whole else None


def parts_of(plan: BenchPlan) -> dict[str, Rows]:
    """The parts by name; from here on torch is imported."""
    from neuron_antagonism.parts.kinds import part_of

    s = plan.suite
    classes = Classes(s.form, s.identify, s.evaluate, s.least, s.shots, s.site)
    return {spec.name: part_of(spec, classes, plan.texts) for spec in s.parts}


def work_of(plan: BenchPlan, parts: Mapping[str, Rows]) -> Work:
    """Every job with its parts."""
    from neuron_antagonism.parts.facts import Facts
    from neuron_antagonism.runs.execute import Work

    return Work(
        {job: (Facts(), *(part for name, part in parts.items() if job in plan.jobs[name])) for job in plan.every}
    )


class _Bench:
    """The state of one bench."""

    def __init__(
        self, plan: BenchPlan, out: Path | None, shelf: Store | Memory, backend: Backend, progress: Progress | None
    ) -> None:
        self.plan, self.out, self.shelf, self.backend, self.progress = plan, out, shelf, backend, progress
        self.parts = parts_of(plan)
        self.work = work_of(plan, self.parts)

    def result(self) -> BenchResult:
        """Compute what is missing, and collect."""
        from neuron_antagonism.runs.execute import carry_out, prepare

        shelf, put, progress = self.shelf, self.shelf.put, self.progress
        try:
            with preparing(shelf, self.out):
                prepared = prepare(self.work, shelf, self.backend, strict=self.plan.strict, made=put, progress=progress)
            with under_way(self.out):
                manifest = self._manifest()
                write_json(self.out, MANIFEST, manifest, indent=1)
                carried = carry_out(self.work, shelf, self.backend, failed=prepared.failed, made=put, progress=progress)
                for job, seconds in carried.seconds.items():
                    label = self.plan.label(job)
                    manifest["timings"] |= {f"{label}: {kind}": round(spent, 3) for kind, spent in seconds.items()}
                return self._collected(manifest, carried.failed)
        finally:
            self.backend.close()

    def _collected(self, manifest: dict[str, Any], failed: Mapping[Job, Exception]) -> BenchResult:
        found = {name: self._found(name, failed) for name in self.parts}
        rows: dict[str, dict[Job, list[dict[str, Any]]]] = {}
        for kind in dict.fromkeys(type(part) for part in self.parts.values()):
            rows |= kind.joined({name: found[name] for name, part in self.parts.items() if type(part) is kind})
        label, about = self.plan.label, self.plan.about
        each = [(job, payload.meta) for own in found.values() for job, payload in own.items()]
        result = BenchResult(
            manifest | {"finished": not failed},
            {name: _plain([about(job) | row for job, own in rows[name].items() for row in own]) for name in found},
            {label(job): dict(meta["left_out"]) for job, meta in each if "left_out" in meta},
            list(dict.fromkeys(f"{label(job)}: {note}" for job, meta in each for note in meta["notes"])),
            {label(job): str(error) for job, error in failed.items()},
            self.out,
        )
        self._write(result, found)
        if failed:
            first = next(iter(failed.values()))
            several = f"{', '.join(result.failed)} failed: " if len(self.plan.every) > 1 else ""
            raise RunError(f"{several}{first}", result) from first
        return result

    def _found(self, name: str, failed: Mapping[Job, Exception]) -> dict[Job, Payload]:
        """What there is of each job of a part, but for those that failed."""
        part, found = self.parts[name], {}
        for job in (job for job in self.plan.jobs[name] if job not in failed):
            group = next(one.group for one in self.work.wanted(job, failed) if one.part is part)
            payload = part.found(job, group, self.shelf)
            assert payload is not None
            found[job] = payload
        return found

    def _write(self, result: BenchResult, found: Mapping[str, Mapping[Job, Payload]]) -> None:
        if self.out is None:
            return
        for name, part in self.parts.items():
            write_rows(self.out / f"{name}.csv", result.parts[name])
            payloads = found[name].items()
            part.finish(((self.plan.about(job) | {"task": job.name}, payload) for job, payload in payloads), self.out)
        write_json(self.out, RESULTS, result.to_json())
        write_json(self.out, MANIFEST, result.manifest, indent=1)
        write_tables(self.out, result.manifest["suite"], result.parts, result.manifest["models"])

    def _manifest(self) -> dict[str, Any]:
        from neuron_antagonism.parts.facts import Facts

        every = self.plan.every
        told = {job.model: facts for job in every if (facts := Facts().of(job, self.shelf)) is not None}
        models = [
            # as it is called here: what is stored may come from a directory of another name
            {name: value for name, value in facts.items() if name not in ("units", "planted")} | {"name": model.name}
            for model, facts in told.items()
        ]
        data: dict[str, Any] = {}
        for job in every:
            task = job.task.loaded
            own = data.setdefault(job.name, {"source": task.source, "train": task.train, "sha256": []})
            # a seed may draw other items
            own["sha256"] += [job.task.data] if job.task.data not in own["sha256"] else []
        return {
            "schema": BENCH_SCHEMA,
            "key": self.plan.key,
            "finished": False,
            **software(),
            "machine": machine(),
            "suite": self.plan.suite.model_dump(mode="json"),
            "seeds": list(dict.fromkeys(job.seed for job in every)),
            "text": self.plan.text,
            "asked": self.plan.asked.model_dump(mode="json"),
            "models": models,
            "data": data,
            "timings": {},
        }


def _plain(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as results.json holds them: the same whether they were measured just now or read."""
    found: list[dict[str, Any]] = json.loads(json.dumps(rows))
    return found


def _several(given: Any) -> tuple[Any, ...]:
    """One thing, or several, as several."""
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)


def _seeds(given: int | Sequence[int]) -> tuple[int, ...]:
    seeds = []
    for seed in _several(given):
        number = whole(seed)
        if number is None or number < 0:
            raise UsageError(f"seed is {seed!r}; accepted: a whole number from 0")
        seeds.append(number)
    once("seed", [str(seed) for seed in seeds])
    return tuple(seeds)


def _sources(models: Sequence[str | HookedModel], loading: Mapping[str, Any]) -> list[ModelSource]:
    """Where the models come from; each is another one, with a name of its own."""
    sources = [ModelSource.of(one, loading) for one in models]
    once("model", [source.name for source in sources])
    names: dict[str, str] = {}
    for source in sources:
        same = names.setdefault(source.id, source.name)
        if same != source.name:
            raise UsageError(f"the models {same!r} and {source.name!r} are one and the same; accepted: each once")
    return sources


def _loaded(names: Sequence[str] | Mapping[str, None], data: Data, before: Data) -> dict[str, LoadedTask]:
    """Tasks by what they were asked for as; of data that were given before, what is wanted now."""
    made = {name: make_task(name) for name in names}
    there = sorted({task.name for task in made.values()})
    for name in data:
        if name not in there:
            raise UsageError(f"data was given for {unknown('task', name, there)}")
    own: dict[str, tuple[str | None, str | None]] = {**before, **data}
    sources = {name: own.get(task.name, (None, None)) for name, task in made.items()}
    return {name: load_task(task, source=sources[name][0], train=sources[name][1]) for name, task in made.items()}


def _texts(path: str | Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    accepted = "a file of plain text, a text on each line"
    texts = tuple(line for line in read_text(expanded(path), accepted, TABLE).split("\n") if line.strip())
    if not texts:
        raise DataError(f"{path}: holds no text; accepted: {accepted}")
    return texts
