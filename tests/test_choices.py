"""What the method's own choices do: each setting is what it says, compared with the standard on the same texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import tiny

import neuron_antagonism as na
from neuron_antagonism.parts.specs import CHOICES
from neuron_antagonism.report.boards import board, choices, choices_in_all, interval
from neuron_antagonism.suites.spec import Suite

one_thread = tiny.one_thread

PART = {
    "part": "choices",
    "name": "choices",
    "identify": 2,
    "evaluate": 6,
    "truth": 2,
    "budget": 40,
    "choices": {
        "ambiguous": ["drop", "keep"],
        "aggregation": ["own", "mean"],
        "target": ["letter-probability", "log-odds"],
        "steps": [1, 16],
        "examples": [1, 2, 3],
        "wordings": [1, 3],
        "letters": ["balanced", "one"],
        "order": ["rotated"],
        "site": ["up"],
        "positions": ["all"],
    },
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Iterator[na.BenchResult]:
    suite = Suite.of({"name": "own", "tasks": ["ner"], "parts": [PART]}, "own")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.AntagonismWarning)
        yield na.bench(suite, "demo", out=tmp_path_factory.mktemp("choices") / "out")


def figure(found: na.BenchResult, choice: str, setting: object, name: str) -> dict[str, Any]:
    rows = found.parts["choices"]
    (row,) = [r for r in rows if (r["choice"], r["setting"], r["figure"]) == (choice, str(setting), name)]
    return row


def test_the_default_setting_is_the_standard(measured):
    """A setting that is the default says what the standard says, and goes no way beyond it."""
    for choice, setting in (
        ("ambiguous", "drop"),
        ("aggregation", "own"),
        ("target", "letter-probability"),
        ("steps", 16),
        ("examples", 2),
        ("wordings", 3),
        ("letters", "balanced"),
    ):
        for name in ("enhance", "degrade", "spearman", "good@100", "same"):
            value = figure(measured, choice, setting, name)["value"]
            assert value == pytest.approx(figure(measured, "standard", "", name)["value"], abs=1e-5), (choice, name)
        beyond = figure(measured, choice, setting, "enhance-beyond")
        assert beyond["low"] == pytest.approx(0, abs=1e-5)
        assert beyond["high"] == pytest.approx(0, abs=1e-5)


def test_settings_by_the_public_functions(measured):
    """A setting's agreement and overlap are what attribution and exact ablation with it give."""
    model, task = na.load_model("demo"), na.load_task("ner")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.AntagonismWarning)
        split = task.split(3, 0, 6, fits=model)
        truth = na.ablate(model, split.evaluate[:2], "log-odds").effects.mean(0).numpy()
        plain = na.attribute(model, split.identify[:2], "ace", budget=40)
        for choice, setting, how in (
            ("ambiguous", "keep", {"options": {"ambiguous": "keep"}}),
            ("steps", 1, {"steps": 1}),
            ("examples", 3, {}),
        ):
            count = setting if choice == "examples" else 2
            own = na.attribute(model, split.identify[:count], "ace", budget=40, **how)
            agreed = na.metrics.judges.agreement(own.scores.double().numpy(), truth)
            assert figure(measured, choice, setting, "spearman")["value"] == pytest.approx(agreed["spearman"], abs=1e-4)
            good, standard = set(own.good(40)), set(plain.good(40))
            same = len(good & standard) / len(good | standard)
            assert figure(measured, choice, setting, "same")["value"] == pytest.approx(same)


class PlainMean(na.Scorer):
    """Integrated gradients of the letter's probability, averaged."""

    name = "plain-mean"
    target = na.target_of("letter-probability")

    def aggregate(self, example_scores, question_scores):
        return question_scores.mean(0)


class OfLogOdds(na.Scorer):
    """As ACE, of another target."""

    name = "of-log-odds"
    target = na.target_of("log-odds")


def test_aggregation_and_target_by_scorers_of_ones_own(measured):
    """The plain mean, and another target, choose the neurons of scorers that are written so."""
    model, task = na.load_model("demo"), na.load_task("ner")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.AntagonismWarning)
        split = task.split(3, 0, 6, fits=model)
        standard = set(na.attribute(model, split.identify[:2], "ace", budget=40).good(40))
        for choice, setting, scorer in (("aggregation", "mean", PlainMean()), ("target", "log-odds", OfLogOdds())):
            own = set(na.attribute(model, split.identify[:2], scorer, budget=40).good(40))
            assert own != standard
            assert figure(measured, choice, setting, "same")["value"] == pytest.approx(
                len(own & standard) / len(own | standard)
            )


