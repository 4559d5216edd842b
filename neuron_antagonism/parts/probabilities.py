"""The probabilities of a few questions' options under the edits of several scorers (NeuronLLM, Figure 10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_antagonism.method.edits import Edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.metrics.outcomes import MODES
from neuron_antagonism.metrics.sweeps import GOOD_ONLY
from neuron_antagonism.parts.natural import natural_levels
from neuron_antagonism.parts.of_tasks import TaskRows
from neuron_antagonism.parts.specs import Probabilities
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.types import Question

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk


@dataclass(frozen=True)
class ProbabilityRows(TaskRows):
    """The part `probabilities`: a row for each task, direction, question, edit and option.

    Questions are chosen before anything is edited: the first of the evaluation set that the model answers wrongly, for
    enhancers, or rightly, for degraders; one an example. The first scorer's good and bad neurons are edited alone and
    together, at the ratio that the selection set chooses; the others' good ones alone, as in the paper. `probability`
    is over the options; `success` says whether the edit did what it is for.
    """

    kind = "probabilities"
    spec: Probabilities

    def depth(self, n_units: int) -> int:
        """The edits' budget."""
        return min(self.spec.budget, n_units)

    def further(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Iterator[Unit]:
        """Every scorer's neurons, the answers that choose the first one's ratio, and those without an edit."""
        sweeping = self.sweeping(job, shelf, self.spec.budget)
        first, *others = (self.neurons_of(job, shelf, name, self.spec.budget) for name in self.spec.scorers)
        yield from sweeping.units(job, shelf, first, ("select",))
        yield from [*others, sweeping.unedited(job, shelf, "evaluate")]

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task."""
        split = self.sizes.at(desk).split
        rows: list[dict[str, Any]] = []
        asked, above = self._questions(desk, split)
        for mode in MODES:
            if not asked[mode]:
                continue
            edits = dict(self._edits(desk, mode))
            answers = evaluate_many(desk.model, asked[mode], [None, *edits.values()], seed=desk.job.seed)
            for name, answer in zip(("original", *edits), answers, strict=True):
                probabilities = answer.option_probabilities.tolist()
                for number, (question, own) in enumerate(zip(asked[mode], probabilities, strict=True)):
                    right = bool(answer.right[number])
                    about = {"task": desk.job.name, "mode": mode, "question": number, "edit": name}
                    about |= {"cross_entropy": float(answer.cross_entropy[number])}
                    about |= {"success": None if name == "original" else right == (mode == "enhance")}
                    about |= {"prompt": question.prompt, "above_chance": above}
                    rows += [
                        about | {"option": letter, "right": place == question.answer, "probability": own[place]}
                        for place, letter in enumerate(question.letters)
                    ]
        return Payload({"rows": rows, "notes": split.report.notes})

    def _questions(self, desk: Desk, split: Split) -> tuple[dict[str, list[Question]], bool]:
        """By direction; and whether the model is above chance."""
        job, seed = desk.job, desk.job.seed
        unedited = self.sweeping(job, desk.shelf, self.spec.budget).baseline(job, desk.shelf, "evaluate")
        base = unedited.baseline
        above = bool(natural_levels(split, base, base.resamples(seed), seed)["above_chance"])
        chosen = iter(unedited.chosen(None).tolist())
        found: dict[str, list[Question]] = {mode: [] for mode in MODES}
        for example in split.evaluate:
            own = [(question, next(chosen) == question.answer) for question in example.proxies]
            for mode in MODES:
                fitting = [question for question, is_right in own if is_right == (mode == "degrade")]
                if fitting and len(found[mode]) < self.spec.questions:
                    found[mode].append(fitting[0])
        return found, above

    def _edits(self, desk: Desk, mode: str) -> Iterator[tuple[str, Edit]]:
        sweeping, shelf = self.sweeping(desk.job, desk.shelf, self.spec.budget), desk.shelf
        neurons = {name: self.neurons_of(desk.job, shelf, name, self.spec.budget) for name in self.spec.scorers}
        first, *others = self.spec.scorers
        for name in others:
            yield name, sweeping.edit(shelf, neurons[name], mode, GOOD_ONLY)
        yield f"{first}, good", sweeping.edit(shelf, neurons[first], mode, GOOD_ONLY)
        if sweeping.first(shelf, neurons[first]).bad is not None:
            yield f"{first}, bad", sweeping.edit(shelf, neurons[first], mode, 0)
            both = sweeping.choose(desk.job, shelf, neurons[first])[mode]
            yield f"{first}, both", sweeping.edit(shelf, neurons[first], mode, both)
