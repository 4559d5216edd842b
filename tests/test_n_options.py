"""Questions of 2 to 10 options: how they are asked, and that every number downstream follows."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.functional import option_log_probabilities
from neuron_antagonism.method.evaluate import chosen_options, tie_orders
from neuron_antagonism.plugin.manager import target_of
from neuron_antagonism.tasks.drawing import _balanced, _even
from neuron_antagonism.tasks.qatt import draw_options, n_patterns, right_places
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.testing import TaskTests

one_thread = tiny.one_thread


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Batches of other sizes differ by less than 1e-9 in float64 alone."""
    tiny.exact_softmax(monkeypatch)


COUNTS = (2, 3, 5, 10)
STEMS = ("w1 {text} w2", "w3 {text}", "{text} w4 w5")


def item(number: int, wrong: int = 12) -> na.Item:
    return na.Item(f"w{number}", f"right {number}", [f"wrong {number}.{other}" for other in range(wrong)])


def build(n_options: int, count: int = 2, **changes) -> list[na.Example]:
    asked = {"role": "w6", "rule": "w7", "stems": STEMS, "demonstration": item(30), "n_options": n_options}
    return na.build_examples([item(number) for number in range(count)], **{**asked, **changes})


def places_of(example: na.Example) -> tuple[int, ...]:
    """Which letters are right, in their order."""
    return tuple(sorted(question.answer for question in example.proxies))


def place_cycle(n: int) -> list[tuple[int, ...]]:
    """The triples of right letters that examples take in turn."""
    return list(dict.fromkeys(tuple(sorted(right_places(number, n))) for number in range(2 * n)))


def digest(examples: list[na.Example]) -> str:
    found = hashlib.sha256()
    for question in (q for example in examples for q in example.proxies):
        found.update(repr((question.prompt, question.options, question.answer, question.letters)).encode())
    return found.hexdigest()


class TestFourStay:
    """What four options gave before other numbers were possible."""

    @pytest.mark.parametrize(
        ("name", "before"),
        [
            ("ner", "71cf7a2efd7eb0ec905d60423af8b430b9d2e9260d02a0e6154b05e773253018"),
            ("chunking", "7e99bd136ce8777a8cdfec6a8199085e0d626ebd0205ab56992ce4cbc829d1c9"),
            ("sentiment", "17f8c88fd22e6d1cceca7ea3af7b8f4929723382036aaca122f249cb3daee642"),
            ("commonsense", "a3659dac948623e5ba4fa346fe81de75847fd7415075be1f8f1a94049e7da862"),
        ],
    )
    def test_shipped_tasks(self, name, before):
        """The questions of the shipped tasks stay byte for byte what they are: stored results hang on them."""
        task = na.load_task(name).task
        shown, *items = list(task.examples(None, 0))[:41]
        asked = {"role": task.role, "rule": task.rule, "stems": task.stems, "distractors": task.distractors}
        assert digest(na.build_examples(items, **asked, demonstration=shown, seed=5)) == before

    def test_build_examples(self):
        """So are those of items of one's own, with distractors drawn from theirs."""
        items = [
            na.Item(f"text {i}", f"right {i}", [f"wrong {i}.{j}" for j in range(5)], {"kind": str(i)})
            for i in range(12)
        ]
        stems = ("{text} a {kind}?", "{text} b?", "{text} c?")
        made = na.build_examples(items[1:], role="R", rule="Reply.", stems=stems, demonstration=items[0], seed=7)
        assert digest(made) == "f15e32d147b196b76ff4e6f47e3a28a006d84817fe4c57e05381e8dce02760d3"

    def test_the_omitted_letter_cycles(self):
        """Example k leaves out letter k modulo 4, and sets are drawn in turn from those that leave out each."""
        assert [right_places(k, 4) for k in range(5)] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [1, 2, 3]]
        examples = [build(4, 10)[i] for i in (0, 4, 8, 1, 5, 2, 9, 3, 7, 6)]
        assert [e.item.text for e in _balanced(examples, 6)] == ["w0", "w4", "w1", "w5", "w2", "w3"]
        assert [_even(examples, count) for count in range(12)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]


