"""What taking a neuron out does, by one gradient or exactly: against plain loops over bare Hugging Face modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import tiny
import torch
from plain import blocks, writing
from torch import Tensor

import neuron_antagonism as na

one_thread = tiny.one_thread

ARCHITECTURES = ("llama", "gpt2", "qwen2")
BASELINES = ("zero", "mean", "counterfactual")
LENGTHS = (9, 14, 9)


def questions() -> list[na.Question]:
    """Of two lengths, each with another of as many tokens."""
    asked = [tiny.question(n, seed=i, answer=i % 4) for i, n in enumerate(LENGTHS)]
    others = [tiny.question(n, seed=10 + i, answer=(i + 1) % 4) for i, n in enumerate(LENGTHS)]
    return [replace(q, own_counterfactual=other) for q, other in zip(asked, others, strict=True)]


def ids_of(question: na.Question | None) -> list[int]:
    assert question is not None
    return list(tiny.tokenizer()(question.prompt)["input_ids"])


def log_odds(logits: Tensor, question: na.Question) -> Tensor:
    found = logits[[tiny.tokenizer().convert_tokens_to_ids(letter) for letter in question.letters]]
    p = found.softmax(-1)[question.answer]
    return (p / (1 - p)).log()


def values_at(module: Any, ids: Sequence[int]) -> Tensor:
    """Values [layer, position, neuron] of one prompt."""
    found: dict[int, Tensor] = {}

    def read(values: Tensor, layer: int) -> Tensor:
        found[layer] = values[0].detach().clone()
        return values

    with writing(module, "post", read), torch.no_grad():
        module(torch.tensor([list(ids)]))
    return torch.stack([found[layer] for layer in sorted(found)])


def gradients_at(module: Any, question: na.Question, embeddings: Tensor) -> Tensor:
    """∂ log-odds / ∂ values [layer, position, neuron], at given input embeddings."""
    leaves: dict[int, Tensor] = {}

    def read(values: Tensor, layer: int) -> Tensor:
        leaves[layer] = values
        return values

    with writing(module, "post", read):
        f = log_odds(module(inputs_embeds=embeddings[None].requires_grad_()).logits[0, -1], question)
    found = torch.autograd.grad(f, [leaves[layer] for layer in sorted(leaves)])
    return torch.stack([gradient[0] for gradient in found])


def baselines(module: Any, name: str, asked: Sequence[na.Question], positions: str) -> list[Tensor]:
    """[layer, position or 1, neuron] of each question."""
    own = [values_at(module, ids_of(q)) for q in asked]
    at = slice(None) if positions == "all" else slice(-1, None)
    if name == "mean":
        mean = torch.cat([values[:, at] for values in own], dim=1).mean(1, keepdim=True)
        return [mean] * len(own)
    if name == "counterfactual":
        return [values_at(module, ids_of(q.counterfactual))[:, at] for q in asked]
    return [torch.zeros_like(values[:, -1:]) for values in own]


def by_hand(name: str, baseline: str, positions: str, steps: int = 1) -> Tensor:
    """(a − b) · mean gradient [question, layer, neuron], summed over positions."""
    module, asked = tiny.hf(name).requires_grad_(False), questions()
    at = slice(None) if positions == "all" else slice(-1, None)
    found = []
    for question, b in zip(asked, baselines(module, baseline, asked, positions), strict=True):
        embed = module.get_input_embeddings()
        e, other = (embed(torch.tensor(ids_of(q))).detach() for q in (question, question.counterfactual))
        mean = sum(gradients_at(module, question, other + k / steps * (e - other)) for k in range(1, steps + 1)) / steps
        a = values_at(module, ids_of(question))
        found.append(((a[:, at] - b) * mean[:, at]).sum(1))
    return torch.stack(found)


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.exact_softmax(monkeypatch)


@pytest.mark.usefixtures("exact")
class TestLinear:
    @pytest.mark.parametrize("baseline", BASELINES)
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_one_gradient_equals_the_plain_one(self, name, baseline):
        """At the last position, of every engine; and over all positions."""
        model, asked = tiny.shared(name), questions()
        expected = by_hand(name, baseline, "last")
        for engine in ("replay", "rows", "reference"):
            for max_tokens in (None, 1):
                how = {"engine": engine, "max_tokens": max_tokens}
                got = na.linear_effects(model, asked, "log-odds", baseline=baseline, **how)
                assert (got.engine, got.target) == (engine, "log-odds")
                assert difference(got.effects, expected) <= 1e-10
        got = na.linear_effects(model, asked, "log-odds", baseline=baseline, positions="all")
        assert difference(got.effects, by_hand(name, baseline, "all")) <= 1e-10

    @pytest.mark.parametrize("name", ARCHITECTURES)
    @pytest.mark.parametrize("positions", ["last", "all"])
    def test_a_path_of_inputs_equals_the_plain_one(self, name, positions):
        """The gradient's mean between the counterfactual's embeddings and the question's."""
        how = {"baseline": "counterfactual", "positions": positions}
        got = na.linear_effects(tiny.shared(name), questions(), "log-odds", input_steps=3, **how)
        # some norms compute in float32, which rounds otherwise in a batch
        assert difference(got.effects, by_hand(name, "counterfactual", positions, 3)) <= 1e-6

    def test_the_scorers_say_the_same(self):
        """Means over the questions, sums over an example's; the options reach the computation."""
        model, asked = tiny.shared("llama"), questions()
        example = na.Example(None, tuple(asked[:2]))
        for scorer, options in (
            ("grad-x-act", {"baseline": "mean"}),
            ("grad-x-act", {"baseline": "counterfactual", "positions": "all", "target": "tn"}),
            ("ig-inputs", {"input_steps": 3}),
        ):
            given = {"baseline": "counterfactual"} if scorer == "ig-inputs" else {}
            found = na.linear_effects(model, asked, **{"target": "log-odds", **given, **options})
            got = na.attribute(model, [example, asked[2]], scorer, options=options, budget=5)
            assert torch.allclose(got.scores.double(), found.effects.mean(0), rtol=1e-5, atol=1e-9)
            assert torch.allclose(got.example_scores[0].double(), found.effects[:2].sum(0), rtol=1e-5, atol=1e-9)
            assert got.target == found.target

    def test_the_model_is_as_it_was(self):
        """No hook stays on the embeddings, not even after an error."""
        model = tiny.shared("llama")
        module = model.bridge.original_model.get_input_embeddings()
        before = len(module._forward_hooks)

        class Failing(na.Target):
            name = "failing"

            def __call__(self, logits, letters, answer):
                raise ValueError("out of luck")

        with pytest.raises(na.PluginError, match="target 'failing' failed"):
            na.linear_effects(model, questions(), Failing(), input_steps=2)
        assert len(module._forward_hooks) == before

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"baseline": "zer"}, "unknown baseline 'zer'; did you mean 'zero'"),
            ({"positions": "first"}, "unknown positions 'first'; accepted: all, last"),
            ({"input_steps": 0}, "input_steps is 0; accepted: a whole number from 1"),
            ({"input_steps": 2, "engine": "replay"}, "engine 'replay' has no gradients at other positions or inputs"),
            ({"target": "log-ods"}, "unknown target 'log-ods'; did you mean 'log-odds'"),
            ({"target": "random"}, "scorer 'random' has no target"),
            ({"target": 3}, "target 3 is no na.Target"),
        ],
    )
    def test_what_is_refused(self, options, said):
        """One line says what is accepted."""
        with pytest.raises(na.AntagonismError, match=said) as told:
            na.linear_effects(tiny.shared("llama"), questions(), **options)
        assert "\n" not in str(told.value)

    def test_counterfactuals_are_checked(self):
        """There must be one, of as many tokens where positions matter."""
        model = tiny.shared("llama")
        (plain,) = (tiny.question(9),)
        with pytest.raises(na.DataError, match=r"has no counterfactual; accepted: the baseline .mean. or .zero."):
            na.linear_effects(model, [plain], baseline="counterfactual")
        longer = replace(plain, own_counterfactual=tiny.question(12, answer=(plain.answer + 1) % 4))
        na.linear_effects(model, [longer], baseline="counterfactual")
        with pytest.raises(na.DataError, match=r"has \d+ tokens and its counterfactual \d+; accepted: equally many"):
            na.linear_effects(model, [longer], input_steps=2)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_exact_ablation_to_a_baseline(name, baseline):
    """Every engine gives the exact effect of setting one neuron; a few by hand, a forward for each."""
    model, module, asked = tiny.shared(name), tiny.hf(name).requires_grad_(False), questions()
    instead = baselines(module, baseline, asked, "last")
    for engine in ("replay", "rows", "reference"):
        got = na.ablate(model, asked, "log-odds", baseline=baseline, engine=engine).effects
        for i, (question, b) in enumerate(zip(asked, instead, strict=True)):
            ids = torch.tensor([ids_of(question)])
            clean = log_odds(module(ids).logits[0, -1], question)
            for layer, neuron in ((0, 3), (1, 0), (2, 7)):

                def write(values: Tensor, at: int, layer=layer, neuron=neuron, b=b) -> Tensor:
                    values = values.clone()
                    if at == layer:
                        values[0, -1, neuron] = b[layer, 0, neuron]
                    return values

                with writing(module, "post", write):
                    after = log_odds(module(ids).logits[0, -1], question)
                assert float(got[i, layer, neuron]) == pytest.approx(float(clean - after), abs=1e-10)


