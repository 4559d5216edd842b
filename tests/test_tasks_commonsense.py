"""Commonsense from CommonsenseQA's JSON lines."""

from __future__ import annotations

import json

import pytest

import neuron_antagonism as na
from neuron_antagonism_plugins.commonsense import Commonsense, questions

TEXTS = ("bank", "library", "store", "mall", "new york")


def record(key="B", texts=TEXTS, stem="Where are books?", labels="ABCDE"):
    choices = [{"label": label, "text": text} for label, text in zip(labels, texts, strict=True)]
    return {"answerKey": key, "id": "1", "question": {"choices": choices, "stem": stem}}


def write(tmp_path, *records):
    path = tmp_path / "csqa.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records), encoding="utf-8")
    return path


def items(path):
    return list(Commonsense().examples(str(path), 0))


def test_item_has_four_distractors(tmp_path):
    (item,) = items(write(tmp_path, record()))
    assert item.text == "Where are books?"
    assert item.answer == "library"
    assert item.distractors == ("bank", "store", "mall", "new york")


def test_key_order_does_not_matter(tmp_path):
    given = record()
    turned = {name: given[name] for name in reversed(given)}
    turned["question"] = {name: given["question"][name] for name in reversed(given["question"])}
    turned["question"]["choices"] = [
        {"text": choice["text"], "label": choice["label"]} for choice in reversed(given["question"]["choices"])
    ]
    first, second = questions(write(tmp_path, given, turned))
    assert first == second


def test_one_random_distractor_is_dropped(tmp_path):
    task = Commonsense()
    found = items(write(tmp_path, *(record(stem=f"Where are books {number}?") for number in range(60))))
    examples = na.build_examples(found, role=task.role, rule=task.rule, stems=task.stems, distractors=task.distractors)
    dropped = [set(TEXTS) - set(example.proxies[0].options) for example in examples]
    assert all(len(each) == 1 for each in dropped)
    assert set().union(*dropped) == set(TEXTS) - {"library"}


def test_repeated_choices_count_once(tmp_path):
    (item,) = items(write(tmp_path, record(texts=("bank", "mall ", "bank", "mall", "store"))))
    assert item.answer == "mall"
    assert item.distractors == ("bank", "store")


@pytest.mark.parametrize("key", ["F", "b", 1, ["B"]])
def test_another_answer_is_an_error(tmp_path, key):
    path = write(tmp_path, record(), record(key))
    with pytest.raises(na.DataError) as caught:
        items(path)
    assert str(caught.value).startswith(f"{path}, line 2: found {key!r}; accepted: answerKey A to E")
    assert "test file" in str(caught.value)


@pytest.mark.parametrize("key", ["", None])
def test_questions_without_answer(tmp_path, key):
    """One is left out and counted; where no other is left, the error says why, for the first of them."""
    task = Commonsense()
    assert [item.text for item in task.examples(str(write(tmp_path, record(key), record(stem="Who?"))), 0)] == ["Who?"]
    assert task.left_out == {"no answerKey": 1}
    path = write(tmp_path, record(key), record(""))
    with pytest.raises(na.DataError) as caught:
        items(path)
    assert str(caught.value).startswith(f"{path}, line 1: found {key!r}; accepted: answerKey A to E")
    assert "test file" in str(caught.value)
    assert str(caught.value).endswith("no row is left (2 of 'no answerKey')")


def test_half_a_character_names_its_line(tmp_path):
    """JSON can write half of a character, which no model reads."""
    for broken in (record(stem="Why \ud83d?"), record(texts=("bank", "\ud83d", "store", "mall", "new york"))):
        with pytest.raises(na.DataError, match=r"line 2: found .*; accepted: Unicode text, without a lone surrogate"):
            items(write(tmp_path, record(), broken))


def test_missing_answer_key_is_the_same_error(tmp_path):
    unanswered = record()
    del unanswered["answerKey"]
    with pytest.raises(na.DataError, match=r"line 1: found None; accepted: answerKey"):
        items(write(tmp_path, unanswered))


@pytest.mark.parametrize("line", ["{", "[]", "null", '"text"', "{}", '{"question": "Why?"}', "[" * 100_000, "NaN"])
def test_line_that_is_no_question(tmp_path, line):
    path = write(tmp_path, record())
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(na.DataError) as caught:
        items(path)
    assert str(caught.value).startswith(f"{path}, line 2: found ")
    assert "question.stem" in str(caught.value)


@pytest.mark.parametrize(
    "broken",
    [
        record(texts=TEXTS[:4], labels="ABCD"),
        record(texts=(*TEXTS, "more"), labels="ABCDEF"),
        record(labels="ABCDD"),
        record(labels="12345"),
        record(texts=("bank", "", "store", "mall", "new york")),
        record(texts=("bank", 5, "store", "mall", "new york")),
        {"answerKey": "A", "question": {"stem": "Why?"}},
        {"answerKey": "A", "question": {"stem": "Why?", "choices": ["bank"] * 5}},
        {"answerKey": "A", "question": {"stem": "Why?", "choices": {"label": list("ABCDE"), "text": ["a"]}}},
    ],
)
def test_choices_must_be_five(tmp_path, broken):
    with pytest.raises(na.DataError, match=r"line 1: found .*; accepted: five choices labelled A to E"):
        items(write(tmp_path, broken))


@pytest.mark.parametrize("stem", ["", "  ", None, 3])
def test_stem_must_be_text(tmp_path, stem):
    with pytest.raises(na.DataError, match=r"line 1: found .*; accepted: a question stem"):
        items(write(tmp_path, record(stem=stem)))
