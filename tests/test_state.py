"""State that belongs to the caller: training mode, autocast, threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import tiny
import torch

import neuron_antagonism as na

one_thread = tiny.one_thread

QUESTIONS = [tiny.question(5 + i % 3, seed=i) for i in range(4)]
EDIT = na.edit(na.NeuronSet.of([(0, i) for i in range(20)]), "silence", positions="all")


def test_a_training_module_gives_the_numbers_of_evaluation():
    """Dropout is in no number, and the module is left as the caller has it."""
    module = tiny.hf("gpt2", torch.float32)
    model = na.load_model(hf_model=module, tokenizer=tiny.tokenizer())
    right, scores = na.evaluate(model, QUESTIONS).option_probabilities, na.attribute(model, QUESTIONS, budget=8).scores
    loss = na.perplexity(model, ["w1 w2 w3"])
    module.train()
    module.transformer.h[1].eval()
    assert torch.equal(na.evaluate(model, QUESTIONS).option_probabilities, right)
    assert torch.equal(na.attribute(model, QUESTIONS, budget=8).scores, scores)
    assert na.perplexity(model, ["w1 w2 w3"]) == loss
    assert list(na.generate(model, "w1 w2", max_new_tokens=3)) == list(na.generate(model, "w1 w2", max_new_tokens=3))
    assert module.training
    assert not module.transformer.h[1].training
    assert module.transformer.h[0].training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_a_call_changes_nothing(dtype):
    """What is reported as float32 is computed in it, also loading and its proofs."""
    model = tiny.load("llama", torch.float32)
    right, scores = na.evaluate(model, QUESTIONS).option_probabilities, na.attribute(model, QUESTIONS, budget=8).scores
    described = na.describe(model, 0, 1, QUESTIONS)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(na.evaluate(model, QUESTIONS).option_probabilities, right)
        assert torch.equal(na.attribute(model, QUESTIONS, budget=8).scores, scores)
        assert na.describe(model, 0, 1, QUESTIONS) == described
        again = tiny.load("llama", torch.float32)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(na.evaluate(again, QUESTIONS).option_probabilities, right)


def test_modes_around_a_call_change_nothing():
    """Inference mode, no_grad and another default dtype belong to the caller."""
    model = tiny.load("llama", torch.float32)
    right, scores = na.evaluate(model, QUESTIONS).option_probabilities, na.attribute(model, QUESTIONS, budget=8).scores
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            assert torch.equal(na.evaluate(model, QUESTIONS).option_probabilities, right)
            assert torch.equal(na.attribute(model, QUESTIONS, budget=8).scores, scores)
            demo = na.load_model("demo")
        assert na.attribute(demo, [na.Question("w\nAnswer:", tuple("wxyz"), 0)]).scores.abs().max() > 0
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(na.evaluate(model, QUESTIONS).option_probabilities, right)
        assert torch.equal(na.attribute(model, QUESTIONS, budget=8).scores, scores)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_model_made_in_inference_mode_is_refused():
    """Its weights have no gradients, ever."""
    with torch.inference_mode():
        module = tiny.hf("llama", torch.float32)
    with pytest.raises(na.ModelError, match=r"made inside torch.inference_mode\(\), .*accepted: "):
        na.load_model(hf_model=module, tokenizer=tiny.tokenizer())


def in_threads(*works: Any) -> list[BaseException]:
    """What several functions raise that run at once."""
    raised: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return raised


def test_threads_take_turns():
    """Edits, values and gradients of one thread are in no other thread's numbers."""
    model = tiny.load("llama", torch.float32)
    at_last = EDIT.at("last")
    wanted = {
        "unedited": na.evaluate(model, QUESTIONS).option_probabilities,
        "all": na.evaluate(model, QUESTIONS, EDIT).option_probabilities,
        "last": na.evaluate(model, QUESTIONS, at_last).option_probabilities,
        "scores": na.attribute(model, QUESTIONS, budget=8).scores,
    }
    works = {
        "unedited": lambda: na.evaluate(model, QUESTIONS).option_probabilities,
        "all": lambda: na.evaluate(model, QUESTIONS, EDIT).option_probabilities,
        "last": lambda: na.evaluate(model, QUESTIONS, at_last).option_probabilities,
        "scores": lambda: na.attribute(model, QUESTIONS, budget=8).scores,
    }

    def repeated(name: str) -> Any:
        def work() -> None:
            for _ in range(8):
                assert torch.allclose(works[name](), wanted[name], atol=1e-6), name

        return work

    assert in_threads(*(repeated(name) for name in works)) == []


def test_an_edit_that_a_user_keeps_refuses_other_threads():
    """They don't wait for what may wait for them; afterwards they may."""
    model = tiny.load("llama", torch.float32)
    right = na.evaluate(model, QUESTIONS).option_probabilities
    with model.edited(EDIT):
        (error,) = in_threads(lambda: na.evaluate(model, QUESTIONS))
    assert isinstance(error, na.UsageError)
    assert "being edited by model.edited() in another thread; accepted: " in str(error)
    found = []
    assert in_threads(lambda: found.append(na.evaluate(model, QUESTIONS).option_probabilities)) == []
    assert torch.equal(found[0], right)


def test_modules_loaded_twice_share_their_turn():
    """Two hooked models of one module don't mix either."""
    module = tiny.hf("gpt2", torch.float32)
    models = [na.load_model(hf_model=module, tokenizer=tiny.tokenizer()) for _ in range(2)]
    right = na.evaluate(models[1], QUESTIONS).option_probabilities

    def edited() -> None:
        for _ in range(8):
            na.evaluate(models[0], QUESTIONS, EDIT)

    def plain() -> None:
        for _ in range(8):
            assert torch.allclose(na.evaluate(models[1], QUESTIONS).option_probabilities, right, atol=1e-6)

    assert in_threads(edited, plain) == []
