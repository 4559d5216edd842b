"""A run's directory: what it holds, that it loads, that it resumes after any interruption, that it repeats."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tiny
import torch
from safetensors.torch import load_file

import neuron_antagonism as na
from neuron_antagonism import demo
from neuron_antagonism.method import attribute as attribute_module
from neuron_antagonism.method import attribution as attribution_module
from neuron_antagonism.runs import planted as planted_module
from neuron_antagonism.runs import run as running
from neuron_antagonism.runs import settle as settle_module
from neuron_antagonism.runs import store as store_module
from neuron_antagonism.runs import sweep as sweep_module
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.cost import estimate
from neuron_antagonism.runs.plan import make_plan
from neuron_antagonism.tasks import drawing

ROOT = Path(__file__).parents[1]
WHOLE: dict[str, Any] = {
    "tasks": ["sentiment", "ner"],
    "scorers": ["ace", "act", "random"],
    "identify": 2,
    "select": 4,
    "evaluate": 4,
    "budget": 20,
    "random_draws": 2,
}
"""A run of the demonstration model that has a bit of everything."""

FAST: dict[str, Any] = {**WHOLE, "tasks": ["sentiment", "commonsense"], "scorers": ["ace", "random"], "budget": 6}
"""A run of a tiny random model, for what needs many runs."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.fixture
def copy(fast: na.RunResult, tmp_path: Path) -> Path:
    """The tiny model's finished run, to spoil."""
    assert fast.path is not None
    return shutil.copytree(fast.path, tmp_path / "copy")


def where(result: na.RunResult) -> Path:
    assert result.path is not None
    return result.path


def strict(text: str) -> Any:
    """JSON without NaN and infinities."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def read(path: Path) -> Any:
    return strict(path.read_text(encoding="utf-8"))


def same_results(path: Path, other: Path) -> bool:
    """Whether two directories say the same, byte for byte."""
    names = ("results.json", "questions.jsonl", "neurons.csv")
    return all((path / name).read_bytes() == (other / name).read_bytes() for name in names)


class TestDirectory:
    def test_files(self, finished):
        """Exactly these files; nothing half-written stays."""
        found = {str(file.relative_to(where(finished))) for file in where(finished).rglob("*") if file.is_file()}
        assert found == {
            *("manifest.json", "questions.jsonl", "splits.json", "neurons.csv", "results.json"),
            *(f"scores/{task}.{scorer}.safetensors" for task in WHOLE["tasks"] for scorer in WHOLE["scorers"]),
            *(f"sweeps/{task}.safetensors" for task in WHOLE["tasks"]),
            *(f"sweeps/{task}.{what}.json" for task in WHOLE["tasks"] for what in ("all", "ceiling")),
            "sweeps/side_effects.json",
        }

    def test_manifest(self, finished):
        """Versions, seed, every option, hashes of model and data, machine, engine, timings, schema version."""
        manifest = read(where(finished) / "manifest.json")
        assert manifest["finished"] is True
        assert manifest["schema"] == 2
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
        assert set(manifest["timings"]) == {
            f"{t}: {what}" for t in WHOLE["tasks"] for what in ("attribution", "evaluation")
        }
        assert manifest["plugins"]["ace"] == f"neuron-antagonism {na.__version__}"
        assert manifest["scorers"]["ace"]["z"] == 32

    def test_results(self, finished):
        """Counts of the whole sweep, every figure with its interval, all protocols, averages."""
        results = read(where(finished) / "results.json")
        assert (results["schema"], results["protocol"]) == (2, "held-out")
        assert list(results["tasks"]) == WHOLE["tasks"]
        for found in results["tasks"].values():
            assert found["before"]["questions"] == 12
            assert set(found["cells"]) == {"paper", "matched", "held-out"}
            for cell in found["cells"]["held-out"]:
                assert {"acc_after", "com_after", "rac", "rcc", "rac_interval", "rcc_interval", "failed"} <= set(cell)
            # ACE and two draws at eleven ratios, ACT at one; two directions, two sets
            assert len(found["sweep"]) == (3 * 11 + 1) * 2 * 2
            assert {"right", "understood", "tenths", "used", "set"} <= set(found["sweep"][0])
            assert {(row["scorer"], row["mode"]) for row in found["at_all"]} == {
                (scorer, mode) for scorer in ("ace", "act") for mode in ("enhance", "degrade")
            }
            assert found["attribution"]["ace"]["completeness_error"] > 0
            assert found["attribution"]["act"]["completeness_error"] is None
            assert list(found["planted"]) == [*WHOLE["scorers"], "ablation"]
            assert sum(found["layers"]["ace"]["good"]) == found["attribution"]["ace"]["n_good"]
        assert {(row["scorer"], row["mode"]) for row in results["averages"]} == {
            (scorer, mode) for scorer in WHOLE["scorers"] for mode in ("enhance", "degrade")
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
        """Without out= a run writes nothing anywhere near."""
        monkeypatch.chdir(tmp_path)
        result = na.run(model, **{**FAST, "tasks": ["sentiment"]})
        assert result.path is None
        assert list(tmp_path.iterdir()) == []
        assert result.table.rows


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
                for mode in ("enhance", "degrade"):
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
        "name", ["manifest.json", "results.json", "questions.jsonl", "scores/sentiment.ace.safetensors"]
    )
    def test_a_spoilt_file(self, copy, name):
        """A file that can't be read is named, in one line."""
        (copy / name).write_text("{]")
        with pytest.raises(na.DataError, match=f"can't read .*{name.rpartition('/')[2]}") as caught:
            na.load_run(copy)
        assert "\n" not in str(caught.value)


