"""The scorer `neurons` and `run --neurons`: somebody's published neurons, without attribution."""

from __future__ import annotations

import json
import sys

import pytest
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.cli.app import main

one_thread = tiny.one_thread


def scored(path, **options):
    asked = [tiny.question(9), tiny.question(12)]
    return na.attribute(tiny.shared("llama"), asked, "neurons", options={"file": str(path), **options}, budget=5)


def test_roles_scores_and_places(tmp_path):
    """Scores carry the role's sign; rows without a score are scored by their place; the rest is 0."""
    file = tmp_path / "n.csv"
    file.write_text("layer,neuron,role,score\n1,17,good,0.9\n2,3,bad,0.5\n0,20,bad,\n")
    a = scored(file)
    assert a.scores[1, 17] == pytest.approx(0.9)
    assert a.scores[2, 3] == pytest.approx(-0.5)
    assert a.scores[0, 20] == pytest.approx(-0.5)  # third of three: 1 - 2/4
    assert int((a.scores != 0).sum()) == 3
    assert list(a.good(1)) == [(1, 17)]
    assert a.engine == ""


def test_a_saved_set_is_read(tmp_path):
    """What NeuronSet.save wrote, as CSV or JSON, comes back; without bad neurons there is no bad role."""
    chosen = na.NeuronSet(torch.tensor([1, 0]), torch.tensor([4, 2]), torch.tensor([0.5, 0.25]))
    for name in ("n.csv", "n.json"):
        chosen.save(tmp_path / name)
        a = scored(tmp_path / name)
        assert a.roles == ("good",)
        assert list(a.good(2)) == [(1, 4), (0, 2)]


def test_a_runs_neurons_are_read_by_task_and_scorer(tmp_path):
    """Of a run's neurons.csv one task and one scorer are taken; a choice left open lists what there is."""
    file = tmp_path / "neurons.csv"
    rows = ["ner,ace,good,1,0,3,0.5", "ner,tn,good,1,1,3,0.5", "chunking,ace,bad,1,2,3,-0.5"]
    file.write_text("\n".join(["task,scorer,role,rank,layer,neuron,score", *rows]) + "\n")
    assert scored(file, task="chunking").scores[2, 3] == -0.5
    assert scored(file, task="ner", scorer="tn").scores[1, 3] == 0.5
    file.write_text("\n".join(["task,layer,neuron,role", "ner,0,3,good"]) + "\n")
    with pytest.warns(na.AntagonismWarning, match="holds neurons of the task 'ner'; they stand for whatever task"):
        scored(file)
    file.write_text("\n".join(["task,scorer,role,rank,layer,neuron,score", *rows]) + "\n")
    with pytest.raises(na.DataError, match=r"has several tasks; accepted: -o neurons.task= one of chunking, ner"):
        scored(file)
    with pytest.raises(na.DataError, match=r"has several scorers; accepted: -o neurons.scorer= one of ace, tn"):
        scored(file, task="ner")
    with pytest.raises(na.DataError, match=r"has no task 'nre'; accepted: -o neurons.task= one of chunking, ner"):
        scored(file, task="nre")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an empty file"),
        ("layer,neuron,score\n", "holds no neurons"),
        (
            "layer,neuron,score\n1,x,0.5\n",
            "line 2: invalid literal for int() with base 10: 'x' is missing or no number",
        ),
        ("layer,neuron,role\n1,2,good\n1,2,bad\n", "line 3: neuron 1.2 stands there twice"),
        ("layer,neuron,role\n1,2,ugly\n", "line 2: found 'ugly'; accepted: the role good or bad"),
        ("layer,neuron\n1,2\n", "a role, or a score whose sign tells it"),
        ("layer,neuron,score\n1,2,0\n", "a score other than 0"),
        ("layer,neuron,score\n1,2,nan\n", "line 2: found"),
        ("layer,neuron,score\n1,2,1e300\n", "line 2: found 1e+300; accepted: CSV or JSON rows of layer, neuron, and"),
        ("layer,neuron,score\n1,2,-1e-300\n", "line 2: found -1e-300; accepted: CSV or JSON rows of layer, neuron,"),
        ("layer,neuron,role\n1.7,2,good\n", "line 2: invalid literal for int() with base 10: '1.7'"),
        ("layer,neuron,score\n-1,2,3\n", "line 2: '-1' is missing or no number"),
        ("layer,neuron,score\n3,2,3\n", "neuron 3.2 does not exist in this model; accepted: layers 0 to 2"),
    ],
)
def test_what_is_refused(text, said, tmp_path):
    """A malformed file is one line that names it, or the neuron that is not there."""
    file = tmp_path / "n.csv"
    file.write_text(text)
    with pytest.raises(na.DataError) as caught:
        scored(file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_missing_one(tmp_path):
    """Without a file, and with one that is not there, the line says what to give."""
    with pytest.raises(na.UsageError, match=r"scorer 'neurons' has no file; accepted: -o neurons.file=PATH"):
        na.attribute(tiny.shared("llama"), [tiny.question(9)], "neurons", budget=5)
    with pytest.raises(
        na.DataError, match=r"no.csv: No such file or directory; accepted: a CSV or JSON file of neurons"
    ):
        scored(tmp_path / "no.csv")


def test_run_with_published_neurons(tmp_path, monkeypatch, capsys):
    """`run --neurons` sweeps the planted neurons like any scorer's, beside RANDOM, and they steer the model."""
    model = na.load_model("demo")
    rows = [f"{layer},{neuron},{role}" for role in ("good", "bad") for layer, neuron in model.planted[role]]
    file = tmp_path / "planted.csv"
    file.write_text("\n".join(["layer,neuron,role", *rows]) + "\n")
    sizes = ["--identify", "1", "--select", "8", "--evaluate", "8", "--budget", "40"]
    words = ["run", "--task", "ner", "--neurons", str(file), *sizes, "--out", str(tmp_path / "r"), "--quiet", "--json"]
    monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["results"]["tasks"]["ner"]["attribution"]) == {"neurons", "random"}
    cells = {c["mode"]: c for c in found["results"]["tasks"]["ner"]["cells"]["held-out"] if c["scorer"] == "neurons"}
    assert cells["enhance"]["rac"] > 50
    assert cells["degrade"]["rac"] > 50


def test_a_changed_file_is_another_key(tmp_path):
    """What a run stores depends on the file's content, not on its name alone."""
    from neuron_antagonism.plugin.manager import registry
    from neuron_antagonism.runs.keys import identity

    file = tmp_path / "n.csv"
    file.write_text("layer,neuron,role\n1,2,good\n")
    first = identity(registry().make(na.Scorer, "neurons", {"file": str(file)}))
    file.write_text("layer,neuron,role\n1,3,good\n")
    assert identity(registry().make(na.Scorer, "neurons", {"file": str(file)})) != first
