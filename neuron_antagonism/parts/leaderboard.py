"""Scorers judged: one unit for each scorer and judge, so that another scorer computes its own alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuron_antagonism.errors import AntagonismError, DataError, UsageError
from neuron_antagonism.method.ablate import ablate
from neuron_antagonism.neurons import check_count
from neuron_antagonism.parts.judging.agreement import CEILING, ceiling, in_turn, question_texts
from neuron_antagonism.parts.judging.bench import Bench
from neuron_antagonism.parts.judging.every import EVERY
from neuron_antagonism.parts.rows import Rows
from neuron_antagonism.parts.specs import Judging, usual_acts
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.manager import as_target, run_check
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import identity, key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.settings import Settings
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.scores import Scoring, draws_of, read

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

KIND, TRUTH, TRIED = "judged", "truth", "tried"
ENDS = ("value", "low", "high")


@dataclass(frozen=True)
class LeaderboardRows(Rows):
    """The part `judging`: a row for each task, scorer and figure of a judge: value, and low and high of its interval.

    Evaluation examples are taken as they come. The scorer `ceiling` is what exact ablation agrees with itself, half of
    the questions against the other half.
    """

    kind = KIND
    spec: Judging

    def __post_init__(self) -> None:
        """Settle what the spec leaves to the form: questions in words have no counterfactuals."""
        if self.spec.rest is None:
            rest = "mean" if self.classes.task_form == "words" else "counterfactual"
            object.__setattr__(self, "spec", self.spec.model_copy(update={"rest": rest}))

    @property
    def sizes(self) -> Sizes:
        """The examples; where stability is judged, identification examples for all draws: scores are of the first."""
        draws = self.spec.draws if "stability" in self.spec.judges else 1
        form, shots = self.classes.task_form, self.classes.task_shots
        return Sizes(self.spec.identify * draws, 0, self.spec.evaluate, stratified=False, form=form, shots=shots)

    @property
    def judges(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(name for name in EVERY if name in self.spec.judges)

    def scorers(self, job: Job) -> dict[str, Scorer]:
        """The scorers by name; one that draws draws for each task and seed by itself, unless its seed was given."""
        found = {}
        for scorer in self.spec.chosen():
            given = "seed" in scorer.options.model_fields_set
            found[scorer.name] = scorer if given else draws_of(scorer, job, 1)[0]
        return found

    def check(self, desk: Desk) -> None:
        """Neurons enough, and scorers that fit the model and the examples."""
        model, site = desk.model, self.classes.site
        n_units = model.n_layers * model.units(site)
        check_count(self.spec.budget, n_units, "budget")
        if 2 * self.spec.n > n_units:
            raise UsageError(f"part {self.name!r}: n is {self.spec.n}; accepted: 1 to {n_units // 2} of this model")
        examples = self.sizes.at(desk).split.identify[: self.spec.identify]
        for scorer in self.scorers(desk.job).values():
            # what the examples don't allow leaves a hole of its own
            with suppress(DataError):
                run_check(scorer, model, examples, site)

    def first(self, job: Job) -> list[Unit]:
        """The examples."""
        return [self.sizes.unit(job)]

    def units(self, job: Job, group: Sequence[Job], shelf: Shelf) -> list[Unit]:
        """See `Part.units`."""
        return list(self._units(job, group, shelf))

    def _units(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Iterator[Unit]:
        examples = self.sizes.unit(job)
        yield examples
        if not shelf.has(examples):
            return
        tried = self.tried(job, shelf)
        yield from tried.values()
        truth = self.truth(job, shelf)
        yield from [] if truth is None else [truth]
        scores = self.scored(tried, shelf)
        if scores is None:
            return
        yield from scores.values()
        if all(shelf.has(unit) for unit in (*scores.values(), *([truth] if truth else []))):
            yield from self.judged(job, shelf, scores, truth)

    def tried(self, job: Job, shelf: Shelf) -> dict[str, Unit]:
        """Of every scorer, whether it can score these examples."""
        return {
            name: Unit(TRIED, unit.label, key_of(TRIED, unit.key), Trying(unit), unit.needs)
            for name, unit in self.scores(job, shelf).items()
        }

    def scored(self, tried: Mapping[str, Unit], shelf: Shelf) -> dict[str, Unit] | None:
        """The scores of those that can; None while that is not known."""
        found = {}
        for name, unit in tried.items():
            payload, recipe = shelf.get(unit), unit.recipe
            if payload is None:
                return None
            assert isinstance(recipe, Trying)
            if not payload.meta["reason"]:
                found[name] = recipe.scores
        return found

    def scores(self, job: Job, shelf: Shelf) -> dict[str, Unit]:
        """Every scorer's scores."""
        settings = Settings(steps=self.spec.steps, site=self.classes.site, budget=self.spec.budget)
        scoring = Scoring(self.sizes, settings, first=self.spec.identify)
        found = {}
        for name, scorer in self.scorers(job).items():
            unit = scoring.unit(job, shelf, scorer)
            assert unit is not None
            found[name] = unit
        return found

    def truth(self, job: Job, shelf: Shelf) -> Unit | None:
        """Exact effects on held-out questions; None where no judge asks for them."""
        prepared = self.sizes.of(job, shelf)
        if prepared is None or not any(EVERY[name].needs_truth for name in self.judges):
            return None
        spec = self.spec
        what: list[Any] = [prepared.set_hash("evaluate", spec.truth), spec.baseline, identity(as_target(spec.target))]
        # a mean is that of the examples that scores come from
        what += [prepared.set_hash("identify", spec.identify)] if spec.baseline == "mean" else []
        what += [] if spec.wordings is None else [spec.wordings]
        # the halves of the ceiling are the seed's
        key = key_of(TRUTH, job.model.id, job.seed, what, prepared.engine["name"], self.classes.site)
        return Unit(TRUTH, f"{job.name}.{spec.target}", key, Truth(self), tuple(self.first(job)))

    def judged(self, job: Job, shelf: Shelf, scores: dict[str, Unit], truth: Unit | None) -> Iterator[Unit]:
        """A unit for each judge and scorer."""
        prepared = self.sizes.of(job, shelf)
        assert prepared is not None
        asked, acts = self.spec.model_dump(mode="json"), [identity(one) for one in usual_acts()]
        for judge in self.judges:
            kind = EVERY[judge]
            fields = {name: asked[name] for name in kind.fields}
            target = identity(as_target(self.spec.target)) if "target" in kind.fields else None
            needs = [truth] if kind.needs_truth and truth is not None else []
            first = None if judge == "stability" else self.spec.identify
            sets = [prepared.set_hash("identify", first), prepared.set_hash("evaluate")]
            for name, unit in scores.items():
                what: list[Any] = [judge, fields, target, acts, sets, [need.key for need in needs], unit.key]
                # no other judge's figures are other ones for it
                what += [kind.points] if kind.points else []
                key = key_of(KIND, job.model.id, job.seed, self.classes.site, what)
                label = f"{job.name}.{name}.{judge}"
                yield Unit(KIND, label, key, JudgedBy(self, judge, name), (self.sizes.unit(job), *needs, unit))

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """Nothing: each unit has a recipe of its own."""
        raise NotImplementedError

    def found(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Payload | None:
        """A job's rows; None where something of it is not there."""
        prepared = self.sizes.of(job, shelf)
        if prepared is None:
            return None
        units, tried = self.units(job, group, shelf), self.tried(job, shelf)
        scores = self.scored(tried, shelf)
        judged = [unit for unit in units if unit.kind == KIND]
        if scores is None or len(judged) != len(self.judges) * len(scores) or not all(map(shelf.has, units)):
            return None
        rows: list[dict[str, Any]] = []
        notes = list(prepared.split.report.notes)
        for name, unit in tried.items():
            payload = shelf.get(unit)
            assert payload is not None
            if payload.meta["reason"]:
                # every figure of it is missing
                rows.append({"task": job.name, "scorer": name, "judge": "scores", **dict.fromkeys(ENDS)})
                notes.append(f"no scores: {payload.meta['reason']}")
        for unit in judged:
            payload, recipe = shelf.get(unit), unit.recipe
            assert payload is not None
            assert isinstance(recipe, JudgedBy)
            for one in payload.meta["rows"]:
                rows.append({"task": job.name, "scorer": recipe.scorer} | {k: v for k, v in one.items() if k != "note"})
                notes += [f"{recipe.scorer}, {one['judge']}: {one['note']}"] if "note" in one else []
        truth = next((shelf.get(unit) for unit in units if unit.kind == TRUTH), None)
        if truth is not None:
            rows += [{"task": job.name, "scorer": CEILING} | row for row in truth.meta["rows"]]
        return Payload({"rows": rows, "notes": notes})

    def bench(self, desk: Desk, names: Sequence[str], *, truth: bool = False) -> Bench:
        """What a judge of some scorers works with."""
        split = self.sizes.at(desk).split
        units = self.scores(desk.job, desk.shelf)
        payloads = {name: desk.shelf.get(units[name]) for name in names}
        every = self.scorers(desk.job)
        unit = self.truth(desk.job, desk.shelf) if truth else None
        effects = desk.shelf.get(unit) if unit is not None else None
        return Bench(
            desk,
            self.spec,
            self.classes.site,
            split.identify[: self.spec.identify],
            split.evaluate,
            {name: every[name] for name in names},
            {name: read(payload) for name, payload in payloads.items() if payload is not None},
            None if effects is None else np.asarray(effects.arrays["effects"]),
            split.identify,
        )


@dataclass(frozen=True)
class Trying:
    """Scores examples, or says why a scorer can't: one that can't takes none of the others with it.

    Args:
        scores: the unit of the scores.
    """

    scores: Unit

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """All together, whose forwards are shared; where one can't, each by itself."""
        wanted = {}
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Trying)
            wanted[unit.key] = recipe.scores
        missing = [scores for scores in wanted.values() if not desk.shelf.has(scores)]
        reasons: dict[str, str] = {}
        try:
            if missing:
                missing[0].recipe.make(desk, missing)
        except AntagonismError:
            for scores in missing:
                try:
                    scores.recipe.make(desk, [scores])
                except DataError as error:
                    reasons[scores.key] = str(error)
        for unit in units:
            desk.shelf.put(unit, Payload({"reason": reasons.get(wanted[unit.key].key, "")}))


