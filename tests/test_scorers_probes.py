"""AUROC, CETT, LAPE and the weighted ACT against numpy on what plain hooks see, and what they refuse."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import classes
import numpy as np
import plain
import pytest
import tiny
import torch
from sklearn.linear_model import LogisticRegression

import neuron_antagonism as na
from neuron_antagonism.model import output
from neuron_antagonism.plugin.scorers import passes_of_its_own
from neuron_antagonism_plugins import cett
from neuron_antagonism_plugins.act import Act
from neuron_antagonism_plugins.auroc import Auroc
from neuron_antagonism_plugins.cett import Cett
from neuron_antagonism_plugins.lape import Lape, _specificity

one_thread = tiny.one_thread

ARCHITECTURES = ("gpt2", "llama", "opt")
"""A Conv1D without a gate, a gate, and ReLU, whose many zeros are ties."""

Seen = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module", autouse=True)
def _exact() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny.exact_softmax(monkeypatch)
        yield


@cache
def module(name: str) -> Any:
    return tiny.hf(name)


@cache
def asked(name: str) -> list[na.LabelQuestion]:
    return classes.questions(module(name))


@cache
def seen(name: str, site: str = "post") -> Seen:
    return classes.seen(module(name), asked(name), site)


@cache
def outputs(name: str) -> tuple[np.ndarray, np.ndarray]:
    """‖W_out‖ [layer, neuron] and ‖FFN output‖ at the last positions [question, layer, 1]."""
    blocks, words = plain.blocks(module(name)), tiny.tokenizer()
    parts = {str(i): plain.output(block) for i, block in enumerate(blocks)}
    norms = []
    for question in asked(name):
        with plain.taken(module(name), parts) as found:
            plain.logits(module(name), words(question.prompt)["input_ids"])
        norms.append([[float(found[key][1].reshape(-1, 16)[-1].norm())] for key in parts])
    weights = np.stack([np.linalg.norm(plain.output_weights(block).numpy(), axis=1) for block in blocks])
    return weights, np.array(norms)


def scored(name: str, scorer: na.Scorer, examples: Any = None, **settings: Any) -> na.Attribution:
    return na.attribute(tiny.shared(name), examples or asked(name), scorer, budget=5, **settings)


def as_examples(name: str, n: int = 4) -> list[na.Example]:
    questions = asked(name)
    return [na.Example(None, tuple(questions[i : i + n])) for i in range(0, len(questions), n)]


def close(ours: torch.Tensor, theirs: np.ndarray, atol: float = 1e-6) -> bool:
    return np.allclose(ours.double().numpy(), theirs, rtol=0, atol=atol * max(1.0, float(np.abs(theirs).max())))


class TestAuroc:
    @pytest.mark.parametrize(
        ("name", "site"), [*((name, "post") for name in ARCHITECTURES), ("llama", "up"), ("llama", "resid_post")]
    )
    def test_it_is_the_mean_over_all_pairs(self, name, site):
        """The share of pairs of a right and a wrong answer in which the right one's value is larger, ties half."""
        values, right, _ = seen(name, site)
        ours, theirs = values[right][:, None], values[~right][None]
        larger = ((ours > theirs) + 0.5 * (ours == theirs)).mean((0, 1))
        if name == "opt":
            assert (ours == theirs).any()
        got = scored(name, Auroc(), site=site, max_tokens=40)
        assert close(got.scores, larger - 0.5)
        assert got.site == site
        assert got.roles == ("good", "bad")

    def test_example_scores_are_shares(self):
        """They sum to the score; of a single pair each question has half."""
        got = scored("gpt2", Auroc(), as_examples("gpt2"))
        assert got.example_scores.shape[0] == 9
        assert torch.allclose(got.example_scores.sum(0), got.scores, atol=1e-6)
        values, right, _ = seen("gpt2")
        pair = [asked("gpt2")[int(np.flatnonzero(which)[0])] for which in (right, ~right)]
        one = scored("gpt2", Auroc(), pair)
        difference = np.sign(values[right][0] - values[~right][0])
        assert close(one.scores, difference / 2)
        assert close(one.example_scores[0], difference / 4)

    @pytest.mark.parametrize("scorer", [Auroc(), Cett()])
    @pytest.mark.parametrize("rightly", [True, False])
    def test_one_kind_of_answer_is_refused(self, scorer, rightly):
        """Where the model answers everything rightly, or wrongly, there is nothing to compare."""
        _, right, _ = seen("llama")
        some = [question for question, r in zip(asked("llama"), right, strict=True) if r == rightly]
        said = (
            f"answers all of the {len(some)} questions {'right' if rightly else 'wrong'}ly; accepted: examples of which"
        )
        with pytest.raises(na.DataError, match=said) as caught:
            scored("llama", scorer, some)
        assert "\n" not in str(caught.value)


