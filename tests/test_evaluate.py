"""Edits and evaluation: copies against full passes, metrics by hand, ties, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import tiny
import torch
from torch import Tensor

import neuron_antagonism as na
from neuron_antagonism.method.edits import Edit, Part, n_good
from neuron_antagonism.method.evaluate import evaluate_sets
from neuron_antagonism.types import as_examples

one_thread = tiny.one_thread

FIRST = na.NeuronSet.of([(0, 3), (2, 20), (1, 1), (2, 0)])
SECOND = na.NeuronSet.of([(1, 5), (0, 1), (2, 7)])


class Clamp(na.Intervention):
    """An intervention without a constant factor."""

    name = "clamp"

    def edit(self, values, layer, neurons):
        return values.clamp(-0.05, 0.05) + 0.01 * layer


class Mean(na.Intervention):
    """One that learns what it sets."""

    name = "mean"
    level = 0.0

    def fit(self, model, examples, neurons):
        fitted = Mean()
        fitted.fitted, fitted.level = True, float(len(examples))
        return fitted

    def edit(self, values, layer, neurons):
        return torch.full_like(values, self.level)


class Returns(na.Intervention):
    """Returns whatever a test wants."""

    name = "returns"

    def __init__(self, f) -> None:
        super().__init__()
        self.f = f

    def edit(self, values, layer, neurons):
        return self.f(values)


def asked() -> list[na.Example | na.Question]:
    """Examples of three proxies of different lengths, plain questions, and one with letters of its own."""
    examples = [
        na.Example(None, tuple(tiny.question(n, seed=seed + n) for n in (9, 14, 7))) for seed in range(0, 30, 10)
    ]
    return [*examples, tiny.question(9, seed=4), tiny.question(9, seed=5, letters="EFGH")]


def questions(things) -> list[na.Question]:
    return [q for example in as_examples(things) for q in example.proxies]


def mixed_edits() -> list[Edit | None]:
    return [
        None,
        na.edit(FIRST, "silence"),
        na.enhancer(FIRST, SECOND, budget=6, ratio=0.5),
        na.degrader(FIRST, SECOND, budget=6, ratio=0.5, positions="all"),
        na.edit(SECOND, Clamp()),
        Edit((Part(Clamp(), FIRST), Part(Mean().fit(None, [1], None), SECOND))),
        na.edit(FIRST, "excite", site="up"),
        Edit((Part(Clamp(), FIRST),), site="up"),
        Edit(()),
        na.edit(FIRST, Clamp(), positions="all"),
    ]


def log_probabilities(module, things) -> Tensor:
    """Straight from the bare module, one question at a time."""
    words, rows = tiny.tokenizer(), []
    for question in questions(things):
        with torch.no_grad():
            logits = module(torch.tensor([words(question.prompt)["input_ids"]])).logits[0, -1]
        rows.append(logits[words.convert_tokens_to_ids(list(question.letters))].log_softmax(0))
    return torch.stack(rows)


# --- copies equal full passes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize("engine", ["replay", "rows", "auto"])
def test_copies_equal_full_passes(name, engine, monkeypatch):
    """A mixed sweep of edits run side by side gives what a full pass under each edit gives."""
    tiny.exact_softmax(monkeypatch)
    model, edits = tiny.shared(name), mixed_edits()
    expected = na.evaluate_many(model, asked(), edits, engine="reference")
    got = na.evaluate_many(model, asked(), edits, engine=engine)
    assert len({tuple(e.log_probabilities[0].tolist()) for e in expected}) == len(edits) - 1  # None and Edit(()) agree
    for edit, a, b in zip(edits, got, expected, strict=True):
        assert a.edit is edit
        assert torch.allclose(a.log_probabilities, b.log_probabilities, rtol=0, atol=1e-11)
        assert torch.equal(a.chosen, b.chosen)


@pytest.mark.parametrize("name", ["bloom", "gpt_neo"])
def test_copies_equal_full_passes_where_replay_does_not_hold(name):
    """`auto` gives the full passes' answers on architectures that replay would get wrong."""
    model = tiny.shared(name)
    edits = [None, na.edit(FIRST, "silence"), na.edit(SECOND, Clamp())]
    expected = na.evaluate_many(model, asked(), edits, engine="reference")
    for a, b in zip(na.evaluate_many(model, asked(), edits), expected, strict=True):
        assert torch.allclose(a.log_probabilities, b.log_probabilities, rtol=0, atol=1e-5)


