"""Any checkpoint, wherever its blocks lie and whatever is wrong with it: loaded once, right, or refused in a line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from baichuan.configuration_baichuan import BaichuanConfig
from baichuan.modeling_baichuan import BaichuanForCausalLM
from conftest import SHARED
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import neuron_antagonism as na
from neuron_antagonism.model import loading
from neuron_antagonism.model.load import load_pair
from neuron_antagonism.runs.config import RunConfig

one_thread = tiny.one_thread

QUESTION = tiny.question(9)
EDIT = na.edit(na.NeuronSet.of([(0, 3), (1, 5), (2, 20)]), "silence")
saved = tiny.saved


def ids(n_words: int = 9) -> list[int]:
    return list(tiny.tokenizer()(tiny.question(n_words).prompt)["input_ids"])


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def plain(module: Any, prompts: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack([module(torch.tensor([prompt])).logits[0, -1] for prompt in prompts])


# --- real and complete checkpoints ---------------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real checkpoint stories260k is not in {SHARED}")
def test_a_real_checkpoint_gives_hugging_faces_logits():
    """On its own recorded story, every position's logits are those of the plain module."""
    path = SHARED / "stories260k"
    model = na.load_model(path, device="cpu")
    story = model.tokenizer((path / "expected_greedy_200.txt").read_text(encoding="utf-8"))["input_ids"]
    module = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = module(torch.tensor([story])).logits
        assert difference(model.forward(torch.tensor([story])), expected) <= 1e-6
    assert len(story) >= 200


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3"])
def test_the_weights_are_held_once(name, tmp_path, monkeypatch):
    """One `from_pretrained` in the wanted precision, and not a byte of weights more than the plain module has."""
    calls = []
    real = AutoModelForCausalLM.from_pretrained

    def counted(*args, **kwargs):
        calls.append(kwargs)
        return real(*args, **kwargs)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    model = na.load_model(saved(tmp_path, name), dtype="bfloat16", device="cpu")
    assert [call["dtype"] for call in calls] == [torch.bfloat16]
    storages = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in model.bridge.parameters()}
    assert sum(storages.values()) == sum(2 * p.numel() for p in tiny.hf(name).parameters())