class TestCett:
    @pytest.mark.parametrize("name", ARCHITECTURES)
    @pytest.mark.parametrize("c", [10.0, 1000.0])
    def test_it_is_the_probe_of_the_authors(self, name, c):
        """scikit-learn's coefficients on |a| ‖W‖ / (‖output‖ + 1e-8), as by the authors' code, the classes turned."""
        values, right, _ = seen(name)
        weights, norms = outputs(name)
        shares = np.abs(values) * weights / (norms + 1e-8)
        with_l1 = {"l1_ratio": 1.0} if "penalty" not in cett._penalty() else {"penalty": "l1"}
        probe = LogisticRegression(
            C=c, solver="liblinear", tol=1e-6, max_iter=10_000, random_state=42, fit_intercept=True, **with_l1
        )
        expected = probe.fit(shares.reshape(len(shares), -1), right).coef_.reshape(values.shape[1:])
        got = scored(name, Cett(C=c), as_examples(name))
        assert 0 < (expected != 0).sum() < expected.size / 2
        assert close(got.scores, expected, 1e-4)
        assert close(got.extras["mean"], shares.mean(0))
        assert close(got.example_scores, (expected * shares).reshape(9, 4, *expected.shape).sum(1), 1e-4)

    def test_a_larger_share_where_the_model_is_right_is_good(self):
        """The strongest good neuron's share is larger in right answers, the strongest bad one's in wrong ones."""
        values, right, _ = seen("llama")
        weights, norms = outputs("llama")
        shares = np.abs(values) * weights / norms
        got = scored("llama", Cett(C=10.0))
        for neurons, sign in ((got.good(1), 1), (got.bad(1), -1)):
            ((layer, neuron),) = neurons
            assert sign * (shares[right][:, layer, neuron].mean() - shares[~right][:, layer, neuron].mean()) > 0

    def test_a_strong_penalty_leaves_no_neuron(self):
        """That is what an L1 probe finds then: zeros, and no error."""
        assert not scored("llama", Cett(C=1e-6)).scores.any()

    def test_without_scikit_learn(self, monkeypatch):
        """One line says what to install, before anything is computed."""
        monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
        with pytest.raises(na.UsageError, match=r"needs scikit-learn.*; accepted: pip install .*\[probes\]"):
            scored("llama", Cett())

    def test_a_probe_that_does_not_converge_is_refused(self, monkeypatch):
        """Coefficients on their way are no scores."""
        monkeypatch.setattr(cett, "ROUNDS", 1)
        with pytest.raises(na.DataError, match="has not converged after 1 rounds; accepted: a smaller C"):
            scored("llama", Cett(C=1000.0))

    @pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "much"])
    def test_impossible_penalties(self, value):
        """One line names the option."""
        with pytest.raises(na.UsageError, match=r"option cett\.C=.*accepted: inverse strength"):
            Cett(C=value)


def fires(name: str) -> list[np.ndarray]:
    """By question, where the activation function of each neuron is above 0 [token, layer, neuron]."""
    words, found = tiny.tokenizer(), []
    names = ("act_fn", "act", "activation_fn")
    ffns = [getattr(block, "mlp", block) for block in plain.blocks(module(name))]
    parts = {str(i): next(getattr(ffn, key) for key in names if hasattr(ffn, key)) for i, ffn in enumerate(ffns)}
    for question in asked(name):
        with plain.taken(module(name), parts) as seen_there:
            plain.logits(module(name), words(question.prompt)["input_ids"])
        acts = [seen_there[key][1] for key in parts]
        found.append(np.stack([(act.reshape(-1, act.shape[-1]) > 0).numpy() for act in acts], axis=1))
    return found


