"""How large a forward is: planned from the free memory, halved when that was too much, and without any influence."""

from __future__ import annotations

import pytest
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.engine import memory
from neuron_antagonism.engine.copies import Copies
from neuron_antagonism.engine.memory import TokenLimit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.prefix import _repeated

one_thread = tiny.one_thread

ENGINES = ("replay", "rows", "reference")
SETTINGS = {"steps": 4, "budget": 10}


def questions() -> list[na.Question]:
    return [tiny.question(n, seed=i, answer=i % 4) for i, n in enumerate((9, 14, 9, 7))]


def edits() -> list[na.Edit]:
    sets = [na.NeuronSet.of([(layer, i), (2, 20 + i)]) for layer in (0, 1) for i in range(3)]
    return [na.edit(s, "silence", positions=positions) for s in sets for positions in ("last", "all")]


@pytest.fixture
def scarce(monkeypatch):
    """Forwards of more than eight copies, or two whole prompts, run out of memory; returns whether each fitted."""
    fitted: list[bool] = []
    copies, whole = Copies.logits, HookedModel.last_logits

    def check(fits: bool) -> None:
        fitted.append(fits)
        if not fits:
            raise torch.OutOfMemoryError("out of memory")

    def few_copies(self, n, *rest, **named):
        check(n * len(self._lengths) <= 8)
        return copies(self, n, *rest, **named)

    def few_rows(self, prompts, shared=None):
        check(len(prompts) <= 2)
        return whole(self, prompts, shared)

    monkeypatch.setattr(Copies, "logits", few_copies)
    monkeypatch.setattr(HookedModel, "last_logits", few_rows)
    return fitted


