"""An outside distribution and this project's own wheel, installed by pip into an environment without the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTSIDE = ROOT / "tests" / "third_party"
SMALL = ["--identify", "1", "--select", "2", "--evaluate", "2", "--quiet"]


class Environment:
    """A virtual environment; its programs see no checkout."""

    def __init__(self, path: Path) -> None:
        venv.create(path, with_pip=True)
        self.path = path
        self.python = path / "bin" / "python"
        # the libraries come from the tests' own environment: a path line makes them importable, but leaves aside that
        # environment's editable installation of the checkout
        (site,) = path.glob("lib/python*/site-packages")
        (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        self.site = site

    def run(self, *words: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        env = {name: value for name, value in os.environ.items() if name not in hidden}
        env |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [str(self.python), *words], cwd=cwd or self.path, env=env, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
        return done

    def install(self, *what: str) -> None:
        pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        self.run(*pip, *what)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """This project's wheel and the outside distribution, side by side."""
    environment = Environment(tmp_path_factory.mktemp("environment"))
    wheels = environment.path / "wheels"
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(wheels)]
    environment.run(*build, str(ROOT), str(OUTSIDE))
    environment.install(*map(str, wheels.glob("*.whl")))
    return environment


@pytest.fixture(scope="module")
def listed(installed: Environment) -> dict[str, dict[str, object]]:
    """What `plugins --json` says, by name."""
    found = json.loads(installed.run("-m", "neuron_antagonism", "plugins", "--json").stdout)
    assert found["broken"] == []
    assert found["conflicts"] == {}
    return {entry["name"]: entry for entry in found["plugins"] if entry["kind"] != "target"}


def test_the_wheel_is_what_runs(installed):
    """The package is imported from the environment, not from the checkout."""
    where = installed.run("-c", "import neuron_antagonism as na; print(na.__file__)").stdout.strip()
    assert Path(where).is_relative_to(installed.site)


def test_shipped_and_outside_plugins_are_found_alike(listed):
    """Kind, distribution, version, first line and options of both come through the same door."""
    assert {name for name, entry in listed.items() if entry["distribution"] == "outside-plugins"} == {
        "clamp",
        "learned-mask",
        "logit-difference",
        "nli",
    }
    assert {"ace", "ner", "silence", "ablation"} <= set(listed)
    outside = listed["logit-difference"]
    assert (outside["kind"], outside["version"]) == ("scorer", "2.3.4")
    assert "logit against the wrong ones" in outside["summary"]
    options = {option["name"]: option for option in outside["options"]}
    assert options["logit-difference.against"]["default"] == "mean"
    assert "logit-difference.z" in options


def test_outside_plugins_pass_the_kit(installed, tmp_path):
    """Their own tests, which are the conformance kit, pass where they are installed."""
    shutil.copytree(OUTSIDE / "tests", tmp_path / "tests")  # away from this project's own configuration
    done = installed.run("-m", "pytest", "-W", "error", "tests", cwd=tmp_path)
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_all_three_in_one_run_from_the_command_line(installed, tmp_path):
    """Outside scorer, task and intervention, with an option each, beside shipped ones."""
    words = ["run", "--task", "nli", "--scorer", "ace", "--scorer", "logit-difference", "--weaken", "clamp"]
    options = ["-o", "logit-difference.against=max", "-o", "clamp.percentile=10"]
    out = tmp_path / "run"
    done = installed.run("-m", "neuron_antagonism", *words, *options, *SMALL, "--out", str(out), "--json")
    result = json.loads(done.stdout)
    scored = result["results"]["tasks"]["nli"]["attribution"]
    assert set(scored) == {"ace", "logit-difference"}
    assert scored["logit-difference"]["options"]["against"] == "max"
    assert result["manifest"]["config"]["options"]["clamp"] == {"percentile": 10}
    assert result["manifest"]["plugins"]["logit-difference"] == "outside-plugins 2.3.4"


