"""Suites on grids of models, tasks and seeds: the same on every back end, computed once, with holes where jobs fail."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_cli
import tiny
import yaml
from rich.console import Console

import neuron_antagonism as na
from neuron_antagonism.errors import AntagonismWarning
from neuron_antagonism.parts.sweeping import EFFECT
from neuron_antagonism.report.suite_tables import tables
from neuron_antagonism.runs import keys
from neuron_antagonism.runs.backends.processes import Processes
from neuron_antagonism.runs.store import Store
from neuron_antagonism.suites.bench import parts_of, plan_bench, work_of
from neuron_antagonism.suites.spec import Suite

call, one_thread = test_cli.call, tiny.one_thread

SIZES = {"identify": 2, "evaluate": 2}
EFFECTS = {"part": "effects", "name": "effects", "scorers": ["act", "random"], "select": 2, **SIZES}
GATED = {"part": "gating", "name": "gated", "scorers": ["act"], "taus": [1], "budget": 10, **SIZES}
SHARED = {"part": "common", "name": "shared", "count": 3, "budget": 4, "select": 2, "matched": 2, **SIZES}
CROSSED = {"part": "cross", "name": "crossed", "budget": 4, "select": 2, "matched": 2, **SIZES}
TOGETHER = {"part": "antagonism", "name": "together", "scorers": ["act"], "n": 2, "draws": 2, **SIZES}
RUN = {"budget": 8, "random_draws": 2, "stratified": False}
CLASSES = {"identify": 3, "evaluate": 1, "least": 2}


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks and three models; the third has few neurons."""
    folder = tmp_path_factory.mktemp("grid")
    tiny.labelled(folder)
    tiny.labelled(folder, "other", labels=("w7", "w11", "w13"), first=900)
    tiny.saved(folder / "one")
    tiny.saved(folder / "two", "gpt2")
    tiny.saved(folder / "small", intermediate_size=2)
    return folder


def suite(where: Path, *parts: dict[str, Any]) -> Suite:
    return Suite.of({"name": "own", "tasks": [str(where / "mine.yaml")], **CLASSES, "parts": list(parts)}, "suite")


@pytest.fixture(scope="module")
def asked(where: Path) -> dict[str, Any]:
    """Two models, two tasks, two seeds, and nearly every kind of part."""
    both = [str(where / "mine.yaml"), str(where / "other.yaml")]
    parts = [
        {**EFFECTS, "tasks": both, "options": RUN},
        {**TOGETHER, "tasks": both[1:]},
        {**SHARED, "tasks": both},
        {**CROSSED, "tasks": both},
        GATED,
        {"part": "masking", "name": "masks", "shares": [0.2], "taus": [1]},
    ]
    every = suite(where, *parts)
    return {"suite": every, "model": [str(where / "one"), str(where / "two")], "seed": [0, 1]}


@pytest.fixture(scope="module")
def measured(asked: dict[str, Any], where: Path) -> na.BenchResult:
    """All of it, one job after the other."""
    return na.bench(**asked, out=where / "serial")


def path(result: na.BenchResult) -> Path:
    assert result.path is not None
    return result.path


def written(out: Path | None) -> dict[str, bytes]:
    """Everything that says what was measured, but for the manifest, which has times."""
    assert out is not None
    files = (file for file in out.iterdir() if file.suffix in (".json", ".csv") and file.name != "manifest.json")
    return {file.name: file.read_bytes() for file in files}


def units(out: Path) -> dict[str, int]:
    """Every unit of a directory, and when it was written."""
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}


def everything(folder: Path) -> dict[Path, int]:
    """All that there is, and when it was changed."""
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*")}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no model can be loaded."""

    def fail(*_: object, **__: object) -> None:
        pytest.fail("a model was loaded")

    monkeypatch.setattr("neuron_antagonism.model.load.load_model", fail)


# --- back ends -----------------------------------------------------------------------------------------------------


class Killing(Processes):
    """Workers, one of which is killed once something has been made that others need."""

    killed: int | None = None

    def run(self, orders: Any, shelf: Any, made: Any, progress: Any) -> Any:
        def hear(unit: Any, payload: Any) -> None:
            made(unit, payload)
            if Killing.killed is None and unit.kind == "neurons":
                worker = next(worker for worker in self._workers if worker.order is not None)
                Killing.killed = worker.process.pid
                worker.process.kill()

        yield from super().run(orders, shelf, hear, progress)


