"""What a run may claim: natural levels, chance, net and side effects; of a model at chance, nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from typer.testing import CliRunner

import neuron_antagonism as na
from neuron_antagonism.cli.app import app
from neuron_antagonism.metrics.natural import Natural
from neuron_antagonism.model.exact import exact_letters
from neuron_antagonism.report.run_notes import notes

one_thread = tiny.one_thread

SMALL: dict[str, Any] = {
    "tasks": ["sentiment", "commonsense"],
    "scorers": ["ace", "act", "random"],
    "identify": 2,
    "select": 4,
    "evaluate": 6,
    "budget": 6,
    "random_draws": 3,
}


@pytest.fixture(scope="module")
def guessing() -> na.RunResult:
    """A run of a random model, which knows nothing of the tasks."""
    return na.run(tiny.shared("llama", torch.float32), **SMALL)


@pytest.fixture(scope="module")
def demo() -> Any:
    return na.load_model("demo")


def test_natural_levels_are_of_all_that_was_read(demo):
    """π, Acc and Com on every example that was read for the evaluation set, not only on those that were kept."""
    split = na.load_task("ner").split(identify=2, select=4, evaluate=12, seed=1, reference=demo)
    natural = split.natural
    assert natural.read >= len(split.evaluate) == 12
    assert natural.counts == (round(natural.understood * natural.read), natural.read)
    assert natural.com == natural.understood
    assert {example.understood for example in split.evaluate} == {True, False}
    outcomes = na.evaluate(demo, split.evaluate).outcomes
    assert outcomes.strata.tolist() == [example.understood for example in split.evaluate]
    # what was kept is among what was read
    assert outcomes.n_right <= sum(natural.right)
    (low, high), _ = natural.intervals()
    assert low < natural.acc < high


def test_what_was_read_is_saved_with_the_split(demo, tmp_path):
    split = na.load_task("sentiment").split(identify=1, select=2, evaluate=4, reference=demo)
    split.save(tmp_path / "split.jsonl")
    loaded = na.Split.load(tmp_path / "split.jsonl")
    assert loaded.natural == split.natural
    assert loaded.strata == split.strata
    assert loaded.evaluate == split.evaluate


def test_an_unstratified_split_knows_no_strata():
    """Examples as they come: nothing is drawn by outcome, and nothing is said of what a model understands."""
    split = na.load_task("sentiment").split(identify=1, select=2, evaluate=4)
    assert {example.understood for example in split.evaluate} == {None}
    assert (split.natural.read, split.natural.acc, split.natural.counts) == (0, None, None)
    assert set(split.natural.blind) == {"medoid", "longest", "frequent"}


def test_chance_is_a_guess_or_the_best_blind_rule():
    """Com at chance by hand: three independent guesses, two or three right."""
    natural = Natural(right=[3, 0], proxies=[3, 3], units=[0, 1], blind={"longest": 0.2, "frequent": 0.4})
    assert natural.chance == 0.4
    assert natural.chance_com == pytest.approx(3 * 0.4**2 * 0.6 + 0.4**3)
    assert Natural(options=2).chance == 0.5


def test_a_model_at_chance_gets_no_verdict(guessing):
    """The table says so, and claims nothing: no Fail, no mark; the results say so too."""
    for found in guessing.results["tasks"].values():
        assert found["natural"]["above_chance"] is False
    shown = str(guessing.table)
    assert shown.count("NOT ABOVE CHANCE") == 2
    assert "Fail" not in shown
    assert " *" not in shown
    warned = [line for line in notes(guessing.results) if "not above chance" in line]
    assert [line.split(":")[1].strip() for line in warned] == SMALL["tasks"]


def test_a_strong_model_is_above_chance(default_run):
    """The demonstration is, on all four tasks; what it is measured against stands beside it."""
    for found in default_run.results["tasks"].values():
        natural = found["natural"]
        assert natural["above_chance"] is True
        assert natural["acc_interval"][0] > natural["chance_acc"] >= 1 / natural["options"]
        assert set(natural["blind"]) == {"medoid", "longest", "frequent"}
    assert "by construction 24 understood by demo and 24 not" in default_run.stdout
    assert "as examples come" in default_run.stdout


def test_every_effect_stands_beside_randoms_mean(guessing):
    """Net effects of every scorer that doesn't draw: points against the draws' mean, p by rank among the draws."""
    for found in guessing.results["tasks"].values():
        cells = {(c["scorer"], c["mode"]): c for c in found["cells"]["held-out"]}
        assert {(one["method"], one["mode"], one["metric"]) for one in found["net"]} == {
            (scorer, mode, metric)
            for scorer in ("ace", "act")
            for mode in ("enhance", "degrade")
            for metric in ("rac", "rcc")
        }
        for one in (one for one in found["net"] if one["metric"] == "rac"):
            s = 1 if one["mode"] == "enhance" else -1
            mine, drawn = cells[one["method"], one["mode"]], cells["random", one["mode"]]
            assert one["points"] == pytest.approx(100 * s * (mine["acc_after"] - drawn["acc_after"]))
            assert one["points_interval"][0] <= one["points"] <= one["points_interval"][1]
            better = sum(s * draw["right_after"] >= s * mine["right_after"] for draw in drawn["draws"])
            assert one["p_value"] == (1 + better) / (1 + SMALL["random_draws"])


def test_marks_are_corrected_over_the_whole_table(guessing):
    """One family: every comparison of every task, direction and metric."""
    every = [one for found in guessing.results["tasks"].values() for one in found["differences"]]
    p_values = [one["p_value"] for one in every]
    assert len(every) == 2 * 2 * 2 * 2
    smallest = min(range(len(every)), key=lambda i: p_values[i])
    assert every[smallest]["p_holm"] == pytest.approx(min(1, p_values[smallest] * len(every)))


def test_side_effects_are_there_for_every_edit(guessing):
    """One row a scorer and direction: answers, letters, other tasks, plain text."""
    for task, found in guessing.results["tasks"].items():
        rows = found["side_effects"]["rows"]
        assert [(row["scorer"], row["mode"]) for row in rows] == [
            (scorer, mode) for scorer in ("ace", "act") for mode in ("enhance", "degrade")
        ]
        for row in rows:
            assert 0 <= row["answers_changed"] <= 1
            assert sum(one["questions"] for one in row["by_letter"].values()) == found["before"]["questions"]
            assert set(row["other_tasks"]) == set(SMALL["tasks"]) - {task}
            assert row["kl"] >= 0
            assert row["perplexity_ratio"] > 0
            name = (row["scorer"], row["mode"])
            cell = next(c for c in found["cells"]["held-out"] if (c["scorer"], c["mode"]) == name)
            assert sum(one["right_after"] for one in row["by_letter"].values()) == cell["right_after"]
    assert "side effects" in str(guessing.table)


def test_side_effects_on_other_tasks_are_measured_there(guessing):
    """Points of accuracy that an edit costs or gains on examples of a task that it was not made for."""
    model, points = tiny.shared("llama", torch.float32), []
    for task, found in guessing.results["tasks"].items():
        for row in found["side_effects"]["rows"]:
            edit = guessing.edits[task][row["scorer"]][row["mode"]]
            for other, difference in row["other_tasks"].items():
                asked = guessing.splits[other].evaluate
                change = na.evaluate(model, asked, edit).acc - na.evaluate(model, asked).acc
                assert difference == pytest.approx(100 * change, abs=1e-9)
                points.append(difference)
    assert len(points) == 2 * 2 * 2
    assert any(points)


def test_no_interval_of_a_run_has_zero_width(default_run):
    """Not even where every answer is alike."""
    for found in default_run.results["tasks"].values():
        for cell in found["cells"]["held-out"]:
            for name in ("rac", "rcc", "acc_difference", "com_difference", "population_acc", "population_com"):
                low, high = cell[f"{name}_interval"]
                assert low < high


def test_an_unstratified_run(tmp_path):
    """From the command line: no half is understood by construction, and the population effect is the plain one."""
    out = tmp_path / "run"
    given = "run --task sentiment --scorer act --scorer random --unstratified --identify 1 --select 2 --evaluate 6"
    done = CliRunner().invoke(app, [*given.split(), "--budget", "5", "--out", str(out), "--quiet"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads((out / "results.json").read_text(encoding="utf-8"))["tasks"].values()
    assert found["split"]["reference"] == ""
    assert "by construction" not in done.output
    assert found["natural"]["acc"] == found["before"]["acc"]
    for cell in found["cells"]["held-out"]:
        assert cell["population_acc"] == pytest.approx(cell["acc_difference"])


def test_another_model_may_stratify(checkpoint):
    """`--reference`: its understanding divides the set, and the evaluated model's level is weighted by how it comes."""
    asked = {**SMALL, "tasks": ["sentiment"], "scorers": ["act"]}
    found = na.run("demo", reference=str(checkpoint), **asked).results["tasks"]["sentiment"]
    assert found["split"]["reference"] != "demo"
    assert 0 < found["natural"]["acc"] < 1
    with pytest.raises(na.UsageError, match="not stratified; accepted: one of the two"):
        na.run("demo", reference=str(checkpoint), stratified=False, **asked)


