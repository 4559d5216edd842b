"""Adapters: merged into a copy, whatever they sit on, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import tiny
import torch
from test_proofs import QUESTIONS, load, plain

import neuron_antagonism as na
from neuron_antagonism.runs.config import RunConfig

one_thread = tiny.one_thread

# peft's own, about its use of transformers and about what it sets by itself
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set:UserWarning"),
]


def random(module: Any) -> Any:
    """Fresh adapters change nothing: give them weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and "base_layer" not in name:
                parameter.data = 0.3 * torch.randn_like(parameter)
    return module.eval()


def lora(**values: Any) -> Any:
    return peft.LoraConfig(r=4, lora_alpha=16, **values)


FUSED = {"gpt2": "c_attn", "gpt_neox": "query_key_value", "phi3": "qkv_proj", "falcon": "query_key_value"}


@pytest.mark.parametrize("name", FUSED)
def test_lora_on_a_fused_projection(name):
    """The product's probabilities are the adapted module's own, which it leaves as it was."""
    module = tiny.hf(name, torch.float32)
    base = plain(module, QUESTIONS)
    module.add_adapter(lora(target_modules=[FUSED[name]]))
    random(module)
    right = plain(module, QUESTIONS)
    model = load(module)
    assert torch.allclose(na.evaluate(model, QUESTIONS).option_probabilities, right, atol=1e-6)
    assert (right - base).abs().max() > 0.01
    assert model.adapter == {"adapters": {"default": "LORA"}, "modules": 3}
    assert torch.equal(plain(module, QUESTIONS), right)
    assert hasattr(module, "peft_config")


