"""How many planted neurons each scorer finds, and how many exact ablation finds: what is reachable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from neuron_antagonism.method.attribute import attribute_each
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.neurons import FFN_SITES, NeuronSet
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.identity import identity
from neuron_antagonism.runs.plan import Plan, TaskPlan, content_hash
from neuron_antagonism.runs.store import RunDirectory, candidate_of
from neuron_antagonism.runs.sweep import Candidate
from neuron_antagonism.settings import Settings
from neuron_antagonism.types import Example

CEILING = "ablation"


def planted_precision(
    plan: Plan, task: TaskPlan, candidates: Sequence[Candidate], directory: RunDirectory | None, settings: Settings
) -> dict[str, dict[str, Any]] | None:
    """Precision of each scorer's neurons (of its first draw), the ceiling's last; None where no neuron is planted."""
    planted = _planted(plan)
    if planted is None:
        return None
    found = {one.scorer: _precision(one, planted) for one in candidates if one.draw == 0}
    return found | {CEILING: _ceiling(plan, task, planted, directory, settings)} if has_ceiling(plan) else found


def has_ceiling(plan: Plan) -> bool:
    """Whether exact ablation is to be measured: neurons are planted, and it is not among the scorers anyway."""
    return _planted(plan) is not None and all(scorer.name != CEILING for scorer in plan.scorers)


def ablated(plan: Plan, examples: Sequence[Example], settings: Settings) -> Attribution:
    """Exact ablation, by the fastest engine that holds: whichever it is, the effects are the same."""
    scorer = registry().make(Scorer, CEILING)
    return attribute_each(plan.model, examples, [scorer], replace(settings, engine="auto"))[0]


def _planted(plan: Plan) -> Mapping[str, NeuronSet] | None:
    # planted are FFN neurons
    return plan.model.planted if plan.config.site in FFN_SITES else None


def _ceiling(
    plan: Plan, task: TaskPlan, planted: Mapping[str, NeuronSet], directory: RunDirectory | None, settings: Settings
) -> dict[str, Any]:
    """What the scorer of exact ablation would have; kept in the run's directory once measured."""
    budget = plan.config.budget
    truth = {role: list(neurons) for role, neurons in planted.items()}
    key = content_hash([task.key, identity(registry().make(Scorer, CEILING)), settings.site, budget, truth])
    file = f"sweeps/{task.name}.ceiling.json"
    stored = directory.read_kept(file, key) if directory is not None else None
    if stored is None:
        candidate = candidate_of(ablated(plan, task.split.identify, settings), budget)
        stored = {"key": key, "found": {**_precision(candidate, planted), "kind": "ceiling"}}
        if directory is not None:
            directory.write_json(file, stored)
    found: dict[str, Any] = stored["found"]
    return found


def _precision(candidate: Candidate, planted: Mapping[str, NeuronSet]) -> dict[str, Any]:
    """Precision at the number planted: the share of a scorer's top neurons that were planted in that role."""

    def precision(neurons: NeuronSet | None, truth: NeuronSet) -> float | None:
        return None if neurons is None else len(neurons.top(len(truth)) & truth) / len(truth)

    return {
        "good": precision(candidate.good, planted["good"]),
        "bad": precision(candidate.bad, planted["bad"]),
        "k": len(planted["good"]),
    }
