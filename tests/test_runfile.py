"""Run files: one set of options from the command line, from Python and from a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.runs.runfile import merged, read_run_file

TEXT = """
tasks: [ner]
scorers: [ace, kn]
options:
  ace: {z: 300}
  kn: {threshold: 0.3}
budget: 40
identify: 1
select: 2
evaluate: 2
steps: 4
"""
TOML = """
tasks = ["ner"]
scorers = ["ace", "kn"]
budget = 40
identify = 1
select = 2
evaluate = 2
steps = 4
[options]
ace = {z = 300}
kn = {threshold = 0.3}
"""
OPTIONS = {
    "budget": 40,
    "identify": 1,
    "select": 2,
    "evaluate": 2,
    "steps": 4,
    "options": {"ace": {"z": 300}, "kn": {"threshold": 0.3}},
}
WORDS = [
    *("--task", "ner", "--scorer", "ace", "--scorer", "kn", "-o", "ace.z=300", "-o", "kn.threshold=0.3"),
    *("--budget", "40", "--identify", "1", "--select", "2", "--evaluate", "2", "--steps", "4"),
]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(TEXT)
    return path


def test_three_ways_give_one_manifest(file, tmp_path, monkeypatch, capsys):
    """The command line, Python, a run file, and the manifest of any of them state the same run."""
    assert call(monkeypatch, "run", *WORDS, "--out", str(tmp_path / "a"), "--quiet", "--json") == 0
    first = json.loads(capsys.readouterr().out)["manifest"]
    assert call(monkeypatch, "run", "--config", str(file), "--out", str(tmp_path / "b"), "--quiet", "--json") == 0
    second = json.loads(capsys.readouterr().out)["manifest"]
    third = na.run(tasks=["ner"], scorers=["ace", "kn"], **OPTIONS).manifest
    fourth = na.run(config=tmp_path / "a" / "manifest.json").manifest
    assert first["config"] == second["config"] == third["config"] == fourth["config"]
    assert first["config"]["options"] == {"ace": {"z": 300}, "kn": {"threshold": 0.3}}
    scores = [na.load_run(tmp_path / name).attributions["ner"]["ace"].scores for name in "ab"]
    assert (scores[0] == scores[1]).all()


def test_toml_and_json_say_the_same(file, tmp_path):
    """The three formats give the same options."""
    (tmp_path / "run.toml").write_text(TOML)
    (tmp_path / "run.json").write_text(json.dumps(read_run_file(file)))
    assert read_run_file(tmp_path / "run.toml") == read_run_file(file)
    assert read_run_file(tmp_path / "run.json") == read_run_file(file)


def test_what_is_given_goes_before_the_file(file, monkeypatch, capsys):
    """Options named on the command line replace the file's, one by one; those not named stay."""
    words = ["--config", str(file), "--budget", "50", "-o", "ace.ambiguous=keep", "--evaluate", "3", "--dry-run"]
    assert call(monkeypatch, "run", *words, "--json") == 0
    capsys.readouterr()
    both = merged(read_run_file(file), {"budget": 50, "options": {"ace": {"ambiguous": "keep"}}})
    assert both["budget"] == 50
    assert both["options"] == {"ace": {"z": 300, "ambiguous": "keep"}, "kn": {"threshold": 0.3}}
    assert both["steps"] == 4


def test_the_default_of_an_option_can_be_asked_for(file, tmp_path, monkeypatch, capsys):
    """An option named with its default value still goes before the file's value."""
    words = ["--config", str(file), "--budget", "100", "--steps", "16", "--out", str(tmp_path / "r"), "--quiet"]
    assert call(monkeypatch, "run", *words, "--json") == 0
    config = json.loads(capsys.readouterr().out)["manifest"]["config"]
    assert (config["budget"], config["steps"], config["identify"]) == (100, 16, 1)


def test_data_in_a_run_file(tmp_path):
    """A task's data is one file, or evaluation and training data."""
    (tmp_path / "run.yaml").write_text("data: {ner: test.txt, sentiment: [test.txt, train.txt]}")
    assert read_run_file(tmp_path / "run.yaml")["data"] == {
        "ner": ("test.txt", None),
        "sentiment": ["test.txt", "train.txt"],
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.yaml", None, "No such file or directory; accepted: a YAML, TOML or JSON file"),
        ("run.txt", "x", "ends in '.txt'; accepted: .yaml, .yml, .toml, .json"),
        ("run.yaml", "[1, 2", "line 1"),
        ("run.toml", "a = = 2", "line 1"),
        ("run.json", '{"budget": }', "line 1"),
        ("run.yaml", "- a", "holds a list; accepted:"),
        ("run.yaml", "", "holds a NoneType"),
        ("run.yaml", "bugdet: 3", "unknown option 'bugdet'; did you mean 'budget'?"),
        ("run.yaml", "options: [ace]", "options=['ace']; accepted: a mapping by name"),
        ("run.yaml", "budget: many", "budget='many': input should be a valid integer"),
        ("run.yaml", "options: {ace: {zz: 3}}", "unknown option 'ace.zz'"),
        ("run.yaml", "options: {ace: 5}", "options of ace are 5; accepted: a mapping by option"),
        ("run.yaml", "steps: yes", "steps=True"),
        ("run.toml", "identify = true", "identify=True: input should be a valid integer"),
    ],
)
def test_what_is_refused(name, text, said, tmp_path, monkeypatch, capsys):
    """A malformed run file is one line that names it, with exit code 2, and nothing is written."""
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    assert call(monkeypatch, "run", "--config", str(file), "--out", str(tmp_path / "out")) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"options": {"ace": 5}}, "options of ace are 5; accepted: a mapping by option"),
        ({"options": 5}, "options=5; accepted: a mapping by name"),
        ({"data": 5}, "data=5; accepted: a mapping by name"),
        ({"steps": True}, "steps=True"),
        ({"tasks": "ner"}, "the text 'ner'; accepted: a list of names"),
        ({"scorers": "ace"}, "the text 'ace'; accepted: a list of names"),
    ],
)
def test_what_python_is_refused(given, said):
    """The same mistakes from Python are one line too."""
    with pytest.raises(na.UsageError) as caught:
        na.run(**given)
    assert said in str(caught.value)
