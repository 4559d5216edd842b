"""Loading, tokens, logits and edits of models, against the bare Hugging Face modules."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors
from torch import Tensor

import neuron_antagonism as na
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.letters import LetterForm, Letters

one_thread = tiny.one_thread

STORIES = Path(__file__).parents[1].parent / "shared" / "data" / "stories260k"
PROMPTS = [tiny.question(n, seed=n).prompt for n in (9, 14, 7, 9)]


@pytest.fixture
def stories() -> HookedModel:
    if not (STORIES / "model.safetensors").is_file():
        pytest.skip(f"the checkpoint stories260k is not in {STORIES}: it is not distributed with the project")
    return na.load_model(STORIES)


@pytest.fixture
def exact(monkeypatch):
    """Eager attention takes its softmax in float32 even in a float64 model; with this fixture, in float64."""
    tiny.exact_softmax(monkeypatch)


def ids(text: str) -> list[int]:
    return tiny.tokenizer()(text)["input_ids"]


def plain(module, prompts: list[list[int]]) -> Tensor:
    with torch.no_grad():
        return torch.stack([module(torch.tensor([prompt])).logits[0, -1] for prompt in prompts])


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


# --- tokens --------------------------------------------------------------------------------------------------------


def by_pattern(pattern: str) -> Callable[[str], list[int]]:
    """A tokenizer whose tokens are the matches of a pattern; matches of a named group are tokens of their own."""
    known: dict[tuple[str, str | None], int] = {}
    return lambda text: [known.setdefault((m[0], m.lastgroup), len(known)) for m in re.finditer(pattern, text)]


WORKS = {
    "nothing, with a space": (r" ?\w+|\W", LetterForm("", " {}")),
    "nothing, bare": (r"\w|\W", LetterForm("", "{}")),
    "a space": (r":[A-D]|\w+|\W", LetterForm(" ", "{}")),
    # a letter joins the colon, and a space as well
    "a newline": (r": ?[A-D]|\w+|\W", LetterForm("\n", "{}")),
}


@pytest.mark.parametrize("case", WORKS)
def test_the_first_suffix_that_works_is_taken(case):
    """An empty suffix before a space before a newline; each letter is one further token, the earlier ones stay."""
    pattern, expected = WORKS[case]
    tokenize = by_pattern(pattern)
    letters = Letters(tokenize, "t")
    encoded = letters.encode("What? Answer:", "ABCD")
    assert list(letters.chosen.values()) == [expected]
    for letter, token in zip("ABCD", encoded.letters, strict=True):
        whole = tokenize("What? Answer:" + expected.suffix + expected.form.format(letter))
        assert whole == [*encoded.ids, token]
    assert len(set(encoded.letters)) == 4
    assert letters.length("What? Answer:", "ABCD") == len(encoded.ids)


def test_all_letters_take_the_same_form():
    """Where one letter lacks the form with a space, all four go without."""
    letters = Letters(by_pattern(r" [A-C]|\w|\W"), "t")
    letters.encode("Answer:", "ABCD")
    assert list(letters.chosen.values()) == [LetterForm("", "{}")]


def test_the_form_is_chosen_once_for_an_ending():
    """Prompts with one last line share the choice; other endings and letters get their own."""
    letters = Letters(by_pattern(r":[A-D]|\w+|\W"), "t")
    for prompt in ("one\nAnswer:", "two words\nAnswer:", "Answer:"):
        letters.encode(prompt, "ABCD")
    assert len(letters.chosen) == 1
    letters.encode("Answer", "ABCD")
    letters.encode("Answer:", "EFGH")
    assert len(letters.chosen) == 3
    assert {form.suffix for form in letters.chosen.values()} == {" ", ""}


def test_no_suffix_works():
    """The error names tokenizer, letter and the tokens it falls into."""
    tokenize = by_pattern(r"\w|\W")
    expected = tokenize("Answer: x1")[-3:]
    with pytest.raises(na.ModelError) as caught:
        Letters(tokenize, "my-tokenizer").encode("Answer:", ("x1", "x2", "x3", "x4"))
    assert "the tokenizer my-tokenizer has no single token for the letter 'x1' after 'Answer:'" in str(caught.value)
    assert f"(tokens {expected})" in str(caught.value)


def test_letters_without_tokens_of_their_own_are_refused():
    """Letters that become the unknown token are refused, the first of them named."""
    with pytest.raises(na.ModelError, match="does not know the letter 'x'"):
        tiny.load("llama").encode(tiny.question(4, letters="xyzq"))


def test_letters_of_a_real_tokenizer(stories):
    """stories260k splits " A" in two, so its letters stand bare, after the BOS that its own tokenizer adds, once."""
    question = na.Question("Lily saw a ball.\nAnswer:", tuple("wxyz"), 0)
    encoded = stories.encode(question)
    assert list(encoded.ids) == stories.tokenizer(question.prompt)["input_ids"]
    assert encoded.ids.count(stories.tokenizer.bos_token_id) == 1
    for letter, token in zip("ABCD", encoded.letters, strict=True):
        assert stories.tokenizer(question.prompt + letter)["input_ids"] == [*encoded.ids, token]
    (form,) = stories.letters.chosen.values()
    assert (form.suffix, form.form) == ("", "{}")
    # it tells stories, and writes no letters
    assert 0 < form.mass < 0.01


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("where", ["memory", "directory"])
def test_no_bos_is_added_or_taken(name, where, adds, tmp_path):
    """Prompts are tokenised as the user's own tokenizer does it, with its BOS or without, from wherever it came."""
    words = tiny.tokenizer()
    if adds:
        bos = ("w0", words.convert_tokens_to_ids("w0"))
        words.backend_tokenizer.post_processor = processors.TemplateProcessing("w0 $A", special_tokens=[bos])
    expected = words(PROMPTS[0])["input_ids"]
    assert len(expected) == 11 + adds
    module = tiny.hf(name, torch.float32)
    logits = plain(module, [expected])
    if where == "directory":
        module.save_pretrained(tmp_path)
        words.save_pretrained(tmp_path)
        model = na.load_model(tmp_path, dtype="float32", device="cpu")
    else:
        model = na.load_model(hf_model=module, tokenizer=words)
    question = tiny.question(9, seed=9)
    assert list(model.encode(question).ids) == expected
    assert model.encode(question).letters == tuple(words.convert_tokens_to_ids(letter) for letter in "ABCD")
    assert difference(model.last_logits([expected]), logits) <= 1e-6