def test_letters_are_compared_in_float32(demo):
    """Of a bfloat16 model: no ties among letters that differ, and the other logits stay as they are."""
    coarse = na.load_model("demo", dtype="bfloat16")
    split = na.load_task("sentiment").split(identify=1, select=1, evaluate=40, fits=coarse)
    encoded = coarse.encode_all([q for e in split.evaluate for q in e.proxies])
    plain = torch.stack([coarse.last_logits([one.ids])[0] for one in encoded])
    letters = torch.tensor([one.letters for one in encoded])
    with exact_letters(coarse, letters.flatten().tolist()):
        exact = torch.stack([coarse.last_logits([one.ids])[0] for one in encoded])
    four = [logits.gather(1, letters).sort(dim=1, descending=True).values for logits in (plain, exact)]
    ties = [int((each[:, 0] == each[:, 1]).sum()) for each in four]
    assert ties[0] > ties[1] == 0
    assert na.evaluate(coarse, split.evaluate).ties == 0
    others = np.setdiff1d(np.arange(plain.shape[1]), letters.flatten().tolist())
    assert torch.equal(plain[:, others], exact[:, others])
    assert torch.equal(torch.stack([coarse.last_logits([one.ids])[0] for one in encoded]), plain)
    fine = na.load_model("demo")
    with exact_letters(fine, [1, 2]):
        assert torch.equal(fine.last_logits([encoded[0].ids]), demo.last_logits([encoded[0].ids]))