KINDS = {
    "lora": lora(target_modules=["q_proj", "down_proj"]),
    "gate and up": lora(target_modules=["gate_proj", "up_proj"]),
    "dora": lora(target_modules=["v_proj"], use_dora=True),
    "head": lora(target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "embedding": lora(target_modules=["embed_tokens"]),
    "tokens": lora(target_modules=["q_proj"], trainable_token_indices=[3, 4]),
    "ia3": peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "loha": peft.LoHaConfig(target_modules=["q_proj"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_peft_model_is_merged(kind):
    """Every kind that has a merged form gives the adapted model's own probabilities."""
    wrapped = random(peft.get_peft_model(tiny.hf("llama", torch.float32), KINDS[kind]))
    right = plain(wrapped, QUESTIONS)
    assert torch.allclose(na.evaluate(load(wrapped), QUESTIONS).option_probabilities, right, atol=1e-6)
    assert torch.equal(plain(wrapped, QUESTIONS), right)


def test_an_adapted_module_stays_in_training():
    """What is taken is a copy."""
    wrapped = peft.get_peft_model(tiny.hf("llama", torch.float32), lora(target_modules=["q_proj"]))
    wrapped.train()
    load(wrapped)
    assert wrapped.training
    assert all(part.training for part in wrapped.modules())
    assert any(parameter.requires_grad for parameter in wrapped.parameters())


def test_only_what_is_active_is_merged():
    """Of two adapters the active one; of a disabled one nothing."""
    wrapped = peft.get_peft_model(tiny.hf("llama", torch.float32), lora(target_modules=["q_proj"]))
    wrapped.add_adapter("second", lora(target_modules=["v_proj"]))
    wrapped.set_adapter("second")
    random(wrapped)
    right = plain(wrapped, QUESTIONS)
    model = load(wrapped)
    assert torch.allclose(na.evaluate(model, QUESTIONS).option_probabilities, right, atol=1e-6)
    assert model.adapter is not None
    assert model.adapter["adapters"] == {"second": "LORA"}
    module = tiny.hf("llama", torch.float32)
    base = plain(module, QUESTIONS)
    module.add_adapter(lora(target_modules=["q_proj"], init_lora_weights=False))
    module.disable_adapters()
    assert torch.allclose(na.evaluate(load(module), QUESTIONS).option_probabilities, base, atol=1e-6)


def test_what_can_not_be_merged_is_refused():
    """A prompt or prefix that is learned is no change of weights."""
    for config in (
        peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
    ):
        wrapped = peft.get_peft_model(tiny.hf("llama", torch.float32), config)
        with pytest.raises(na.ModelError, match=r"is no change of weights; accepted: an adapter that peft can merge"):
            load(wrapped)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, torch.Tensor]:
    """A base model, an adapter of it, and what the adapted model answers."""
    from transformers import AutoModelForCausalLM

    base, adapter = tmp_path / "base", tmp_path / "adapter"
    tiny.saved(base, "gpt2")
    wrapped = random(
        peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora(target_modules=["c_attn", "c_fc"]))
    )
    wrapped.save_pretrained(adapter)
    return base, adapter, plain(wrapped, QUESTIONS)


def test_adapters_from_their_folders(folders):
    """By their base's name with adapter=, or alone where they name their base; what was merged is recorded."""
    base, adapter, right = folders
    for model in (na.load_model(str(base), adapter=str(adapter)), na.load_model(adapter)):
        assert torch.allclose(na.evaluate(model, QUESTIONS).option_probabilities, right, atol=1e-6)
        assert model.adapter == {"adapters": {"default": "LORA"}, "modules": 6}
        assert model.name == f"{base} + {adapter}"
        # no checkpoint holds these weights: an export must not be verified against one
        assert model.source is None
    plain_one = na.load_model(str(base))
    assert plain_one.adapter is None
    assert plain_one.fingerprint() != model.fingerprint()


def test_what_was_merged_is_proved_against_the_adapted_module(folders, monkeypatch):
    """A merge that goes wrong is refused by the logits' proof, also for adapters from their folders."""
    from neuron_antagonism.model import adapters

    base, adapter, _ = folders
    real = adapters._replace

    def halved(module, name, part):
        for weights in part.lora_B.values():
            weights.weight.data *= 0.5
        real(module, name, part)

    monkeypatch.setattr(adapters, "_replace", halved)
    with pytest.raises(na.ModelError, match=r"logits: differ from the given module's own by .*; accepted: "):
        na.load_model(str(base), adapter=str(adapter))


def test_an_adapter_is_an_option_of_a_run(folders):
    """`adapter` stands in run files and manifests like any other option of loading."""
    base, adapter, _ = folders
    config = RunConfig.of(model=str(base), adapter=str(adapter))
    assert na.load_model(config.model, **config.loading()).adapter is not None


def test_folders_that_do_not_fit(folders, tmp_path):
    """No adapter, one of another model, one without its base: one line each."""
    base, adapter, _ = folders
    with pytest.raises(na.ModelError, match=r"can't put the adapter .*nowhere on .*accepted: an adapter's folder"):
        na.load_model(str(base), adapter=tmp_path / "nowhere")
    with pytest.raises(na.ModelError, match=r"can't put the adapter .* on LlamaForCausalLM"):
        na.load_model("demo", adapter=adapter)
    with pytest.raises(na.UsageError, match="is an adapter itself; accepted: its base model's name, with adapter="):
        na.load_model(adapter, adapter=adapter)
    wrapped = peft.get_peft_model(tiny.hf("llama", torch.float32), lora(target_modules=["q_proj"]))
    wrapped.save_pretrained(tmp_path / "alone")
    with pytest.raises(na.ModelError, match=r"does not name its base model; accepted: load_model\(BASE, adapter="):
        na.load_model(tmp_path / "alone")


@pytest.mark.usefixtures("verified_here")
def test_an_export_of_a_merged_model_is_verified_on_what_was_merged(folders, tmp_path):
    """The checkpoint holds the merged weights and the edit; loaded plainly it gives the edited answers."""
    base, adapter, _ = folders
    model = na.load_model(str(base), adapter=str(adapter))
    edit = na.edit(na.NeuronSet.of([(0, 1), (2, 5)]), "silence", positions="all")
    for form in ("checkpoint", "ia3"):
        na.export(edit, model=model, format=form, out=tmp_path / form)
    again = na.load_model(str(tmp_path / "checkpoint"))
    wanted = na.evaluate(model, QUESTIONS, edit).option_probabilities
    assert torch.allclose(na.evaluate(again, QUESTIONS).option_probabilities, wanted, atol=1e-6)