def test_a_config_without_architectures_is_enough(tmp_path):
    """`architectures` may be missing where the model_type says the same."""
    config = json.loads((saved(tmp_path) / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert na.load_model(tmp_path, device="cpu").architecture == "LlamaForCausalLM"


# --- several devices, and weights elsewhere ------------------------------------------------------------------------

PARTS = ("embed_tokens", "layers.0", "layers.1", "layers.2", "norm", "rotary_emb")
EVERY = {**{f"model.{part}": "cpu" for part in PARTS}, "lm_head": "cpu"}
MAPS: dict[str, Any] = {
    "auto": "auto",
    "whole": {"": "cpu"},
    "some on disk": {**EVERY, "model.layers.1": "disk", "model.layers.2": "disk"},
    "the ends on disk": {**EVERY, "model.embed_tokens": "disk", "model.layers.0": "disk", "lm_head": "disk"},
}


@pytest.mark.parametrize("name", MAPS)
def test_a_device_map_changes_nothing(name, tmp_path):
    """Wherever accelerate keeps the blocks: the same logits, fingerprint, scores by every engine, edits, restoring."""
    whole = na.load_model(saved(tmp_path), device="cpu")
    model = na.load_model(tmp_path, device_map=MAPS[name])
    assert (model.device, model.devices, model.dtype) == (torch.device("cpu"), [torch.device("cpu")], torch.float32)
    assert any(p.is_meta for p in model.bridge.parameters()) == ("disk" in name)
    assert torch.equal(model.last_logits([ids(), ids(5)]), whole.last_logits([ids(), ids(5)]))
    assert model.fingerprint() == whole.fingerprint()
    for engine in ("auto", "rows", "reference"):
        scores, expected = (
            na.attribute(m, [QUESTION], engine=engine, steps=4, budget=10).scores for m in (model, whole)
        )
        assert difference(scores, expected) <= 1e-6
    edited, expected = (na.evaluate(m, [QUESTION], EDIT).log_probabilities for m in (model, whole))
    assert torch.allclose(edited, expected, atol=1e-6)
    assert torch.equal(model.last_logits([ids()]), whole.last_logits([ids()]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"device_map": "atuo"}, "unknown device_map 'atuo'; did you mean 'auto'?"),
        ({"device_map": {"": "gpu"}}, "device 'gpu' can't be used"),
        ({"device_map": {}}, "device_map is empty; accepted: devices by module"),
        ({"device_map": "auto", "device": "cpu"}, "device and device_map were both given"),
        ({"revision": "v2"}, "revision 'v2' was given for .*, a directory; accepted: for a Hub id"),
        ({"load_in_8bit": True, "load_in_4bit": True}, "were both given; accepted: one of them"),
        ({"load_in_4bit": True}, "4-bit weights give no gradients on a CPU"),
    ],
)
def test_loading_that_contradicts_itself(arguments, said, tmp_path, monkeypatch):
    """One line that names what was given and what is accepted, before anything is read."""
    monkeypatch.setattr(loading, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(na.UsageError, match=said) as caught:
        na.load_model(tmp_path, **arguments)
    assert "\n" not in str(caught.value)


def test_a_loaded_model_is_not_loaded_again():
    """What only matters to a checkpoint is refused for a pair in memory."""
    for arguments in ({"device_map": "auto"}, {"load_in_8bit": True}, {"revision": "x"}, {"trust_remote_code": True}):
        with pytest.raises(na.UsageError, match="was given for a model that is loaded already; accepted: with a name"):
            na.load_model(hf_model=tiny.hf("llama"), tokenizer=tiny.tokenizer(), **arguments)


def test_a_spread_model_stays_where_it_is(tmp_path):
    """A pair that accelerate has spread is taken as it is, and refused with another device."""
    module, words = load_pair(str(saved(tmp_path)), device_map=MAPS["some on disk"])
    with pytest.raises(na.UsageError, match="quantized or spread over devices; accepted: neither"):
        na.load_model(hf_model=module, tokenizer=words, device="cpu")
    model = na.load_model(hf_model=module, tokenizer=words)
    assert difference(model.last_logits([ids()]), plain(tiny.hf("llama", torch.float32), [ids()])) <= 1e-6


# --- quantized weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", ["load_in_8bit", "load_in_4bit"])
def test_quantization_names_its_package(bits, tmp_path, monkeypatch):
    """Without bitsandbytes: one line that names it."""
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(
        na.UsageError, match="need the package bitsandbytes, which is not installed; accepted: pip inst"
    ):
        na.load_model(saved(tmp_path), **{bits: True})


def test_quantized_weights_are_attributed(tmp_path):
    """8-bit weights on the CPU: the plain module's logits, an engine that holds, scores like the whole weights'."""
    pytest.importorskip("bitsandbytes")
    path = saved(tmp_path, hidden_size=64, intermediate_size=128)
    module, words = load_pair(str(path), load_in_8bit=True, device="cpu")
    expected = plain(module.eval(), [ids()])
    model = na.load_model(hf_model=module, tokenizer=words)
    assert model.dtype == torch.bfloat16
    assert difference(model.last_logits([ids()]), expected.float()) <= 1e-2
    assert na.attribute(model, [QUESTION], steps=4, budget=10).scores.isfinite().all()


# --- chat-tuned models ---------------------------------------------------------------------------------------------

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}w1 {{ m['role'] }} w2 {{ m['content'] }} w3{% endfor %}"
    "{% if add_generation_prompt %} w4 w5{% endif %}"
)


def chatting(template: str | None = TEMPLATE) -> Any:
    """A tokenizer that adds a BOS by itself, and whose template writes one too."""
    from tokenizers import processors

    words = tiny.tokenizer()
    words.add_special_tokens({"bos_token": "w0"})
    bos = ("w0", words.convert_tokens_to_ids("w0"))
    words.backend_tokenizer.post_processor = processors.TemplateProcessing("w0 $A", special_tokens=[bos])
    words.chat_template = template
    return words


