"""Linear estimates of what taking a neuron out does: its distance from a baseline times a gradient.

Activation × gradient and attribution patching (Nanda 2023; AtP*, Kramár et al. 2024, arXiv 2403.00745), and
integrated gradients over the inputs (EAP-IG, Hanna et al. 2024, arXiv 2403.17806).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.engine.base import Asked, asked_of, by_options, in_order, rows_of
from neuron_antagonism.engine.choose import choose
from neuron_antagonism.engine.point import point_gradients
from neuron_antagonism.engine.whole import position_means, whole_effects
from neuron_antagonism.errors import DataError, UsageError, unknown
from neuron_antagonism.method.baselines import baseline_values, checked_baseline, counterfactuals
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.model.turn import without_autocast
from neuron_antagonism.plugin.base import Target
from neuron_antagonism.plugin.manager import as_target
from neuron_antagonism.types import Example, Question, as_examples, whole

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.engine.choose import Choice
    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.progress import Progress

POSITIONS = ("last", "all")
MOST_INPUT_STEPS = 256


@dataclass(frozen=True, eq=False)
class LinearEffects:
    """Linear estimates of each neuron's effect on F.

    Attributes:
        effects: (a − b) · ∂F/∂a, summed over positions where all count, in the units of F, on the CPU, float32 or
            wider; positive: the neuron helps. Questions stand in the examples' order.
        target: the name of F.
        engine, engine_reason: how it was computed, and why so.
    """

    effects: Float[Tensor, "question layer neuron"]
    target: str
    engine: str
    engine_reason: str


@without_autocast()
def linear_effects(
    model: HookedModel,
    examples: Sequence[Example | Question],
    target: str | Target = "log-odds",
    *,
    baseline: str = "zero",
    positions: str = "last",
    input_steps: int = 1,
    engine: str = "auto",
    site: str = "post",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> LinearEffects:
    """Estimate what taking out each neuron of every layer does, by a single gradient or a few.

    With one input step at `last` this costs a forward and a backward of one token after each question's prefix; at
    `all`, whole forwards and backwards; with K input steps K of them.

    Args:
        model: the model; restored afterwards.
        examples: examples or plain questions.
        target: F, or a name (see `target_of`).
        baseline: b, what a neuron is taken to: "zero", "mean" (over the questions; where all positions count, over all
            of theirs) or "counterfactual" (its value on the question's counterfactual: attribution patching).
        positions: where neurons are: "last", or "all": the sum over every position.
        input_steps: 1 = the gradient at the question; K = its mean at K points from the counterfactual's embeddings to
            the question's, the question's among them.
        engine, site, max_tokens, progress: see `Settings`. Whole forwards are needed for all positions and for input
            steps; then `engine` is "auto" or "reference".

    Raises:
        UsageError: an argument that is not accepted.
        DataError: a question without a counterfactual, where one is needed, or whose counterfactual has another number
            of tokens, where positions must match.
    """
    check_model(model)
    f = as_target(target)
    model.site(site)
    steps = _checked(baseline, positions, input_steps)
    asked = as_examples(examples)
    questions = [question for example in asked for question in example.proxies]
    own = asked_of(model, questions)
    by_whole = positions == "all" or steps > 1
    if by_whole and engine not in ("auto", "reference"):
        raise UsageError(f"engine {engine!r} has no gradients at other positions or inputs; accepted: 'auto'")
    choice = choose(model, [q.encoded.ids for q in own], "reference" if by_whole else engine)
    others = None
    if steps > 1 or (positions == "all" and baseline == "counterfactual"):
        others = _alike(own, asked_of(model, counterfactuals(questions)), questions)
    at: Tensor | None = None
    if positions == "all" and baseline == "mean":
        at = position_means(model, own, site=site, max_tokens=max_tokens)
    elif positions == "last" or baseline == "zero":
        at = baseline_values(model, asked, baseline, site=site, max_tokens=max_tokens)
    parts = []
    groups = by_options(own)
    for group in groups:
        here = [own[i] for i in group]
        row = None if at is None else rows_of(at, group)
        with torch.inference_mode(False):
            if by_whole:
                there = None if others is None else [others[i] for i in group]
                found = whole_effects(
                    model,
                    here,
                    f,
                    others=there,
                    baseline=row,
                    positions=positions,
                    input_steps=steps,
                    site=site,
                    max_tokens=max_tokens,
                    progress=progress,
                )
            else:
                assert row is not None
                found = _at_point(model, here, f, choice, row, site, max_tokens, progress)
        parts.append(found)
    reason = "whole forwards are needed here" if by_whole else choice.reason
    return LinearEffects(in_order(parts, groups), f.name or type(f).__name__, choice.name, reason)


def _at_point(
    model: HookedModel,
    questions: Sequence[Asked],
    target: Target,
    choice: Choice,
    baseline: Tensor,
    site: str,
    max_tokens: int | None,
    progress: Progress | None,
) -> Tensor:
    point = point_gradients(model, questions, target, choice, site=site, max_tokens=max_tokens, progress=progress)
    return (point.values - baseline.to(point.values)) * point.gradients


def _checked(baseline: str, positions: str, input_steps: object) -> int:
    checked_baseline(baseline)
    if positions not in POSITIONS:
        raise UsageError(unknown("positions", positions, POSITIONS))
    steps = whole(input_steps)
    if steps is None or not 1 <= steps <= MOST_INPUT_STEPS:
        raise UsageError(f"input_steps is {input_steps!r}; accepted: a whole number from 1 to {MOST_INPUT_STEPS}")
    return steps


def _alike(own: Sequence[Asked], others: Sequence[Asked], questions: Sequence[Question]) -> list[Asked]:
    """The others, each of as many tokens as its question."""
    for one, other, question in zip(own, others, questions, strict=True):
        if len(one.encoded.ids) != len(other.encoded.ids):
            raise DataError(
                f"the question {question.prompt[-60:]!r} has {len(one.encoded.ids)} tokens and its counterfactual "
                f"{len(other.encoded.ids)}; accepted: equally many where positions are compared"
            )
    return list(others)
