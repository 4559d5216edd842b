"""Other processes and clusters: they say what one process says, byte for byte, and losing one of them costs nothing."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny
import torch
from directories import FAST, same_results, units

import neuron_antagonism as na
from neuron_antagonism.runs.backends import processes
from neuron_antagonism.runs.backends.choose import backend_of
from neuron_antagonism.runs.backends.processes import WORKER
from neuron_antagonism.runs.backends.ray import BESIDE

one_thread = tiny.one_thread


@pytest.fixture(scope="module")
def serial(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run in one process."""
    out = tmp_path_factory.mktemp("runs") / "serial"
    na.run(str(checkpoint), out=out, **FAST)
    return out


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if WORKER in child.cmdline()]


def same_units(path: Path, other: Path) -> bool:
    """Whether two directories hold the same units, byte for byte."""
    assert units(path).keys() == units(other).keys()
    return all((path / name).read_bytes() == (other / name).read_bytes() for name in units(path))


def test_a_killed_worker_costs_nothing(checkpoint, serial, tmp_path):
    """Its task goes to another process; results and units are those of one process, byte for byte; no process stays."""
    killed: list[int] = []

    def progress(what: str, done: int, total: int) -> None:
        # once a task is under way, whoever is at it
        if not killed and "gradients" in what:
            victim = workers()[0]
            victim.send_signal(signal.SIGKILL)
            killed.append(victim.pid)

    na.run(str(checkpoint), out=tmp_path / "run", backend="processes", workers=2, progress=progress, **FAST)
    assert killed
    assert not workers()
    assert same_results(tmp_path / "run", serial)
    assert same_units(tmp_path / "run", serial)


class Deadly(na.Scorer):
    """Ends the process that uses it."""

    name = "deadly"

    def aggregate(self, example_scores, question_scores):
        os.kill(os.getpid(), signal.SIGKILL)
        return example_scores.sum(0)


def test_a_worker_that_always_dies_is_given_up(checkpoint, tmp_path, monkeypatch):
    """After so many tries the task has failed, in one line that says how its worker ended; the run has ended too."""
    monkeypatch.setattr(processes, "TRIES", 1)
    given = {**FAST, "tasks": ["sentiment"], "scorers": [Deadly()], "out": tmp_path / "run"}
    said = r"^sentiment: its worker was killed by signal 9, 1 times; accepted: more memory, or fewer workers$"
    with pytest.raises(na.RunError, match=said):
        na.run(str(checkpoint), backend="processes", workers=2, **given)
    assert not workers()
    assert [name.rpartition(".")[0].rpartition(".")[0] for name in units(tmp_path / "run")] == ["examples/sentiment"]


class Elsewhere(na.Scorer):
    """As if the script itself, which other processes can't import, defined it."""

    name = "elsewhere"


@pytest.mark.parametrize("backend", ["processes", "ray"])
def test_what_stays_in_its_process_is_refused(backend, checkpoint, tmp_path, monkeypatch):
    """A model that was given loaded, and instances of the script's own classes: one line before anything starts."""
    if backend == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    model = tiny.load("llama", torch.float32)
    monkeypatch.setattr(Elsewhere, "__module__", "__main__")
    monkeypatch.setattr("__main__.Elsewhere", Elsewhere, raising=False)
    for given, said in (
        ({"model": model}, "the model 'LlamaForCausalLM' was given loaded, which stays in its process; accepted by"),
        ({"model": str(checkpoint), "reference": model}, "was given loaded"),
        (
            {"model": str(checkpoint), "scorers": [Elsewhere()]},
            r"a class of the script itself, __main__.*; accepted by",
        ),
    ):
        if backend == "ray" and "scorers" in given:
            # by value, which a cluster can take
            continue
        with pytest.raises(na.UsageError, match=said) as told:
            na.run(**{**FAST, **given}, out=tmp_path / "run", backend=backend, workers=2)
        assert "\n" not in str(told.value)
        assert not (tmp_path / "run").exists()
    assert not workers()


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("threads", 1, "unknown back end 'threads'; accepted: processes, ray, serial"),
        ("process", 1, "did you mean 'processes'"),
        ("serial", 2, "back end 'serial' has 1 worker, 2 were asked for; accepted: 'processes', 'ray'"),
        ("processes", 0, "workers is 0; accepted: a whole number from 1"),
        ("processes", True, "workers is True; "),
        ("processes", "2", "workers is '2'; "),
    ],
)
def test_what_is_refused(name, count, said):
    """One line says what is accepted."""
    with pytest.raises(na.UsageError, match=said):
        backend_of(name, count)


def test_ray_is_an_extra(monkeypatch):
    """Where it is not installed, the line says how to have it, and what does without."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(na.UsageError, match=r"not installed; accepted: pip install 'neuron-antagonism\[ray\]', or"):
        backend_of("ray", 2)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_says_the_same(checkpoint, serial, tmp_path):
    """Two tasks on two actors of a cluster that is started for them, and ended afterwards."""
    import ray

    asked: set[float] = set()

    def progress(what: str, done: int, total: int) -> None:
        asked.add(ray.cluster_resources()["memory"] - ray.available_resources().get("memory", 0.0))

    na.run(str(checkpoint), out=tmp_path / "run", backend="ray", workers=2, progress=progress, **FAST)
    assert not ray.is_initialized()
    # of two actors, what each needs to load the model
    weights = sum(file.stat().st_size for file in checkpoint.iterdir())
    assert max(asked) == pytest.approx(2 * (2 * weights + BESIDE), rel=1e-3)
    assert same_results(tmp_path / "run", serial)
    assert same_units(tmp_path / "run", serial)


def test_a_finished_run_starts_nothing(checkpoint, serial, monkeypatch):
    """What is there is read by the process that asks."""
    monkeypatch.setattr(processes.Processes, "_hired", lambda self: pytest.fail("a worker is started"))
    before = units(serial)
    result: Any = na.run(str(checkpoint), out=serial, backend="processes", workers=2, **FAST)
    assert result.table.rows
    (serial / "results.json").unlink()
    na.run(str(checkpoint), out=serial, backend="processes", workers=2, **FAST)
    assert units(serial) == before
