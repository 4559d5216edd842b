"""What the embedded demonstration promises: a real effect whose truth is known."""

from __future__ import annotations

from pathlib import Path

import pytest

import neuron_antagonism as na
from neuron_antagonism import demo
from neuron_antagonism.runs.config import DEFAULT_SCORERS, DEFAULT_TASKS

SHIPPED_LIMIT = 10_000_000


def cell(results, task, scorer, mode):
    return next(c for c in results["tasks"][task]["cells"]["held-out"] if (c["scorer"], c["mode"]) == (scorer, mode))


def test_ace_steers_at_least_three_of_four_tasks(default_run):
    """Held out, ACE's enhancer raises accuracy by 30 points and its degrader brings it to 35 % on three tasks."""
    up = [cell(default_run.results, task, "ace", "enhance")["acc_difference"] >= 30 for task in DEFAULT_TASKS]
    down = [cell(default_run.results, task, "ace", "degrade")["acc_after"] <= 0.35 for task in DEFAULT_TASKS]
    assert sum(up) >= 3
    assert sum(down) >= 3


def test_precision_against_the_planted_neurons_is_there_for_every_scorer(default_run):
    """Every scorer has a precision; the gradient scorers find more planted neurons than chance does."""
    for task in DEFAULT_TASKS:
        planted = default_run.results["tasks"][task]["planted"]
        assert set(planted) == {*DEFAULT_SCORERS, "ablation"}
        assert planted["ace"]["good"] > planted["random"]["good"]
        assert planted["ace"]["bad"] > planted["random"]["bad"]
        assert planted["act"]["bad"] is None


def test_results_hold_the_protocol_and_the_whole_sweep(default_run):
    """results.json holds the protocol that was asked for, and counts for 25 neuron sets in both directions."""
    found = default_run.results["tasks"]["ner"]
    assert set(found["cells"]) == {"held-out"}
    # 4 scorers with bad neurons at 11 ratios, then at the chosen one; 20 draws at 3; ACT at one ratio
    per_mode = 4 * (11 + 1) + 20 * (3 + 1) + 1
    assert len(found["sweep"]) == 2 * per_mode
    assert {row["scorer"] for row in found["at_all"]} == set(DEFAULT_SCORERS) - {"random"}


def test_the_manifest_says_what_was_run(default_run):
    """Versions, hashes, seed, engine with its reason, letters and timings are recorded."""
    manifest = default_run.manifest
    assert manifest["finished"]
    assert manifest["version"] == na.__version__
    assert manifest["engine"]["name"] == "replay"
    assert manifest["config"]["seed"] == 0
    assert manifest["letters"][0]["suffix"] == ""
    assert all(len(entry["sha256"]) == 64 for entry in manifest["data"].values())


def test_the_checkpoint_is_small():
    """The embedded model stays under 10 MB."""
    assert sum(file.stat().st_size for file in demo.directory().iterdir()) < SHIPPED_LIMIT


@pytest.mark.parametrize("task", DEFAULT_TASKS)
def test_each_embedded_sample_holds_enough_examples(task):
    """At least 200 examples a task, in both parts, whose prompts are inside the model's vocabulary and context."""
    test, train = na.load_task(task).items()
    assert len({item.key for item in test}) >= 200
    assert len({item.key for item in train}) >= 200
    assert not {item.key for item in test} & {item.key for item in train}
    model = na.load_model("demo")
    unknown = model.tokenizer.unk_token_id
    split = na.load_task(task).split(identify=5, select=0, evaluate=8)
    for example in [*split.identify, *split.evaluate]:
        for question in example.proxies:
            assert unknown not in model.encode(question).ids
            assert len(model.encode(question).letters) == 4


def test_planted_neurons_really_act(default_run):
    """Silencing the planted good neurons brings accuracy down to chance; silencing the bad ones raises it."""
    model = na.load_model("demo")
    assert model.planted is not None
    examples = na.load_run(default_run.path).splits["commonsense"].evaluate
    before, good, bad = na.evaluate_many(
        model, examples, [None, na.edit(model.planted["good"], "silence"), na.edit(model.planted["bad"], "silence")]
    )
    assert good.acc <= 0.35
    assert bad.acc > before.acc + 0.15


def test_the_model_card_names_its_command():
    """The card says how the checkpoint was made, and the script that it names is there."""
    card = (demo.directory() / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "benchmarks/demo_model/train.py" in card
    assert (Path(__file__).parents[1] / "benchmarks" / "demo_model" / "train.py").is_file()