def described(edit: na.Edit) -> tuple[Any, ...]:
    parts = [(part.intervention.name, list(part.neurons)) for part in edit.parts]
    return (parts, edit.positions, edit.site, edit.mode, edit.ratio, edit.n_good, edit.n_bad)


class TestSameSeed:
    def test_the_same_seed_repeats(self, model, fast, tmp_path):
        """The same seed gives results, questions and neurons byte for byte, and every stored tensor."""
        na.run(model, out=tmp_path / "again", **FAST)
        assert same_results(where(fast), tmp_path / "again")
        for file in where(fast).rglob("*.safetensors"):
            again = load_file(tmp_path / "again" / file.relative_to(where(fast)))
            assert {name: t.tolist() for name, t in load_file(file).items()} == {
                n: t.tolist() for n, t in again.items()
            }

    def test_another_seed_differs(self, model, fast, tmp_path):
        """Another seed draws other examples, and other scores of the scorer that draws."""
        other = na.run(model, out=tmp_path / "other", seed=1, **FAST)
        assert (tmp_path / "other" / "questions.jsonl").read_bytes() != (where(fast) / "questions.jsonl").read_bytes()
        drawn = [r.attributions["sentiment"]["random"].scores for r in (fast, other)]
        assert not torch.equal(*drawn)

    def test_global_random_states_are_left_alone(self, model, fast, tmp_path):
        """A run depends on no global seed, and changes none."""
        torch.manual_seed(123)
        before = torch.get_rng_state()
        na.run(model, out=tmp_path / "again", **FAST)
        assert torch.equal(before, torch.get_rng_state())
        assert same_results(where(fast), tmp_path / "again")
        assert torch.get_num_threads() == 1

    def test_tasks_do_not_influence_each_other(self, model, fast):
        """A task's results are the same alone as beside another one."""
        alone = na.run(model, **{**FAST, "tasks": ["commonsense"]})

        def own(result):
            """Without what is said of other tasks, and of all comparisons together."""
            found = strict(json.dumps(result.results["tasks"]["commonsense"]))
            rows = [*found["side_effects"]["rows"], *found["differences"]]
            assert all(row.pop("other_tasks", None) is not None or row.pop("p_holm", None) is not None for row in rows)
            return found

        assert own(alone) == own(fast)

    def test_random_draws_anew_for_each_task(self, model, fast):
        """RANDOM's neurons differ between tasks and between a task's draws, and a task alone has the same ones."""
        alone = na.run(model, **{**FAST, "tasks": ["commonsense"]})
        drawn = {task: found["random"].scores for task, found in fast.attributions.items()}
        assert torch.equal(alone.attributions["commonsense"]["random"].scores, drawn["commonsense"])
        assert not torch.equal(drawn["sentiment"], drawn["commonsense"])

    def test_every_draw_of_a_run_is_another(self, model, monkeypatch):
        """No two draws of any task of a run have one seed."""
        seeds = []
        real = running.attribute_each
        monkeypatch.setattr(
            running,
            "attribute_each",
            lambda m, e, scorers, s: seeds.extend(x.options.seed for x in scorers if x.draws) or real(m, e, scorers, s),
        )
        na.run(model, **{**FAST, "random_draws": 3})
        assert len(set(seeds)) == len(seeds) == 6


