"""What of a run is there, what is missing, and what that will cost, before it is carried out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuron_antagonism.engine.memory import TokenLimit, bytes_per_token, free_bytes, weight_bytes
from neuron_antagonism.errors import DataError
from neuron_antagonism.method.attribute import attribute_each, settled_steps
from neuron_antagonism.method.edits import edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.metrics.sweeps import N_RATIOS
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.effects import CEILING, Effects
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.plugin.scorers import passes_of_its_own
from neuron_antagonism.progress import Progress
from neuron_antagonism.runs.backends.serial import Serial
from neuron_antagonism.runs.execute import Work, prepare
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.store import store_of
from neuron_antagonism.runs.unit import Memory, Payload, Unit
from neuron_antagonism.suites.bench import BenchPlan, parts_of, work_of
from neuron_antagonism.suites.plan import Plan
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.types import as_examples
from neuron_antagonism.units.neurons import RATIOS_OF_DRAWS
from neuron_antagonism.units.text import MOST_TEXTS

TIMED_EDITS = 96  # about what a forward takes of a sweep


class Overlay(Memory):
    """What is on another shelf, and beside it what is made here: that stays in memory."""

    def __init__(self, below: Any) -> None:
        """Nothing is made yet."""
        super().__init__()
        self._below = below

    def get(self, unit: Unit) -> Payload | None:
        """What a unit holds; None where it is nowhere."""
        return super().get(unit) or self._below.get(unit)

    def has(self, unit: Unit) -> bool:
        """Whether a unit is anywhere."""
        return super().has(unit) or bool(self._below.has(unit))


class Estimate:
    """What a plan will take; its examples are chosen on the way, where they are not stored.

    Args:
        plan: the plan.
        out, cache: where units may be stored already.
        progress: called while examples are chosen.
    """

    def __init__(
        self,
        plan: Plan,
        out: Path | None = None,
        cache: str | Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Look, and choose the examples."""
        self.plan = plan
        self.part = Effects(plan.config, plan.scorers, plan.strengthen, plan.weaken)
        self.shelf = Overlay(store_of(out, cache, looks=True) if out is not None else Memory())
        self.work = Work(dict.fromkeys(plan.jobs, (self.part,)))
        self._serial = Serial()
        prepare(self.work, self.shelf, self._serial, strict=True, made=self.shelf.put, progress=progress)

    @property
    def model(self) -> HookedModel:
        """The model, loaded when it is first needed."""
        return self._serial.workshop.model(self.plan.jobs[0].model)

    def split(self, job: Job) -> Split:
        """A task's examples."""
        prepared = self.part.sizes.of(job, self.shelf)
        assert prepared is not None
        return prepared.split

    @property
    def engine(self) -> dict[str, str]:
        """The engine of the first task, and the reason."""
        prepared = self.part.sizes.of(self.plan.jobs[0], self.shelf)
        assert prepared is not None
        return dict(prepared.engine)

    def cost(self) -> dict[str, Any]:
        """Units that are there; passes that are missing, and seconds extrapolated from one question's share of each."""
        config = self.plan.config
        there: Counter[str] = Counter()
        gradient = ablated = answers = full = 0
        for job in self.plan.jobs:
            units = self.work.units(job, self.shelf)
            there.update(unit.kind for unit in units if self.shelf.has(unit) and unit.key not in self.shelf.there)
            split = self.split(job)
            learned, chosen, reported = (_questions(getattr(split, n)) for n in ("identify", "select", "evaluate"))
            missing = {unit.label for unit in units if unit.kind == "scores" and not self.shelf.has(unit)}
            ceiling = f"{job.name}.{CEILING}"
            asked = any(scorer.name == CEILING for scorer in self.plan.scorers)
            gradient += learned * bool(missing - ({ceiling} if not asked else set()))
            ablated += learned * (ceiling in missing and not asked)
            for scorer in self.plan.scorers:
                one = self.part.of_scorer(job, self.plan.jobs, self.shelf, scorer)
                draws = config.random_draws if scorer.draws else 1
                ratios = self._ratios(scorer)
                if one.select is None or not self.shelf.has(one.select):
                    answers += chosen * draws * 2 * ratios * (ratios > 1)
                if one.evaluate is None or not self.shelf.has(one.evaluate):
                    answers += reported * draws * 2 * (1 if config.protocols == (SHOWN,) else ratios)
                if not scorer.draws and (one.everywhere is None or not self.shelf.has(one.everywhere)):
                    full += 2 * reported + 2 * MOST_TEXTS
                    answers += 2 * reported * (len(self.plan.jobs) - 1)
            unedited = [self.part.asking(name).unit(job, self.shelf) for name in ("select", "evaluate")]
            full += (chosen + reported) * any(unit is None or not self.shelf.has(unit) for unit in unedited)
        found: dict[str, Any] = {
            "there": dict(there),
            "gradient_questions": gradient,
            "ablated_questions": ablated,
            "neuron_sets": sum(config.random_draws if scorer.draws else 1 for scorer in self.plan.scorers),
            "edited_answers": answers,
            "full_passes": full,
        }
        if not gradient + ablated + answers + full:
            return found | {"seconds": 0.0}
        steps = 16 if isinstance(config.steps, str) else config.steps
        seconds = gradient * self._gradient() if gradient else 0.0
        seconds += ablated * self._ablated() if ablated else 0.0
        seconds += answers * self._edited() + full * self._full()
        found |= {"gradient_passes": gradient * self.model.n_layers * (steps + 1), "seconds": round(seconds, 1)}
        prepared = [self.part.sizes.of(job, self.shelf) for job in self.plan.jobs]
        longest = max(one.payload.meta["longest"] for one in prepared if one is not None)
        return found | memory(self.model, longest, self.engine["name"], config.max_tokens)

    def _ratios(self, scorer: Scorer) -> int:
        if "bad" not in scorer.roles:
            return 1
        return len(RATIOS_OF_DRAWS) if scorer.draws else N_RATIOS

    def _gradient(self) -> float:
        """Seconds for the gradients of one question."""
        one = as_examples(self.split(self.plan.jobs[0]).identify[0].proxies[:1])
        settings = self.part.settings

        def work() -> None:
            steps = settled_steps(self.model, [one], self.plan.scorers, settings)
            told = replace(settings, steps=steps)
            own = [scorer for scorer in self.plan.scorers if passes_of_its_own(scorer)]
            if shared := [scorer for scorer in self.plan.scorers if scorer not in own]:
                attribute_each(self.model, one, shared, told)
            for scorer in own:
                # one question says too little for those that compare, which they find when their passes are made
                with suppress(DataError):
                    attribute_each(self.model, one, [scorer], told)

        return self._timed(work)

    def _ablated(self) -> float:
        """Seconds for silencing every neuron alone in one question of an example."""
        one = self.split(self.plan.jobs[0]).identify[:1]
        scorer = registry().make(Scorer, CEILING)
        work = lambda: attribute_each(self.model, one, [scorer], self.part.settings)  # noqa: E731
        return self._timed(work) / len(one[0].proxies)

    def _edited(self) -> float:
        """Seconds for one answer under one edit of a sweep."""
        neurons = NeuronSet.of([(layer, 0) for layer in range(self.model.n_layers)])
        c = self.plan.config
        edits = [edit(neurons, "silence", positions=c.positions)] * TIMED_EDITS
        one = self.split(self.plan.jobs[0]).identify[0].proxies[:1]
        work = lambda: evaluate_many(self.model, one, edits, engine=c.engine, max_tokens=c.max_tokens)  # noqa: E731
        return self._timed(work) / len(edits)

    def _full(self) -> float:
        """Seconds for one full pass in a batch."""
        examples = self.split(self.plan.jobs[0]).identify
        return self._timed(lambda: evaluate_many(self.model, examples, [None])) / _questions(examples)

    def _timed(self, work: Callable[[], object]) -> float:
        import torch

        work()  # the first time also allocates and proves the engine
        start = time.perf_counter()
        work()
        for device in self.model.devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        return time.perf_counter() - start


