"""results.json: the counts of every edit and every figure derived from them, by one code path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.side_effects import changes
from neuron_antagonism.metrics.bootstrap import Resamples
from neuron_antagonism.metrics.differences import corrected, differences, net_effects
from neuron_antagonism.metrics.effects import effect
from neuron_antagonism.metrics.outcomes import MODES, Outcomes
from neuron_antagonism.metrics.protocols import PROTOCOLS, SHOWN, Cell, averages, cells
from neuron_antagonism.metrics.sweeps import GOOD_ONLY, Sweep, Swept
from neuron_antagonism.neurons import FFN_SITES, NeuronSet
from neuron_antagonism.parts.effects import CEILING, Effects, OfScorer
from neuron_antagonism.parts.natural import natural_levels
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.units.answers import Asked, sweep_of
from neuron_antagonism.units.examples import Prepared
from neuron_antagonism.units.neurons import Candidate, candidate_of
from neuron_antagonism.units.scores import read


@dataclass(frozen=True)
class Collected:
    """Everything that a run has of one task.

    Args:
        job: the task's.
        prepared: its examples.
        attributions: by scorer; of a scorer that draws, its first draw's.
        scorers: the units of each scorer.
        unedited: answers without an edit, by set.
    """

    part: Effects
    job: Job
    group: tuple[Job, ...]
    shelf: Shelf
    prepared: Prepared
    attributions: Mapping[str, Attribution]
    scorers: tuple[OfScorer, ...]
    unedited: Mapping[str, Payload]

    @property
    def split(self) -> Split:
        """The examples."""
        return self.prepared.split

    @property
    def first(self) -> dict[str, Candidate]:
        """The neurons of each scorer, of one that draws those of its first draw."""
        return {one.scorer.name: one.candidates[0] for one in self.scorers}

    def payload(self, unit: Unit | None) -> Payload:
        """What a unit holds that must be there by now."""
        found = None if unit is None else self.shelf.get(unit)
        assert found is not None, unit
        return found

    def asked(self, unit: Unit | None, name: str = "evaluate") -> Asked:
        """Answers under a unit's edits, beside those without."""
        return Asked(self.unedited[name], self.payload(unit))

    def sweeps(self) -> list[Sweep]:
        """Every scorer's draws."""
        found = []
        for one in self.scorers:
            evaluate = self.asked(one.evaluate)
            select = None if one.select is None else self.asked(one.select, "select")
            name, task = one.scorer.name, self.job.name
            found += [sweep_of(name, candidate.draw, task, evaluate, select) for candidate in one.candidates]
        return found


def collected(part: Effects, job: Job, group: tuple[Job, ...], shelf: Shelf) -> Collected:
    """What the shelf has of a task whose own units are all there."""
    prepared = part.sizes.of(job, shelf)
    acting = part.acting(group, shelf)
    assert prepared is not None
    assert acting is not None

    def payload(unit: Unit | None) -> Payload:
        found = None if unit is None else shelf.get(unit)
        assert found is not None, unit
        return found

    scored = part.scored(job, shelf)
    attributions = {one.name: read(payload(acting.choosing.scores(job, shelf, one))) for one in scored}
    scorers = tuple(part.of_scorer(job, group, shelf, scorer) for scorer in part.scorers)
    unedited = {name: payload(part.asking(name).unit(job, shelf)) for name in ("select", "evaluate")}
    return Collected(part, job, group, shelf, prepared, attributions, scorers, unedited)