def test_too_long_questions_are_refused():
    """A prompt of exactly the context's length is answered and attributed; one more token is an error."""
    model = tiny.load("gpt2")
    assert model.max_context == 64
    longest, longer = tiny.question(62), tiny.question(63)
    assert model.fits(longest)
    assert not model.fits(longer)
    assert na.attribute(model, [longest], steps=2, budget=10).scores.abs().sum() > 0
    assert na.evaluate(model, [longest]).log_probabilities.shape == (1, 4)
    with pytest.raises(na.DataError, match="is 65 tokens long; accepted: at most 64"):
        na.evaluate(model, [longest, longer])
    with pytest.raises(na.DataError, match="is 65 tokens long"):
        na.attribute(model, [longer], budget=10)


# --- logits --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_logits_are_hugging_faces(name):
    """The hooked model's logits are the bare module's eager ones, alone and in a batch of different lengths."""
    prompts = [ids(prompt) for prompt in PROMPTS]
    expected = plain(tiny.hf(name), prompts)
    model = tiny.load(name)
    tolerance = 1e-6 if name in ("gpt_neo", "mpt") else 1e-12  # these cast to float32 themselves
    assert difference(torch.cat([model.last_logits([prompt]) for prompt in prompts]), expected) <= tolerance
    assert difference(model.last_logits(prompts), expected) <= tolerance
    assert model.last_logits(prompts).dtype == torch.float64


def test_a_module_with_another_attention_gives_its_logits():
    """A pair that was loaded with PyTorch's fused attention gives the same logits as before it was taken over."""
    module = tiny.hf("llama")
    module.set_attn_implementation("sdpa")
    expected = plain(module, [ids(PROMPTS[1])])
    model = na.load_model(hf_model=module, tokenizer=tiny.tokenizer())
    assert difference(model.last_logits([ids(PROMPTS[1])]), expected) <= 1e-6


def test_a_real_checkpoint_tells_its_story(stories):
    """Greedy decoding from the BOS continues as recorded, 200 tokens long."""
    tokens = [stories.tokenizer.bos_token_id]
    with torch.no_grad():
        for _ in range(200):
            tokens.append(int(stories.forward(torch.tensor([tokens]), **stories.keep_last)[0, -1].argmax()))
    told = stories.tokenizer.decode(tokens, skip_special_tokens=True)
    expected = (STORIES / "expected_greedy_200.txt").read_text(encoding="utf-8").rstrip("\n")
    assert told == expected


def test_the_neurons_are_counted_from_the_activation():
    """n_layers and n_neurons are the real ones, OPT's too, whose config states another width."""
    shapes = {name: (tiny.load(name).n_layers, tiny.load(name).n_neurons) for name in ("llama", "gpt2", "opt", "mpt")}
    assert shapes == {"llama": (3, 24), "gpt2": (3, 64), "opt": (3, 24), "mpt": (3, 64)}
    model = tiny.load("opt")
    assert (model.architecture, model.name) == ("OPTForCausalLM", "OPTForCausalLM")


