"""Examples by class: through letters and before the label, balanced, disjoint, the same for the same seed."""

from __future__ import annotations

import csv
import re
from collections import Counter
from typing import ClassVar

import plain
import pytest
import tiny
import torch

import neuron_antagonism as na

one_thread = tiny.one_thread

TOPICS = ("w1", "w2", "w3", "w4")
NEWS = """\
name: news
data: {test: test.csv, train: train.csv}
header: [class, title, text]
columns: {text: text, answer: class, meta: {title: title}}
labels: {1: w1, 2: w2, 3: w3, 4: w4}
role: You sort news.
stems: "{title}: {text} Topic?"
"""
WHAT = {1: "an election is near", 2: "the match was lost", 3: "shares fell again", 4: "a new chip is out"}


class Kinds(na.Task):
    """Three classes of which there are 12, 8 and 4 texts, in one part; every fifth text is long."""

    name = "kinds"
    concepts = ("w5", "w6", "w7")
    role = "w8 w9"
    rule = "w9"
    stems = ("{text} w10",)
    counts: ClassVar[dict[str, int]] = {"w5": 12, "w6": 8, "w7": 4}

    def examples(self, source, seed):
        for concept, count in self.counts.items():
            for i in range(count):
                text = f"{concept} w{11 + i} " + "w30 " * (60 if i % 5 == 4 else 1)
                yield na.Item(text.strip(), concept, ("w5", "w6", "w7", "w0", "w39"))


class Numbers(Kinds):
    name = "numbers"
    concepts = ()


