"""GGUF files: a model that is read is the one that was written; an adapter that is written is what llama.cpp adds."""

from __future__ import annotations

import errno
import json
import struct
from pathlib import Path
from typing import Any

import gguf
import ggufs
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file

import neuron_antagonism as na
from neuron_antagonism.exports import verify as verifying
from neuron_antagonism.files import CACHE
from neuron_antagonism.model import gguf as reading
from neuron_antagonism.model.load import load_pair
from neuron_antagonism.model.source import source_identity

one_thread = tiny.one_thread

PROMPT = "Answer: 12 the meal was bad\nAnswer:"
QUESTION = na.Question(PROMPT, ("a", "b", "c", "d"), 1)
MODELS = [
    ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}),
    ("llama", {"tie_word_embeddings": True}),
    ("qwen2", {}),
    ("qwen3", {"head_dim": 128}),
]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where converted models are kept."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


def ids() -> torch.Tensor:
    return torch.tensor([ggufs.tokenizer()(PROMPT)["input_ids"]])


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file, which stays where it is."""
    return ggufs.written(tmp_path_factory.mktemp("llama") / "tiny.gguf", ggufs.hf())


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(ids()).logits


# --- read ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "changes"), MODELS)
def test_a_model_is_read_as_it_was(name, changes, tmp_path):
    """Every logit is the written module's to the last bit, and the tokenizer gives its tokens."""
    module = ggufs.hf(name, **changes)
    model = na.load_model(ggufs.written(tmp_path / "tiny.gguf", module), device="cpu")
    assert list(model.tokenizer(PROMPT)["input_ids"]) == ids()[0].tolist()
    with torch.no_grad():
        assert torch.equal(model.forward(ids()), logits(module))
    assert model.name == str(tmp_path / "tiny.gguf")
    assert na.evaluate(model, [QUESTION]).letter_mass[0] > 0


def test_quantized_weights_are_read_as_the_package_reads_them(tmp_path):
    """Blocks of 8-bit numbers become what gguf's own arithmetic makes of them."""
    module = ggufs.hf("llama", hidden_size=32, intermediate_size=64)
    kind = gguf.GGMLQuantizationType.Q8_0
    file = ggufs.written(tmp_path / "tiny.gguf", module, quantized=kind)
    model, _ = load_pair(str(file), device="cpu")
    weight = module.model.layers[1].mlp.down_proj.weight
    expected = gguf.quants.dequantize(gguf.quants.quantize(weight.detach().numpy(), kind), kind)
    read = model.model.layers[1].mlp.down_proj.weight
    assert np.array_equal(read.detach().numpy(), expected)
    assert not torch.equal(read, weight)
    assert not getattr(model.config, "quantization_config", None)