@dataclass(frozen=True)
class Truth:
    """Computes exact effects on held-out questions.

    Args:
        part: whose.
    """

    part: LeaderboardRows

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Ablate every neuron, and compare one half of the questions with the other."""
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Truth)
            spec, site = recipe.part.spec, recipe.part.classes.site
            split = recipe.part.sizes.at(desk).split
            examples = in_turn(split.evaluate[: spec.truth], spec.wordings)
            how: dict[str, Any] = {"baseline": spec.baseline, "mean_of": split.identify[: spec.identify], "site": site}
            found = ablate(desk.model, examples, spec.target, **how, progress=desk.told("truth"))
            effects = found.effects.float().numpy()
            texts = question_texts(examples)
            desk.shelf.put(unit, Payload({"rows": ceiling(effects, texts, desk.job.seed)}, {"effects": effects}))


@dataclass(frozen=True)
class JudgedBy:
    """Judges one scorer.

    Args:
        part: whose.
        judge: the judge's name.
        scorer: the scorer's.
    """

    part: LeaderboardRows
    judge: str
    scorer: str

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Scorers that the same judge is to judge share its forwards."""
        together: dict[tuple[str, str], dict[str, Unit]] = {}
        parts: dict[str, LeaderboardRows] = {}
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, JudgedBy)
            parts[recipe.part.name] = recipe.part
            together.setdefault((recipe.part.name, recipe.judge), {})[recipe.scorer] = unit
        for (part, name), own in together.items():
            kind = EVERY[name]
            bench = parts[part].bench(desk, tuple(own), truth=kind.needs_truth)
            rows = kind().measure(bench)
            for scorer, unit in own.items():
                desk.shelf.put(unit, Payload({"rows": rows[scorer]}))
