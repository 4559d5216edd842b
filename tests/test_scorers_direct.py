"""Direct logit attribution against the same by hand on the plain module, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import plain
import pytest
import tiny
import torch
from torch import Tensor

import neuron_antagonism as na
from neuron_antagonism_plugins.direct import Direct

one_thread = tiny.one_thread

FINAL = {
    "gpt2": "transformer.ln_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "opt": "model.decoder.final_layer_norm",
    "bloom": "transformer.ln_f",
}
"""Where the last norm is; elsewhere it is `model.norm`."""
CENTRED = set(FINAL)
MORE = {
    "granite": ("Granite", {**tiny._GROUPED, "residual_multiplier": 0.22, "logits_scaling": 4.0, "pad_token_id": 0}),
    "olmo": ("Olmo", {**tiny._GROUPED, "pad_token_id": 0}),
}
"""Further architectures: a residual multiplier, and a LayerNorm without weights."""
QUESTIONS = [
    tiny.question(8, seed=1),
    tiny.question(11, seed=2),
    na.Question("w3 w7 w7 Answer:", ("a", "b"), 1),
    na.Question("w5 w9 w2 w30 Answer:", tuple("abcde"), 4),
]


@pytest.fixture(scope="module", autouse=True)
def _more() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, config in MORE.items():
            monkeypatch.setitem(tiny.CONFIGS, name, config)
        yield


def direct(model: na.HookedModel, asked: Any = QUESTIONS, **settings: Any) -> na.Attribution:
    return na.attribute(model, asked, Direct(), budget=5, **settings)


def by_hand(name: str, module: Any, question: na.Question) -> tuple[Tensor, float, float]:
    """Each neuron's logits [layer, neuron], those of everything else, and the letters' own difference.

    Everything else is what the embeddings, the attention and the FFNs' biases write, each read where it is written.
    """
    words = tiny.tokenizer()
    ids = words(question.prompt)["input_ids"]
    letters = words.convert_tokens_to_ids(list(question.letters))
    blocks = plain.blocks(module)
    norm = module.get_submodule(FINAL.get(name, "model.norm"))
    attention = ("self_attn", "attn", "attention")
    parts = {"norm": norm, "head": module.get_output_embeddings(), "first": blocks[0]}
    for i, block in enumerate(blocks):
        parts[f"ffn{i}"] = plain.output(block)
        parts[f"attention{i}"] = next(part for key, part in block.named_children() if key in attention)
        if name == "gemma2":
            parts[f"post{i}"] = block.post_feedforward_layernorm
            parts[f"attention{i}"] = block.post_attention_layernorm
    with plain.taken(module, parts) as seen:
        plain.logits(module, ids)
    at = {key: tuple(one.reshape(-1, one.shape[-1])[-1] for one in pair) for key, pair in seen.items()}

    def along(gain: Tensor, direction: Tensor, x: Tensor, eps: float, *, centred: bool) -> Tensor:
        spread = x.var(correction=0) if centred else x.square().mean()
        found = gain * direction / (spread + eps).sqrt()
        return found - found.mean() if centred else found

    def gain_of(one: Any) -> Tensor:
        weight = getattr(one, "weight", None)
        return torch.ones(16).double() if weight is None else weight.detach() + (name == "gemma2")

    eps = [getattr(norm, key) for key in ("eps", "variance_epsilon") if hasattr(norm, key)]
    residual = at["norm"][0]
    weights = torch.full((len(letters),), -1 / (len(letters) - 1)).double()
    weights[question.answer] = 1
    unembedded = weights @ module.get_output_embeddings().weight.detach()[letters]
    centred = name in CENTRED or name == "olmo"
    final = along(gain_of(norm), unembedded, residual, eps[0] if eps else 1e-5, centred=centred)
    multiplier = 0.22 if name == "granite" else 1
    found, rest = [], float(final @ at["first"][0])
    for i, block in enumerate(blocks):
        direction = multiplier * final
        if name == "gemma2":
            direction = along(gain_of(parts[f"post{i}"]), direction, at[f"ffn{i}"][1], eps[0], centred=False)
        found.append(at[f"ffn{i}"][0] * (plain.output_weights(block) @ direction))
        bias = getattr(plain.output(block), "bias", None)
        rest += multiplier * float(final @ at[f"attention{i}"][1])
        rest += 0 if bias is None else float(direction @ bias.detach())
    shift = getattr(norm, "bias", None)
    rest += 0 if shift is None else float(unembedded @ shift.detach())
    return torch.stack(found).detach(), rest, float(at["head"][1][letters] @ weights)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "opt", "gemma2", "granite", "olmo"])
def test_it_is_what_each_neuron_writes_towards_the_right_letter(name):
    """By hand on the plain module: LayerNorm, RMS norm, a norm behind the FFN, a softcap, a residual multiplier."""
    module = tiny.hf(name)
    got = direct(tiny.shared(name))
    expected = torch.stack([by_hand(name, module, question)[0] for question in QUESTIONS])
    size = float(expected.abs().max())
    assert torch.allclose(got.example_scores.double(), expected, rtol=0, atol=1e-6 * size)
    assert torch.allclose(got.scores.double(), expected.mean(0), rtol=0, atol=1e-6 * size)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "granite"])
def test_neurons_and_everything_else_sum_to_the_letters_difference(name):
    """All scores of a question, and what embeddings, attention and biases write, are the model's own difference."""
    module = tiny.hf(name)
    got = direct(tiny.shared(name)).example_scores.double().sum(dim=(1, 2))
    for question, neurons in zip(QUESTIONS, got.tolist(), strict=True):
        _, rest, difference = by_hand(name, module, question)
        assert neurons + rest == pytest.approx(difference, abs=1e-4 * max(abs(neurons), abs(rest)))