def test_two_processes_say_the_same(asked, measured, tmp_path, monkeypatch):
    """On two processes, one of which is killed in the middle, a grid's results are the same, byte for byte."""
    monkeypatch.setattr("neuron_antagonism.runs.backends.processes.Processes", Killing)
    other = na.bench(**asked, out=tmp_path / "x", backend="processes", workers=2)
    assert Killing.killed is not None
    assert written(other.path) == written(measured.path)
    assert units(tmp_path / "x").keys() == units(path(measured)).keys()
    assert other.manifest["models"] == measured.manifest["models"]
    assert not list((tmp_path / "x").rglob("*.partial"))


def test_the_model_at_hand_comes_first(where, tmp_path, monkeypatch):
    """In one process no model is loaded while another round of the one that is held is left."""
    loaded, load = list[str](), na.load_model

    def counted(name: str, **how: Any) -> Any:
        loaded.append(Path(name).name)
        return load(name, **how)

    monkeypatch.setattr("neuron_antagonism.model.load.load_model", counted)
    na.bench(suite(where, TOGETHER), [str(where / name) for name in ("one", "two")], out=tmp_path / "x")
    # both are prepared, then measured
    assert loaded == ["one", "two", "one"]


# --- what a grid's results look like -------------------------------------------------------------------------------


def test_rows_say_what_they_are_of(asked, measured, tmp_path):
    """Rows name model and seed where the grid has several, the others don't; a part of the grid has the same rows."""
    some = na.bench(**{**asked, "model": asked["model"][1]}, out=tmp_path / "x", cache=measured.path)
    one = na.bench(**{**asked, "model": asked["model"][1], "seed": 1}, out=tmp_path / "y", cache=measured.path)
    for name, rows in measured.parts.items():
        assert list(rows[0])[:3] == ["model", "seed", "task"]
        assert list(some.parts[name][0])[:2] == ["seed", "task"]
        assert next(iter(one.parts[name][0])) == "task"
        assert {row["model"] for row in rows} == set(asked["model"])
        theirs = [row for row in rows if row["model"] == asked["model"][1]]
        assert [{k: v for k, v in row.items() if k != "model"} for row in theirs] == some.parts[name]
        assert [row for row in some.parts[name] if row["seed"] == 1] == [{"seed": 1, **row} for row in one.parts[name]]
    assert measured.manifest["seeds"] == [0, 1]
    assert [model["name"] for model in measured.manifest["models"]] == asked["model"]
    labels = {f"{model}/{seed}/{task}" for model in asked["model"] for seed in (0, 1) for task in ("mine", "other")}
    assert set(measured.left_out) == {label for label in labels if label.endswith("mine")}
    assert {line.split(": ")[0] for line in measured.notes} <= labels
    assert set(some.left_out) == {"0/mine", "1/mine"}
    assert set(one.left_out) == {"mine"}


def test_frames(asked, measured):
    """A part's rows as a frame: a row each, with every figure; an unknown part is refused."""
    frame = measured.frame("effects")
    assert len(frame) == len(measured.parts["effects"]) == 2 * 2 * 2 * 2 * 2
    assert frame.groupby(["model", "seed", "task"]).size().tolist() == [4] * 8
    assert frame["acc_after"].tolist() == [row["acc_after"] for row in measured.parts["effects"]]
    with pytest.raises(na.UsageError, match="unknown part 'effect'; did you mean 'effects'"):
        measured.frame("effect")


def test_tables(asked, measured):
    """Each model's tables stand under its name; effects and antagonism show seeds together, others a table a seed."""
    text = io.StringIO()
    Console(file=text, width=400).print(*tables(measured.manifest["suite"], measured.parts))
    lines = [line.strip() for line in text.getvalue().splitlines()]
    for model in asked["model"]:
        assert lines.count(f"model {model}") == 1
        assert all(lines.count(f"model {model}, seed {seed}") == 2 for seed in (0, 1))
        # a title is as wide as its table
        assert " ".join(lines).count(f"2 + 2 neurons, at the last position ({model})") == 1
    assert " ".join(lines).count("; 2 seeds") == 4
    assert "nan" not in text.getvalue().lower().split()


