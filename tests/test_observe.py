"""Unit values while a model answers: every question once, as a forward of its own gives them; and their statistics."""

from __future__ import annotations

import numpy as np
import plain
import pytest
import test_engines
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.engine.choose import choose
from neuron_antagonism.model.hooked import HookedModel

one_thread = tiny.one_thread

LENGTHS = (9, 14, 9, 7, 21, 3)
SHARED = " ".join(tiny.WORDS[:12]) + " "


@pytest.fixture
def exact(monkeypatch):
    tiny.exact_softmax(monkeypatch)


def questions(shared: str = "") -> list[na.Question]:
    asked = [tiny.question(n, seed=i, answer=i % 4) for i, n in enumerate(LENGTHS)]
    return [na.Question(f"{shared}{q.prompt}", q.options, q.answer) for q in asked]


def seen(model: HookedModel, asked, **settings) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Values and answers in the questions' order, and the sizes of the batches; each question must come once."""
    rows: dict[int, tuple[torch.Tensor, bool]] = {}
    sizes = []

    def see(some: na.Observation) -> None:
        assert not set(some.questions) & set(rows)
        assert len(some.questions) == len(some.values) == len(some.right)
        sizes.append(len(some.questions))
        rows.update(zip(some.questions, zip(some.values, some.right.tolist(), strict=True), strict=True))

    na.observe(model, asked, see, **settings)
    n = sum(len(e.proxies) if isinstance(e, na.Example) else 1 for e in asked)
    assert sorted(rows) == list(range(n))
    return torch.stack([rows[i][0] for i in range(n)]), torch.tensor([rows[i][1] for i in range(n)]), sizes


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(("shared", "max_tokens"), [("", None), ("", 1), (SHARED, None), (SHARED, 30)])
@pytest.mark.parametrize(
    ("name", "site"), [*(("llama", site) for site in plain.GATED), ("gpt2", "post"), ("gpt2", "resid_post")]
)
def test_values_are_those_of_a_forward_for_each_question(name, site, shared, max_tokens):
    """Each question comes once, with what plain hooks read at its last token, and with evaluate's verdict."""
    module, model, asked = tiny.hf(name), tiny.shared(name), questions(shared)
    values, right, sizes = seen(model, asked, site=site, max_tokens=max_tokens)
    for row, question in zip(values, asked, strict=True):
        expected = plain.values(module, tiny.tokenizer()(question.prompt)["input_ids"], site)
        assert test_engines.difference(row, expected) <= 1e-12
    assert torch.equal(right, na.evaluate(model, asked).right)
    assert (max(sizes) > 1) == (max_tokens != 1)


@pytest.mark.parametrize("name", ["gemma3", "gpt_neo", "bloom", "gpt_neox"])
def test_values_are_right_on_other_architectures(name):
    """Batches of a shared prefix give what the reference engine's full passes give."""
    model, asked = tiny.shared(name), questions(SHARED)
    for site in ("post", "resid_post"):
        expected = test_engines.gradients(model, "reference", asked, steps=1, site=site).values
        assert test_engines.difference(seen(model, asked, site=site)[0], expected) <= 1e-5


def test_proxies_of_examples_are_questions():
    """Questions are counted through the examples, in order; ties go as in evaluate with that seed."""
    model, asked = tiny.load("llama"), questions()
    examples = [na.Example(None, tuple(asked[:3])), asked[3], na.Example(None, tuple(asked[4:]))]
    values, right, _ = seen(model, examples)
    alone, _, _ = seen(model, asked)
    assert torch.equal(values, alone)
    assert torch.equal(right, na.evaluate(model, examples).right)
    with torch.no_grad():
        model.bridge.original_model.lm_head.weight.zero_()
    verdicts = [seen(model, asked, seed=seed)[1] for seed in range(8)]
    for seed, verdict in enumerate(verdicts):
        assert torch.equal(verdict, na.evaluate(model, asked, seed=seed).right)
    assert len({tuple(verdict.tolist()) for verdict in verdicts}) > 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_values_are_float32_at_least(dtype):
    """Half precision comes as float32, of the same numbers."""
    model, asked = tiny.shared("llama", dtype), questions()[:1]
    values, _, _ = seen(model, asked)
    expected = plain.values(tiny.hf("llama", dtype), model.encode(asked[0]).ids, "post")
    assert values.dtype == torch.float32
    assert torch.equal(values[0].to(dtype), expected)


def test_a_model_without_a_cache_is_observed():
    """A prompt of a single token, which only the reference engine takes, has values as any other."""
    model = tiny.shared("llama")
    asked = [na.Question("w1", ("a", "b", "c", "d"), 0), *questions()]
    assert choose(model, [model.encode(q).ids for q in asked]).name == "reference"
    values, _, _ = seen(model, asked)
    assert test_engines.difference(values[0], plain.values(tiny.hf("llama"), model.encode(asked[0]).ids, "post")) < 1e-6