class TestSetTo:
    @pytest.mark.parametrize("baseline", BASELINES)
    @pytest.mark.parametrize("engine", ["replay", "rows", "reference"])
    def test_it_sets_what_ablation_sets(self, baseline, engine):
        """Under the edit of one neuron the log-odds change by its exact effect."""
        model, asked = tiny.shared("llama"), questions()
        effects = na.ablate(model, asked, "log-odds", baseline=baseline).effects
        neurons = na.NeuronSet.of([(1, 4)])
        edit = na.edit(neurons, "set-to", options={"baseline": baseline}).fit(model, asked)
        before, after = na.evaluate_many(model, asked, [None, edit], engine=engine)
        changes = odds(before) - odds(after)
        # some norms compute in float32, which rounds otherwise in a batch
        assert torch.allclose(changes, effects[:, 1, 4], atol=1e-5)
        assert changes.abs().max() > 1e-3

    def test_what_was_learned_is_stored(self):
        """A mean comes back from its state."""
        model, asked = tiny.shared("llama"), questions()
        edit = na.edit(na.NeuronSet.of([(1, 4)]), "set-to").fit(model, asked)
        (part,) = edit.parts
        again = part.intervention.with_options().with_state(part.intervention.state(), "post")
        values = torch.randn(2, 3, 1)
        args = (values, 1, torch.tensor([4]))
        assert torch.equal(part.intervention.edit(*args), again.edit(*args))

    def test_a_counterfactual_needs_its_question(self):
        """Where it is not known which question a forward holds, one line says what is accepted."""
        model, asked = tiny.shared("llama"), questions()
        edit = na.edit(na.NeuronSet.of([(1, 4)]), "set-to", options={"baseline": "counterfactual"})
        said = "set-to.baseline='counterfactual' acts on questions, at their last position; accepted"
        with pytest.raises(na.AntagonismError, match=said), model.edited(edit):
            model.last_logits([ids_of(asked[0])])
        with pytest.raises(na.AntagonismError, match=said):
            na.evaluate(model, asked, edit.at("all"))
        with pytest.raises(na.UsageError, match="depends on the question, and a run's edits act on plain text too"):
            na.run(model, ["ner"], ["ace"], weaken="set-to", options={"set-to": {"baseline": "counterfactual"}})


