"""The lines that `export` prints load the base as it was loaded here: executed, they give the live edit's logits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import tiny
import torch
from test_adapters import lora, random

import neuron_antagonism as na
from neuron_antagonism.exports.recipe import recipe

one_thread = tiny.one_thread

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own

EDIT = na.enhancer(na.NeuronSet.of([(0, 3), (2, 7)]), na.NeuronSet.of([(1, 5)]), budget=4, ratio=0.5, positions="all")

HUB = """
import json, pathlib, sys, torch
import neuron_antagonism as na
from neuron_antagonism.exports.recipe import recipe
edit = na.edit(na.NeuronSet.of([(0, 3), (2, 7)]), "silence", positions="all")
found = {}
for revision in (None, "v1"):
    model = na.load_model("me/mine", revision=revision, device="cpu")
    done = na.export(edit, model=model, format="lora", out=f"x-{revision}", verify=False)
    scope = {}
    lines = recipe(done.format, done.base, str(done.path), done.loading)
    exec("\\n".join(lines), scope)
    ids = torch.tensor([[3, 9, 12]])
    with torch.no_grad(), model.edited(edit):
        gap = float((scope["model"](ids).logits - model.forward(ids)).abs().max())
    found[str(revision)] = [len(model.tokenizer), model.vocabulary, gap, "\\n".join(lines)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in half precision, which is loaded wider on a CPU."""
    return tiny.saved(tmp_path_factory.mktemp("base"), dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of somebody else for it."""
    folder = tmp_path_factory.mktemp("adapter")
    random(peft.get_peft_model(tiny.hf("llama", torch.float32), lora(target_modules=["q_proj"]))).save_pretrained(
        folder
    )
    return folder


@pytest.mark.parametrize("form", ["ia3", "lora", "checkpoint"])
@pytest.mark.parametrize(
    "options", [{}, {"dtype": "float64"}, {"adapter": True}, {"adapter": True, "dtype": "float64"}]
)
def test_the_lines_load_what_was_edited(form, options, base, adapter, tmp_path):
    """In the precision that was used, with the adapter that was merged."""
    given = options | ({"adapter": adapter} if "adapter" in options else {})
    model = na.load_model(base, device="cpu", **given)
    done = na.export(EDIT, model=model, format=form, out=tmp_path / "x", verify=False)
    assert done.loading is not None
    assert done.loading["dtype"] == options.get("dtype", "float32")
    assert done.base == str(base)
    scope: dict[str, Any] = {}
    exec("\n".join(recipe(done.format, done.base, str(done.path), done.loading)), scope)
    ids = torch.tensor([[3, 9, 12, 40]])
    with torch.no_grad(), model.edited(EDIT):
        expected = model.forward(ids)
    with torch.no_grad():
        found = scope["model"](ids).logits
        unedited = model.forward(ids)
    # other attention code rounds otherwise; in the checkpoint's own half precision it would be a percent
    assert (found.double() - expected.double()).abs().max() < 1e-5 * expected.abs().max()
    assert (unedited - expected).abs().max() > 0.1
    stated = json.loads((tmp_path / "x" / "neuron_antagonism.json").read_text())
    assert stated["base"]["loading"] == done.loading


def test_a_revision_is_that_of_the_tokenizer_too(tmp_path):
    """Weights, config, tokenizer and the printed lines are all of the revision that was asked for."""
    sizes = {}
    for ref, more, commit in (("main", (), "a" * 40), ("v1", ("w98", "w99"), "b" * 40)):
        repository = tmp_path / "hub" / "models--me--mine"
        snapshot = repository / "snapshots" / commit
        sizes[ref] = len(tiny.VOCABULARY) + len(more)
        tiny.hf("llama", torch.float32, vocab_size=sizes[ref]).save_pretrained(snapshot)
        tiny.tokenizer(*more).save_pretrained(snapshot)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / ref).write_text(commit)
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HUB], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for ref, name in (("main", "None"), ("v1", "v1")):
        tokens, columns, gap, lines = found[name]
        assert tokens == columns == sizes[ref]
        assert gap < 1e-5
        assert ("revision='v1'" in lines) is (ref == "v1")


def test_every_option_is_repeated():
    """What this machine can't run is stated as Hugging Face's loaders take it."""
    loading = {"dtype": "bfloat16", "revision": "v1", "trust_remote_code": True, "device_map": {"": 0}}
    more = {"load_in_4bit": True, "adapter": "me/adapter", "chat_template": True}
    assert recipe("lora", "me/base", "x", {**loading, **more}) == [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM as Auto, BitsAndBytesConfig",
        "base = PeftModel.from_pretrained(Auto.from_pretrained('me/base', dtype='bfloat16', revision='v1', "
        "trust_remote_code=True, device_map={'': 0}, quantization_config=BitsAndBytesConfig(load_in_4bit=True, "
        "bnb_4bit_compute_dtype='bfloat16')), 'me/adapter').merge_and_unload()",
        "model = PeftModel.from_pretrained(base, 'x')",
        "# prompts went through the tokenizer's chat template: tokenizer.apply_chat_template(...)",
    ]
    assert recipe("checkpoint", "me/base", "x", loading) == [
        "from transformers import AutoModelForCausalLM as Auto",
        "model = Auto.from_pretrained('x', dtype='bfloat16', trust_remote_code=True, device_map={'': 0})",
    ]
