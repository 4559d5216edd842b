"""Edges of a run: two in one directory, resuming what is not there, `~`, narrow streams, full disks."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

import neuron_antagonism as na
from neuron_antagonism import files
from neuron_antagonism.cli.streams import readable
from neuron_antagonism.runs.lock import LOCK, claimed

one_thread = tiny.one_thread

SIZES = {"identify": 1, "select": 2, "evaluate": 2, "budget": 8}
SMALL = {"tasks": ["sentiment"], "scorers": ["random"], **SIZES, "random_draws": 1}
COMMAND = [sys.executable, "-m", "neuron_antagonism"]
NARROW = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


def call(*words: str, cwd: Path, env: dict[str, str] | None = None, **rest: object) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, **(env or {})}
    return subprocess.run([*COMMAND, *words], cwd=cwd, env=given, capture_output=True, text=True, check=False, **rest)


# --- one run at a time ---------------------------------------------------------------------------------------------


def test_the_second_run_is_refused_and_changes_nothing(tmp_path, checkpoint):
    """While a directory is claimed, a run, a resumed run and a suite there are one line each; afterwards it is free."""
    out = tmp_path / "runs" / "x"
    with claimed(out):
        before = sorted(path.name for path in out.iterdir())
        for use in (
            lambda: na.run(str(checkpoint), **SMALL, out=out),
            lambda: na.bench("neuronlens", str(checkpoint), out=out),
        ):
            with pytest.raises(na.UsageError, match=r"is being written by another run .*; accepted: another directory"):
                use()
        assert sorted(path.name for path in out.iterdir()) == before == [LOCK]
        done = call("run", "--task", "sentiment", "--out", str(out), cwd=tmp_path)
        assert done.returncode == 2
        assert f"(process {os.getpid()}); accepted: another directory" in done.stderr
    assert not out.exists()
    result = na.run(str(checkpoint), **SMALL, out=out)
    assert result.path == out
    assert LOCK not in {path.name for path in out.iterdir()}


def test_a_lock_ends_with_its_process(tmp_path, checkpoint):
    """A killed run leaves the lock's file, not the lock."""
    code = (
        "import os, pathlib; from neuron_antagonism.runs.lock import claimed\n"
        "with claimed(pathlib.Path('x')): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert (tmp_path / "x" / LOCK).is_file()
    # killed before it had written anything else, it goes on with the options that are given again
    assert na.run(str(checkpoint), **SMALL, out=tmp_path / "x", resume=True).path == tmp_path / "x"


def test_resuming_needs_a_run(tmp_path):
    """A directory that is not there, or holds no run, is one line, and stays as it was."""
    for words in (["run", "--resume", "--out", "typo"],):
        done = call(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("error: typo is not there; accepted with --resume: ")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(na.UsageError, match=r"empty holds no run; accepted with --resume: "):
        na.run(out=tmp_path / "empty", resume=True)
    assert list((tmp_path / "empty").iterdir()) == []


# --- paths ---------------------------------------------------------------------------------------------------------


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    """Wherever a path is taken, as a shell would have it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tiny.saved(tmp_path / "model")
    model = na.load_model("~/model")
    assert model.source == str(tmp_path / "model")
    neurons = na.NeuronSet.of([(0, 1), (2, 3)])
    neurons.save("~/n.csv")
    assert na.NeuronSet.load("~/n.csv") == neurons
    na.attribute(model, [tiny.question(5)], budget=5).save("~/scores")
    assert na.Attribution.load("~/scores").scorer == "ace"
    result = na.run("~/model", **SMALL, out="~/run")
    assert na.load_run("~/run").results == json.loads(json.dumps(result.results))
    na.export(na.edit(neurons, "silence"), model=model, format="csv", out="~/exported")
    assert (tmp_path / "exported").is_dir()
    (tmp_path / "run.yaml").write_text("model: ~/nothing\ntasks: [sentiment]\n")
    with pytest.raises(na.ModelError, match=f"unknown model '{tmp_path}/nothing'"):
        na.run(config="~/run.yaml")
    assert not (tmp_path / "~").exists()
    with pytest.raises(na.UsageError, match=r"no folder of a user of that name is known; accepted: a path"):
        na.run("~/model", **SMALL, out="~nobody-of-that-name/x")


# --- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["plugins"], ["plugins", "ace"], ["--help"], ["run", "--help"]])
def test_narrow_streams(words, tmp_path):
    """In ASCII every command prints, with readable stand-ins for what it lacks; the next test has the slow ones."""
    done = call(*words, cwd=tmp_path, env=NARROW)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert len(done.stdout) > 100


def test_a_narrow_run_and_its_json(tmp_path, checkpoint):
    """A diagnosis, then table, notes and progress in ASCII; JSON stays the same document."""
    sizes = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
    run = ["run", "--model", str(checkpoint), "--task", "sentiment", "--scorer", "random", *sizes, "--out", "x"]
    code = (
        "import sys; from neuron_antagonism.cli.app import main\n"
        f"for words in (['doctor'], {run!r}):\n"
        "    sys.argv[1:] = words\n"
        "    try: main()\n"
        "    except SystemExit as left: print('left with', left.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **NARROW},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout + done.stderr).isascii()
    diagnosis, table, rest = re.split(r"left with (?:0|None)\n", done.stdout)
    assert rest == ""
    assert len(diagnosis) > 100
    assert "letter mass" in table
    wide, narrow = (call("plugins", "--json", cwd=tmp_path, env=env) for env in ({"PYTHONIOENCODING": "utf-8"}, NARROW))
    assert narrow.stdout.isascii()
    assert json.loads(narrow.stdout) == json.loads(wide.stdout)


def test_stand_ins_are_readable():
    """The nearest ASCII, lines for lines, escapes for what has none."""
    text = "−1 … ×2 é │─ 漢"
    found = "".join(c if c.isascii() else readable(UnicodeEncodeError("ascii", c, 0, 1, "no"))[0] for c in text)
    assert found == r"-1 ... x2 e |- \u6f22"


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_output_that_nobody_reads_or_that_does_not_fit(tmp_path):
    """A reader that has enough ends the command quietly; a full device is one line."""
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(COMMAND)} plugins | head -n 1; echo ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] in ("0", "1", "141")
    assert done.stderr == ""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "plugins"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: can't read or write the output: No space left on device\n"


# --- disks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 3, 6])
def test_a_full_disk_names_the_file_and_keeps_what_is_there(number, tmp_path, monkeypatch, checkpoint):
    """Whatever write fails: one line with path and reason, nothing half-written, and the run can be resumed."""
    real, count = os.fsync, [0]

    def full(handle):
        count[0] += 1
        if count[0] == number + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(files.os, "fsync", full)
    out = tmp_path / "x"
    with pytest.raises(na.RunError, match=rf"can't read or write {out}/\S+: No space left on device; ") as caught:
        na.run(str(checkpoint), **SMALL, out=out)
    assert "\n" not in str(caught.value)
    assert [path.name for path in out.rglob("*.partial")] == []
    monkeypatch.setattr(files.os, "fsync", real)
    result = na.run(str(checkpoint), **SMALL, out=out, resume=bool(number))
    assert result.manifest["finished"]


# --- arguments -----------------------------------------------------------------------------------------------------


def test_numbers_and_lists_of_numpy(checkpoint):
    """As notebooks have them."""
    model = tiny.shared("llama")
    asked = [tiny.question(5, seed=i) for i in range(2)]
    plain = na.attribute(model, asked, budget=8, steps=4, seed=1)
    numpy = na.attribute(model, np.array(asked, dtype=object), budget=np.int64(8), steps=np.int64(4), seed=np.int64(1))
    assert (numpy.scores == plain.scores).all()
    assert numpy.good(np.int64(3)) == plain.good(3)
    assert na.NeuronSet.of(np.array([[0, 1], [2, 3]])) == na.NeuronSet.of([(0, 1), (2, 3)])
    edits = [na.enhancer(plain.good(3), None, budget=b, ratio=r) for b, r in ((3, 1.0), (np.int64(3), np.float64(1)))]
    assert [list(part.neurons) for part in edits[0].parts] == [list(part.neurons) for part in edits[1].parts]
    small = {**SMALL, "tasks": np.array(["sentiment"]), "evaluate": np.int64(2), "seed": np.int64(0)}
    assert list(na.run(str(checkpoint), **small).results["tasks"]) == ["sentiment"]


def test_things_of_the_wrong_kind():
    """A name where a loaded model belongs, tables where lists do."""
    import pandas as pd

    asked = [tiny.question(5)]
    for use in (na.evaluate, na.attribute, na.ablate):
        with pytest.raises(na.UsageError, match=r"the model is a str; accepted: what na\.load_model gives"):
            use("demo", asked)
    frame = pd.DataFrame({"q": ["a", "b"]})
    with pytest.raises(na.DataError, match="examples are given as a DataFrame; accepted: a list"):
        na.evaluate(tiny.shared("llama"), frame)
    with pytest.raises(na.UsageError, match="a task is given as a DataFrame; accepted: a name, a task file"):
        na.load_task(frame)
    with pytest.raises(na.UsageError, match="accepted: a list of names, files or instances"):
        na.run("demo", tasks=frame)
    with pytest.raises(na.UsageError, match="budget"):
        na.run("demo", tasks=["sentiment"], budget=True)
