"""What tells one model from another: the bytes of its weights, or the files or commit that it is loaded from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from huggingface_hub import constants

import neuron_antagonism as na
from neuron_antagonism import demo
from neuron_antagonism.model import identity
from neuron_antagonism.model.identity import weights_sha256
from neuron_antagonism.model.source import source_identity

one_thread = tiny.one_thread


# --- weights in memory ---------------------------------------------------------------------------------------------


class Small(torch.nn.Module):
    """Two layers and a table, of one precision."""

    def __init__(self, dtype: torch.dtype = torch.float32, *, persistent: bool = True, tied: bool = False) -> None:
        super().__init__()
        values = torch.Generator().manual_seed(0)
        self.first, self.second = (torch.nn.Linear(4, 4, bias=False, dtype=dtype) for _ in range(2))
        self.register_buffer("table", torch.arange(3.0), persistent=persistent)
        with torch.no_grad():
            self.first.weight.copy_(torch.randn(4, 4, generator=values))
            self.second.weight.copy_(self.first.weight)
        if tied:
            self.second.weight = self.first.weight


def swap_weights(module: Any) -> None:
    a, b = module.first.weight[2, 1].item(), module.first.weight[2, 2].item()
    module.first.weight[2, 1], module.first.weight[2, 2] = b, a


def swap_rows(module: Any) -> None:
    module.first.weight[[1, 2]] = module.first.weight[[2, 1]]


def one_ulp(module: Any) -> None:
    module.second.weight[3, 3] = torch.nextafter(module.second.weight[3, 3], torch.tensor(torch.inf))


def minus_zero(module: Any) -> None:
    module.table[0] = -0.0


@pytest.mark.parametrize("change", [swap_weights, swap_rows, one_ulp, minus_zero])
def test_any_change_of_any_weight_is_seen(change: Callable[[Any], None]):
    """Also where sums, ends and all but one bit stay what they were; undone, the hash is that of before."""
    module = Small()
    before, kept = weights_sha256(module), {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        change(module)
    assert weights_sha256(module) != before
    module.load_state_dict(kept)
    assert weights_sha256(module) == before == weights_sha256(Small())


def test_names_and_shapes_count():
    """The same bytes in another place or another shape are other weights."""
    module, other, flat = Small(), Small(), Small()
    other.third = other.second
    del other.second
    flat.first.weight = torch.nn.Parameter(flat.first.weight.detach().reshape(2, 8))
    assert len({weights_sha256(one) for one in (module, other, flat)}) == 3


def test_persistent_buffers_count_and_others_do_not():
    """What a checkpoint would hold is hashed; what is computed again is not."""
    changed, computed, another = Small(), Small(persistent=False), Small(persistent=False)
    changed.table += 1
    another.table += 1
    assert weights_sha256(changed) != weights_sha256(Small()) != weights_sha256(computed)
    assert weights_sha256(computed) == weights_sha256(another)


def test_tied_weights_are_read_once(monkeypatch):
    """A tied weight counts as an equal copy would, and its bytes are read once."""
    read = []
    real = identity._content
    monkeypatch.setattr(identity, "_content", lambda tensor: read.append(tuple(tensor.shape)) or real(tensor))
    tied = weights_sha256(Small(tied=True))
    assert sorted(read) == [(3,), (4, 4)]
    assert tied == weights_sha256(Small())
    assert len(read) == 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_precision_counts(dtype):
    """Every precision can be hashed; the same numbers in another are other weights."""
    assert weights_sha256(Small(dtype)) == weights_sha256(Small(dtype)) != weights_sha256(Small())
    assert weights_sha256(Small(torch.float16)) != weights_sha256(Small(torch.bfloat16))


def test_neither_threads_nor_pieces_nor_strides_count(monkeypatch):
    """One thread or two, at once or in pieces, contiguous or not: one hash; a scalar and nothing at all have one."""
    module = torch.nn.Module()
    module.wide = torch.nn.Parameter(torch.rand(300, 500))
    module.scalar, module.none = torch.nn.Parameter(torch.tensor(2.0)), torch.nn.Parameter(torch.empty(0))
    expected = weights_sha256(module)
    torch.set_num_threads(2)
    assert weights_sha256(module) == expected
    torch.set_num_threads(1)
    monkeypatch.setattr(identity, "CHUNK", 7)
    assert weights_sha256(module) == expected
    module.wide = torch.nn.Parameter(module.wide.detach().T.contiguous().T)
    assert not module.wide.is_contiguous()
    assert weights_sha256(module) == expected


def test_tied_weights_on_disk(tmp_path):
    """accelerate breaks a tie where it keeps weights on disk; the fingerprint is that of the model in memory."""
    tiny.hf("gpt2", torch.float32).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    whole = na.load_model(tmp_path, device="cpu")
    away = dict.fromkeys(("transformer.wte", "transformer.h.1", "lm_head"), "disk")
    here = dict.fromkeys(("transformer.wpe", "transformer.h.0", "transformer.h.2", "transformer.ln_f"), "cpu")
    model = na.load_model(tmp_path, device_map={**here, **away})
    assert model.bridge.original_model.lm_head.weight.is_meta
    assert model.fingerprint() == whole.fingerprint()


# --- checkpoints that are not loaded -------------------------------------------------------------------------------

FILES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "planted.json"),
    *("model.safetensors", "merges.txt", "tokenizer.model", "chat_template.jinja", "modeling_own.py"),
    "additional_chat_templates/tool.jinja",
)
UNREAD = ("README.md", "LICENSE", "loss.png", ".gitattributes", "optimizer.pt", "runs/events.json")
COMMIT, EARLIER = "0123456789abcdef" * 2 + "01234567", "f" * 40


@pytest.fixture
def folder(tmp_path) -> Path:
    """A directory with a file of each kind; what is in them does not matter."""
    return filled(tmp_path / "model", *FILES, *UNREAD)


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty Hugging Face cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub: Path, name: str, commit: str = COMMIT, ref: str = "main", file: str = "config.json") -> None:
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    filled(repository / "snapshots" / commit, file)


@pytest.mark.parametrize("name", FILES)
def test_each_file_that_is_read_counts(name, folder):
    """One more byte in any of them, or one file less, is another identity."""
    before = source_identity(str(folder))
    assert before is not None
    assert list(before) == sorted(FILES)
    with (folder / name).open("a") as file:
        file.write("\n")
    after = source_identity(str(folder))
    assert {key for key in before if before[key] != after[key]} == {name}
    (folder / name).unlink()
    left = source_identity(str(folder))
    assert left is None if name == "config.json" else name not in left


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_does_not_count(name, folder):
    """Documents, pictures, states of a training and other folders may change."""
    before = source_identity(str(folder))
    (folder / name).write_text("something else")
    assert source_identity(str(folder)) == before


def test_a_directory_may_lie_anywhere(folder, tmp_path, monkeypatch):
    """A copy has the identity of its original, by a full path, a relative one, or one with `~`."""
    copy = shutil.copytree(folder, tmp_path / "home" / "copy")
    expected = source_identity(str(folder))
    monkeypatch.chdir(copy.parent)
    monkeypatch.setenv("HOME", str(copy.parent))
    assert source_identity(str(copy)) == source_identity("copy") == source_identity("~/copy") == expected


def test_a_file_is_read_once(folder, monkeypatch):
    """Its hash is remembered while its size and time of change stay."""
    before = source_identity(str(folder))
    monkeypatch.setattr("hashlib.file_digest", None)
    assert source_identity(str(folder)) == before


def test_the_embedded_model_is_its_files(tmp_path, monkeypatch):
    """ "demo" has the identity of its directory, whatever else is called so."""
    filled(tmp_path / "demo", "config.json")
    monkeypatch.chdir(tmp_path)
    found = source_identity("demo")
    assert found == source_identity(str(demo.directory())) != source_identity("./demo")
    assert {"model.safetensors", "config.json", "tokenizer.json", "planted.json"} <= set(found)
    assert "MODEL_CARD.md" not in found


def test_what_loading_would_refuse_has_no_identity(folder, hub):
    """A file, a directory without a config, one with a revision, and a name that nothing is known of: None."""
    assert source_identity(str(folder / "config.json")) is None
    assert source_identity(str(folder / "runs")) is None
    assert source_identity(str(folder), revision="main") is None
    assert source_identity("org/unknown") is None
    assert source_identity("no such: name") is None


def test_a_hub_id_is_its_commit(hub):
    """Of a branch or tag as the cache has it, or of the revision that is a commit itself."""
    cached(hub, "org/name")
    cached(hub, "org/name", EARLIER, "v1/a")
    cached(hub, "old")
    assert source_identity("org/name") == source_identity("org/name", "main") == {"commit": COMMIT}
    assert source_identity("org/name", "v1/a") == {"commit": EARLIER}
    assert source_identity("org/name", EARLIER) == source_identity("org/other", EARLIER) == {"commit": EARLIER}
    assert source_identity("old") == {"commit": COMMIT}
    assert source_identity("org/name", "v2") is None


def test_a_commit_without_its_files_is_not_known(hub):
    """A branch whose snapshot was removed, or whose entry is no commit, has to be asked of the Hub."""
    cached(hub, "org/name")
    shutil.rmtree(hub / "models--org--name" / "snapshots")
    assert source_identity("org/name") is None
    cached(hub, "org/name", "nonsense")
    assert source_identity("org/name") is None


def test_a_directory_goes_before_the_hub(hub, tmp_path, monkeypatch):
    """As in loading: a local directory of a Hub id's name is what is meant."""
    cached(hub, "org/name")
    filled(tmp_path / "org" / "name", "config.json")
    monkeypatch.chdir(tmp_path)
    assert set(source_identity("org/name")) == {"config.json"}