def test_a_full_pass_equals_the_model_under_the_edit(monkeypatch):
    """What evaluate calls an edit's answers are the answers inside model.edited, prompt by prompt."""
    tiny.exact_softmax(monkeypatch)
    model = tiny.shared("llama")
    for edit in mixed_edits():
        got = na.evaluate(model, asked(), edit)
        for row, question in enumerate(questions(asked())):
            encoded = model.encode(question)
            with model.edited(edit or Edit(())):
                logits = model.forward(torch.tensor([encoded.ids]))[0, -1]
            expected = logits[list(encoded.letters)].log_softmax(0)
            assert torch.allclose(got.log_probabilities[row], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("positions", ["last", "all"])
def test_evaluation_within_an_edit_sees_it(positions):
    """Unedited evaluation under model.edited equals evaluating the edit, for prompts of any lengths."""
    model = tiny.shared("llama")
    edit = na.enhancer(FIRST, SECOND, budget=6, positions=positions)
    expected = na.evaluate(model, asked(), edit)
    with model.edited(edit):
        got = na.evaluate(model, asked())
    assert torch.allclose(got.log_probabilities, expected.log_probabilities, atol=1e-6)
    assert (expected.log_probabilities - na.evaluate(model, asked()).log_probabilities).abs().max() > 1e-3


def test_the_size_of_a_forward_changes_nothing(monkeypatch):
    """One edit and one prompt a forward give what all of them together give."""
    tiny.exact_softmax(monkeypatch)
    model, edits = tiny.shared("llama"), mixed_edits()
    expected = na.evaluate_many(model, asked(), edits)
    for max_tokens in (1, 2, 25):
        for a, b in zip(na.evaluate_many(model, asked(), edits, max_tokens=max_tokens), expected, strict=True):
            assert torch.allclose(a.log_probabilities, b.log_probabilities, rtol=0, atol=1e-11)


# --- metrics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("engine", ["auto", "rows", "reference"])
def test_a_set_of_edits_does_not_depend_on_the_others(engine, dtype):
    """To the last bit what it gives alone, whatever stands beside it: unedited, edits at the end, edits everywhere."""
    model = tiny.load("llama", dtype)
    ends = [na.enhancer(FIRST, SECOND, budget=4, ratio=ratio / 10) for ratio in range(11)]
    clamped = na.edit(FIRST, Clamp())
    sets = [
        [None],
        ends,
        ends[:2],
        [None, clamped],
        [edit.at("all") for edit in ends[:2]],
        [ends[3], ends[4].at("all")],
    ]
    together = evaluate_sets(model, asked(), sets, engine=engine)
    assert [len(each) for each in together] == [len(each) for each in sets]
    for each, found in zip(sets, together, strict=True):
        for a, b in zip(na.evaluate_many(model, asked(), each, engine=engine), found, strict=True):
            assert torch.equal(a.log_probabilities, b.log_probabilities)
            assert torch.equal(a.confidence, b.confidence)


def test_answers_and_metrics_by_hand():
    """Probabilities, Acc, Com and cross-entropy follow from the bare module's logits."""
    things = asked()
    expected = log_probabilities(tiny.hf("llama"), things)
    e = na.evaluate(tiny.shared("llama"), things)
    answers = [q.answer for q in questions(things)]
    right = [int(row.argmax()) == answer for row, answer in zip(expected, answers, strict=True)]
    assert torch.allclose(e.option_probabilities, expected.exp(), atol=1e-6)
    assert e.right.tolist() == right
    assert 0 < sum(right) < len(right)
    assert e.acc == sum(right) / 11
    groups = [right[0:3], right[3:6], right[6:9], right[9:10], right[10:11]]
    assert e.com == sum(sum(g) >= math.ceil(2 * len(g) / 3) for g in groups) / 5
    entropy = [-float(row[answer]) for row, answer in zip(expected, answers, strict=True)]
    assert e.cross_entropy.tolist() == pytest.approx(entropy, rel=1e-5)
    means = [sum(part) / len(part) for part in (entropy[0:3], entropy[3:6], entropy[6:9], entropy[9:10], entropy[10:])]
    assert e.outcomes.cross_entropy.tolist() == pytest.approx(means, rel=1e-5)
    assert e.outcomes.right.tolist() == [sum(g) for g in groups]
    assert e.outcomes.proxies.tolist() == [3, 3, 3, 1, 1]
    assert e.ties == 0


def test_letters_of_a_question_are_its_own():
    """A question asked with E–H is read at E–H, beside questions with A–D in one forward."""
    model = tiny.shared("llama")
    plain, other = tiny.question(9, seed=1), tiny.question(9, seed=1, letters="EFGH")
    together = na.evaluate(model, [plain, other]).log_probabilities
    assert torch.allclose(together[1], log_probabilities(tiny.hf("llama"), [other])[0], atol=1e-6)
    assert (together[0] - together[1]).abs().max() > 0.01


def test_exact_ties_are_broken_by_the_seed_and_counted():
    """With equal logits every question ties; the seed's order decides, evenly, whatever the batch or the engine."""
    module = tiny.hf("llama")
    module.lm_head.weight.data.zero_()
    model = na.load_model(hf_model=module, tokenizer=tiny.tokenizer())
    things = [tiny.question(6, seed=seed) for seed in range(80)]
    a, b = na.evaluate(model, things, seed=0), na.evaluate(model, things, seed=1)
    assert a.ties == b.ties == 80
    assert torch.equal(na.evaluate(model, things, seed=0).chosen, a.chosen)
    assert not torch.equal(a.chosen, b.chosen)
    assert min(torch.bincount(a.chosen, minlength=4).tolist()) >= 8
    backwards = na.evaluate(model, things[::-1], na.edit(FIRST, "silence"), seed=0)
    assert torch.equal(backwards.chosen.flip(0), a.chosen)


def test_a_tie_below_the_top_is_none():
    """Only a tie of the highest letters counts; the highest one alone is chosen whatever the seed."""
    module = tiny.hf("llama")
    weight = module.lm_head.weight.data
    weight[tiny.VOCABULARY.index("B")] = weight[tiny.VOCABULARY.index("C")] = 0
    weight[tiny.VOCABULARY.index("D")] = -weight[tiny.VOCABULARY.index("A")]  # A or D is above 0, the other below
    model = na.load_model(hf_model=module, tokenizer=tiny.tokenizer())
    things = [tiny.question(6, seed=seed) for seed in range(20)]
    results = [na.evaluate(model, things, seed=seed) for seed in range(3)]
    assert [e.ties for e in results] == [0, 0, 0]
    assert all(torch.equal(e.chosen, results[0].chosen) for e in results)
    assert set(results[0].chosen.tolist()) <= {0, 3}


def test_the_fingerprint_is_of_what_is_asked():
    """Equal examples under any edit share a fingerprint; another prompt, answer, letter or order does not."""
    model, (first, *rest) = tiny.shared("llama"), asked()
    mark = na.evaluate(model, [first, *rest]).outcomes.examples
    assert na.evaluate(model, [first, *rest], na.edit(FIRST, "silence")).outcomes.examples == mark
    base = tiny.question(9, seed=1, answer=0)
    others = [
        [base],
        [tiny.question(9, seed=2, answer=0)],
        [tiny.question(9, seed=1, answer=1)],
        [tiny.question(9, seed=1, answer=0, letters="EFGH")],
        [base, tiny.question(9, seed=2, answer=0)],
        [tiny.question(9, seed=2, answer=0), base],
    ]
    assert len({na.evaluate(model, things).outcomes.examples for things in others}) == len(others)


def test_before_and_after_compare():
    """compare() takes two evaluations of one set of examples and refuses those of different ones."""
    model = tiny.shared("llama")
    before, after = na.evaluate_many(model, asked(), [None, na.edit(FIRST, "silence")])
    assert na.compare(before, after, mode="enhance").rac == pytest.approx(100 * (after.acc - before.acc) / before.acc)
    with pytest.raises(na.UsageError, match="evaluations of 5 and 2 examples"):
        na.compare(before, na.evaluate(model, asked()[:2]), mode="enhance")


def test_nothing_to_ask_is_refused():
    """No examples is an error, for evaluation and attribution."""
    with pytest.raises(
        na.DataError, match="there are no examples; accepted: a list of examples or questions, at least one"
    ):
        na.evaluate(tiny.shared("llama"), [])
    with pytest.raises(
        na.DataError, match="there are no examples; accepted: a list of examples or questions, at least one"
    ):
        na.attribute(tiny.shared("llama"), [])


# --- edits ---------------------------------------------------------------------------------------------------------


def many(layer: int, count: int) -> na.NeuronSet:
    return na.NeuronSet.of([(layer, i) for i in range(count)])


def test_the_budget_is_divided_by_floor_of_a_half_more():
    """n_good is floor(budget · tenths / 10 + 1/2) in exact arithmetic, for every budget and tenth."""
    for budget in range(1, 301):
        for tenths in range(11):
            assert n_good(budget, tenths / 10) == math.floor(Fraction(budget * tenths, 10) + Fraction(1, 2))


@pytest.mark.parametrize("make", [na.enhancer, na.degrader])
@pytest.mark.parametrize(("ratio", "good"), [(0.0, 0), (0.1, 1), (0.3, 2), (0.5, 3), (0.7, 4), (1.0, 5)])
def test_both_ends_of_the_ratio_are_reachable(make, ratio, good):
    """The strongest good and bad neurons are taken, all of one kind at the ends."""
    edit = make(many(0, 9), many(1, 9), budget=5, ratio=ratio)
    assert (edit.n_good, edit.n_bad, edit.ratio) == (good, 5 - good, ratio)
    touched = [pair for part in edit.parts for pair in part.neurons]
    assert sorted(touched) == [(0, i) for i in range(good)] + [(1, i) for i in range(5 - good)]


def test_enhancer_and_degrader_are_opposites():
    """An enhancer excites good and silences bad neurons, a degrader the other way round; both can be exchanged."""
    good, bad = many(0, 2), many(1, 2)
    done = {
        make.__name__: {next(iter(p.neurons))[0]: p.intervention.name for p in make(good, bad, budget=4).parts}
        for make in (na.enhancer, na.degrader)
    }
    assert done == {"enhancer": {0: "excite", 1: "silence"}, "degrader": {0: "silence", 1: "excite"}}
    assert na.enhancer(good, bad).mode == "enhance"
    assert na.degrader(good, bad).mode == "degrade"
    other = na.degrader(good, bad, budget=4, strengthen=Clamp(), weaken="excite")
    assert [part.intervention.name for part in other.parts] == ["excite", "clamp"]


def test_short_sets_are_not_filled_up_from_the_other():
    """Three good neurons for five places stay three; the counts say what is used."""
    edit = na.enhancer(many(0, 3), many(1, 9), budget=10, ratio=0.5)
    assert (edit.n_good, edit.n_bad) == (3, 5)
    assert na.enhancer(many(0, 3), None, budget=10, ratio=1.0).n_bad == 0
    assert (na.enhancer(many(0, 3), None, budget=10, ratio=0.0).n_good, len(Edit(()).parts)) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ratio": 1.01}, "ratio is 1.01; accepted: 0 to 1"),
        ({"ratio": -0.1}, "ratio is -0.1"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"budget": 0}, "budget is 0; accepted: a whole number"),
        ({"budget": 2.5}, "budget is 2.5"),
        ({"positions": "lats"}, "unknown positions 'lats'; did you mean 'last'"),
        ({"strengthen": "exite"}, "unknown intervention 'exite'; did you mean 'excite'"),
    ],
)
def test_impossible_edits_are_refused(changes, said):
    """Ratio, budget, positions and interventions outside what is accepted are named."""
    with pytest.raises(na.AntagonismError, match=said):
        na.enhancer(many(0, 9), many(1, 9), **changes)