def test_no_exact_ablation_where_none_is_asked_for(tmp_path, monkeypatch):
    """With truth 0 nothing is ablated and no agreement is shown; scorers without gradients have no target to change."""
    monkeypatch.setattr("neuron_antagonism.parts.choices.ablate", None)
    part = PART | {"truth": 0, "scorers": ["act"], "choices": {"target": ["log-odds"], "examples": [1]}}
    found = na.bench(Suite.of({"name": "own", "tasks": ["ner"], "parts": [part]}, "own"), "demo", out=tmp_path / "out")
    rows = found.parts["choices"]
    assert {row["figure"] for row in rows} == {"enhance", "degrade", "enhance-beyond", "degrade-beyond", "same"}
    (reason,) = [row["reason"] for row in rows if row["choice"] == "target"]
    accepted = "accepted: choices without target, aggregation, steps, quadrature"
    assert reason == f"act leaves no integrated gradients to the core; {accepted}"
    assert choices("ner", rows).columns == ["Setting", "Enh", "beyond", "Deg", "beyond ", "Same"]


def test_all_tasks_in_one_table():
    """Means over tasks, and on how many the interval is beside 0; none where a model is at chance."""

    def rows(task, value, low, high, above=True):
        about = {"task": task, "scorer": "ace", "choice": "steps", "setting": "1", "above_chance": above, "reason": ""}
        about |= {"n_good": None, "n_bad": None}
        return [row(value, low, high, figure=f"{mode}-beyond", seed=0, **about) for mode in ("enhance", "degrade")]

    both = [*rows("ner", 0.5, 0.25, 0.75), *rows("sentiment", -0.25, -0.5, 0.125)]
    grid = choices_in_all(both)
    assert grid.title == "choices: 2 tasks, ace"
    assert [section.rows for section in grid.sections] == [[["1", "0.12", "1/0", "0.12", "1/0"]]]
    assert choices_in_all([*rows("ner", 0.5, 0.25, 0.75), *rows("sentiment", 1, 1, 1, above=False)]) is None
    # a setting that one task lacks is not counted there, and what rounding leaves is no side
    other = [one | {"setting": "64"} for one in rows("ner", 1e-6, 1e-7, 1e-5)]
    assert choices_in_all([*both, *other]).sections[0].rows[1] == ["64", "0.00", "0/0 of 1", "0.00", "0/0 of 1"]


def test_a_setting_that_fails_loses_itself_alone(tmp_path):
    """Where passes are shared, what one setting can't have keeps nothing from the others."""
    part = PART | {"truth": 0, "choices": {"z": [100_000], "ambiguous": ["keep"]}}
    found = na.bench(Suite.of({"name": "own", "tasks": ["ner"], "parts": [part]}, "own"), "demo", out=tmp_path / "out")
    (row,) = [r for r in found.parts["choices"] if r["choice"] == "z"]
    assert row["value"] is None
    assert "ace.z=100000" in row["reason"]
    assert figure(found, "ambiguous", "keep", "enhance")["value"] is not None


def scorer_of(name: str) -> na.Scorer:
    from neuron_antagonism.plugin.manager import registry

    return registry().make(na.Scorer, name)


class Property(na.Scorer):
    """A target that depends on the options, and only good neurons."""

    name = "of-property"
    roles = ("good",)

    @property
    def target(self):
        return na.target_of("letter-probability")


def test_targets_of_every_kind_of_scorer():
    """A target that is a property, an option or an attribute is replaced; the plain mean keeps roles and target."""
    from neuron_antagonism.parts.variants import Variant

    def acting(scorer, choice, setting):
        return Variant(choice, setting, scorer, None, ()).acting()

    odds = na.target_of("log-odds")
    for scorer in (OfLogOdds(), Property(), scorer_of("grad-x-act")):
        assert acting(scorer, "target", "log-odds").target == odds
    assert Property().target == na.target_of("letter-probability")
    mean = acting(Property(), "aggregation", "mean")
    assert (mean.roles, mean.target) == (("good",), na.target_of("letter-probability"))
    with pytest.raises(na.DataError, match="grad-x-act leaves no integrated gradients to the core"):
        acting(scorer_of("grad-x-act"), "steps", 1)


def test_wordings_are_taken_in_turn(measured):
    """One wording of each example is not the same one of all, so that right letters stay balanced."""
    from neuron_antagonism.parts.variants import Variant

    examples = na.load_task("ner").split(3, 0, 1, fits=na.load_model("demo")).identify
    asked = Variant("wordings", 1, OfLogOdds(), None, examples).asked()
    assert [one.proxies for one in asked] == [(example.proxies[i],) for i, example in enumerate(examples)]


def test_settings_that_edit_fewer_neurons_are_named(measured):
    """Rows hold how many neurons are edited, and a note names the settings that run short of the standard."""
    standard = figure(measured, "standard", "", "enhance")
    assert standard["n_good"] + standard["n_bad"] == 40
    short = [dict(one) | {"n_good": 3, "n_bad": 4} for one in measured.parts["choices"] if one["choice"] == "steps"]
    rows = [*(one for one in measured.parts["choices"] if one["choice"] != "steps"), *short]
    assert "steps 1: 7 neurons edited, the standard 40" in choices("ner", rows).notes


