"""The command line: one line for everything that can be wrong, one document with --json, nothing made too early."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import neuron_antagonism as na
from neuron_antagonism import demo
from neuron_antagonism.cli.app import main

SMALL = ("--identify", "2", "--select", "4", "--evaluate", "4", "--budget", "20")
ONE = ("--task", "sentiment", "--scorer", "act")
READ = f"read from x\nreport: {Path('x', 'report.html')}\n"
"""The last lines of a run that was finished before."""

SST = "(3 (2 so) (4 good))\n"
CSQA = '{"answerKey": "A", "question": {"stem": "Why %d?", "choices": [%s]}}\n'


@dataclass(frozen=True)
class Done:
    """What one call printed, and its exit code."""

    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs the command in this process, in an empty directory, without a terminal or a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def run(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 0
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Bad data of every kind, in the directory where the command is run."""
    choices = ", ".join(
        f'{{"label": "{label}", "text": "{text}"}}' for label, text in zip("ABCDE", "xxyyy", strict=True)
    )
    for name, text in {
        "bad.sst": SST * 2 + "(9 bad)\n",
        "bad.ner": "Paris\tlocation-city\nrubbish\n",
        "bad.conll": "the DT B-NP\ndog NN\n",
        "bad.jsonl": "{]\n",
        "empty": "",
        "few.jsonl": "".join(CSQA % (number, choices) for number in range(6)),
        "two.sst": SST + SST.replace("so", "very"),
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text('{"finished": tr', encoding="utf-8")
    (tmp_path / "nothing").mkdir()
    for name, changes in {
        "code": {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.OwnModel"}},
        "odd": {"intermediate_size": 385},
    }.items():
        shutil.copytree(demo.directory(), tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8"))
        (tmp_path / name / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    return tmp_path


def tree(path: Path) -> list[Path]:
    return sorted(path.rglob("*"))


def refused(call: Call, where: Path, *words: str) -> str:
    """The one line of a refused call, which created nothing."""
    before = tree(where)
    done = call(*words)
    assert tree(where) == before
    assert done.out == ""
    assert done.code == 2, done.err
    # on a slow machine, loading the model is told of when it has taken a second
    assert re.fullmatch(r"(\S+: model: 1 in .+\n)?error: .+\n", done.err), done.err
    return done.err


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (
                ["--scorer", "acee"],
                "unknown scorer 'acee'; did you mean 'ace'? accepted: ablation, ace, act, auroc, ",
            ),
            (["--scorer", ""], "unknown scorer ''"),
            (["--scorer", "act"], "scorer 'act' was given twice"),
            (["--task", "sentimant"], "unknown task 'sentimant'; did you mean 'sentiment'?"),
            (["--task", "sentiment"], "task 'sentiment' was given twice"),
            (
                ["--model", "demoo"],
                "unknown model 'demoo'; did you mean 'demo'? accepted: demo, a local directory, a GGUF file, or a",
            ),
            (["--model", "no/such-model"], "unknown model 'no/such-model'"),
            (["--model", "empty"], "the model empty is a file"),
            (["--model", "nothing"], "the directory nothing holds no config.json"),
            (["--data", "sentiment=bad.sst"], "bad.sst, line 3: found '(9 bad)'; accepted: "),
            (["--data", "sentiment=two.sst,bad.sst"], "bad.sst, line 3: "),
            (["--task", "ner", "--data", "ner=bad.ner"], "bad.ner, line 2: found 'rubbish'; accepted: "),
            (["--task", "chunking", "--data", "chunking=bad.conll"], "bad.conll, line 2: found 'dog NN'; accepted: "),
            (["--task", "commonsense", "--data", "commonsense=bad.jsonl"], "bad.jsonl, line 1: "),
            (
                ["--task", "commonsense", "--data", "commonsense=few.jsonl"],
                "6 of 6 rows left out: fewer than 4 different options",
            ),
            (["--data", "sentiment=two.sst"], "no example left"),
            (["--data", "sentiment=empty"], "empty: an empty data set"),
            (["--data", "sentiment=gone.txt"], "gone.txt: no such file"),
            (["--data", "sentiment=nothing"], "nothing: a directory"),
            (["--data", "ner=bad.ner"], "data was given for unknown task 'ner'; accepted: sentiment"),
            (["--data", "sentiment"], "--data 'sentiment' is malformed; accepted: TASK=EVAL or TASK=EVAL,TRAIN"),
            (["--data", "sentiment="], "--data 'sentiment=' is malformed"),
            (["--data", "=bad.sst"], "--data '=bad.sst' is malformed"),
            (["--data", "sentiment=,bad.sst"], "names no file"),
            (["--data", "sentiment=two.sst", "--data", "sentiment=empty"], "was given twice"),
            (["--budget", "2305"], "budget=2305 neurons; accepted: 1 to 2304, all neurons of this model"),
            (["--budget", "0"], "budget=0: "),
            (["--out", "empty/run"], "can't write to empty/run: "),
            (["--out", "empty"], "can't write to empty: "),
            (["--out", "x" * 300], "can't write to xxx"),
            (["--resume"], "--resume needs --out"),
            (["--resume", "--out", "broken"], "broken/manifest.json: "),
            (["--cache", "empty"], "can't write to empty: "),
            (["--backend", "process"], "unknown back end 'process'; did you mean 'processes'?"),
            (["--workers", "2"], "back end 'serial' has 1 worker, 2 were asked for; accepted: 'processes', 'ray'"),
            (["--protocols", "papers"], "protocols="),
            (["--engine", "fast"], "unknown engine 'fast'; accepted: auto, reference, replay, rows"),
            (["--quadrature", "rigth"], "unknown quadrature 'rigth'; did you mean 'right'?"),
            (["--positions", "first"], "positions='first': input should be 'last' or 'all'"),
            (["--strengthen", "exite"], "unknown intervention 'exite'; did you mean 'excite'?"),
            (["--weaken", "ace"], "unknown intervention 'ace'; accepted: excite, range, range-excite, set-to, silence"),
            (["--dtype", "float23"], "unknown dtype 'float23'; did you mean 'float32'?"),
            (["--device", "gpu"], "device 'gpu' can't be used: "),
            (["--device-map", "atuo"], "unknown device_map 'atuo'; did you mean 'auto'?"),
            (["--device-map", "{a}"], "--device-map '{a}': "),
            (["--device-map", "auto", "--device", "cpu"], "device and device_map were both given"),
            (["--quantize", "3bit"], "quantize='3bit': input should be '8bit' or '4bit'"),
            (["--revision", "v2"], "revision 'v2' was given for demo, a directory"),
            (["--chat-template"], "has no chat template; accepted: a chat-tuned model, or no --chat-template"),
            (["--model", "code"], "the checkpoint code comes with Python code of its own"),
            (["--model", "odd"], "in the shape (128, 384); accepted: (128, 385), which its config.json asks for"),
            (["-o", "nonsense"], "-o 'nonsense' is malformed; accepted: NAME.OPTION=VALUE"),
            (["-o", "ace=1"], "-o 'ace' names no option; accepted: NAME.OPTION=VALUE"),
            (["-o", "acee.z=1"], "unknown plugin 'acee'; did you mean 'ace'?"),
            (
                ["-o", "kn.threshold=0.5"],
                "options were given for 'kn', which this run does not use; used: act, excite, silence",
            ),
            (["--scorer", "kn", "-o", "kn.treshold=0.5"], "unknown option 'kn.treshold'; did you mean 'kn.threshold'?"),
            (
                ["--scorer", "kn", "-o", "kn.threshold=1.5"],
                "option kn.threshold=1.5: input should be less than 1; accepted: ",
            ),
            (["--scorer", "kn", "-o", "kn.threshold=much"], "option kn.threshold='much': "),
            (["--scorer", "ace", "-o", "ace.z=2305"], "option ace.z=2305: accepted: a count from 1 to 2304"),
            (["--scorer", "ace", "-o", "ace.z=2.5"], "option ace.z=2.5: accepted: a count from 1 to 2304"),
            (["--scorer", "ace", "-o", "ace.z=Infinity"], "option ace.z=inf: "),
            (["--scorer", "ace", "-o", "ace.z=[1]"], "option ace.z=[1]: "),
            (["--steps", "0"], "steps is 0; accepted: a whole number from 1 to 4096, or 'auto'"),
            (["--steps", "-1"], "steps is -1; "),
            (["--steps", "100000"], "steps is 100000; "),
            (["--steps", "abc"], "steps='abc': "),
            (["--steps", "²"], "steps='²': "),
            (["--steps", "9" * 5000], "steps='999"),
            (["--device-map", "{}"], "device_map is empty; accepted: devices by module"),
            (["--model", ""], "the model's name is empty; accepted: 'demo'"),
            (["--identify", "0"], "identify=0: "),
            (["--select", "0"], "select=0: "),
            (["--evaluate", "0"], "evaluate=0: "),
            (["--evaluate", "-4"], "evaluate=-4: "),
            (["--seed", "-1"], "seed=-1: "),
        ],
        ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
    )
    def test_one_line_and_nothing_created(self, call, files, words, said):
        """Whatever is asked for wrongly: exit code 2, one line that says what is accepted, no file, no directory."""
        given = {word for word in words if word.startswith("--")}
        base = [*(() if "--task" in given and "sentiment" not in words else ONE[:2]), *ONE[2:]]
        assert said in refused(call, files, "run", *SMALL, *base, *words, "--quiet")

    def test_progress_does_not_matter(self, call, files):
        """The line stands alone on stderr with and without --quiet and --json."""
        for extra in ((), ("--quiet",), ("--json",)):
            refused(call, files, "run", *SMALL, *ONE, "--engine", "fast", *extra)

    def test_what_was_chosen_on_the_way_is_gone(self, call, files):
        """What examples show is found out once they are chosen: in a pipe their line comes first; nothing stays."""
        before = tree(files)
        done = call("run", *SMALL, *ONE, "--budget", "2305", "--out", "x")
        assert (done.code, done.out) == (2, "")
        assert done.err.splitlines()[-1] == "error: budget=2305 neurons; accepted: 1 to 2304, all neurons of this model"
        assert tree(files) == before

    @pytest.mark.parametrize("value", ["nan", "inf"])
    def test_activations_that_are_not_finite(self, call, files, tmp_path_factory, value):
        """A checkpoint with broken weights is refused before anything is created."""
        from safetensors.torch import load_file, save_file

        model = tmp_path_factory.mktemp("model") / "bad"
        shutil.copytree(demo.directory(), model)
        weights = load_file(model / "model.safetensors")
        name = next(name for name in weights if name.endswith("down_proj.weight"))
        weights[name][0, 0] = float(value)
        (model / "model.safetensors").unlink()
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
        assert "finite: some NaN or inf in float32" in refused(call, files, "run", *SMALL, *ONE, "--model", str(model))

    def test_a_directory_without_permission(self, call, files, monkeypatch):
        """A directory that can't be written is found out before the model is loaded."""
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        assert "can't write to new: no permission" in refused(call, files, "run", *SMALL, *ONE, "--out", "new")

    def test_debug_raises(self, call, files):
        """--debug gives the traceback instead of the line."""
        with pytest.raises(na.UsageError, match="unknown engine"):
            call("run", *SMALL, *ONE, "--engine", "fast", "--debug")

    @pytest.mark.parametrize(
        "words", [["run", "--nonsense"], ["run", "--seed", "x"], ["run", "extra"], ["nonsense"], ["run", "--task"]]
    )
    def test_usage_errors(self, call, files, words):
        """What the option parser refuses exits with 2, without a traceback."""
        before = tree(files)
        done = call(*words)
        assert done.code == 2
        assert done.out == ""
        assert "Traceback" not in done.err
        assert tree(files) == before

    def test_an_unforeseen_error_is_one_line_too(self, call, files, monkeypatch):
        """A mistake of ours, or no memory left: one line, exit code 1, and where to look."""
        monkeypatch.setattr("neuron_antagonism.suites.plan.make_plan", lambda *_, **__: 1 / 0)
        done = call("run", *SMALL, *ONE)
        assert done.code == 1
        assert done.err == "error: ZeroDivisionError: division by zero; --debug shows where\n"

    def test_a_run_that_fails_under_way(self, call, checkpoint, files, monkeypatch):
        """After it has started, a failure exits with 1; what was finished is kept."""

        def fail(*_: Any, **__: Any) -> None:
            raise na.ModelError("out of luck")

        monkeypatch.setattr("neuron_antagonism.units.answers.evaluate_sets", fail)
        done = call("run", *SMALL, *ONE, "--model", str(checkpoint), "--out", "x", "--quiet")
        assert (done.code, done.out, done.err) == (1, "", "error: out of luck\n")
        assert list((files / "x" / "scores").glob("sentiment.act.*.safetensors"))

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_interrupted(self, call, checkpoint, files, monkeypatch, number, code):
        """Ctrl-C, and what batch systems send: how to go on, an exit code of its own, and signals as they were."""
        before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
        monkeypatch.setattr(
            "neuron_antagonism.units.answers.evaluate_sets", lambda *_, **__: signal.raise_signal(number)
        )
        done = call("run", *SMALL, *ONE, "--model", str(checkpoint), "--out", "x", "--quiet")
        assert (done.code, done.out) == (code, "")
        assert done.err == "interrupted; what was finished is kept: the same command with --out x goes on from there\n"
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
        assert sorted(path.name for path in (files / "x").iterdir()) == [
            *("examples", "manifest.json", "neurons", "questions.jsonl", "scores")
        ]


class TestRun:
    def test_json(self, call, checkpoint, tmp_path):
        """--json prints exactly one document on stdout, the files' own content; progress is on stderr."""
        done = call("run", *SMALL, *ONE, "--model", str(checkpoint), "--json", "--out", "x")
        document = json.loads(done.out)
        assert document["path"] == "x"
        for name in ("manifest", "results"):
            assert document[name] == json.loads((tmp_path / "x" / f"{name}.json").read_text(encoding="utf-8"))
        assert "sentiment: " in done.err
        assert done.code == 0

    def test_quiet(self, call, checkpoint):
        """--quiet prints no progress, and the table all the same."""
        done = call("run", *SMALL, *ONE, "--model", str(checkpoint), "--quiet", "--out", "x")
        assert done.err == ""
        assert "sentiment: unedited accuracy" in done.out
        assert "written to x" in done.out

    def test_plain_lines_without_a_terminal(self, call, checkpoint):
        """In a pipe progress is plain lines, one a stage: no control codes, no bars."""
        done = call("run", *SMALL, *ONE, "--model", str(checkpoint), "--out", "x")
        lines = done.err.splitlines()
        assert lines
        assert all(re.fullmatch(r"sentiment: .+: \d+ in \d+\.\d s", line) for line in lines)
        assert "\x1b" not in done.err + done.out
        assert "…" not in done.out

    def test_the_directory_is_dated(self, call, checkpoint, tmp_path):
        """Without --out a run goes to runs/<date>-<time>."""
        assert call("run", *SMALL, *ONE, "--model", str(checkpoint), "--quiet").code == 0
        (path,) = (tmp_path / "runs").iterdir()
        assert re.fullmatch(r"\d{8}-\d{6}", path.name)

    @pytest.mark.parametrize("out", ["ein Läuf/φ", "x/", "./a/../b", "%s/absolute"])
    def test_odd_paths(self, call, checkpoint, tmp_path, out):
        """Unicode, blanks, a slash at the end, parts that don't exist yet, absolute paths."""
        out = out.replace("%s", str(tmp_path))
        (tmp_path / "a").mkdir()
        (tmp_path / "bücher").mkdir()
        shutil.copytree(checkpoint, tmp_path / "bücher" / "modell ü")
        done = call("run", *SMALL, *ONE, "--quiet", "--out", out, "--model", "bücher/modell ü")
        assert done.code == 0, done.err
        assert na.load_run(out).manifest["model"]["name"] == "bücher/modell ü"

    @pytest.mark.parametrize(
        "words",
        [
            ["--scorer", "random"],
            ["--scorer", "kn", "--positions", "all", "--budget", "1"],
            ["--scorer", "ace", "--steps", "1", "--quadrature", "gauss-legendre", "--engine", "reference"],
            ["--scorer", "ace", "--steps", "auto", "--weaken", "excite", "--strengthen", "silence"],
            ["--scorer", "act", "--budget", "72", "--dtype", "bfloat16", "--identify", "1"],
        ],
        ids=" ".join,
    )
    def test_odd_choices(self, call, checkpoint, tmp_path, words):
        """The smallest sizes with one scorer at a time give a table and files without NaN."""
        small = ("--identify", "1", "--select", "2", "--evaluate", "2", "--budget", "8", "--task", "sentiment")
        done = call("run", "--model", str(checkpoint), *small, *words, "--out", "x", "--quiet")
        assert (done.code, done.err) == (0, "")
        assert "nan" not in done.out.lower()
        assert "NaN" not in (tmp_path / "x" / "results.json").read_text(encoding="utf-8")
        assert na.load_run("x").table.rows

    def test_own_data(self, call, checkpoint, tmp_path):
        """--data reads a task's own files, and the manifest names them as they were given."""
        for name in ("eval", "train"):
            lines = (f"(3 (2 {name}{number}) (3 good))" for number in range(40))
            (tmp_path / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
        own = ("--data", "sentiment=eval.txt,train.txt", "--model", str(checkpoint))
        done = call("run", *SMALL, *ONE, *own, "--out", "x", "--quiet")
        assert done.code == 0, done.err
        assert na.load_run("x").manifest["data"]["sentiment"]["source"] == "eval.txt"
        split = na.load_run("x").splits["sentiment"]
        assert all("eval" in e.item.text for e in split.evaluate)
        assert all("train" in e.item.text for e in (*split.identify, *split.select))

    def test_asked_again(self, call, checkpoint, tmp_path):
        """The same is read; something else replaces the tables and says so; what is there is counted by a dry run."""
        words = ("run", *SMALL, *ONE, "--model", str(checkpoint), "--out", "x", "--quiet")
        first = call(*words)
        before = {path: path.stat().st_mtime_ns for path in tree(tmp_path)}
        again, resumed = call(*words), call("run", "--out", "x", "--resume", "--quiet")
        assert (again.err, again.out) == ("", first.out.rpartition("written to")[0] + READ)
        assert resumed == again
        dry = json.loads(call(*words, "--dry-run", "--json").out)
        assert dry["there"] == {"examples": 1, "scores": 1, "neurons": 1, "answers": 4, "text": 1}
        assert (dry["edited_answers"], dry["full_passes"], dry["seconds"]) == (0, 0, 0)
        assert {path: path.stat().st_mtime_ns for path in tree(tmp_path)} == before
        other = call(*words, "--budget", "10")
        assert other.err == "x was run with other budget: its tables are replaced, what still fits is used\n"
        assert "written to x in " in other.out
        kept = {path: time for path, time in before.items() if path.suffix == ".safetensors"}
        assert {path: path.stat().st_mtime_ns for path in kept} == kept

    def test_protocols_and_a_cache(self, call, checkpoint, tmp_path):
        """`all` protocols, and units that another directory finds in the cache."""
        words = ("run", *SMALL, "--task", "sentiment", "--scorer", "ace", "--model", str(checkpoint), "--quiet")
        done = call(*words, "--protocols", "all", "--cache", "c", "--out", "x", "--json")
        (found,) = json.loads(done.out)["results"]["tasks"].values()
        assert list(found["cells"]) == ["paper", "matched", "held-out"]
        assert call(*words, "--protocols", "paper", "--cache", "c", "--out", "y").code == 0
        manifest = json.loads((tmp_path / "y" / "manifest.json").read_text(encoding="utf-8"))
        assert (manifest["timings"], manifest["config"]["protocols"]) == ({}, ["paper", "held-out"])


class TestDryRun:
    def test_three_prompts_and_nothing_created(self, call, tmp_path, checkpoint):
        """--dry-run shows three whole, different prompts, sizes and a cost, and creates nothing."""
        words = (*SMALL, "--task", "sentiment", "--unstratified", "--model", checkpoint)
        done = call("run", *words, "--dry-run", "--out", "x", "--quiet")
        assert done.code == 0
        assert tree(tmp_path) == []
        shown = re.split(r"--- .+ ---\n", done.out)
        prompts = shown[1:4]
        assert len(set(prompts)) == 3
        assert all(p.startswith("You judge the feeling of a text.\n") and p.endswith("\nAnswer:\n") for p in prompts)
        assert "identify 2, select 4, evaluate 4 examples" in shown[4]

    def test_a_scorer_that_compares_answers_is_timed_on_one(self, call, checkpoint):
        """AUROC has nothing to compare in the one question that is timed: that is no failure."""
        words = (*SMALL, "--task", "ner", "--scorer", "auroc", "--unstratified", "--model", checkpoint)
        done = call("run", *words, "--dry-run", "--json")
        assert done.code == 0
        assert json.loads(done.out)["seconds"] > 0

    def test_json(self, call, tmp_path, checkpoint):
        """With --json the same as one document: prompts of as many tasks as there are, and counts."""
        words = (*SMALL, "--task", "ner", "--task", "chunking", "--scorer", "ace", "--unstratified")
        done = call("run", *words, "--model", checkpoint, "--dry-run", "--json")
        document = json.loads(done.out)
        assert [p["task"] for p in document["prompts"]] == ["ner", "chunking", "ner"]
        assert document["gradient_questions"] == 2 * 2 * 3
        # 22 edits to choose from, 2 chosen ones on the task's own examples and on the other's
        assert document["edited_answers"] == 2 * 4 * 3 * (22 + 2 + 2)
        assert document["there"] == {}
        assert document["seconds"] > 0
        assert tree(tmp_path) == []


class TestOtherCommands:
    def test_version(self, call):
        """--version prints the version and nothing else."""
        assert call("--version") == Done(0, f"{na.__version__}\n", "")

    def test_plugins(self, call):
        """`plugins` lists every kind, with distributions, options, bounds."""
        done = call("plugins")
        assert (done.code, done.err) == (0, "")
        for line in ("scorers", "tasks", "interventions"):
            assert line in done.out.splitlines()
        assert f"[neuron-antagonism {na.__version__}]" in done.out
        assert "-o kn.threshold=0.2  (number > 0 < 1)" in done.out
        assert "-o kn.share=None  (number > 0 <= 1 or 'adaptive' or unset)" in done.out

    def test_plugins_of_one_name(self, call):
        """`plugins NAME` shows one in full: kind, origin, paper, target, every option's description."""
        out = call("plugins", "ace").out
        assert out.startswith(f"ace: scorer of neuron-antagonism {na.__version__}\n")
        for part in ("Reference: NeuronLLM", "Target: letter-probability", "-o ace.z=None", "1.42 % of all"):
            assert part in out
        assert call("plugins", "sentiment").out.startswith("sentiment: task of")
        assert call("plugins", "silence").out.startswith("silence: intervention of")

    def test_plugins_json(self, call):
        """`plugins --json` is one document; `plugins NAME --json` is that plugin's part of it."""
        listed = json.loads(call("plugins", "--json").out)
        assert listed["broken"] == []
        assert listed["conflicts"] == {}
        by_name = {plugin["name"]: plugin for plugin in listed["plugins"]}
        assert by_name["kn"] == json.loads(call("plugins", "kn", "--json").out)
        option, share = by_name["kn"]["options"]
        assert (option["name"], option["default"]) == ("kn.threshold", 0.2)
        assert option["schema"] == {"exclusiveMaximum": 1, "exclusiveMinimum": 0, "type": "number"}
        assert (share["name"], share["default"]) == ("kn.share", None)

    def test_plugins_of_an_unknown_name(self, call, tmp_path):
        """An unknown name gets one line with the nearest."""
        assert "unknown plugin 'acee'; did you mean 'ace'?" in refused(call, tmp_path, "plugins", "acee")

    def test_doctor(self, call):
        """`doctor --json` is one document in which every check of the demo passes."""
        done = call("doctor", "--json")
        document = json.loads(done.out)
        assert document["ok"] is True
        assert done.code == 0
        names = [check["name"] for check in document["checks"]]
        assert {"packages", "plugins", "model", "letters", "engine"} <= set(names)
        assert all(check["ok"] and check["detail"] for check in document["checks"])

    def test_doctor_of_a_run(self, call, checkpoint):
        """With --task the run is planned: its examples, engine, memory and time are estimated."""
        words = ("--task", "sentiment", "--scorer", "ace", "--budget", "8", "--device-map", '{"": "cpu"}')
        done = call("doctor", "--model", checkpoint, *words)
        assert done.code == 0
        for line in ("finite: no NaN or inf in float32", "task sentiment: examples: 5 to", "time of the run: about "):
            assert f"ok   {line}" in done.out
        assert re.search(r"ok   memory of the run: weights 0\.\d\d MB; a forward is planned at .* are free\n", done.out)

    @pytest.mark.parametrize("words", [["--engine", "rows"], ["--budget", "5"], ["--full"], ["--scorer", "ace"]])
    def test_what_is_of_a_run_needs_a_task(self, words, call, tmp_path):
        """Without one nothing is estimated, so that they would do nothing."""
        assert f"{words[0]} is of a run, and no --task was given" in refused(call, tmp_path, "doctor", *words)

    def test_doctor_measures_a_dtype_by_its_own_precision(self, call):
        """A healthy model in bfloat16 passes every check."""
        done = call("doctor", "--dtype", "bfloat16")
        assert (done.code, "FAIL" in done.out) == (0, False)
        assert "finite: no NaN or inf in bfloat16" in done.out

    def test_doctor_finds_what_a_dtype_can_not_hold(self, call, tmp_path):
        """A weight too large for float16 is a failed check that names the dtype, and exit code 1."""
        from safetensors.torch import load_file, save_file

        model = tmp_path / "large"
        shutil.copytree(demo.directory(), model)
        weights = load_file(model / "model.safetensors")
        (model / "model.safetensors").unlink()
        weights = {name: weight * (1e5 if "up_proj" in name else 1) for name, weight in weights.items()}
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
        done = call("doctor", "--model", "large", "--dtype", "float16")
        assert done.code == 1
        assert "FAIL finite: some NaN or inf in float16" in done.out
        assert "Traceback" not in done.out + done.err

    def test_doctor_of_a_missing_model(self, call):
        """A model that can't be loaded is a failed check with its line, and exit code 1."""
        done = call("doctor", "--model", "nowhere/at-all")
        assert done.code == 1
        assert "FAIL model: unknown model 'nowhere/at-all'" in done.out
        assert "Traceback" not in done.out + done.err

    def test_no_arguments(self, call):
        """Without a command the help is shown."""
        done = call()
        assert "Usage" in done.out + done.err
        assert "doctor" in done.out + done.err


class TestProcess:
    """What only a process of its own shows."""

    def test_a_reader_that_goes_away(self, tmp_path):
        """`plugins | head -1` prints one line and no traceback."""
        line = f"{sys.executable} -m neuron_antagonism plugins | head -1"
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("scorers\n", "")

    def test_an_error_as_the_shell_sees_it(self, tmp_path):
        """Exit code, one line on stderr, nothing on stdout, nothing created."""
        words = [sys.executable, "-m", "neuron_antagonism", "run", "--task", "nre"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: unknown task 'nre'; did you mean 'ner'?")
        assert done.stderr.count("\n") == 1
        assert tree(tmp_path) == []

    @pytest.mark.parametrize("command", [[], ["run"], ["plugins"], ["doctor"], ["bench"]])
    def test_help_is_quick(self, tmp_path, command):
        """--help of any command needs under half a second of processor time, ten starts of Python where that is slow.

        The best of three: other programs on the machine, the tests' own among them, slow its processors down.
        """
        code = (
            "import resource, subprocess, sys\n"
            "subprocess.run([sys.executable, *sys.argv[1:]], check=True)\n"
            "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "print(used.ru_utime + used.ru_stime, file=sys.stderr)"
        )

        def seconds(*words: str) -> tuple[float, str]:
            called = [sys.executable, "-c", code, *words]
            done = subprocess.run(called, cwd=tmp_path, capture_output=True, text=True, check=True)
            return float(done.stderr.splitlines()[-1]), done.stdout

        excess = []
        while len(excess) < 3 and not any(one < 0 for one in excess):
            used, shown = seconds("-m", "neuron_antagonism", *command, "--help")
            assert "Usage" in shown
            excess.append(used - max(0.5, 10 * seconds("-c", "pass")[0]))
        assert min(excess) < 0
