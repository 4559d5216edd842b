"""Random models of a given shape, and questions of a given length: speed does not depend on what weights mean."""

from __future__ import annotations

import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import neuron_antagonism as na

LETTERS = ("A", "B", "C", "D")
WORDS = [f"w{i}" for i in range(50)]
VOCABULARY = ["<unk>", *LETTERS, *WORDS]


def random_llama(
    layers: int,
    width: int,
    ffn: int,
    *,
    vocabulary: int = 32_000,
    context: int = 4096,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    heads: int | None = None,
) -> LlamaForCausalLM:
    """A LLaMA with random weights, made on the device."""
    config = LlamaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads or width // 64,
        intermediate_size=ffn,
        vocab_size=vocabulary,
        max_position_embeddings=context,
    )
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    try:
        torch.set_default_dtype(dtype)
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    return model.eval().requires_grad_(False)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", bos_token="<unk>", eos_token="<unk>")


def hooked(model: LlamaForCausalLM) -> na.HookedModel:
    """The same model, hooked."""
    return na.load_model(hf_model=model, tokenizer=tokenizer())


def question(length: int, seed: int = 0, shared: int = 0) -> na.Question:
    """A question of `length` tokens, of which the first `shared` are the same for every seed."""
    words = random.Random(0).choices(WORDS, k=shared) + random.Random(seed).choices(WORDS, k=length - shared)
    prompt = " ".join(words)
    return na.Question(prompt, ("a", "b", "c", "d"), seed % 4)
