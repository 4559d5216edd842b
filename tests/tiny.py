"""Tiny random models of many architectures, built from configs in memory, with a word tokenizer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import neuron_antagonism as na
from neuron_antagonism.metrics.outcomes import Outcomes
from neuron_antagonism.model.hooked import HookedModel

WORDS = [f"w{i}" for i in range(40)]
VOCABULARY = ["<unk>", "Answer", ":", "A", "B", "C", "D", "E", "F", "G", "H", *WORDS]
LABELS = ("w39", "w16", "w30")
LABELLED = """\
name: {name}
data: {name}.csv
header: [label, text]
columns: {{text: text, answer: label}}
labels: [{labels}]
fillers: [w0]
role: w9
stems: "{{text}} w10"
"""
"""A task file over labelled texts of these words, without a line of column names."""

WINDOW = 6
"""Sliding window of the architectures that have one; prompts in the tests are longer."""

_SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 24}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_SLIDING = {**_GROUPED, "head_dim": 4, "sliding_window": WINDOW}
_COMMON = {"vocab_size": len(VOCABULARY), "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 0}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GROUPED),
    "gpt2": ("GPT2", {"n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 64}),
    "qwen2": ("Qwen2", _GROUPED),
    "qwen2_sliding": (
        "Qwen2",
        {**_GROUPED, "sliding_window": WINDOW, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {**_GROUPED, "head_dim": 4}),
    "mistral": ("Mistral", {**_GROUPED, "sliding_window": WINDOW}),
    "gemma2": ("Gemma2", {**_SLIDING, "query_pre_attn_scalar": 4}),
    "gemma3": (
        "Gemma3",
        {
            **_SLIDING,
            "query_pre_attn_scalar": 4,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "phi3": ("Phi3", {**_GROUPED, "sliding_window": WINDOW, "pad_token_id": 0}),
    "gpt_neox": ("GPTNeoX", {**_SIZES, "rotary_pct": 0.5}),
    "opt": (
        "OPT",
        {
            "hidden_size": 16,
            "word_embed_proj_dim": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "ffn_dim": 24,
            "init_std": 0.3,
            "max_position_embeddings": 64,
        },
    ),
    "olmo2": ("Olmo2", {**_GROUPED, "pad_token_id": 0}),
    "falcon": ("Falcon", {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4}),
    "bloom": ("Bloom", {"hidden_size": 16, "n_layer": 3, "n_head": 4}),
    "mpt": ("Mpt", {"d_model": 16, "n_layers": 3, "n_heads": 4, "expansion_ratio": 2}),
    "gpt_neo": (
        "GPTNeo",
        {
            "hidden_size": 16,
            "num_layers": 3,
            "num_heads": 4,
            "attention_types": [[["global", "local", "global"], 1]],
            "window_size": WINDOW,
            "max_position_embeddings": 64,
        },
    ),
}


def evaluated(known: Iterable[bool]) -> SimpleNamespace:
    """What an evaluation says of examples of three proxies that are understood wholly, or not at all."""
    right = np.array([3 if one else 0 for one in known])
    return SimpleNamespace(outcomes=Outcomes(right, np.full(right.shape, 3), np.zeros(right.shape)))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """For modules of tiny models: threads that wait for one another on busy cores cost a hundredfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager attention takes its softmax in float32 even in a float64 model; from here on, in float64."""
    real = torch.nn.functional.softmax

    def softmax(x: torch.Tensor, dim: int | None = None, dtype: torch.dtype | None = None, **rest: Any) -> torch.Tensor:
        return real(x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype, **rest)

    monkeypatch.setattr(torch.nn.functional, "softmax", softmax)


def tokenizer(*more: str) -> PreTrainedTokenizerFast:
    """Splits at white space and punctuation; `Answer: A` is three tokens, and nothing is added. Knows `more` words."""
    known = {word: i for i, word in enumerate((*VOCABULARY, *more))}
    words = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", bos_token="<unk>", eos_token="<unk>")


def hf(name: str, dtype: torch.dtype = torch.float64, seed: int = 0, **changes: Any) -> Any:
    """A Hugging Face model with large random weights, norms and biases included; eager attention."""
    kind, values = CONFIGS[name]
    text = "TextConfig" if kind == "Gemma3" else "Config"
    config = getattr(transformers, kind + text)(**{**_COMMON, **values, **changes})
    config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{kind}{'LMHeadModel' if kind == 'GPT2' else 'ForCausalLM'}")(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return model.to(dtype).eval()


def load(name: str, dtype: torch.dtype = torch.float64, seed: int = 0, **changes: Any) -> HookedModel:
    """The same model with hooks."""
    return na.load_model(hf_model=hf(name, dtype, seed, **changes), tokenizer=tokenizer())


_shared: dict[tuple[Any, ...], tuple[HookedModel, torch.Tensor]] = {}


def shared(name: str, dtype: torch.dtype = torch.float64, **changes: Any) -> HookedModel:
    """The same model with hooks, loaded once for all tests of a process: for those that leave it as it is."""
    key = (name, dtype, *sorted(changes.items()))
    if key not in _shared:
        model = load(name, dtype, **changes)
        _shared[key] = model, _answer(model)
    return _shared[key][0]


def spoiled() -> list[tuple[Any, ...]]:
    """Which shared models no longer answer as they did when they were loaded."""
    # loaded under `exact_softmax` or without it, which rounds otherwise
    return [key for key, (model, before) in _shared.items() if not torch.allclose(_answer(model), before, atol=1e-5)]


def _answer(model: HookedModel) -> torch.Tensor:
    ids = model.tokens(question(9).prompt)[: model.max_context]
    with torch.no_grad():
        return model.last_logits([ids])


def saved(path: Path, name: str = "llama", dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """The same model and its tokenizer on disk, in `path`."""
    hf(name, dtype, **changes).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def text(i: int) -> str:
    """Three to seven random words."""
    return question(3 + i % 5, seed=i).prompt.removesuffix(" Answer:")


def labelled(
    folder: Path,
    name: str = "mine",
    labels: Sequence[str] = LABELS,
    first: int = 0,
    count: int = 40,
    right: Callable[[str], str] | None = None,
) -> Path:
    """A task file, and its data: `count` texts from a number on, labelled in turn, or by a function of the text."""
    texts = [text(i) for i in range(first, first + count)]
    lines = [f"{right(t) if right else labels[i % len(labels)]},{t}\n" for i, t in enumerate(texts)]
    (folder / f"{name}.csv").write_text("".join(lines), encoding="utf-8")
    (folder / f"{name}.yaml").write_text(LABELLED.format(name=name, labels=", ".join(labels)), encoding="utf-8")
    return folder / f"{name}.yaml"


def question(n_words: int, seed: int = 0, answer: int | None = None, letters: str = "ABCD") -> na.Question:
    """A question of `n_words` random words and the cue, `n_words` + 2 tokens."""
    rng = random.Random(f"{n_words}|{seed}")
    prompt = " ".join(rng.choices(WORDS, k=n_words)) + " Answer:"
    return na.Question(prompt, ("a", "b", "c", "d"), rng.randrange(4) if answer is None else answer, tuple(letters))