def test_a_run_is_a_part(asked, measured, where, tmp_path):
    """The part `effects` holds the figures of a run's table; its units are the run's own.

    The run computes nothing but what its report tells of single neurons, which a suite's does not show.
    """
    tasks = [str(where / "mine.yaml"), str(where / "other.yaml")]
    result = na.run(
        asked["model"][1],
        tasks,
        EFFECTS["scorers"],
        seed=1,
        select=2,
        **SIZES,
        **RUN,
        out=tmp_path / "run",
        cache=shutil.copytree(measured.path, tmp_path / "cache"),
    )
    assert {name.rpartition(": ")[2] for name in result.manifest["timings"]} == {"described"}
    rows = [row for row in measured.parts["effects"] if (row["model"], row["seed"]) == (asked["model"][1], 1)]
    cells = [
        {"task": task, **{name: cell[name] for name in EFFECT}}
        for task, found in result.results["tasks"].items()
        for cell in found["cells"]["held-out"]
    ]
    assert json.loads(json.dumps(cells)) == [{name: row[name] for name in ("task", *EFFECT)} for row in rows]


# --- computed once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["seed", "part"])
def test_only_what_is_missing_is_computed(more, where, tmp_path):
    """One more seed, or one more part, computes the units that it would have alone; the others are not touched."""
    asked = {"suite": suite(where, TOGETHER), "seed": 0}
    if more == "seed":
        alone, both = ({"suite": suite(where, TOGETHER), "seed": seed} for seed in (1, [0, 1]))
    else:
        alone, both = ({"suite": suite(where, *parts), "seed": 0} for parts in ([GATED], [TOGETHER, GATED]))
    model = str(where / "one")
    first = na.bench(**asked, model=model, out=tmp_path / "x")
    before = units(tmp_path / "x")
    second = na.bench(**alone, model=model, out=tmp_path / "alone")
    result = na.bench(**both, model=model, out=tmp_path / "x")
    after = units(tmp_path / "x")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == units(tmp_path / "alone").keys() - before.keys() != set()
    if more == "part":
        assert result.parts == first.parts | second.parts
    else:
        rows = [{"seed": seed, **row} for seed, one in enumerate((first, second)) for row in one.parts["together"]]
        assert result.parts["together"] == rows


MASKS = {"part": "masking", "name": "masks", "taus": [1]}


@pytest.mark.parametrize(
    ("part", "field", "one", "more"),
    [(TOGETHER, "scorers", "act", "kn"), (GATED, "scorers", "act", "grad-x-act"), (MASKS, "shares", 0.2, 0.4)],
)
def test_one_more_computes_its_own_alone(part, field, one, more, where, tmp_path):
    """Of a part's scorers, or shares, each has a unit of its own; together they are what they are in one go."""
    model, kind = str(where / "one"), part["part"]

    def measured(out: str, *values: object) -> set[str]:
        na.bench(suite(where, {**part, field: list(values)}), model, out=tmp_path / out)
        return {name for name in units(tmp_path / out) if name.startswith(kind)}

    first, alone = measured("x", one), measured("alone", more)
    before = units(tmp_path / "x")
    assert measured("x", one, more) == first | alone
    assert {name: time for name, time in units(tmp_path / "x").items() if name in before} == before
    assert len(first) == len(alone) == 1
    measured("at once", one, more)
    assert written(tmp_path / "x") == written(tmp_path / "at once")


def test_a_cache_without_a_directory(where, tmp_path, request):
    """What only a cache keeps is not computed again either; another scorer computes its own alone."""
    model, cache = str(where / "one"), tmp_path / "cache"
    suites = [suite(where, {**TOGETHER, "scorers": names}) for names in (["act"], ["act", "kn"])]
    first = na.bench(suites[0], model, cache=cache)
    before = units(cache)
    both = na.bench(suites[1], model, cache=cache)
    assert {name: time for name, time in units(cache).items() if name in before} == before
    asked = {"tasks": [str(where / "mine.yaml")], "scorers": ["act"], **RUN, **SIZES, "select": 2}
    run = na.run(model=model, cache=cache, **asked)
    request.getfixturevalue("no_model")
    for what, expected in zip(suites, (first, both), strict=True):
        assert na.bench(what, model, cache=cache).parts == expected.parts
    assert na.run(model=model, cache=cache, **asked).results == run.results


