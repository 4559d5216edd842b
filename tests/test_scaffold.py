"""`neuron-antagonism new`: what it writes works as it stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.scaffold import KITS, scaffold


@pytest.mark.parametrize("kind", KITS)
def test_what_is_generated_passes_its_own_tests(kind, tmp_path):
    """Each kind's distribution passes the conformance kit as generated, with warnings as errors."""
    out = tmp_path / "made"
    scaffold(kind, f"my-{kind}", out)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=out,
        env={**os.environ, "PYTHONPATH": str(out), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("kind", KITS)
def test_what_is_generated_is_clean(kind, tmp_path):
    """The generated code has nothing for ruff to say, and its metadata names the entry point."""
    out = tmp_path / "made"
    written = scaffold(kind, "two_words", out)
    assert sorted(file.name for file in written) == [
        "README.md",
        "neuron_antagonism_two_words.py",
        "pyproject.toml",
        "test_two_words.py",
    ]
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I,B,UP", "--line-length", "120"]
    subprocess.run([*command, str(out)], check=True)
    subprocess.run([*command[:3], "format", "--isolated", "--line-length", "120", "--check", str(out)], check=True)
    project = tomllib.loads((out / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["neuron_antagonism"] == {"two_words": "neuron_antagonism_two_words"}
    assert "$" not in "".join(file.read_text() for file in written)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("scorers", "mine", "unknown kind 'scorers'; did you mean 'scorer'?"),
        ("scorer", "My Scorer", "'My Scorer' can't name a new scorer; accepted: at least two lowercase"),
        ("scorer", "1st", "'1st' can't name a new scorer"),
        ("scorer", "x", "'x' can't name a new scorer"),
        ("scorer", "a/b", "'a/b' can't name"),
        ("scorer", "lambda", "'lambda' can't name"),
    ],
)
def test_what_is_refused(kind, name, said, tmp_path):
    """A wrong kind or name is one line, and nothing is written."""
    with pytest.raises(na.UsageError) as caught:
        scaffold(kind, name, tmp_path / "out")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    """A directory that exists is left alone."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(na.UsageError, match="exists already; accepted: --out with a directory that does not"):
        scaffold("scorer", "mine", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command(as_json, tmp_path, monkeypatch, capsys):
    """The command names what it wrote and what comes next."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["neuron-antagonism", "new", "task", "legs", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert (Path("neuron-antagonism-legs") / "tests" / "test_legs.py").is_file()
    if as_json:
        assert len(json.loads(out)["files"]) == 4
    else:
        assert "next: cd neuron-antagonism-legs && pip install -e '.[test]' && pytest" in out


def test_a_taken_name_is_refused(tmp_path, monkeypatch, capsys):
    """A name that is registered already would take the shipped plugin down with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["neuron-antagonism", "new", "scorer", "ace"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "'ace' is a scorer of neuron-antagonism already; accepted: another name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
