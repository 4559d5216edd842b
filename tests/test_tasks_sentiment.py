"""Sentiment from files of the Stanford Sentiment Treebank."""

from __future__ import annotations

import pytest

import neuron_antagonism as na
from neuron_antagonism_plugins.sentiment import Sentiment, parse, trees


def write(tmp_path, text):
    path = tmp_path / "sst.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("label", "answer"),
    [(0, "negative"), (1, "negative"), (2, "neutral"), (3, "positive"), (4, "positive")],
)
def test_root_label_is_the_answer(tmp_path, label, answer):
    path = write(tmp_path, f"({label} (4 (2 a) (0 film)) (2 .))\n")
    (item,) = Sentiment().examples(str(path), 0)
    assert item.text == "a film ."
    assert item.answer == answer
    assert {item.answer, *item.distractors} == {"positive", "negative", "neutral", "not sure"}
    assert len(item.distractors) == 3


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ("(2 (2 -LRB-) (2 (2 ha) (2 -RRB-)))", "( ha )"),
        (r"(2 (2 and\/or) (2 \*\*))", "and/or **"),
        ("(2 (2 x-LRB-y) (2 -lrb-))", "x-LRB-y -lrb-"),
        ("(2 (2 8\u00a01\\/2) (2 Women))", "8\u00a01/2 Women"),
        ("(3 good)", "good"),
        ("(3 (2 one) (2 two) (2 three))", "one two three"),
        ("(3 (2 4) (2 2))", "4 2"),
        ("  (3 (2 so)  (4 good)) ", "so good"),
    ],
)
def test_text_of_a_tree(tree, text):
    assert parse(tree, "here")[1] == text


def test_trees_reads_each_line(tmp_path):
    assert list(trees(write(tmp_path, "(0 (2 so) (1 bad))\n\n(4 good)"))) == [(0, "so bad"), (4, "good")]


@pytest.mark.parametrize(
    "tree",
    [
        "good",
        "()",
        "(3)",
        "(3 )",
        "(good)",
        "(5 good)",
        "(-1 good)",
        "(3.0 good)",
        "(3 (2 so) (4 good)",
        "(3 (2 so) (4 good)))",
        "(3 good) (4 better)",
        "(3 good) better",
        "(3 so good)",
        "(3 so (4 good))",
        "(3 (2 so) good)",
        "((2 so) (4 good))",
        "(3 (2) (4 good))",
        "3 good",
        ")(",
    ],
)
def test_malformed_tree(tmp_path, tree):
    path = write(tmp_path, f"(3 good)\n{tree}\n")
    with pytest.raises(na.DataError) as caught:
        list(Sentiment().examples(str(path), 0))
    assert str(caught.value).startswith(f"{path}, line 2: found {tree!r}; accepted: one Penn Treebank tree")


def test_deep_tree_needs_no_recursion():
    depth = 50_000
    assert parse("(2 " * depth + "end" + ")" * depth, "here") == (2, "end")
