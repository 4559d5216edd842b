"""The plugin guide's code runs as it stands there, and says what there is to say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_conformance import failures

import neuron_antagonism as na
from neuron_antagonism.plugin import hookspecs
from neuron_antagonism.plugin.base import Observer
from neuron_antagonism.testing import TaskTests

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.S)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the guide's Python blocks define, run in order."""
    found: dict[str, Any] = {"__name__": "guide"}
    for block in blocks("python"):
        exec(compile(block, "plugins/README.md", "exec"), found)
    return found


def test_every_python_block_runs(names, capsys):
    """The blocks run in order, and their objects are what the text says they are."""
    assert issubclass(names["MarginScorer"], na.Scorer)
    assert len(names["chosen"]) == 20
    assert na.evaluate(names["model"], names["examples"], na.edit(names["chosen"], names["Halve"]())).acc >= 0


def test_the_guides_kit_passes(names, tmp_path):
    """The guide's test classes pass for its scorer and intervention, and its small task fails as the comment says."""
    for kit in (names["TestMargin"], names["TestHalve"]):
        attributes = {"options": kit.options}
        assert failures(kit.__mro__[1], kit.plugin, tmp_path, **attributes) == {}
    assert "test_items" in failures(TaskTests, names["Capitals"], tmp_path)


def test_the_yaml_task_works(tmp_path):
    """The task files of the guide load with the data that they describe."""
    text, ready, blimp = blocks("yaml")
    stated = yaml.safe_load(text)
    (tmp_path / "colours.yaml").write_text(text)
    rows = [f"thing {n},{stated['labels'][n % 5]}" for n in range(20)]
    (tmp_path / "colours.csv").write_text("\n".join(["thing,colour", *rows]) + "\n")
    split = na.load_task(str(tmp_path / "colours.yaml")).split(identify=1, select=2, evaluate=2)
    assert split.identify[0].proxies[0].prompt.startswith("You know colours.\n")
    choices = {"text": ["iron", "gold", "sand"], "label": ["1", "2", "3"]}
    rows = {"test": {"question": "Which?", "choices": choices, "answerKey": "3"}}
    rows["blimp"] = {"sentence_good": "Cats sleep.", "sentence_bad": "Cats sleeps."}
    for (name, row), task, right in zip(rows.items(), (ready, blimp), ("sand", "Cats sleep."), strict=True):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
        (tmp_path / f"{name}.yaml").write_text(task)
        (item,) = na.load_task(tmp_path / f"{name}.yaml").items()[0]
        assert item.answer == right


def test_every_hook_and_observer_method_is_in_the_guide():
    """A hook specification or an observer's event that is added must be documented here, and in code that is run."""
    hooks = [name for name in vars(hookspecs) if name.startswith("neuron_antagonism_")]
    assert len(hooks) >= 4
    code = "\n".join(blocks("python"))
    for name in hooks:
        assert f"`{name}`" in GUIDE
        assert f"def {name}()" in code
    for name in vars(Observer):
        if not name.startswith("_") and name != "name":
            assert f"def {name}(" in code


def test_commands_of_the_guide_exist():
    """The commands that the guide shows are commands of the program."""
    from neuron_antagonism.cli.app import app

    known = {command.name for command in app.registered_commands}
    assert set(re.findall(r"neuron-antagonism ([a-z]+)", "\n".join(blocks("bash")))) <= known
