"""Good and bad neurons edited as a whole, against edited only within the ranges where they help and hinder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np

from neuron_antagonism.errors import DataError
from neuron_antagonism.method.attribute import attribute
from neuron_antagonism.method.edits import MAKERS, Edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.method.perplexity import perplexity
from neuron_antagonism.metrics.compare import compare
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.progress import Progress, prefixed
from neuron_antagonism.suites.spec import Gating
from neuron_antagonism.tasks.load import LoadedTask
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.units.neurons import candidate_of

GATED = ("range-excite", "range")
"""What strengthens and what weakens only within ranges."""


@dataclass(frozen=True)
class _Case:
    """One edit: of whose neurons, in which direction, gated at which τ (None = whole neurons); or why there is none."""

    task: str
    scorer: str
    mode: str
    tau: float | None
    edit: Edit | None
    reason: str = ""


@dataclass(frozen=True)
class Gates:
    """Good and bad neurons of some tasks, and the edits to be compared, learned from the identification examples."""

    spec: Gating
    model: HookedModel
    splits: Mapping[str, Split]
    cases: tuple[_Case, ...]
    seed: int
    progress: Progress | None

    @classmethod
    def of(
        cls,
        spec: Gating,
        tasks: Sequence[LoadedTask],
        model: HookedModel,
        site: str,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Choose examples, attribute, and fit.

        Args:
            spec: what is measured.
            tasks: the tasks.
            model: the unedited model.
            site: where the neurons are.
            seed: of every draw.
            progress: called with what is being done, how much is done and how much there is.

        Raises:
            AntagonismError: data that can't be read, or a scorer that can't score.
        """
        splits = {}
        for task in tasks:
            told = prefixed(progress, f"{spec.name}: {task.name}, ")
            splits[task.name] = task.split(spec.identify, 0, spec.evaluate, seed=seed, reference=model, progress=told)
        cases = [case for name, split in splits.items() for case in _cases(spec, name, split, model, site, seed)]
        return cls(spec, model, splits, tuple(cases), seed, progress)


def gating(learned: Gates, text: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row for each task, scorer, direction and way of editing, at one budget and ratio, at all positions.

    A bad neuron's range is learned from wrongly answered identification questions, a good one's from rightly answered
    ones. Beside RAC and RCC with 95 % intervals stand the side effects: what the edit does to the accuracy on the
    other tasks (mean change, in points of 0 to 1), and to the perplexity of plain text (a ratio). Where no range can be
    learned, because no identification question was answered wrongly for instance, a row holds the reason alone.

    Args:
        learned: the edits.
        text: plain texts; () = the texts of all evaluation examples.
    """
    spec, model, splits, seed = learned.spec, learned.model, learned.splits, learned.seed
    texts = list(text) or [e.item.text for split in splits.values() for e in split.evaluate if e.item is not None]
    learnable = [case for case in learned.cases if case.edit is not None]
    edits = [None, *(case.edit for case in learnable)]
    answers = {
        name: evaluate_many(
            model, split.evaluate, edits, seed=seed, progress=prefixed(learned.progress, f"{spec.name}: {name}, ")
        )
        for name, split in splits.items()
    }
    plain = perplexity(model, texts)
    rows = []
    for case in learned.cases:
        about = {
            "task": case.task,
            "scorer": case.scorer,
            "mode": case.mode,
            "edit": "whole" if case.tau is None else "range",
            "tau": case.tau,
            "budget": spec.budget,
            "reason": case.reason,
        }
        if case.edit is None:
            rows.append(about)
            continue
        found, number = answers[case.task], 1 + learnable.index(case)
        change = compare(found[0], found[number], case.mode, seed=seed)
        others = [theirs[number].acc - theirs[0].acc for name, theirs in answers.items() if name != case.task]
        rows.append(
            about
            | {"good": case.edit.n_good, "bad": case.edit.n_bad}
            | {"accuracy_before": found[0].acc, "accuracy": found[number].acc}
            | _metrics(change.to_json())
            | {"other_tasks": float(np.mean(others)) if others else None}
            | {"perplexity_ratio": perplexity(model, texts, case.edit) / plain}
        )
    return rows


def _cases(spec: Gating, task: str, split: Split, model: HookedModel, site: str, seed: int) -> list[_Case]:
    cases = []
    for scorer in spec.scorers:
        a = attribute(model, split.identify, scorer, site=site, budget=spec.budget, seed=seed)
        chosen = candidate_of(a, spec.budget)
        good, bad = chosen.good, chosen.bad
        ratio = spec.ratio if bad is not None else 1.0
        for mode, maker in MAKERS.items():
            make = partial(maker, good, bad, budget=spec.budget, ratio=ratio, positions="all")
            cases.append(_Case(task, scorer, mode, None, make()))
            excite, silence = (registry().make(Intervention, name) for name in GATED)
            try:
                gated = make(strengthen=excite, weaken=silence).fit(model, split.identify)
            except DataError as error:
                cases += [_Case(task, scorer, mode, tau, None, str(error)) for tau in spec.taus]
                continue
            cases += [_Case(task, scorer, mode, tau, _of_width(gated, tau)) for tau in spec.taus]
    return cases


def _of_width(gated: Edit, tau: float) -> Edit:
    """The same ranges, narrower or wider: what was learned stays."""
    parts = (replace(part, intervention=part.intervention.with_options(tau=tau)) for part in gated.parts)
    return replace(gated, parts=tuple(parts))


def _metrics(change: Mapping[str, Any]) -> dict[str, Any]:
    return {name: change[name] for name in ("rac", "rac_interval", "rcc", "rcc_interval", "failed")}
