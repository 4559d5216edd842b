"""What a run measures: the edits of every scorer's neurons, how much they help and hinder, and what else they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from neuron_antagonism.engine.base import Path as IntegrationPath
from neuron_antagonism.engine.choose import checked_engine
from neuron_antagonism.metrics.outcomes import MODES
from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.metrics.sweeps import best_ratio
from neuron_antagonism.neurons import FFN_SITES, check_count
from neuron_antagonism.plugin.base import Intervention, Scorer
from neuron_antagonism.plugin.manager import registry, run_check
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Shelf, Unit
from neuron_antagonism.settings import Settings
from neuron_antagonism.units.answers import Asked, Asking, Where, every_ratio, sweep_of
from neuron_antagonism.units.described import Describing
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import Acting, Candidate, Choosing, candidates_of
from neuron_antagonism.units.scores import Scoring, steady
from neuron_antagonism.units.steps import Settling
from neuron_antagonism.units.text import Reading

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

CEILING = "ablation"
"""The scorer of exact effects: where neurons are planted, how many it finds is how many there are to be found."""


@dataclass(frozen=True)
class Effects:
    """The part of a run.

    Args:
        config: what was asked for.
        scorers: instances.
        strengthen, weaken: what is done to neurons that should act more, and less.
        described: whether the chosen neurons are described, which no figure needs: for whoever shows them.
    """

    config: RunConfig
    scorers: tuple[Scorer, ...]
    strengthen: Intervention
    weaken: Intervention
    name: str = "effects"
    described: bool = False

    @property
    def sizes(self) -> Sizes:
        """The examples."""
        c = self.config
        return Sizes(c.identify, c.select, c.evaluate, c.stratified, c.engine, c.form, c.shots)

    @property
    def settings(self) -> Settings:
        """How attribution is carried out."""
        c = self.config
        return Settings(c.steps, c.quadrature, c.engine, c.site, c.budget, max_tokens=c.max_tokens)

    @property
    def settling(self) -> Settling:
        """How many steps there are."""
        return Settling(self.sizes, self.scorers, self.settings)

    def acting(self, group: Sequence[Job], shelf: Shelf) -> Acting | None:
        """How neurons are chosen and edited; None while the number of steps is not known."""
        steps = self.settling.of(group, shelf)
        if steps is None:
            return None
        c = self.config
        scoring = Scoring(self.sizes, replace(self.settings, steps=steps))
        return Acting(Choosing(scoring, c.budget, c.random_draws), self.strengthen, self.weaken, c.positions, c.site)

    def asking(self, name: str) -> Asking:
        """How a set is asked."""
        return Asking(self.sizes, name, self.config.max_tokens)

    def check_options(self) -> None:
        """Raise UsageError for an engine or a path of integration that there is not; no model is needed."""
        c = self.config
        checked_engine(c.engine)
        if c.steps != "auto":
            IntegrationPath.of(c.quadrature, c.steps, c.site)

    def check(self, desk: Desk) -> None:
        """Neurons enough, and plugins that fit the model and the examples.

        Raises:
            AntagonismError: something is asked for that this model or these examples don't allow.
        """
        model, site = desk.model, self.config.site
        check_count(self.config.budget, model.n_layers * model.units(site), "budget")
        split = self.sizes.at(desk).split
        scoring = Scoring(self.sizes, self.settings)
        for scorer in self.scorers:
            # whose z is checked on the way
            unit = scoring.unit(desk.job, desk.shelf, scorer)
            fixed = unit.recipe.scorer if unit is not None and isinstance(unit.recipe, Scoring) else None
            run_check(fixed or scorer, model, split.identify, site)
        for act in (self.strengthen, self.weaken):
            run_check(act, model, split.identify, site)

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
        if self.config.steps == "auto" and (settling := self.settling.unit(job, shelf)) is not None:
            yield settling
        acting = self.acting(group, shelf)
        if acting is None:
            return
        neurons: list[Unit | None] = []
        for scorer in self.scored(job, shelf):
            unit = acting.choosing.scores(job, shelf, scorer)
            assert unit is not None
            yield unit
            if scorer in self.scorers:
                neurons.append(acting.choosing.unit(job, shelf, scorer))
        yield from (unit for unit in neurons if unit is not None)
        if not all(unit is not None and shelf.has(unit) for unit in neurons):
            return
        fits = [unit for scorer in self.scorers if (unit := acting.unit(job, shelf, scorer)) is not None]
        yield from fits
        if all(shelf.has(unit) for unit in fits):
            yield from self._answers(job, group, shelf, acting)

    def _answers(self, job: Job, group: Sequence[Job], shelf: Shelf, acting: Acting) -> Iterator[Unit]:
        """What is asked once all neurons are chosen."""
        for name in ("select", "evaluate"):
            unedited = self.asking(name).unit(job, shelf)
            assert unedited is not None
            yield unedited
        every = [self.of_scorer(job, group, shelf, scorer) for scorer in self.scorers]
        for one in every:
            yield from (unit for unit in (one.select, one.evaluate, one.everywhere, one.text) if unit is not None)
        yield from (one.described for one in every if one.described is not None)
        # once the choices of all tasks are known, each task's edits are tried on the others
        others = [self.of_scorer(other, group, shelf, s) for other in group for s in steady(self.scorers)]
        if all(one.where for one in others):
            for one in others:
                if one.job != job and (unit := self.elsewhere(job, shelf, one, acting)) is not None:
                    yield unit

    def scored(self, job: Job, shelf: Shelf) -> list[Scorer]:
        """Every scorer whose scores are wanted: the run's, and exact ablation where planted neurons are looked for."""
        prepared = self.sizes.of(job, shelf)
        planted = prepared is not None and prepared.model["planted"] is not None
        if not planted or self.config.site not in FFN_SITES or any(s.name == CEILING for s in self.scorers):
            return list(self.scorers)
        return [*self.scorers, registry().make(Scorer, CEILING)]

    def of_scorer(self, job: Job, group: Sequence[Job], shelf: Shelf, scorer: Scorer) -> OfScorer:
        """The units of one scorer, as far as they can be named."""
        found = OfScorer(job, scorer)
        acting = self.acting(group, shelf)
        neurons = None if acting is None else acting.choosing.unit(job, shelf, scorer)
        chosen = None if neurons is None else shelf.get(neurons)
        if acting is None or neurons is None or chosen is None:
            return found
        fits = acting.unit(job, shelf, scorer)
        if fits is not None and not shelf.has(fits):
            return found
        candidates = candidates_of(chosen)
        every = every_ratio(candidates)
        found = replace(found, neurons=neurons, fits=fits, candidates=tuple(candidates))
        select = None
        if any(len(candidate.tenths()) > 1 for candidate in candidates):
            select = self.asking("select").edited(job, shelf, acting, neurons, fits, every)
            found = replace(found, select=select)
        where = every if select is None else self._chosen(found, shelf)
        if where is None:
            return found
        asked = every if tuple(self.config.protocols) != (SHOWN,) else where
        evaluate = self.asking("evaluate").edited(job, shelf, acting, neurons, fits, asked)
        found = replace(found, where=tuple(where), evaluate=evaluate)
        if scorer.draws:
            return found
        at_all = replace(acting, positions="all")
        everywhere = self.asking("evaluate").edited(job, shelf, at_all, neurons, fits, where)
        text = Reading(self.sizes, self.config.max_tokens).unit(job, shelf, acting, neurons, fits, where)
        describing = Describing(self.sizes, self.config.site, self.config.max_tokens)
        told = describing.unit(job, shelf, neurons) if self.described else None
        return replace(found, everywhere=everywhere, text=text, described=told)

    def answered(self, job: Job, group: Sequence[Job], shelf: Shelf) -> bool:
        """Whether everything that is a job's own is there."""
        acting = self.acting(group, shelf)
        if acting is None or not shelf.has(self.sizes.unit(job)):
            return False
        each = [self.of_scorer(job, group, shelf, scorer) for scorer in self.scorers]
        units = [unit for one in each for unit in (one.evaluate, one.everywhere, one.text)]
        units += [acting.choosing.scores(job, shelf, scorer) for scorer in self.scored(job, shelf)]
        return all(one.where for one in each) and all(unit is None or shelf.has(unit) for unit in units)

    def elsewhere(self, job: Job, shelf: Shelf, one: OfScorer, acting: Acting) -> Unit | None:
        """A job's answers under another one's chosen edits."""
        assert one.neurons is not None
        return self.asking("evaluate").edited(job, shelf, acting, one.neurons, one.fits, one.where)

    def _chosen(self, one: OfScorer, shelf: Shelf) -> list[Where] | None:
        """The ratio that `held-out` chooses for each draw and mode; None while it is not known."""
        assert one.select is not None
        unedited = self.asking("select").unit(one.job, shelf)
        base, swept = None if unedited is None else shelf.get(unedited), shelf.get(one.select)
        if base is None or swept is None:
            return None
        asked, found = Asked(base, swept), []
        for candidate in one.candidates:
            sweep = sweep_of(one.scorer.name, candidate.draw, one.job.name, None, asked)
            assert sweep.selection is not None
            found += [(candidate.draw, m, best_ratio(sweep.selection, m, sweep.offers(m))) for m in MODES]
        return found


@dataclass(frozen=True)
class OfScorer:
    """The units of one scorer in a job, as far as they can be named.

    Args:
        job, scorer: whose.
        neurons, fits: the neurons of every draw, and what interventions learned of them.
        candidates: the neurons themselves.
        select, evaluate: answers on the two sets; no selection where there is nothing to choose.
        where: draw, mode and ratio of the chosen edits; empty while they are not known.
        everywhere: answers under the chosen edits at all positions.
        text: what the chosen edits do to plain text.
        described: what single neurons do.
    """

    job: Job
    scorer: Scorer
    neurons: Unit | None = None
    fits: Unit | None = None
    candidates: tuple[Candidate, ...] = ()
    select: Unit | None = None
    evaluate: Unit | None = None
    where: tuple[Where, ...] = ()
    everywhere: Unit | None = None
    text: Unit | None = None
    described: Unit | None = None
