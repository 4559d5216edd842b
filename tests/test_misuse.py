"""Easy mistakes from Python: one clear line each, where the mistake is made."""

from __future__ import annotations

import pytest

import neuron_antagonism as na
from neuron_antagonism.types import as_examples

QUESTION = na.Question("x", ("a", "b", "c", "d"), 0)
NEURONS = na.NeuronSet.of([(0, 0)])


@pytest.fixture(scope="module")
def model():
    return na.load_model("demo")


@pytest.mark.parametrize("things", [QUESTION, "hello", None, [], ["hello"], [QUESTION, 3]])
def test_what_is_no_list_of_examples_is_refused(things):
    """Anything but a non-empty list of examples and questions is named, with what is accepted."""
    with pytest.raises(na.DataError, match="accepted: a list of examples or questions"):
        as_examples(things)


@pytest.mark.parametrize("edit", [NEURONS, "silence", 3])
def test_what_is_no_edit_is_refused(model, edit):
    """A neuron set or a name is not an edit."""
    with pytest.raises(na.UsageError, match="is no edit"):
        na.evaluate(model, [QUESTION], edit)


def test_one_edit_where_many_are_expected_is_refused(model):
    """evaluate_many wants a list."""
    with pytest.raises(na.UsageError, match="a list of edits"):
        na.evaluate_many(model, [QUESTION], na.edit(NEURONS, "silence"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: na.edit([(0, 1)], "silence"),
        lambda: na.edit(NEURONS, na.Intervention),
        lambda: na.enhancer(NEURONS, None, ratio="x"),
        lambda: na.load_task(na.Task),
        lambda: na.load_task("ner").split(identify=2.5),
        lambda: na.load_task("ner").split(evaluate=-1),
    ],
)
def test_wrong_types_are_refused_where_they_are_given(make):
    """A wrong type is one line naming it and what is accepted."""
    with pytest.raises(na.UsageError, match=r"accepted|neither"):
        make()


@pytest.mark.parametrize(
    ("options", "answer"), [(None, 0), ("abcd", 0), ((1, 2, 3, 4), 0), (("a", "b", "c", "d"), True)]
)
def test_questions_take_four_texts_and_an_index(options, answer):
    """Options that are no texts, or an answer that is no index, are refused."""
    with pytest.raises(na.DataError, match="accepted"):
        na.Question("x", options, answer)


def test_an_example_without_questions_is_refused():
    """An example asks at least one question."""
    with pytest.raises(na.DataError, match="no questions"):
        na.Example(None, ())


def test_an_unknown_letter_is_refused(model):
    """A letter that the tokenizer maps to its unknown token is named, also when it is the only one."""
    question = na.Question("Which is red ?\nAnswer:", ("a", "b", "c", "d"), 0, letters=("A", "B", "C", "Z"))
    with pytest.raises(na.ModelError, match="does not know the letter 'Z'"):
        model.encode(question)


def test_a_target_that_raises_is_named(model):
    """A plugin's own exception names the plugin."""

    class Broken(na.Target):
        name = "broken"

        def __call__(self, logits, letters, answer):
            return 1 / 0

    class BrokenScorer(na.Scorer):
        name = "broken"
        target = Broken()

    question = na.Question("You judge\nAnswer:", ("a", "b", "c", "d"), 0)
    with pytest.raises(na.PluginError, match="target 'broken' failed: ZeroDivisionError"):
        na.attribute(model, [question], BrokenScorer())