@pytest.fixture
def news(tmp_path):
    """A task file over headerless files, like AG News: class 1 to 4, title, text; five of each in each part."""
    for part in ("train", "test"):
        with (tmp_path / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerows(
                (k, f"{part} {k}{i}", f'{what}, as {part} {i} "they" say') for i in range(5) for k, what in WHAT.items()
            )
    (tmp_path / "news.yaml").write_text(NEWS, encoding="utf-8")
    return tmp_path / "news.yaml"


def shown(prompt: str) -> list[tuple[str, str]]:
    """Stem and label of the answered examples at a prompt's head."""
    return re.findall(r"^(.+ Topic\?)\nAnswer: (\S+)$", prompt, re.MULTILINE)


def keys(examples) -> list:
    return [example.item.key for example in examples]


@pytest.mark.parametrize("form", ["letters", "label"])
def test_a_file_of_labelled_texts(news, form):
    """As many of each class as asked for, learned from the training part, reported on the test part, asked rightly."""
    split = na.concept_split(news, form=form, identify=3, evaluate=2)
    assert split.concepts == TOPICS
    assert split.report.notes == []
    for part, count, examples in (("train", 3, split.identify), ("test", 2, split.evaluate)):
        assert Counter(example.item.answer for example in examples) == dict.fromkeys(TOPICS, count)
        for example in examples:
            k = TOPICS.index(example.item.answer) + 1
            title = example.item.meta["title"]
            assert title.startswith(f"{part} {k}")
            assert example.item.text.startswith(WHAT[k])
            assert {question.concept for question in example.proxies} == {TOPICS[k - 1]}
            assert {type(q) for q in example.proxies} == {na.Question if form == "letters" else na.LabelQuestion}
            assert all(f"{title}: {example.item.text} Topic?\n" in q.prompt for q in example.proxies)
            assert len(example.proxies) == (3 if form == "letters" else 1)
            assert all(set(question.options) == set(TOPICS) for question in example.proxies)


@pytest.mark.parametrize("shots", [0, 1, 2])
def test_label_prompts_end_before_the_label(news, shots):
    """A prompt is the role, the labels, `shots` answered training texts of each class, and the text up to its label."""
    split = na.concept_split(news, form="label", identify=2, evaluate=1, shots=shots)
    prompts = [example.proxies[0].prompt for example in (*split.identify, *split.evaluate)]
    heads = {prompt.rpartition("\n\n")[0] for prompt in prompts}
    (head,) = heads
    assert head.startswith("You sort news.\nReply with one of these: w1, w2, w3, w4.")
    assert Counter(label for _, label in shown(head)) == ({} if not shots else dict.fromkeys(TOPICS, shots))
    for stem, label in shown(head):
        assert stem.startswith(f"train {TOPICS.index(label) + 1}")
    for example, prompt in zip((*split.identify, *split.evaluate), prompts, strict=True):
        item = example.item
        assert prompt == f"{head}\n\n{item.meta['title']}: {item.text} Topic?\nAnswer:"
        assert f"{item.meta['title']}:" not in head


@pytest.mark.parametrize("form", ["letters", "label"])
def test_no_text_is_used_twice(form):
    """Without a training part too, no text is in both sets, nor shown in a prompt and asked."""
    split = na.concept_split(Kinds(), form=form, identify=2, evaluate=20, shots=1)
    used = [*keys(split.identify), *keys(split.evaluate)]
    assert len(set(used)) == len(used) == 24 - (1 if form == "letters" else 3)
    head = split.identify[0].proxies[0].prompt.rpartition("\n\n")[0]
    assert not [text for text, _, _ in used if f"{text} w10\n" in head]
    assert len(re.findall(r"Answer: ", head)) == (1 if form == "letters" else 3)


@pytest.mark.parametrize("form", ["letters", "label"])
def test_the_same_seed_gives_the_same_examples(form):
    """Questions and their order depend on the seed alone."""
    one, again, other = (na.concept_split(Kinds(), form=form, identify=2, evaluate=2, seed=seed) for seed in (3, 3, 4))
    assert (one.identify, one.evaluate) == (again.identify, again.evaluate)
    assert set(keys(one.identify)) != set(keys(other.identify))


def test_a_class_keeps_one_for_each_set():
    """Of one pool the first set leaves the second one an example of every class."""
    split = na.concept_split(Kinds(), form="label", identify=4, evaluate=1, shots=0)
    assert Counter(e.item.answer for e in split.identify) == {"w5": 4, "w6": 4, "w7": 3}
    assert Counter(e.item.answer for e in split.evaluate) == {"w5": 1, "w6": 1, "w7": 1}
    assert split.report.notes == ["identify: 3 examples of 'w7' instead of 4"]


@pytest.mark.parametrize("form", ["letters", "label"])
def test_a_class_that_the_data_does_not_hold_is_no_concept(form):
    """It is left out and noted; prompts and labels name the others only."""

    class Fewer(Kinds):
        name = "fewer"
        concepts = ("w5", "w6", "w7", "w39")
        counts: ClassVar[dict[str, int]] = {"w5": 12, "w6": 8, "w7": 1}

    split = na.concept_split(Fewer(), form=form, identify=2, evaluate=2, shots=1)
    assert split.concepts == ("w5", "w6")
    assert split.report.notes == [
        "the class 'w7' is left out: it has too few examples (1)",
        "the class 'w39' is left out: the data holds no example of it",
    ]
    if form == "label":
        assert {q.options for e in split.evaluate for q in e.proxies} == {("w5", "w6")}


@pytest.mark.parametrize("form", ["letters", "label"])
def test_sets_share_no_text(form):
    """Texts that several items ask about stand in one of demonstration or shots, identify and evaluate."""

    class Repeated(Kinds):
        name = "repeated"

        def examples(self, source, seed):
            for i, item in enumerate(super().examples(source, seed)):
                yield na.Item(f"text  {i // 2}", item.answer, item.distractors, {"id": str(i)})

    split = na.concept_split(Repeated(), form=form, identify=2, evaluate=2, shots=1)
    units = [{example.unit for example in examples} for examples in (split.identify, split.evaluate)]
    assert not units[0] & units[1]
    head = split.evaluate[0].proxies[0].prompt.rpartition("\n\n")[0]
    assert not any(f"{unit} w10" in " ".join(head.split()) for unit in set.union(*units))
    assert any("left out: their text is in another set" in note for note in split.report.notes)


def test_a_class_that_runs_short_is_noted():
    """A class with too few texts gives what it has, in the classes' order, and a note says so."""
    split = na.concept_split(Kinds(), form="label", identify=2, evaluate=3, shots=1)
    assert [e.item.answer for e in split.identify] == ["w5", "w5", "w6", "w6", "w7", "w7"]
    assert [e.item.answer for e in split.evaluate] == ["w5"] * 3 + ["w6"] * 3 + ["w7"]
    assert split.report.notes == ["evaluate: 1 examples of 'w7' instead of 3"]


@pytest.mark.parametrize("form", ["letters", "label"])
def test_only_what_fits_the_context_is_taken(form):
    """Prompts longer than the model's context are left out and counted; the others can be asked."""
    model = tiny.shared("llama", torch.float32, max_position_embeddings=64)
    fitting = na.concept_split(Kinds(), form=form, identify=1, evaluate=20, shots=0, fits=model)
    every = na.concept_split(Kinds(), form=form, identify=1, evaluate=20, shots=0)
    lengths = [len(model.encode(q).ids) for e in fitting.evaluate for q in e.proxies]
    assert max(lengths) <= 64
    longer = [e for e in (*every.identify, *every.evaluate) if e.item.text.count("w30") == 60]
    assert len(longer) == fitting.report.too_long == 3
    assert len(fitting.evaluate) == len(every.evaluate) - 3


def test_label_questions_are_answered_by_the_model(news):
    """What the model answers is the likeliest of the labels' tokens after the prompt, by the bare module."""
    split = na.concept_split(news, form="label", identify=1, evaluate=1)
    found = na.evaluate(tiny.shared("llama"), split.evaluate)
    words, module = tiny.tokenizer(), tiny.hf("llama")
    first = [words(label)["input_ids"][0] for label in TOPICS]
    asked = [example.proxies[0].prompt for example in split.evaluate]
    expected = [int(plain.logits(module, words(prompt)["input_ids"])[-1][first].argmax()) for prompt in asked]
    assert found.chosen.tolist() == expected
    assert found.answers.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        (Kinds(), {"form": "lettres"}, "unknown form 'lettres'; did you mean 'letters'?"),
        (Kinds(), {"identify": 0}, "identify is 0; accepted: a whole number from 1"),
        (Kinds(), {"evaluate": 1.0}, "evaluate is 1.0; accepted: a whole number from 1"),
        (Kinds(), {"evaluate": True}, "evaluate is True; accepted: a whole number from 1"),
        (Kinds(), {"shots": -1}, "shots is -1; accepted: a whole number from 0"),
        (Kinds(), {"form": "label", "shots": 8}, "the class 'w7' is left out: it has too few examples (4); accepted: "),
        (Numbers(), {}, "the answers of task 'numbers' are no classes; accepted: a task with concepts"),
        ("chunking", {}, "the answers of task 'chunking' are no classes"),
        ("sentimant", {}, "unknown task 'sentimant'; did you mean 'sentiment'?"),
        ("gone.yaml", {}, "gone.yaml: no such file"),
    ],
)
def test_what_is_refused(task, options, said):
    """Wrong forms, sizes and tasks are one line."""
    with pytest.raises(na.AntagonismError, match=re.escape(said)) as caught:
        na.concept_split(task, **{"identify": 2, "evaluate": 2, **options})
    assert "\n" not in str(caught.value)
