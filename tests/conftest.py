"""What several test files share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# before anything imports torch: threads that spin make small models very slow on a busy machine
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

collect_ignore = ["third_party"]
"""An outside distribution, whose tests run where it is installed."""

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@dataclass(frozen=True)
class DefaultRun:
    """What `neuron-antagonism run` without arguments printed and wrote."""

    stdout: str
    path: Path
    results: dict[str, Any]
    manifest: dict[str, Any]


@pytest.fixture(scope="session")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> DefaultRun:
    """One default run, shared: the README's first command after its installation."""
    where = tmp_path_factory.mktemp("default")
    command = [sys.executable, "-m", "neuron_antagonism", "run"]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (where / "runs").iterdir()
    results = json.loads((path / "results.json").read_text(encoding="utf-8"))
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    return DefaultRun(done.stdout, path, results, manifest)
