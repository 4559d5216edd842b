"""Parts on good and bad neurons of tasks: their examples and scores are those that a run would take."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.rows import Rows
from neuron_antagonism.parts.specs import Antagonism, Choices, Gating, Layers, Swept, usual_acts
from neuron_antagonism.parts.sweeping import Sweeping
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.manager import registry, run_check
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Shelf, Unit, held
from neuron_antagonism.settings import Settings
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.units.examples import Prepared, Sizes
from neuron_antagonism.units.neurons import ROLES, Acting, Candidate, Choosing, candidate_of
from neuron_antagonism.units.scores import Scoring, draws_of, read

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk


@dataclass(frozen=True)
class TaskRows(Rows):
    """A part on good and bad neurons."""

    spec: Gating | Antagonism | Swept | Layers | Choices

    stratified = True

    @property
    def sizes(self) -> Sizes:
        """The examples."""
        form, shots = self.classes.task_form, self.classes.task_shots
        select = self.spec.select if isinstance(self.spec, Swept) else 0
        return Sizes(self.spec.identify, select, self.spec.evaluate, self.stratified, form=form, shots=shots)

    @abstractmethod
    def depth(self, n_units: int) -> int:
        """The largest number of neurons that is chosen, on which scores may depend.

        Args:
            n_units: how many the model has.
        """

    def ingredients(self) -> list[Any]:
        """Where units are, too."""
        return [*super().ingredients(), self.classes.site]

    def first(self, job: Job) -> list[Unit]:
        """The examples."""
        return [self.sizes.unit(job)]

    def needs(self, job: Job, group: Sequence[Job], shelf: Shelf) -> list[Unit]:
        """Every scorer's scores, and once they are there what is computed from them."""
        own = self.alone(job, shelf)
        return [*own, *(_once(self.further(job, group, shelf)) if all(map(shelf.has, own)) else ())]

    def alone(self, job: Job, shelf: Shelf) -> list[Unit]:
        """What a job has whose examples are there, whatever is beside it: every scorer's scores."""
        return [self.scores(job, shelf, name) for name in self.spec.scorers]

    def further(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Iterable[Unit]:
        """What is computed from what is there by then before rows are measured, as far as it can be named yet."""
        return ()

    def scores(self, job: Job, shelf: Shelf, name: str) -> Unit:
        """A scorer's scores of a job whose examples are there."""
        unit = self._scoring(job, shelf).unit(job, shelf, draws_of(registry().make(Scorer, name), job, 1)[0])
        assert unit is not None
        return unit

    def _scoring(self, job: Job, shelf: Shelf) -> Scoring:
        return Scoring(self.sizes, Settings(site=self.classes.site, budget=self.depth(self.n_units(job, shelf))))

    def n_units(self, job: Job, shelf: Shelf) -> int:
        """How many neurons a job's model has."""
        prepared = self.sizes.of(job, shelf)
        assert prepared is not None
        return prepared.units(self.classes.site)

    def sweeping(self, job: Job, shelf: Shelf, budget: int) -> Sweeping:
        """Edits of a budget as a run makes them where nothing else is asked for, of a job whose examples are there."""
        strengthen, weaken = usual_acts()
        choosing = Choosing(self._scoring(job, shelf), budget)
        return Sweeping(self.sizes, Acting(choosing, strengthen, weaken, RunConfig().positions, self.classes.site))

    def neurons_of(self, job: Job, shelf: Shelf, name: str, budget: int) -> Unit:
        """A scorer's good and bad neurons, of a job whose scores are there."""
        unit = self.sweeping(job, shelf, budget).acting.choosing.unit(job, shelf, registry().make(Scorer, name))
        assert unit is not None
        return unit

    def check(self, desk: Desk) -> None:
        """Scorers that fit the model and the examples."""
        examples = self.sizes.at(desk).split.identify
        for name in self.spec.scorers:
            run_check(registry().make(Scorer, name), desk.model, examples, self.classes.site)

    def candidate(self, desk: Desk, name: str, count: int, job: Job | None = None) -> Candidate:
        """So many good and so many bad neurons of a scorer; of the desk's job, or of another one of the group."""
        payload = held(desk.shelf, self.scores(job or desk.job, desk.shelf, name))
        return candidate_of(read(payload), count, draws=registry().make(Scorer, name).draws)

    def split_of(self, desk: Desk, job: Job) -> Split:
        """The examples of any job of the group."""
        return self._prepared(desk, job).split

    @contextmanager
    def reading(self, desk: Desk, job: Job) -> Iterator[Split]:
        """The same to be asked: the model reads answers where it does in that job, as the job's own answers do."""
        prepared, letters = self._prepared(desk, job), desk.model.letters
        before = letters.told()
        letters.recall(prepared.payload.meta["letters"])
        try:
            yield prepared.split
        finally:
            letters.recall(before)

    def _prepared(self, desk: Desk, job: Job) -> Prepared:
        payload = desk.shelf.get(self.sizes.unit(job))
        assert payload is not None
        return Prepared(payload)


class GroupRows(TaskRows):
    """A part that sets the neurons of all tasks of a model and seed against each other."""

    of_group = True

    def _units(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Iterator[Unit]:
        examples = self.sizes.unit(job)
        yield examples
        if not shelf.has(examples):
            return
        yield from self.alone(job, shelf)
        # the other tasks' scores are made where their own examples are
        # in one order, whatever order was asked for
        group = sorted(group, key=lambda one: one.name)
        first = [self.sizes.unit(one) for one in group]
        if not all(map(shelf.has, first)):
            return
        every = [unit for one in group for unit in self.alone(one, shelf)]
        if not all(map(shelf.has, every)):
            return
        further = _once(self.further(job, group, shelf))
        yield from further
        if all(map(shelf.has, further)):
            yield self.unit(job, group, [*first, *every, *further])

    def rankings(self, desk: Desk, group: Sequence[Job], scorer: str) -> dict[str, dict[str, NeuronSet]]:
        """By role and task, every neuron of that role, strongest first."""
        n_units = desk.model.n_layers * desk.model.units(self.classes.site)
        found = {one.name: self.candidate(desk, scorer, n_units, one) for one in group}
        return {
            role: {task: neurons for task, one in found.items() for name, neurons in one.sets if name == role}
            for role in ROLES
        }


def _once(units: Iterable[Unit]) -> list[Unit]:
    return list({unit.key: unit for unit in units}.values())
