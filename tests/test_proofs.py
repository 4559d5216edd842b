"""What loading proves: whose logits these are, what a neuron is, that a token sees only what is before it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tiny
import torch
import transformers

import neuron_antagonism as na
from neuron_antagonism.model import load as loading
from neuron_antagonism.model import proofs
from neuron_antagonism.model.agreement import Proof

one_thread = tiny.one_thread

QUESTIONS = [tiny.question(5 + i, seed=i) for i in range(6)]


def plain(module: Any, questions: list[na.Question]) -> torch.Tensor:
    """Letter probabilities of a plain module, one question at a time."""
    words = tiny.tokenizer()
    letters = words.convert_tokens_to_ids(list("ABCD"))
    with torch.no_grad():
        rows = [module(torch.tensor([words(q.prompt)["input_ids"]])).logits[0, -1, letters] for q in questions]
    return torch.stack(rows).double().softmax(-1)


def sparse(kind: str, **values: Any) -> Any:
    """A tiny mixture of experts."""
    sizes = {
        "vocab_size": len(tiny.VOCABULARY),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_experts_per_tok": 2,
        "pad_token_id": 0,
    }
    config = getattr(transformers, f"{kind}Config")(**sizes, **values)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


def load(module: Any) -> Any:
    return na.load_model(hf_model=module, tokenizer=tiny.tokenizer())


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_every_proof_holds_of_a_dense_decoder(name):
    """Of sixteen architectures each proof has a figure within its bound, and a gated FFN's `up` is a factor."""
    model = tiny.load(name)
    every = {"finite", "logits", "neurons", "causal", "restored", "vocabulary", "resid_post"}
    assert every <= set(model.proofs) <= every | {"up"}
    for proof in model.proofs.values():
        assert proof.holds
        assert proof.figure <= proof.bound
    assert model.proofs["neurons"].figure < 1e-12


def hooked(where: str) -> Any:
    """A module whose user has put a hook on one of its parts."""
    module = tiny.hf("gpt_neox", torch.float32)
    part = module.get_submodule(f"gpt_neox.layers.0.{where}")
    part.register_forward_hook(
        lambda _, args, out: out * 1.5 if isinstance(out, torch.Tensor) else (out[0] * 1.5, *out[1:])
    )
    return module


@pytest.mark.parametrize("where", ["attention.query_key_value", "attention"])
def test_what_transformer_lens_leaves_out_is_refused(where):
    """A hook on a fused projection would be dropped: the difference of the logits is named."""
    with pytest.raises(
        na.ModelError, match=r"logits: differ from the given module's own by .* of the largest; accepted: "
    ):
        load(hooked(where))


@pytest.mark.parametrize("where", ["mlp.dense_4h_to_h", "mlp"])
def test_what_sits_on_the_module_is_in_the_numbers(where):
    """A hook that TransformerLens keeps is in the product's probabilities."""
    module = hooked(where)
    right = plain(module, QUESTIONS)
    assert torch.allclose(na.evaluate(load(module), QUESTIONS).option_probabilities, right, atol=1e-6)


MOE = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen2Moe": {"num_experts": 4, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24},
    "Qwen3Moe": {"num_experts": 4, "moe_intermediate_size": 24, "head_dim": 4},
    "Olmoe": {"num_experts": 4},
    "GraniteMoe": {"num_local_experts": 4},
    "GptOss": {"num_local_experts": 4, "head_dim": 4},
}


@pytest.mark.parametrize("kind", MOE)
def test_a_mixture_of_experts_is_refused(kind):
    """Its hooked values are the block's outputs, and no neurons."""
    with pytest.raises(
        na.ModelError, match=r"neurons: layer 0: .*accepted: decoders with one dense FFN in every block"
    ):
        load(sparse(kind, **MOE[kind]))


def test_a_sparse_model_whose_blocks_are_all_dense_is_taken():
    """What counts is what the blocks are, and no list of names."""
    values = {**MOE["Qwen2Moe"], "mlp_only_layers": [0, 1]}
    assert load(sparse("Qwen2Moe", **values)).n_neurons == 24


