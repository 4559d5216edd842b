"""A suite measured again from its directory, and plugins from a directory that is not installed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import test_cli
import tiny
import yaml

import neuron_antagonism as na
from neuron_antagonism.plugin import folder, manager
from neuron_antagonism.suites.bench import plan_bench

call, one_thread = test_cli.call, tiny.one_thread

OUTSIDE = Path(__file__).parent / "third_party"
PART = {
    "part": "judging",
    "name": "board",
    "scorers": ["act", "random"],
    "judges": ["control", "cost"],
    "identify": 1,
    "evaluate": 2,
    "truth": 2,
    "matched": 1,
    "budget": 10,
}


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    spec = {"name": "own", "tasks": ["ner", "sentiment"], "parts": [PART]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path


def test_a_directory_says_what_was_asked_for(call, suite):
    """Models, tasks, seeds and data come from the manifest; the results are the same byte for byte, elsewhere too."""
    asked = ("--seed", "3", "--task", "sentiment")
    assert call("bench", "--suite", "own.yaml", *asked, "--out", "one", "--quiet").code == 0
    (suite / "own.yaml").unlink()
    for again, out in (("one", "two"), ("one/manifest.json", "three")):
        assert call("bench", "--suite", again, "--out", out, "--quiet").code == 0
        assert (suite / out / "results.json").read_bytes() == (suite / "one" / "results.json").read_bytes()
    plan = plan_bench("one")
    assert plan.key == json.loads((suite / "one" / "manifest.json").read_text())["key"]
    # what is given goes before
    other = plan_bench("one", seed=4, tasks=["ner"])
    assert [(job.name, job.seed) for job in other.every] == [("ner", 4)]
    shown = json.loads(call("bench", "--suite", "one", "--show", "--json").out)
    assert shown["name"] == "own"


def test_a_manifest_can_not_switch_on_foreign_code(call, suite):
    """Whatever a manifest says of how a model was loaded, the checkpoint's code is not run for it."""
    assert call("bench", "--suite", "own.yaml", "--task", "ner", "--out", "one", "--quiet").code == 0
    file = suite / "one" / "manifest.json"
    manifest = json.loads(file.read_text())
    for loading, said in (({"trust_remote_code": True}, "trust_remote_code"), ({"foo": "x"}, "foo")):
        manifest["asked"]["loading"] = loading
        file.write_text(json.dumps(manifest))
        with pytest.raises(na.DataError, match=f"loads models with '{said}'; accepted: dtype"):
            plan_bench("one")
    manifest["asked"]["loading"] = {"dtype": "float32"}
    file.write_text(json.dumps(manifest))
    assert plan_bench("one").every[0].model.loading == {"dtype": "float32"}


def test_other_data_are_told(call, suite, monkeypatch):
    """Data are named by their whole paths, from wherever; what they hold now may be something else, which is told."""
    (suite / "moods.yaml").write_text(tiny.LABELLED.format(name="moods", labels=", ".join(tiny.LABELS)))
    rows = [
        f"{label},{' '.join(f'w{(n * 7 + k) % 40}' for k in range(4))} w{n}" for n in range(39) for label in tiny.LABELS
    ]
    (suite / "moods.csv").write_text("\n".join(rows) + "\n")
    assert call("bench", "--suite", "own.yaml", "--task", "moods.yaml", "--out", "one", "--quiet").code == 0
    (suite / "elsewhere").mkdir()
    monkeypatch.chdir(suite / "elsewhere")
    key = json.loads((suite / "one" / "manifest.json").read_text())["key"]
    assert plan_bench("../one").key == key
    (suite / "moods.csv").write_text("\n".join(rows[:-3]) + "\n")
    with pytest.warns(na.AntagonismWarning, match="the data of task 'moods' are not those that"):
        plan_bench("../one")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "is no manifest of a suite; accepted: the directory of a suite, or its manifest.json"),
        ('{"suite": {}}', "is damaged (KeyError: 'asked'); accepted: the directory of a suite"),
        ('{"suite": {}, "asked": {"seeds": [1e400]}, "data": {}}', "is damaged (asked.seeds.0: "),
        ('{"suite": {}, "asked": {"seeds": "12"}, "data": {}}', "is damaged (asked.seeds: "),
        ("[", "can't read"),
        ('{"suite": {"name": "x"}, "asked": {}, "data": []}', "is damaged (AttributeError"),
    ],
)
def test_other_directories_are_refused(call, suite, text, said):
    """A run's manifest, or a damaged one, is told in a line."""
    (suite / "other").mkdir()
    (suite / "other" / "manifest.json").write_text(text)
    done = call("bench", "--suite", "other", "--quiet")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.fixture
def outside(tmp_path, monkeypatch) -> Path:
    """Somebody's plugins under a name that is not installed."""
    there = tmp_path / "plugins"
    shutil.copytree(OUTSIDE / "outside_plugins", there / "src" / "elsewhere")
    text = (OUTSIDE / "pyproject.toml").read_text().replace("outside_plugins", "elsewhere")
    (there / "pyproject.toml").write_text(text.replace('name = "outside-plugins"', 'name = "elsewhere"'))
    monkeypatch.setenv(folder.VARIABLE, str(there))
    monkeypatch.setattr(sys, "path", [*sys.path])
    manager._loaded.cache_clear()
    yield there
    manager._loaded.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "elsewhere"]:
        del sys.modules[name]


def test_plugins_of_a_directory(outside, suite):
    """They are there without being installed, say whose they are, and get every judge of a leaderboard."""
    entry = manager.registry().entry("logit-difference", "scorer")
    assert entry.distribution == "elsewhere"
    assert not manager.registry().broken
    found = na.leaderboard(
        "demo", ["ner"], ["logit-difference"], ["cost"], identify=1, evaluate=2, truth=2, progress=False
    )
    assert set(found.frame.scorer) == {"logit-difference"}


def test_another_module_of_that_name(outside, monkeypatch):
    """A module that is installed is not taken for the directory's: the plugin is broken, and says why."""
    file = outside / "pyproject.toml"
    file.write_text(file.read_text().replace("elsewhere.clamp", "json.tool"))
    (broken,) = manager.Registry([], folders=[outside]).broken
    assert broken.entry_point == "clamp"
    assert "accepted: a name that no other module has" in broken.error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "holds no plugins: No such file or directory; accepted: a directory whose pyproject.toml has"),
        ("[project]\nname = 'x'", "states no plugins; accepted: a directory whose pyproject.toml has"),
        ("project = 1", "states no plugins"),
        ("[", "no TOML: "),
    ],
)
def test_a_directory_without_plugins(call, tmp_path, text, said, monkeypatch):
    """What is asked for and not there is refused in one line."""
    # the command sets it for the processes that it starts
    monkeypatch.setenv(folder.VARIABLE, "")
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    manager._loaded.cache_clear()
    done = call("--plugins-from", str(tmp_path), "plugins")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    manager._loaded.cache_clear()
