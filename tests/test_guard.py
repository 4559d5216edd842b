"""Plugins that are handed a model and spoil it are named, and what can be put right is."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism_plugins.silence import Silence

one_thread = tiny.one_thread


def questions() -> list[na.Question]:
    return [tiny.question(n, seed=n) for n in (9, 12)]


class Own(na.Scorer):
    """A scorer with passes of its own."""

    name = "own"
    roles = ("good",)

    class Options(na.Options):
        """No options."""

    def attribute(self, model, examples, settings):
        self.spoil(model)
        scores = torch.rand(model.n_layers, model.n_neurons)
        return na.Attribution(scores, scores[None].repeat(len(examples), 1, 1), scorer=self.name, roles=self.roles)

    def spoil(self, model: Any) -> None:
        """Nothing by default."""


class Hooking(Own):
    """Leaves an edit behind."""

    def spoil(self, model):
        model.bridge.add_hook("blocks.1.mlp.hook_post", lambda values, hook: values * 0)
        model.bridge.original_model.model.layers[0].register_forward_pre_hook(lambda module, args: None)


class Writing(Own):
    """Changes a weight."""

    def spoil(self, model):
        with torch.no_grad():
            model.bridge.original_model.model.layers[1].mlp.down_proj.weight.mul_(1.5)


def test_a_scorer_that_keeps_to_itself_is_left_alone():
    """A scorer that leaves the model as it was is no error."""
    assert na.attribute(tiny.load("llama"), questions(), Own(), budget=5).scorer == "own"


def test_hooks_that_were_left_are_named_and_removed():
    """A scorer that leaves hooks behind is named, and the model is itself again; the user's own hooks stay."""
    model = tiny.load("llama")
    ids = [model.encode(q).ids for q in questions()]
    seen = []
    mine = model.bridge.original_model.model.layers[2].register_forward_hook(lambda *_: seen.append(1))
    before = model.last_logits(ids)
    with pytest.raises(na.PluginError, match=r"scorer 'own' left \d+ hooks on the model, which have been removed; acc"):
        na.attribute(model, questions(), Hooking(), budget=5)
    seen.clear()
    assert torch.equal(model.last_logits(ids), before)
    assert seen
    mine.remove()
    assert na.attribute(model, questions(), "ace", steps=2, budget=5).scorer == "ace"


def test_a_changed_weight_is_named():
    """A scorer that changes a weight is named, with what helps."""
    with pytest.raises(na.PluginError, match="scorer 'own' changed the model and did not restore it: load the model"):
        na.attribute(tiny.load("llama"), questions(), Writing(), budget=5)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (torch.rand(3, 24), "returned Tensor from attribute"),
        (na.Attribution(torch.rand(3, 24), torch.rand(1, 3, 24)), r"example_scores of shape \(1, 3, 24\)"),
        (na.Attribution(torch.rand(3, 24), torch.full((2, 3, 24), float("nan"))), "accepted: finite ones"),
        (na.Attribution(torch.rand(3, 23), torch.rand(2, 3, 23)), r"of shape \(3, 23\)"),
        (na.Attribution(torch.ones(3, 24, dtype=torch.int64), torch.rand(2, 3, 24)), "torch.int64"),
    ],
)
def test_what_a_scorers_own_attribution_must_be(returned, said):
    """Its type, shapes, dtype and values are checked, in one line that names the scorer."""
    made = type("Returning", (Own,), {"attribute": lambda self, model, examples, settings: returned})()
    with pytest.raises(na.PluginError, match=said) as caught:
        na.attribute(tiny.load("llama"), questions(), made, budget=5)
    assert "scorer 'own'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_intervention_that_spoils_the_model_while_fitting(monkeypatch):
    """In a run, `fit` may use the model but must leave it as it was."""

    def fit(self, model, examples, neurons):
        with torch.no_grad():
            model.bridge.original_model.model.layers[0].mlp.down_proj.weight.mul_(1.5)
        fitted = self.with_options()
        fitted.fitted = True
        return fitted

    monkeypatch.setattr(Silence, "fit", fit)
    sizes = {"identify": 1, "select": 2, "evaluate": 2, "budget": 5, "steps": 2}
    with pytest.raises(na.RunError, match="intervention 'silence' changed the model and did not restore it"):
        na.run(tiny.load("llama", torch.float32), tasks=["sentiment"], scorers=["ace"], **sizes)