@pytest.mark.usefixtures("exact")
def test_a_batch_that_does_not_fit_is_seen_once(monkeypatch):
    """Where memory runs out the batch is halved, and no question is handed over twice."""
    model = tiny.shared("llama")
    expected, _, _ = seen(model, questions())
    real = HookedModel.last_values

    def last_values(self, prompts, *args):
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, prompts, *args)

    monkeypatch.setattr(HookedModel, "last_values", last_values)
    values, _, sizes = seen(model, questions())
    assert max(sizes) <= 2
    assert test_engines.difference(values, expected) <= 1e-12


def test_an_edited_model_is_not_observed():
    """Inside model.edited() it is refused in one line, outside it works again; an unknown site is named."""
    model = tiny.shared("llama")
    for observe in (lambda: seen(model, questions()), lambda: na.value_statistics(model, questions())):
        with model.edited(na.edit(na.NeuronSet.of([(0, 1)]), "silence")):
            with pytest.raises(na.UsageError, match=r"inside model.edited\(\); accepted: outside") as caught:
                observe()
            assert "\n" not in str(caught.value)
        observe()
    with pytest.raises(na.UsageError, match="unknown site 'resid_pots'; did you mean 'resid_post'"):
        seen(model, questions(), site="resid_pots")
    with pytest.raises(na.DataError, match="no examples"):
        seen(model, [])


def test_progress_reaches_the_number_of_questions():
    """Progress is told after each batch, and ends at all."""
    told = []
    seen(tiny.shared("llama"), questions(), max_tokens=30, progress=lambda *now: told.append(now))
    assert [now[0] for now in told] == ["values"] * len(told)
    assert [now[1] for now in told] == sorted({now[1] for now in told})
    assert told[-1] == ("values", len(LENGTHS), len(LENGTHS))


# --- statistics ----------------------------------------------------------------------------------------------------


def answered(model: HookedModel, n: int = 24) -> list[na.Question]:
    """Questions of three classes, every other one with the model's own answer as the right one."""
    options = ("joy", "fear", "anger", "love")
    asked = [tiny.question(5 + i % 6, seed=i) for i in range(n)]
    chosen = na.evaluate(model, asked).chosen.tolist()
    own = [choice if i % 2 else (choice + 1) % 4 for i, choice in enumerate(chosen)]
    return [na.Question(q.prompt, options, answer) for q, answer in zip(asked, own, strict=True)]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("max_tokens", [None, 25])
@pytest.mark.parametrize("site", plain.GATED)
def test_statistics_equal_numpy(site, max_tokens):
    """Of each concept kept apart, and of all, by the answers, moments equal numpy's of the values handed over."""
    model = tiny.shared("llama")
    asked = answered(model)
    values, right, _ = seen(model, asked, site=site)
    concepts = np.array([q.concept for q in asked])
    found = na.value_statistics(model, asked, ("joy", "love"), site=site, max_tokens=max_tokens)
    assert found.site == site
    assert set(found.concepts) == {"joy", "love"}
    verdicts = {"right": right.numpy(), "wrong": ~right.numpy(), "all": np.ones(len(asked), dtype=bool)}
    for concept in ("joy", "love", None):
        for which, verdict in verdicts.items():
            rows = values.numpy()[verdict & ((concepts == concept) | (concept is None))]
            moments = found.of(concept, which)
            assert moments.count == len(rows) > 1
            assert np.allclose(moments.mean, rows.mean(0), rtol=0, atol=1e-9)
            assert np.allclose(moments.std, rows.std(0), rtol=0, atol=1e-9)
            assert np.allclose(moments.mean_abs, np.abs(rows).mean(0), rtol=0, atol=1e-9)


def test_no_concepts_are_kept_apart_unless_asked_for():
    """Without concepts there are two groups, by the answers; `of` counts them as one or each."""
    model = tiny.shared("llama")
    found = na.value_statistics(model, answered(model))
    assert found.concepts == ()
    assert set(found.groups) == {("", True), ("", False)}
    assert [found.of(answered=which).count for which in ("right", "wrong", "all")] == [12, 12, 24]


def test_a_concept_without_examples_is_named():
    """One line that lists the concepts there are."""
    with pytest.raises(na.DataError, match="none of the 6 questions is of the concept 'hope'; accepted: a") as caught:
        na.value_statistics(tiny.shared("llama"), questions(), ("a", "hope"))
    assert "\n" not in str(caught.value)


def test_nothing_is_kept_of_an_example():
    """What is kept after forty questions is as large as after four, and hangs on none of the values handed over."""
    model = tiny.shared("llama")
    sizes = []
    for n in (4, 40):
        found = na.value_statistics(model, answered(model, n))
        assert found.of(answered="all").count == n
        state = [value for moments in found.groups.values() for value in tensors(moments)]
        sizes.append(sum(value.untyped_storage().nbytes() for value in state))
        assert len(found.groups) == 2
    assert sizes[0] == sizes[1] == 2 * 5 * 3 * 24 * 8


def tensors(moments: na.Moments) -> list[torch.Tensor]:
    values = [*vars(moments).values(), *vars(moments)["_sums"].values()]
    return [value for value in values if isinstance(value, torch.Tensor)]