def test_one_letter_is_the_right_one_throughout():
    """`one` turns the options until the first letter is right; `rotated` turns them once, and the answer with them."""
    from neuron_antagonism.parts.variants import asked

    example = na.load_task("ner").split(1, 0, 1, fits=na.load_model("demo")).identify[0]
    one = asked(example, "letters", "one")
    assert [q.answer for q in one.proxies] == [0, 0, 0]
    assert [q.options[0] for q in one.proxies] == [q.options[q.answer] for q in example.proxies]
    turned = asked(example, "order", "rotated")
    assert [q.answer for q in turned.proxies] == [(q.answer + 1) % 4 for q in example.proxies]


def test_words_have_no_letters_to_turn(tmp_path):
    """Where a setting can't be had its row holds the reason, and the others are there."""
    part = PART | {"choices": {"letters": ["one"], "steps": [1]}}
    suite = Suite.of({"name": "own", "tasks": ["sentiment"], "form": "words", "shots": 1, "parts": [part]}, "own")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.AntagonismWarning)
        found = na.bench(suite, "demo", out=tmp_path / "out")
    (row,) = [r for r in found.parts["choices"] if r["choice"] == "letters"]
    assert row["value"] is None
    assert "accepted: choices without letters and order" in row["reason"]
    assert figure(found, "steps", 1, "enhance")["value"] is not None
    assert any("letters one: a question" in note for note in choices("sentiment", found.parts["choices"]).notes)


def test_the_table(measured):
    """A line a setting; the interval is of what it does beyond the standard."""
    grid = choices("ner", measured.parts["choices"])
    assert [section.name for section in grid.sections] == ["standard", *PART["choices"]]
    keep = next(s for s in grid.sections if s.name == "ambiguous").rows[1]
    ends = figure(measured, "ambiguous", "keep", "enhance-beyond")
    assert keep[0] == "keep"
    assert keep[2] == f"{ends['low'] + 0.0:.2f} to {ends['high'] + 0.0:.2f}".replace("-0.00", "0.00")
    assert (measured.path / "tables" / "choices-ner.md").is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": ["red"]}, "unknown choice 'colour'"),
        ({"site": ["down"]}, "choices of site name 'down'; accepted: post, up"),
        ({"steps": [0]}, "choices of steps name 0; accepted: numbers above 0"),
        ({"z": ["many"]}, "choices of z name 'many'; accepted: numbers above 0"),
        ({"target": [1]}, "choices of target name 1; accepted: names of targets"),
        ({"examples": [True]}, "choices of examples name True; accepted: numbers above 0"),
    ],
)
def test_choices_that_there_are_not(change, said):
    """An unknown choice or setting is refused in one line before anything is measured."""
    with pytest.raises(na.DataError) as error:
        Suite.of({"name": "s", "tasks": ["ner"], "parts": [PART | {"choices": change}]}, "s")
    assert said in str(error.value)
    assert set(PART["choices"]) <= set(CHOICES)
    with pytest.raises(na.DataError) as error:
        Suite.of({"name": "s", "tasks": ["ner"], "parts": [PART | {"truth": 1}]}, "s")
    assert "truth is 1; accepted: at least 2 held-out examples, or 0" in str(error.value)
    suite = Suite.of({"name": "s", "tasks": ["ner"], "parts": [PART | {"choices": {"target": ["colour"]}}]}, "s")
    with pytest.raises(na.PluginError, match="unknown target 'colour'"):
        na.bench(suite, "demo")


def row(value: float | None, low: float | None = None, high: float | None = None, **more: Any) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high} | more


def test_intervals_and_seeds():
    """Of one seed the interval over texts; of several the mean, the smallest and the largest."""
    assert interval([row(0.5, 0.25, 0.75)]) == "0.50 [0.25, 0.75]"
    assert interval([row(140.2)]) == "140"
    assert interval([row(None)]) == "-"
    assert interval([row(1.0, 0, 2), row(2.0, 1, 3), row(None)]) == "1.50 [1.00, 2.00]"
    rows = [
        row(0.5, 0.4, 0.6, scorer="ace", judge="agreement.spearman"),
        row(0.9, scorer="ceiling", judge="agreement.spearman"),
        row(38.0, scorer="ace", judge="cost.tokens"),
    ]
    grid = board("leaderboard", "ner", rows)
    assert grid.columns == ["Scorer", "Truth", "Tok"]
    assert grid.sections[0].rows == [["ace", "0.50 [0.40, 0.60]", "38"], ["(ceiling)", "0.90", "-"]]
    # a sentence for each judge that is shown, and no other
    assert len(grid.notes) == 3
