"""Exports: what they do in a process of their own equals the live edit; what can't be exported says why."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import neuron_antagonism as na
from neuron_antagonism import demo
from neuron_antagonism.cli.app import main
from neuron_antagonism.exports import verify as verifying
from neuron_antagonism.exports.adapter import load_adapter
from neuron_antagonism.exports.lora import limits
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.load import load_pair
from neuron_antagonism.model.plain import plain_model, projection

one_thread = tiny.one_thread

SMALL = {"identify": 2, "select": 4, "evaluate": 4, "budget": 20}
PROJECTIONS = {
    "llama": "model.layers.{}.mlp.down_proj",
    "qwen2": "model.layers.{}.mlp.down_proj",
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "gpt_neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    "gemma3": "model.layers.{}.mlp.down_proj",
    "deep": "model.layers.{}.mlp.down_proj",
    "demo": "model.layers.{}.mlp.down_proj",
}
TOUCHED = {"deep": list(range(1, 23))}
"""Edited layers; PEFT shortens long lists of modules, which must not reach others."""

OUTSIDE = """
import json, sys, torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(path):
    # as here: other attention code rounds otherwise
    return AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")


gaps = {}
for name, (base, ia3, checkpoint, lora, tensors) in json.load(open(sys.argv[1])).items():
    known = load_file(tensors)

    def gap(model, which):
        with torch.no_grad():
            return float((model(known["ids"]).logits - known[which]).abs().max())

    found = {}
    for form, adapter, which in (("ia3", ia3, "edited"), ("lora", lora, "uneven")):
        adapted = PeftModel.from_pretrained(load(base), adapter).eval()
        here = {"adapter": gap(adapted, which), "differs": gap(adapted, "unedited")}
        with adapted.disable_adapter():
            here["disabled"] = gap(adapted, "unedited")
        here["merged"] = gap(adapted.merge_and_unload(), which)
        found[form] = here
    folded = load(checkpoint)
    found["checkpoint"] = gap(folded, "edited")
    head = folded.get_output_embeddings()
    found["tied"] = head.weight is folded.get_input_embeddings().weight
    found["tokens"] = AutoTokenizer.from_pretrained(checkpoint)("w1 Answer: A")["input_ids"]
    gaps[name] = found
assert not [name for name in sys.modules if name.startswith(("neuron_antagonism", "transformer_lens"))]
print(json.dumps(gaps))
"""


@dataclass(frozen=True)
class Case:
    model: HookedModel
    edit: na.Edit
    adapter: na.Export
    checkpoint: na.Export
    lora: na.Export
    outside: dict[str, Any]


class Half(na.Intervention):
    name = "half"
    scale = 0.7


class Liar(na.Intervention):
    name = "liar"
    scale = 2.0

    def edit(self, values, layer, neurons):
        return values * 3


class Shift(na.Intervention):
    name = "shift"
    scale: ClassVar[float | None] = None

    def edit(self, values, layer, neurons):
        return values + 1


def enhancer(layers: list[int], positions: str = "all") -> na.Edit:
    good = na.NeuronSet.of([(layer, neuron) for layer in layers for neuron in (0, 3, 7)])
    bad = na.NeuronSet.of([(layer, neuron) for layer in layers for neuron in (1, 20)])
    return na.enhancer(good, bad, budget=6 * len(layers), positions=positions)


def uneven(layers: list[int]) -> na.Edit:
    """An edit with other numbers of neurons in other layers, and with factors of 0, 2 and 0.7."""
    sets = [(layer, neuron) for i, layer in enumerate(layers) for neuron in range(2 + 3 * (i % 3))]
    parts = (na.NeuronSet.of(sets[::3]), na.NeuronSet.of(sets[1::3]), na.NeuronSet.of(sets[2::3]))
    acts = ("silence", "excite", Half())
    edits = [na.edit(part, act, positions="all") for part, act in zip(parts, acts, strict=True)]
    return replace(edits[0], parts=tuple(part for one in edits for part in one.parts))


def logits(model: HookedModel, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.forward(ids).contiguous()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Every model exported both ways, and all of it run by one process that knows only transformers and PEFT."""
    top = tmp_path_factory.mktemp("exports")
    cases, asked = {}, {}
    for name in PROJECTIONS:
        changes = {"num_hidden_layers": 24, "initializer_range": 0.1} if name == "deep" else {}
        kind = "llama" if name == "deep" else name
        base = demo.directory() if name == "demo" else tiny.saved(top / name, kind, **changes)
        model = na.load_model("demo" if name == "demo" else base)
        edit = enhancer(TOUCHED.get(name, [0, 2]))
        other = uneven(TOUCHED.get(name, [0, 2]))
        made = [
            na.export(one, model=model, format=form, out=top / f"{name}.{form}", verify=False)
            for form, one in (("ia3", edit), ("checkpoint", edit), ("lora", other))
        ]
        ids = torch.randint(11, 50, (3, 12), generator=torch.Generator().manual_seed(1))
        known = {"ids": ids, "unedited": logits(model, ids)}
        with model.edited(edit):
            known["edited"] = logits(model, ids)
        with model.edited(other):
            known["uneven"] = logits(model, ids)
        save_file(known, top / f"{name}.safetensors")
        asked[name] = [str(p) for p in (base, *(one.path for one in made), top / f"{name}.safetensors")]
        cases[name] = (model, edit, *made)
    (top / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(top / "asked.json")], capture_output=True, text=True, check=False, cwd=top
    )
    assert done.returncode == 0, done.stderr
    gaps = json.loads(done.stdout.splitlines()[-1])
    return {name: Case(*case, gaps[name]) for name, case in cases.items()}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> HookedModel:
    return na.load_model(tiny.saved(tmp_path_factory.mktemp("llama")))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> na.RunResult:
    out = tmp_path_factory.mktemp("run") / "x"
    return na.run(model="demo", tasks=["sentiment", "ner"], scorers=["act", "ace"], out=out, **SMALL)


