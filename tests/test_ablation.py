"""Exact ablation against silencing neurons one at a time on the bare Hugging Face module."""

from __future__ import annotations

import contextlib
import json

import pytest
import test_engines
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.cli.app import main

one_thread = tiny.one_thread

ENGINES = ("replay", "rows", "reference")
TARGETS = ("ace", "tn", "qrnca")


def questions() -> list[na.Question]:
    return [tiny.question(n, seed=i, answer=i % 4) for i, n in enumerate((9, 14, 9))]


NARROW = {"llama": {"intermediate_size": 12}, "gpt2": {"n_inner": 12}}
"""Few neurons: the plain computation takes a forward for each."""


def one_at_a_time(name: str) -> torch.Tensor:
    """F(w) − F(w with one neuron at zero) [target, question, layer, neuron], a forward for each."""
    model, words = tiny.hf(name, **NARROW[name]).requires_grad_(False), tiny.tokenizer()
    found = []
    for question in questions():
        ids = words(question.prompt)["input_ids"]
        letters = [words.convert_tokens_to_ids(letter) for letter in question.letters]
        clean = test_engines.plain_targets(model(torch.tensor([ids])).logits[0, -1], letters, question.answer)
        layers = []
        for projection in test_engines.PROJECTIONS[name](model):
            w = test_engines.plain_value(model, projection, ids)
            effects = []
            for neuron in range(len(w)):
                silenced = w.clone()
                silenced[neuron] = 0
                logits = test_engines.plain_logits(model, projection, ids, silenced)
                after = test_engines.plain_targets(logits, letters, question.answer)
                effects.append(torch.stack(clean) - torch.stack(after))
            layers.append(torch.stack(effects, dim=-1))
        found.append(torch.stack(layers, dim=1))
    return torch.stack(found, dim=1)


@pytest.mark.parametrize("name", NARROW)
def test_ablation_equals_silencing_one_at_a_time(name, monkeypatch):
    """Every engine and target gives each neuron's exact effect, whatever the size of a forward."""
    tiny.exact_softmax(monkeypatch)
    expected = one_at_a_time(name)
    model = tiny.shared(name, **NARROW[name])
    for engine in ENGINES:
        for i, target in enumerate(TARGETS):
            for max_tokens in (None, 5) if target == "ace" else (None,):
                got = na.ablate(model, questions(), target, engine=engine, max_tokens=max_tokens)
                assert got.engine == engine
                assert got.effects.dtype == torch.float64
                assert test_engines.difference(got.effects, expected[i]) <= 1e-11


@pytest.mark.parametrize("name", [name for name in tiny.CONFIGS if name not in ("llama", "gpt2")])
def test_engines_agree_on_every_architecture(name):
    """The engine that `auto` proves gives what the reference engine gives."""
    model = tiny.shared(name)
    expected = na.ablate(model, questions(), engine="reference").effects
    got = na.ablate(model, questions())
    assert got.engine == ("rows" if name in test_engines.NO_REPLAY else "replay")
    assert test_engines.difference(got.effects, expected) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_neuron_without_influence_has_no_effect(engine, dtype):
    """A neuron that the output projection ignores has no effect beyond float32's rounding, in bfloat16 either."""
    hf = tiny.hf("llama", dtype)
    with torch.no_grad():
        hf.model.layers[1].mlp.down_proj.weight[:, 5] = 0
    model = na.load_model(hf_model=hf, tokenizer=tiny.tokenizer())
    effects = na.ablate(model, questions(), engine=engine).effects
    assert effects[:, 1, 5].abs().max() <= 1e-6
    assert (effects != 0).float().mean() > 0.9