def test_experts_beside_a_dense_ffn_are_found(monkeypatch):
    """Where all neurons are zero, nothing of an FFN may depend on the token: what does is no neuron's."""
    module = tiny.hf("llama", torch.float32)
    mlp = module.model.layers[1].mlp
    real = type(mlp).forward

    def with_more(self, x):
        return real(self, x) + (x if self is mlp else 0)

    monkeypatch.setattr(type(mlp), "forward", with_more)
    with pytest.raises(na.ModelError, match=r"(neurons|logits): .*accepted: "):
        load(module)


def test_a_changed_input_of_the_projection_is_no_neuron():
    """What is written must be what the projection takes in."""
    module = tiny.hf("llama", torch.float32)
    module.model.layers[0].mlp.down_proj.register_forward_pre_hook(lambda _, args: (args[0] * 1.5,))
    with pytest.raises(na.ModelError, match=r"neurons: .* off by 5\.0e-01; accepted: "):
        load(module)


def bert(**values: Any) -> Any:
    config = transformers.BertConfig(
        vocab_size=len(tiny.VOCABULARY),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.3,
        **values,
    )
    return transformers.BertLMHeadModel(config).eval()


def test_an_encoder_is_refused():
    """A token that sees later ones fails the proof of causality; the same class as a decoder holds."""
    with pytest.raises(na.ModelError, match=r"causal: what comes later, .*accepted: a causal language model"):
        load(bert())
    assert load(bert(is_decoder=True)).proofs["causal"].holds


def test_an_encoder_with_a_decoder_is_refused():
    """T5 is named for what it is."""
    config = transformers.T5Config(
        vocab_size=len(tiny.VOCABULARY), d_model=16, d_kv=4, num_heads=4, d_ff=24, num_layers=2
    )
    with pytest.raises(na.ModelError, match=r"is an encoder with a decoder; accepted: a causal language model"):
        load(transformers.T5ForConditionalGeneration(config))


def test_a_module_without_a_language_head_is_refused():
    """A backbone and a classifier don't continue a text."""
    with pytest.raises(na.ModelError, match=r"does not continue a text: .*accepted: a causal language model"):
        load(tiny.hf("llama").model)
    classifier = transformers.LlamaForSequenceClassification(tiny.hf("llama").config)
    with pytest.raises(na.ModelError, match=r"logits of shape \(1, 2\) for 64 tokens; accepted"):
        load(classifier)


LONG_ROPE = {
    "sliding_window": None,
    "original_max_position_embeddings": 12,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0, 1.0],
        "long_factor": [16.0, 64.0],
        "original_max_position_embeddings": 12,
    },
}


@pytest.mark.parametrize("max_tokens", [None, 8])
def test_positions_that_depend_on_the_batch(max_tokens):
    """A LongRoPE model answers each prompt as alone, also beside prompts beyond the length where its angles change."""
    module = tiny.hf("phi3", torch.float32, **LONG_ROPE)
    questions = [tiny.question(n, seed=n) for n in (6, 9, 15, 8, 30, 12)]
    right = plain(module, questions)
    model = load(module)
    found = na.evaluate(model, questions, max_tokens=max_tokens)
    assert torch.allclose(found.option_probabilities, right, atol=1e-6)
    edit = na.edit(na.NeuronSet.of([(0, i) for i in range(12)]), "silence")
    together = na.evaluate(model, questions, edit, max_tokens=max_tokens).option_probabilities
    apart = torch.cat([na.evaluate(model, [q], edit).option_probabilities for q in questions])
    assert torch.allclose(together, apart, atol=1e-6)
    whole = na.attribute(model, questions, "ace", budget=8)
    assert (whole.engine, "are run apart" in whole.engine_reason) == ("reference", True)
    single = na.attribute(model, questions[:1], "ace", budget=8, engine="reference")
    assert torch.allclose(whole.example_scores[0], single.example_scores[0], atol=1e-6)
    with pytest.raises(na.UsageError, match=r"engine 'replay' does not hold for this model: .*accepted: 'auto'"):
        na.attribute(model, questions, "ace", budget=8, engine="replay")
    texts = ["w1 w2 w3", " ".join(f"w{i}" for i in range(30))]
    losses = [na.perplexity(model, [text]) for text in texts]
    tokens = [2, 29]
    mean = sum(n * torch.tensor(loss).log() for n, loss in zip(tokens, losses, strict=True)) / sum(tokens)
    assert na.perplexity(model, texts) == pytest.approx(float(mean.exp()), rel=1e-5)


