"""What a judge works with: a model, its evaluation questions, and the scores that are judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Shaped

from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.edits import MAKERS, Edit
from neuron_antagonism.method.evaluate import Evaluation, evaluate_many
from neuron_antagonism.metrics.interaction import example_log_odds
from neuron_antagonism.metrics.judges import over_texts
from neuron_antagonism.metrics.judges.means import weighted_means
from neuron_antagonism.parts.specs import Judging
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.settings import Settings
from neuron_antagonism.types import Example
from neuron_antagonism.units.neurons import Candidate, candidate_of

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.progress import Progress
    from neuron_antagonism.runs.work import Desk

Row = dict[str, Any]
"""judge, value, low, high: what is measured, and the ends of its 95 % interval; None where there is none."""


@dataclass(frozen=True)
class Bench:
    """What a judge works with.

    Args:
        desk: the job's.
        spec: what is asked for.
        site: where neurons are.
        identify: the examples that scores come from.
        evaluate: the held-out examples, as they come.
        scorers: by name.
        scores: by the scorer's name.
        truth: exact effects of every neuron on the first held-out examples; None for judges that need none.
        more: all identification examples there are, `identify` the first of them.
    """

    desk: Desk
    spec: Judging
    site: str
    identify: Sequence[Example]
    evaluate: Sequence[Example]
    scorers: Mapping[str, Scorer]
    scores: Mapping[str, Attribution]
    truth: Float[np.ndarray, "question layer neuron"] | None
    more: Sequence[Example]

    @property
    def model(self) -> HookedModel:
        """The model."""
        return self.desk.model

    @property
    def seed(self) -> int:
        """Of every draw."""
        return self.desk.job.seed

    @property
    def settings(self) -> Settings:
        """How attribution is carried out."""
        return Settings(steps=self.spec.steps, site=self.site, budget=self.spec.budget, seed=self.seed)

    @cached_property
    def units(self) -> Shaped[np.ndarray, " example"]:
        """The text of each held-out example."""
        return np.array([example.unit for example in self.evaluate])

    def told(self, what: str) -> Progress | None:
        """Progress under the judge's name."""
        return self.desk.told(what)

    def says_nothing(self, name: str) -> bool:
        """Whether a scorer gives all neurons the same score, so that any ranking of them would be ours."""
        scores = self.scores[name].scores
        return bool(scores.min() == scores.max())

    def candidate(self, name: str, count: int | None = None) -> Candidate:
        """A scorer's good and bad neurons, `budget` of each."""
        return candidate_of(self.scores[name], count or self.spec.budget)

    def edit(self, mode: str, found: Candidate) -> Edit:
        """The enhancer or degrader of half good and half bad neurons; good ones alone where there are no bad ones."""
        ratio = 1.0 if found.bad is None else 0.5
        return MAKERS[mode](found.good, found.bad, budget=self.spec.budget, ratio=ratio, site=self.site)

    def answers(self, edits: Sequence[Edit | None], what: str) -> list[Evaluation]:
        """Answers to the held-out examples under edits."""
        how: dict[str, Any] = {"seed": self.seed, "progress": self.told(what)}
        return evaluate_many(self.model, self.evaluate, edits, **how)

    def log_odds(self, edits: Sequence[Edit | None], what: str) -> Float[np.ndarray, "edit example"]:
        """Log-odds of the right letter under edits, by example, in nats."""
        return np.stack([example_log_odds(one) for one in self.answers(edits, what)])

    def mean(self, judge: str, values: Float[np.ndarray, " example"]) -> Row:
        """A mean over the held-out examples with its interval over their texts."""
        found = over_texts(weighted_means, values, units=self.units, seed=self.seed)
        return row(judge, float(found.value), float(found.low), float(found.high))


def row(judge: str, value: float, low: float | None = None, high: float | None = None, note: str = "") -> Row:
    """A row; nan, which says that there is nothing to measure or to bound, becomes None; `note` says why."""
    return {"judge": judge, **figure(value, low, high)} | ({"note": note} if note else {})


def figure(value: float | None, low: float | None = None, high: float | None = None) -> Row:
    """value, low, high as plain numbers; nan becomes None."""
    numbers = {"value": value, "low": low, "high": high}
    return {name: None if one is None or np.isnan(one) else float(one) for name, one in numbers.items()}


class Judge(ABC):
    """One way to judge scores.

    Class attributes:
        name: what people ask for.
        fields: of the spec, on which its figures depend.
        needs_truth: whether it compares with exact ablation.
        points: of its curve, each of which has a row of its own.
    """

    name: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ()
    points: ClassVar[tuple[float, ...]] = ()
    needs_truth: ClassVar[bool] = False

    @abstractmethod
    def measure(self, at: Bench) -> dict[str, list[Row]]:
        """Rows of every scorer that the bench holds; forwards are shared among them."""