class Work:
    """Counts what a run computes anew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scored: list[str] = []
        self.swept: list[str] = []
        self.at_all = self.asked = 0
        monkeypatch.setattr(running, "attribute_each", self._wrap(running.attribute_each, self._scored))
        monkeypatch.setattr(running, "sweep_task", self._wrap(running.sweep_task, self._swept))
        monkeypatch.setattr(running, "evaluate_many", self._wrap(running.evaluate_many, self._at_all))
        monkeypatch.setattr(drawing, "evaluate", self._wrap(drawing.evaluate, self._asked))

    def _wrap(self, real: Callable[..., Any], count: Callable[..., None]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            count(*args)
            return real(*args, **kwargs)

        return wrapped

    def _scored(self, model: Any, examples: Any, scorers: Any, settings: Any) -> None:
        # further draws of RANDOM are cheaper to repeat than to store
        self.scored += [s.name for s in scorers if not (s.draws and s.options.seed % FAST["random_draws"])]

    def _swept(self, model: Any, task: str, *_: Any) -> None:
        self.swept.append(task)

    def _at_all(self, *_: Any) -> None:
        self.at_all += 1

    def _asked(self, *_: Any) -> None:
        self.asked += 1

    @property
    def nothing(self) -> bool:
        return not (self.scored or self.swept or self.at_all or self.asked)


@pytest.fixture
def work(fast: na.RunResult, monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


class StoppedError(Exception):
    """Stands for whatever ends a run half-way."""


WRITES = 3 + 2 * (2 + 1 + 1) + 4
"""Files written in a run: three before the tasks; scores, sweep and effects of each; three after."""


class TestResume:
    def test_a_finished_run(self, model, fast, copy, work):
        """Resuming a finished run computes nothing and gives the same."""
        result = na.run(model, out=copy, resume=True, **FAST)
        assert work.nothing
        assert same_results(where(fast), copy)
        assert str(result.table) == str(fast.table)

    @pytest.mark.parametrize("last", range(WRITES))
    def test_stopped_at_any_write(self, model, fast, tmp_path, monkeypatch, last):
        """A run that ends at any of its writes resumes, and then says what an uninterrupted one says."""
        written = 0

        def stop(real: Callable[..., None]) -> Callable[..., None]:
            def write(*args: Any) -> None:
                nonlocal written
                if written == last:
                    raise StoppedError
                written += 1
                real(*args)

            return write

        with monkeypatch.context() as patched:
            for module in (attribution_module, store_module, sweep_module):
                patched.setattr(module, "write_whole", stop(module.write_whole))
            with pytest.raises(StoppedError):
                na.run(model, out=tmp_path / "run", **FAST)
        work = Work(monkeypatch)
        na.run(model, out=tmp_path / "run", resume=True, **FAST)
        assert same_results(where(fast), tmp_path / "run")
        # before: 0 manifest, 1 split reports, 2 questions; then of each task: two scores, sweep, effects
        done = [max(0, min(last - 3 - 4 * task, 4)) for task in range(2)]
        assert bool(work.asked) == (last <= 2)
        assert work.scored == [s for d in done for s in FAST["scorers"][min(d, 2) :]]
        assert work.swept == [task for task, d in zip(FAST["tasks"], done, strict=True) if d < 3]
        assert work.at_all == sum(d < 4 for d in done)

    def test_the_number_of_writes(self, model, fast, tmp_path, monkeypatch):
        """The test above goes through all of a run's writes."""
        written = []
        for module in (attribution_module, store_module, sweep_module):
            real = module.write_whole
            monkeypatch.setattr(
                module, "write_whole", lambda path, data, real=real: (written.append(path), real(path, data))
            )
        na.run(model, out=tmp_path / "run", **FAST)
        assert len(written) == WRITES

    def test_killed(self, finished, tmp_path):
        """A process that is killed outright leaves a run that resumes, to the same results byte for byte."""
        out = tmp_path / "killed"
        code = (
            "import torch, neuron_antagonism as na\n"
            f"torch.set_num_threads(1)\nna.run('demo', out={str(out)!r}, **{WHOLE!r})"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while not (out / "scores" / "ner.ace.safetensors").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (out / "results.json").exists()
        with pytest.raises(na.DataError, match="holds no finished run"):
            na.load_run(out)
        kept = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
        na.run("demo", out=out, resume=True, **WHOLE)
        assert same_results(where(finished), out)
        assert {file: file.stat().st_mtime_ns for file in kept} == kept
        assert out / "sweeps" / "sentiment.safetensors" in kept

    @pytest.mark.parametrize(
        ("changed", "scored", "swept", "asked"),
        [
            ({"scorers": ["ace", "random", "act"]}, ["act"] * 2, True, False),
            ({"scorers": ["ace"]}, [], True, False),
            ({"options": {"ace": {"ambiguous": "keep"}}}, ["ace"] * 2, True, False),
            ({"positions": "all"}, [], True, False),
            ({"weaken": "excite"}, [], True, False),
            ({"steps": 8}, ["ace", "random"] * 2, True, False),
            ({"quadrature": "midpoint"}, ["ace", "random"] * 2, True, False),
            ({"evaluate": 6}, ["ace", "random"] * 2, True, True),
            ({"seed": 1}, ["ace", "random"] * 2, True, True),
            ({"tasks": ["commonsense"]}, [], False, False),
        ],
        ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
    )
    def test_a_changed_option(self, model, copy, work, tmp_path, changed, scored, swept, asked):
        """What an option concerns is computed anew, the rest is kept; the result is that of a fresh run."""
        given = {**FAST, **changed}
        na.run(model, out=copy, resume=True, **given)
        assert (work.scored, bool(work.swept), bool(work.asked)) == (scored, swept, asked)
        na.run(model, out=tmp_path / "fresh", **given)
        assert same_results(copy, tmp_path / "fresh")

    def test_other_weights(self, copy, work, tmp_path):
        """Another model's weights in the same directory: nothing is reused."""
        other = tiny.load("llama", torch.float32, seed=1)
        na.run(other, out=copy, resume=True, **FAST)
        assert work.scored == ["ace", "random"] * 2
        assert work.asked
        na.run(other, out=tmp_path / "fresh", **FAST)
        assert same_results(copy, tmp_path / "fresh")

    def test_an_existing_run_without_resume(self, model, copy):
        """A finished run is never written over."""
        before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
        with pytest.raises(na.UsageError, match="holds a run already; accepted: another directory, or --resume"):
            na.run(model, out=copy, **FAST)
        assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before

    def test_text_that_ends_lines(self, model, tmp_path, work):
        """Texts with U+2028 and other ends of lines that JSON does not escape resume like any other."""
        lines = (f"(3 (2 so\u2028{number}\u0085) (4 good))" for number in range(40))
        (tmp_path / "odd.txt").write_text("\n".join(lines), encoding="utf-8")
        given = {**FAST, "tasks": ["sentiment"], "data": {"sentiment": (str(tmp_path / "odd.txt"), None)}}
        na.run(model, out=tmp_path / "run", **given)
        first = work.asked
        na.run(model, out=tmp_path / "run", resume=True, **given)
        assert work.asked == first > 0
        assert "\u2028" in na.load_run(tmp_path / "run").splits["sentiment"].evaluate[0].proxies[0].prompt


class TestAutoSteps:
    GIVEN: ClassVar = {**FAST, "tasks": ["commonsense", "sentiment"], "scorers": ["ace", "tn", "act"], "steps": "auto"}

    @pytest.fixture
    def tolerance(self, model, fast, monkeypatch) -> None:
        """One that only TN misses at 16 steps, on the run's last task only."""
        errors = {
            (task, scorer): na.attribute(model, fast.splits[task].identify, scorer, budget=6).completeness_error
            for task in self.GIVEN["tasks"]
            for scorer in ("ace", "tn")
        }
        *others, worst = sorted(errors.items(), key=lambda item: item[1])
        assert worst[0] == ("sentiment", "tn")
        monkeypatch.setattr(attribute_module, "COMPLETENESS_TOLERANCE", (others[-1][1] + worst[1]) / 2)

    def test_one_m_for_the_whole_run(self, model, fast, tolerance):
        """What one scorer needs on one task, every scorer takes on every task; alone, the others need less."""
        alone = {
            (task, scorer): na.attribute(model, fast.splits[task].identify, scorer, steps="auto", budget=6).steps
            for task in self.GIVEN["tasks"]
            for scorer in ("ace", "tn")
        }
        assert sorted(alone.values()) == [16, 16, 16, 32]
        result = na.run(model, **self.GIVEN)
        found = {(task, scorer): a.steps for task, each in result.attributions.items() for scorer, a in each.items()}
        assert found == dict.fromkeys(alone, 32) | {(task, "act"): 0 for task in self.GIVEN["tasks"]}
        assert result.manifest["steps"] == 32

    def test_it_is_the_run_at_that_m(self, model, tolerance):
        """An auto run gives the results of a run that was asked for its m."""
        auto, asked = (na.run(model, **{**self.GIVEN, "steps": steps}) for steps in ("auto", 32))
        assert json.dumps(auto.results) == json.dumps(asked.results)

    def test_resumed(self, model, tolerance, tmp_path, monkeypatch):
        """A resumed run takes the m that was settled, without settling it again, and says the same."""
        first = na.run(model, out=tmp_path / "run", **self.GIVEN)
        shutil.copytree(where(first), tmp_path / "copy")
        (tmp_path / "copy" / "scores" / "commonsense.tn.safetensors").unlink()
        monkeypatch.delattr(settle_module, "settled_steps")
        na.run(model, out=tmp_path / "copy", resume=True)
        assert same_results(where(first), tmp_path / "copy")

    @pytest.mark.parametrize("text", ["garbage", "[]", '{"key": "of another run", "steps": 64}'])
    def test_a_file_of_steps_that_does_not_fit(self, model, tolerance, tmp_path, text):
        """A damaged file of settled steps, or another run's, is settled again."""
        first = na.run(model, out=tmp_path / "run", **self.GIVEN)
        (tmp_path / "run" / "steps.json").write_text(text)
        assert na.run(model, out=tmp_path / "run", resume=True).manifest["steps"] == first.manifest["steps"] == 32

    def test_nothing_to_settle(self, model):
        """Where nothing is integrated, no gradient is taken, and the run says that no m was settled."""
        assert na.run(model, **{**self.GIVEN, "scorers": ["act"]}).manifest["steps"] == "auto"


class TestCeiling:
    def test_it_is_what_the_scorer_would_reach(self, finished):
        """The ceiling is the precision of the scorer `ablation` in the same run, where no ceiling is added to it."""
        given = {**WHOLE, "tasks": ["ner"], "scorers": ["ablation"]}
        as_scorer = na.run("demo", **given).results["tasks"]["ner"]["planted"]
        ceiling = finished.results["tasks"]["ner"]["planted"]["ablation"]
        assert as_scorer == {"ablation": {role: ceiling[role] for role in ("good", "bad", "k")}}
        assert ceiling["kind"] == "ceiling"
        assert min(ceiling["good"], ceiling["bad"]) > 0.2

    def test_the_table_shows_it_last(self, finished):
        """The last row of the planted neurons' table is the ceiling's, labelled, with its figures for each task."""
        *_, last = str(finished.table).rstrip().splitlines()
        found = [finished.results["tasks"][task]["planted"]["ablation"] for task in WHOLE["tasks"]]
        figures = [f"{one[role]:.2f}" for one in found for role in ("good", "bad")]
        assert last.split() == ["ablation", "(ceiling)", *figures]

    def test_a_resumed_run_does_not_measure_it_again(self, finished, tmp_path, monkeypatch):
        """What was measured is kept beside the sweeps; it is measured again where that file is damaged."""
        path = shutil.copytree(where(finished), tmp_path / "copy")
        measured: list[str] = []
        real = planted_module.ablated
        monkeypatch.setattr(planted_module, "ablated", lambda plan, *rest: measured.append("once") or real(plan, *rest))
        na.run(out=path, resume=True)
        assert not measured
        (path / "sweeps" / "ner.ceiling.json").write_text("garbage")
        na.run(out=path, resume=True)
        assert measured == ["once"]
        assert same_results(where(finished), path)

    def test_a_model_without_planted_neurons_has_none(self, fast):
        """Nothing is ablated, and nothing said of planted neurons, where none are."""
        assert all(found["planted"] is None for found in fast.results["tasks"].values())
        assert "ceiling" not in str(fast.table)

    @pytest.mark.parametrize(("scorers", "ablated"), [(["act"], 3), (["act", "ablation"], 0)])
    def test_it_is_in_the_estimate(self, scorers, ablated):
        """The estimate of a run's cost counts the questions of the ceiling, unless the scorer runs anyway."""
        config = RunConfig.of(tasks=["ner"], scorers=scorers, identify=1, select=2, evaluate=2)
        assert estimate(make_plan(config))["ablated_questions"] == ablated


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
    SIZES: ClassVar = {"identify": 1, "select": 2, "evaluate": 2, "random_draws": 1, "budget": 10}

    def test_other_attributes_are_not_resumed(self, tmp_path):
        """Resuming with a scorer of the same name and options but another target computes its scores anew."""
        model = na.load_model("demo")
        first, second = (
            na.run(model, ["ner"], [SignedScorer(sign)], out=tmp_path / "run", resume=sign < 0, **self.SIZES)
            for sign in (1.0, -1.0)
        )
        one, other = (r.attributions["ner"]["signed"].example_scores for r in (first, second))
        assert torch.allclose(one, -other, atol=1e-5)
        assert one.abs().max() > 0

    def test_a_damaged_sweep_is_computed_again(self, tmp_path):
        """Unreadable stored files are computed again, whichever they are."""
        model = na.load_model("demo")
        first = na.run(model, ["ner"], ["ace"], out=tmp_path / "run", **self.SIZES)
        for name in ("sweeps/ner.safetensors", "sweeps/ner.all.json", "scores/ner.ace.safetensors"):
            (tmp_path / "run" / name).write_bytes(b"garbage")
        again = na.run(model, ["ner"], ["ace"], out=tmp_path / "run", resume=True, **self.SIZES)
        assert json.dumps(again.results) == json.dumps(first.results)

    def test_a_run_inside_an_edit_is_refused(self, tmp_path):
        """A run under an active edit would be stored as the unedited model's."""
        model = na.load_model("demo")
        edit = na.edit(na.NeuronSet.of([(0, 0)]), "silence", positions="all")
        with model.edited(edit), pytest.raises(na.UsageError, match=r"inside model\.edited"):
            na.run(model, ["ner"], ["ace"], out=tmp_path / "run", **self.SIZES)
        assert not (tmp_path / "run").exists()
        assert not model.is_edited
