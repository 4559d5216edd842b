"""Models and questions that need no download."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from neuron_antagonism.method.evaluate import evaluate
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.load import load_model
from neuron_antagonism.tasks.load import load_task
from neuron_antagonism.types import Example, Question

WORDS = [f"w{i}" for i in range(40)]
VOCABULARY = ["<unk>", "Answer", ":", "A", "B", "C", "D", *WORDS]


@cache
def demo_model() -> HookedModel:
    """The embedded demonstration model, whose good and bad neurons are known: `demo_model().planted`."""
    return load_model("demo")


@cache
def demo_examples() -> tuple[Example, ...]:
    """Three identification examples of one of its tasks."""
    return tuple(load_task("ner").split(identify=3, select=0, evaluate=1).identify)


@cache
def tiny_model(dtype: torch.dtype = torch.float64) -> HookedModel:
    """A random LLaMA of three blocks of 24 neurons, with a word tokenizer; its weights are large enough to matter."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = LlamaForCausalLM(config)
    return load_model(hf_model=model.to(dtype).eval(), tokenizer=_tokenizer())


def tiny_questions(n: int = 4, seed: int = 0) -> list[Question]:
    """Questions of random words and of different lengths; the tiny model answers every other one rightly.

    Each has a counterfactual of as many tokens.
    """
    return list(_answered(n, seed))


@cache
def _answered(n: int, seed: int) -> tuple[Question, ...]:
    rng = random.Random(seed)
    prompts = [" ".join(rng.choices(WORDS, k=7 + 3 * i)) + " Answer:" for i in range(n)]
    asked = [Question(prompt, ("a", "b", "c", "d"), 0) for prompt in prompts]
    chosen = evaluate(tiny_model(), asked).chosen.tolist()
    answers = [(own + i % 2) % 4 for i, own in enumerate(chosen)]
    others = [" ".join(rng.choices(WORDS, k=7 + 3 * i)) + " Answer:" for i in range(n)]
    return tuple(
        replace(question, answer=answer, own_counterfactual=replace(question, prompt=other, answer=(answer + 1) % 4))
        for question, answer, other in zip(asked, answers, others, strict=True)
    )


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=words, unk_token="<unk>", bos_token="<unk>", eos_token="<unk>")