def task_results(found: Collected, sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """Everything that results.json says about one task, as plain JSON values.

    Differences are not yet corrected, and what the edits do elsewhere is not among it.

    Args:
        found: what there is of the task.
        sweeps: its sweeps.
    """
    config, split, seed = found.part.config, found.split, found.job.seed
    base = sweeps[0].evaluation.baseline
    resamples = base.resamples(seed)
    method = method_of(sweeps)
    asked = [p for p in PROTOCOLS if p in config.protocols]
    protocols = [p for p in asked if p != "paper" or all(_has_good_only(sweep) for sweep in sweeps)]
    read_for = split.natural.counts
    own = {one.scorer.name: found.attributions[one.scorer.name] for one in found.scorers}
    unedited = found.unedited["evaluate"].meta
    before = {"acc": base.acc, "com": base.com, "examples": base.n_examples, "questions": base.n_proxies}
    return {
        "before": before | {"letter_mass": unedited["letter_mass"], "ties": unedited["ties"][0]},
        "natural": natural_levels(split, base, resamples, seed),
        "split": asdict(split.report),
        "attribution": {name: _attribution(a, found.first[name]) for name, a in own.items()},
        "layers": {name: _layers(found.first[name], found.prepared.model["layers"]) for name in own},
        "planted": _planted(found),
        "cells": {
            protocol: [
                one.to_json() for one in cells(sweeps, protocol, method=method, resamples=resamples, read=read_for)
            ]
            for protocol in protocols
        },
        "net": [one.to_json() for one in net_effects(sweeps, SHOWN, resamples=resamples)],
        "at_all": _at_all(found, base, resamples),
        "sweep": [row for sweep in sweeps for row in _counts(sweep)],
    }


def side_effects(found: Collected) -> dict[str, Any]:
    """What the chosen edits of a task do besides their purpose: `text`, and a row for each scorer and mode."""
    examples, rows, text = found.split.evaluate, [], ""
    others = [job for job in found.group if job != found.job]
    acting = found.part.acting(found.group, found.shelf)
    assert acting is not None
    for one in (one for one in found.scorers if not one.scorer.draws):
        asked, plain = found.asked(one.evaluate), found.payload(one.text).meta
        text = plain["text"]
        elsewhere = {}
        for job in others:
            before = found.payload(found.part.asking("evaluate").unit(job, found.shelf))
            elsewhere[job.name] = Asked(before, found.payload(found.part.elsewhere(job, found.shelf, one, acting)))
        for where, effects in zip(one.where, plain["effects"], strict=True):
            points = {}
            for name, there in elsewhere.items():
                old, new = there.baseline, there.outcomes(where)
                points[name] = 100.0 * (new.n_right - old.n_right) / old.n_proxies
            rows.append(
                {"scorer": one.scorer.name, "mode": where[1], "ties": asked.ties(where)}
                | changes(examples, asked.chosen(None).tolist(), asked.chosen(where).tolist())
                | effects
                | {"other_tasks": points}
            )
    return {"text": text, "rows": rows}


def _at_all(found: Collected, base: Outcomes, resamples: Resamples) -> list[dict[str, Any]]:
    """Effects of the chosen edits at all positions, which is what an export does; of scorers that don't draw."""
    rows = []
    for one in (one for one in found.scorers if not one.scorer.draws):
        asked = found.asked(one.everywhere)
        for where in one.where:
            done = effect(base, asked.outcomes(where), where[1], resamples, found.split.natural.counts)
            rows.append({"scorer": one.scorer.name, "ties": asked.ties(where)} | done.to_json())
    return rows


def _planted(found: Collected) -> dict[str, dict[str, Any]] | None:
    """How many planted neurons each scorer finds, and exact ablation; None where no neuron is planted."""
    told = found.prepared.model["planted"]
    # planted are FFN neurons
    if told is None or found.part.config.site not in FFN_SITES:
        return None
    truth = {role: NeuronSet.of([(layer, neuron) for layer, neuron in pairs]) for role, pairs in told.items()}
    rows = {name: _precision(candidate, truth) for name, candidate in found.first.items()}
    for name, a in found.attributions.items():
        if name not in rows:
            assert name == CEILING
            rows[name] = {**_precision(candidate_of(a, found.part.config.budget), truth), "kind": "ceiling"}
    return rows


def _precision(candidate: Candidate, planted: Mapping[str, NeuronSet]) -> dict[str, Any]:
    """Precision at the number planted: the share of a scorer's top neurons that were planted in that role."""

    def precision(neurons: NeuronSet | None, truth: NeuronSet) -> float | None:
        return None if neurons is None else len(neurons.top(len(truth)) & truth) / len(truth)

    return {
        "good": precision(candidate.good, planted["good"]),
        "bad": precision(candidate.bad, planted["bad"]),
        "k": len(planted["good"]),
    }


def method_of(sweeps: Sequence[Sweep]) -> str:
    """The scorer that the others are compared with: the first that does not draw, else the first."""
    names = [sweep.scorer for sweep in sweeps]
    return next((name for name in names if names.count(name) == 1), names[0])


def whole_results(
    found: Sequence[Collected],
    tasks: Mapping[str, dict[str, Any]],
    sweeps: Mapping[str, Sequence[Sweep]],
    seed: int,
) -> dict[str, Any]:
    """What results.json holds beside its schema.

    Args:
        found: every task that has come to its end, in order.
        tasks: by task, what `task_results` gave.
        sweeps: by task.
        seed: of the bootstrap.
    """
    names = [one.job.name for one in found]
    every = [sweeps[name] for name in names]
    compared = run_differences(every, seed)
    for one in found:
        tasks[one.job.name] |= {"differences": compared[one.job.name], "side_effects": side_effects(one)}
    return {
        "protocol": SHOWN,
        "tasks": {name: tasks[name] for name in names},
        "averages": run_averages(every),
    }


def run_averages(tasks: Sequence[Sequence[Sweep]]) -> list[dict[str, Any]]:
    """Averages over tasks of every scorer and direction under the protocol that is shown."""
    found: list[Cell] = []
    for sweeps in tasks:
        # averages take no interval: a handful of replicates keeps the one code path cheap
        few = sweeps[0].evaluation.baseline.resamples(n=100)
        found += cells(sweeps, SHOWN, method=method_of(sweeps), resamples=few)
    return [average.to_json() for average in averages(found)]


def run_differences(tasks: Sequence[Sequence[Sweep]], seed: int) -> dict[str, list[dict[str, Any]]]:
    """By task, the differences between the method and the others, corrected for all that the run's table marks."""
    found = corrected(
        one
        for sweeps in tasks
        for one in differences(
            sweeps, SHOWN, method=method_of(sweeps), resamples=sweeps[0].evaluation.baseline.resamples(seed)
        )
    )
    names = [sweeps[0].task for sweeps in tasks]
    return {name: [one.to_json() for one in found if one.task == name] for name in names}


def _has_good_only(sweep: Sweep) -> bool:
    return all(GOOD_ONLY in sweep.ratios(mode) for mode in MODES)


def _attribution(a: Attribution, candidate: Candidate) -> dict[str, Any]:
    return {
        "target": a.target,
        "options": dict(a.options),
        "engine": a.engine,
        "steps": a.steps,
        "quadrature": a.quadrature,
        "completeness_error": a.completeness_error,
        "filtered": None if a.filtered is None else asdict(a.filtered),
        "n_good": len(candidate.good),
        "n_bad": None if candidate.bad is None else len(candidate.bad),
    }


def _layers(candidate: Candidate, n_layers: int) -> dict[str, list[int] | None]:
    def count(neurons: NeuronSet | None) -> list[int] | None:
        return None if neurons is None else np.bincount(neurons.layers.numpy(), minlength=n_layers).tolist()

    return {"good": count(candidate.good), "bad": count(candidate.bad)}


def _counts(sweep: Sweep) -> list[dict[str, Any]]:
    """Right and understood of every edit that was made, on each set."""
    rows = []
    sides: list[tuple[str, Swept | None, Any]] = [
        ("select", sweep.selection, sweep.offers),
        ("evaluate", sweep.evaluation, sweep.ratios),
    ]
    for name, swept, made in sides:
        if swept is None:
            continue
        for mode in MODES:
            for tenths in sorted(made(mode)):
                outcomes = swept.outcomes(mode, tenths)
                used = None
                if sweep.used is not None and tenths in sweep.ratios(mode):
                    used = sweep.used[MODES.index(mode), tenths].tolist()
                rows.append(
                    {
                        "scorer": sweep.scorer,
                        "draw": sweep.draw,
                        "set": name,
                        "mode": mode,
                        "tenths": tenths,
                        "used": used,
                        "right": outcomes.n_right,
                        "understood": outcomes.n_understood,
                        "cross_entropy": round(float(outcomes.cross_entropy.mean()), 6),
                    }
                )
    return rows
