"""Label questions: classes by their labels' first tokens, any number of them, against the bare module."""

from __future__ import annotations

import plain
import pytest
import test_engines
import tiny
import torch

import neuron_antagonism as na

one_thread = tiny.one_thread

COUNTS = (2, 6, 14)


def labels(n: int) -> list[str]:
    """Labels of one, two and three tokens, all first tokens different, some later ones not."""
    return [(f"w{i}", f"w{i} w39", f"w{i} w39 w38")[i % 3] for i in range(n)]


def questions(n: int, count: int = 8) -> list[na.LabelQuestion]:
    prompts = [tiny.question(length, seed=i).prompt for i, length in enumerate([9, 14, 9, 7] * (count // 4))]
    return [na.LabelQuestion.of(prompt, labels(n), labels(n)[i % n]) for i, prompt in enumerate(prompts)]


def plain_logits(module, question: na.Question) -> tuple[torch.Tensor, list[int]]:
    """Logits after the prompt, and the labels' first tokens, by module and tokenizer alone."""
    words = tiny.tokenizer()
    first = [words(label)["input_ids"][0] for label in question.options]
    return plain.logits(module, words(question.prompt)["input_ids"])[-1], first


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("n", COUNTS)
def test_the_answer_is_the_likeliest_first_token(n, engine):
    """Probabilities, answers, accuracy and confidence equal those of the plain logits."""
    module, model, asked = tiny.hf("llama"), tiny.shared("llama"), questions(n)
    got = na.evaluate(model, asked, engine=engine)
    chosen = []
    for i, question in enumerate(asked):
        logits, first = plain_logits(module, question)
        four = logits[first]
        chosen.append(int(four.argmax()))
        assert torch.allclose(got.option_probabilities[i], four.softmax(0), rtol=0, atol=1e-6)
        sure = logits.softmax(0)[first[question.answer]]
        assert got.confidence[i].item() == pytest.approx(sure.item(), abs=1e-6)
        assert got.confidence[i] < got.option_probabilities[i, question.answer]
    assert got.chosen.tolist() == chosen
    assert got.log_probabilities.shape == (len(asked), n)
    right = [choice == question.answer for choice, question in zip(chosen, asked, strict=True)]
    assert got.right.tolist() == right
    assert got.acc == sum(right) / len(asked)


def test_confidence_of_four_letters_is_over_the_vocabulary():
    """An ordinary question's confidence is its right letter's probability among all tokens, edited or not."""
    module, model = tiny.hf("llama"), tiny.shared("llama")
    asked = [tiny.question(n, seed=i, answer=i % 4) for i, n in enumerate((9, 14, 9, 7))]
    edit = na.edit(na.NeuronSet.of([(0, 3), (2, 20)]), "silence")
    before, *after = na.evaluate_many(model, asked, [None, edit, edit.at("all")])
    for i, question in enumerate(asked):
        ids, letters = model.encode(question)
        expected = plain.logits(module, ids)[-1].softmax(0)[letters[question.answer]]
        assert before.confidence[i].item() == pytest.approx(expected.item(), abs=1e-6)
        for found in after:
            with model.edited(found.edit), torch.no_grad():
                expected = model.forward(torch.tensor([ids]))[0, -1].softmax(0)[letters[question.answer]]
            assert found.confidence[i].item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("n", COUNTS)
def test_edits_are_evaluated_alike_by_every_engine(n):
    """A sweep over label questions gives what full passes give."""
    model, asked = tiny.shared("llama"), questions(n)
    sets = [na.NeuronSet.of([(0, 3), (2, 15)], site) for site in plain.GATED]
    edits = [None, *(na.edit(s, "excite", positions=p) for s in sets for p in ("last", "all"))]
    expected = na.evaluate_many(model, asked, edits, engine="reference")
    for engine in ("replay", "rows"):
        for a, b in zip(na.evaluate_many(model, asked, edits, engine=engine), expected, strict=True):
            assert torch.allclose(a.log_probabilities, b.log_probabilities, rtol=0, atol=1e-5)
            assert torch.allclose(a.confidence, b.confidence, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("scorer", ["ace", "tn", "qrnca"])
def test_targets_take_any_number_of_labels(scorer, n):
    """Scores, change of F and exact ablation are the reference engine's; F is of the labels' first tokens."""
    module, model, asked = tiny.hf("llama"), tiny.shared("llama"), questions(n, 4)[:2]
    expected = na.attribute(model, asked, scorer, engine="reference", steps=4, budget=10)
    effects = na.ablate(model, asked, scorer, engine="reference").effects
    for engine in ("replay", "rows"):
        got = na.attribute(model, asked, scorer, engine=engine, steps=4, budget=10)
        assert test_engines.difference(got.example_scores, expected.example_scores) <= 1e-5
        assert test_engines.difference(got.scores, expected.scores) <= 1e-5
        assert test_engines.difference(got.change, expected.change) <= 1e-5
        assert test_engines.difference(na.ablate(model, asked, scorer, engine=engine).effects, effects) <= 1e-5

    def silenced(values, layer):
        return torch.cat([values[:, :-1], values[:, -1:] * (layer != 1)], dim=1)

    logits, first = plain_logits(module, asked[0])
    with plain.writing(module, "post", silenced):
        after, _ = plain_logits(module, asked[0])
    change = f(scorer, logits, first, asked[0].answer) - f(scorer, after, first, asked[0].answer)
    assert expected.change[0, 1].item() == pytest.approx(change, abs=1e-6)


def f(scorer: str, logits: torch.Tensor, first: list[int], answer: int) -> float:
    """Each scorer's target, written again."""
    if scorer == "ace":
        return logits[first].softmax(0)[answer].item()
    p = logits.softmax(0)[first]
    others = torch.cat([p[:answer], p[answer + 1 :]])
    return (p[answer] - (others.mean() if scorer == "tn" else 0)).item()


def test_a_label_stands_for_its_first_token():
    """Later tokens count for nothing; as an ordinary question's letter such a label is refused."""
    model, prompt = tiny.shared("llama"), tiny.question(9).prompt
    short, long = (na.LabelQuestion.of(prompt, names, names[0]) for names in (["w1", "w2"], ["w1 w2", "w2 w1 w3"]))
    assert model.encode(short) == model.encode(long)
    assert model.fits(long)
    with pytest.raises(na.ModelError, match="no single token for the letter 'w1 w2'"):
        model.encode(na.Question(prompt, ("a", "b", "c", "d"), 0, ("w1 w2", "w2", "w3", "w4")))


def test_the_concept_is_the_label():
    """Of a label question and of any other, the concept is the right option's text; labels may come from anywhere."""
    question = na.LabelQuestion.of("x", (name for name in ("joy", "fear")), "fear")
    assert (question.concept, question.answer, question.options) == ("fear", 1, ("joy", "fear"))
    assert question.letters == question.options
    assert na.Question("x", ("a", "b", "c", "d"), 2).concept == "c"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["w1 w2", "w3", "w1 w4"], r"begins the labels 'w1 w2' and 'w1 w4' with the same token \d+; accepted: "),
        (["w1", "sunny w1"], "does not know how the label 'sunny w1' begins .*; accepted: "),
        (["sunny", "rainy"], "does not know how the label 'sunny' begins .*; accepted: "),
    ],
)
def test_labels_that_begin_alike_are_named(names, said):
    """Equal first tokens, and ones that the tokenizer doesn't know, are errors in one line that name the labels."""
    model = tiny.shared("llama")
    question = na.LabelQuestion.of(tiny.question(9).prompt, names, names[0])
    for use in (model.encode, lambda q: na.evaluate(model, [q]), lambda q: na.attribute(model, [q], budget=5)):
        with pytest.raises(na.ModelError, match=said) as caught:
            use(question)
        assert "\n" not in str(caught.value)


EDIT = na.edit(na.NeuronSet.of([(0, 1)]), "silence")


@pytest.mark.parametrize("counts", [(2, 3, 4, 2), (4, 2, 8)])
def test_questions_of_different_numbers_of_options_are_asked_together(counts):
    """Each gets what it gets alone: answers under any edit, gradients, effects, values; absent options have no part."""
    model = tiny.shared("llama")
    asked = [questions(n)[i % 2] for i, n in enumerate(counts)]
    for edit in (None, EDIT, EDIT.at("all")):
        found = na.evaluate(model, asked, edit)
        for row, question in enumerate(asked):
            alone = na.evaluate(model, [question], edit)
            n = len(question.letters)
            assert torch.allclose(found.option_probabilities[row, :n], alone.option_probabilities[0], atol=1e-7)
            assert found.option_probabilities[row, n:].sum() == 0
            assert found.chosen[row] == alone.chosen[0]
            assert found.letter_mass[row] == pytest.approx(float(alone.letter_mass[0]), abs=1e-7)
    for scorer in ("ace", "tn"):
        for engine in ("auto", "reference"):
            whole = na.attribute(model, asked, scorer, budget=5, steps=2, engine=engine)
            for row, question in enumerate(asked):
                alone = na.attribute(model, [question], scorer, budget=5, steps=2, engine=engine)
                assert torch.allclose(whole.example_scores[row], alone.example_scores[0], atol=1e-6)
    effects = na.ablate(model, asked).effects
    for row, question in enumerate(asked):
        assert torch.allclose(effects[row], na.ablate(model, [question]).effects[0], atol=1e-7)
    assert na.value_statistics(model, asked).of(answered="all").count == len(asked)


@pytest.mark.parametrize(
    "make",
    [
        lambda: na.LabelQuestion.of("x", ["joy"], "joy"),
        lambda: na.LabelQuestion.of("x", ["joy", "joy"], "joy"),
        lambda: na.LabelQuestion.of("x", ["joy", ""], "joy"),
        lambda: na.LabelQuestion.of("x", ["joy", 3], "joy"),
        lambda: na.LabelQuestion.of("x", ["joy", "fear"], "hope"),
        lambda: na.LabelQuestion.of(" ", ["joy", "fear"], "joy"),
        lambda: na.LabelQuestion("x", ("joy", "fear"), 0, ("a", "b")),
        lambda: na.LabelQuestion("x", ("joy", "fear"), 2, ("joy", "fear")),
        lambda: na.LabelQuestion("x", ("joy", "fear"), True, ("joy", "fear")),
        lambda: na.LabelQuestion("x", "joy", 0, "joy"),
    ],
)
def test_impossible_label_questions_are_refused(make):
    """One label, repeated, empty or foreign ones, an empty prompt, an answer that is none: one line."""
    with pytest.raises(na.DataError, match=r"; accepted: |is empty") as caught:
        make()
    assert "\n" not in str(caught.value)
