"""What a task's questions look like, and how far one gets without reading them."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_antagonism.metrics.natural import Natural
from neuron_antagonism.tasks.load import LoadedTask
from neuron_antagonism.tasks.splits import SplitReport
from neuron_antagonism.types import Question


@dataclass(frozen=True)
class Preview:
    """A task in one form.

    Attributes:
        question: one of those that an evaluation asks.
        natural: the level of chance, with the text-blind baselines.
        report: what was read and left out.
    """

    question: Question
    natural: Natural
    report: SplitReport

    @property
    def baselines(self) -> dict[str, float]:
        """Accuracy of a guess and of the text-blind baselines, by name."""
        return {"guess": 1 / self.natural.options, **self.natural.blind}


def preview(task: LoadedTask, form: str, *, shots: int | None = None, seed: int = 0) -> Preview:
    """The first question of an evaluation set; no model is needed.

    Args:
        task: the task with its data.
        form: "letters" or "words".
        shots: in words, how many answered examples a prompt shows; see `LoadedTask.split`.
        seed: of the draws.

    Raises:
        DataError: unreadable data, or too little.
        UsageError: a form that the task does not suit.
    """
    split = task.split(0, 0, 1, seed=seed, form=form, shots=shots)
    return Preview(split.evaluate[0].proxies[0], split.natural, split.report)