def test_weights_that_are_not_finite_are_refused():
    """NaN in a weight is a ModelError in evaluation and attribution, by whatever engine; never a number."""
    model = tiny.load("llama")
    with torch.no_grad():
        model.bridge.original_model.lm_head.weight[20, 0] = float("nan")
    with pytest.raises(na.ModelError, match=r"logits that are not finite \(dtype torch.float64\); accepted: "):
        na.evaluate(model, [tiny.question(9)])
    for engine in ("auto", "reference"):
        with pytest.raises(na.ModelError, match="not finite"):
            na.attribute(model, [tiny.question(9)], engine=engine, budget=10)


def test_the_fingerprint_is_of_the_weights():
    """Equal weights give equal fingerprints; one changed weight another."""
    a, b = tiny.load("llama"), tiny.load("llama")
    assert a.fingerprint() == b.fingerprint() != tiny.load("llama", seed=1).fingerprint()
    with torch.no_grad():
        next(b.bridge.original_model.parameters())[20, 3] += 1
    assert a.fingerprint() != b.fingerprint()


def test_loading_and_scoring_leave_the_process_alone():
    """Thread count, global seeds and autograd's mode stay as they were."""
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    threads = torch.get_num_threads()
    model = tiny.load("llama")
    for scorer in ("ace", "random"):
        na.attribute(model, [tiny.question(9)], scorer, steps=2, budget=10)
    na.evaluate(model, [tiny.question(9)], seed=3)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


# --- edits ---------------------------------------------------------------------------------------------------------

OUTPUTS = {
    "llama": lambda m, layer: m.model.layers[layer].mlp.down_proj,
    "gpt2": lambda m, layer: m.transformer.h[layer].mlp.c_proj,
    "opt": lambda m, layer: m.model.decoder.layers[layer].fc2,
    "falcon": lambda m, layer: m.transformer.h[layer].mlp.dense_4h_to_h,
}
UP, DOWN = [(0, 3), (2, 20), (2, 0)], [(1, 5), (0, 1)]
EDIT = na.enhancer(na.NeuronSet.of(UP), na.NeuronSet.of(DOWN), budget=5, ratio=0.6)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", OUTPUTS)
def test_an_edit_at_all_positions_scales_columns(name):
    """Excite and silence at `all` equal scaling columns of the FFN output projections by 2 and 0."""
    module = tiny.hf(name)
    for pairs, factor in ((UP, 2.0), (DOWN, 0.0)):
        for layer, neuron in pairs:
            weight = OUTPUTS[name](module, layer).weight.data
            (weight if name == "gpt2" else weight.T)[neuron] *= factor  # GPT-2's Conv1D is [in, out]
    prompts = [ids(prompt) for prompt in PROMPTS]
    model = tiny.load(name)
    before = model.last_logits(prompts)
    with model.edited(EDIT.at("all")) as same:
        assert same is model
        edited = model.last_logits(prompts)
    assert difference(edited, plain(module, prompts)) <= 1e-12
    assert difference(edited, before) > 1e-3


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", OUTPUTS)
def test_an_edit_at_last_changes_the_last_position_alone(name):
    """At `last` only the last position's inputs of the output projection are scaled, of each prompt of a batch."""
    module = tiny.hf(name)
    for layer in range(3):
        factors = torch.ones(OUTPUTS[name](module, layer).weight.shape[0 if name == "gpt2" else 1]).double()
        for pairs, factor in ((UP, 2.0), (DOWN, 0.0)):
            factors[[neuron for at, neuron in pairs if at == layer]] = factor

        def scale(_, args, factors=factors):
            values = args[0].clone()  # OPT's come as [position, neuron]
            values[..., -1, :] *= factors
            return (values,)

        OUTPUTS[name](module, layer).register_forward_pre_hook(scale)
    prompts = [ids(prompt) for prompt in PROMPTS]
    model = tiny.load(name)
    with model.edited(EDIT):
        together = model.last_logits([prompts[0], prompts[3]])  # of one length
        different = model.last_logits(prompts)
    expected = plain(module, prompts)
    assert difference(together, expected[[0, 3]]) <= 1e-12
    assert difference(different, expected) <= 1e-12
    assert difference(plain(tiny.hf(name), prompts), expected) > 1e-3


@pytest.mark.parametrize("positions", ["last", "all"])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_an_edited_model_is_restored(error, positions):
    """After the context, left by whatever door, no hook is left and the logits are bitwise those of before."""
    model = tiny.load("llama")
    prompts = [ids(prompt) for prompt in PROMPTS]
    before = model.last_logits(prompts)

    def use():
        with model.edited(EDIT.at(positions)):
            assert not torch.equal(model.last_logits(prompts), before)
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    assert torch.equal(model.last_logits(prompts), before)
    assert not model.edited_at_last
    assert all(not point.fwd_hooks and not point.bwd_hooks for point in model.bridge.hook_dict.values())


