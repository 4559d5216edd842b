"""Tiny models as GGUF files, written with the package gguf as llama.cpp's own converter lays them out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import pytest
import tiny
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Tokenizer

ROWS = {"llama"}
"""Architectures of which llama.cpp keeps the rows of queries and keys in another order."""

TEXTS = ["Answer: A", "Answer: B", "Answer: C", "Answer: D", "the meal was good", "the meal was bad, the room too"]


@cache
def tokenizer() -> GPT2Tokenizer:
    """A byte-level BPE: every text has tokens, " A" and the like are one each."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS, vocab_size=300, min_frequency=1, special_tokens=["<|end|>"], show_progress=False)
    found: dict[str, Any] = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in found["merges"]]
    return GPT2Tokenizer(vocab=found["vocab"], merges=merges, eos_token="<|end|>", bos_token="<|end|>", unk_token=None)


def hf(name: str = "llama", **changes: Any) -> Any:
    """A tiny model for this tokenizer, float32."""
    return tiny.hf(name, torch.float32, vocab_size=len(tokenizer()), rms_norm_eps=1e-5, **changes)


def written(path: Path, module: Any, more: Mapping[str, Any] | None = None, **how: Any) -> Path:
    """A file of a module and the tokenizer above.

    Args:
        path: of the file.
        module: as `hf` makes it.
        more: further metadata; None as a value leaves a key out.
        how: `quantized`, the kind of the matrices; `tensors` beside its own; `skip`, a part of the names of those to
            leave out.
    """
    arch, config = module.config.model_type, module.config
    writer = gguf.GGUFWriter(path, arch)
    for key, value in {**_stated(config, arch), **_tokens(), **(more or {})}.items():
        if value is not None:
            _put(writer, key, value)
    mine = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch)
    names = gguf.get_tensor_name_map(mine, config.num_hidden_layers)
    for key, tensor in module.state_dict().items():
        stored = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert stored is not None, key
        if how.get("skip", "nothing") not in key:
            values, kind = _laid_out(key, tensor, config).numpy(), how.get("quantized")
            if kind is not None and values.ndim > 1:
                writer.add_tensor(stored, gguf.quants.quantize(values, kind), raw_dtype=kind)
            else:
                writer.add_tensor(stored, values)
    for key, values in how.get("tensors", {}).items():
        writer.add_tensor(key, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _stated(config: Any, arch: str) -> dict[str, Any]:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    own = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": head,
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
        "vocab_size": config.vocab_size,
    }
    return {f"{arch}.{key}": value for key, value in own.items()}


def _tokens() -> dict[str, Any]:
    known = tokenizer()
    state = json.loads(known.backend_tokenizer.to_str())["model"]
    by_id = sorted(state["vocab"], key=state["vocab"].get)
    end = known.eos_token_id
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": by_id,
        "tokenizer.ggml.token_type": [3 if token == known.eos_token else 1 for token in by_id],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in state["merges"]],
        "tokenizer.ggml.bos_token_id": end,
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.add_bos_token": False,
    }


def _put(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(key, value)


def _laid_out(key: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """As llama.cpp has it: pairs of a rotation lie side by side there, and a half apart here."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    part = next((part for part in heads if part in key), None)
    if config.model_type not in ROWS or part is None:
        return tensor
    halves = tensor.reshape(heads[part], 2, -1, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def llama_cpp(file: Path, prompt: str, adapter: Path | None = None) -> torch.Tensor:
    """What llama.cpp says of the token after a prompt: a log-probability of each; skips where it is not installed."""
    llama = pytest.importorskip("xllamacpp")
    given = llama.CommonParams()
    given.model.path = str(file)
    given.n_ctx, given.n_parallel, given.n_gpu_layers, given.cpuparams.n_threads = 128, 1, 0, 1
    given.warmup, given.verbosity = False, -1
    if adapter is not None:
        given.lora_adapters = [llama.CommonAdapterLoraInfo(str(adapter), 1.0)]
    ids = tokenizer()(prompt)["input_ids"]
    asked = {"prompt": ids, "n_predict": 1, "n_probs": len(tokenizer()), "temperature": 0.0, "cache_prompt": False}
    said = llama.Server(given).handle_completions(asked)
    found = torch.full((len(tokenizer()),), float("nan"))
    for one in said["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        found[one["id"]] = one["logprob"]
    assert not found.isnan().any()
    return found