def test_prompts_on_one_side_of_the_change_need_no_more():
    """Where no prompt is long enough for other angles, the fast engine holds."""
    model = load(tiny.hf("phi3", torch.float32, **LONG_ROPE))
    short = [tiny.question(n, seed=n) for n in (4, 6, 8)]
    assert na.attribute(model, short, budget=8).engine == "replay"


def test_a_tokenizer_larger_than_the_embedding():
    """A prompt that uses a token without an embedding is refused with both sizes; others are answered."""
    words = tiny.tokenizer()
    words.add_tokens(["snow"])
    model = na.load_model(hf_model=tiny.hf("llama"), tokenizer=words)
    assert na.evaluate(model, QUESTIONS[:1]).outcomes.n_proxies == 1
    with pytest.raises(
        na.ModelError, match=rf"has {len(words)} tokens and the model an embedding of {len(words) - 1}: "
    ):
        na.evaluate(model, [na.Question("snow w1 Answer:", tuple("abcd"), 0)])
    assert "tokens beyond are refused" in model.proofs["vocabulary"].detail


class Masked(torch.nn.Linear):
    """A head that never writes some tokens."""

    masked = slice(-2, None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x)
        logits[..., self.masked] = float("-inf")
        return logits


def test_unused_entries_of_the_vocabulary_may_be_masked():
    """−inf on tokens that are no letters changes nothing: evaluation, gradients, ablation and perplexity go through."""
    module = tiny.hf("llama")
    right = plain(module, QUESTIONS)
    module.lm_head.__class__ = Masked
    model = load(module)
    assert torch.allclose(na.evaluate(model, QUESTIONS).option_probabilities, right, atol=1e-9)
    for engine in ("replay", "rows", "reference"):
        assert na.attribute(model, QUESTIONS[:2], "ace", budget=8, engine=engine).scores.isfinite().all()
    assert na.ablate(model, QUESTIONS[:1]).effects.isfinite().all()
    assert na.perplexity(model, ["w1 w2 w3"]) > 1


def test_a_masked_letter_is_refused():
    """A letter that the model can't write is named."""
    module = tiny.hf("llama")
    module.lm_head.__class__ = type("MaskedB", (Masked,), {"masked": tiny.VOCABULARY.index("B")})
    model = load(module)
    with pytest.raises(na.ModelError, match=r"gives the letter 'B' \(token \d+\) the logit -inf; accepted: "):
        na.evaluate(model, QUESTIONS)
    with pytest.raises(na.ModelError, match="gives a letter the logit -inf"):
        na.attribute(model, QUESTIONS[:1], budget=8)


@pytest.mark.parametrize("wrong", [{"tokenizer": "gpt2"}, {"hf_model": "gpt2"}, {"tokenizer": 3}, {"hf_model": {}}])
def test_things_of_the_wrong_kind_are_named(wrong):
    """A name where a loaded model or tokenizer belongs is one line."""
    given = {"hf_model": tiny.hf("llama"), "tokenizer": tiny.tokenizer(), **wrong}
    (what, thing), *_ = wrong.items()
    with pytest.raises(na.UsageError, match=rf"{what} is a {type(thing).__name__}.*accepted: "):
        na.load_model(**given)
    with pytest.raises(na.UsageError, match=r"the model's name is a LlamaForCausalLM; accepted: .*hf_model= and"):
        na.load_model(tiny.hf("llama"))


