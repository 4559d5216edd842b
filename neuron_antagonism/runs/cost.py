"""What a plan will cost, before it is carried out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from neuron_antagonism.engine.memory import TokenLimit, bytes_per_token, free_bytes, weight_bytes
from neuron_antagonism.method.attribute import attribute_each, settled_steps
from neuron_antagonism.method.edits import edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.metrics.sweeps import N_RATIOS
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.runs.plan import Plan
from neuron_antagonism.runs.planted import ablated, has_ceiling
from neuron_antagonism.runs.side_effects import MOST_TEXTS
from neuron_antagonism.settings import Settings
from neuron_antagonism.types import as_examples

TIMED_EDITS = 96  # about what a forward takes of a sweep


def estimate(plan: Plan) -> dict[str, Any]:
    """Counts of passes, and seconds extrapolated from timing one question's share of each kind of pass."""
    config, model = plan.config, plan.model
    sets = 0
    per_task = 0
    for scorer in plan.scorers:
        draws = config.random_draws if scorer.draws else 1
        sets += draws
        per_task += draws * 2 * (N_RATIOS if "bad" in scorer.roles else 1)
    gradient = sum(len(e.proxies) for t in plan.tasks for e in t.split.identify)
    swept = sum(len(e.proxies) for t in plan.tasks for e in (*t.split.select, *t.split.evaluate))
    reported = sum(len(e.proxies) for t in plan.tasks for e in t.split.evaluate)
    at_all = 2 * len(plan.steady)
    # side effects: every chosen edit on every task's questions, and a pass over the plain text
    chosen = at_all * len(plan.tasks)
    answers = swept * per_task + reported * chosen
    full = reported * at_all + swept + chosen * MOST_TEXTS
    longest = max(
        len(model.encode(question).ids) for t in plan.tasks for e in t.split.identify for question in e.proxies
    )
    steps = 16 if isinstance(config.steps, str) else config.steps
    ablations = gradient if has_ceiling(plan) else 0
    seconds = gradient * _gradient(plan) + answers * _edited(plan) + full * _full(plan)
    if ablations:
        seconds += ablations * _ablated(plan)
    return {
        "gradient_questions": gradient,
        "gradient_passes": gradient * model.n_layers * (steps + 1),
        "ablated_questions": ablations,
        "neuron_sets": sets,
        "edits_per_task": per_task,
        "edited_answers": answers,
        "full_passes": full,
        "seconds": round(seconds, 1),
        **memory(model, longest, plan.engine.name, config.max_tokens),
    }


def memory(model: HookedModel, length: int, engine: str, max_tokens: int | None = None) -> dict[str, int]:
    """Bytes: of the weights, of the largest forward that is planned, of one with a single prompt, and what is free.

    Args:
        model: the model, loaded.
        length: tokens of the longest prompt.
        engine: the engine's name.
        max_tokens: the user's own limit.
    """
    planned = [
        TokenLimit(model, length, engine, grad=grad, given=max_tokens).tokens
        * bytes_per_token(model, length, engine, grad=grad)
        for grad in (True, False)
    ]
    return {
        "weight_bytes": weight_bytes(model),
        "forward_bytes": max(planned),
        "smallest_forward_bytes": length * bytes_per_token(model, length, engine, grad=False),
        "free_bytes": min(free_bytes(device) for device in model.devices),
    }


def _settings(plan: Plan) -> Settings:
    c = plan.config
    return Settings(c.steps, c.quadrature, c.engine, c.site, c.budget, max_tokens=c.max_tokens)


def _gradient(plan: Plan) -> float:
    """Seconds for the gradients of one question."""
    settings = _settings(plan)
    one = as_examples(plan.tasks[0].split.identify[0].proxies[:1])

    def work() -> None:
        steps = settled_steps(plan.model, [one], plan.scorers, settings)
        attribute_each(plan.model, one, plan.scorers, replace(settings, steps=steps))

    return _timed(plan, work)


def _ablated(plan: Plan) -> float:
    """Seconds for silencing every neuron alone in one question of an example."""
    one = plan.tasks[0].split.identify[:1]
    return _timed(plan, lambda: ablated(plan, one, _settings(plan))) / len(one[0].proxies)


def _edited(plan: Plan) -> float:
    """Seconds for one answer under one edit of the sweep."""
    neurons = NeuronSet.of([(layer, 0) for layer in range(plan.model.n_layers)])
    c = plan.config
    edits = [edit(neurons, "silence", positions=c.positions)] * TIMED_EDITS
    one = plan.tasks[0].split.identify[0].proxies[:1]
    once = _timed(plan, lambda: evaluate_many(plan.model, one, edits, engine=c.engine, max_tokens=c.max_tokens))
    return once / len(edits)


def _full(plan: Plan) -> float:
    """Seconds for one full pass in a batch."""
    examples = plan.tasks[0].split.identify
    questions = sum(len(example.proxies) for example in examples)
    return _timed(plan, lambda: evaluate_many(plan.model, examples, [None])) / questions


def _timed(plan: Plan, work: Callable[[], object]) -> float:
    work()  # the first time also allocates and proves the engine
    start = time.perf_counter()
    work()
    for device in plan.model.devices:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - start
