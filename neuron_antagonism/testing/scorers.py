"""The conformance tests of a scorer."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from neuron_antagonism.errors import AntagonismWarning, UsageError
from neuron_antagonism.method.attribute import attribute
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.testing.models import demo_examples, demo_model, tiny_model, tiny_questions
from neuron_antagonism.testing.plugins import PluginTests

BUDGET = 10
TOP = 20


class ScorerTests(PluginTests):
    """Subclass it and set `plugin`.

    Class attributes:
        plugin: the scorer's class, or an instance.
        options: by name, for where the class needs some.
        planted: the least share of planted good neurons (and bad ones, where the scorer has a bad set) among its 20
            strongest on the demonstration model; chance is 0.01. Set it to 0 where the scorer is not meant to find any.
        tolerance: accepted difference between engines and batch sizes in float64, relative to the largest score.
    """

    kind = "scorer"
    planted = 0.1
    tolerance = 1e-5
    _known: ClassVar[dict[str, Attribution]] = {}

    def __init_subclass__(cls, **rest: Any) -> None:
        """What several of a class's tests look at is computed once."""
        super().__init_subclass__(**rest)
        cls._known = {}

    def scored(self, **settings: Any) -> Attribution:
        """Scores of the tiny model's questions."""
        settings = {"steps": 4, "budget": BUDGET, **settings}
        return attribute(tiny_model(), tiny_questions(), self.made(), **settings)

    def expected(self) -> Attribution:
        """The same by the reference engine; computed once for a class."""
        if "tiny" not in self._known:
            self._known["tiny"] = self.scored(engine="reference")
        return self._known["tiny"]

    def on_demo(self) -> Attribution:
        """Scores of the demonstration model's questions; computed once for a class."""
        if "demo" not in self._known:
            self._known["demo"] = attribute(demo_model(), demo_examples(), self.made(), budget=TOP)
        return self._known["demo"]

    def test_scores(self) -> None:
        """One finite float32 score for every neuron, an example score likewise, and not all of them alike."""
        a, model = self.scored(), tiny_model()
        assert a.scores.shape == (model.n_layers, model.n_neurons)
        assert a.scores.dtype == torch.float32
        assert bool(torch.isfinite(a.scores).all())
        assert a.example_scores.shape == (len(tiny_questions()), *a.scores.shape)
        assert a.scores.min() < a.scores.max(), "every neuron has the same score"
        assert a.scorer == self.made().name

    def test_the_sign(self) -> None:
        """Good neurons have positive scores, bad ones negative; strongest first; a missing role is refused."""
        a = self.on_demo()
        good = strongest(a, "good")
        assert bool((good.scores > 0).all())
        assert all(x >= y for x, y in pairwise(good.scores.tolist()))
        if "bad" in a.roles:
            bad = strongest(a, "bad")
            assert bool((bad.scores < 0).all())
            assert not len(good & bad)
        else:
            with pytest.raises(UsageError):
                a.bad(TOP)

    def test_the_same_again(self) -> None:
        """The same questions and seed give bitwise the same scores."""
        assert torch.equal(self.scored().scores, self.scored().scores)

    def test_the_seed(self) -> None:
        """Another seed gives other scores exactly where the scorer says that it draws."""
        if not self.made().draws:
            assert torch.equal(self.scored(seed=0).scores, self.scored(seed=1).scores)
        elif "seed" not in self.options:
            assert not torch.equal(self.scored(seed=0).scores, self.scored(seed=1).scores)

    def test_the_size_of_a_forward_does_not_matter(self) -> None:
        """A single copy a forward gives what many give."""
        self.close(self.scored(max_tokens=1), self.scored())

    @pytest.mark.parametrize("engine", ["replay", "rows", "reference"])
    def test_the_engine_does_not_matter(self, engine: str) -> None:
        """Every engine gives the same scores."""
        self.close(self.scored(engine=engine), self.expected())

    def test_the_units_of_the_target_do_not_matter(self) -> None:
        """Scores of twice everything rank neurons as before: nothing compares them with a fixed number."""
        made = self.made()
        if type(made).attribute is not Scorer.attribute:
            return
        a = self.scored()
        per_question = a.example_scores.double()
        once, twice = (made.aggregate(factor * per_question, factor * per_question) for factor in (1, 2))
        order = once.flatten().argsort(stable=True)
        assert torch.equal(order, twice.flatten().argsort(stable=True))

    def test_the_model_is_restored(self) -> None:
        """The logits afterwards are bitwise those of before, and so are the weights."""
        model = tiny_model()
        ids = [model.encode(q).ids for q in tiny_questions()]
        with torch.no_grad():
            before, state = model.last_logits(ids), model.fingerprint()
            self.scored()
            assert torch.equal(model.last_logits(ids), before)
        assert model.fingerprint() == state

    def test_scores_can_be_stored(self, tmp_path: Path) -> None:
        """Scores, options and extras come back from a file as they were."""
        a = self.scored()
        a.save(tmp_path)
        b = Attribution.load(tmp_path)
        assert torch.equal(a.scores, b.scores)
        assert dict(a.options) == dict(b.options)
        assert all(torch.equal(tensor, b.extras[name]) for name, tensor in a.extras.items())

    def test_the_target(self) -> None:
        """F keeps the leading dimensions, works row by row, has a gradient, changes nothing, equals its like."""
        target = self.made().target
        if target is None:
            return
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(2, 3, 30, generator=generator).requires_grad_()
        letters = torch.stack([torch.randperm(30, generator=generator)[:4] for _ in range(6)]).reshape(2, 3, 4)
        answer = torch.tensor([[0, 1, 2], [3, 0, 1]])
        kept = logits.detach().clone()
        f = target(logits, letters, answer)
        assert f.shape == (2, 3)
        assert f.dtype == torch.float32
        assert torch.equal(logits.detach(), kept), "the target changes its logits in place"
        for i, j in ((0, 0), (1, 2)):
            alone = target(logits[i, j][None], letters[i, j][None], answer[i, j][None])
            assert torch.allclose(alone[0], f[i, j], atol=1e-6), "F of a question depends on the others"
        (gradient,) = torch.autograd.grad(f.sum(), logits)
        assert bool(torch.isfinite(gradient).all())
        assert gradient.abs().max() > 0
        other = self.made().target
        assert other == target, "two of its targets differ: compute nothing random, keep no state"
        assert hash(other) == hash(target)

    def test_planted_neurons_are_found(self) -> None:
        """Among the 20 strongest on the demonstration model stand more planted neurons than `planted` asks for."""
        a, planted = self.on_demo(), demo_model().planted
        assert planted is not None
        for role in a.roles:
            found = len(strongest(a, role) & planted[role]) / TOP
            assert found >= self.planted, f"{found:.2f} of the {role} neurons are planted ones"

    def close(self, a: Attribution, b: Attribution) -> None:
        """Scores agree within the tolerance."""
        for name in ("scores", "example_scores"):
            x, y = getattr(a, name), getattr(b, name)
            assert float((x - y).abs().max()) <= self.tolerance * float(y.abs().max().clamp_min(1e-30)), name


def strongest(a: Attribution, role: str) -> NeuronSet:
    """The 20 strongest neurons of a role, or as many as there are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AntagonismWarning)
        return a.good(TOP) if role == "good" else a.bad(TOP)
