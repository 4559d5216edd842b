"""A suite from its spec to its results: everything that can be wrong is found before anything is created."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuron_antagonism.errors import AntagonismError, DataError, RunError, UsageError, unknown
from neuron_antagonism.files import TABLE, expanded, read_text
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.load import load_model
from neuron_antagonism.neurons import check_count
from neuron_antagonism.parts.antagonism import Pairs, antagonism
from neuron_antagonism.parts.distributions import distributions, write_distributions
from neuron_antagonism.parts.gating import Gates, gating
from neuron_antagonism.parts.masking import Masked, add_rivals, masking
from neuron_antagonism.parts.subject import Subject
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.progress import Progress
from neuron_antagonism.runs.claim import claimed
from neuron_antagonism.runs.environment import described, machine, software
from neuron_antagonism.runs.plan import make_out, once
from neuron_antagonism.runs.store import RunDirectory
from neuron_antagonism.suites.rows import write_rows
from neuron_antagonism.suites.spec import Antagonism, Distributions, Gating, Masking, OfTasks, Suite, find_suite
from neuron_antagonism.tasks.load import LoadedTask, load_task, make_task

SCHEMA = 1

Data = Mapping[str, tuple[str, str | None]]


@dataclass
class BenchResult:
    """What a suite measured.

    Attributes:
        manifest: what was asked for, of which model, with which versions; and how long each part took, in seconds.
        parts: rows by the part's name, as its module describes them.
        left_out: by task, classes of which the model answers too few questions rightly to learn from, and how many.
        notes: what a reader should know of the examples, a line each.
        path: the directory it was written to, or None.
    """

    manifest: dict[str, Any]
    parts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    path: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """What results.json holds."""
        return {"schema": SCHEMA, "notes": self.notes, "left_out": self.left_out, "parts": self.parts}


@dataclass(frozen=True)
class Bench:
    """A suite that can be measured."""

    suite: Suite
    model: HookedModel
    subjects: tuple[Subject, ...]
    learned: Mapping[str, Gates | Pairs]
    text: tuple[str, ...]
    seed: int
    manifest: dict[str, Any]


def bench(
    suite: str | Path | Suite,
    model: str | HookedModel = "demo",
    *,
    tasks: Sequence[str | Path] = (),
    data: Data | None = None,
    text: str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure a suite on a model.

    Args:
        suite: a shipped suite's name, a YAML file that states one, or a `Suite`.
        model: a name (see `load_model`) or a loaded model.
        tasks: tasks instead of all that the suite names: names or task files.
        data: by task, its own evaluation file and, or None, training file.
        text: a file of plain text for perplexity, a text on each line; None = the examples' own texts.
        seed: of every draw.
        out: the directory for results; None = nothing is written.
        progress: called with what is being done, how much is done and how much there is.

    Raises:
        AntagonismError: something asked for is wrong; nothing has been created then.
        RunError: it failed under way; what was finished is in `out`.
    """
    directory = None if out is None else expanded(out)
    with claimed(directory, resume=None) if directory is not None else nullcontext():
        ready = plan_bench(suite, model, tasks=tasks, data=data, text=text, seed=seed, progress=progress)
        return run_bench(ready, directory)


def plan_bench(
    suite: str | Path | Suite,
    model: str | HookedModel = "demo",
    *,
    tasks: Sequence[str | Path] = (),
    data: Data | None = None,
    text: str | Path | None = None,
    seed: int = 0,
    loading: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Bench:
    """Check everything, load the model, choose the examples and learn from them; arguments as in `bench`.

    Args:
        loading: further arguments of `load_model`.
    """
    spec = suite if isinstance(suite, Suite) else find_suite(suite)
    texts = _texts(text)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"seed is {seed!r}; accepted: a whole number from 0")
    wanted = {part.name: tuple(tasks or part.tasks or spec.tasks) for part in _of_tasks(spec)}
    about_concepts = tuple(tasks or spec.tasks) if len(wanted) < len(spec.parts) else ()
    named = [about_concepts, *wanted.values()]
    every = _loaded(dict.fromkeys(str(name) for names in named for name in names), data or {})
    for names in named:
        once("task", [every[str(name)].name for name in names])
    for task in every.values():
        task.items(seed)  # what is wrong with data is said before a model is loaded
    for scorer in (scorer for part in _of_tasks(spec) for scorer in part.scorers):
        registry().make(Scorer, scorer)
    ready = model if isinstance(model, HookedModel) else load_model(model, **(loading or {}))
    if ready.is_edited:
        raise UsageError("a suite was started inside model.edited(); accepted: outside, it makes its own edits")
    n_units = ready.n_layers * ready.units(spec.site)
    for part in spec.parts:
        if isinstance(part, Gating):
            check_count(part.budget, n_units)
        elif isinstance(part, Antagonism):
            if 2 * part.n > n_units:
                raise UsageError(
                    f"part {part.name!r} asks for two sets of {part.n} neurons; accepted: 1 to {n_units // 2} of the "
                    f"{n_units} of this model"
                )
        elif any(layer >= ready.n_layers for layer in part.layers):
            raise UsageError(
                f"part {part.name!r} names block {max(part.layers)}; accepted: 0 to {ready.n_layers - 1} of this model"
            )
    subjects = tuple(Subject(spec, every[str(name)], ready, texts, seed, progress) for name in about_concepts)
    for subject in subjects:
        subject.check()
    manifest = {
        "schema": SCHEMA,
        "finished": False,
        **software(),
        "machine": machine(ready),
        "suite": spec.model_dump(mode="json"),
        "seed": seed,
        "text": None if text is None else str(text),
        "model": described(ready, ready.fingerprint()),
        "data": {task.name: {"source": task.source, "train": task.train} for task in every.values()},
        "timings": {},
    }
    learned: dict[str, Gates | Pairs] = {}
    for part in _of_tasks(spec):
        theirs = [every[str(name)] for name in wanted[part.name]]
        if isinstance(part, Gating):
            learned[part.name] = Gates.of(part, theirs, ready, spec.site, seed=seed, progress=progress)
        else:
            learned[part.name] = Pairs.of(part, theirs, ready, spec.site, seed=seed, progress=progress)
    return Bench(spec, ready, subjects, learned, texts, seed, manifest)


