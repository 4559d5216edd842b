"""Answers in words: the same questions without letters, whose prompts end where an option begins."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from typing import Any

import plain
import pytest
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.model.letters import Letters
from neuron_antagonism.model.prefix import families
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.job import Job, ModelSource, TaskSource
from neuron_antagonism.suites.bench import bench
from neuron_antagonism.suites.forms import form_checks
from neuron_antagonism.suites.spec import Suite
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.units.examples import Sizes

one_thread = tiny.one_thread

STEMS = ("{text} w10", "w11 {text} w12", "w13 {text}\nAnswer:")
SMALL: dict[str, Any] = {"identify": 3, "select": 6, "evaluate": 6, "budget": 6, "random_draws": 2}


def item(i: int, answer: str = "w5", wrong: tuple[str, ...] = ("w6", "w7")) -> na.Item:
    return na.Item(f"w{20 + i}", answer, wrong)


class Kinds(na.Task):
    """Three classes and one that is not asked for in words; texts enough of each, in one part."""

    name = "kinds"
    concepts = ("w5", "w6", "w7", "w8")
    role, rule, stems = "w1", "w2", ("{text} w10",)
    words_stems = STEMS
    words_options = ("w5", "w6", "w7")
    words_shots = 2

    def examples(self, source, seed):
        for i in range(60):
            wrong = tuple(name for name in self.concepts if name != self.concepts[i % 4])
            yield na.Item(f"w{20 + i // 4} w{30 + i % 10} {tiny.text(i)}", self.concepts[i % 4], wrong)


class Own(na.Task):
    """Options of each item's own; of every fourth item two begin alike."""

    name = "own"
    role, rule, stems = "w1", "w2", ("{text} w10",)
    words_stems = STEMS

    def examples(self, source, seed):
        for i in range(48):
            first, *others = (f"w{(i + k) % 20} w39" for k in range(4))
            yield na.Item(tiny.text(i), first, (*others[:2], f"{first} w1" if i % 4 == 0 else others[2]))


def every(split: Split) -> list[na.Example]:
    return [*split.identify, *split.select, *split.evaluate]


def questions(split: Split) -> list[na.Question]:
    return [question for example in every(split) for question in example.proxies]


@pytest.fixture
def model():
    return tiny.shared("llama", torch.float32)


def test_prompts_by_hand():
    """Shown items with their answers, for each stem another last, then the item, up to where the answer begins."""
    shots = [item(i, f"w{5 + i}") for i in range(3)]
    (example,) = na.build_examples([item(9)], stems=STEMS, n_options=3, form="words", shots=shots, role="w0")
    orders = []
    for stem, question in zip(STEMS, example.proxies, strict=True):
        head, *shown, asked = question.prompt.split("\n\n")
        assert (head, asked) == ("w0", stem.format(text="w29"))
        answered = {f"{stem.format(text=shot.text)} {shot.answer}": i for i, shot in enumerate(shots)}
        orders.append(tuple(answered[one] for one in shown))
        assert (question.form, question.letters, question.concept) == ("words", question.options, "w5")
        assert sorted(question.options) == ["w5", "w6", "w7"]
    assert len({order[-1] for order in orders}) == 3
    assert {frozenset(order) for order in orders} == {frozenset(range(3))}
    assert len({question.answer for question in example.proxies}) == 3


def test_answers_take_turns():
    """Of classes each is shown once a round, and each proxy ends with another."""
    shots = [item(i, f"w{5 + i % 3}") for i in range(9)]
    (example,) = na.build_examples([item(12)], stems=["{text} w10"], n_options=3, form="words", shots=shots)
    ends = set()
    for question in example.proxies:
        answers = [line.split()[-1] for line in question.prompt.split("\n\n")[:-1]]
        assert all(sorted(answers[i : i + 3]) == ["w5", "w6", "w7"] for i in (0, 3, 6))
        ends.add(answers[-1])
    assert len(ends) == 3


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_shots_have_fewer_orders(count):
    """None, one and two shown items are shown in the one or two orders that there are."""
    (example,) = na.build_examples(
        [item(9)], stems=["{text}"], n_options=3, form="words", shots=[item(i) for i in range(count)]
    )
    assert len({question.prompt for question in example.proxies}) == max(1, count)
    assert all(question.prompt.endswith("w29") for question in example.proxies)