def test_all_three_from_python(installed):
    """The same names from Python, and an own file as the task's data."""
    program = """
import neuron_antagonism as na
from pathlib import Path
rows = [f"it rains on day {n}\\tit is wet on day {n}\\tfollows" for n in range(30)]
Path("rows.tsv").write_text("\\n".join(rows))
model = na.load_model("demo")
split = na.load_task("nli", source="rows.tsv").split(identify=1, select=0, evaluate=2)
a = na.attribute(model, split.identify, "logit-difference", options={"against": "max"}, budget=20)
clamp = na.edit(a.good(20), "clamp")
try:
    na.evaluate(model, split.evaluate, clamp)
except na.UsageError as error:
    print(error)
(part,) = clamp.parts
fitted = part.intervention.fit(model, split.identify, part.neurons)
print(na.evaluate(model, split.evaluate, na.edit(a.good(20), fitted)).acc >= 0, a.target)
"""
    out = installed.run("-c", program).stdout.splitlines()
    assert out[0].startswith("intervention 'clamp' is not fitted")
    assert out[1] == "True logit difference"


def test_left_out_where_the_user_says_so(installed):
    """--no-plugins leaves outside distributions out, --only-plugins those that it does not name."""
    module = ["-m", "neuron_antagonism"]
    for words, there in ((["--no-plugins"], False), (["--only-plugins", "outside_plugins"], True)):
        found = json.loads(installed.run(*module, *words, "plugins", "--json").stdout)
        assert ("nli" in {entry["name"] for entry in found["plugins"]}) is there
        assert ({"entry_point": "nli", "distribution": "outside-plugins"} in found["left_out"]) is not there
    refused = installed.run(*module, "--no-plugins", "run", "--task", "nli", "--dry-run", check=False)
    assert refused.returncode == 2
    assert "plugins of outside-plugins are left out" in refused.stderr
    refused = installed.run(*module, "--only-plugins", "outside", "plugins", check=False)
    assert refused.stderr.endswith("no plugins of a distribution 'outside' are installed; accepted: outside-plugins\n")


def test_a_second_distribution_of_the_same_names(installed, tmp_path):
    """Names that two distributions claim are refused with both named; everything else goes on working."""
    twin = tmp_path / "twin"
    (twin / "twin_plugins-9.dist-info").mkdir(parents=True)
    (twin / "twin_plugins.py").write_text(
        "import neuron_antagonism as na\nfrom outside_plugins.nli import Nli\n\n\n@na.hookimpl\n"
        "def neuron_antagonism_tasks():\n    return [Nli]\n"
    )
    (twin / "twin_plugins-9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: twin\nVersion: 9\n")
    (twin / "twin_plugins-9.dist-info" / "entry_points.txt").write_text("[neuron_antagonism]\nnli = twin_plugins\n")
    link = installed.site / "twin.pth"
    link.write_text(f"{twin}\n")
    try:
        refused = installed.run("-m", "neuron_antagonism", "run", "--task", "nli", "--dry-run", check=False)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert "a task of outside-plugins and a task of twin" in refused.stderr.replace(
            "twin and a task of outside-plugins", "outside-plugins and a task of twin"
        )
        shown = installed.run("-m", "neuron_antagonism", "plugins", "clamp").stdout
        assert shown.startswith("clamp: intervention of outside-plugins 2.3.4")
    finally:
        link.unlink()


def test_a_leaderboard_takes_them_as_they_are(installed, checkpoint):
    """What an outside scorer is judged by needs no line of it beyond its target; one with passes of its own, none."""
    script = f"""
import neuron_antagonism as na
if __name__ == "__main__":
    sizes = dict(identify=1, evaluate=2, truth=2, draws=2, matched=1, budget=6, n=3)
    names = ["logit-difference", "learned-mask"]
    board = na.leaderboard({str(checkpoint)!r}, ["sentiment"], names, progress=False, **sizes)
    print(sorted(set(board.frame.scorer)))
    print(sorted(board.frame.groupby("scorer").judge.nunique()))
"""
    done = installed.run("-c", script)
    shown, counted = done.stdout.strip().splitlines()
    assert shown == "['ceiling', 'learned-mask', 'logit-difference']"
    ceiling, *theirs = json.loads(counted)
    assert ceiling == 9
    assert theirs[0] == theirs[1] > 40