def run_bench(ready: Bench, out: Path | None = None) -> BenchResult:
    """Measure what was planned, and write each part as soon as it is there.

    Raises:
        RunError: it failed under way.
    """
    left_out = {subject.name: subject.left_out for subject in ready.subjects}
    result = BenchResult(ready.manifest, left_out=left_out, notes=_notes(ready), path=out)
    if out is not None:
        make_out(out, ["plots"] if any(isinstance(part, Distributions) for part in ready.suite.parts) else [])
    _write(out, result)
    masked: list[Masked] = []
    try:
        for part in ready.suite.parts:
            start = time.perf_counter()
            if isinstance(part, Masking):
                found = [one for subject in ready.subjects for one in masking(part, subject)]
                masked += found
                rows = [one.row for one in found]
            elif isinstance(part, Distributions):
                rows = [row for subject in ready.subjects for row in distributions(part, subject)]
            else:
                rows = _of_learned(ready.learned[part.name], ready.text)
            result.parts[part.name] = rows
            result.manifest["timings"][part.name] = round(time.perf_counter() - start, 3)
            if isinstance(part, Distributions) and out is not None:
                for subject in ready.subjects:
                    own = [row for row in rows if row["task"] == subject.name]
                    write_distributions(part, subject, own, out / "plots")
            _write(out, result)
    except AntagonismError as error:
        raise RunError(str(error)) from error
    # a rival may come from any part
    add_rivals(masked, ready.seed)
    result.manifest["finished"] = True
    _write(out, result)
    return result


def _notes(ready: Bench) -> list[str]:
    reports = [(subject.name, subject.split.report) for subject in ready.subjects]
    # of the same tasks, but other examples
    reports += [(name, split.report) for one in ready.learned.values() for name, split in one.splits.items()]
    return list(dict.fromkeys(f"{name}: {note}" for name, report in reports for note in report.notes))


def _of_tasks(suite: Suite) -> list[Gating | Antagonism]:
    return [part for part in suite.parts if isinstance(part, OfTasks)]


def _of_learned(learned: Gates | Pairs, text: Sequence[str]) -> list[dict[str, Any]]:
    return gating(learned, text) if isinstance(learned, Gates) else antagonism(learned)


def _loaded(names: Iterable[str], data: Data) -> dict[str, LoadedTask]:
    """Tasks by what they were asked for as."""
    made = {name: make_task(name) for name in names}
    there = sorted({task.name for task in made.values()})
    for name in data:
        if name not in there:
            raise UsageError(f"data was given for {unknown('task', name, there)}")
    sources = {name: data.get(task.name, (None, None)) for name, task in made.items()}
    return {name: load_task(task, source=sources[name][0], train=sources[name][1]) for name, task in made.items()}


def _texts(path: str | Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    accepted = "a file of plain text, a text on each line"
    texts = tuple(line for line in read_text(expanded(path), accepted, TABLE).split("\n") if line.strip())
    if not texts:
        raise DataError(f"{path}: holds no text; accepted: {accepted}")
    return texts


def _write(out: Path | None, result: BenchResult) -> None:
    if out is None:
        return
    for name, rows in result.parts.items():
        write_rows(out / f"{name}.csv", rows)
    directory = RunDirectory(out)
    directory.write_json("manifest.json", result.manifest)
    directory.write_json("results.json", result.to_json())