def test_adapters_count(folder, hub, tmp_path):
    """An adapter's files or commit stand beside its base's; its directory alone stands for both."""
    adapter = filled(tmp_path / "adapter", "adapter_model.safetensors", "README.md")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    base = source_identity(str(folder))
    found = source_identity(str(folder), adapter=str(adapter))
    assert set(found) == {*base, "adapter:adapter_config.json", "adapter:adapter_model.safetensors"}
    assert found == found | base == source_identity(str(adapter))
    assert source_identity(str(folder), adapter="org/lora") is None
    cached(hub, "org/lora", file="adapter_config.json")
    assert source_identity(str(folder), adapter="org/lora") == base | {"adapter:commit": COMMIT}
    with pytest.raises(na.UsageError, match="is an adapter itself"):
        source_identity(str(adapter), adapter="org/lora")


def test_a_hub_id_of_an_adapter_is_not_known(hub):
    """Its base's weights lie in another repository, which transformers looks up: only loading knows."""
    cached(hub, "org/lora", file="adapter_config.json")
    assert source_identity("org/lora") is None


def test_the_identity_of_a_source_needs_no_torch():
    """Asked of the embedded model and of a Hub id, in a fresh interpreter."""
    code = (
        "import sys\n"
        "from neuron_antagonism.model.source import source_identity\n"
        "assert source_identity('demo')['config.json']\n"
        "source_identity('org/name')\n"
        "sys.exit(', '.join({'torch', 'transformers', 'transformer_lens', 'peft', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