@pytest.mark.parametrize("engine", ENGINES)
def test_attribution_survives_running_out_of_memory(engine, request, monkeypatch):
    """Halved forwards give what whole ones give, for gradients and for ablation."""
    tiny.exact_softmax(monkeypatch)
    model = tiny.shared("llama")
    expected = na.attribute(model, questions(), engine=engine, **SETTINGS)
    ablated = na.ablate(model, questions(), engine=engine)
    fitted = request.getfixturevalue("scarce")
    got = na.attribute(model, questions(), engine=engine, **SETTINGS)
    assert set(fitted) == {True, False}
    assert torch.allclose(got.example_scores, expected.example_scores, rtol=1e-6, atol=1e-12)
    assert torch.allclose(got.completeness, expected.completeness, rtol=1e-5, atol=1e-9)
    assert torch.allclose(na.ablate(model, questions(), engine=engine).effects, ablated.effects, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_evaluation_survives_running_out_of_memory(engine, request, monkeypatch):
    """Halved forwards give the same answers, for edits at `last` and at `all`."""
    tiny.exact_softmax(monkeypatch)
    model = tiny.shared("llama")
    expected = na.evaluate_many(model, questions(), [None, *edits()], engine=engine)
    fitted = request.getfixturevalue("scarce")
    got = na.evaluate_many(model, questions(), [None, *edits()], engine=engine)
    assert set(fitted) == {True, False}
    for a, b in zip(got, expected, strict=True):
        assert torch.allclose(a.log_probabilities, b.log_probabilities, rtol=0, atol=1e-11)


@pytest.mark.parametrize("message", ["CUDA out of memory", "DefaultCPUAllocator: can't allocate memory: 12 bytes"])
def test_what_never_fits_ends_in_one_line(message, monkeypatch):
    """When not even one token fits, the error says so and what helps; it does not go on for ever."""
    kind = torch.OutOfMemoryError if "CUDA" in message else RuntimeError
    model = tiny.shared("llama")
    na.attribute(model, questions(), engine="replay", **SETTINGS)  # proves the engine

    def never(self, *args, **kwargs):
        raise kind(message)

    monkeypatch.setattr(Copies, "logits", never)
    with pytest.raises(na.ModelError, match=r"^out of memory on cpu with a single prompt; accepted: [^\n]*$"):
        na.attribute(model, questions(), engine="replay", **SETTINGS)


def test_a_proof_that_does_not_fit_says_so(monkeypatch):
    """Running out of memory while an engine is chosen is not taken for an engine that does not hold."""

    def never(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Copies, "logits", never)
    with pytest.raises(na.ModelError, match="out of memory on cpu with a single prompt"):
        na.attribute(tiny.load("llama"), questions(), **SETTINGS)


def test_other_failures_are_not_taken_for_memory(monkeypatch):
    """A failure of another kind is raised as it is, at once."""
    model = tiny.shared("llama")
    na.attribute(model, questions(), engine="replay", **SETTINGS)
    monkeypatch.setattr(Copies, "logits", lambda self, *args, **kwargs: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        na.attribute(model, questions(), engine="replay", **SETTINGS)


def test_a_parts_memory_is_free_before_it_is_tried_again():
    """What a failed part had made is gone when the smaller one starts, or halving would not help."""
    import weakref

    class Large:
        pass

    limit, seen = TokenLimit(tiny.shared("llama"), 9, "replay", given=8), []

    def work(part):
        assert not any(made() for made in seen)
        made = Large()
        seen.append(weakref.ref(made))
        if len(part) > 2:
            raise torch.OutOfMemoryError("no")

    limit.in_batches(range(8), lambda _: 1, work)
    assert len(seen) == 2 + 4  # eight, four, then twos
    assert limit.tokens == 2


@pytest.mark.parametrize("kind", ENGINES)
def test_the_plan_follows_the_free_memory(kind, monkeypatch):
    """Half the free memory plans half the tokens; much of it plans no more than is fast; none of it plans one."""
    model = tiny.shared("llama")

    def planned(free: int, grad: bool = True) -> int:
        monkeypatch.setattr(memory, "free_bytes", lambda device: free)
        return TokenLimit(model, 50, kind, grad=grad).tokens

    assert planned(2**50) == memory.FAST["cpu"] // 4
    assert planned(2**50, grad=False) == memory.FAST["cpu"]
    assert planned(0) == 1
    megabyte = 2**20
    assert planned(2 * megabyte) > 1
    assert planned(4 * megabyte) == pytest.approx(2 * planned(2 * megabyte), abs=1)
    assert planned(2 * megabyte, grad=False) > planned(2 * megabyte)


def test_longer_prompts_and_wider_numbers_plan_less(monkeypatch):
    """A token costs more memory after a longer prefix, and in float64."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**22)
    double, single = tiny.shared("llama"), tiny.shared("llama", torch.float32)
    assert TokenLimit(double, 500, "rows").tokens < TokenLimit(double, 50, "rows").tokens
    assert TokenLimit(double, 50, "replay").tokens < TokenLimit(single, 50, "replay").tokens


@pytest.mark.parametrize("given", [0, -3, 1.5, True, "many"])
def test_a_wrong_limit_is_named(given):
    """max_tokens must be a whole number of at least 1."""
    with pytest.raises(na.UsageError, match=r"max_tokens is .*; accepted: a whole number of at least 1, or None"):
        na.attribute(tiny.shared("llama"), questions(), max_tokens=given, **SETTINGS)


def test_copies_are_split_evenly():
    """As few forwards as will do, and no small rest."""
    limit = TokenLimit(tiny.shared("llama"), 9, "replay", given=10)
    limit._copies = 10
    assert [limit.copies(n) for n in (1, 10, 11, 30, 31)] == [1, 10, 6, 10, 8]


@pytest.mark.parametrize(("prompts", "n", "taken"), [(1, 5, 1), (3, 1, 3), (3, 2, 6)])
def test_a_prefix_takes_memory_only_where_several_prompts_are_repeated(prompts, n, taken):
    """Rows stand prompt by prompt; of one prompt, or once each, they are views of the keys and values kept."""
    kept = torch.arange(prompts * 24.0).reshape(prompts, 3, 2, 4).transpose(1, 2)
    rows = _repeated(kept, n)
    assert torch.equal(rows, kept.repeat_interleave(n, 0))
    assert rows.untyped_storage().nbytes() == taken * kept[0].nbytes
    assert (rows.data_ptr() == kept.data_ptr()) is (taken == prompts)
