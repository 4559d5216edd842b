"""The conformance tests of an intervention."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuron_antagonism.errors import AntagonismError
from neuron_antagonism.method.edits import edit
from neuron_antagonism.method.evaluate import evaluate
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.testing.models import tiny_model, tiny_questions
from neuron_antagonism.testing.plugins import PluginTests
from neuron_antagonism.types import as_examples

NEURONS = [(0, 3), (1, 0), (1, 17), (1, 5), (2, 23)]
LAYER, INDICES = 1, (0, 5, 17)


class InterventionTests(PluginTests):
    """Subclass it and set `plugin`.

    Class attributes:
        plugin: the intervention's class, or an instance.
        options: by name, for where the class needs some.
        changes: whether it changes anything on random values; False for one that rarely acts.
    """

    kind = "intervention"
    changes = True

    def fitted(self) -> Any:
        """The intervention, fitted on the tiny model's questions where it needs fitting."""
        made = self.made()
        return made.fit(tiny_model(), as_examples(tiny_questions()), NeuronSet.of(NEURONS)) if made.needs_fit else made

    def values(self, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Values [batch, position, n] of the neurons of a layer, both signs."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(2, 3, len(INDICES), generator=generator, dtype=torch.float64).to(dtype)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    def test_values(self, dtype: torch.dtype) -> None:
        """New values have the old ones' shape and dtype, and are finite."""
        before = self.values(dtype)
        after = self.fitted().edit(before, LAYER, torch.tensor(INDICES))
        assert after.shape == before.shape
        assert after.dtype == before.dtype
        assert bool(torch.isfinite(after).all())

    def test_its_input_stays(self) -> None:
        """The values given are not changed in place."""
        before = self.values()
        kept = before.clone()
        self.fitted().edit(before, LAYER, torch.tensor(INDICES))
        assert torch.equal(before, kept)

    def test_each_position_by_itself(self) -> None:
        """A position's new values don't depend on other positions or on other rows."""
        made, before, neurons = self.fitted(), self.values(), torch.tensor(INDICES)
        after = made.edit(before, LAYER, neurons)
        for row in range(before.shape[0]):
            for position in range(before.shape[1]):
                alone = made.edit(before[row : row + 1, position : position + 1], LAYER, neurons)
                assert torch.allclose(alone[0, 0], after[row, position], atol=1e-12)

    def test_each_neuron_by_itself(self) -> None:
        """The neurons may come in any order and company; each keeps its own new value."""
        made, before = self.fitted(), self.values()
        after = made.edit(before, LAYER, torch.tensor(INDICES))
        order = [2, 0]
        some = made.edit(before[..., order], LAYER, torch.tensor([INDICES[i] for i in order]))
        assert torch.allclose(some, after[..., order], atol=1e-12)

    def test_the_scale_is_what_the_edit_does(self) -> None:
        """An intervention with `scale` multiplies by it: an export folds that factor into the weights."""
        made, before = self.fitted(), self.values()
        if made.scale is None:
            assert type(made).edit is not Intervention.edit
            return
        assert torch.allclose(made.edit(before, LAYER, torch.tensor(INDICES)), before * made.scale)

    def test_fitting(self) -> None:
        """`fit` returns a fitted copy, the same each time, and leaves the original unfitted; unfitted it is refused."""
        made = self.made()
        if not made.needs_fit:
            return
        first, second = self.fitted(), self.fitted()
        assert first.fitted
        assert not made.fitted
        neurons = torch.tensor(INDICES)
        assert torch.equal(first.edit(self.values(), LAYER, neurons), second.edit(self.values(), LAYER, neurons))
        with pytest.raises(AntagonismError, match="not fitted"):
            evaluate(tiny_model(), tiny_questions(), edit(NeuronSet.of(NEURONS), made))

    @pytest.mark.parametrize("positions", ["last", "all"])
    def test_in_a_model(self, positions: str) -> None:
        """It edits a model alike by every engine, changes the answers, and leaves the model as it was."""
        model, asked = tiny_model(), tiny_questions()
        made = edit(NeuronSet.of(NEURONS), self.fitted(), positions=positions)
        before = evaluate(model, asked).log_probabilities
        expected = evaluate(model, asked, made, engine="reference").log_probabilities
        for engine in ("replay", "rows"):
            got = evaluate(model, asked, made, engine=engine).log_probabilities
            assert torch.allclose(got, expected, atol=1e-5)
        if self.changes:
            assert (expected - before).abs().max() > 1e-6, "the edit changes no answer"
        assert torch.equal(evaluate(model, asked).log_probabilities, before)
