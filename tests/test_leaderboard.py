"""A leaderboard: every scorer by every judge, in one call; what is there is not computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from directories import made, units

import neuron_antagonism as na
from neuron_antagonism.engine.replay import CopiesEngine
from neuron_antagonism.metrics import judges
from neuron_antagonism.parts.judging.bench import Bench
from neuron_antagonism.parts.judging.every import EVERY
from neuron_antagonism.parts.leaderboard import LeaderboardRows
from neuron_antagonism.parts.specs import JUDGES, Classes, Judging
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.job import Job, ModelSource, TaskSource
from neuron_antagonism.units.scores import draws_of

one_thread = tiny.one_thread

SMALL: dict[str, Any] = {
    "tasks": ["sentiment"],
    "identify": 2,
    "evaluate": 6,
    "truth": 4,
    "draws": 2,
    "matched": 2,
    "budget": 6,
    "n": 3,
    "progress": False,
}
SCORERS = ["ace", "act", "random", "grad-x-act", "ablation"]
COLUMNS = ["model", "task", "seed", "scorer", "judge", "value", "low", "high"]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.load("llama", torch.float32)


@pytest.fixture(scope="module")
def board(model: Any, tmp_path_factory: pytest.TempPathFactory) -> na.Leaderboard:
    """Five scorers by every judge."""
    return na.leaderboard(model, scorers=SCORERS, out=tmp_path_factory.mktemp("boards") / "board", **SMALL)


def of(frame: pd.DataFrame, scorer: str, judge: str) -> pd.Series[Any]:
    (found,) = (row for _, row in frame[(frame.scorer == scorer) & (frame.judge == judge)].iterrows())
    return found


def test_the_frame_is_tidy(board):
    """One row a figure, the same for every scorer that has both roles; ends around their value."""
    frame = board.frame
    assert list(frame.columns) == COLUMNS
    assert set(frame.scorer) == {*SCORERS, "ceiling"}
    assert not frame.duplicated(["task", "seed", "scorer", "judge"]).any()
    asked = {judge.partition(".")[0].removesuffix("-absolute") for judge in frame.judge}
    # nothing is planted in this model
    assert asked == set(JUDGES) - {"planted"}
    of_ace, of_act = (set(frame[frame.scorer == name].judge) for name in ("ace", "act"))
    assert of_ace - of_act == {
        *("dose.bad-slope", "dose.bad-monotonicity", "interaction.enhance", "interaction.degrade"),
        *(f"dose.bad@{scale:g}" for scale in judges.SCALES),
        *("stability.bad-jaccard", "stability.role-changes"),
    }
    there = frame.dropna(subset=["low", "high"])
    assert len(there) > 100
    assert ((there.low <= there.value) & (there.value <= there.high)).all()
    assert board.table.shape == (len(of_ace), len(SCORERS) + 1)


def test_agreement_is_with_held_out_ablation(board, model):
    """Figures equal those of exact effects that are computed here, on the first held-out examples."""
    task = na.load_task("sentiment")
    split = task.split(2, 0, 6, seed=0, fits=model)
    truth = na.ablate(model, split.evaluate[:4], "log-odds").effects.float().numpy()
    scores = na.attribute(model, split.identify, "grad-x-act", budget=6).scores.numpy()
    expected = judges.agreement(scores, truth.astype(np.float64).mean(0))
    for figure, value in expected.items():
        assert of(board.frame, "grad-x-act", f"agreement.{figure}").value == pytest.approx(value, abs=1e-6)
    texts = np.array([example.unit for example in split.evaluate[:4] for _ in example.proxies])
    for figure, value in judges.split_half(truth, texts).items():
        assert of(board.frame, "ceiling", f"agreement.{figure}").value == pytest.approx(value, abs=1e-6)


def test_faithfulness_is_that_of_the_function(board, model):
    """CPR and CMD equal what `na.faithfulness` gives."""
    split = na.load_task("sentiment").split(2, 0, 6, seed=0, fits=model)
    found = na.faithfulness(
        model, split.evaluate, na.attribute(model, split.identify, "act", budget=6), baseline="counterfactual"
    )
    for name in ("cpr", "cmd"):
        value = of(board.frame, "act", f"faithfulness.{name}").value
        # asked in batches of other sizes: how far they round apart, 1.2e-5 at most so far, hangs on the machine
        assert value == pytest.approx(getattr(found, name), rel=1e-4, nan_ok=True)


@pytest.mark.parametrize(("ranking", "label"), [("signed", "faithfulness"), ("absolute", "faithfulness-absolute")])
def test_every_point_of_the_faithfulness_curve(board, model, ranking, label):
    """Each of the ten shares has its figures, those that `na.faithfulness` gives, with their intervals."""
    split = na.load_task("sentiment").split(2, 0, 6, seed=0, fits=model)
    scores = na.attribute(model, split.identify, "grad-x-act", budget=6)
    found = na.faithfulness(model, split.evaluate, scores, baseline="counterfactual", ranking=ranking)
    names = {0.001: "0.1%", 0.002: "0.2%", 0.005: "0.5%", 0.01: "1%", 0.02: "2%", 0.05: "5%", 0.1: "10%", 0.2: "20%"}
    assert tuple(names | {0.5: "50%", 1.0: "100%"}) == judges.SHARES
    for i, name in enumerate([*names.values(), "50%", "100%"]):
        for figure in ("f", "completeness", "comprehensiveness"):
            row = of(board.frame, "grad-x-act", f"{label}.{figure}@{name}")
            assert row.value == pytest.approx(getattr(found, figure)[i], abs=1e-4)
            # a ratio has no bounds where the model does no better than its baseline on some draws
            assert row.low <= row.value <= row.high or (figure != "comprehensiveness" and np.isnan(row.low))
    assert of(board.frame, "grad-x-act", f"{label}.f@100%").value == 1.0


def test_every_point_of_the_dose_response(board, model):
    """The mean change of the right letter's log-odds when good, or bad, neurons are multiplied, by plain hooks."""
    split = na.load_task("sentiment").split(2, 0, 6, seed=0, fits=model)
    a = na.attribute(model, split.identify, "ace", budget=6)

    def odds(neurons: na.NeuronSet, factor: float) -> float:
        own = {layer: [n for one, n in neurons if one == layer] for layer in range(model.n_layers)}

        def scaled(values: torch.Tensor, layer: int) -> torch.Tensor:
            values = values.clone()
            values[:, -1, own[layer]] *= factor
            return values

        found = []
        for question in (q for example in split.evaluate for q in example.proxies):
            encoded = model.encode(question)
            with model.writing(list(own), scaled):
                logits = model.last_logits([encoded.ids])[0].double()
            p = logits[list(encoded.letters)].softmax(0)[question.answer]
            found.append(float(p.log() - torch.log1p(-p)))
        return sum(found) / len(found)

    for role, neurons in (("good", a.good(6)), ("bad", a.bad(6))):
        before = odds(neurons, 1.0)
        for scale in judges.SCALES:
            row = of(board.frame, "ace", f"dose.{role}@{scale:g}")
            assert row.value == pytest.approx(odds(neurons, scale) - before, abs=1e-5)
            assert row.low <= row.value <= row.high
        # the slope is that of the line through these points
        x, y = np.array(judges.SCALES) - 1, [of(board.frame, "ace", f"dose.{role}@{s:g}").value for s in judges.SCALES]
        assert of(board.frame, "ace", f"dose.{role}-slope").value == pytest.approx(float(x @ y / (x @ x)), abs=1e-6)


