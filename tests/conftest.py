"""What several test files share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

from neuron_antagonism.allocator import keep_memory

# before anything imports torch, here and in what the tests start: the tests' processes are what keeps the cores busy,
# and threads that wait for one another make small models very slow there
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
keep_memory()

# a busy machine makes no property false
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

collect_ignore = ["third_party"]
"""An outside distribution, whose tests run where it is installed."""

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the default run first: one process carries it out, and none has to wait for it."""
    items.sort(key=lambda item: "default_run" not in getattr(item, "fixturenames", ()))


@dataclass(frozen=True)
class DefaultRun:
    """What `neuron-antagonism run` without arguments printed and wrote."""

    stdout: str
    path: Path
    results: dict[str, Any]
    manifest: dict[str, Any]


@pytest.fixture(scope="session")
def between_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this session that all of its processes share, if it has several."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def default_run(between_processes: Path) -> DefaultRun:
    """One default run, shared by every test that only reads it: the README's first command after its installation."""
    where = between_processes / "default"
    printed = where / "stdout.txt"
    with FileLock(f"{where}.lock"):
        if not printed.exists():
            where.mkdir()
            command = [sys.executable, "-m", "neuron_antagonism", "run"]
            done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout, encoding="utf-8")
    (path,) = (where / "runs").iterdir()
    results = json.loads((path / "results.json").read_text(encoding="utf-8"))
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    return DefaultRun(printed.read_text(encoding="utf-8"), path, results, manifest)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk that knows nothing, for runs whose property is any model's: much cheaper than the demo."""
    import tiny

    return tiny.saved(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def reported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of two tasks and three scorers on a model that knows nothing, for reports; nothing may be added."""
    import neuron_antagonism as na

    out = tmp_path_factory.mktemp("reported") / "run"
    sizes = {"identify": 2, "select": 4, "evaluate": 8, "budget": 12, "random_draws": 2}
    na.run(str(checkpoint), ["sentiment", "ner"], ["ace", "act", "random"], out=out, **sizes)
    return out


@pytest.fixture(scope="session", autouse=True)
def _shared_models_stay() -> Iterator[None]:
    """No test spoils a model that others use: at the end each still answers as it did."""
    yield
    if "tiny" in sys.modules:
        assert sys.modules["tiny"].spoiled() == []


@pytest.fixture
def verified_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are verified by this process: a fresh one takes seconds to start, and a test of each form has one."""
    from neuron_antagonism.exports import verify

    def compared(words: list[str]) -> dict[str, Any]:
        with (
            redirect_stdout(StringIO()) as printed,
            warnings.catch_warnings(action="ignore"),
            monkeypatch.context() as m,
        ):
            m.setattr(sys, "argv", ["verify", *words])
            verify.main()
        found: dict[str, Any] = json.loads(printed.getvalue())
        return found

    monkeypatch.setattr(verify, "_fresh", compared)
