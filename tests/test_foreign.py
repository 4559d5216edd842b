"""Plugins that raise: named in one line, contained, no hook left behind."""

from __future__ import annotations

import pytest
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.method.edits import fitted
from neuron_antagonism.tasks.load import load_task

one_thread = tiny.one_thread

ASKED = [tiny.question(5, seed=i) for i in range(2)]
SET = na.NeuronSet.of([(0, 1), (1, 2)])


def fail(*_: object, **__: object) -> object:
    raise ValueError("two\nlines")


class Bad(na.Target):
    name = "bad"

    def __call__(self, logits, letters, answer):
        return fail()


class Aggregating(na.Scorer):
    name = "aggregating"
    target = na.target_of("ace")
    aggregate = fail


class Targeting(na.Scorer):
    name = "targeting"
    target = Bad()


class Choosing(na.Scorer):
    name = "choosing"
    target = property(fail)


class Attributing(na.Scorer):
    name = "attributing"

    def attribute(self, model, examples, settings):
        model.bridge.blocks[0].register_forward_hook(lambda *_: None)
        return fail()


class Checking(na.Scorer):
    name = "checking"
    target = na.target_of("ace")
    check = fail


class Fitting(na.Intervention):
    name = "fitting"
    scale = 1.0

    def fit(self, model, examples, neurons):
        model.bridge.blocks[0].register_forward_pre_hook(lambda *_: None)
        return fail()


class Editing(na.Intervention):
    name = "editing"
    edit = fail


class Task(na.Task):
    name = "failing"
    role = rule = "w1"
    stems = ("{text} w2",)

    def examples(self, source, seed):
        for i in range(20):
            yield na.Item(f"w{i}", "w3", ["w4", "w5", "w6"])


class Reading(Task):
    name = "reading"

    def examples(self, source, seed):
        yield from super().examples(source, seed)
        fail()


class Distracting(Task):
    name = "distracting"
    distractors = fail


class Nothing(Task):
    name = "nothing"

    def examples(self, source, seed):
        return None


class Wrong(Task):
    name = "wrong"

    def examples(self, source, seed):
        return ["text"]


class Text(Task):
    name = "text"

    def distractors(self, item, rng):
        return "w4 w5 w6"


def attribute(scorer):
    return lambda model: na.attribute(model, ASKED, scorer, budget=5)


def split(task):
    return lambda model: load_task(task).split(1, 2, 2)


RAISE = {
    "scorer 'aggregating' failed in aggregate()": attribute(Aggregating()),
    "target 'bad' failed": attribute(Targeting()),
    "scorer 'choosing' failed in target": attribute(Choosing()),
    "scorer 'attributing' failed in attribute()": attribute(Attributing()),
    "'checking' failed in check()": attribute(Checking()),
    "intervention 'fitting' failed in fit()": lambda model: fitted(Fitting(), model, na.build_examples(
        [na.Item("w1", "w3", ["w4", "w5", "w6"])], role="w1", rule="w2", stems=["{text} w7"]), SET),
    "intervention 'editing' failed in edit()": lambda model: na.evaluate(model, ASKED, na.edit(SET, Editing())),
    "task 'reading' failed in examples()": split(Reading()),
    "task 'distracting' failed in distractors()": split(Distracting()),
}  # fmt: skip


@pytest.mark.parametrize("who", RAISE)
def test_a_plugin_that_raises_is_named_and_leaves_nothing(who):
    """One line: plugin, method, what it raised; afterwards no hook, no edit, and the same logits."""
    model = tiny.load("llama")
    modules = [*model.bridge.original_model.modules()]

    def hooks() -> list[int]:
        return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules]

    before, count = na.evaluate(model, ASKED).option_probabilities, hooks()
    with pytest.raises(na.PluginError) as caught:
        RAISE[who](model)
    assert str(caught.value) == f"{who}: ValueError: two lines"
    assert isinstance(caught.value.__cause__, ValueError)
    assert hooks() == count
    assert not model.is_edited
    assert torch.equal(na.evaluate(model, ASKED).option_probabilities, before)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Nothing(), r"task 'nothing' returned None from examples\(\); accepted: items"),
        (Wrong(), r"task 'wrong' yielded 'text' from examples\(\); accepted: na.Item"),
        (Text(), r"task 'text' returned 'w4 w5 w6' from distractors\(\); accepted: a list of texts"),
    ],
)
def test_results_of_the_wrong_kind_are_named(task, said):
    """What a task's methods give is checked."""
    with pytest.raises(na.PluginError, match=said):
        load_task(task).split(1, 2, 2)


def test_a_fit_that_returns_nothing_is_named():
    """A forgotten return is no fitted copy."""

    class Forgetting(na.Intervention):
        name = "forgetting"
        scale = 1.0

        def fit(self, model, examples, neurons):
            pass

    with pytest.raises(
        na.PluginError, match=r"intervention 'forgetting' returned None from fit\(\); accepted: a fitted"
    ):
        na.edit(SET, Forgetting()).fit(tiny.load("llama"), ASKED)


def test_what_is_raised_on_purpose_passes():
    """An error of this package's own keeps its class and words; so does an interruption."""

    class Purposeful(Aggregating):
        def aggregate(self, example_scores, question_scores):
            raise na.DataError("no such neurons; accepted: others")

    class Interrupted(Aggregating):
        def aggregate(self, example_scores, question_scores):
            raise KeyboardInterrupt

    with pytest.raises(na.DataError, match=r"^no such neurons; accepted: others$"):
        na.attribute(tiny.load("llama"), ASKED, Purposeful(), budget=5)
    with pytest.raises(KeyboardInterrupt):
        na.attribute(tiny.load("llama"), ASKED, Interrupted(), budget=5)


def test_a_target_that_runs_out_of_memory_gets_a_smaller_forward():
    """The engines answer with half the copies; only then it succeeds."""
    calls = []

    class Hungry(na.Target):
        name = "hungry"

        def __call__(self, logits, letters, answer):
            calls.append(answer.numel())
            if answer.numel() > 8:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return logits.gather(-1, letters)[..., 0]

    class Wanting(na.Scorer):
        name = "wanting"
        target = Hungry()

    found = na.attribute(tiny.load("llama"), ASKED, Wanting(), budget=5)
    assert max(calls) > 8
    assert found.scores.isfinite().all()
