"""Well-known data sets by name: every one reads rows of its published shape, from where its task file says they are.

The rows are written here; only their columns and types are those of the data sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import neuron_antagonism as na
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.testing import TaskTests
from neuron_antagonism_plugins.presets import FOLDER, PRESETS

datasets = pytest.importorskip("datasets", reason="the data sets on the Hub need the optional package datasets")

Value, Classes = datasets.Value, datasets.ClassLabel
TEXT, TEXTS, NUMBER = Value("string"), datasets.Sequence(Value("string")), Value("int64")
LABELLED = {"text": TEXTS, "label": TEXTS}
MARKED = {"choices": TEXTS, "labels": datasets.Sequence(Value("int32"))}


def wrong(n: int, count: int = 3) -> list[str]:
    return [f"{letter}{n}" for letter in "bcdefg"[:count]]


def among(n: int, right: str, others: list[str]) -> list[str]:
    """Options in which the right one stands at another place from row to row."""
    return [*others[: n % (len(others) + 1)], right, *others[n % (len(others) + 1) :]]


class Shape(NamedTuple):
    """A data set as it is published.

    Args:
        id, config: what is loaded.
        features: columns and types.
        row: the values of the row of a number, whose right answer is `a<number>`, or as `answer` says.
        splits: that have answers; the first is what is asked.
        unlabelled: splits whose rows have no answer, as these values write.
        options: of a question.
        answer: the right answer of the row of a number.
    """

    id: str
    config: str | None
    features: dict[str, Any]
    row: Callable[[int], dict[str, Any]]
    splits: tuple[str, ...] = ("test", "train", "validation")
    unlabelled: dict[str, Any] = {}  # noqa: RUF012  # never changed
    options: int = 4
    answer: Callable[[int], str] = "a{}".format


def science(n: int) -> dict[str, Any]:
    options = among(n, f"a{n}", wrong(n))
    numbered = n % 5 == 0
    labels = list("1234" if numbered else "ABCD")
    return {
        "id": f"id{n}",
        "question": f"Which ore is number {n}?",
        "choices": {"text": options, "label": labels},
        "answerKey": labels[n % 4],
    }


ARC = {"id": TEXT, "question": TEXT, "choices": LABELLED, "answerKey": TEXT}

SHAPES = {
    "mmlu": Shape(
        "cais/mmlu",
        "all",
        {"question": TEXT, "subject": TEXT, "choices": TEXTS, "answer": Classes(names=list("ABCD"))},
        lambda n: {
            "question": f"Which ore is number {n}?",
            "subject": "ores",
            "choices": among(n, f"a{n}", wrong(n)),
            "answer": n % 4,
        },
        ("test", "validation", "dev", "auxiliary_train"),
    ),
    "arc-easy": Shape("allenai/ai2_arc", "ARC-Easy", ARC, science),
    "arc-challenge": Shape("allenai/ai2_arc", "ARC-Challenge", ARC, science),
    "hellaswag": Shape(
        "Rowan/hellaswag",
        None,
        {
            **dict.fromkeys(("activity_label", "ctx_a", "ctx_b", "ctx", "source_id", "split", "split_type"), TEXT),
            "ind": Value("int32"),
            "endings": TEXTS,
            "label": TEXT,
        },
        lambda n: {
            "ind": n,
            "activity_label": "Mining",
            "ctx_a": f"He lifts ore {n}.",
            "ctx_b": "he",
            "ctx": f"He lifts ore {n}. he",
            "source_id": f"mine~{n}",
            "split": "val",
            "split_type": "indomain",
            "endings": among(n, f"a{n}", wrong(n)),
            "label": str(n % 4),
        },
        ("validation", "train"),
        {"test": {"label": ""}},
    ),
    "openbookqa": Shape(
        "allenai/openbookqa",
        "main",
        {"id": TEXT, "question_stem": TEXT, "choices": LABELLED, "answerKey": TEXT},
        lambda n: {
            "id": f"{n}-1",
            "question_stem": f"Ore {n} is",
            "choices": {"text": among(n, f"a{n}", wrong(n)), "label": list("ABCD")},
            "answerKey": "ABCD"[n % 4],
        },
    ),
    "piqa": Shape(
        "baber/piqa",
        None,
        {"goal": TEXT, "sol1": TEXT, "sol2": TEXT, "label": NUMBER},
        lambda n: {
            "goal": f"To melt ore {n}",
            **dict(zip(("sol1", "sol2"), among(n, f"a{n}", wrong(n, 1)), strict=True)),
            "label": n % 2,
        },
        ("validation", "train"),
        {"test": {"label": -1}},
        options=2,
    ),
    "winogrande": Shape(
        "allenai/winogrande",
        "winogrande_xl",
        {"sentence": TEXT, "option1": TEXT, "option2": TEXT, "answer": TEXT},
        lambda n: {
            "sentence": f"The ore went to the smith {n} because _ was hot.",
            **dict(zip(("option1", "option2"), among(n, f"a{n}", wrong(n, 1)), strict=True)),
            "answer": str(1 + n % 2),
        },
        ("validation", "train"),
        {"test": {"answer": ""}},
        options=2,
    ),
    "boolq": Shape(
        "google/boolq",
        None,
        {"question": TEXT, "answer": Value("bool"), "passage": TEXT},
        lambda n: {"question": f"is ore {n} red", "answer": n % 2 == 0, "passage": f"Of ore {n} much is known."},
        ("validation", "train"),
        options=2,
        answer=lambda n: ("yes", "no")[n % 2],
    ),
    "sciq": Shape(
        "allenai/sciq",
        None,
        dict.fromkeys(("question", "distractor3", "distractor1", "distractor2", "correct_answer", "support"), TEXT),
        lambda n: {
            "question": f"Which ore is number {n}?",
            **{f"distractor{i + 1}": text for i, text in enumerate(wrong(n))},
            "correct_answer": f"a{n}",
            "support": "" if n % 3 else "Ores are numbered.",
        },
    ),
    "race": Shape(
        "ehovy/race",
        "all",
        {"example_id": TEXT, "article": TEXT, "answer": TEXT, "question": TEXT, "options": TEXTS},
        lambda n: {
            "example_id": f"high{n}.txt",
            "article": f"Once there was an ore, number {n}.",
            "answer": "ABCD"[n % 4],
            "question": "The ore was _ .",
            "options": among(n, f"a{n}", wrong(n)),
        },
    ),
    "mathqa": Shape(
        "regisss/math_qa",
        None,
        dict.fromkeys(
            ("Problem", "Rationale", "options", "correct", "annotated_formula", "linear_formula", "category"), TEXT
        ),
        lambda n: {
            "Problem": f"how many of {n} , 000 ores are red ?",
            "Rationale": "count them",
            "options": " , ".join(map(" ) ".join, zip("abcde", among(n, f"{n} , 001 ores", wrong(n, 4)), strict=True))),
            "correct": "abcde"[n % 5],
            **dict.fromkeys(("annotated_formula", "linear_formula", "category"), "general"),
        },
        answer="{} , 001 ores".format,
    ),
    "medmcqa": Shape(
        "openlifescienceai/medmcqa",
        None,
        {
            **dict.fromkeys(("id", "question", "opa", "opb", "opc", "opd", "choice_type", "exp"), TEXT),
            "cop": Classes(names=list("abcd")),
            "subject_name": TEXT,
            "topic_name": TEXT,
        },
        lambda n: {
            "id": f"id{n}",
            "question": f"Which ore heals illness {n}?",
            "cop": n % 4,
            "choice_type": "single",
            **dict(zip(("opa", "opb", "opc", "opd"), among(n, f"a{n}", wrong(n)), strict=True)),
            "exp": None,
            "subject_name": "Ores",
            "topic_name": None,
        },
        ("validation", "train"),
        {"test": {"cop": -1}},
    ),
    "truthfulqa-mc1": Shape(
        "truthfulqa/truthful_qa",
        "multiple_choice",
        {"question": TEXT, "mc1_targets": MARKED, "mc2_targets": MARKED},
        lambda n: {
            "question": f"What does ore {n} do at night?",
            "mc1_targets": {"choices": [f"a{n}", *wrong(n, 3 + n % 3)], "labels": [1, *[0] * (3 + n % 3)]},
            "mc2_targets": {"choices": [f"a{n}", f"z{n}", *wrong(n)], "labels": [1, 1, 0, 0, 0]},
        },
        ("validation",),
    ),
    "blimp": Shape(
        "nyu-mll/blimp",
        "regular_plural_subject_verb_agreement_1",
        {
            **dict.fromkeys(("sentence_good", "sentence_bad", "field", "linguistics_term", "UID"), TEXT),
            **dict.fromkeys(
                ("simple_LM_method", "one_prefix_method", "two_prefix_method", "lexically_identical"), Value("bool")
            ),
            "pair_id": Value("int32"),
        },
        lambda n: {
            "sentence_good": f"Ores {n} are red.",
            "sentence_bad": f"Ores {n} is red.",
            "pair_id": n,
            "field": "morphology",
            "linguistics_term": "agreement",
            "UID": "agreement_1",
            **dict.fromkeys(("one_prefix_method", "two_prefix_method", "lexically_identical"), False),
            "simple_LM_method": True,
        },
        ("train",),
        options=2,
        answer="Ores {} are red.".format,
    ),
}
ROWS = 15
ASKED: list[tuple[str, str | None]] = []


def loaded(name: str, config: str | None = None) -> Any:
    """What `datasets.load_dataset` gives for a data set above: some rows a split, none twice."""
    ASKED.append((name, config))
    shape = next(shape for shape in SHAPES.values() if (shape.id, shape.config) == (name, config))
    made = {}
    for number, split in enumerate((*shape.splits, *shape.unlabelled)):
        rows = [shape.row(100 * number + n) | shape.unlabelled.get(split, {}) for n in range(ROWS)]
        made[split] = datasets.Dataset.from_list(rows, features=datasets.Features(shape.features))
    return datasets.DatasetDict(made)


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", loaded)
    ASKED.clear()


def test_every_preset_is_registered_and_has_a_shape_here():
    names = [preset.name for preset in PRESETS]
    assert sorted(names) == sorted(SHAPES) == sorted(file.stem for file in FOLDER.glob("*.yaml"))
    assert set(names) <= set(registry().names("task"))


@pytest.mark.parametrize("name", SHAPES)
def test_rows_of_the_published_shape(name):
    """The data set and split that are meant; every row's question, right answer and options."""
    shape = SHAPES[name]
    task = registry().make(na.Task, name)
    found = list(task.examples(None, 0))
    assert [(shape.id, shape.config)] == ASKED
    assert task.n_options == shape.options
    trained = "train" in shape.splits[1:]
    test = [item for item in found if item.part in ("test", "")]
    assert [item.answer for item in test] == [shape.answer(n) for n in range(ROWS)]
    train = [item for item in found if item.part == "train"]
    at = 100 * shape.splits.index("train") if trained else 0
    assert [item.answer for item in train] == [shape.answer(at + n) for n in range(ROWS if trained else 0)]
    assert all(len(set(item.distractors) - {item.answer}) >= shape.options - 1 for item in found)
    assert not task.left_out


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.unlabelled])
def test_rows_without_an_answer_are_left_out(name):
    """A test part that is published without answers is not asked; where it is named all the same, that is said."""
    shape = SHAPES[name]
    task = registry().make(na.Task, name)
    assert len(list(task.examples(None, 0))) == 2 * ROWS
    hidden = loaded(shape.id, shape.config)["test"]
    assert [row[next(iter(shape.unlabelled["test"]))] for row in hidden] == [*shape.unlabelled["test"].values()] * ROWS


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("form", ["letters", "words"])
def test_questions(name, form):
    """Both forms ask what the row holds; the passage that several questions have in common stays in one set."""
    loaded_task = na.load_task(name)
    if form not in loaded_task.task.forms:
        assert name == "blimp"
        return
    split = loaded_task.split(2, 3, 4, form=form, **({"shots": 1} if form == "words" else {}))
    for example in split.evaluate:
        for question in example.proxies:
            assert question.options[question.answer] == example.item.answer
            assert example.item.text in question.prompt or name == "blimp"
            assert "{" not in question.prompt
            if form == "words":
                assert not question.prompt.endswith((" ", "\n"))


def test_units():
    """Questions about one article are never divided among sets."""
    for name, meta in (("race", "article"), ("boolq", "passage"), ("hellaswag", "source")):
        item = next(iter(registry().make(na.Task, name).examples(None, 0)))
        assert item.unit == item.meta[meta]


def test_options_that_can_not_be_taken_apart():
    """MathQA's rows in another form than the others' are left out and counted."""
    shape = SHAPES["mathqa"]
    rows = [shape.row(n) for n in range(3)]
    rows[1]["options"], rows[2]["correct"] = "a ) 1 b ) 2", "f"
    task = registry().make(na.Task, "mathqa")
    made = datasets.Dataset.from_list(rows, features=datasets.Features(shape.features))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset", lambda *_: {"test": made, "train": made})
        assert len({item.text for item in task.examples(None, 0)}) == 1
    assert sum(task.left_out.values()) == 4


globals().update(
    {f"Test{preset.name}": type(f"Test{preset.name}", (TaskTests,), {"plugin": preset}) for preset in PRESETS}
)