def test_control_is_the_change_under_the_papers_edit(board, model):
    """Mean change of log-odds under the enhancer at ratio 0.5."""
    split = na.load_task("sentiment").split(2, 0, 6, seed=0, fits=model)
    a = na.attribute(model, split.identify, "ace", budget=6)
    edit = na.enhancer(a.good(6), a.bad(6), budget=6, ratio=0.5)
    before, after = na.evaluate_many(model, split.evaluate, [None, edit])
    odds = [
        one.log_probabilities.gather(1, one.answers[:, None])[:, 0] - torch.log1p(-(-one.cross_entropy).exp())
        for one in (before, after)
    ]
    assert of(board.frame, "ace", "control.enhance").value == pytest.approx(float((odds[1] - odds[0]).mean()), abs=1e-5)
    points = 100 * (after.acc - before.acc)
    assert of(board.frame, "ace", "control.enhance-accuracy").value == pytest.approx(points)


def test_draws_differ_and_cost_is_counted(board):
    """Random neurons of two draws hardly meet; a gradient of all layers takes fewer tokens than one of each layer."""
    frame = board.frame
    assert of(frame, "random", "stability.good-jaccard").value < 0.5
    assert (frame[frame.judge == "control.neurons"].value == 6).all()
    assert of(frame, "act", "cost.tokens").value < of(frame, "grad-x-act", "cost.tokens").value
    assert of(frame, "grad-x-act", "cost.tokens").value < of(frame, "ace", "cost.tokens").value
    assert of(frame, "ace", "cost.tokens").value < of(frame, "ablation", "cost.tokens").value