def left(where: Path) -> list[str]:
    return sorted(path.name for path in where.iterdir())


# --- what they do ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROJECTIONS)
class TestOutside:
    def test_logits_equal_the_live_edit(self, cases, name):
        """Adapter, merged adapter and checkpoint do in plain libraries what the live edit does; it does something."""
        assert cases[name].outside["checkpoint"] < 1e-5
        for form in ("ia3", "lora"):
            found = cases[name].outside[form]
            assert found["adapter"] < 1e-5
            assert found["merged"] < 1e-5
            assert found["differs"] > 1e-2

    def test_a_disabled_adapter_is_no_edit(self, cases, name):
        assert cases[name].outside["ia3"]["disabled"] < 1e-5
        assert cases[name].outside["lora"]["disabled"] < 1e-5

    def test_a_lora_has_a_rank_for_each_scaled_column(self, cases, name):
        """Of each layer its own; rows of A are one-hot, columns of B those of the weight times (scale − 1)."""
        case = cases[name]
        layers = TOUCHED.get(name, [0, 2])
        wanted = {layer: 2 + 3 * (i % 3) for i, layer in enumerate(layers)}
        assert case.lora.ranks == wanted
        config = json.loads((case.lora.path / "adapter_config.json").read_text())
        assert config["target_modules"] == sorted(PROJECTIONS[name].format(layer) for layer in layers)
        assert config["r"] == config["lora_alpha"] == max(wanted.values())
        assert config["rank_pattern"] == config["alpha_pattern"]
        assert config["fan_in_fan_out"] == (name == "gpt2")
        tensors = load_file(case.lora.path / "adapter_model.safetensors")
        assert len(tensors) == 2 * len(layers)
        for layer, rank in wanted.items():
            module = PROJECTIONS[name].format(layer)
            assert config["rank_pattern"].get(module, config["r"]) == rank
            a, b = (tensors[f"base_model.model.{module}.lora_{part}.weight"] for part in "AB")
            assert torch.equal(a, torch.eye(case.model.n_neurons)[:rank])
            weight = projection(case.model, layer).weight
            columns = (weight.T if name != "gpt2" else weight)[:rank]
            factors = (b.T / columns).mean(1) + 1
            assert {round(factor, 4) for factor in factors.tolist()} <= {0.0, 2.0, 0.7}
            assert (b.T - (factors - 1)[:, None] * columns).abs().max() < 1e-6

    @pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
    def test_a_lora_is_an_adapter_here_too(self, cases, name):
        """`na.load_model` merges it, and unedited it is the edited base."""
        case = cases[name]
        ids = torch.randint(11, 50, (2, 9), generator=torch.Generator().manual_seed(2))
        with case.model.edited(case.lora.edit):
            wanted = logits(case.model, ids)
        found = logits(na.load_model(case.model.source, adapter=case.lora.path), ids)
        assert (found - wanted).abs().max() < 1e-5

    def test_only_touched_layers_are_named(self, cases, name):
        """Exact module names of the plain model, each with one vector of ones but for the edit."""
        case = cases[name]
        wanted = [PROJECTIONS[name].format(layer) for layer in case.edit.layers]
        config = json.loads((case.adapter.path / "adapter_config.json").read_text())
        assert config["target_modules"] == config["feedforward_modules"] == sorted(wanted)
        assert config["fan_in_fan_out"] == (name == "gpt2")
        vectors = load_file(case.adapter.path / "adapter_model.safetensors")
        assert set(vectors) == {f"base_model.model.{module}.ia3_l" for module in wanted}
        for vector in vectors.values():
            expected = torch.ones(1, case.model.n_neurons)
            expected[0, [0, 3, 7]], expected[0, [1, 20]] = 2, 0
            assert torch.equal(vector, expected)

    def test_sizes(self, cases, name):
        """An adapter has a few kilobytes; a checkpoint as many bytes of weights as the model."""
        case = cases[name]
        assert case.adapter.files["adapter_model.safetensors"] < 6000 + 4 * case.model.n_neurons * len(case.edit.layers)
        weights = list(plain_model(case.model).parameters())
        size = sum(weight.numel() * 4 for weight in weights)
        # a name, shape and place for each
        assert size <= case.checkpoint.files["model.safetensors"] < size + 150 * len(weights) + 500
        assert all((case.checkpoint.path / file).stat().st_size == n for file, n in case.checkpoint.files.items())

    def test_the_tokenizer_comes_along(self, cases, name):
        case = cases[name]
        assert case.outside["tokens"] == case.model.tokenizer("w1 Answer: A")["input_ids"]

    def test_tied_weights_stay_tied(self, cases, name):
        tied = cases[name].model.bridge.original_model.config.tie_word_embeddings
        assert cases[name].outside["tied"] == tied

    def test_a_checkpoint_is_a_model_here_too(self, cases, name):
        """`na.load_model` takes it, and unedited it is the edited base."""
        case = cases[name]
        ids = torch.randint(11, 50, (2, 9), generator=torch.Generator().manual_seed(2))
        with case.model.edited(case.edit):
            wanted = logits(case.model, ids)
        assert (logits(na.load_model(case.checkpoint.path), ids) - wanted).abs().max() < 1e-5

    def test_provenance(self, cases, name):
        """Both say what they are made from: base, edit, neurons, versions."""
        case = cases[name]
        for made in (case.adapter, case.checkpoint, case.lora):
            stated = json.loads((made.path / "neuron_antagonism.json").read_text())
            assert stated["base"]["architecture"] == case.model.architecture
            assert stated["version"] == na.__version__
            if made is case.lora:
                assert len(stated["neurons"]) == sum(made.ranks.values())
                continue
            assert stated["edit"]["mode"] == "enhance"
            n = 5 * len(case.edit.layers)
            assert len(stated["neurons"]) == n
            assert stated["neurons"][0] == {
                "layer": case.edit.layers[0],
                "neuron": 0,
                "score": None,
                "role": "good",
                "intervention": "excite",
                "scale": 2.0,
            }


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_the_plain_model_of_every_architecture(name):
    """Names, values and projections are those of the module before TransformerLens took it over."""
    before = tiny.hf(name)
    expected = {key: weight.clone() for key, weight in before.state_dict().items()}
    modules = dict(before.named_modules())
    model = na.load_model(hf_model=before, tokenizer=tiny.tokenizer())
    found = plain_model(model).state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    for layer in range(model.n_layers):
        place = projection(model, layer)
        assert modules[place.name].weight is place.weight