def test_an_intervention_that_fails_leaves_nothing_behind():
    """An exception inside a forward passes through, and the model is as before."""

    class Failing(na.Intervention):
        name = "failing"

        def edit(self, values, layer, neurons):
            raise KeyboardInterrupt

    model = tiny.load("gpt2")
    before = model.last_logits([ids(PROMPTS[0])])
    for engine in ("auto", "reference"):
        with pytest.raises(KeyboardInterrupt):
            na.evaluate(model, [tiny.question(9)], na.edit(na.NeuronSet.of(UP), Failing()), engine=engine)
    assert torch.equal(model.last_logits([ids(PROMPTS[0])]), before)
    assert all(not point.fwd_hooks for point in model.bridge.hook_dict.values())


def test_edits_nest():
    """An edit within an edit acts on top of it, and each leaves on its own exit."""
    model = tiny.load("llama")
    prompt = [ids(PROMPTS[0])]
    good, bad = (na.edit(na.NeuronSet.of(pairs), what) for pairs, what in ((UP, "excite"), (DOWN, "silence")))
    with model.edited(EDIT):
        both = model.last_logits(prompt)
    with model.edited(good):
        one = model.last_logits(prompt)
        with model.edited(bad):
            assert torch.equal(model.last_logits(prompt), both)
        assert torch.equal(model.last_logits(prompt), one)


# --- loading -------------------------------------------------------------------------------------------------------


def truncated(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def without_a_weight(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def without_tokenizer(path: Path) -> None:
    for file in path.glob("tokenizer*"):
        file.unlink()


def without_config(path: Path) -> None:
    (path / "config.json").unlink()


def gpt2_without_tokenizer(path: Path) -> None:
    tiny.hf("gpt2", torch.float32).save_pretrained(path)
    without_tokenizer(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_config, "holds no config.json; accepted: a Hugging Face model directory"),
        (truncated, "can't load the model .*SafetensorError"),
        (without_a_weight, r"lacks 1 weights, model\.layers\.1\.mlp\.down_proj\.weight among them"),
        (without_tokenizer, "can't load the model .*tokenizer"),
        (gpt2_without_tokenizer, "has no tokenizer; accepted: "),  # transformers makes an empty one up
        (lambda path: (path / "config.json").write_text("{"), "can't load the model .*not a valid JSON"),
    ],
)
def test_a_directory_that_is_no_model_is_refused(spoil, said, tmp_path):
    """What is missing or damaged is named in one line."""
    spoil(tiny.saved(tmp_path))
    with pytest.raises(na.ModelError, match=said) as caught:
        na.load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_names_that_are_no_model_are_refused(tmp_path, monkeypatch):
    """An unknown name gets the nearest one and what is accepted; a file is no model."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(na.ModelError, match=r"unknown model 'dmeo'; did you mean 'demo'\? .*or a Hub id") as e:
        na.load_model("dmeo")
    assert "\n" not in str(e.value)
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(na.ModelError, match="is a file; accepted: "):
        na.load_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "either a name .*or both hf_model= and tokenizer="),
        ({"name": "demo", "tokenizer": tiny.tokenizer()}, "or both hf_model= and tokenizer="),
        ({"hf_model": tiny.hf("llama")}, "or both hf_model= and tokenizer="),
        ({"name": "demo", "hf_model": tiny.hf("llama"), "tokenizer": tiny.tokenizer()}, "either a name"),
        ({"name": "demo", "dtype": "flaot32"}, "unknown dtype 'flaot32'; did you mean 'float32'"),
        ({"name": "demo", "device": "gpu"}, "device 'gpu' can't be used: .*accepted: 'cpu'"),
    ],
)
def test_contradicting_arguments_are_refused(arguments, said):
    """A name or a pair, a known dtype, a device that is here."""
    with pytest.raises(na.UsageError, match=said):
        na.load_model(**arguments)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", torch.float64])
def test_dtype(dtype, tmp_path):
    """dtype converts a directory's and a pair's model; the default is float32 on the CPU, or a pair's own."""
    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    from_pair = na.load_model(hf_model=tiny.hf("llama"), tokenizer=tiny.tokenizer(), dtype=dtype)
    from_files = na.load_model(tiny.saved(tmp_path), dtype=dtype, device="cpu")
    assert from_pair.dtype == from_files.dtype == wanted
    assert na.load_model(hf_model=tiny.hf("llama"), tokenizer=tiny.tokenizer()).dtype == torch.float64
    assert na.load_model(tmp_path, device="cpu").dtype == torch.float32
    assert from_files.last_logits([ids(PROMPTS[0])]).dtype == max(wanted, torch.float32, key=lambda d: d.itemsize)
