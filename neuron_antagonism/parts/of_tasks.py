"""Parts on good and bad neurons of tasks: their examples and scores are those that a run would take."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.rows import Rows
from neuron_antagonism.parts.specs import Antagonism, Choices, Gating, Layers, Swept
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.manager import registry, run_check
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Shelf, Unit
from neuron_antagonism.settings import Settings
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.units.examples import Prepared, Sizes
from neuron_antagonism.units.neurons import ROLES, Candidate, candidate_of
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
        """Every scorer's scores."""
        return [self.scores(job, shelf, name) for name in self.spec.scorers]

    def scores(self, job: Job, shelf: Shelf, name: str) -> Unit:
        """A scorer's scores of a job whose examples are there."""
        prepared = self.sizes.of(job, shelf)
        assert prepared is not None
        settings = Settings(site=self.classes.site, budget=self.depth(prepared.units(self.classes.site)))
        unit = Scoring(self.sizes, settings).unit(job, shelf, draws_of(registry().make(Scorer, name), job, 1)[0])
        assert unit is not None
        return unit

    def check(self, desk: Desk) -> None:
        """Scorers that fit the model and the examples."""
        examples = self.sizes.at(desk).split.identify
        for name in self.spec.scorers:
            run_check(registry().make(Scorer, name), desk.model, examples, self.classes.site)

    def candidate(self, desk: Desk, name: str, count: int, job: Job | None = None) -> Candidate:
        """So many good and so many bad neurons of a scorer; of the desk's job, or of another one of the group."""
        payload = desk.shelf.get(self.scores(job or desk.job, desk.shelf, name))
        assert payload is not None
        return candidate_of(read(payload), count, draws=registry().make(Scorer, name).draws)

    def split_of(self, desk: Desk, job: Job) -> Split:
        """The examples of any job of the group."""
        payload = desk.shelf.get(self.sizes.unit(job))
        assert payload is not None
        return Prepared(payload).split


class GroupRows(TaskRows):
    """A part that sets the neurons of all tasks of a model and seed against each other."""

    of_group = True

    def _units(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Iterator[Unit]:
        examples = self.sizes.unit(job)
        yield examples
        if not shelf.has(examples):
            return
        yield from self.needs(job, group, shelf)
        # the other tasks' scores are made where their own examples are
        # in one order, whatever order was asked for
        group = sorted(group, key=lambda one: one.name)
        first = [self.sizes.unit(one) for one in group]
        if not all(map(shelf.has, first)):
            return
        needs = [unit for one in group for unit in self.needs(one, group, shelf)]
        if all(map(shelf.has, needs)):
            yield self.unit(job, group, [*first, *needs])

    def rankings(self, desk: Desk, group: Sequence[Job], scorer: str) -> dict[str, dict[str, NeuronSet]]:
        """By role and task, every neuron of that role, strongest first."""
        n_units = desk.model.n_layers * desk.model.units(self.classes.site)
        found = {one.name: self.candidate(desk, scorer, n_units, one) for one in group}
        return {
            role: {task: neurons for task, one in found.items() for name, neurons in one.sets if name == role}
            for role in ROLES
        }
