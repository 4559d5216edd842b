"""A run's directory: what it holds, that it loads, that it repeats, and that nothing in it is computed twice."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from directories import FAST, SAID, WHOLE, made, read, same_results, strict, units

import neuron_antagonism as na
from neuron_antagonism import demo
from neuron_antagonism.method import attribute as attribute_module
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.job import Job, ModelSource, TaskSource
from neuron_antagonism.runs.unit import Memory, Payload
from neuron_antagonism.suites import result as result_module
from neuron_antagonism.suites.cost import Estimate
from neuron_antagonism.suites.plan import make_plan
from neuron_antagonism.units import steps as steps_module
from neuron_antagonism.units.answers import Asking
from neuron_antagonism.units.examples import Sizes

one_thread = tiny.one_thread

ROOT = Path(__file__).parents[1]
ALONE: dict[str, Any] = {**FAST, "tasks": ["sentiment"]}
"""A tiny model's run of one task."""

MODES = ("enhance", "degrade")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> na.RunResult:
    """One whole run of the demonstration model in a directory."""
    return na.run("demo", out=tmp_path_factory.mktemp("runs") / "finished", **WHOLE)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.load("llama", torch.float32)


@pytest.fixture(scope="module")
def fast(model: Any, tmp_path_factory: pytest.TempPathFactory) -> na.RunResult:
    return na.run(model, out=tmp_path_factory.mktemp("runs") / "fast", **FAST)


@pytest.fixture(scope="module")
def alone(model: Any, tmp_path_factory: pytest.TempPathFactory) -> na.RunResult:
    return na.run(model, out=tmp_path_factory.mktemp("runs") / "alone", **ALONE)


@pytest.fixture
def copy(fast: na.RunResult, tmp_path: Path) -> Path:
    """The tiny model's finished run, to spoil."""
    return shutil.copytree(where(fast), tmp_path / "copy")


