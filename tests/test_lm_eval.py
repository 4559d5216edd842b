"""Questions for lm-evaluation-harness: that program counts the right answers that this one counts."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

import neuron_antagonism as na
from neuron_antagonism import demo
from neuron_antagonism.cli.app import main

one_thread = tiny.one_thread

SIZES = {"identify": 2, "select": 4, "evaluate": 12, "budget": 20}

OUTSIDE = """
import json, os, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

found = {}
for name, (task, folder, model_args) in json.load(open(sys.argv[1])).items():
    manager = TaskManager(include_path=folder, include_defaults=False)
    os.chdir(folder)
    asked = dict(model="hf", model_args=model_args, device="cpu", tasks=[task], task_manager=manager)
    done = simple_evaluate(**asked, bootstrap_iters=0)
    found[name] = done["results"][task]["acc,none"]
print(json.dumps(found))
"""


def as_if(run: na.RunResult, **options: Any) -> na.RunResult:
    """The same run as if it had been asked for otherwise."""
    return replace(run, manifest={**run.manifest, "config": {**run.manifest["config"], **options}})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> na.RunResult:
    out = tmp_path_factory.mktemp("run") / "x"
    return na.run(model="demo", tasks=["ner", "sentiment"], scorers=["ace"], steps=4, out=out, **SIZES)


def lm_eval(top: Path, asked: dict[str, Any]) -> dict[str, float]:
    """Accuracies by the real program in a process of its own, by name."""
    (top / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OUTSIDE, str(top / "asked.json")],
        env={**os.environ, "HF_DATASETS_CACHE": str(top / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed: pip install -e '.[lm-eval]'"
)
def test_lm_eval_counts_what_a_run_counts(ran, tmp_path):
    """Before an edit and under it, as a LoRA, an (IA)³ adapter and a checkpoint; of two models."""
    asked, expected = {}, {}
    base = tiny.saved(tmp_path / "gpt2", "gpt2")
    other = na.run(model=str(base), tasks=[tiny.labelled(tmp_path)], scorers=["ace"], **{**SIZES, "budget": 120})
    for name, run, model, task in (("demo", ran, demo.directory(), "ner"), ("gpt2", other, base, "mine")):
        folder = tmp_path / f"{name}.questions"
        made = na.export(run, format="lm-eval", task=task, out=folder)
        named = next(folder.glob("*.yaml")).stem
        for form in ("unedited", "lora", "ia3", "checkpoint"):
            args = f"pretrained={model},dtype=float32"
            of = "unedited"
            if form != "unedited":
                where, of = tmp_path / f"{name}.{form}", "ace degrade"
                na.export(run, format=form, task=task, mode="degrade", out=where, verify=False)
                args = args.replace(str(model), str(where)) if form == "checkpoint" else f"{args},peft={where}"
            asked[f"{name} {form}"] = [named, str(folder), args]
            expected[f"{name} {form}"] = made.questions["accuracies"][of]
    assert lm_eval(tmp_path, asked) == pytest.approx(expected, abs=1e-9)
    assert expected["demo unedited"] != expected["demo lora"]
    assert expected["gpt2 unedited"] != expected["gpt2 lora"]


def test_the_directory(ran, tmp_path):
    """A task of columns, without code; its choices are letters after what stands before them where they are read."""
    made = na.export(ran, format="lm-eval", task="ner", out=tmp_path / "x")
    assert set(made.files) == {"neuron_antagonism_ner.yaml", "questions.jsonl"}
    stated = yaml.safe_load((tmp_path / "x" / "neuron_antagonism_ner.yaml").read_text())
    assert stated["task"] == "neuron_antagonism_ner"
    assert stated["dataset_kwargs"] == {"data_files": {"test": "questions.jsonl"}}
    rows = [json.loads(line) for line in (tmp_path / "x" / "questions.jsonl").read_text().splitlines()]
    asked = [question for example in ran.splits["ner"].evaluate for question in example.proxies]
    assert [(row["prompt"], row["options"], row["answer"]) for row in rows] == [
        (question.prompt, list(question.options), question.answer) for question in asked
    ]
    assert {tuple(row["choices"]) for row in rows} == {(" A", " B", " C", " D")}
    assert made.questions["questions"] == len(rows) == 36
    before = ran.results["tasks"]["ner"]["before"]["acc"]
    assert made.questions["accuracies"]["unedited"] == before
    assert set(made.questions["accuracies"]) == {"unedited", "ace enhance", "ace degrade"}
    assert made.edit is None


def test_the_command(ran, tmp_path, monkeypatch, capsys):
    """What to run, and what it should print."""
    words = ["export", str(ran.path), "--task", "ner", "--format", "lm-eval", "--out", str(tmp_path / "x")]
    monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    out = capsys.readouterr().out
    assert "lm-eval of ner: 36 questions of the evaluation set" in out
    assert f"cd {tmp_path / 'x'} && lm_eval --model hf --model_args pretrained={demo.directory()},dtype=float32" in out
    assert "--tasks neuron_antagonism_ner --include_path ." in out
    assert "unedited " in out


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"form": "words"}, "asks in words, of which it compares first tokens and lm-eval whole options; accepted"),
        ({"quantize": "8bit"}, r"quantizes its weights \(8bit\), which lm-eval's command line can't ask for; accepted"),
        ({"chat_template": True}, "puts its prompts into a chat template, which lm-eval fills in its own way"),
    ],
)
def test_runs_that_lm_eval_would_ask_otherwise(ran, tmp_path, changed, said):
    with pytest.raises(na.UsageError, match=said):
        na.export(as_if(ran, **changed), format="lm-eval", task="ner", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_command_loads_the_model_alike(ran, tmp_path):
    """A spread over devices and an adapter are asked for again; trust in its code where it is given now."""
    other = as_if(ran, trust_remote_code=True, device_map="auto", adapter="me/adapter", revision=None)
    for trust, said in ((False, ""), (True, "trust_remote_code=True,")):
        made = na.export(other, format="lm-eval", task="ner", out=tmp_path / str(trust), trust_remote_code=trust)
        assert f",dtype=float32,peft=me/adapter,{said}parallelize=True --tasks" in made.questions["command"]


def test_the_command_is_for_the_directory_of_the_questions(ran, tmp_path, monkeypatch):
    """It is carried out there: a model's directory, and an adapter's, are named by their whole paths."""
    monkeypatch.chdir(tmp_path)
    for name in ("base", "adapter"):
        Path(name).mkdir()
    command = na.export(as_if(ran, model="base", adapter="adapter"), format="lm-eval", task="ner", out="x").questions
    assert f"pretrained={tmp_path / 'base'},dtype=float32,peft={tmp_path / 'adapter'} --tasks" in command["command"]
    made = na.export(as_if(ran, model="me/base", adapter="me/adapter"), format="lm-eval", task="ner", out="y").questions
    assert "pretrained=me/base,dtype=float32,peft=me/adapter --tasks" in made["command"]


def test_names_that_would_say_more_than_a_name(ran, tmp_path):
    """A run may be somebody else's: a comma starts no argument, a line break no line of the task."""
    other = as_if(ran, model="me/base,trust_remote_code=True")
    with pytest.raises(na.UsageError, match=r"pretrained is 'me/base,trust_.* a comma .*accepted by lm-eval: names"):
        na.export(other, format="lm-eval", task="ner", out=tmp_path / "x")
    plain, odd = (
        na.export(as_if(ran, model=name), format="lm-eval", task="ner", out=tmp_path / str(len(name))).path
        for name in ("me/base", "me/base\nprocess_docs: x\u2028process_results: y")
    )
    tasks = [yaml.safe_load((folder / "neuron_antagonism_ner.yaml").read_text("utf-8")) for folder in (plain, odd)]
    assert tasks[0] == tasks[1]


def test_wrong_choices(ran, tmp_path):
    """An edit has no questions; which of a run's edits is meant is no question here; a task must be chosen."""
    edit = na.edit(na.NeuronSet.of([(0, 1)]), "silence", positions="all")
    for what, given, said in (
        (edit, {}, "holds no questions; accepted by lm-eval: a run's result or directory"),
        (ran, {"task": "ner", "scorer": "ace", "mode": "enhance"}, "scorer, mode: choices among edits"),
        (ran, {}, "the run has 2 tasks and none was chosen; accepted: ner, sentiment"),
    ):
        with pytest.raises(na.UsageError, match=said):
            na.export(what, format="lm-eval", out=tmp_path / "x", **given)
    unread = replace(ran)
    unread.readings = {"ner": {}}
    with pytest.raises(na.UsageError, match="does not say where the answer to a prompt that ends with"):
        na.export(unread, format="lm-eval", task="ner", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()