def test_ablation_agrees_with_an_edit():
    """The effect of a neuron is what `evaluate` finds when that neuron alone is silenced at `last`."""
    model = tiny.shared("llama")
    effects = na.ablate(model, questions()).effects
    before = na.evaluate(model, questions()).option_probabilities
    for layer, neuron in ((0, 3), (2, 23)):
        edit = na.edit(na.NeuronSet.of([(layer, neuron)]), "silence")
        after = na.evaluate(model, questions(), edit).option_probabilities
        right = torch.tensor([q.answer for q in questions()])[:, None]
        change = (before - after).gather(1, right)[:, 0]
        assert torch.allclose(effects[:, layer, neuron], change, rtol=0, atol=1e-7)


def test_the_scorer_averages_the_effects():
    """Scores are the mean effect over the questions, example scores the sums over an example's proxies."""
    model, asked = tiny.shared("gpt2"), questions()
    effects = na.ablate(model, asked, "tn").effects
    examples = [na.Example(None, tuple(asked[:2])), asked[2]]
    a = na.attribute(model, examples, "ablation", options={"target": "tn"}, budget=10)
    assert torch.allclose(a.scores, effects.mean(0).float())
    assert torch.allclose(a.example_scores[0], effects[:2].sum(0).float())
    assert torch.allclose(a.example_scores[1], effects[2].float())
    assert a.target == "contrast"
    assert a.engine == "replay"
    assert a.completeness is None


def test_the_up_site_is_the_same_ablation():
    """Silencing the up projection's output silences the gated product."""
    model = tiny.shared("llama")
    post, up = (na.ablate(model, questions(), site=site).effects for site in ("post", "up"))
    assert test_engines.difference(up, post) <= 1e-6


def test_a_target_of_ones_own():
    """Any na.Target can be ablated."""

    class Logit(na.Target):
        def __call__(self, logits, letters, answer):
            return logits.gather(-1, letters).gather(-1, answer[..., None])[..., 0]

    found = na.ablate(tiny.shared("llama"), questions(), Logit())
    assert found.target == "Logit"
    assert found.effects.abs().max() > 0.01


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("random", "scorer 'random' has no target; accepted: contrast, letter-probability, "),
        ("aec", "unknown target 'aec'; did you mean 'act'"),
        (7, "target 7 is no na.Target"),
    ],
)
def test_a_wrong_target_is_named(target, said):
    """One line says what is wrong with the target."""
    with pytest.raises(na.AntagonismError, match=said):
        na.ablate(tiny.shared("llama"), questions(), target)


def test_a_wrong_target_is_found_before_a_run_creates_anything(tmp_path):
    """The option's scorer is looked up while the run is planned."""
    with pytest.raises(na.PluginError, match="unknown target 'nonsense'"):
        na.run(scorers=["ablation"], options={"ablation": {"target": "nonsense"}}, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_ablation_finds_planted_neurons():
    """On the demonstration model, the strongest effects are planted neurons' far beyond chance."""
    model = na.load_model("demo")
    split = na.load_task("ner").split(identify=3, select=0, evaluate=1)
    a = na.attribute(model, split.identify, "ablation")
    for role, chosen in (("good", a.good(20)), ("bad", a.bad(20))):
        assert len(chosen & model.planted[role]) >= 8  # 0.2 by chance


def test_ablation_in_a_run(capsys, checkpoint, tmp_path, monkeypatch):
    """`run --scorer ablation` sweeps it like any scorer, with its option in the manifest."""
    arguments = ["--model", str(checkpoint), "--task", "ner", "--scorer", "ablation", "-o", "ablation.target=qrnca"]
    sizes = ["--identify", "1", "--select", "2", "--evaluate", "2", "--budget", "8", "--max-tokens", "300"]
    monkeypatch.setattr(
        "sys.argv", ["neuron-antagonism", "run", *arguments, *sizes, "--out", str(tmp_path / "r"), "--json", "--quiet"]
    )
    with contextlib.suppress(SystemExit):
        main()
    result = json.loads(capsys.readouterr().out)
    assert result["manifest"]["config"]["max_tokens"] == 300
    assert result["results"]["tasks"]["ner"]["attribution"]["ablation"]["options"]["target"] == "qrnca"
