"""Whatever ends a run half-way, the same call goes on from there, and then says what an undisturbed run says."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from directories import FAST, made, read, same_results, units
from faults import Kills, grown

import neuron_antagonism as na
from neuron_antagonism import tensors
from neuron_antagonism.suites import directory
from neuron_antagonism.suites import run as running
from neuron_antagonism.units import steps as steps_module

one_thread = tiny.one_thread


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.load("llama", torch.float32)


# --- at any write --------------------------------------------------------------------------------------------------


SHORT: dict[str, Any] = {**FAST, "scorers": ["ace"], "identify": 1, "select": 2, "evaluate": 2, "steps": 2}


class StoppedError(Exception):
    """Stands for whatever ends a run half-way."""


def test_stopped_at_every_write(model, tmp_path, monkeypatch):
    """A run that is ended before each of its writes in turn goes on each time; nothing is written twice."""
    undisturbed = tmp_path / "undisturbed"
    na.run(model, out=undisturbed, **SHORT)
    out, there = tmp_path / "run", set[str]()
    real = tensors.write_whole

    def write(path: Path, data: bytes) -> None:
        # the manifest is written when the run begins and when it ends
        name = str(path.relative_to(out)) + (" at the end" if b'"finished": true' in data else "")
        if name not in there:
            if fresh:
                raise StoppedError
            there.add(name)
            fresh.append(name)
        real(path, data)

    for module in (tensors, running, directory):
        monkeypatch.setattr(module, "write_whole", write)
    calls, finished = 0, False
    while not finished:
        calls += 1
        before, fresh = units(out), list[str]()
        try:
            na.run(model, out=out, **SHORT)
        except StoppedError:
            with pytest.raises(na.DataError, match="holds no finished run"):
                na.load_run(out)
        else:
            finished = True
        assert len(made(out, before)) <= 1
        assert not list(out.rglob("*.partial"))
        assert not (out / ".lock").exists()
    # each call wrote one thing that was not there yet
    others = ["manifest", "manifest at the end", "questions", "neurons", "results"]
    assert len(there) == calls == len(units(undisturbed)) + len(others)
    assert same_results(out, undisturbed)
    assert units(out).keys() == units(undisturbed).keys()


# --- tasks that fail -----------------------------------------------------------------------------------------------


class Failing(na.Scorer):
    """Scores of one; fails in the given calls."""

    name = "failing"
    fails: tuple[int, ...] = ()
    calls = 0

    def aggregate(self, example_scores, question_scores):
        Failing.calls += 1
        if Failing.calls in Failing.fails:
            raise ValueError("out of\nluck")
        return example_scores.double().sum(0)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Failing, "calls", 0)
    monkeypatch.setattr(Failing, "fails", (1,))


GIVEN: dict[str, Any] = {**SHORT, "scorers": [Failing(), "random"]}


def test_a_task_that_fails_does_not_end_the_others(model, tmp_path, monkeypatch, fails):
    """The others are finished, the hole is named, and only it is left for the next call."""
    out = tmp_path / "run"
    said = "task sentiment failed: scorer 'failing' failed in aggregate(): ValueError: out of luck"
    with pytest.raises(na.RunError) as told:
        na.run(model, out=out, **GIVEN)
    assert (str(told.value), told.value.exit_code) == (said, 1)
    results, manifest = read(out / "results.json"), read(out / "manifest.json")
    assert results["failed"] == {"sentiment": said.partition(": ")[2]}
    assert list(results["tasks"]) == list(manifest["units"]) == ["ner"]
    assert results["tasks"]["ner"]["side_effects"]["rows"][0]["other_tasks"] == {}
    assert manifest["finished"] is False
    assert ",sentiment," not in (out / "neurons.csv").read_text("utf-8")
    with pytest.raises(na.DataError, match="holds no finished run"):
        na.load_run(out)
    before = units(out)
    na.run(model, out=out, **GIVEN)
    assert not [name for name in made(out, before) if "ner." in name and "sentiment" not in name]
    monkeypatch.setattr(Failing, "fails", ())
    na.run(model, out=tmp_path / "fresh", **GIVEN)
    assert same_results(out, tmp_path / "fresh")


def test_all_tasks_fail(model, tmp_path, monkeypatch, fails):
    """Every one is named; there are results, and nothing in them."""
    monkeypatch.setattr(Failing, "fails", (1, 2))
    with pytest.raises(na.RunError, match=r"^task sentiment, ner failed: scorer 'failing' failed"):
        na.run(model, out=tmp_path / "run", **GIVEN)
    results = read(tmp_path / "run" / "results.json")
    assert (results["tasks"], set(results["failed"])) == ({}, {"sentiment", "ner"})


@pytest.mark.parametrize(("failing", "when"), [(0, "settling"), (1, "scoring")])
def test_a_task_that_fails_where_steps_are_shared(failing, when, model, tmp_path, monkeypatch):
    """The number of steps is that of the tasks that are left; they are what they are without the failed one."""
    given = {**GIVEN, "scorers": ["ace", Failing()], "steps": "auto"}
    task = FAST["tasks"][failing]
    calls = []

    def settled(model: Any, sets: Any, *_: Any) -> int:
        calls.append(sets)
        # the failing task alone needs many
        mine = len(calls) == 1 + failing
        if mine and when == "settling":
            raise na.ModelError("out of luck")
        return 8 if mine else 4

    monkeypatch.setattr(steps_module, "settled_steps", settled)
    monkeypatch.setattr(Failing, "calls", 0)
    # once all steps are settled, the task that settled them last is scored first
    monkeypatch.setattr(Failing, "fails", (2 - failing,) if when == "scoring" else ())
    with pytest.raises(na.RunError, match=f"^task {task} failed: "):
        na.run(model, out=tmp_path / "run", **given)
    (left,) = (one for one in FAST["tasks"] if one != task)
    results, manifest = (read(tmp_path / "run" / f"{name}.json") for name in ("results", "manifest"))
    assert manifest["steps"] == 4
    assert results["tasks"][left]["attribution"]["ace"]["steps"] == 4
    monkeypatch.setattr(Failing, "fails", ())
    alone = na.run(model, **{**given, "tasks": [left], "steps": 4})
    assert results["tasks"] == json.loads(json.dumps(alone.results))["tasks"]


def test_what_is_wrong_from_the_start_leaves_nothing(model, tmp_path):
    """A task that can't be prepared ends the run before it begins, and takes the others' examples with it."""
    (tmp_path / "few.txt").write_text("(3 (2 so) (4 good))\n")
    with pytest.raises(na.AntagonismError) as told:
        na.run(model, out=tmp_path / "run", **{**FAST, "tasks": ["ner", "sentiment"]}, data={"sentiment": "few.txt"})
    assert told.value.exit_code == 2
    assert not (tmp_path / "run").exists()


# --- signals -------------------------------------------------------------------------------------------------------


def test_killed_and_terminated(checkpoint, tmp_path):
    """A process that is killed outright goes on; one that is asked to end does in seconds, and says how to go on."""
    undisturbed = tmp_path / "undisturbed"
    na.run(str(checkpoint), out=undisturbed, **FAST)
    (tmp_path / "run.json").write_text(json.dumps({**FAST, "model": str(checkpoint)}), encoding="utf-8")
    told: list[str] = []
    run = Kills(["--config", str(tmp_path / "run.json"), "--quiet"], told.append)
    out = tmp_path / "run"
    assert run.stop(out, grown(3), signal.SIGKILL).code == -signal.SIGKILL
    with pytest.raises(na.DataError, match="holds no finished run"):
        na.load_run(out)
    ended = run.stop(out, grown(3), signal.SIGTERM)
    assert (ended.code, ended.said) == (143, "")
    said = f"interrupted; what was finished is kept: the same command with --out {out} goes on from there\n"
    assert ended.told == said
    assert ended.seconds < 20
    assert not (out / ".lock").exists()
    before = units(out)
    na.run(str(checkpoint), out=out, **FAST)
    assert made(out, before)
    assert run.signals == {"SIGKILL": 1, "SIGTERM": 1}
    assert not run.again, told
    assert same_results(out, undisturbed)
    assert not list(out.rglob("*.damaged"))