def test_an_item_s_own_counterfactual_is_asked_in_words_too():
    """Its text in the same prompt, its answer among the same options; without one there is none."""
    other = na.Item("w19", "w6", ("w5",))
    asked = na.Item("w9", "w5", ("w6", "w7"), counterfactual=other)
    for question in na.build_examples([asked], stems=STEMS, n_options=3, form="words")[0].proxies:
        counter = question.counterfactual
        assert (counter.form, counter.options, counter.concept) == ("words", question.options, "w6")
        assert counter.prompt == question.prompt.replace("w9", "w19")
    (example,) = na.build_examples([item(1)], stems=STEMS, n_options=3, form="words")
    assert example.proxies[0].counterfactual is None


def test_no_counterfactual_says_what_is_accepted(model):
    """The baseline is refused in one line that names the others."""
    examples = na.build_examples([item(i) for i in range(2)], stems=STEMS, n_options=3, form="words")
    with pytest.raises(na.DataError, match='has no counterfactual; accepted: the baseline "mean" or "zero"') as caught:
        na.attribute(model, examples, "grad-x-act", options={"baseline": "counterfactual"}, budget=5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", [Kinds, Own])
def test_sets_and_shots_share_no_text(source, model):
    """What is shown is asked nowhere, and no text is in two sets; the same seed gives the same."""
    split = na.load_task(source()).split(4, 6, 8, form="words", shots=2, fits=model)
    shown = {line for q in questions(split) for line in q.prompt.split("\n\n")[:-1]}
    n_shown = split.report.shown
    assert len(shown) == 3 * n_shown == (18 if source is Kinds else 6)
    texts = [example.item.text for example in every(split)]
    assert len(set(texts)) == len(texts) == 18
    assert not any(text in line for text in texts for line in shown)
    again = na.load_task(source()).split(4, 6, 8, form="words", shots=2, fits=model)
    assert list(again.rows()) == list(split.rows())


def test_classes_are_the_options():
    """Each question has every class that is asked for, in no fixed order; of each, as many are shown."""
    split = na.load_task(Kinds()).split(4, 6, 8, form="words")
    assert {frozenset(q.options) for q in questions(split)} == {frozenset(Kinds.words_options)}
    assert len({q.answer for q in questions(split)}) == 3
    head = split.identify[0].proxies[0].prompt.split("\n\n")[:-1]
    assert Counter(line.split()[-1] for line in head) == dict.fromkeys(Kinds.words_options, 2)
    assert split.natural.options == 3
    assert split.natural.chance >= 1 / 3
    assert "15 of 60 rows left out: their answer is no class that is asked for" in split.report.notes
    assert set(split.report.right_letters["evaluate"]) == set(Kinds.words_options)


def test_options_that_begin_alike_are_left_out_and_counted(model):
    """Of options of an item's own; where the classes of all questions do, the error names two of them."""
    split = na.load_task(Own()).split(4, 0, 40, form="words", shots=2, fits=model)
    assert split.report.alike > 0
    assert f"{split.report.alike} of 48 rows left out: their options begin with the same token" in split.report.notes
    found = na.evaluate(model, every(split))
    assert found.option_probabilities.shape == (3 * len(every(split)), 4)
    assert split.report.right_letters["evaluate"] == {}

    class Alike(Kinds):
        words_options = ("w5 w1", "w5 w2")
        concepts = words_options

        def examples(self, source, seed):
            for i in range(20):
                yield na.Item(tiny.text(i), self.concepts[i % 2], self.concepts)

    with pytest.raises(na.ModelError, match="begins the labels 'w5 w1' and 'w5 w2' with the same token"):
        na.load_task(Alike()).split(2, 0, 2, form="words", fits=model)


def test_options_that_only_differ_elsewhere_are_alike():
    """The answer is read where most questions can be; a word that begins otherwise there is no reason to move."""
    words = {"a": ("an apple", "pears"), "b": ("figs", "plums"), "c": ("an egg", "an ear")}
    asked = [na.Question(f"{name} Answer:", options, 0, form="words") for name, options in words.items()]
    tokenizer = tiny.tokenizer("an", "pears", "figs", "plums", "apple", "egg", "ear", "a", "b", "c")
    module = tiny.hf("llama", torch.float32, vocab_size=len(tokenizer))
    assert na.load_model(hf_model=module, tokenizer=tokenizer).readable(asked) == [True, True, False]


def test_a_first_token_that_all_share_is_none_of_the_prompt_s():
    """Where every option begins with " the", a blank before it being part of the token, none can be told apart."""
    known: dict[str, int] = {}

    def tokenize(text: str) -> list[int]:
        return [known.setdefault(piece, len(known)) for piece in re.findall(r" ?\w+|\W", text)]

    letters = Letters(tokenize, "t")
    with pytest.raises(na.ModelError, match="with the same token"):
        letters.encode("Answer:", ("the shop", "the bank"), whole=False)
    encoded = letters.encode("Answer:", ("the shop", "a bank"), whole=False)
    assert (list(encoded.ids), list(encoded.letters)) == (tokenize("Answer:"), [*tokenize(" the"), *tokenize(" a")])


def test_a_saved_split_keeps_the_form(tmp_path):
    """Questions come back as they were."""
    split = na.load_task(Kinds()).split(2, 2, 2, form="words")
    split.save(tmp_path / "s.jsonl")
    assert Split.load(tmp_path / "s.jsonl").identify == split.identify
    assert all(json.loads(line).get("set") for line in (tmp_path / "s.jsonl").read_text("utf-8").splitlines())


def test_prompts_with_other_beginnings_are_run_apart():
    """Three heads are three families; a few tokens, or a few prompts, are no reason."""
    heads = [[h, *range(10, 40)] for h in (1, 2, 3)]
    prompts = [[*heads[i % 3], 50 + i, 9] for i in range(18)]
    assert families(prompts) == [list(range(i, 18, 3)) for i in range(3)]
    assert families(prompts[:9]) == [list(range(9))]
    assert families([[7, *range(10, 40), i % 3, 50 + i, 9] for i in range(18)]) == [list(range(18))]
    assert families([[1, 2, 3]]) == [[0]]


@pytest.mark.parametrize("positions", ["last", "all"])
def test_answers_are_the_plain_modules(positions):
    """Under an edit or none, however prompts share what they begin with, every engine's answers are those alone."""
    module, model = tiny.hf("llama"), tiny.shared("llama")
    asked = na.load_task(Kinds()).split(1, 0, 12, form="words", shots=3).evaluate
    edit = na.edit(na.NeuronSet.of([(0, 3), (2, 20)]), "excite", positions=positions)
    assert len(families([model.encode(q).ids for e in asked for q in e.proxies])) == 3
    for engine in ("auto", "reference"):
        before, after = na.evaluate_many(model, asked, [None, edit], engine=engine)
        for row, question in enumerate(q for e in asked for q in e.proxies):
            encoded = model.encode(question)
            logits = plain.logits(module, encoded.ids)[-1]
            expected = logits[list(encoded.letters)].softmax(0)
            assert torch.allclose(before.option_probabilities[row], expected, rtol=0, atol=1e-6)
            assert float(before.letter_mass[row]) == pytest.approx(
                float(logits.softmax(0)[list(encoded.letters)].sum()), abs=1e-6
            )
        for row in (0, 17, 35):
            question = [q for e in asked for q in e.proxies][row]
            alone = na.evaluate(model, [question], edit, engine="reference")
            assert torch.allclose(after.option_probabilities[row], alone.option_probabilities[0], rtol=0, atol=1e-6)


def test_every_scorer_works_in_words(model):
    """Each registered scorer that needs neither a file nor counterfactuals gives finite scores."""
    examples = na.load_task(Kinds()).split(8, 0, 0, form="words", shots=1).identify
    # the path of inputs starts at a counterfactual, which these lack
    names = [name for name in registry().names("scorer") if name not in ("neurons", "ig-inputs")]
    found = na.attribute_many(model, examples, names, steps=2, budget=6)
    assert set(found) == set(names)
    assert all(bool(torch.isfinite(a.scores).all()) for a in found.values())


@pytest.mark.parametrize("source", [Kinds, Own])
def test_a_run_in_words(source, model, tmp_path):
    """From examples to a table that says how was asked; another form or number of shots is asked anew."""
    asked = {"tasks": [source()], "scorers": ["ace", "random"], **SMALL}
    result = na.run(model, **asked, form="words", shots=2, out=tmp_path / "run")
    assert result.manifest["config"]["form"] == "words"
    assert result.manifest["config"]["shots"] == 2
    shown = 6 if source is Kinds else 2
    assert f"asked in words, {shown} answered examples shown" in str(result.table)
    assert "option mass" in str(result.table)
    name = source.name
    assert result.results["tasks"][name]["natural"]["options"] == (3 if source is Kinds else 4)
    rows = result.results["tasks"][name]["side_effects"]["rows"]
    assert set(rows[0]["by_letter"]) == (set(Kinds.words_options) if source is Kinds else set())
    assert {q.form for q in questions(result.splits[name])} == {"words"}
    loaded = na.load_run(tmp_path / "run")
    assert str(loaded.table) == str(result.table)


def test_form_and_shots_are_in_the_keys(model):
    """Examples in another form, or with other shots, are another unit."""
    job = Job(ModelSource.of(model, {}), TaskSource.of(Kinds(), 0))
    sizes = [Sizes(2, 2, 2), Sizes(2, 2, 2, form="words"), Sizes(2, 2, 2, form="words", shots=1)]
    assert len({one.unit(job).key for one in sizes}) == 3


def test_a_leaderboard_in_words(model, tmp_path):
    """Every judge's figures; what faithfulness sets the others to is the mean, for there are no counterfactuals."""
    task = tiny.labelled(tmp_path, count=80)
    board = na.leaderboard(
        model,
        [task],
        ["ace", "grad-x-act", "random"],
        form="words",
        shots=2,
        identify=2,
        evaluate=6,
        truth=2,
        draws=2,
        matched=2,
        budget=6,
        n=3,
        progress=False,
    )
    judged = {judge.partition(".")[0] for judge in board.frame.judge}
    assert {"agreement", "faithfulness", "control", "dose", "interaction", "stability", "cost"} <= judged
    assert board.result.manifest["suite"]["form"] == "words"
    refused: dict[str, Any] = {"form": "words", "rest": "counterfactual", "evaluate": 8, "budget": 6, "n": 3}
    with pytest.raises(na.RunError, match='accepted: the baseline "mean" or "zero"'):
        na.leaderboard(model, [task], ["act"], ["faithfulness"], progress=False, **refused)


def test_suites_in_words(model, tmp_path):
    """Parts on tasks ask in the suite's form, or another; examples by class can be in words too."""
    task = tiny.labelled(tmp_path, count=80)
    parts = [
        {"part": "antagonism", "name": "together", "n": 2, "draws": 2, "identify": 2, "evaluate": 4},
        {"part": "effects", "name": "effects", "scorers": ["act"], "select": 4, "identify": 2, "evaluate": 4}
        | {"options": {"budget": 6}},
    ]
    suite = Suite.of({"name": "mine", "tasks": [str(task)], "parts": parts}, "here")
    found = bench(suite, model, form="words", shots=1)
    assert found.manifest["suite"]["form"] == "words"
    assert all(found.parts[name] for name in ("together", "effects"))
    split = na.concept_split(task, form="words", identify=2, evaluate=2, shots=1)
    assert {q.form for e in split.evaluate for q in e.proxies} == {"words"}
    assert {len(e.proxies) for e in split.evaluate} == {3}


def test_a_task_file_states_its_wording(tmp_path):
    """Stems, role, classes and shots of its own; without them its stems, each with a cue."""
    task = tiny.labelled(tmp_path)
    (plain_one,) = na.load_task(task).split(1, 0, 0, form="words", shots=0).identify
    assert plain_one.proxies[0].prompt == f"{plain_one.item.text} w10\nAnswer:"
    more = 'words_stems: "{text} w11"\nwords_role: w1\nwords_options: [w39, w16]\nwords_shots: 1\n'
    task.write_text(task.read_text("utf-8") + more, encoding="utf-8")
    split = na.load_task(task).split(1, 0, 0, form="words")
    (own,) = split.identify
    head, *shown, asked = own.proxies[0].prompt.split("\n\n")
    assert (head, asked) == ("w1", f"{own.item.text} w11")
    assert sorted(line.split()[-1] for line in shown) == ["w16", "w39"]
    assert sorted(own.proxies[0].options) == ["w16", "w39"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("forms: [lettres]", "field forms"),
        ("forms: []", "field forms"),
        ('words_stems: ["{text}", "{text} x"]', "field words_stems: found '2 stems'; accepted: three, or one"),
        ('words_stems: "{txt}"', "field words_stems"),
        ("words_options: [w39, w1]", "field words_options"),
        ("words_shots: -1", "field words_shots"),
    ],
)
def test_malformed_wording_is_named(line, said, tmp_path):
    """One line with file, line and field."""
    task = tiny.labelled(tmp_path)
    task.write_text(f"{task.read_text('utf-8')}{line}\n", encoding="utf-8")
    with pytest.raises(na.DataError) as caught:
        na.load_task(task)
    assert said in str(caught.value)
    assert "; accepted: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"form": "lettres"}, "unknown form 'lettres'; did you mean 'letters'?"),
        ({"shots": 2}, "shots is 2 of the form 'letters'; accepted: shots with the form 'words'"),
        ({"form": "words", "shots": -1}, "shots is -1; accepted: a whole number from 0"),
        ({"form": "words", "shots": 1.5}, "shots is 1.5; accepted: a whole number from 0"),
        ({"form": "words", "shots": 25}, "no example left for identification"),
    ],
)
def test_what_a_split_refuses(given, said):
    """One line."""
    with pytest.raises(na.AntagonismError) as caught:
        na.load_task(Kinds()).split(2, 2, 2, **given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"form": "label"}, "unknown form 'label'; accepted: letters, words"),
        ({"form": "words", "letters": "ABC"}, "accepted: shots, or form 'letters'"),
        ({"form": "words", "demonstration": item(1)}, "accepted: shots, or form 'letters'"),
        ({"shots": [item(1)]}, "accepted: a demonstration, or form 'words'"),
        ({"form": "words", "n_options": 1}, "n_options is 1; accepted: a whole number from 2"),
    ],
)
def test_what_build_examples_refuses(given, said):
    """What the form does not take, in one line."""
    with pytest.raises(na.DataError, match=said):
        na.build_examples([item(2)], **{"stems": STEMS, "n_options": 3, **given})


