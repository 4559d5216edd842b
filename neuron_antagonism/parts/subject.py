"""What the parts of a suite work on: a model, a task's examples by class, and what was learned of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.edits import fitted
from neuron_antagonism.method.observe import ValueStatistics, value_statistics
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.parts.specs import Classes
from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.progress import Progress, prefixed
from neuron_antagonism.runs.work import Desk
from neuron_antagonism.tasks.concepts import ConceptSplit, concept_split
from neuron_antagonism.tasks.load import LoadedTask


@dataclass(frozen=True)
class Concept:
    """A class and what was learned of it.

    Attributes:
        name: the class.
        questions: rightly answered questions that were learned from.
        saliency: mean |value| of every unit over them.
    """

    name: str
    questions: int
    saliency: Attribution


class Subject:
    """One task of a suite on one model; what is expensive is computed once, when first asked for.

    Args:
        classes: how examples are drawn by class.
        task: one of its tasks.
        model: the unedited model.
        text: plain texts for perplexity; () = the texts of the evaluation examples.
        seed: of every draw.
        progress: called with what is being done, how much is done and how much there is.
    """

    def __init__(
        self,
        classes: Classes,
        task: LoadedTask,
        model: HookedModel,
        text: Sequence[str] = (),
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        """Choose the examples; nothing is run yet."""
        self.classes, self.task, self.model, self.seed = classes, task, model, seed
        self.split: ConceptSplit = concept_split(
            task,
            form=classes.form,
            identify=classes.identify,
            evaluate=classes.evaluate,
            shots=classes.shots,
            seed=seed,
            fits=model,
        )
        own = [example.item.text for example in self.split.evaluate if example.item is not None]
        self.text = list(text) or own
        self._progress = progress
        self._masks: dict[tuple[str, str], Intervention] = {}

    @classmethod
    def at(cls, desk: Desk, classes: Classes, text: Sequence[str]) -> Subject:
        """The subject of a job, the same for all parts that have the same classes."""
        key = ("subject", classes, tuple(text))
        model = desk.model
        if key not in desk.kept:
            # where answers are read hangs on this job's prompts alone, whatever this process has asked before
            model.letters.recall([])
            found = cls(classes, desk.job.task.loaded, model, text, desk.job.seed, desk.progress)
            desk.kept[key] = found, model.letters.told()
        subject, told = desk.kept[key]
        model.letters.recall(told)
        assert isinstance(subject, Subject)
        return subject

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    def progress(self, what: str) -> Progress | None:
        """Reports on a piece of work under the task's name."""
        return prefixed(self._progress, f"{what}, ")

    @cached_property
    def statistics(self) -> ValueStatistics:
        """Values of every unit on the identification examples, by class."""
        return value_statistics(
            self.model,
            self.split.identify,
            self.split.concepts,
            site=self.classes.site,
            progress=self.progress("statistics"),
        )

    @cached_property
    def concepts(self) -> list[Concept]:
        """The classes of which the model answers enough to learn from."""
        return [self._concept(name) for name in self.split.concepts if name not in self.left_out]

    def check(self) -> None:
        """Raise DataError unless there are two classes to learn from."""
        if len(self.split.concepts) - len(self.left_out) < 2:
            counts = ", ".join(f"{name} {self.statistics.of(name).count}" for name in self.split.concepts)
            raise DataError(
                f"of task {self.name!r} {self.model.name} answers too few questions rightly ({counts}); accepted: at "
                f"least {self.classes.least} of each of two classes; more examples, or the suite's field least"
            )

    @cached_property
    def left_out(self) -> dict[str, int]:
        """Classes with too few rightly answered questions, and how many they have."""
        counts = {name: self.statistics.of(name).count for name in self.split.concepts}
        return {name: count for name, count in counts.items() if count < self.classes.least}

    def of(self, concept: str) -> Bool[np.ndarray, " example"]:
        """Which evaluation examples are of a class."""
        return np.array([example.proxies[0].concept == concept for example in self.split.evaluate])

    def mask(self, name: str, concept: str) -> Intervention:
        """The intervention of a name, fitted on every unit and on a class's rightly answered questions."""
        if (name, concept) not in self._masks:
            (every,) = (one.saliency.top_share(1.0) for one in self.concepts if one.name == concept)
            ranges = registry().make(Intervention, name, {"concept": concept, "answered": "right"})
            self._masks[name, concept] = fitted(ranges, self.model, self.split.identify, every)
        return self._masks[name, concept]

    def _concept(self, name: str) -> Concept:
        own = self.statistics.of(name)
        # what the scorer of ranges computes, without another pass
        saliency = Attribution(
            scores=own.mean_abs.float(),
            example_scores=own.mean_abs.float()[None],
            site=self.classes.site,
            roles=("good",),
        )
        return Concept(name, own.count, saliency)


def check_layers(part: str, layers: Sequence[int], n_layers: int) -> None:
    """Raise UsageError where a part names blocks that the model lacks."""
    if any(layer >= n_layers for layer in layers):
        raise UsageError(f"part {part!r} names block {max(layers)}; accepted: 0 to {n_layers - 1} of this model")
