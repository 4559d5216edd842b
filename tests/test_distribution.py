"""What is distributed: a wheel and an sdist that an index takes, whole, and that work away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from neuron_antagonism import __version__

ROOT = Path(__file__).parents[1]
PLUGINS = "plugins/neuron_antagonism_plugins"


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path
    unpacked: Path
    again: Path
    """The wheel that the sdist makes."""


def called(*words: str, cwd: Path, **env: str) -> str:
    """What a Python program prints, away from the checkout."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env={**known, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both from the checkout, and a wheel from nothing but the sdist."""
    top = tmp_path_factory.mktemp("built")
    called("-m", "hatchling", "build", "-d", str(top / "first"), cwd=ROOT)
    (wheel,), (sdist,) = (top / "first").glob("*.whl"), (top / "first").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(top, filter="data")
    unpacked = top / sdist.name.removesuffix(".tar.gz")
    called("-m", "hatchling", "build", "-t", "wheel", "-d", str(top / "second"), cwd=unpacked)
    (again,) = (top / "second").glob("*.whl")
    return Built(wheel, sdist, unpacked, again)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's directory, as pip installs it."""
    target = tmp_path_factory.mktemp("installed") / "site"
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check", "--target"]
    called(*pip, str(target), str(built.wheel), cwd=target.parent)
    return target


def tracked(*folders: str) -> set[str]:
    """The checkout's files in some folders, without what running it leaves there."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_an_index_takes_both(built):
    """Names, metadata and the rendered README, as the index checks them."""
    said = called("-m", "twine", "--no-color", "check", "--strict", str(built.wheel), str(built.sdist), cwd=ROOT.parent)
    assert said.count("PASSED") == 2
    assert {built.wheel.name, built.sdist.name} == {
        f"neuron_antagonism-{__version__}-py3-none-any.whl",
        f"neuron_antagonism-{__version__}.tar.gz",
    }


def test_the_wheel_holds_the_packages_and_nothing_else(built):
    """Every file of both packages, what is no Python among them; no tests, no benchmarks, nothing that was compiled."""
    names = zipfile.ZipFile(built.wheel).namelist()
    info = f"neuron_antagonism-{__version__}.dist-info/"
    inside = {name for name in names if not name.startswith(info)}
    assert inside == {name.removeprefix("plugins/") for name in tracked("neuron_antagonism", PLUGINS)}
    assert {name.split("/")[0] for name in inside} == {"neuron_antagonism", "neuron_antagonism_plugins"}
    assert {"neuron_antagonism/py.typed", "neuron_antagonism/demo/checkpoint/model.safetensors"} <= inside


def test_the_sdist_is_complete(built):
    """It makes the same wheel, to the byte of every member, and brings tests, benchmarks and pinned versions along."""
    first, second = (zipfile.ZipFile(wheel) for wheel in (built.wheel, built.again))
    assert first.namelist() == second.namelist()
    assert all(first.read(name) == second.read(name) for name in first.namelist())
    there = {path.relative_to(built.unpacked).as_posix() for path in built.unpacked.rglob("*") if path.is_file()}
    wanted = tracked("neuron_antagonism", "plugins", "tests", "benchmarks")
    assert wanted | {"README.md", "CHANGELOG.md", "LICENSE", "constraints.txt", "pyproject.toml"} <= there


def test_it_works_away_from_the_checkout(installed, checkpoint, tmp_path):
    """The installed files are what runs, every shipped plugin is found by the wheel's own entry points, a run ends."""
    env = {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    program = [str(installed / "bin" / "neuron-antagonism")]
    assert called(*program, "--version", cwd=tmp_path, **env).strip().endswith(__version__)
    where = (
        "import json, importlib.metadata as m, neuron_antagonism as na\n"
        "from neuron_antagonism.demo import directory\n"
        "found = [p for p in m.entry_points(group='neuron_antagonism') if p.dist.name == 'neuron-antagonism']\n"
        "files = {p.load().__file__ for p in found}\n"
        "homes = [str(p.dist.locate_file('')) for p in found]\n"
        "print(json.dumps([na.__file__, sorted(files), homes, str(directory())]))"
    )
    package, plugins, homes, demo = json.loads(called("-c", where, cwd=tmp_path, **env))
    assert all(Path(file).is_relative_to(installed) for file in (package, demo, *plugins))
    assert {Path(home) for home in homes} == {installed}
    assert len(plugins) == len(list((ROOT / PLUGINS).glob("[!_]*.py")))
    sizes = ["--identify", "1", "--select", "2", "--evaluate", "2", "--budget", "12"]
    words = ["run", "--model", str(checkpoint), "--task", "ner", "--scorer", "grad-x-act", *sizes, "--out", "run"]
    result = json.loads(called(*program, *words, "--json", "--quiet", cwd=tmp_path, **env))
    assert set(result["results"]["tasks"]["ner"]["attribution"]) == {"grad-x-act"}
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000