def test_random_neurons_are_each_tasks_own(model):
    """A scorer that draws has another seed for every task, that of a run; one that is given stays."""
    asked: dict[str, Any] = {"part": "judging", "name": "board", "scorers": ["random", "act"]}
    classes, source = Classes("letters", 2, 2, 2, None, "post"), ModelSource.of(model, {})
    jobs = [Job(source, TaskSource.of(name, 0), 0) for name in ("sentiment", "ner")]

    def seeds(**more: Any) -> list[int]:
        part = LeaderboardRows(Judging(**asked, **more), classes, ())
        return [part.scorers(job)["random"].options.seed for job in jobs]

    as_run = [draws_of(registry().make(na.Scorer, "random"), job, 1)[0].options.seed for job in jobs]
    assert seeds() == as_run
    assert len(set(as_run)) == 2
    assert seeds(options={"random": {"seed": 7}}) == [7, 7]


def test_another_scorer_computes_its_own_alone(board, model, tmp_path, monkeypatch):
    """Of what is there nothing is made again: neither the truth nor the others' figures."""
    out = board.result.path
    before = units(out)
    calls = []
    real = CopiesEngine.integrated_gradients
    monkeypatch.setattr(
        CopiesEngine, "integrated_gradients", lambda *args, **given: calls.append(args[3]) or real(*args, **given)
    )
    more = na.leaderboard(model, scorers=[*SCORERS, "tn"], out=out, **SMALL)
    new = made(out, before)
    assert {name for name in new if ".tn" not in name} == set()
    assert {f"judged/sentiment.tn.{judge}" for judge in JUDGES} <= new
    assert {target.name for targets in calls for target in targets} == {"contrast"}
    ours = more.frame[more.frame.scorer != "tn"].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        ours.sort_values(["scorer", "judge"], ignore_index=True),
        board.frame.sort_values(["scorer", "judge"], ignore_index=True),
    )


def test_judges_and_seeds_can_be_chosen(model):
    """Only what is asked for is there; a seed chooses other examples."""
    board = na.leaderboard(model, scorers=["act"], judges=["control"], seeds=[0, 1], **SMALL)
    assert set(board.frame.judge.str.partition(".")[0]) == {"control"}
    assert set(board.frame.seed) == {0, 1}
    one, other = (board.frame[board.frame.seed == seed].value.tolist() for seed in (0, 1))
    assert one != other


OWN = """
data: DATA
columns: {text: q, answer: label}
labels: [red, green, blue, grey]
stems: "{text}"
"""


def own_task(path: Path, rows: int, train: int = 0) -> str:
    """A task of so many rows, with a training part or without."""
    (path / "own.yaml").write_text(OWN.replace("DATA", "{test: rows.csv, train: train.csv}" if train else "rows.csv"))
    lines = [f"w{n % 30} w{n // 30} w{n % 7},{('red', 'green', 'blue', 'grey')[n % 4]}" for n in range(rows + train)]
    for name, own in (("rows.csv", lines[:rows]), ("train.csv", lines[rows:])):
        (path / name).write_text("\n".join(["q,label", *own]) + "\n")
    return str(path / "own.yaml")


def test_draws_share_no_text_with_what_is_evaluated(model, tmp_path, monkeypatch):
    """Of data without a training part neither; where it is too little for all draws, a hole says so."""
    seen: list[Bench] = []
    real = EVERY["stability"].measure
    monkeypatch.setattr(EVERY["stability"], "measure", lambda self, at: seen.append(at) or real(self, at))
    given = {**SMALL, "tasks": [own_task(tmp_path, 40)], "draws": 4}
    board = na.leaderboard(model, scorers=["act"], judges=["stability"], **given)
    (at,) = seen
    assert len(at.more) == 8
    assert at.identify == at.more[:2]
    assert not {e.unit for e in at.more} & {e.unit for e in at.evaluate}
    assert of(board.frame, "act", "stability.good-jaccard").value >= 0
    given["tasks"] = [own_task(tmp_path, 40, train=7)]
    few = na.leaderboard(model, scorers=["act"], judges=["stability"], **given)
    assert np.isnan(of(few.frame, "act", "stability.good-jaccard").value)
    assert any("identification examples are left of 8" in note for note in few.result.notes)


def test_parts_do_not_influence_each_other(model, tmp_path):
    """Two parts of one suite with other examples give what each gives alone."""
    part = {"part": "judging", "scorers": ["act"], "judges": ["control"], "evaluate": 4, "truth": 2, "budget": 6}
    parts = [{**part, "name": f"p{n}", "identify": n, "matched": 2} for n in (1, 6)]

    def rows(own: list[dict[str, Any]]) -> dict[str, Any]:
        suite = na.Suite.of({"name": "s", "tasks": ["sentiment"], "parts": own}, "s")
        return dict(na.bench(suite, model).parts)

    together = rows(parts)
    assert together == {**rows(parts[:1]), **rows(parts[1:])}


