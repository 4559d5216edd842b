"""The observer that appends the events of runs to a file of JSON lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.units import answers

VARIABLE = "NEURON_ANTAGONISM_JSONL"
SMALL: dict[str, Any] = {
    "tasks": ["ner"],
    "scorers": ["ace"],
    "random_draws": 1,
    "identify": 1,
    "select": 2,
    "evaluate": 2,
    "budget": 20,
    "steps": 4,
}

one_thread = tiny.one_thread


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="module")
def model() -> Any:
    return na.load_model("demo")


def lines(path: Path) -> list[dict[str, Any]]:
    """What the file holds; every line is strict JSON and ends."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def failing(*_: Any, **__: Any) -> None:
    raise na.ModelError("out of\nluck: \u2028 ü")


@pytest.fixture(scope="module")
def logged(model: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[na.RunResult, list[dict[str, Any]]]:
    """Two runs of one file, in a directory that wasn't there."""
    path = tmp_path_factory.mktemp("log") / "new" / "deeper" / "runs.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(path))
        na.run(model, seed=3, **{**SMALL, "scorers": ["act"]})
        result = na.run(model, **SMALL)
    return result, lines(path)


class TestLines:
    def test_runs_append(self, logged):
        """One line an event, in order; model, seed and time of the start tell the runs apart."""
        _, found = logged
        assert [line["event"] for line in found] == ["before_run", "after_attribution", "after_evaluation"] * 2
        assert [line["run"]["seed"] for line in found] == [3] * 3 + [0] * 3
        assert len({line["run"]["started"] for line in found}) == 2
        assert {line["run"]["model"] for line in found} == {"demo"}

    def test_times(self, logged):
        """Times are ISO 8601 in UTC, in order, and lie in the past."""
        times = [datetime.fromisoformat(line["time"]) for line in logged[1]]
        assert times == sorted(times)
        assert all(time.utcoffset() == UTC.utcoffset(None) for time in times)
        assert times[-1] <= datetime.now(UTC)
        assert logged[1][-1]["run"]["started"] <= logged[1][3]["time"]

    def test_before_run(self, logged):
        """What the run is about."""
        result, found = logged
        first = found[3]
        assert (first["tasks"], first["scorers"], first["version"]) == (["ner"], ["ace"], na.__version__)
        assert first["engine"] == result.manifest["engine"]["name"]

    def test_after_attribution(self, logged):
        """Target, engine, completeness error, the ten strongest of either end; a role that isn't there is null."""
        result, found = logged
        line, a = found[4], result.attributions["ner"]["ace"]
        assert (line["task"], line["scorer"], line["target"], line["engine"]) == ("ner", "ace", a.target, a.engine)
        assert line["completeness_error"] == pytest.approx(a.completeness_error)
        for role, neurons in (("good", a.good(10)), ("bad", a.bad(10))):
            assert [tuple(row[:2]) for row in line[role]] == list(neurons)
            assert [row[2] for row in line[role]] == neurons.scores.tolist()
        act = found[1]
        assert (act["bad"], act["completeness_error"], act["target"]) == (None, None, "")
        assert len(act["good"]) == 10

    def test_after_evaluation(self, logged):
        """The figures of the run's table."""
        result, found = logged
        line = found[5]
        assert line["acc_before"] == result.results["tasks"]["ner"]["before"]["acc"]
        assert line["com_before"] == result.results["tasks"]["ner"]["before"]["com"]
        assert {(cell["scorer"], cell["mode"]) for cell in line["held_out"]} == {("ace", "enhance"), ("ace", "degrade")}
        for cell, row in zip(line["held_out"], result.table.rows, strict=True):
            assert cell.items() <= json.loads(json.dumps(row)).items()
            assert {"rac", "rcc", "ratio", "n_good", "n_bad", "failed"} <= cell.keys()
        assert len(json.dumps(line)) < 2000

    def test_fewer_neurons_than_it_shows(self, monkeypatch, tmp_path):
        """A scorer with fewer neurons than ten logs those there are, without a warning."""
        path = tmp_path / "runs.jsonl"
        monkeypatch.setenv(VARIABLE, str(path))
        observer = registry().make(na.Observer, "jsonl")
        scores = na.Attribution(torch.tensor([[1.0, 0.0, -2.0], [0.5, 0.0, 0.0]]), torch.zeros(1, 2, 3))
        observer.after_attribution("ner", "mine", scores)
        (line,) = lines(path)
        assert (line["good"], line["bad"]) == ([[0, 0, 1.0], [1, 0, 0.5]], [[0, 2, -2.0]])


class TestErrors:
    def test_on_error(self, model, monkeypatch, tmp_path):
        """Type and message of what failed are the last line, and one line."""
        path = tmp_path / "runs.jsonl"
        monkeypatch.setenv(VARIABLE, str(path))
        monkeypatch.setattr(answers, "evaluate_sets", failing)
        with pytest.raises(na.RunError, match="out of"):
            na.run(model, **SMALL)
        assert [line["event"] for line in lines(path)] == ["before_run", "after_attribution", "on_error"]
        last = lines(path)[-1]
        assert (last["error"], last["run"]["seed"]) == ("ModelError", 0)
        assert re.fullmatch(r"out of luck: \s*ü", last["message"])

    @pytest.mark.parametrize("where", ["directory", "below a file"])
    def test_a_path_that_cannot_be_written(self, model, monkeypatch, tmp_path, where):
        """One line names the variable, before the run creates anything."""
        (tmp_path / "file").write_text("")
        path = {"directory": tmp_path, "below a file": tmp_path / "file" / "x"}
        monkeypatch.setenv(VARIABLE, str(path[where]))
        with pytest.raises(na.UsageError) as caught:
            na.run(model, out=tmp_path / "run", **SMALL)
        line = str(caught.value)
        assert line.startswith(f"can't append to {path[where]}: ")
        assert line.endswith(f"accepted in {VARIABLE}: a file that can be written")
        assert "\n" not in line
        assert not (tmp_path / "run").exists()

    def test_no_permission(self, monkeypatch, tmp_path):
        """The same line for a directory that belongs to someone else; root, who may write anywhere, needs the patch."""
        monkeypatch.setenv(VARIABLE, str(tmp_path / "closed" / "runs.jsonl"))
        monkeypatch.setattr(os, "access", lambda place, how: (place, how) != (tmp_path, os.W_OK))
        with pytest.raises(na.UsageError, match=f"no permission; accepted in {VARIABLE}"):
            registry().make(na.Observer, "jsonl")

    def test_a_path_that_stops_being_writable(self, model, monkeypatch, tmp_path):
        """A file that is spoilt under way fails the run with one line that names observer and variable."""
        path = tmp_path / "runs.jsonl"
        monkeypatch.setenv(VARIABLE, str(path))

        def spoil(*_: Any, **__: Any) -> Any:
            if path.is_file():
                path.unlink()
                path.mkdir()
            return evaluate_sets(*_, **__)

        evaluate_sets = answers.evaluate_sets
        monkeypatch.setattr(answers, "evaluate_sets", spoil)
        with pytest.raises(na.RunError) as caught:
            na.run(model, **SMALL)
        line = str(caught.value)
        assert line.startswith(f"observer 'jsonl' failed in after_evaluation(): UsageError: can't append to {path}: ")
        assert line.endswith(f"accepted in {VARIABLE}: a file that can be written")


class TestUnset:
    @pytest.mark.parametrize("value", [None, ""])
    def test_nothing_is_written(self, model, monkeypatch, tmp_path, value):
        """Without the variable, or with an empty one, a run writes nothing anywhere near."""
        monkeypatch.chdir(tmp_path)
        if value is not None:
            monkeypatch.setenv(VARIABLE, value)
        na.run(model, **{**SMALL, "scorers": ["act"]})
        assert list(tmp_path.iterdir()) == []

    def test_planning_writes_nothing(self, monkeypatch, tmp_path):
        """A dry run, which makes the observer, leaves no file."""
        monkeypatch.setenv(VARIABLE, str(tmp_path / "log" / "runs.jsonl"))
        registry().make(na.Observer, "jsonl")
        assert list(tmp_path.iterdir()) == []


def test_it_is_listed():
    """`plugins` lists it as an observer in one line that names the variable."""
    command = [sys.executable, "-m", "neuron_antagonism", "plugins"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    below = listed.partition("\nobservers\n")[2]
    assert below.startswith("  jsonl ")
    assert VARIABLE in below.splitlines()[0]