@pytest.mark.parametrize("name", [name for name in tiny.CONFIGS if name not in MORE])
def test_every_architecture_is_proved(name):
    """Of each the path holds, at one size in all blocks: attention modules that add the residual stream included."""
    from neuron_antagonism_plugins._paths import Paths

    model = tiny.shared(name)
    assert Paths(model, model.encode(QUESTIONS[1]).ids).multiplier == 1
    assert direct(model, QUESTIONS[:1]).scores.abs().max() > 0


def test_half_precision_gives_the_same_roughly():
    """In bfloat16 the proof holds as well, and the scores are those of float64 but for rounding."""
    half = direct(tiny.load("llama", torch.bfloat16)).scores
    exact = direct(tiny.shared("llama")).scores
    assert (half - exact).abs().max() < 0.05 * exact.abs().max()


def test_it_costs_a_forward_a_question_and_two(monkeypatch):
    """No more forwards than that are made, and none with a gradient."""
    model, count = tiny.load("llama"), 0
    real = model.forward

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal count
        count += 1
        assert not torch.is_grad_enabled()
        return real(*args, **kwargs)

    direct(model)  # where the answer is read is found the first time
    monkeypatch.setattr(model, "forward", forward)
    Direct().attribute(model, [na.Example(None, (q,)) for q in QUESTIONS], na.Settings(budget=5))
    assert count == len(QUESTIONS) + 2


def refused(name: str, spoil: Any, said: str, **changes: Any) -> None:
    module = tiny.hf(name, **changes)
    spoil(module)
    model = na.load_model(hf_model=module, tokenizer=tiny.tokenizer())
    with pytest.raises(na.ModelError, match=f"scorer 'direct': {said}.*; accepted: models whose FFNs add") as caught:
        direct(model)
    assert "\n" not in str(caught.value)


def nothing(module: Any) -> None:
    pass


def test_a_stream_that_is_scaled_on_its_way_is_refused():
    """Where a block's output is halved, earlier FFNs reach the end at another size than later ones."""

    def halve(module: Any) -> None:
        module.model.layers[1].register_forward_hook(lambda m, a, out: out / 2)

    refused("llama", halve, "its FFNs reach the final residual stream at different sizes")


def test_a_stream_that_is_bent_is_refused():
    """Where a block's output goes through a function that is not linear, FFNs do not just add to it."""

    def bend(module: Any) -> None:
        module.model.layers[1].register_forward_hook(lambda m, a, out: out.tanh())

    refused("llama", bend, "its FFNs move the final residual stream otherwise than by what they write")


def test_a_last_norm_that_is_none_is_refused():
    """Where what reaches the unembedding is no norm of the residual stream, the frozen map is not the model's."""

    def bend(module: Any) -> None:
        module.lm_head.register_forward_pre_hook(lambda m, args: (args[0].tanh(),))

    refused("llama", bend, "its last norm, frozen, and its unembedding give")


def test_a_stream_of_another_width_is_refused():
    """Where a projection follows the blocks, what the FFNs write is not what the unembedding reads."""
    refused("opt", nothing, "its final residual stream has 8 entries, its blocks 16", word_embed_proj_dim=8)


@pytest.mark.parametrize("site", ["up", "resid_post"])
def test_other_sites_are_refused(site):
    """Only values at the output projection's input have output weights."""
    with pytest.raises(na.UsageError, match=f"scorer 'direct' at site '{site}'; accepted: 'post'"):
        direct(tiny.shared("llama"), site=site)


def test_an_edited_model_is_refused():
    """Scores are those of the unedited model."""
    model = tiny.shared("llama")
    with model.edited(na.edit(na.NeuronSet.of([(0, 1)]), "silence")), pytest.raises(na.UsageError, match="edited"):
        direct(model)