class TestLape:
    @pytest.mark.parametrize("name", [*ARCHITECTURES, "phi3"])
    @pytest.mark.parametrize("positions", ["last", "all"])
    def test_it_is_the_entropy_of_the_shares(self, name, positions):
        """By numpy, from what the plain module's activation functions give: shares by class, percentile, entropy."""
        fired = [rows if positions == "all" else rows[-1:] for rows in fires(name)]
        concepts = seen(name)[2]
        names = sorted(set(concepts))
        shares = np.stack(
            [np.concatenate([f for f, c in zip(fired, concepts, strict=True) if c == k]).mean(0) for k in names]
        )
        bar = np.sort(shares, axis=None)[round(0.95 * shares.size) - 1]
        kept = (shares > bar).any(0) if (shares > bar).any() else (shares == bar).any(0)
        total = shares.sum(0)
        p = shares / np.where(total > 0, total, 1)
        entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(0)
        got = scored(name, Lape(positions=positions), as_examples(name))
        assert close(got.scores, np.where(kept, np.log(len(names)) - entropy, 0))
        assert got.scores.max() > 0
        assert (got.scores == 0).any()
        for k, share in zip(names, shares, strict=True):
            assert close(got.extras[f"share.{k}"], share)
        per_example = [np.concatenate(fired[i : i + 4]).mean(0) for i in range(0, 36, 4)]
        assert close(got.example_scores, np.stack(per_example))

    def test_the_percentile(self):
        """Above it where anything is; where it is the largest share itself, at it; never where nothing fires."""
        shares = torch.zeros(2, 1, 40).double()
        assert not _specificity(shares).any()
        shares[0, 0, :3] = torch.tensor([1.0, 0.9, 0.5]).double()
        assert _specificity(shares).nonzero().tolist() == [[0, 0], [0, 1], [0, 2]]
        shares[:, 0, :10] = 1
        shares[1, 0, 4] = 0.5
        got = _specificity(shares)
        p = np.array([2 / 3, 1 / 3])
        assert got.nonzero().tolist() == [[0, 4]]
        assert float(got[0, 4]) == pytest.approx(np.log(2) + (p * np.log(p)).sum())

    def test_it_has_no_bad_set_and_is_of_either_site(self):
        """Values at `up` are the same neurons'; low entropy says nothing of harm."""
        post, up = (scored("llama", Lape(), site=site) for site in ("post", "up"))
        assert torch.equal(post.scores, up.scores)
        assert (post.site, up.site) == ("post", "up")
        with pytest.raises(na.UsageError, match="bad"):
            post.bad(1)

    @pytest.mark.parametrize(
        ("change", "error", "said"),
        [
            ({"site": "resid_post"}, na.UsageError, "scorer 'lape' at site 'resid_post'; accepted: 'post' or 'up'"),
            ({"examples": [0]}, na.DataError, "the 1 examples are 1 different texts; accepted: 2 to 100"),
        ],
    )
    def test_what_it_can_not_score_is_refused(self, change, error, said):
        """Other units, and questions of one class."""
        if "examples" in change:
            change = {"examples": asked("llama")[:1]}
        with pytest.raises(error, match=said):
            scored("llama", Lape(), **change)

    def test_a_gate_that_can_not_be_read_is_refused(self, monkeypatch):
        """An FFN that has a gate, where values would be read in place of it."""
        model = tiny.load("llama")
        monkeypatch.setattr(model, "has_site", lambda name: name == "post")
        monkeypatch.setattr(model.bridge.cfg, "gated_mlp", True)
        with pytest.raises(na.UsageError, match="has a gate in its FFN that can't be read apart"):
            Lape().check(model, as_examples("llama"), "post")

    def test_an_edited_model_is_refused(self):
        """Scores are those of the unedited model."""
        model = tiny.shared("llama")
        with model.edited(na.edit(na.NeuronSet.of([(0, 1)]), "silence")), pytest.raises(na.UsageError, match="edited"):
            scored("llama", Lape())