def test_a_prompt_goes_through_the_chat_template():
    """As a user's message, with the generation prompt, its BOS once; the letters are one further token after that."""
    words = chatting()
    model = na.load_model(hf_model=tiny.hf("llama"), tokenizer=words, chat_template=True)
    asked = [{"role": "user", "content": QUESTION.prompt}]
    rendered = words.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    encoded = model.encode(QUESTION)
    assert list(encoded.ids) == words.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    assert list(encoded.ids) == words(rendered, add_special_tokens=False)["input_ids"]
    assert encoded.ids.count(words.bos_token_id) == 1
    assert model.letters.length(QUESTION.prompt, "ABCD") == len(encoded.ids)
    for letter, token in zip("ABCD", encoded.letters, strict=True):
        assert words(rendered + " " + letter, add_special_tokens=False)["input_ids"] == [*encoded.ids, token]


def test_a_chat_template_is_asked_for_and_kept_apart():
    """Off by default; with it the fingerprint, and with that everything stored, is another."""
    model, chats = (
        na.load_model(hf_model=tiny.hf("llama"), tokenizer=chatting(), chat_template=chat) for chat in (False, True)
    )
    assert list(model.encode(QUESTION).ids) == chatting()(QUESTION.prompt)["input_ids"]
    assert model.fingerprint() != chats.fingerprint()
    assert na.attribute(chats, [QUESTION], steps=2, budget=10).engine == "replay"
    assert difference(na.attribute(model, [QUESTION], steps=2, budget=10).scores, chats_scores(chats)) > 1e-2


def chats_scores(model: Any) -> torch.Tensor:
    return na.attribute(model, [QUESTION], steps=2, budget=10).scores


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "has no chat template; accepted: a chat-tuned model, or no --chat-template"),
        ("{{ raise_exception('only a system\nmessage') }}", "the chat template of .* fails: TemplateError: only a sys"),
    ],
)
def test_a_chat_template_that_is_missing_or_fails(template, said):
    """One line each."""
    with pytest.raises(na.ModelError, match=said) as caught:
        na.load_model(hf_model=tiny.hf("llama"), tokenizer=chatting(template), chat_template=True).encode(QUESTION)
    assert "\n" not in str(caught.value)


# --- the paper's architectures -------------------------------------------------------------------------------------


@pytest.fixture
def baichuan(tmp_path, monkeypatch) -> Path:
    """A checkpoint that brings its code along, as a directory of its own."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    path = tmp_path / "tiny-baichuan"
    config = BaichuanConfig(
        vocab_size=len(tiny.VOCABULARY),
        auto_map={
            "AutoConfig": "configuration_baichuan.BaichuanConfig",
            "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM",
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BaichuanForCausalLM(config).save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    for file in (Path(__file__).parent / "baichuan").glob("*_baichuan.py"):
        shutil.copy(file, path)
    return path


def inputs_of(module: Any, down: Callable[[Any, int], Any], prompt: list[int]) -> torch.Tensor:
    """What enters each block's FFN output projection at the last position, [layer, neuron]."""
    found = []
    handles = [
        down(module, layer).register_forward_pre_hook(lambda _, args: found.append(args[0][0, -1].clone()))
        for layer in range(3)
    ]
    plain(module, [prompt])
    for handle in handles:
        handle.remove()
    return torch.stack(found)


def neurons_of(model: Any, prompt: list[int]) -> torch.Tensor:
    found = []
    hooks = [
        (f"blocks.{layer}.mlp.hook_post", lambda values, hook: found.append(values[0, -1].clone()))
        for layer in range(3)
    ]
    with torch.no_grad(), model.bridge.hooks(fwd_hooks=hooks):
        model.forward(torch.tensor([prompt]))
    return torch.stack(found)


