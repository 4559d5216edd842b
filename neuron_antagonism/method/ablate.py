"""Exact ablation: what taking out each single neuron does (the causal ground truth of every scorer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_antagonism.engine.base import asked_of, by_options, in_order, rows_of
from neuron_antagonism.engine.choose import choose
from neuron_antagonism.method.baselines import baseline_values, checked_baseline
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.model.turn import without_autocast
from neuron_antagonism.plugin.base import Target
from neuron_antagonism.plugin.manager import as_target
from neuron_antagonism.progress import Progress
from neuron_antagonism.types import Example, Question, as_examples

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel


@dataclass(frozen=True, eq=False)
class Ablation:
    """The effect on F of each single neuron.

    Attributes:
        effects: F(w) − F(w with this neuron at its baseline at the last position), in the units of F, on the CPU,
            float32 or wider; positive: the neuron helps. Questions stand in the examples' order.
        target: the name of F.
        engine, engine_reason: how it was computed, and why so.
    """

    effects: Float[Tensor, "question layer neuron"]
    target: str
    engine: str
    engine_reason: str


@without_autocast()
def ablate(
    model: HookedModel,
    examples: Sequence[Example | Question],
    target: str | Target = "ace",
    *,
    baseline: str = "zero",
    mean_of: Sequence[Example | Question] | None = None,
    engine: str = "auto",
    site: str = "post",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Ablation:
    """Set every neuron of every layer to its baseline, one at a time, and measure the change of F.

    Args:
        model: the model; restored afterwards.
        examples: examples or plain questions.
        target: F, or a name (see `target_of`).
        baseline: what a neuron is set to at the last position: "zero" (silenced), "mean" (over the questions) or
            "counterfactual" (its value on the question's counterfactual).
        mean_of: other examples that the mean is over; None = these.
        engine, site, max_tokens, progress: see `Settings`.

    Raises:
        AntagonismError: one line that names what was wrong and what is accepted.
    """
    check_model(model)
    asked = as_examples(examples)
    f = as_target(target)
    model.site(site)
    flat = [q for example in asked for q in example.proxies]
    questions = asked_of(model, flat)
    choice = choose(model, [q.encoded.ids for q in questions], engine)
    groups = by_options(questions)
    computing = choice.engine(max_tokens)
    at = None
    if checked_baseline(baseline) != "zero":
        at = baseline_values(model, asked, baseline, mean_of=mean_of, site=site, max_tokens=max_tokens)
    parts = [
        computing.ablation_effects(
            model,
            [questions[i] for i in group],
            f,
            site,
            None if at is None else rows_of(at, group),
            progress,
        )
        for group in groups
    ]
    return Ablation(in_order(parts, groups), f.name or type(f).__name__, choice.name, choice.reason)