class TestAct:
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_the_weight_is_the_output_norm(self, name):
        """Mean |value| times ‖W_out‖, and sums over an example's questions."""
        values, _, _ = seen(name)
        sizes = np.abs(values) * outputs(name)[0]
        got = scored(name, Act(weight="output-norm"), as_examples(name))
        assert close(got.scores, sizes.mean(0))
        assert close(got.example_scores, sizes.reshape(9, 4, *sizes.shape[1:]).sum(1))
        assert got.options["weight"] == "output-norm"

    def test_without_a_weight_it_is_the_mean(self):
        """As before, from forwards that it shares with others."""
        assert not passes_of_its_own(Act())
        assert passes_of_its_own(Act(weight="output-norm"))
        got = na.attribute_many(tiny.shared("llama"), asked("llama")[:4], [Act(), "random"], budget=5)["act"]
        assert close(got.scores, seen("llama")[0][:4].mean(0))
        assert got.engine

    def test_other_sites_have_no_output(self):
        """The norm is that of an FFN neuron's output weights."""
        with pytest.raises(na.UsageError, match=r"act\.weight='output-norm' at site 'up'; accepted: weight='none'"):
            scored("llama", Act(weight="output-norm"), site="up")
        with pytest.raises(na.UsageError, match="scorer 'cett' at site 'resid_post'; accepted: 'post'"):
            scored("llama", Cett(), site="resid_post")


class Other(torch.nn.Linear):
    """A Linear that may hold its weight in a form of its own, as quantized ones do."""


@pytest.mark.parametrize("name", [*ARCHITECTURES, "gpt_neox", "bloom", "mpt"])
def test_output_weights_are_the_plain_modules(name, monkeypatch):
    """By the weight, and by what a module of another kind writes for each neuron alone, a few at a time."""
    plain_module = tiny.hf(name)
    model = na.load_model(hf_model=plain_module, tokenizer=tiny.tokenizer())
    for layer in range(3):
        read = model.output_weights(layer)
        inner = output.taking(model.bridge, model.site("post").format(layer))
        weight = inner.weight.detach()
        assert torch.equal(read, weight if type(inner).__name__ == "Conv1D" else weight.T)
        values = torch.randn(2, 3, model.n_neurons, generator=torch.Generator().manual_seed(layer)).double()
        with torch.no_grad():
            assert torch.equal(model.ffn_output(layer, values), inner(values.reshape(6, -1)).reshape(2, 3, -1))
        if isinstance(inner, torch.nn.Linear):
            monkeypatch.setattr(output, "ROWS", 5)
            inner.__class__ = Other
            assert torch.allclose(model.output_weights(layer), read, rtol=0, atol=1e-14)


def counted(model: na.HookedModel, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many rows went through forwards since the last time."""
    real, rows = model.forward, 0

    def forward(ids: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        nonlocal rows
        rows += len(ids)
        assert not torch.is_grad_enabled()
        return real(ids, **kwargs)

    def since() -> int:
        nonlocal rows
        before, rows = rows, 0
        return before

    monkeypatch.setattr(model, "forward", forward)
    return since


def test_they_cost_a_forward_a_question(monkeypatch):
    """No gradient, and each question once, beside what finding the engine costs, which is the same for all."""
    model = tiny.load("llama")
    examples = as_examples("llama")
    settings = na.Settings(budget=5)
    scorers = (Auroc(), Cett(), Act(weight="output-norm"), Lape(), Lape(positions="all"))
    for scorer in scorers:
        scorer.attribute(model, examples, settings)
    since = counted(model, monkeypatch)
    rows = []
    for scorer in scorers:
        scorer.attribute(model, examples, settings)
        rows.append(since())
    assert rows == [36] * len(scorers)