def test_the_second_load_reads_what_the_first_one_kept(tmp_path, kept, monkeypatch):
    """A file is converted once, whatever it is called and whoever asks; then the package gguf is not needed."""
    first = ggufs.written(tmp_path / "tiny.gguf", ggufs.hf())
    model = na.load_model(first, device="cpu")
    (folder,) = [path for path in kept.iterdir() if path.is_dir()]
    assert folder.name.startswith(f"{source_identity(str(first))['gguf']}-transformers-")
    assert (folder / "model.safetensors").is_file()
    monkeypatch.setattr(reading, "_convert", lambda *_: pytest.fail("converted again"))
    monkeypatch.setattr(reading.importlib.util, "find_spec", lambda _: None)
    again = na.load_model(first.rename(tmp_path / "another.gguf"), device="cpu")
    assert again.fingerprint() == model.fingerprint()
    assert again.source == model.source == str(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_kept_as_narrow_as_they_are(dtype, tmp_path):
    """Half precision where that holds every weight, float32 elsewhere."""
    module = ggufs.hf().to(dtype)
    file = ggufs.written(tmp_path / "tiny.gguf", module.float())
    stored = load_file(reading.converted(file) / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    assert all(torch.equal(tensor.float(), module.state_dict()[name]) for name, tensor in stored.items())
    model, _ = load_pair(str(file), device="cpu")
    assert model.dtype == torch.float32  # as every checkpoint on a CPU


def test_another_file_is_another_model(tmp_path):
    """The identity of a model is its file's bytes, under any name."""
    one = ggufs.written(tmp_path / "one.gguf", ggufs.hf(seed=0))
    two = ggufs.written(tmp_path / "two.gguf", ggufs.hf(seed=1))
    before = source_identity(str(one))
    assert source_identity(str(two)) != before
    assert source_identity(str(one.rename(tmp_path / "three.gguf"))) == before


def test_a_run_takes_a_file(tmp_path, monkeypatch):
    """By its name; asked again, nothing is computed and no model is loaded."""
    file = ggufs.written(tmp_path / "tiny.gguf", ggufs.hf(max_position_embeddings=512))
    sizes = {"identify": 1, "select": 2, "evaluate": 2, "budget": 4}
    first = na.run(str(file), ["sentiment"], ["act"], out=tmp_path / "run", **sizes)
    assert first.manifest["model"]["name"] == str(file)
    written = (tmp_path / "run" / "results.json").read_bytes()
    monkeypatch.setattr("neuron_antagonism.model.load.load_model", lambda *_, **__: pytest.fail("loaded again"))
    na.run(str(file), ["sentiment"], ["act"], out=tmp_path / "run", **sizes)
    assert (tmp_path / "run" / "results.json").read_bytes() == written


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
def test_an_export_names_the_file(llama, tmp_path):
    """It is verified on the copy that is kept, and says, also on the Hub, which file its base is."""
    folder = tmp_path / "x"
    model = na.load_model(llama, device="cpu")
    done = na.export(edit(), model=model, format="lora", out=folder, verify=False)
    assert done.base == model.source
    assert json.loads((folder / "neuron_antagonism.json").read_text())["base"]["name"] == str(llama)
    assert verifying.compare(folder, None, None)["same"]
    na.push(folder, repo="me/mine", dry_run=True, out=tmp_path / "y")
    card = (tmp_path / "y" / "README.md").read_text(encoding="utf-8")
    assert "Base: tiny.gguf" in card
    assert str(llama) not in card


def test_no_bars_where_none_are_wanted(llama, monkeypatch, capsys):
    """On the command line, which shows progress of its own, transformers shows none."""
    # whatever ran before in this process, the command line for one
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    reading.converted(llama)
    assert "Converting" in capsys.readouterr().err
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    monkeypatch.setenv(CACHE, f"{llama}.cache")
    reading.converted(llama)
    assert "Converting" not in capsys.readouterr().err


REFUSED = [
    ({"more": {"general.architecture": "gemma2"}}, "of the architecture 'gemma2', .*accepted: llama, qwen2, qwen3"),
    ({"more": {"general.type": "adapter"}}, "holds no model but: adapter; accepted"),
    ({"more": {"split.count": 3}}, r"is one of 3 parts; accepted: one file \(llama-gguf-split --merge\)"),
    ({"more": {"llama.rope.scaling.type": "yarn"}}, "states llama.rope.scaling.type = 'yarn', which .* does not take"),
    ({"more": {"llama.rope.scaling.factor": 4.0}}, "states llama.rope.scaling.factor = 4.0, which"),
    (
        {"more": {"llama.rope.scaling.short_factor": [1.0, 2.0]}},
        r"states llama.rope.scaling.short_factor = \[1.0, 2.0\]",
    ),
    ({"more": {"llama.attention.sliding_window": 8}}, "states llama.attention.sliding_window = 8, which"),
    ({"more": {"llama.attention.value_length": 8}}, "states llama.attention.value_length = 8, which"),
    ({"tensors": {"rope_freqs.weight": np.ones(2, np.float32)}}, "holds 1 tensors .* rope_freqs.weight among them"),
    ({"skip": "layers.1.mlp.down_proj"}, "lacks 1 weights, model.layers.1.mlp.down_proj.weight"),
    ({"more": {"tokenizer.ggml.model": "rwkv"}}, "transformers can't read .*rwkv.*; accepted"),
]


@pytest.mark.parametrize(("how", "message"), REFUSED)
def test_what_is_not_read_wholly_is_refused(how, message, tmp_path, kept):
    """One line that names the file and what is wrong; nothing of it is kept."""
    file = ggufs.written(tmp_path / "tiny.gguf", ggufs.hf(), **how)
    with pytest.raises(na.ModelError, match=message) as refused:
        na.load_model(file)
    assert str(file) in str(refused.value)
    assert not [path for path in kept.iterdir() if path.is_dir()]


def header(tensors: int, fields: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, fields) + rest


def listing(kind: int, length: int) -> bytes:
    """A field that is a list of so many values."""
    return struct.pack("<Q", 3) + b"a.b" + struct.pack("<IIQ", 9, kind, length)


DAMAGED = {
    "empty": b"",
    "short": b"GGUF",
    "zeros": b"GGUF" + bytes(200),
    "another": b"no such thing" * 20,
    "many fields": header(0, 2**60),
    "many tensors": header(2**60, 0),
    "long list": header(0, 1, listing(0, 2**60)),
    "long list of texts": header(0, 1, listing(8, 2**60)),
    "lists of lists": header(0, 1, listing(9, 1) + struct.pack("<IQ", 9, 1) * 5000),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused(data, tmp_path):
    """A file that is no GGUF, that ends too early, or that states more than it could hold; at once."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(data)
    with pytest.raises(na.ModelError, match=r"can't read .*tiny.gguf: .*accepted: a GGUF file"):
        na.load_model(file)


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    """Wherever it ends."""
    whole = ggufs.written(tmp_path / "whole.gguf", ggufs.hf()).read_bytes()
    file = tmp_path / "tiny.gguf"
    for share in (0.1, 0.5, 0.9):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(na.ModelError, match="can't read"):
            na.load_model(file)


def test_a_cache_that_can_not_be_written(llama, tmp_path, monkeypatch):
    """One line that names the place; nothing half-made is taken for whole later."""
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(na.UsageError, match=r"can't write to .*gguf.*accepted: a directory that can be written"):
        na.load_model(llama)
    monkeypatch.setenv(CACHE, str(tmp_path / "other"))
    monkeypatch.setattr("transformers.PreTrainedTokenizerBase.save_pretrained", full)
    with pytest.raises(na.UsageError, match="No space left on device; accepted"):
        na.load_model(llama)
    assert not list((tmp_path / "other").rglob("config.json"))


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_without_the_package(tmp_path, monkeypatch):
    """One line that names the extra."""
    file = ggufs.written(tmp_path / "tiny.gguf", ggufs.hf())
    monkeypatch.setattr(reading.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        na.UsageError, match=r"need the package gguf.*accepted: pip install 'neuron-antagonism\[gguf\]'"
    ):
        na.load_model(file)


def test_a_file_that_is_not_there(tmp_path):
    """It is no Hub id, and nobody is asked for it."""
    with pytest.raises(
        na.ModelError, match=r"there is no file .*tiny\.gguf; accepted: 'demo'.*, a GGUF file, or a Hub id"
    ):
        na.load_model(tmp_path / "tiny.gguf")


def test_a_file_has_no_revision(tmp_path):
    """Revisions are the Hub's."""
    file = ggufs.written(tmp_path / "tiny.gguf", ggufs.hf())
    with pytest.raises(
        na.UsageError, match=r"revision 'v2' was given for .*tiny\.gguf, a file; accepted: for a Hub id"
    ):
        na.load_model(file, revision="v2")


def test_an_unknown_rule_of_splitting_is_said(tmp_path):
    """Where transformers cuts a text otherwise than the file says, every loading names the rule."""
    file = ggufs.written(tmp_path / "tiny.gguf", ggufs.hf(), {"tokenizer.ggml.pre": "smollm"})
    for _ in range(2):
        with pytest.warns(na.AntagonismWarning, match="rule for cutting texts into words, 'smollm', that"):
            na.load_model(file, device="cpu")


# --- written -------------------------------------------------------------------------------------------------------


def edit() -> na.Edit:
    """Of three layers one with five neurons, one with one, one with none."""
    good = na.NeuronSet.of([(0, 3), (0, 20), (0, 11), (2, 7)])
    return na.enhancer(good, na.NeuronSet.of([(0, 5), (0, 0)]), budget=6, ratio=4 / 6, positions="all")


def adapter(file: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    read = gguf.GGUFReader(file)
    stated = {name: field.contents() for name, field in read.fields.items() if not name.startswith("GGUF.")}
    return stated, {tensor.name: tensor.data for tensor in read.tensors}


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3"])
def test_an_adapter_is_the_change_of_the_weights(name, tmp_path):
    """What B A α / rank adds to each matrix that llama.cpp has is what the checkpoint's own export adds."""
    model = tiny.load(name, torch.float32)
    done = na.export(edit(), model=model, format="gguf", out=tmp_path / "x")
    assert set(done.files) == {"adapter.gguf", "neuron_antagonism.json"}
    assert done.ranks == {0: 5, 2: 1}
    assert done.difference is None
    assert done.unverified.endswith(f"llama-cli -m BASE.gguf --lora {tmp_path / 'x' / 'adapter.gguf'}")
    stated, tensors = adapter(done.path / "adapter.gguf")
    assert stated == {
        "general.architecture": "llama" if name == "mistral" else name,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 5.0,
    }
    assert set(tensors) == {f"blk.{layer}.ffn_down.weight.lora_{part}" for layer in (0, 2) for part in "ab"}
    na.export(edit(), model=model, format="checkpoint", out=tmp_path / "y", verify=False)
    edited = load_file(tmp_path / "y" / "model.safetensors")
    plain = tiny.hf(name, torch.float32).state_dict()
    for layer in (0, 2):
        a, b = (tensors[f"blk.{layer}.ffn_down.weight.lora_{part}"] for part in "ab")
        assert a.shape == (5, model.n_neurons)
        key = f"model.layers.{layer}.mlp.down_proj.weight"
        added = b @ a * (stated["adapter.lora.alpha"] / len(a))
        assert np.array_equal(plain[key].numpy() + added, edited[key].numpy())


def test_architectures_that_llama_cpp_has_otherwise(tmp_path):
    """One line, as for edits that are no weights; nothing is written."""
    with pytest.raises(na.ModelError, match="'gpt2'; accepted by gguf: llama, mistral, qwen2, qwen3"):
        na.export(edit(), model=tiny.shared("gpt2"), format="gguf", out=tmp_path / "x")
    clamped = na.edit(na.NeuronSet.of([(0, 1)]), "set-to", positions="all")
    with pytest.raises(na.UsageError, match="no constant scale, which weights need; accepted by gguf"):
        na.export(clamped, model=tiny.shared("llama"), format="gguf", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_disk_that_does_not_keep_what_is_written(tmp_path, monkeypatch):
    """The file is read back."""
    real = gguf.GGUFWriter.write_tensors_to_file

    def damaged(self: gguf.GGUFWriter) -> None:
        real(self)
        self.fout[0].seek(-32, 2)
        self.fout[0].write(b"\xff" * 4)

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", damaged)
    with pytest.raises(na.ExportError, match=r"adapter\.gguf does not hold what was written"):
        na.export(edit(), model=tiny.shared("llama"), format="gguf", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_llama_cpp_adds_what_the_edit_does(name, tmp_path):
    """llama.cpp itself, on a file of the model, answers as the plain module does, and with the adapter as edited."""
    module = ggufs.hf(name)
    file = ggufs.written(tmp_path / "tiny.gguf", module)
    model = na.load_model(file, device="cpu")
    na.export(edit(), model=model, format="gguf", out=tmp_path / "x")
    plain = logits(module)[0, -1].log_softmax(-1)
    with model.edited(edit()), torch.no_grad():
        edited = model.forward(ids())[0, -1].log_softmax(-1)
    assert (plain - edited).abs().max() > 0.2
    # its cache of keys and values is in half precision
    assert (ggufs.llama_cpp(file, PROMPT) - plain).abs().max() < 0.02
    assert (ggufs.llama_cpp(file, PROMPT, tmp_path / "x" / "adapter.gguf") - edited).abs().max() < 0.02