def missing_of(
    plan: BenchPlan, out: Path | None = None, cache: str | Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Of every part and job of a suite, how many units are there and how many are missing, as far as they are known.

    What comes first of every job is computed for it, and not kept: the examples, and whatever a part checks. Of a job
    that can't be prepared, beside those of other models, it says why.
    """
    shelf = Overlay(store_of(out, cache, looks=True) if out is not None else Memory())
    parts = parts_of(plan)
    work = work_of(plan, parts)
    failed = prepare(work, shelf, Serial(), strict=plan.strict, made=shelf.put, progress=progress).failed
    rows = []
    keys: dict[str, bool] = {}
    for name, jobs in plan.jobs.items():
        for job in jobs:
            row = {"part": name, "model": job.model.name, "task": job.name, "seed": job.seed}
            if job in failed:
                rows.append(row | {"there": None, "missing": None, "failed": str(failed[job])})
                continue
            group = next(one.group for one in work.wanted(job, failed) if one.part is parts[name])
            units = parts[name].units(job, group, shelf)
            there = {unit.key: shelf.has(unit) and unit.key not in shelf.there for unit in units}
            keys |= there
            rows.append(row | {"there": sum(there.values()), "missing": len(there) - sum(there.values())})
    return {"jobs": rows, "there": sum(keys.values()), "missing": len(keys) - sum(keys.values())}


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


def _questions(examples: Sequence[Any]) -> int:
    return sum(len(example.proxies) for example in examples)