class TestPlaces:
    """Which letters are right."""

    @pytest.mark.parametrize("n", range(2, 11))
    def test_three_letters_each(self, n):
        """Three different letters an example; of two, one twice; each equally often, as far as any prefix allows."""
        examples = build(n, 2 * n)
        assert all(len(set(places_of(e))) == min(3, n) for e in examples)
        count = Counter(dict.fromkeys(range(n), 0))
        for example in examples:
            count.update(places_of(example))
            assert max(count.values()) - min(count.values()) <= 1
        assert set(count.values()) == {6}

    def test_order_is_shuffled(self):
        """Of three options every order of the letters occurs."""
        orders = {tuple(q.answer for q in example.proxies) for example in build(3, 40)}
        assert len(orders) == 6

    @pytest.mark.parametrize(("n", "triples"), [(2, 2), (3, 1), (4, 4), (5, 5), (6, 2), (9, 3), (10, 10)])
    def test_cycle(self, n, triples):
        """The triples that examples take in turn."""
        assert len(place_cycle(n)) == triples == n_patterns(n)

    @pytest.mark.parametrize(("n", "count", "each"), [(2, 8, 12), (5, 10, 6), (10, 10, 3)])
    def test_balanced_sets(self, n, count, each):
        """A set drawn from an uneven pool has each letter right equally often, where the pool holds enough."""
        pool = build(n, 30)
        uneven = [*pool, *(e for e in build(n, 30, seed=1) if places_of(e) == place_cycle(n)[0])]
        random.Random(0).shuffle(uneven)
        drawn = _balanced(uneven, count)
        assert len(drawn) == count == _even(uneven, count)
        assert Counter(place for e in drawn for place in places_of(e)) == dict.fromkeys(range(n), each)

    def test_even_counts_shares(self):
        """Of two options, examples of one triple alone fill half of a set."""
        alone = [e for e in build(2, 20) if places_of(e) == (0, 1, 1)]
        assert len(alone) == 10
        assert _even(alone, 10) == 5
        assert _even([], 10) == 0


class TestAsking:
    """QATT with another number."""

    @pytest.mark.parametrize("n", COUNTS)
    def test_prompt(self, n):
        """As many lines of options as asked for, the first letters of the alphabet, also in the demonstration."""
        question = build(n)[0].proxies[0]
        assert question.letters == tuple("ABCDEFGHIJ"[:n])
        lines = question.prompt.split("\n")
        shown = [line for line in lines if line[1:3] == ". "]
        assert [line[0] for line in shown] == [*question.letters] * 2
        assert [line[3:] for line in shown[n:]] == [*question.options]
        assert question.concept == "right 0"

    def test_draw_options(self):
        """The right answer first; too few are counted; what NFC calls equal counts once, never beside the answer."""
        task = na.Task()
        task.n_options = 3
        assert len(draw_options(item(0), random.Random(0), task.distractors, 3)) == 3
        nfd = na.Item("x", "caf\u00e9", ["cafe\u0301", "te\u0301", "t\u00e9 ", "milk"])
        assert sorted(task.distractors(nfd, random.Random(0))) == ["milk", "te\u0301"]
        with pytest.raises(na.DataError, match="has 3 distinct options; accepted: at least 4"):
            draw_options(nfd, random.Random(0), lambda item, rng: item.distractors, 4)

    @pytest.mark.parametrize("number", [1, 11, True, 2.0, "4", None])
    def test_numbers_out_of_bounds(self, number):
        """Refused in one line by build_examples and for a task."""
        with pytest.raises(na.DataError, match=r"n_options is .*; accepted: a whole number from 2 to 10"):
            build(number)
        task = na.load_task("ner").task
        task.n_options = number
        with pytest.raises(na.DataError, match=r"^task 'ner': n_options is "):
            na.load_task(task)

    def test_letters_of_ones_own(self):
        """As many as there are options."""
        assert build(3, letters=["x", "y", "z"])[0].proxies[0].letters == ("x", "y", "z")
        with pytest.raises(na.DataError, match="2 letters were given; accepted: 3, one for each option"):
            build(3, letters="xy")