def test_plots_of_a_grid(where, tmp_path):
    """Every job has its own plot and values, which say of what they are."""
    values = {"part": "distributions", "name": "values", "share": 0.2}
    na.bench(suite(where, values), str(where / "one"), seed=[0, 3], out=tmp_path / "x")
    names = {file.name for file in (tmp_path / "x" / "plots").iterdir()}
    assert names == {f"{seed}.mine.values.{ending}" for seed in (0, 3) for ending in ("csv", "png")}
    head, line = (tmp_path / "x" / "plots" / "3.mine.values.csv").read_text("utf-8").splitlines()[:2]
    assert head.startswith("seed,task,unit_of,")
    assert line.startswith("3,mine,")


def test_a_cache_is_shared(asked, measured, tmp_path, no_model):
    """With a cache that has everything another directory becomes the same, and no model is loaded."""
    again = na.bench(**asked, out=tmp_path / "x", cache=measured.path)
    assert written(again.path) == written(measured.path)
    assert units(tmp_path / "x").keys() == units(path(measured)).keys()


def test_a_finished_suite_is_only_read(asked, measured, no_model):
    """Asked again, a finished suite is read: nothing is written, and what is told is the same."""
    before = everything(path(measured))
    again = na.bench(**asked, out=measured.path)
    assert everything(path(measured)) == before
    assert again.manifest == json.loads(json.dumps(measured.manifest))
    assert again == replace(measured, manifest=again.manifest)