@pytest.mark.parametrize(
    "make",
    [
        lambda: na.Question("x", ("a", "b"), 0, form="label"),
        lambda: na.Question("x", ("a", ""), 0, form="words"),
        lambda: na.Question("x", ("a",), 0, form="words"),
        lambda: na.Question("x", ("a", "b"), 0, ("A", "B"), form="words"),
    ],
)
def test_impossible_questions_are_refused(make):
    """Another form, an empty word, one alone, letters: one line."""
    with pytest.raises(na.DataError, match="; accepted: "):
        make()


def test_a_form_that_does_not_suit_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys):
    """Python and both commands name the task and what is accepted, and create nothing."""
    said = "task 'chunking' does not suit the form 'words'; accepted: 'letters'"
    with pytest.raises(na.UsageError, match=said):
        na.load_task("chunking").split(2, 2, 2, form="words")
    monkeypatch.chdir(tmp_path)
    for words in (["run", "--task", "chunking"], ["bench", "--suite", "antagonism", "--task", "chunking"]):
        monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *words, "--form", "words", "--out", "out"])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_file_says_the_form():
    """Form and shots are options like any other."""
    assert RunConfig.of(form="words", shots=3).shots == 3
    for given, accepted in ({"form": "label"}, "'letters' or 'words'"), ({"shots": True}, "in words"):
        with pytest.raises(na.UsageError, match=accepted):
            RunConfig.of(**given)


def test_the_demonstration_tokenizer_knows_the_classes():
    """Sentiment's three classes in words, on the embedded sample; "not sure" is none of them."""
    model = na.load_model("demo")
    split = na.load_task("sentiment").split(2, 0, 4, form="words", shots=1, fits=model)
    assert {frozenset(q.options) for q in questions(split)} == {frozenset(("positive", "negative", "neutral"))}
    assert na.evaluate(model, split.evaluate).option_probabilities.shape == (12, 3)
    assert any("no class that is asked for" in note for note in split.report.notes)


def test_doctor_asks_in_both_forms(model, tmp_path):
    """A line each with accuracy, chance and mass, and which will do; a form that does not suit is told."""
    told = {name: detail for name, _, detail in form_checks(model, str(tiny.labelled(tmp_path)))}
    assert list(told) == ["form letters", "form words", "forms"]
    for form in ("letters", "words"):
        assert "of 36 questions of mine, " in told[f"form {form}"]
        assert "above chance (" in told[f"form {form}"]
    told = {name: detail for name, _, detail in form_checks(na.load_model("demo"), "chunking")}
    assert "not asked: task 'chunking' does not suit" in told["form words"]
    assert told["forms"] == "to be asked with --form letters"
