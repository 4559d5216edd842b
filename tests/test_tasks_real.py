"""The official files, where they are: counts as published, and questions built from them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import neuron_antagonism as na
from neuron_antagonism_plugins import chunking, commonsense, ner, sentiment

DATA = Path(__file__).parents[1].parent / "shared" / "data"


def official(name: str) -> str:
    if not (DATA / name).is_file():
        pytest.skip(f"the official file {name} is not in {DATA}: it may not be redistributed with the project")
    return str(DATA / name)


def examples(task: na.Task, items: list[na.Item]) -> list[na.Example]:
    return na.build_examples(items, role=task.role, rule=task.rule, stems=task.stems, distractors=task.distractors)


@pytest.mark.parametrize(
    ("read", "name", "count"),
    [
        (ner.sentences, "fewnerd/inter_test.txt", 14_006),
        (ner.sentences, "fewnerd/inter_train_sample.txt", 13_012),
        (ner.sentences, "fewnerd/vertpapers_inter_test_excerpt.txt", 2),
        (chunking.sentences, "conll2000/train.txt", 8_936),
        (chunking.sentences, "conll2000/test.txt", 2_012),
        (sentiment.trees, "sst/train.txt", 8_544),
        (sentiment.trees, "sst/dev.txt", 1_101),
        (sentiment.trees, "sst/test.txt", 2_210),
        (commonsense.questions, "commonsenseqa/train_rand_split.jsonl", 9_741),
        (commonsense.questions, "commonsenseqa/dev_rand_split.jsonl", 1_221),
    ],
)
def test_published_counts(read, name, count):
    assert sum(1 for _ in read(official(name))) == count


@pytest.mark.parametrize(
    ("task", "name", "count"),
    [
        (ner.Ner(), "fewnerd/inter_test.txt", 14_006),
        (chunking.Chunking(), "conll2000/test.txt", 844),
        (sentiment.Sentiment(), "sst/test.txt", 2_210),
        (commonsense.Commonsense(), "commonsenseqa/dev_rand_split.jsonl", 1_221),
    ],
    ids=["ner", "chunking", "sentiment", "commonsense"],
)
def test_items_and_questions(task, name, count):
    items = list(task.examples(official(name), 0))
    assert len(items) == count
    assert items == list(task.examples(official(name), 0))
    assert {item.part for item in items} == {""}
    # A prefix is enough, and its length is a multiple of four: each letter is right equally often.
    built = examples(task, items[:400])
    right = Counter(question.answer for example in built for question in example.proxies)
    assert right == dict.fromkeys(range(4), 300)
    assert all(example.item.answer in example.proxies[0].options for example in built)


def test_few_nerd_labels_are_the_eight_coarse_types():
    lines = Path(official("fewnerd/labels.txt")).read_text(encoding="utf-8").split()
    assert {line.split("-")[0] for line in lines} - {"O"} == set(ner.TYPES)


def test_excerpt_with_spaces_equals_the_file_with_tabs():
    excerpt = list(ner.sentences(official("fewnerd/vertpapers_inter_test_excerpt.txt")))
    whole = ner.sentences(official("fewnerd/inter_test.txt"))
    assert excerpt == [next(whole) for _ in excerpt]


def test_mentions_occur_in_their_sentence():
    for item in ner.Ner().examples(official("fewnerd/inter_train_sample.txt"), 3):
        assert f" {item.meta['mention']} " in f" {item.text} "


def test_sst_keeps_no_escapes():
    texts = [text for _, text in sentiment.trees(official("sst/train.txt"))]
    assert not any("\\" in text or "-RRB-" in text.split() or "-LRB-" in text.split() for text in texts)
    assert sum("(" in text for text in texts) > 100


def test_commonsense_repeated_choices_leave_four_options():
    items = list(commonsense.Commonsense().examples(official("commonsenseqa/train_rand_split.jsonl"), 0))
    assert Counter(len(item.distractors) for item in items) == {4: 9_619, 3: 122}


def test_chunking_is_not_solved_without_reading():
    """No rule that sees only the options does much better than a guess on the official test part."""
    split = na.load_task("chunking", source=official("conll2000/test.txt")).split(5, 5, 20)
    assert max(split.natural.blind.values()) <= 0.3


def test_sentiment_is_never_not_sure():
    """The most frequent answer of the training part does better than a guess, and sets the level of chance."""
    files = {name: official(f"sst/{name}.txt") for name in ("test", "train")}
    split = na.load_task("sentiment", source=files["test"], train=files["train"]).split(5, 5, 20)
    assert split.natural.blind["frequent"] > 0.35
    assert split.natural.chance == split.natural.blind["frequent"]