def test_what_was_spoilt_is_collected_again(asked, measured, tmp_path, no_model):
    """Results that are gone or damaged are collected anew from what is stored."""
    out = shutil.copytree(path(measured), tmp_path / "x")
    (out / "gated.csv").unlink()
    na.bench(**asked, out=out)
    assert written(out) == written(path(measured))
    (out / "results.json").write_text("{", encoding="utf-8")
    na.bench(**asked, out=out)
    assert written(out) == written(path(measured))
    (out / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.warns(AntagonismWarning, match=r"can't read .*manifest\.json: .*; it is written again"):
        na.bench(**asked, out=out)
    assert read(out / "manifest.json")["finished"] is True


def test_reading_needs_no_torch(asked, measured, where):
    """Neither planning a grid nor reading a finished one imports torch or TransformerLens."""
    (where / "own.yaml").write_text(yaml.safe_dump(asked["suite"].model_dump(mode="json")), encoding="utf-8")
    words = ["bench", "--suite", "own.yaml", "--out", str(measured.path), "--json"]
    words += [word for name in ("model", "seed") for one in asked[name] for word in (f"--{name}", str(one))]
    code = (
        f"import sys; sys.argv = ['neuron-antagonism', *{words!r}]\n"
        "from neuron_antagonism.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as left: assert not left.code\n"
        "assert not {'torch', 'transformer_lens'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=where, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["parts"] == read(path(measured) / "results.json")["parts"]


def test_other_code_is_measured_anew(asked, measured, monkeypatch):
    """A plugin whose code has changed makes a finished suite unfinished, and of its units those that depend on it."""
    before, code = plan_bench(**asked), keys._code
    key = before.key

    def there(plan: Any) -> dict[str, bool]:
        parts, shelf, job = parts_of(plan), Store(path(measured)), plan.every[0]
        found = {one.part.name: one.group for one in work_of(plan, parts).wanted(job)}
        return {name: parts[name].found(job, found[name], shelf) is not None for name in ("gated", "masks")}

    assert all(there(before).values())
    monkeypatch.setattr(keys, "_code", lambda module: "" if module.endswith("plugins.act") else code(module))
    after = plan_bench(**asked)
    assert key != after.key
    assert there(after) == {"gated": False, "masks": True}


# --- holes ---------------------------------------------------------------------------------------------------------


def test_a_job_that_fails_leaves_a_hole(where, tmp_path):
    """Of a model that can't be measured there are no rows; the others' are there, and the error says whose failed."""
    models = [str(where / name) for name in ("small", "one")]
    with pytest.raises(na.RunError, match=r"small/mine failed: .*K=10 neurons; accepted: 1 to 6") as caught:
        na.bench(suite(where, GATED), models, out=tmp_path / "x")
    result = caught.value.result
    alone = na.bench(suite(where, GATED), models[1])
    assert result.parts["gated"] == [{"model": models[1], **row} for row in alone.parts["gated"]]
    results, manifest = read(tmp_path / "x" / "results.json"), read(tmp_path / "x" / "manifest.json")
    assert list(results["failed"]) == [f"{models[0]}/mine"]
    assert results["failed"] == result.failed
    assert manifest["finished"] is False
    before = units(tmp_path / "x")
    with pytest.raises(na.RunError, match="small/mine failed: "):
        na.bench(suite(where, GATED), models, out=tmp_path / "x")
    assert units(tmp_path / "x") == before


def test_the_table_shows_the_hole(call: Callable[..., Any], where, tmp_path):
    """On the command line the others' table is printed before the error, and the exit code is 1; so with --json."""
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(suite(where, GATED).model_dump(mode="json")))
    models = [str(where / name) for name in ("small", "one")]
    words = ["bench", "--suite", "own.yaml", *(f"--model={model}" for model in models), "--out", "x", "--quiet"]
    done = call(*words)
    assert done.code == 1
    assert "gated: act, budget 10" in done.out
    assert f"{models[0]}/mine: failed: " in " ".join(done.out.split())
    assert done.err.startswith(f"error: {models[0]}/mine failed: ")
    assert done.err.count("\n") == 1
    document = json.loads((done := call(*words, "--json")).out)
    assert (done.code, list(document["failed"]), document["manifest"]["finished"]) == (1, [f"{models[0]}/mine"], False)


# --- dry runs ------------------------------------------------------------------------------------------------------


def test_a_dry_run_of_what_is_there(call: Callable[..., Any], asked, measured, where, tmp_path, no_model):
    """With everything there a dry run counts it, needs no model, and writes nothing; a cache counts as much."""
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(asked["suite"].model_dump(mode="json")), encoding="utf-8")
    grid = [f"--{name}={value}" for name in ("model", "seed") for value in asked[name]]
    before = everything(where), everything(tmp_path)
    for place in ("--out", "--cache"):
        done = call("bench", "--suite", "own.yaml", *grid, place, str(measured.path), "--dry-run", "--json", "--quiet")
        assert (done.code, done.err) == (0, "")
        found = json.loads(done.out)
        assert (found["missing"], len(found["jobs"])) == (0, (2 + 1 + 2 + 2 + 1 + 1) * 2 * 2)
        # of which no part names the models'
        assert found["there"] == len(units(path(measured))) - 2
        assert (everything(where), everything(tmp_path)) == before


def test_a_dry_run_of_what_is_missing(call: Callable[..., Any], where, tmp_path):
    """What is missing is counted by part, model, task and seed as far as it is known; a job that fails says why."""
    both = suite(where, GATED, TOGETHER)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(both.model_dump(mode="json")), encoding="utf-8")
    before = everything(tmp_path)
    models = [str(where / name) for name in ("one", "small")]
    words = ["bench", "--suite", "own.yaml", "--out", "x", *(f"--model={model}" for model in models), "--dry-run"]
    done = call(*words, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert [(row["part"], row["model"], row["task"], row["seed"]) for row in found["jobs"]] == [
        (part, model, "mine", 0) for part in ("gated", "together") for model in models
    ]
    for row in found["jobs"]:
        if row["model"] == models[0]:
            # examples and scores; what comes after them has no name yet
            assert (row["there"], row["missing"], "failed" in row) == (0, 2, False)
        else:
            assert (row["there"], row["missing"]) == (None, None)
            assert "K=10 neurons; accepted: 1 to 6" in row["failed"]
    lines = call(*words, "--quiet").out.splitlines()
    assert len(lines) == 1 + len(found["jobs"]) + 1
    assert lines[-1].startswith(f"units there 0, missing {found['missing']}")
    assert everything(tmp_path) == before
