"""What a plan will cost, before it is carried out."""

from __future__ import annotations

import time
from typing import Any

import torch

from neuron_antagonism.method.evaluate import evaluate
from neuron_antagonism.method.sweeps import N_RATIOS
from neuron_antagonism.runs.plan import Plan


def estimate(plan: Plan) -> dict[str, Any]:
    """Counts of passes, and seconds extrapolated from a few timed forwards of the plan's own prompts."""
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
    at_all = 2 * sum(not scorer.draws for scorer in plan.scorers)
    full = reported * at_all + swept
    steps = 16 if isinstance(config.steps, str) else config.steps
    tokens = sum(len(model.encode(q).ids) for t in plan.tasks for e in t.split.identify for q in e.proxies)
    length = tokens / max(1, gradient)
    second_per_pass = _seconds_per_pass(plan)
    layer_steps = gradient * model.n_layers * (steps + 1)
    # a copy of the last token costs about a token's share of a full pass; a gradient about three forwards
    copy = second_per_pass / length * 4
    targets = len({scorer.target for scorer in plan.scorers if scorer.target is not None})
    if plan.engine.name == "reference":
        gradients = layer_steps * second_per_pass * (1 + 2 * targets)
        edited = swept * per_task * second_per_pass
    else:
        gradients = layer_steps * copy * (1 + 2 * targets)
        edited = swept * per_task * copy
    return {
        "gradient_questions": gradient,
        "gradient_passes": layer_steps,
        "neuron_sets": sets,
        "edits_per_task": per_task,
        "edited_answers": swept * per_task,
        "full_passes": full,
        "seconds": round(gradients + edited + full * second_per_pass, 1),
    }


def _seconds_per_pass(plan: Plan) -> float:
    examples = plan.tasks[0].split.identify
    questions = sum(len(example.proxies) for example in examples)
    evaluate(plan.model, examples)
    start = time.perf_counter()
    evaluate(plan.model, examples)
    if plan.model.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / questions