@pytest.fixture
def one(alone: na.RunResult, tmp_path: Path) -> Path:
    """Its run of one task, to go on from."""
    return shutil.copytree(where(alone), tmp_path / "one")


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no model is loaded and none is asked."""

    def busy(*_: Any, **__: Any) -> None:
        raise AssertionError("something is computed")

    monkeypatch.setattr(HookedModel, "forward", busy)
    monkeypatch.setattr("neuron_antagonism.model.load.load_model", busy)


def where(result: na.RunResult) -> Path:
    assert result.path is not None
    return result.path


def everything(path: Path) -> dict[str, tuple[int, int]]:
    """Every file of a directory; the numbers change when it is written again."""
    found = {file: file.stat() for file in path.rglob("*") if file.is_file()}
    return {str(file.relative_to(path)): (stat.st_ino, stat.st_mtime_ns) for file, stat in found.items()}


def one_file(path: Path, start: str) -> Path:
    (found,) = (path / start).parent.glob(f"{Path(start).name}.*.safetensors")
    return found


class TestDirectory:
    def test_files(self, finished):
        """Exactly these; nothing half-written stays."""
        kinds = {"examples": {""}, "scores": {*(f".{s}" for s in (*WHOLE["scorers"], "ablation"))}}
        kinds["neurons"] = {f".{s}" for s in WHOLE["scorers"]}
        kinds["text"] = {".ace", ".act"}
        kinds["described"] = {".ace", ".act"}
        kinds["answers"] = {
            *(".unedited.select", ".unedited.evaluate", ".ace.select", ".random.select"),
            *(".ace.evaluate", ".act.evaluate", ".random.evaluate"),
        }
        expected = {f"{kind}/{t}{end}" for kind, ends in kinds.items() for end in ends for t in WHOLE["tasks"]}
        expected |= {
            f"answers/{t}.{o}.{s}.evaluate"
            for t, o in (("ner", "sentiment"), ("sentiment", "ner"))
            for s in ("ace", "act")
        }
        found = everything(where(finished))
        assert {name.rsplit(".", 2)[0] for name in found if "/" in name} == expected
        assert {name for name in found if "/" not in name} == {"manifest.json", *SAID}
        # of edits that don't draw: at the last position, and at all
        assert sum("/ner.ace.evaluate" in name for name in found) == 2

    def test_manifest(self, finished):
        """Versions, seed, every option, hashes of model and data, machine, engine, timings, files of every task."""
        manifest = read(where(finished) / "manifest.json")
        assert manifest["finished"] is True
        assert manifest["schema"] == 3
        assert manifest["version"] == na.__version__
        assert {"torch", "transformers", "transformer-lens"} <= set(manifest["packages"])
        assert {name: manifest["config"][name] for name in WHOLE} == WHOLE
        assert {"seed", "steps", "quadrature", "site", "positions", "strengthen", "weaken"} <= set(manifest["config"])
        assert manifest["model"]["name"] == "demo"
        assert len(manifest["model"]["fingerprint"]) == 64
        assert (manifest["model"]["layers"], manifest["model"]["neurons_per_layer"]) == (6, 384)
        assert all(len(data["sha256"]) == 64 for data in manifest["data"].values())
        assert manifest["engine"]["name"] == "replay"
        assert manifest["machine"]["threads"] == 1
        kinds = ("scores", "neurons", "answers", "text", "described")
        assert set(manifest["timings"]) == {f"{task}: {kind}" for task in WHOLE["tasks"] for kind in kinds}
        assert manifest["plugins"]["ace"] == f"neuron-antagonism {na.__version__}"
        assert manifest["scorers"]["ace"]["z"] == 32
        for task in WHOLE["tasks"]:
            named = manifest["units"][task]
            assert set(named["scores"]) == set(named["neurons"]) == set(WHOLE["scorers"])
            for unit in (named["examples"], *named["scores"].values(), *named["neurons"].values()):
                assert (where(finished) / unit["file"]).is_file()
                assert unit["file"].startswith(f"{unit['kind']}/{task}")
                assert unit["key"][:20] in unit["file"]

    def test_results(self, finished):
        """Counts of every edit that was made, every figure with its interval, what was asked for, averages."""
        results = read(where(finished) / "results.json")
        assert (results["schema"], results["protocol"]) == (3, "held-out")
        assert list(results["tasks"]) == WHOLE["tasks"]
        assert "failed" not in results
        for found in results["tasks"].values():
            assert found["before"]["questions"] == 12
            assert set(found["cells"]) == {"held-out"}
            for cell in found["cells"]["held-out"]:
                assert {"acc_after", "com_after", "rac", "rcc", "rac_interval", "rcc_interval", "failed"} <= set(cell)
            rows = found["sweep"]
            assert {"right", "understood", "tenths", "used", "set"} <= set(rows[0])
            swept = {
                (s, m): [
                    r["tenths"] for r in rows if (r["scorer"], r["mode"], r["set"], r["draw"]) == (s, m, "select", 0)
                ]
                for s in WHOLE["scorers"]
                for m in MODES
            }
            # all ratios where there is something to choose, few of draws, one of good neurons alone
            assert swept == {(s, m): {"ace": list(range(11)), "act": [], "random": [0, 5, 10]}[s] for s, m in swept}
            # only what was chosen is asked of the evaluation set: of one scorer, of two draws, of another scorer
            assert len([row for row in rows if row["set"] == "evaluate"]) == (1 + 2 + 1) * 2
            assert {(row["scorer"], row["mode"]) for row in found["at_all"]} == {
                (scorer, mode) for scorer in ("ace", "act") for mode in MODES
            }
            assert found["attribution"]["ace"]["completeness_error"] > 0
            assert found["attribution"]["act"]["completeness_error"] is None
            assert list(found["planted"]) == [*WHOLE["scorers"], "ablation"]
            assert sum(found["layers"]["ace"]["good"]) == found["attribution"]["ace"]["n_good"]
        assert {(row["scorer"], row["mode"]) for row in results["averages"]} == {
            (scorer, mode) for scorer in WHOLE["scorers"] for mode in MODES
        }

    def test_questions(self, finished):
        """One line an example, with its task, set, stratum, item and proxies; and one a task for what was read."""
        rows = [strict(line) for line in (where(finished) / "questions.jsonl").read_text("utf-8").split("\n")[:-1]]
        assert [row["task"] for row in rows if row["set"] == "natural"] == ["sentiment", "ner"]
        rows = [row for row in rows if row["set"] != "natural"]
        assert len(rows) == 2 * (2 + 4 + 4)
        assert [row["task"] for row in rows] == ["sentiment"] * 10 + ["ner"] * 10
        assert {row["set"] for row in rows} == {"identify", "select", "evaluate"}
        assert all(len(row["proxies"]) == 3 and len(row["key"]) == 64 for row in rows)

    def test_neurons(self, finished):
        """neurons.csv holds the chosen neurons of every scorer, strongest first, as the attributions have them."""
        with (where(finished) / "neurons.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for task in WHOLE["tasks"]:
            for scorer, roles in (("ace", ("good", "bad")), ("act", ("good",)), ("random", ("good", "bad"))):
                a = finished.attributions[task][scorer]
                for role in roles:
                    chosen = a.good(20) if role == "good" else a.bad(20)
                    mine = [row for row in rows if (row["task"], row["scorer"], row["role"]) == (task, scorer, role)]
                    assert [(int(row["layer"]), int(row["neuron"])) for row in mine] == list(chosen)
                    assert [float(row["score"]) for row in mine] == chosen.scores.tolist()
                    assert [int(row["rank"]) for row in mine] == list(range(1, len(mine) + 1))
        assert {row["role"] for row in rows if row["scorer"] == "act"} == {"good"}

    def test_nothing_of_this_machine(self, finished):
        """No path of the package or of the run, no name of a temporary file, stands in any file."""
        for file in (file for file in where(finished).rglob("*") if file.is_file()):
            data = file.read_bytes()
            for path in (where(finished), demo.directory(), ROOT, Path(tempfile.gettempdir()), Path.home()):
                assert f"{path}{os.sep}".encode() not in data, file
            assert b".partial" not in data

    def test_nothing_is_written_without_out(self, model, tmp_path, monkeypatch):
        """Without out= a run writes nothing anywhere near, and its result holds all the same."""
        monkeypatch.chdir(tmp_path)
        result = na.run(model, **{**ALONE, "scorers": ["random"]})
        assert result.path is None
        assert result.table.rows
        assert set(result.edits["sentiment"]["random"]) == set(MODES)
        assert result.attributions["sentiment"]["random"].scores.shape == (3, 24)
        assert list(tmp_path.iterdir()) == []


class TestLoading:
    def test_round_trip(self, finished):
        """load_run gives the table, the splits, the attributions and the edits of the run."""
        loaded = na.load_run(where(finished))
        assert str(loaded.table) == str(finished.table)
        assert loaded.manifest == read(where(finished) / "manifest.json")
        assert loaded.results == strict(json.dumps(finished.results))
        for task in WHOLE["tasks"]:
            for name in ("identify", "select", "evaluate"):
                assert getattr(loaded.splits[task], name) == getattr(finished.splits[task], name)
            assert loaded.splits[task].strata == finished.splits[task].strata
            for scorer in WHOLE["scorers"]:
                mine, theirs = finished.attributions[task][scorer], loaded.attributions[task][scorer]
                assert torch.equal(mine.scores, theirs.scores)
                assert torch.equal(mine.example_scores, theirs.example_scores)
                assert (mine.scorer, dict(mine.options), mine.engine) == (theirs.scorer, theirs.options, theirs.engine)
                for mode in MODES:
                    assert described(finished.edits[task][scorer][mode]) == described(loaded.edits[task][scorer][mode])

    def test_loaded_edits_give_the_figures_of_the_table(self, finished):
        """A loaded edit, evaluated anew on the loaded examples, has the accuracy that results.json reports."""
        loaded = na.load_run(where(finished))
        model = na.load_model("demo")
        for cell in loaded.table.rows:
            if cell["scorer"] == "ace" and cell["task"] == "ner":
                edit = loaded.edits["ner"]["ace"][cell["mode"]]
                assert na.evaluate(model, loaded.splits["ner"].evaluate, edit).acc == pytest.approx(cell["acc_after"])

    def test_the_table(self, finished):
        """One row a task, scorer and direction; as text it fits 120 columns and has every scorer."""
        assert len(finished.table.rows) == 2 * 3 * 2
        text = str(finished.table)
        assert max(len(line) for line in text.splitlines()) <= 120
        assert all(scorer in text for scorer in WHOLE["scorers"])
        assert "…" not in text

    def test_a_result_reads_its_files_when_they_are_used(self, fast, model, monkeypatch):
        """Table and results need no unit; splits, attributions and edits read their own, once."""
        fetched: list[str] = []
        real = result_module.fetched
        again = na.run(model, out=where(fast), **FAST)
        monkeypatch.setattr(
            result_module, "fetched", lambda path, unit: fetched.append(unit["kind"]) or real(path, unit)
        )
        assert again.table.rows
        assert not fetched
        assert again.splits is again.splits
        assert fetched == ["examples"] * 2
        assert again.edits["ner"]["ace"]["enhance"].n_good is not None
        assert set(fetched) == {"examples", "neurons"}

    @pytest.mark.parametrize("name", ["manifest.json", "results.json"])
    def test_no_run(self, copy, name):
        """A directory without a finished run is an error that says what is accepted."""
        (copy / name).unlink()
        with pytest.raises(na.DataError, match="holds no finished run; accepted: "):
            na.load_run(copy)

    def test_an_unfinished_run(self, copy):
        """Results of an earlier run in the directory of an unfinished one are not taken for its own."""
        manifest = read(copy / "manifest.json")
        (copy / "manifest.json").write_text(json.dumps({**manifest, "finished": False}))
        with pytest.raises(na.DataError, match="holds no finished run"):
            na.load_run(copy)

    @pytest.mark.parametrize(
        "name", ["manifest.json", "results.json", "examples/ner", "scores/ner.ace", "neurons/sentiment.random"]
    )
    def test_a_spoilt_file(self, copy, name):
        """A file that can't be read, or is gone, is named, in one line."""
        file = copy / name if name.endswith(".json") else one_file(copy, name)
        file.write_text("{]")
        with pytest.raises(na.DataError, match=f"can't read .*{file.name}") as caught:
            na.load_run(copy)
        assert "\n" not in str(caught.value)
        if not name.endswith(".json"):
            file.unlink()
            with pytest.raises(na.DataError, match=f"can't read .*{file.name}: No such file"):
                na.load_run(copy)

    @pytest.mark.parametrize(
        "change", [{}, {"units": 3}, {"units": {"ner": {}}}, {"units": None}, {"config": {"a": 1}}]
    )
    def test_a_manifest_of_something_else(self, copy, change):
        """What is no run's manifest is one line, whatever it is."""
        manifest = read(copy / "manifest.json")
        (copy / "manifest.json").write_text(json.dumps({**manifest, **change} if change else {"finished": True}))
        with pytest.raises(na.AntagonismError) as caught:
            na.load_run(copy)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "scores/../../outside"])
    def test_a_file_outside_of_the_directory(self, copy, name):
        """A manifest that somebody passes on can't point a reader at other files."""
        manifest = read(copy / "manifest.json")
        manifest["units"]["ner"]["scores"]["ace"]["file"] = name
        (copy / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(na.DataError, match=f"names the file '{name}'; accepted: one inside the directory"):
            na.load_run(copy)

    def test_the_file_of_another_unit(self, copy):
        """A file that holds something else than its manifest says is not taken."""
        shutil.copy(one_file(copy, "scores/ner.random"), one_file(copy, "scores/ner.ace"))
        with pytest.raises(na.DataError, match="it is another run's; accepted: a file that this run wrote"):
            na.load_run(copy)


def described(edit: na.Edit) -> tuple[Any, ...]:
    parts = [(part.intervention.name, list(part.neurons)) for part in edit.parts]
    return (parts, edit.positions, edit.site, edit.mode, edit.ratio, edit.n_good, edit.n_bad)


class TestSameSeed:
    def test_the_same_seed_repeats(self, model, fast, tmp_path):
        """Every file but the manifest is there again byte for byte; no global seed matters, and none is changed."""
        torch.manual_seed(123)
        before = torch.get_rng_state()
        na.run(model, out=tmp_path / "again", **FAST)
        assert torch.equal(before, torch.get_rng_state())
        assert torch.get_num_threads() == 1
        assert same_results(where(fast), tmp_path / "again")
        assert units(where(fast)).keys() == units(tmp_path / "again").keys()
        for name in units(where(fast)):
            assert (where(fast) / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name

    def test_another_seed_differs(self, model, alone, one):
        """Another seed draws other examples, and other scores of the scorer that draws: nothing is used again."""
        before = units(one)
        other = na.run(model, out=one, seed=1, **ALONE)
        names = {name.rsplit(".", 2)[0] for name in before}
        assert made(one, before) == names
        assert (one / "questions.jsonl").read_bytes() != (where(alone) / "questions.jsonl").read_bytes()
        drawn = [r.attributions["sentiment"]["random"].scores for r in (alone, other)]
        assert not torch.equal(*drawn)

    def test_batches_and_threads_are_in_no_key(self, model, alone, tmp_path):
        """How much is computed at once, and on how many threads, is not what a unit is."""
        na.run(model, out=tmp_path / "small", max_tokens=200, **ALONE)
        assert units(tmp_path / "small").keys() == units(where(alone)).keys()
        config = RunConfig.of(**ALONE)
        one = make_plan(config, model=model)
        torch.set_num_threads(2)
        two = make_plan(config, model=model)
        torch.set_num_threads(1)
        assert (one.key, one.jobs) == (two.key, two.jobs)

    def test_tasks_do_not_influence_each_other(self, alone, fast):
        """A task's results are the same alone as beside another one, and RANDOM draws anew for each."""

        def own(result):
            """Without what is said of other tasks, and of all comparisons together."""
            found = strict(json.dumps(result.results["tasks"]["sentiment"]))
            rows = [*found["side_effects"]["rows"], *found["differences"]]
            assert all(row.pop("other_tasks", None) is not None or row.pop("p_holm", None) is not None for row in rows)
            return found

        assert own(alone) == own(fast)
        drawn = {task: found["random"].scores for task, found in fast.attributions.items()}
        assert torch.equal(alone.attributions["sentiment"]["random"].scores, drawn["sentiment"])
        assert not torch.equal(drawn["sentiment"], drawn["ner"])

    def test_every_draw_of_a_run_is_another(self, copy):
        """No two draws of any task of a run have the same neurons."""
        from neuron_antagonism.units.neurons import candidates_of

        loaded = na.load_run(copy)
        named = [loaded.manifest["units"][task]["neurons"]["random"] for task in FAST["tasks"]]
        drawn = [tuple(candidate.good) for unit in named for candidate in candidates_of(loaded._get(unit))]
        assert len(set(drawn)) == len(drawn) == 4


class TestAgain:
    """The same once more."""

    def test_a_finished_run_is_only_read(self, model, fast, idle):
        """Nothing is computed, and no file written."""
        before = everything(where(fast))
        result = na.run(model, out=where(fast), **FAST)
        assert everything(where(fast)) == before
        assert str(result.table) == str(fast.table)
        assert result.results == strict(json.dumps(fast.results))
        assert described(result.edits["ner"]["ace"]["enhance"]) == described(fast.edits["ner"]["ace"]["enhance"])

    def test_its_options_are_in_its_directory(self, finished, idle):
        """`resume` alone asks for what the directory's run was asked for."""
        before = everything(where(finished))
        assert na.run(out=where(finished), resume=True).results == read(where(finished) / "results.json")
        assert everything(where(finished)) == before

    def test_it_takes_a_moment_and_no_torch(self, finished):
        """From the command line, of the demonstration: without torch, in less than two seconds of processor time."""
        words = [
            "run",
            "--quiet",
            "--no-report",
            "--out",
            str(where(finished)),
            "--identify",
            "2",
            "--select",
            "4",
            "--evaluate",
            "4",
        ]
        words += [*(word for task in WHOLE["tasks"] for word in ("--task", task)), "--budget", "20"]
        words += [word for scorer in WHOLE["scorers"] for word in ("--scorer", scorer)]
        code = (
            "import json, sys\nfrom neuron_antagonism.cli.app import main\n"
            "try: main()\nexcept SystemExit as left: assert not left.code\n"
            "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
        )
        # the number of draws is no option of the command line: the manifest of this run states it
        (where(finished) / "run.json").write_text('{"random_draws": 2}', encoding="utf-8")
        words += ["--config", str(where(finished) / "run.json")]
        before = everything(where(finished))
        seconds = []
        while len(seconds) < 3 and not any(one < 2 for one in seconds):
            start = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
            end = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert done.returncode == 0, done.stderr
            seconds.append(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)
        loaded = set(json.loads(done.stderr.splitlines()[-1]))
        assert not loaded & {"torch", "transformer_lens", "transformers"}
        assert min(seconds) < 2
        assert f"read from {where(finished)}" in done.stdout
        # no blanks before it: in a pipe the table is not cut
        assert str(finished.table).splitlines()[0] in done.stdout
        assert everything(where(finished)) == before
        (where(finished) / "run.json").unlink()

    @pytest.mark.parametrize("name", ["examples/sentiment", "scores/sentiment.ace", "neurons/sentiment.random"])
    @pytest.mark.parametrize("damage", ["gone", "spoilt"])
    def test_a_unit_that_is_missing_is_made_again(self, model, alone, one, name, damage):
        """A run that lost a unit is no finished one: that one is made again, and nothing else."""
        file = one_file(one, name)
        file.unlink()
        if damage == "spoilt":
            file.write_bytes(b"garbage")
        before = {unit: stat for unit, stat in units(one).items() if one / unit != file}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            na.run(model, out=one, **ALONE)
        said = [str(each.message) for each in told if issubclass(each.category, na.AntagonismWarning)]
        assert len(said) == (damage == "spoilt")
        assert all(f"set aside as {file.name}.damaged, to be computed again" in line for line in said)
        assert made(one, before) == {name}
        assert file.read_bytes() == (where(alone) / file.relative_to(one)).read_bytes()
        assert same_results(one, where(alone))

    @pytest.mark.parametrize("name", SAID)
    def test_what_it_says_is_derived_again(self, model, alone, one, name, idle):
        """Lost results, questions and neurons are written again from the units; so are results that are damaged."""
        (one / name).unlink()
        na.run(model, out=one, **ALONE)
        assert same_results(one, where(alone))
        (one / "results.json").write_text("{]")
        na.run(model, out=one, **ALONE)
        assert same_results(one, where(alone))

    @pytest.mark.parametrize("name", ["answers/sentiment.ace.select", "text/sentiment.ace"])
    def test_what_the_result_does_not_name(self, model, alone, one, name, idle):
        """Files that only lead to the results may go: a finished run says what it said."""
        one_file(one, name).unlink()
        assert na.run(model, out=one, **ALONE).results == read(where(alone) / "results.json")

    def test_a_manifest_that_can_not_be_read(self, model, alone, one):
        """It is named and written again; to be resumed it is needed: what the run was, nobody knows any more."""
        (one / "manifest.json").write_text("{]")
        with pytest.raises(na.DataError, match=r"manifest\.json"):
            na.run(model, out=one, resume=True)
        with pytest.warns(na.AntagonismWarning, match=r"can't read .*manifest\.json: .*; it is written again"):
            na.run(model, out=one, **ALONE)
        assert same_results(one, where(alone))

    def test_nobody_is_told(self, model, alone, monkeypatch, tmp_path):
        """Observers hear of runs, not of reading."""
        monkeypatch.setenv("NEURON_ANTAGONISM_JSONL", str(tmp_path / "events.jsonl"))
        na.run(model, out=where(alone), **ALONE)
        assert list(tmp_path.iterdir()) == []


def test_equal_sets_of_other_strata_are_other_answers(model):
    """Answers without an edit hold the strata: of equal examples each reference's are a unit of their own."""
    job, shelf, keys = Job(ModelSource.of(model, {}), TaskSource.of("sentiment", 0), 0), Memory(), []
    for number, understood in enumerate((True, False, None), start=2):
        sizes = Sizes(number, 0, 1, stratified=understood is not None)
        row = {"set": "evaluate", "understood": understood, "item": None, "proxies": []}
        about = {"rows": [row], "hashes": {"evaluate": "the same"}, "engine": {"name": "replay"}}
        shelf.put(sizes.unit(job), Payload(about))
        unit = Asking(sizes, "evaluate").unit(job, shelf)
        assert unit is not None
        keys.append(unit.key)
    assert len(set(keys)) == 3


CHAIN = {"scores", "neurons", "answers", "text", "described"}
"""Kinds of what follows from a scorer's scores."""


class TestAnother:
    """Something else in the same directory."""

    @pytest.mark.parametrize(
        ("changed", "kinds", "scorers"),
        [
            ({"scorers": ["ace", "random", "act"]}, CHAIN, {"act"}),
            ({"scorers": ["ace"]}, set(), set()),
            ({"options": {"ace": {"ambiguous": "keep"}}}, CHAIN, {"ace"}),
            ({"steps": 8, "quadrature": "midpoint"}, CHAIN, {"ace"}),
            ({"positions": "all"}, {"answers", "text"}, {"ace", "random"}),
            ({"weaken": "excite", "strengthen": "silence"}, {"answers", "text"}, {"ace", "random"}),
            ({"protocols": ("paper", "held-out")}, {"answers"}, {"ace", "random"}),
            ({"random_draws": 3}, {"scores", "neurons", "answers"}, {"random"}),
            ({"evaluate": 6}, {"examples", "answers", "text", "described"}, {"ace", "random", "unedited", ""}),
        ],
        ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
    )
    def test_a_changed_option(self, model, one, tmp_path, changed, kinds, scorers):
        """Only what the option concerns is computed; the result is that of a fresh run."""
        before = units(one)
        given = {**ALONE, **changed}
        na.run(model, out=one, **given)
        new = made(one, before)
        assert {name.partition("/")[0] for name in new} == kinds
        assert {[*name.split("."), ""][1] for name in new} == scorers
        na.run(model, out=tmp_path / "fresh", **given)
        assert same_results(one, tmp_path / "fresh")
        # what was there still is, and asked for again it is only collected
        before = units(one)
        na.run(model, out=one, **ALONE)
        assert not made(one, before)

    def test_a_larger_evaluation_set_keeps_the_selection(self, model, one):
        """What was asked of the selection set does not hang on the other set's size."""
        before = units(one)
        na.run(model, out=one, **{**ALONE, "evaluate": 6})
        assert not [name for name in made(one, before) if name.endswith(".select")]

    def test_another_budget(self, model, one):
        """While z stays the same, scores do too."""
        given = {**ALONE, "scorers": ["ace"], "options": {"ace": {"z": 12}}}
        na.run(model, out=one, **given)
        before = units(one)
        na.run(model, out=one, **{**given, "budget": 8})
        assert {name.partition("/")[0] for name in made(one, before)} == CHAIN - {"scores"}
        before = units(one)
        na.run(model, out=one, **{**given, "options": {"ace": {"z": 13}}})
        assert {name.partition("/")[0] for name in made(one, before)} == CHAIN

    def test_a_further_task(self, model, one, fast):
        """What is new is the other task, and what each one's edits do to the other."""
        before = units(one)
        na.run(model, out=one, **FAST)
        new = made(one, before)
        assert {name for name in new if "/sentiment" in name} == {"answers/sentiment.ner.ace.evaluate"}
        assert same_results(one, where(fast))

    def test_other_weights(self, one, tmp_path):
        """Another model's weights in the same directory: nothing is used again."""
        before = units(one)
        other = tiny.load("llama", torch.float32, seed=1)
        na.run(other, out=one, **ALONE)
        assert made(one, before) == {name.rsplit(".", 2)[0] for name in before}

    def test_a_run_that_is_no_longer_asked_for_is_no_longer_shown(self, model, one):
        """Manifest, results and neurons are those of what is asked now."""
        na.run(model, out=one, **{**ALONE, "scorers": ["random"]})
        assert list(na.load_run(one).attributions["sentiment"]) == ["random"]
        assert ",ace," not in (one / "neurons.csv").read_text("utf-8")

    def test_all_protocols(self, model, one):
        """Each on its own cells; `matched` and `paper` from a sweep of the evaluation set, as a run without files."""
        given = {**ALONE, "protocols": ("paper", "matched", "held-out")}
        found = na.run(model, out=one, **given).results["tasks"]["sentiment"]
        assert list(found["cells"]) == ["paper", "matched", "held-out"]
        rows = [row for row in found["sweep"] if (row["scorer"], row["set"]) == ("ace", "evaluate")]
        assert [row["tenths"] for row in rows] == [*range(11)] * 2
        plain = read(one / "results.json")["tasks"]["sentiment"]["cells"]["held-out"]
        na.run(model, out=one, **ALONE)
        assert read(one / "results.json")["tasks"]["sentiment"]["cells"]["held-out"] == plain

    def test_text_that_ends_lines(self, model, tmp_path):
        """Texts with U+2028 and other ends of lines that JSON does not escape are read back like any other."""
        lines = (f"(3 (2 so\u2028{number}\u0085) (4 good))" for number in range(40))
        (tmp_path / "odd.txt").write_text("\n".join(lines), encoding="utf-8")
        given = {**ALONE, "scorers": ["random"], "data": {"sentiment": (str(tmp_path / "odd.txt"), None)}}
        na.run(model, out=tmp_path / "run", **given)
        before = units(tmp_path / "run")
        na.run(model, out=tmp_path / "run", **{**given, "random_draws": 1})
        assert not [name for name in made(tmp_path / "run", before) if name.startswith("examples")]
        assert "\u2028" in na.load_run(tmp_path / "run").splits["sentiment"].evaluate[0].proxies[0].prompt


@pytest.fixture(scope="module")
def filled(fast, tmp_path_factory) -> Path:
    """A cache that holds the fast run's units."""
    cache = tmp_path_factory.mktemp("cache")
    for name in units(where(fast)):
        (cache / name).parent.mkdir(exist_ok=True)
        shutil.copy(where(fast) / name, cache / name)
    return cache


class TestCache:
    def test_what_a_run_makes_is_in_it(self, model, alone, tmp_path):
        """Units of the run are the cache's own files."""
        given = {**ALONE, "scorers": ["random"]}
        na.run(model, out=tmp_path / "run", cache=tmp_path / "cache", **given)
        assert units(tmp_path / "run") == units(tmp_path / "cache")
        assert {path.name for path in (tmp_path / "cache").iterdir()} == {"examples", "scores", "neurons", "answers"}

    def test_what_is_in_it_is_not_computed(self, model, fast, filled, tmp_path, idle, monkeypatch):
        """Another directory, the same cache: nothing is computed, and the directory stands by itself."""
        na.run(model, out=tmp_path / "run", cache=filled, **FAST)
        assert units(tmp_path / "run") == units(filled)
        assert same_results(tmp_path / "run", where(fast))
        monkeypatch.setenv("NEURON_ANTAGONISM_CACHE", str(filled))
        na.run(model, out=tmp_path / "other", **{**FAST, "tasks": ["ner"]})
        assert na.load_run(tmp_path / "other").splits["ner"].identify == fast.splits["ner"].identify

    def test_no_model_is_loaded(self, finished, tmp_path, idle):
        """A model's name, its files and a filled cache are enough."""
        na.run("demo", out=tmp_path / "run", cache=where(finished), **WHOLE)
        assert same_results(tmp_path / "run", where(finished))

    def test_a_dry_run_counts_it_and_links_nothing(self, model, filled, tmp_path, idle):
        """What is in the cache is there; nothing is written."""
        plan = make_plan(RunConfig.of(**FAST), model=model)
        cost = Estimate(plan, tmp_path / "run", filled).cost()
        assert (cost["edited_answers"], cost["full_passes"], cost["gradient_questions"]) == (0, 0, 0)
        assert cost["there"]["scores"] == 4
        assert not (tmp_path / "run").exists()

    def test_a_refused_run_links_nothing(self, model, filled, tmp_path):
        """What is wrong is found before anything is left behind."""
        with pytest.raises(na.UsageError, match="budget"):
            na.run(model, out=tmp_path / "run", cache=filled, **{**FAST, "budget": 73})
        assert not (tmp_path / "run").exists()


AUTO: dict[str, Any] = {**FAST, "scorers": ["ace", "tn", "act"], "steps": "auto"}
KEYS = [(task, scorer) for task in AUTO["tasks"] for scorer in ("ace", "tn")]


@pytest.fixture(scope="module")
def settled(model, fast, tmp_path_factory) -> Iterator[tuple[na.RunResult, tuple[str, str]]]:
    """A run under a tolerance that one scorer misses at 16 steps, on one task; and which."""
    errors = {
        (task, scorer): na.attribute(model, fast.splits[task].identify, scorer, budget=6).completeness_error
        for task, scorer in KEYS
    }
    *others, worst = sorted(errors.items(), key=lambda item: item[1])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attribute_module, "COMPLETENESS_TOLERANCE", (others[-1][1] + worst[1]) / 2)
        yield na.run(model, out=tmp_path_factory.mktemp("auto") / "run", **AUTO), worst[0]


class TestAutoSteps:
    def test_one_m_for_the_whole_run(self, model, fast, settled):
        """What one scorer needs on one task, every scorer takes on every task; alone, the others need less."""
        result, worst = settled
        alone = {
            (task, scorer): na.attribute(model, fast.splits[task].identify, scorer, steps="auto", budget=6).steps
            for task, scorer in KEYS
        }
        assert alone == {key: 32 if key == worst else 16 for key in KEYS}
        found = {(task, scorer): a.steps for task, each in result.attributions.items() for scorer, a in each.items()}
        assert found == dict.fromkeys(alone, 32) | {(task, "act"): 0 for task in AUTO["tasks"]}
        assert result.manifest["steps"] == 32

    def test_it_is_the_run_at_that_m(self, model, settled, tmp_path, idle):
        """The run that is asked for its m has the same units, and says the same."""
        path = shutil.copytree(where(settled[0]), tmp_path / "copy")
        na.run(model, out=path, **{**AUTO, "steps": 32})
        assert same_results(where(settled[0]), path)

    def test_gone_on_with(self, model, settled, tmp_path, monkeypatch):
        """A run that goes on takes the m that was settled, without settling it again."""
        path = shutil.copytree(where(settled[0]), tmp_path / "copy")
        one_file(path, "scores/ner.tn").unlink()
        monkeypatch.delattr(steps_module, "settled_steps")
        na.run(model, out=path, **AUTO)
        assert same_results(where(settled[0]), path)

    def test_damaged_steps(self, model, settled, tmp_path):
        """What was settled is settled again where its file is damaged; the scores are still those of that m."""
        path = shutil.copytree(where(settled[0]), tmp_path / "copy")
        one_file(path, f"steps/{settled[1][0]}").write_text("garbage")
        (path / "results.json").unlink()
        with pytest.warns(na.AntagonismWarning, match="set aside"):
            again = na.run(model, out=path, **AUTO)
        assert again.manifest["steps"] == 32
        assert same_results(where(settled[0]), path)

    def test_nothing_to_settle(self, model):
        """Where nothing is integrated, no gradient is taken, and the run says that no m was settled."""
        given = {**AUTO, "tasks": ["sentiment"], "scorers": ["act"]}
        assert na.run(model, **given).manifest["steps"] == "auto"


class TestCeiling:
    def test_it_is_what_the_scorer_reaches(self, finished, tmp_path):
        """The ceiling is the precision of the scorer `ablation`, whose scores it shares."""
        path = shutil.copytree(where(finished), tmp_path / "copy")
        before = units(path)
        given = {**WHOLE, "tasks": ["ner"], "scorers": ["ablation"]}
        as_scorer = na.run("demo", out=path, **given).results["tasks"]["ner"]["planted"]
        ceiling = finished.results["tasks"]["ner"]["planted"]["ablation"]
        assert as_scorer == {"ablation": {role: ceiling[role] for role in ("good", "bad", "k")}}
        assert ceiling["kind"] == "ceiling"
        assert min(ceiling["good"], ceiling["bad"]) > 0.2
        assert not [name for name in made(path, before) if name.startswith("scores/")]

    def test_the_table_shows_it_last(self, finished):
        """The last row of the planted neurons' table is the ceiling's, labelled, with its figures for each task."""
        *_, last = str(finished.table).rstrip().splitlines()
        found = [finished.results["tasks"][task]["planted"]["ablation"] for task in WHOLE["tasks"]]
        figures = [f"{one[role]:.2f}" for one in found for role in ("good", "bad")]
        assert last.split() == ["ablation", "(ceiling)", *figures]

    def test_a_model_without_planted_neurons_has_none(self, fast):
        """Nothing is ablated, and nothing said of planted neurons, where none are."""
        assert all(found["planted"] is None for found in fast.results["tasks"].values())
        assert "ceiling" not in str(fast.table)
        assert not [name for name in units(where(fast)) if "ablation" in name]

    @pytest.mark.parametrize(("scorers", "ablated"), [(["act"], 3), (["act", "ablation"], 0)])
    def test_it_is_in_the_estimate(self, scorers, ablated):
        """The estimate of a run's cost counts the questions of the ceiling, unless the scorer runs anyway."""
        config = RunConfig.of(tasks=["ner"], scorers=scorers, identify=1, select=2, evaluate=2)
        assert Estimate(make_plan(config)).cost()["ablated_questions"] == ablated


class Signed(na.Target):
    """The right letter's logit, or its negative."""

    def __init__(self, sign):
        self.sign = sign

    def __call__(self, logits, letters, answer):
        return self.sign * logits.gather(-1, letters).gather(-1, answer[..., None])[..., 0]


class SignedScorer(na.Scorer):
    """A scorer whose result hangs on an attribute of its target, not on its options."""

    name = "signed"

    def __init__(self, sign):
        super().__init__()
        self.target = Signed(sign)


class TestIdentity:
    def test_other_attributes_are_other_scores(self, model, one):
        """A scorer of the same name and options but another target computes its own."""
        first, second = (na.run(model, out=one, **{**ALONE, "scorers": [SignedScorer(sign)]}) for sign in (1.0, -1.0))
        left, right = (r.attributions["sentiment"]["signed"].example_scores for r in (first, second))
        assert torch.allclose(left, -right, atol=1e-5)
        assert left.abs().max() > 0

    def test_a_run_inside_an_edit_is_refused(self, model, tmp_path):
        """A run under an active edit would be stored as the unedited model's."""
        edit = na.edit(na.NeuronSet.of([(0, 0)]), "silence", positions="all")
        with model.edited(edit), pytest.raises(na.UsageError, match=r"inside model\.edited"):
            na.run(model, out=tmp_path / "run", **ALONE)
        assert not (tmp_path / "run").exists()
        assert not model.is_edited