def test_parts_are_disjoint():
    """A neuron in both sets of one edit is an error that names it."""
    with pytest.raises(na.UsageError, match=r"neuron 1\.5 is in two parts of an edit; accepted: disjoint sets"):
        na.enhancer(FIRST | SECOND.top(1), SECOND, budget=10, ratio=0.5)


def test_edits_know_whether_they_fold():
    """Foldable: constant factors at all positions of the FFN output projection's input."""
    edit = na.enhancer(FIRST, SECOND, budget=4)
    assert not edit.foldable
    assert edit.at("all").foldable
    assert not na.edit(FIRST, Clamp(), positions="all").foldable
    assert not na.edit(FIRST, "silence", positions="all", site="up").foldable


def test_neurons_and_sites_a_model_lacks_are_refused():
    """An edit is checked against the model before any forward."""
    with pytest.raises(na.DataError, match=r"neuron 9\.0 does not exist in this model"):
        na.evaluate(tiny.shared("llama"), asked(), na.edit(na.NeuronSet.of([(9, 0)]), "silence"))
    with pytest.raises(na.UsageError, match="no site 'up'"):
        na.evaluate(tiny.shared("gpt2"), asked(), na.edit(FIRST, "silence", site="up"))


def test_an_unfitted_intervention_is_refused():
    """What needs fit() is refused before, and acts after it."""
    model = tiny.shared("llama")
    with pytest.raises(na.UsageError, match=r"intervention 'mean' is not fitted; accepted: the copy"):
        na.evaluate(model, asked(), na.edit(FIRST, Mean()))
    fitted = Mean().fit(model, asked(), FIRST)
    expected = na.evaluate(model, asked(), na.edit(FIRST, Returns(lambda values: torch.full_like(values, 5.0))))
    got = na.evaluate(model, asked(), na.edit(FIRST, fitted))
    assert torch.equal(got.log_probabilities, expected.log_probabilities)


@pytest.mark.parametrize("positions", ["last", "all"])
@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda values: values[..., :-1], r"returned \(.*\) torch.float64; accepted: \(.*\) torch.float64"),
        (lambda values: values[:, 0], r"returned \("),
        (lambda values: values.float(), r"returned \(.*\) torch.float32; accepted: .*torch.float64"),
        (lambda values: 0.0, "returned 0.0; accepted: "),
        (lambda values: values * float("nan"), "returned values that are not finite"),
    ],
)
def test_what_an_intervention_returns_is_checked(f, said, engine, positions):
    """Shape, dtype and finiteness of its result; the error names the intervention."""
    with pytest.raises(na.PluginError, match=f"intervention 'returns' {said}"):
        na.evaluate(tiny.shared("llama"), asked(), na.edit(FIRST, Returns(f), positions=positions), engine=engine)