def test_llama_is_the_module_itself(tmp_path):
    """Logits and neuron values of LLaMA-2's architecture are the module's own; `replay` holds."""
    saved(tmp_path, num_key_value_heads=4)
    module = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    model = na.load_model(tmp_path, device="cpu")
    assert difference(model.last_logits([ids(), ids(5)]), plain(module, [ids(), ids(5)])) <= 1e-6
    expected = inputs_of(module, lambda m, layer: m.model.layers[layer].mlp.down_proj, ids())
    assert difference(neurons_of(model, ids()), expected) <= 1e-6
    assert na.attribute(model, [QUESTION], steps=2, budget=10).engine == "replay"


def test_baichuan_is_the_module_itself(baichuan):
    """Logits and neuron values are those of the checkpoint's own code; `rows` holds, `replay` does not, and says so."""
    config = BaichuanConfig.from_pretrained(baichuan)
    module = BaichuanForCausalLM(config).eval()
    module.load_state_dict(load_file(baichuan / "model.safetensors"))
    model = na.load_model(baichuan, trust_remote_code=True, device="cpu")
    assert model.architecture == "BaichuanForCausalLM"
    assert (model.n_layers, model.n_neurons) == (3, 24)
    prompts = [ids(n) for n in (9, 14, 5)]
    assert difference(model.last_logits(prompts), plain(module, prompts)) <= 1e-5
    expected = inputs_of(module, lambda m, layer: m.model.layers[layer].mlp.down_proj, ids())
    assert difference(neurons_of(model, ids()), expected) <= 1e-5
    found = na.attribute(model, [QUESTION, tiny.question(12)], budget=10)
    reference = na.attribute(model, [QUESTION, tiny.question(12)], budget=10, engine="reference")
    assert found.engine == "rows"
    assert difference(found.scores, reference.scores) <= 1e-4
    with pytest.raises(na.UsageError, match="engine 'replay' does not hold for this model: replay fails"):
        na.attribute(model, [QUESTION], budget=10, engine="replay")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_baichuan_in_a_narrow_dtype(baichuan, dtype):
    """In the precision in which a 7B model is run: the module's own logits, and `rows` against the reference."""
    module, words = load_pair(str(baichuan), trust_remote_code=True, dtype=dtype, device="cpu")
    expected = plain(module.eval(), [ids(), ids(5)]).float()
    model = na.load_model(hf_model=module, tokenizer=words)
    assert difference(model.last_logits([ids(), ids(5)]), expected) <= 3e-2
    found, reference = (na.attribute(model, [QUESTION], budget=10, engine=engine) for engine in ("auto", "reference"))
    assert found.engine == "rows"
    assert difference(found.scores, reference.scores) <= 0.1


def test_remote_code_keeps_what_its_constructor_computes(baichuan):
    """Before it is hooked the module already gives the right logits: its rotary angles are computed, not garbage."""
    module, _ = load_pair(str(baichuan), trust_remote_code=True, device="cpu")
    fresh = BaichuanForCausalLM(BaichuanConfig.from_pretrained(baichuan)).eval()
    fresh.load_state_dict(load_file(baichuan / "model.safetensors"))
    before = torch.get_rng_state()
    assert difference(plain(module.eval(), [ids()]), plain(fresh, [ids()])) <= 1e-6
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32


def test_remote_code_needs_a_word(baichuan):
    """Without trust_remote_code: one line that says why it is needed and what it means; nothing is run."""
    (baichuan / "configuration_baichuan.py").write_text("raise SystemExit('run')")
    with pytest.raises(
        na.ModelError, match=r"Python code of its own, .* rights that you have; accepted: trust_"
    ) as caught:
        na.load_model(baichuan)
    assert "\n" not in str(caught.value)
    assert "--trust-remote-code" in str(caught.value)


# --- broken checkpoints --------------------------------------------------------------------------------------------


def config_with(**changes: Any) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        config = {**json.loads((path / "config.json").read_text()), **changes}
        (path / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value != ""}))

    return spoil


