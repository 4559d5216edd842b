"""Questions and lists as notebooks have them: accepted, or one line that names the cause."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

import neuron_antagonism as na

one_thread = tiny.one_thread

FOUR = ("a", "b", "c", "d")


@pytest.mark.parametrize("answer", [np.int64(2), np.uint8(2), torch.tensor(2), np.array([2])[0]])
def test_answers_of_any_integer_type(answer):
    """They are stored as plain numbers."""
    question = na.Question("x", FOUR, answer)
    assert (type(question.answer), question.answer) == (int, 2)
    assert question == na.Question("x", FOUR, 2)


@pytest.mark.parametrize("answer", [True, np.True_, 2.0, 2.5, "C", None, torch.tensor(2.0), torch.tensor(True)])
def test_answers_that_are_no_integers(answer):
    """One line names what was given and the bounds."""
    with pytest.raises(na.DataError, match=r"a question's answer is .*; accepted: an index 0 to 3"):
        na.Question("x", FOUR, answer)


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_options_from_whatever_holds_them(kind):
    """A tuple of texts afterwards; letters likewise."""
    question = na.Question("x", kind(["a", "b", "c"]), 1, kind(["1", "2", "3"]))
    assert (question.options, question.letters) == (("a", "b", "c"), ("1", "2", "3"))
    assert na.Question("x", kind(["a", "b"]), 1).letters == ("A", "B")


@pytest.mark.parametrize(
    ("options", "letters", "said"),
    [
        (("a",), (), "a question has 1 options; accepted: 2 to 10"),
        (tuple("abcdefghijk"), (), "a question has 11 options; accepted: 2 to 10"),
        (FOUR, ("A", "B"), "a question has 4 options and 2 letters; accepted: one for each"),
        (("caf\u00e9", "cafe\u0301"), (), "a question's options repeat: .*; accepted: different ones"),
        (("a", " a "), (), "a question's options repeat"),
        ("abcd", (), "a question's options are 'abcd'; accepted: texts in a tuple"),
        ((1, 2), (), "a question's options are .*; accepted: texts in a tuple"),
        (("a", "b\ud83d"), (), r"a question holds half of a surrogate pair, .*'b\\ud83d'; accepted: Unicode text"),
    ],
)
def test_options_that_are_refused(options, letters, said):
    """Numbers, repetitions after NFC, halves of characters: one line each."""
    with pytest.raises(na.DataError, match=said) as caught:
        na.Question("x", options, 0, letters)
    assert "\n" not in str(caught.value)


def test_half_a_character_in_a_prompt_or_an_item():
    """Refused where it is made."""
    with pytest.raises(na.DataError, match="a question holds half of a surrogate pair"):
        na.Question("what \ud83d?", FOUR, 0)
    with pytest.raises(na.DataError, match="an item holds half of a surrogate pair"):
        na.Item("what \ud83d?", "a", ["b", "c", "d"])
    with pytest.raises(na.DataError, match="an item holds half of a surrogate pair"):
        na.Item("what?", "a", ["b", "c", "d"], unit="\ud83d")
    with pytest.raises(na.DataError, match="a question holds half of a surrogate pair"):
        na.Question("what?", FOUR, 0, ("\ud83d", "B", "C", "D"))


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, iter])
def test_wrong_answers_from_whatever_holds_them(kind):
    """A tuple of texts afterwards."""
    assert na.Item("what?", "a", kind(["b", "c"])).distractors == ("b", "c")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((5, "a", ["b"]), "an item's text is 5; accepted: a text"),
        (("t", None, ["b"]), "an item's answer is None; accepted: a text"),
        (("t", "a", "bcd"), "an item's distractors are 'bcd'; accepted: texts"),
        (("t", "a", None), "an item's distractors are None; accepted: texts"),
        (("t", "a", [1, 2, 3]), r"an item's distractors are \(1, 2, 3\); accepted: texts"),
        (("t", "a", {"b": 1}), "an item's distractors are {'b': 1}; accepted: texts"),
        (("t", "a", ["b"], None), "an item's meta is None; accepted: values by name"),
    ],
)
def test_items_that_are_refused(given, said):
    """A text is not taken for a list of its characters, a number not for a text: one line each."""
    with pytest.raises(na.DataError, match=said) as caught:
        na.Item(*given)
    assert "\n" not in str(caught.value)


def test_lists_of_questions():
    """Arrays and series of questions are lists; tables and mappings are not."""
    model, asked = tiny.shared("llama"), [tiny.question(5), tiny.question(6)]
    right = na.evaluate(model, asked).option_probabilities
    for given in (tuple(asked), pd.Series(asked), np.array(asked, dtype=object), iter(asked)):
        assert torch.equal(na.evaluate(model, given).option_probabilities, right)
    for given in (pd.DataFrame({"q": asked}), {"q": asked}, "text", asked[0], 3):
        with pytest.raises(na.DataError, match=rf"examples are given as a {type(given).__name__}; accepted: a list"):
            na.evaluate(model, given)


@pytest.mark.parametrize("progress", [True, False, None])
def test_progress_as_a_bar_or_none(progress, checkpoint, capsys):
    """`na.run` takes what `na.leaderboard` takes."""
    sizes = {"identify": 1, "select": 2, "evaluate": 2, "budget": 4}
    na.run(str(checkpoint), ["ner"], ["act"], progress=progress, **sizes)
    assert ("ner: " in capsys.readouterr().err) is bool(progress)


def test_progress_that_is_none_of_it():
    """One line; nothing is loaded."""
    with pytest.raises(na.UsageError, match="progress is 'bar'; accepted: a function of three arguments, True"):
        na.run("demo", ["ner"], ["act"], progress="bar")
