"""Every shipped plugin passes the conformance kit, and the kit catches what it is there to catch."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.testing import InterventionTests, ScorerTests, TaskTests, tiny_model, tiny_questions
from neuron_antagonism_plugins.presets import PRESETS

one_thread = tiny.one_thread

KITS = {"scorer": ScorerTests, "task": TaskTests, "intervention": InterventionTests}
FILE = Path(__file__).parent / "data" / "neurons.csv"


SPECIAL: dict[str, dict[str, Any]] = {
    "random": {"planted": 0.0},
    "auroc": {"planted": 0.0},
    "cett": {"planted": 0.0, "options": {"C": 100.0}},
    "lape": {"planted": 0.0},
    "neurons": {"planted": 0.0, "options": {"file": str(FILE)}},
}
"""These are not meant to find planted neurons; one is nothing without its file, one finds none in a few questions."""
CLASSES_OF_FILES = {"file", *(preset.name for preset in PRESETS)}
"""A task only together with a file, and those whose data is on the Hub: `test_presets.py` stands for that."""


def _classes() -> dict[str, type]:
    """A test class for every shipped plugin of a kind that has a kit."""
    made = {}
    for entry in registry():
        if entry.distribution == "neuron-antagonism" and entry.kind in KITS and entry.name not in CLASSES_OF_FILES:
            name = f"Test{entry.name.capitalize()}"
            made[name] = type(name, (KITS[entry.kind],), {"plugin": entry.thing, **SPECIAL.get(entry.name, {})})
    return made


globals().update(_classes())


def test_every_shipped_plugin_has_a_class():
    """A plugin that is added is tested without a line being written here."""
    shipped = {e.name for e in registry() if e.distribution == "neuron-antagonism" and e.kind in KITS}
    assert {name.removeprefix("Test").lower() for name in _classes()} == shipped - CLASSES_OF_FILES
    assert len(_classes()) >= 17


# --- the kit catches -----------------------------------------------------------------------------------------------


class Mean(na.Scorer):
    """Mean value of a neuron."""

    name = "mean"
    roles = ("good",)

    class Options(na.Options):
        """No options."""

    def aggregate(self, example_scores, question_scores):
        return question_scores.mean(0)


def failures(
    kit: type, plugin: Any, tmp_path: Path, only: str = "test_", **attributes: Any
) -> dict[str, BaseException]:
    """Which tests of a kit a plugin fails, and how; `only` those whose names begin so."""
    made = type("TestOne", (kit,), {"plugin": plugin, **attributes})()
    failed = {}
    for name, method in inspect.getmembers(made, inspect.ismethod):
        if not name.startswith(only):
            continue
        marks = [mark for mark in getattr(method, "pytestmark", []) if mark.name == "parametrize"]
        cases = [{mark.args[0]: value} for mark in marks for value in mark.args[1]] or [{}]
        for case in cases:
            given = {**case, **({"tmp_path": tmp_path} if "tmp_path" in inspect.signature(method).parameters else {})}
            try:
                method(**given)
            except (Exception, pytest.fail.Exception) as error:
                failed[name] = error
    return failed


def scorer(**members: Any) -> type[na.Scorer]:
    return type("Outside", (Mean,), {"__doc__": "A scorer.", "name": "outside", **members})


def drawing(self, example_scores, question_scores):
    return torch.rand(question_scores.shape[1:])


def counting(self, example_scores, question_scores):
    return (question_scores > 0.1).float().sum(0) + 0.01 * question_scores.mean(0)


def backwards(self, example_scores, question_scores):
    return -torch.ones(question_scores.shape[1:]) + 0.001 * torch.rand(question_scores.shape[1:])


def breaking(self, model, examples, settings):
    with torch.no_grad():
        next(model.bridge.original_model.parameters()).add_(0.01)
    values = torch.rand(model.n_layers, model.n_neurons)
    return na.Attribution(values, values[None].expand(len(examples), -1, -1).clone(), scorer="outside", roles=("good",))


class InPlace(na.Target):
    name = "in place"

    def __call__(self, logits, letters, answer):
        with torch.no_grad():
            logits.data.mul_(2)
        return logits.gather(-1, letters)[..., 0]


class Batchwise(na.Target):
    name = "batchwise"

    def __call__(self, logits, letters, answer):
        return logits.gather(-1, letters)[..., 0] - logits.mean()


class Forgetful(na.Target):
    name = "forgetful"

    def __init__(self):
        self.token = object()

    def __call__(self, logits, letters, answer):
        return logits.gather(-1, letters)[..., 0]


class Targeted(na.Scorer):
    """A scorer of a target."""

    name = "targeted"
    kind_of_target: type = InPlace

    @property
    def target(self):
        return self.kind_of_target()


@pytest.mark.parametrize(
    ("plugin", "test"),
    [
        (scorer(__doc__=""), "test_it_says_what_it_is"),
        (scorer(name="Two Words"), "test_it_can_be_registered"),
        (scorer(aggregate=drawing), "test_the_same_again"),
        (scorer(aggregate=drawing), "test_the_engine_does_not_matter"),
        (scorer(aggregate=counting), "test_the_units_of_the_target_do_not_matter"),
        (scorer(aggregate=lambda self, e, q: torch.zeros(q.shape[1:])), "test_scores"),
        (scorer(aggregate=lambda self, e, q: q.mean(0) * float("nan")), "test_scores"),
        (scorer(aggregate=lambda self, e, q: q.mean()), "test_scores"),
        (scorer(aggregate=lambda self, e, q: q.argmax(0)), "test_scores"),
        (scorer(aggregate=drawing), "test_planted_neurons_are_found"),
        (scorer(attribute=breaking), "test_the_model_is_restored"),
        (type("T", (Targeted,), {"kind_of_target": InPlace}), "test_the_target"),
        (type("T", (Targeted,), {"kind_of_target": Batchwise}), "test_the_target"),
        (type("T", (Targeted,), {"kind_of_target": Forgetful}), "test_the_target"),
    ],
)
def test_a_bad_scorer_is_caught(plugin, test, tmp_path):
    """Each fault of a scorer fails the test that is meant for it."""
    from neuron_antagonism.testing import models

    try:
        assert test in failures(ScorerTests, plugin, tmp_path, only=test)
    finally:
        if test == "test_the_model_is_restored":
            models.tiny_model.cache_clear()


def test_a_good_scorer_passes(tmp_path):
    """A plain scorer fails nothing."""
    assert failures(ScorerTests, Mean, tmp_path) == {}


class Clamp(na.Intervention):
    """Holds neurons to the largest values seen."""

    name = "clamp"

    def fit(self, model, examples, neurons):
        made = self.with_options()
        made.fitted = True
        return made

    def edit(self, values, layer, neurons):
        return values.clamp(max=0.1)


def intervention(**members: Any) -> type[na.Intervention]:
    return type("Outside", (Clamp,), {"__doc__": "An intervention.", "name": "outside", **members})


def in_place(self, values, layer, neurons):
    return values.clamp_(max=0.1)


@pytest.mark.parametrize(
    ("plugin", "test"),
    [
        (intervention(edit=in_place), "test_its_input_stays"),
        (intervention(edit=lambda self, v, layer, n: v.float()), "test_values"),
        (intervention(edit=lambda self, v, layer, n: v[:, :1]), "test_values"),
        (intervention(edit=lambda self, v, layer, n: v / 0), "test_values"),
        (intervention(edit=lambda self, v, layer, n: v - v.mean()), "test_each_position_by_itself"),
        (intervention(edit=lambda self, v, layer, n: v.cumsum(-1)), "test_each_neuron_by_itself"),
        (intervention(edit=lambda self, v, layer, n: v * 3, scale=2.0), "test_the_scale_is_what_the_edit_does"),
        (intervention(fit=lambda self, model, examples, neurons: self), "test_fitting"),
        (intervention(edit=lambda self, v, layer, n: v), "test_in_a_model"),
    ],
)
def test_a_bad_intervention_is_caught(plugin, test, tmp_path):
    """Each fault of an intervention fails the test that is meant for it."""
    assert test in failures(InterventionTests, plugin, tmp_path, only=test)


def test_a_good_intervention_passes(tmp_path):
    """A plain intervention fails nothing."""
    assert failures(InterventionTests, Clamp, tmp_path) == {}


class Sums(na.Task):
    """Sums of two numbers."""

    name = "sums"
    role = "You add."
    rule = "Reply with one letter only: A, B, C or D."
    stems = ("What is {text} ?",)
    broken = ""

    def examples(self, source, seed):
        if source is not None and self.broken != "source":
            raise na.DataError(f"{source}: no such file; accepted: nothing, the sums are made here")
        for a in range(2, 12):
            for b in range(a, 12):
                text, right = f"{a} + {b}", str(a + b)
                wrong = tuple(str(a + b + d) for d in (-1, 1, 2))
                if self.broken == "wrong answers":
                    wrong = (right, "1", "1")
                if self.broken == "twice":
                    text, right = "1 + 1", "2"
                if self.broken == "random":
                    text = f"{text} + {torch.rand(1).item()}"
                yield na.Item(text if self.broken != "empty" else " ", right, wrong)


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        ("source", "test_a_missing_source_is_named"),
        ("wrong answers", "test_wrong_answers"),
        ("twice", "test_nothing_appears_twice"),
        ("random", "test_the_same_again"),
        ("empty", "test_items"),
    ],
)
def test_a_bad_task_is_caught(broken, test, tmp_path):
    """Each fault of a task fails the test that is meant for it."""
    plugin = type("Sums", (Sums,), {"__doc__": "Sums.", "broken": broken})
    assert test in failures(TaskTests, plugin, tmp_path, only=test)


def test_a_good_task_passes(tmp_path):
    """A plain task fails nothing."""
    assert failures(TaskTests, Sums, tmp_path) == {}


def test_options_reach_the_plugin(tmp_path):
    """The class's `options` are those that the tests run with, and a missing description is caught."""

    class Powered(Mean):
        """Mean power of a value."""

        name = "powered"

        class Options(na.Options):
            power: int = Field(description="the power, from 1", ge=1)

        def aggregate(self, example_scores, question_scores):
            return (question_scores.sign() * question_scores.abs() ** self.options.power).mean(0)

    assert failures(ScorerTests, Powered, tmp_path, options={"power": 1}) == {}
    undescribed = type("Options", (na.Options,), {"__annotations__": {"power": int}, "power": 1})
    registered = "test_it_can_be_registered"
    assert registered in failures(ScorerTests, scorer(Options=undescribed), tmp_path, only=registered)


def test_the_tiny_model_is_public():
    """Plugins' own tests may use the kit's model and questions."""
    model = tiny_model()
    assert (model.n_layers, model.n_neurons) == (3, 24)
    assert len({len(model.encode(q).ids) for q in tiny_questions()}) == 4