class Words(na.Task):
    """Made-up items, asked with as many options as a test says."""

    name = "words"
    role, rule, stems = "w6", "w7", STEMS

    def __init__(self, n_options: int = 3) -> None:
        self.n_options = n_options

    def examples(self, source, seed):
        if source is not None:
            raise na.DataError(f"{source}: no such file; accepted: none")
        return [item(number) for number in range(40)]


class TestTwo(TaskTests):
    """A task of two options passes the conformance kit."""

    plugin = Words(2)


class TestTen(TaskTests):
    """So does one of ten."""

    plugin = Words(10)


class TestTasks:
    """Through load_task."""

    @pytest.mark.parametrize("n", COUNTS)
    def test_split(self, n, tmp_path, monkeypatch):
        """Every question has the task's number, a stratified set each letter equally often; it is saved and loaded."""

        def half(model, examples):
            known = np.array([int(e.item.text[1:]) % 2 == 0 for e in examples])
            return tiny.evaluated(known)

        monkeypatch.setattr("neuron_antagonism.method.evaluate.evaluate", half)
        reference = SimpleNamespace(name="half", fits=lambda question: True, encode_all=lambda questions: [])
        split = na.load_task(Words(n)).split(3, 4, 10, reference=reference)
        asked = [q for e in (*split.identify, *split.select, *split.evaluate) for q in e.proxies]
        assert {len(q.options) for q in asked} == {n}
        assert split.report.understood["evaluate"] == (5, 5)
        assert sum(split.report.right_letters["evaluate"].values()) == 30
        assert [*split.report.right_letters["evaluate"]] == [*"ABCDEFGHIJ"[:n]]
        split.save(tmp_path / "questions.jsonl")
        assert Split.load(tmp_path / "questions.jsonl").evaluate == split.evaluate

    def test_task_file(self, tmp_path):
        """A file of two options a row, known only once it is read, is asked with two."""
        rows = [{"goal": f"g{i}", "one": f"a{i}", "two": f"b{i}", "label": i % 2} for i in range(30)]
        (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = "data: d.jsonl\ncolumns: {text: goal, options: [one, two], answer: label}\n"
        (tmp_path / "t.yaml").write_text(spec)
        split = na.load_task(tmp_path / "t.yaml").split(2, 4, 8)
        question = split.evaluate[0].proxies[0]
        assert question.letters == ("A", "B")
        assert "A or B." in question.prompt
        assert not split.report.too_few_options
        assert split.report.right_letters["evaluate"] == {"A": 12, "B": 12}


# --- what a model makes of them ------------------------------------------------------------------------------------


SIZE = {"vocab_size": len(tiny.VOCABULARY) + 2}


@pytest.fixture(scope="module")
def model():
    """Its tokenizer knows the letters A to J."""
    return na.load_model(hf_model=tiny.hf("llama", **SIZE), tokenizer=tiny.tokenizer("I", "J"))


@pytest.fixture(scope="module")
def mixed():
    """Examples of 5, 2, 10 and 3 options, in that order."""
    return [build(n, 1)[0] for n in (5, 2, 10, 3)]


def questions(examples):
    return [q for example in examples for q in example.proxies]


def parts(tensor, sizes=(3, 3, 3, 3)):
    return torch.split(tensor, list(sizes))


def plain_logits(model, asked):
    """The last position's logits of an untouched copy of the model."""
    alone = tiny.hf("llama", **SIZE)
    with torch.no_grad():
        return [alone(torch.tensor([model.encode(q).ids])).logits[0, -1] for q in asked]


def test_evaluation_is_a_plain_softmax(model, mixed):
    """Over the letters that a question has; what it has not is 0, never chosen, and no part of the sum."""
    found = na.evaluate(model, mixed)
    asked = questions(mixed)
    assert found.log_probabilities.shape == (12, 10)
    tokens = tiny.tokenizer("I", "J").convert_tokens_to_ids([*"ABCDEFGHIJ"])
    for row, logits, question in zip(range(12), plain_logits(model, asked), asked, strict=True):
        n = len(question.options)
        right = logits[tokens[:n]].softmax(0)
        assert torch.allclose(found.option_probabilities[row, :n], right.double(), rtol=0, atol=1e-12)
        assert torch.equal(found.option_probabilities[row, n:], torch.zeros(10 - n, dtype=torch.float64))
        assert bool(torch.isneginf(found.log_probabilities[row, n:]).all())
        assert int(found.chosen[row]) == int(right.argmax())
        assert float(found.cross_entropy[row]) == pytest.approx(-float(right[question.answer].log()))
        assert float(found.letter_mass[row]) == pytest.approx(float(logits.softmax(0)[tokens[:n]].sum()))
    assert found.ties == 0


@pytest.mark.parametrize("n", COUNTS)
def test_one_number_needs_no_padding(model, n):
    """A list of one number has as many columns; its example is right at two proxies of three."""
    examples = build(n, 4)
    found = na.evaluate(model, examples)
    assert found.option_probabilities.shape == (12, n)
    assert torch.allclose(found.option_probabilities.sum(1), torch.ones(12, dtype=torch.float64))
    right = (found.chosen == torch.tensor([q.answer for q in questions(examples)])).reshape(4, 3).sum(1)
    assert found.com == float((right >= 2).double().mean())


@pytest.mark.parametrize("engine", ["reference", "replay", "rows"])
def test_edits_of_a_mixed_list(model, mixed, engine):
    """Each example's numbers under edits at `last` and at `all` are those that it has alone."""
    neurons = na.NeuronSet.of([(0, 3), (1, 7), (2, 1)])
    edits = [None, na.edit(neurons, "silence"), na.edit(neurons, "excite", positions="all")]
    together = na.evaluate_many(model, mixed, edits, engine=engine)
    for number, example in enumerate(mixed):
        alone = na.evaluate_many(model, [example], edits)
        n = len(example.proxies[0].options)
        for a, b in zip(together, alone, strict=True):
            rows = parts(a.log_probabilities)[number]
            assert torch.allclose(rows[:, :n], b.log_probabilities, rtol=0, atol=1e-10)
            assert bool(torch.isneginf(rows[:, n:]).all())
    assert not torch.allclose(together[0].confidence, together[1].confidence)


def test_absent_options_never_tie():
    """Exact ties are broken among the options that are there; −inf beside −inf is none."""
    asked = [na.Question("x", ("a", "b"), 0), na.Question("y", tuple("abcd"), 0)]
    orders = tie_orders(asked, seed=0)
    assert sorted(orders[0, :2].tolist()) == [0, 1]
    assert orders[0, 2:].tolist() == [2, 3]
    absent = torch.tensor([[False, False, True, True], [False] * 4])
    log_p = option_log_probabilities(torch.zeros(2, 6), torch.tensor([[1, 2, 1, 1], [1, 2, 3, 4]]), absent)
    assert log_p[0].exp().tolist() == [0.5, 0.5, 0, 0]
    chosen, ties = chosen_options(log_p, orders)
    assert ties == 2
    assert int(chosen[0]) == int(orders[0, 0])


@pytest.mark.parametrize("scorer", ["ace", "tn", "qrnca", "act", "ablation"])
def test_attribution_of_a_mixed_list(model, mixed, scorer):
    """In the questions' order; each example's scores and gaps are those that it has alone, on the reference engine."""
    settings = {"steps": 4, "budget": 10}
    together = na.attribute(model, mixed, scorer, **settings)
    slow = na.attribute(model, mixed, scorer, engine="reference", **settings)
    assert torch.allclose(together.scores, slow.scores, rtol=0, atol=1e-7)
    assert torch.allclose(together.example_scores, slow.example_scores, rtol=0, atol=1e-7)
    for number, example in enumerate(mixed):
        alone = na.attribute(model, [example], scorer, engine="reference", **settings)
        assert torch.allclose(together.example_scores[number], alone.example_scores[0], rtol=0, atol=1e-7)
        if together.completeness is not None:
            assert torch.allclose(parts(together.completeness)[number], alone.completeness, rtol=0, atol=1e-7)
            assert torch.allclose(parts(together.change)[number], alone.change, rtol=0, atol=1e-7)


@pytest.mark.parametrize("n", COUNTS)
def test_integrated_gradients_are_complete(model, n):
    """With many steps the scores of ACE and TN sum to the change of F, whatever the number of options."""
    for scorer in ("ace", "tn"):
        found = na.attribute(model, build(n, 2), scorer, steps=64, quadrature="gauss-legendre", budget=10)
        assert found.completeness_error < 1e-5
        assert float(found.change.abs().max()) > 1e-3


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_ablation_of_a_mixed_list(model, mixed, engine):
    """One neuron's effect is F before minus F after it is silenced; F over the letters of each question."""
    found = na.ablate(model, mixed, "ace", engine=engine).effects
    neuron = na.NeuronSet.of([(1, 5)])
    before, after = na.evaluate_many(model, mixed, [None, na.edit(neuron, "silence")])
    at = before.answers[:, None]
    effect = (before.option_probabilities - after.option_probabilities).gather(1, at)[:, 0]
    assert torch.allclose(found[:, 1, 5].double(), effect, rtol=0, atol=1e-7)
    assert float(effect.abs().max()) > 1e-4


def test_observation_of_a_mixed_list(model, mixed):
    """Batches of any mixture, right where the evaluation is; the statistics count every question."""
    right = torch.zeros(12, dtype=torch.bool)

    def see(seen):
        right[list(seen.questions)] = seen.right

    na.observe(model, mixed, see, max_tokens=100)
    assert torch.equal(right, na.evaluate(model, mixed).right)
    assert na.value_statistics(model, mixed).of(answered="all").count == 12


@pytest.mark.parametrize(
    ("letters", "answer", "ace", "tn", "kn"),
    [
        ([1, 3], 0, 0.2 / 0.6, 0.2 - 0.4, 0.2),
        ([3, 1, 0], 0, 0.4 / 0.7, 0.4 - (0.2 + 0.1) / 2, 0.4),
        ([0, 1, 2, 3, 4], 2, 0.25, 0.25 - (0.1 + 0.2 + 0.4 + 0.05) / 4, 0.25),
    ],
)
def test_targets_by_hand(letters, answer, ace, tn, kn):
    """Of a vocabulary with probabilities .1 .2 .25 .4 .05: the right one against the mean of the n − 1 others."""
    logits = torch.tensor([[0.1, 0.2, 0.25, 0.4, 0.05]]).log() + 3
    for name, value in (("ace", ace), ("tn", tn), ("kn", kn)):
        f = target_of(name)(logits, torch.tensor([letters]), torch.tensor([answer]))
        assert float(f[0]) == pytest.approx(value, abs=1e-6)


def test_description_of_a_mixed_list(model, mixed):
    """A neuron's values by right letter, over all questions together."""
    found = na.describe(model, 1, 2, mixed) if hasattr(na, "describe") else None
    if found is None:
        from neuron_antagonism.method.describe import describe

        found = describe(model, 1, 2, mixed)
    assert found.values[0].questions == 12 == sum(row.questions for row in found.values[1:])