def test_shards(llama, tmp_path):
    """Weights in several files with an index; what they hold is the same."""
    done = na.export(
        enhancer([1]), model=llama, format="checkpoint", out=tmp_path / "x", max_shard_size="5KB", verify=False
    )
    shards = [name for name in done.files if name.startswith("model-")]
    assert len(shards) > 1
    assert "model.safetensors.index.json" in done.files
    ids = torch.arange(11, 20)[None]
    with llama.edited(enhancer([1])):
        wanted = logits(llama, ids)
    assert (logits(na.load_model(tmp_path / "x"), ids) - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("form", ["ia3", "lora", "checkpoint"])
def test_verified_in_a_fresh_process(llama, tmp_path, form, request):
    """By itself every export is loaded again and compared; nothing else is left beside it."""
    if form != "checkpoint":  # whose process of its own `test_verification_by_hand` has
        request.getfixturevalue("verified_here")
    done = na.export(enhancer([0, 1]), model=llama, format=form, out=tmp_path / "new" / "x")
    assert done.difference is not None
    assert done.difference < 1e-6
    assert not done.unverified
    assert left(tmp_path / "new") == ["x"]
    assert {path.stat().st_mode & 0o777 for path in done.path.iterdir()} == {done.path.stat().st_mode & 0o666}


@pytest.mark.usefixtures("verified_here")
@pytest.mark.parametrize("form", ["ia3", "lora", "checkpoint"])
def test_half_precision_and_other_factors(tmp_path, form):
    """A checkpoint in half precision keeps its dtype on a CPU too; a factor that rounds is within rounding.

    A LoRA has the model's dtype where that loses nothing.
    """
    model = na.load_model(tiny.saved(tmp_path / "base", dtype=torch.bfloat16))
    assert model.dtype == torch.float32
    done = na.export(enhancer([1]), model=model, format=form, out=tmp_path / "a")
    assert done.difference is not None
    assert done.difference < 1e-6
    if form == "checkpoint":
        with safe_open(tmp_path / "a" / "model.safetensors", "pt") as file:
            assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118
        assert json.loads((tmp_path / "a" / "config.json").read_text())["dtype"] == "bfloat16"
    model = na.load_model(tmp_path / "base", dtype="bfloat16")
    edit = na.edit(na.NeuronSet.of([(0, n) for n in range(24)]), Half(), positions="all")
    assert na.export(edit, model=model, format=form, out=tmp_path / "b").difference is not None
    exact = na.export(enhancer([1]), model=model, format=form, out=tmp_path / "c")
    assert exact.difference == 0
    if form == "lora":
        for made, dtype in (("b", torch.float32), ("c", torch.bfloat16)):
            tensors = load_file(tmp_path / made / "adapter_model.safetensors")
            assert {tensor.dtype for tensor in tensors.values()} == {dtype}


@pytest.mark.usefixtures("verified_here")
@pytest.mark.parametrize("form", ["ia3", "lora", "checkpoint"])
def test_a_pair_in_memory(tmp_path, form):
    """A pair that has no place on the disk is exported and verified too; nothing is left of the base written for it."""
    model = tiny.load("gpt2", torch.float32)
    done = na.export(enhancer([0, 2]), model=model, format=form, out=tmp_path / "x")
    assert done.difference is not None
    assert done.difference < 1e-6
    assert left(tmp_path) == ["x"]


@pytest.mark.parametrize("form", ["adapter", "lora"])
def test_verification_by_hand(cases, form):
    """The command that an unverified export names compares it, without the live model."""
    made = getattr(cases["demo"], form)
    assert f"-m neuron_antagonism.exports.verify {made.path}" in made.unverified
    command = [sys.executable, "-m", "neuron_antagonism.exports.verify", str(made.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["same"] is True


def test_without_peft(llama, tmp_path, monkeypatch):
    """The adapter is written all the same, and says that and how it is to be verified."""
    monkeypatch.setattr("neuron_antagonism.exports.export.importlib.util.find_spec", lambda name: None)
    done = na.export(enhancer([0]), model=llama, format="ia3", out=tmp_path / "x")
    assert done.difference is None
    assert done.unverified.startswith("peft is not installed; pip install 'neuron-antagonism[export]'")
    assert "adapter_model.safetensors" in done.files


def test_limits_of_other_programs():
    """Ranks that vLLM takes only when told, or not at all, with their layers; ranks that differ, for llama.cpp."""
    assert limits({0: 16, 3: 16}) == []
    (said,) = limits({0: 17, 3: 17})
    assert said.endswith("--max-lora-rank 32 (layers of more columns: 0 (17), 3 (17))")
    vllm, llama_cpp = limits({0: 3, 1: 513})
    assert vllm.endswith("it takes 512 at most; format checkpoint (layers of more columns: 1 (513))")
    assert '"lora_alpha": 0' in llama_cpp


def test_a_lora_of_nothing(llama, tmp_path):
    """Factors of 1 have no rank: refused where there is nothing else, left out where there is."""

    class Same(na.Intervention):
        name = "same"
        scale = 1.0

    same = na.edit(na.NeuronSet.of([(0, 1)]), Same(), positions="all")
    with pytest.raises(na.UsageError, match="scales every neuron by 1; accepted by lora: an edit that changes some"):
        na.export(same, model=llama, format="lora", out=tmp_path / "x")
    both = replace(same, parts=(*same.parts, *na.edit(na.NeuronSet.of([(1, 2)]), "silence", positions="all").parts))
    assert na.export(both, model=llama, format="lora", out=tmp_path / "x", verify=False).ranks == {1: 1}


def test_a_lora_of_a_weight_that_layers_share(tmp_path):
    """It would change one of them only."""
    model = tiny.load("llama", torch.float32)
    first, second = (projection(model, layer).module for layer in (0, 1))
    second.weight = first.weight
    with pytest.raises(na.ModelError, match=r"layers 0 and 1 share the weight of their output projection"):
        na.export(enhancer([0]), model=model, format="lora", out=tmp_path / "x")
    assert left(tmp_path) == []


# --- neurons ---------------------------------------------------------------------------------------------------------


def test_csv_is_a_neuron_set(tmp_path):
    """`NeuronSet.load` reads it back with scores; further columns say what happens to each neuron."""
    good = na.NeuronSet(torch.tensor([0, 4]), torch.tensor([7, 1]), torch.tensor([2.5, 1.5]))
    edit = na.degrader(good, na.NeuronSet.of([(3, 3)]), budget=3, ratio=0.7)
    done = na.export(edit, format="csv", out=tmp_path / "x")
    assert list(done.files) == ["neurons.csv"]
    read = na.NeuronSet.load(done.path / "neurons.csv")
    assert list(read) == [(0, 7), (4, 1), (3, 3)]
    assert read.scores[:2].tolist() == [2.5, 1.5]
    lines = (done.path / "neurons.csv").read_text().splitlines()
    assert lines == [
        "layer,neuron,score,role,intervention,scale",
        "0,7,2.5,good,silence,0.0",
        "4,1,1.5,good,silence,0.0",
        "3,3,,bad,excite,2.0",
    ]


def test_json_takes_any_edit(tmp_path, llama):
    """Where weights can't follow, the list of neurons still can, with or without a model."""
    edit = na.edit(na.NeuronSet.of([(0, 1)]), Shift())
    na.export(edit, format="json", out=tmp_path / "x")
    stated = json.loads((tmp_path / "x" / "neurons.json").read_text())
    row = {"layer": 0, "neuron": 1, "score": None, "role": None, "intervention": "shift", "scale": None}
    assert stated["neurons"] == [row]
    assert stated["edit"]["positions"] == "last"
    assert stated["base"] is None
    na.export(edit, model=llama, format="json", out=tmp_path / "y")
    assert json.loads((tmp_path / "y" / "neurons.json").read_text())["base"]["architecture"] == "LlamaForCausalLM"


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("verified_here")
def test_of_a_run(ran, tmp_path):
    """The chosen edit at all positions, with what was measured for that form."""
    done = na.export(ran, task="ner", scorer="ace", mode="degrade", format="ia3", out=tmp_path / "x")
    assert done.edit == ran.edits["ner"]["ace"]["degrade"].at("all")
    rows = ran.results["tasks"]["ner"]["at_all"]
    assert done.effect == next(row for row in rows if (row["scorer"], row["mode"]) == ("ace", "degrade"))
    assert done.difference is not None
    assert done.difference < 1e-6
    stated = json.loads((tmp_path / "x" / "neuron_antagonism.json").read_text())
    assert stated["effect"] == done.effect
    assert stated["run"]["task"] == "ner"
    again = na.export(
        ran.path, task="ner", scorer="ace", mode="degrade", format="checkpoint", out=tmp_path / "y", verify=False
    )
    assert again.effect == done.effect
    assert again.files["model.safetensors"] > 1_000_000


class TestCommand:
    @pytest.fixture
    def call(self, monkeypatch, capsys, ran, tmp_path) -> Callable[..., tuple[int, str, str]]:
        monkeypatch.chdir(tmp_path)

        def run(*words: str) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["neuron-antagonism", "export", str(ran.path), *words])
            capsys.readouterr()
            with pytest.raises(SystemExit) as end:
                main()
            return (end.value.code, *capsys.readouterr())

        return run

    ONE = ("--task", "sentiment", "--scorer", "ace", "--mode", "enhance")

    @pytest.mark.usefixtures("verified_here")
    def test_ia3(self, call):
        """Files with sizes, the effect, the verification and how to use it."""
        code, out, err = call(*self.ONE, "--format", "ia3", "--out", "x")
        assert code == 0, err
        for expected in (
            "ia3 of sentiment, ace, enhance: ",
            "adapter_model.safetensors",
            "effect: Acc ",
            "(measured at all positions on 4 examples)",
            "verified: loaded in a fresh process",
            "PeftModel.from_pretrained(",
            "dtype='float32')",
            "written to x",
        ):
            assert expected in out
        assert err.startswith("export: 2 in ")

    @pytest.mark.usefixtures("verified_here")
    def test_lora(self, call):
        """The rank, what other programs must be told, and how to use it."""
        code, out, err = call(*self.ONE, "--format", "lora", "--out", "x")
        assert code == 0, err
        for expected in (
            "rank ",
            " at most, one a scaled column: 20 in all",
            "verified: ",
            "PeftModel.from_pretrained(",
        ):
            assert expected in out

    def test_json_document(self, call):
        """One document on stdout."""
        code, out, err = call(*self.ONE, "--format", "checkpoint", "--out", "x", "--no-verify", "--json", "--quiet")
        assert (code, err) == (0, "")
        stated = json.loads(out)
        assert stated["task"] == "sentiment"
        assert stated["effect"]["mode"] == "enhance"
        assert stated["difference"] is None
        assert stated["unverified"].startswith("not asked for; python -m neuron_antagonism.exports.verify")
        assert set(stated["files"]) == set(left(Path("x")))

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--format", "onnx"], "unknown format 'onnx'; accepted: checkpoint, csv, gguf, ia3, json, lm-eval, lora"),
            (["--format", "ia3"], "the run has 2 tasks and none was chosen; accepted: sentiment, ner"),
            (["--format", "ia3", "--task", "nerr"], "unknown task of this run 'nerr'; did you mean 'ner'?"),
            (["--format", "ia3", "--task", "ner"], "the run has 2 scorers and none was chosen; accepted: act, ace"),
            (
                ["--format", "ia3", "--task", "ner", "--scorer", "act"],
                "the run has 2 modes and none was chosen; accepted: enhance, degrade",
            ),
            (["--format", "ia3", *ONE, "--model", "nowhere"], "unknown model 'nowhere'"),
            (["--format", "checkpoint", *ONE, "--max-shard-size", "huge"], "max_shard_size is 'huge'; accepted: "),
            (["--out", "x"], "Missing option '--format'"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_refused(self, call, monkeypatch, tmp_path, words, said):
        """One line, exit code 2, nothing made."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        code, out, err = call(*words, *(() if "--out" in words else ("--out", "x")))
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert said in err
        assert left(tmp_path) == []


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["ia3", "lora", "checkpoint"])
@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (enhancer([0], "last"), "an edit at 'last' acts at one position.*edit.at"),
        (na.edit(na.NeuronSet.of([(0, 1)]), Shift(), positions="all"), "intervention 'shift' has no constant scale"),
        (replace(enhancer([0]), site="up"), "an edit at site 'up' scales no input of the FFN's output projection"),
        (na.edit(na.NeuronSet.of([]), "silence", positions="all"), "touches no neuron"),
        (na.edit(na.NeuronSet.of([(0, 999)]), "silence", positions="all"), "neuron 0.999 does not exist"),
    ],
)
def test_edits_that_are_no_weights(llama, tmp_path, form, edit, said):
    """One line with the reason and the way out."""
    with pytest.raises(na.AntagonismError, match=said) as raised:
        na.export(edit, model=llama, format=form, out=tmp_path / "x")
    assert "\n" not in str(raised.value)
    assert left(tmp_path) == []


def test_wrong_arguments(llama, ran, tmp_path):
    edit = enhancer([0])
    for arguments, said in (
        ({"what": edit, "format": "ia3"}, "an edit is exported for a model; accepted: model="),
        ({"what": edit, "format": "ia3", "model": llama, "task": "ner"}, "ner: choices among a run's edits"),
        ({"what": 3, "format": "ia3"}, "can't export 3; accepted: a run's result or directory, or an edit"),
        ({"what": tmp_path, "format": "ia3"}, "holds no finished run"),
        (
            {"what": ran, "format": "ia3", "model": llama, "task": "ner", "scorer": "ace", "mode": "enhance"},
            "is not the run's model; accepted: demo",
        ),
    ):
        with pytest.raises(na.AntagonismError, match=said):
            na.export(**arguments, out=tmp_path / "x")
    with llama.edited(edit), pytest.raises(na.UsageError, match="an edit is active"):
        na.export(edit, model=llama, format="ia3", out=tmp_path / "x")
    assert left(tmp_path) == []


def test_other_weights_than_the_runs(ran, tmp_path):
    """A model of the same shape with other weights is named: the run's neurons mean nothing in it."""
    other = na.load_model("demo")
    with torch.no_grad():
        next(other.bridge.original_model.parameters()).mul_(1.5)
    choice = {"task": "ner", "scorer": "ace", "mode": "enhance"}
    with pytest.warns(na.AntagonismWarning, match="not those that the run was made with"):
        na.export(ran, **choice, model=other, format="json", out=tmp_path / "x")


def test_models_that_are_no_checkpoint(tmp_path):
    """Quantized weights can't be scaled, but can carry an adapter; another projection than the hooked one is named."""
    model = tiny.load("llama", torch.float32)
    model.bridge.original_model.is_quantized = True
    with pytest.raises(na.ModelError, match=r"are quantized or kept on another device .* or format ia3"):
        na.export(enhancer([0]), model=model, format="checkpoint", out=tmp_path / "x")
    with pytest.raises(na.ModelError, match=r"columns can't be read; accepted for a LoRA: .* or format ia3"):
        na.export(enhancer([0]), model=model, format="lora", out=tmp_path / "x")
    done = na.export(enhancer([0]), model=model, format="ia3", out=tmp_path / "y")
    assert "can't be loaded again; python -m neuron_antagonism.exports.verify" in done.unverified
    model.n_neurons = 99
    with pytest.raises(na.ModelError, match="layer 0: the FFN's output projection takes 24 values, not 99"):
        na.export(enhancer([0]), model=model, format="ia3", out=tmp_path / "x")
    assert left(tmp_path) == ["y"]


def test_places_that_are_taken(tmp_path):
    """A file, a link, a full or a forbidden directory: one line, and everything is as it was."""
    edit = enhancer([0])
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "link").symlink_to("full")
    before = left(tmp_path)
    for name, said in (
        ("file", "is a file or a link"),
        ("link", "is a file or a link"),
        ("full", "is not empty; accepted: a new or empty directory"),
        ("file/x", "can't write to .*file/x: .*file is not a directory"),
        ("x" * 300, "can't write to .*: File name too long"),
    ):
        with pytest.raises(na.UsageError, match=said):
            na.export(edit, format="csv", out=tmp_path / name)
    assert left(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert na.export(edit, format="csv", out=tmp_path / "empty").files


def test_forbidden(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(na.UsageError, match="no permission; accepted: a directory that can be written"):
        na.export(enhancer([0]), format="csv", out=tmp_path / "x")


# --- nothing half-written --------------------------------------------------------------------------------------------


def full(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("form", "at"),
    [
        ("ia3", "safetensors.torch.save_file"),
        ("ia3", "neuron_antagonism.exports.export.write_provenance"),
        ("ia3", "neuron_antagonism.exports.verify.save_file"),
        ("checkpoint", "transformers.modeling_utils.safe_save_file"),
        ("csv", "neuron_antagonism.exports.neurons.Path.write_text"),
    ],
)
def test_a_full_disk_leaves_nothing(llama, tmp_path, monkeypatch, form, at):
    """One line, and not even the directories above it."""
    if at == "neuron_antagonism.exports.verify.save_file":
        monkeypatch.setattr("neuron_antagonism.exports.verify.tempfile.TemporaryDirectory", full)
    else:
        monkeypatch.setattr(at, full)
    with pytest.raises(na.ExportError, match="No space left on device; nothing is left there") as raised:
        na.export(enhancer([0]), model=llama, format=form, out=tmp_path / "new" / "deep" / "x")
    assert "\n" not in str(raised.value)
    assert left(tmp_path) == []


def test_an_interrupted_export_leaves_nothing(llama, tmp_path, monkeypatch):
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("neuron_antagonism.exports.export.verifying.verify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        na.export(enhancer([0]), model=llama, format="ia3", out=tmp_path / "x")
    assert left(tmp_path) == []


@pytest.mark.usefixtures("verified_here")
@pytest.mark.parametrize("form", ["ia3", "lora", "checkpoint"])
def test_a_mismatch_removes_the_export(llama, tmp_path, form):
    """An intervention whose edit is not its scale is found out."""
    edit = na.edit(na.NeuronSet.of([(0, 1), (1, 2)]), Liar(), positions="all")
    with pytest.raises(na.ExportError, match="does not do what the live edit does: logits differ by"):
        na.export(edit, model=llama, format=form, out=tmp_path / "x")
    assert left(tmp_path) == []


# --- loading ---------------------------------------------------------------------------------------------------------


def test_damaged_adapters(cases, llama, tmp_path):
    """Truncated, of another shape, for another model: one line each."""
    base, _ = load_pair(llama.source)
    na.export(enhancer([0, 1]), model=llama, format="ia3", out=tmp_path / "x", verify=False)
    file = tmp_path / "x" / "adapter_model.safetensors"
    whole = file.read_bytes()
    vectors = load_file(file)
    first = next(iter(vectors))

    def refused(said: str) -> None:
        with pytest.raises(na.AntagonismError, match=said) as raised:
            load_adapter(base, tmp_path / "x")
        assert "\n" not in str(raised.value)

    file.write_bytes(whole[:100])
    refused("can't read the adapter .*; accepted: a whole")
    save_file({**vectors, first: torch.ones(1, 5)}, file)
    refused(r"has a vector of shape \(1, 5\) for model\.layers\.\d\.mlp\.down_proj; accepted by this model: \(1, 24\)")
    save_file({first: vectors[first]}, file)
    refused("has vectors for 1 modules and names 2 in adapter_config.json")
    file.unlink()
    refused("can't read the adapter")
    with pytest.raises(
        na.ExportError, match=r"is for another model: LlamaForCausalLM has no projection transformer\.h"
    ):
        load_adapter(base, cases["gpt2"].adapter.path)


def test_damaged_loras(llama, tmp_path):
    """Half a pair, another rank than stated, another kind: one line each."""
    base, _ = load_pair(llama.source)
    na.export(enhancer([0, 1]), model=llama, format="lora", out=tmp_path / "x", verify=False)
    file, config = tmp_path / "x" / "adapter_model.safetensors", tmp_path / "x" / "adapter_config.json"
    tensors, stated = load_file(file), config.read_text()
    first = sorted(tensors)[0]

    def refused(said: str) -> None:
        with pytest.raises(na.ExportError, match=said) as raised:
            load_adapter(base, tmp_path / "x")
        assert "\n" not in str(raised.value)

    save_file({name: tensor for name, tensor in tensors.items() if name != first}, file)
    refused("has vectors for 1 modules and names 2")
    save_file({**tensors, first: tensors[first][:3].contiguous()}, file)
    refused(r"has a vector of shape \(3, 24\) for model\.layers\.0.*accepted by this model: \(5, 24\)")
    config.write_text(stated.replace("LORA", "OFT"))
    refused("can't read the adapter .*; accepted: a whole adapter that export wrote")


def test_damaged_checkpoints(llama, tmp_path):
    """A checkpoint without its tokenizer, with less of its weights, or without its provenance: one line each."""
    na.export(enhancer([0]), model=llama, format="checkpoint", out=tmp_path / "x", verify=False)
    weights = tmp_path / "x" / "model.safetensors"
    whole = weights.read_bytes()

    def refused(said: str) -> None:
        with pytest.raises(na.AntagonismError, match=said) as raised:
            verifying.compare(tmp_path / "x", llama.source, None)
        assert "\n" not in str(raised.value)

    weights.write_bytes(whole[:1000])
    refused("can't load the model")
    weights.write_bytes(whole)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "x" / file).unlink()
    refused("tokenizer")
    (tmp_path / "x" / "neuron_antagonism.json").write_text("{")
    refused("is no export: neuron_antagonism.json: ")


def test_a_tokenizer_that_can_not_be_saved(tmp_path):
    tokenizer = tiny.tokenizer()
    model = na.load_model(hf_model=tiny.hf("llama", torch.float32), tokenizer=tokenizer)
    model.tokenizer = tokenizer.__call__
    with pytest.raises(na.ModelError, match=r"the tokenizer of .* can't be saved; accepted: "):
        na.export(enhancer([0]), model=model, format="checkpoint", out=tmp_path / "x")
    assert left(tmp_path) == []