class Mute(na.Scorer):
    """Scores nothing, or can't."""

    name = "act"
    target = None
    roles = ("good",)
    refuses = False

    class Options(na.Options):
        """None."""

    def aggregate(self, example_scores, question_scores):
        if self.refuses:
            raise na.DataError("these examples can't be scored; accepted: others")
        return question_scores.sum(0) * 0


@pytest.mark.parametrize("refuses", [False, True])
def test_a_scorer_without_scores_leaves_a_hole_of_its_own(refuses, model, monkeypatch):
    """Nothing is measured of what is no ranking of its own, and the others are judged; a note says why."""
    from neuron_antagonism.parts import specs

    chosen = specs.Judging.chosen
    mute = type("Mute", (Mute,), {"refuses": refuses})()
    monkeypatch.setattr(
        specs.Judging, "chosen", lambda self: tuple(mute if one.name == "act" else one for one in chosen(self))
    )
    board = na.leaderboard(model, scorers=["act", "grad-x-act"], **SMALL)
    own = board.frame[(board.frame.scorer == "act") & ~board.frame.judge.isin(["control.neurons"])]
    measured = own[~own.judge.str.startswith(("cost.", "stability."))]
    assert measured.value.isna().all()
    said = "no scores: these examples can't be scored" if refuses else "act, control.neurons: no neuron has a score"
    assert any(said in note for note in board.result.notes), board.result.notes
    assert of(board.frame, "grad-x-act", "agreement.spearman").value > -1


def test_every_judge_of_the_spec_is_there():
    """What can be asked for can be measured."""
    assert tuple(EVERY) == JUDGES
    assert all(judge.__doc__ for judge in EVERY.values())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"judges": ["agrement"]}, "unknown judge 'agrement'; did you mean 'agreement'"),
        ({"scorers": ["aze"]}, "unknown scorer 'aze'; did you mean 'ace'"),
        ({"target": "log-ods"}, "unknown target 'log-ods'; did you mean 'log-odds'"),
        ({"scorers": ["ace", "ace"]}, "scorers are named twice"),
        ({"scorers": "ace"}, "scorers are 'ace'; accepted: a list of registered names"),
        ({"options": {"ace": {}, "tn": {}}}, "options are given for unknown scorer 'tn'"),
        ({"name": "zzz"}, "leaderboard has no field 'name'; accepted: baseline, "),
        ({"scorers": ["grad-x-act"], "options": {"grad-x-act": {"target": "foo"}}}, "unknown target 'foo'"),
        ({"options": {"tn": {}}}, "options are given for unknown scorer 'tn'"),
        ({"bugdet": 3}, "leaderboard has no field 'bugdet'; accepted: "),
        ({"truth": 100}, "truth is 100 of 6 held-out examples; accepted: at most as many"),
        ({"budget": 10**6}, "budget=1000000 neurons; accepted: 1 to 72"),
        ({"n": 10**6}, "n is 1000000; accepted: 1 to "),
        ({"rest": "median"}, "rest"),
    ],
)
def test_what_is_refused(given, said, model, tmp_path):
    """One line says what is accepted, before anything is created."""
    with pytest.raises(na.AntagonismError, match=said) as told:
        na.leaderboard(model, out=tmp_path / "out", **{"scorers": ["ace"], **SMALL, **given})
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_the_suite_from_the_command_line(checkpoint, tmp_path, monkeypatch, capsys):
    """`bench --suite` shows a table a task within 80 columns, and a legend; the figures stand in a file."""
    import sys

    from neuron_antagonism.cli.app import main

    (tmp_path / "small.yaml").write_text(
        "name: small\ntasks: [sentiment]\nparts:\n  - {part: judging, name: board, scorers: [ace, act], identify: 2, "
        "evaluate: 4, truth: 2, draws: 2, matched: 1, budget: 6, n: 3}\n"
    )
    words = ["bench", "--suite", str(tmp_path / "small.yaml"), "--model", str(checkpoint), "--out", str(tmp_path / "o")]
    monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *words, "--quiet"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    shown = capsys.readouterr().out
    assert "sentiment, board: 4 held-out examples, target log-odds" in shown
    assert "(ceiling)" in shown
    assert (tmp_path / "o" / "board.csv").is_file()
    table = shown.partition("\nTruth:")[0]
    assert max(map(len, table.splitlines())) <= 100


def test_paths_are_where_they_were_asked_for(board):
    """The directory holds the figures of every part."""
    assert isinstance(board.result.path, Path)
    assert (board.result.path / "leaderboard.csv").is_file()