def test_a_checkpoint_is_proved_once(monkeypatch):
    """Loaded again in one process nothing is proved again; other files or another dtype are."""
    asked = []
    real = loading.prove
    monkeypatch.setattr(loading, "prove", lambda *given: (asked.append(1), real(*given))[1])
    monkeypatch.setattr(loading, "_proved", {})
    first, second = na.load_model("demo"), na.load_model("demo")
    assert len(asked) == 1
    assert first.proofs == second.proofs
    na.load_model("demo", dtype="float64")
    assert len(asked) == 2


def test_a_module_may_be_loaded_twice():
    """As in a notebook's cell that is run again: both give the same numbers, and every proof holds."""
    module = tiny.hf("gpt2")
    first = load(module)
    before = na.evaluate(first, QUESTIONS).option_probabilities
    second = load(module)
    assert torch.equal(na.evaluate(second, QUESTIONS).option_probabilities, before)
    assert torch.equal(na.evaluate(first, QUESTIONS).option_probabilities, before)
    assert all(proof.holds for proof in second.proofs.values())


def test_a_site_that_is_none_is_not_offered():
    """A model that fails only the proof of `up` is loaded, and refuses that site."""
    model = tiny.load("llama")
    held = model.proofs["up"]
    model.proofs = {**model.proofs, "up": Proof("up", 1.0, held.bound, False, "off by 1; accepted: 'post'")}
    proofs.refuse(model)
    with pytest.raises(na.UsageError, match="has no site 'up' that is one: off by 1"):
        na.attribute(model, QUESTIONS, budget=8, site="up")
    rows = {name: (ok, line) for name, ok, line in proofs.lines(model)}
    assert rows["up"][0]
    assert rows["up"][1].startswith("this site is not offered: ")


def test_proofs_stand_in_the_manifest(default_run):
    """Name, figure, bound and verdict of each, and how the letters are written, with their mass."""
    stated = default_run.manifest["model"]["proofs"]
    assert stated["logits"] == {"name": "logits", **stated["logits"], "holds": True}
    assert {"finite", "neurons", "causal", "restored"} <= set(stated)
    forms = default_run.manifest["letters"]
    assert {(form["suffix"], form["form"], form["ending"]) for form in forms} == {("", " {}", "Answer:")}
    assert all(form["mass"] > 0.9 for form in forms)
    assert all(found["before"]["letter_mass"] > 0.9 for found in default_run.results["tasks"].values())
    assert json.dumps(default_run.manifest["model"]["adapter"]) == "null"


def test_another_kind_of_attention_is_no_difference():
    """A bfloat16 model in memory, with the attention that transformers chooses, is compared as the runner runs it."""
    config = transformers.LlamaConfig(
        vocab_size=len(tiny.VOCABULARY),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = transformers.LlamaForCausalLM(config).bfloat16().eval()
    assert module.config._attn_implementation != "eager"
    assert load(module).proofs["logits"].figure < 1e-2


class Packed(torch.nn.Module):
    """A projection of no known kind, as quantized ones are."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.register_buffer("packed", linear.weight.data.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.packed.T


def test_a_projection_of_another_kind_is_one_by_what_it_does():
    """Not its class counts; only an export needs to know it."""
    module = tiny.hf("llama")
    for layer in module.model.layers:
        layer.mlp.down_proj = Packed(layer.mlp.down_proj)
    right = plain(module, QUESTIONS)
    model = load(module)
    assert torch.allclose(na.evaluate(model, QUESTIONS).option_probabilities, right, atol=1e-9)


def test_a_deleted_model_is_gone():
    """Without waiting for cycles to be looked for: the next one needs the memory."""
    import gc
    import weakref

    module = tiny.hf("llama")
    model = load(module)
    na.evaluate(model, QUESTIONS)
    there = weakref.ref(model)
    gc.collect()
    gc.disable()
    try:
        del model
        assert there() is None
    finally:
        gc.enable()