def odds(e: na.Evaluation) -> Tensor:
    log_p = e.log_probabilities.gather(1, e.answers[:, None])[:, 0]
    return log_p - torch.log1p(-log_p.exp())


class TestFaithfulness:
    SHARES = (0.02, 0.1, 0.5, 1.0)

    @pytest.mark.usefixtures("exact")
    @pytest.mark.parametrize("baseline", BASELINES)
    def test_kept_and_removed_equal_a_plain_loop(self, baseline):
        """F with the first neurons kept, and removed, of every engine."""
        model, module, asked = tiny.shared("llama"), tiny.hf("llama").requires_grad_(False), questions()
        scores = torch.randn(model.n_layers, model.n_neurons, generator=torch.Generator().manual_seed(1))
        order = scores.flatten().argsort(descending=True)
        instead = baselines(module, baseline, asked, "last")
        for engine in ("replay", "rows", "reference"):
            found = na.faithfulness(model, asked, scores, baseline=baseline, shares=self.SHARES, engine=engine)
            assert found.engine == engine
            for s, share in enumerate(self.SHARES):
                kept = torch.zeros(scores.numel(), dtype=torch.bool)
                kept[order[: max(1, int(share * scores.numel() + 0.5))]] = True
                for (i, (question, b)), keeps in product(enumerate(zip(asked, instead, strict=True)), (True, False)):
                    mask = (kept if keeps else ~kept).view_as(scores)
                    got = (found.kept if keeps else found.removed)[s, i]
                    assert got == pytest.approx(plain_kept(module, question, mask, b), abs=1e-9)

    def test_ends_and_areas(self):
        """f is exactly 1 with every neuron and 0 with none; CPR + CMD is at least the covered range."""
        model, asked = tiny.shared("llama", torch.float32), questions()
        many = na.faithfulness_many(
            model, asked, {n: na.attribute(model, asked, n, budget=5) for n in ("grad-x-act", "act")}
        )
        assert set(many) == {(n, r) for n in ("grad-x-act", "act") for r in ("signed", "absolute")}
        for found in many.values():
            if found.clean.mean() > found.empty.mean():
                assert found.f[-1] == 1.0
                assert found.cpr + found.cmd >= found.shares[-1] - found.shares[0] - 1e-12
            assert (found.removed[-1] == found.empty).all()
            assert (found.kept[-1] == found.clean).all()
        frame = many["act", "signed"].frame
        assert list(frame["share"]) == [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]

    def test_a_linear_model_has_a_closed_form(self):
        """Where F is linear in the values, f of the exact ablation's own order is the sum of the kept effects."""
        model = na.load_model(hf_model=linear(), tokenizer=tiny.tokenizer())
        asked = questions()
        truth = na.ablate(model, asked, "logit-difference").effects
        scores = truth.mean(0)
        found = na.faithfulness(model, asked, scores, target="logit-difference", shares=self.SHARES)
        ordered = scores.flatten().sort(descending=True).values
        total = float(ordered.sum())
        for share, f in zip(self.SHARES, found.f, strict=True):
            count = max(1, int(share * len(ordered) + 0.5))
            assert f == pytest.approx(float(ordered[:count].sum()) / total, abs=1e-5)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"scores": torch.zeros(2, 2)}, r"scores are \(2, 2\); accepted: an attribution of this model"),
            ({"ranking": "sign"}, "unknown ranking 'sign'; did you mean 'signed'"),
            ({"shares": (0.5, 0.1)}, "accepted: at least two, in increasing order"),
            ({"baseline": "median"}, "unknown baseline 'median'"),
            ({"site": "up"}, "the scores are those of site 'post', not of 'up'"),
        ],
    )
    def test_what_is_refused(self, options, said):
        """One line says what is accepted."""
        model, asked = tiny.shared("llama"), questions()
        given = {"scores": na.attribute(model, asked, "act", budget=5), **options}
        with pytest.raises(na.AntagonismError, match=said):
            na.faithfulness(model, asked, **given)


def plain_kept(module: Any, question: na.Question, mask: Tensor, b: Tensor) -> float:
    def write(values: Tensor, layer: int) -> Tensor:
        values = values.clone()
        values[0, -1] = values[0, -1].where(mask[layer], b[layer, 0])
        return values

    with writing(module, "post", write), torch.no_grad():
        return float(log_odds(module(torch.tensor([ids_of(question)])).logits[0, -1], question))


def linear() -> Any:
    """A model whose logits are linear in its neurons: one block, and a final norm that does nothing."""
    module = tiny.hf("llama", num_hidden_layers=1)
    assert len(blocks(module, 1)) == 1
    module.model.norm.forward = lambda values: values
    return module
