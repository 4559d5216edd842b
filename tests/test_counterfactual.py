"""A question's counterfactual: the same tokens in another order, another right letter; or its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

import neuron_antagonism as na
from neuron_antagonism.tasks.splits import Split

TASKS = ("ner", "chunking", "sentiment", "commonsense")


@pytest.mark.parametrize("task", TASKS)
def test_shipped_questions_have_one_of_as_many_tokens(task):
    """Same words, same number of tokens, the answer one letter further on; as many rotations as options come back."""
    split = na.load_task(task).split(2, 0, 4, seed=0)
    for question in (q for e in (*split.identify, *split.evaluate) for q in e.proxies):
        other = question.counterfactual
        assert other is not None
        assert other.letters == question.letters
        assert other.options[other.answer] == question.options[question.answer]
        assert other.answer == (question.answer + 1) % len(question.options)
        assert Counter(other.prompt.split()) == Counter(question.prompt.split())
        # what the demonstration shows stays
        head = question.prompt.rfind("\n\n")
        assert other.prompt[:head] == question.prompt[:head]
        for _ in range(len(question.options) - 1):
            other = other.counterfactual
            assert other is not None
        assert other == question


WORDS = st.text(st.characters(categories=("L", "N", "P", "Z"), exclude_characters="\n"), min_size=1, max_size=12)


@given(
    options=st.lists(WORDS.map(str.strip).filter(bool), min_size=2, max_size=6, unique_by=lambda text: text),
    after=st.sampled_from([". ", ") ", ": ", " - "]),
    between=st.sampled_from(["\n", ", ", "; ", " ("]),
    data=st.data(),
)
def test_any_list_is_rotated(options, after, between, data):
    """However options are listed after their letters."""
    try:
        plain = na.Question("x", options, data.draw(st.integers(0, len(options) - 1)))
    except na.DataError:
        return
    listed = between.join(f"{letter}{after}{text}" for letter, text in zip(plain.letters, options, strict=True))
    question = replace(plain, prompt=f"Which?\n{listed}\nAnswer:")
    other = question.counterfactual
    assert other is not None
    turned = [options[-1], *options[:-1]]
    assert list(other.options) == turned
    assert other.options[other.answer] == options[question.answer]
    listed = between.join(f"{letter}{after}{text}" for letter, text in zip(plain.letters, turned, strict=True))
    assert other.prompt == f"Which?\n{listed}\nAnswer:"


@pytest.mark.parametrize("prompt", ["yes or no:", "A. yes no", "B. no\nA. yes\nAnswer:", "A. yes\nB: no\nAnswer:"])
def test_no_list_no_counterfactual(prompt):
    """Options that don't stand after their letters, all in one way and in order, can't be rotated."""
    assert na.Question(prompt, ("yes", "no"), 0).counterfactual is None


def test_the_options_own_list_is_meant():
    """Not a remark that lists them within a line, nor the beginnings of longer texts."""
    listed = "A. yes\nB. no\nOther, shown: A. yes, B. no\nAnswer:"
    other = na.Question(listed, ("yes", "no"), 0).counterfactual
    assert other is not None
    assert other.prompt == "A. no\nB. yes\nOther, shown: A. yes, B. no\nAnswer:"
    for longer in ("A. person\nB. thing or place\nAnswer:", "A. person\nB. things\nAnswer:"):
        assert na.Question(longer, ("person", "thing"), 0).counterfactual is None


def test_ones_own():
    """A question may bring its own, of the same letters and another right one."""
    other = tiny.question(9, answer=1)
    question = replace(tiny.question(9, answer=0), own_counterfactual=other)
    assert question.counterfactual is other
    for wrong in ("no question", replace(other, answer=0), na.Question("x", ("a", "b"), 1)):
        with pytest.raises(na.DataError, match=r"a question's counterfactual is .*; accepted: a question with"):
            replace(question, own_counterfactual=wrong)


ITEM = na.Item("It was good.", "positive", ("negative", "neutral", "mixed", "none"))
OTHER = na.Item("It was bad.", "negative", ())


def examples(item: na.Item, **given: object) -> list[na.Example]:
    stems = ("What is said in {text}", "Say of {text}", "{text}")
    return na.build_examples([item], role="R", rule="Q", stems=stems, **given)


def test_an_items_own():
    """The other item is asked with the same stem and options; its answer is always among them."""
    for seed in range(8):
        (example,) = examples(replace(ITEM, counterfactual=OTHER), seed=seed)
        for question in example.proxies:
            other = question.counterfactual
            assert other is not None
            assert other.options == question.options
            assert other.concept == "negative"
            assert other.prompt == question.prompt.replace(ITEM.text, OTHER.text)


@pytest.mark.parametrize(
    "other", ["text", replace(OTHER, answer="positive"), replace(OTHER, counterfactual=ITEM)], ids=str
)
def test_what_is_no_counterfactual_of_an_item(other):
    """Another item, of another answer."""
    with pytest.raises(na.DataError, match=r"an item's counterfactual is .*; accepted: an item with another answer"):
        replace(ITEM, counterfactual=other)


def test_it_is_kept_with_the_examples(tmp_path):
    """What `Split.save` writes holds them; a question without one of its own is written as before."""
    split = Split(examples(replace(ITEM, counterfactual=OTHER)), examples(ITEM), [])
    split.save(tmp_path / "examples.jsonl")
    again = Split.load(tmp_path / "examples.jsonl")
    assert again.identify == split.identify
    assert again.select == split.select
    assert [q.counterfactual for q in again.identify[0].proxies] == [
        q.counterfactual for q in split.identify[0].proxies
    ]
    assert (tmp_path / "examples.jsonl").read_text("utf-8").count("own_counterfactual") == 3