def sharded_with_one_missing(path: Path) -> None:
    (path / "model.safetensors").unlink()
    tiny.hf("llama", torch.float32).save_pretrained(path, max_shard_size="5KB")
    max(path.glob("model-*.safetensors")).unlink()


def half_written(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty_weights(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"")


def with_another_shape(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"] = torch.zeros(23, 16)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def truncated_pickle(path: Path) -> None:
    torch.save(tiny.hf("llama", torch.float32).state_dict(), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes((path / "pytorch_model.bin").read_bytes()[:3000])


def tokenizer_of_nonsense(path: Path) -> None:
    (path / "tokenizer.json").write_text("{}")


BROKEN = {
    "half written": (half_written, "can't load the model .*SafetensorError"),
    "empty": (empty_weights, "can't load the model .*SafetensorError"),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "can't load the model .*no file named"),
    "a shard missing": (sharded_with_one_missing, "can't load the model "),
    "truncated pickle": (truncated_pickle, "can't load the model "),
    "another shape": (
        with_another_shape,
        r"holds model\.layers\.1\.mlp\.up_proj\.weight in the shape \(23, 16\); accep",
    ),
    "another config": (
        config_with(intermediate_size=32),
        r"in the shape \(\d+, \d+\); accepted: \(\d+, \d+\), which its",
    ),
    "more layers": (config_with(num_hidden_layers=4), r"lacks 9 weights, model\.layers\.3\."),
    "unknown architecture": (
        config_with(model_type="nonsense", architectures=["NonsenseForCausalLM"]),
        "has a model_type in its config.json that the installed transformers does not know; accepted: ",
    ),
    "no architecture": (
        config_with(model_type="", architectures=""),
        "has no model_type in its config.json; accepted: ",
    ),
    "no language model": (config_with(model_type="vit", architectures=["ViTModel"]), "is no causal language model"),
    "tokenizer of nonsense": (tokenizer_of_nonsense, "can't load the model "),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_checkpoint_is_one_line(case, tmp_path):
    """Whatever is missing, cut short or contradictory is named in one line, with the checkpoint."""
    spoil, said = BROKEN[case]
    spoil(saved(tmp_path))
    with pytest.raises(na.ModelError, match=said) as caught:
        na.load_model(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_an_architecture_that_can_not_be_hooked(tmp_path):
    """transformers knows it, TransformerLens does not: one line that names both."""
    from transformers import CTRLConfig, CTRLLMHeadModel

    config = CTRLConfig(vocab_size=len(tiny.VOCABULARY), n_embd=16, n_layer=2, n_head=2, dff=8, n_positions=32)
    CTRLLMHeadModel(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(na.ModelError, match=r"TransformerLens can't hook .* \(CTRLLMHeadModel\): ") as caught:
        na.load_model(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


def test_weights_that_nothing_uses_are_named(tmp_path):
    """A config of fewer layers than the checkpoint holds loads, with a warning that names a weight left over."""
    config_with(num_hidden_layers=2)(saved(tmp_path))
    with pytest.warns(na.AntagonismWarning, match=r"9 weights that its architecture does not use, model\.layers\.2"):
        assert na.load_model(tmp_path, device="cpu").n_layers == 2


def test_a_run_loads_as_it_was_asked():
    """Every option of loading is in the run's configuration, and reaches `load_model` under its name there."""
    asked = {"dtype": "bfloat16", "device_map": {"": 0}, "revision": "v1", "trust_remote_code": True}
    config = RunConfig.of(**asked, chat_template=True, quantize="4bit")
    assert config.loading() == {
        **asked,
        "device": None,
        "adapter": None,
        "chat_template": True,
        "load_in_8bit": False,
        "load_in_4bit": True,
    }
    assert RunConfig.of(**config.model_dump(mode="json")) == config
    with pytest.raises(na.UsageError, match="quantize='2bit': input should be '8bit' or '4bit'"):
        RunConfig.of(quantize="2bit")
