"""What the method's own choices do: each changed by itself, judged by control and by exact ablation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from neuron_antagonism.errors import AntagonismError, DataError
from neuron_antagonism.method.ablate import ablate
from neuron_antagonism.method.attribute import attribute_each
from neuron_antagonism.method.edits import MAKERS, Edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.metrics.interaction import example_log_odds
from neuron_antagonism.metrics.judges import agreement_over_texts, jaccard, over_texts
from neuron_antagonism.metrics.judges.means import weighted_means
from neuron_antagonism.metrics.outcomes import MODES, sign
from neuron_antagonism.parts.judging.agreement import question_texts
from neuron_antagonism.parts.judging.bench import figure
from neuron_antagonism.parts.natural import natural_levels
from neuron_antagonism.parts.of_tasks import TaskRows
from neuron_antagonism.parts.specs import Choices
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.settings import Settings
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.types import Example, Question, rotated
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import Candidate, candidate_of

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

OPTIONS = ("ambiguous", "z")
"""Choices that are options of the scorer."""

Values = Float[np.ndarray, "layer neuron"]
Truth = tuple[Float[np.ndarray, "question layer neuron"], Shaped[np.ndarray, " question"]]
"""Exact effects, and the text of each question."""


@dataclass(frozen=True)
class _Variant:
    """One setting of one choice; or the standard, which is no setting of any.

    Args:
        choice, setting: what is changed, and to what.
        scorer, settings, examples: how neurons are scored.
        positions: where edits act.
    """

    choice: str
    setting: Any
    scorer: Scorer
    settings: Settings
    examples: Sequence[Example]
    positions: str = "last"

    def acting(self) -> Scorer:
        """The scorer, with the option that is changed."""
        return self.scorer.with_options(**{self.choice: self.setting}) if self.choice in OPTIONS else self.scorer

    def asked(self) -> list[Example]:
        """The examples, as this setting asks them.

        Raises:
            DataError: there are fewer examples or wordings than it takes, or options that can't be put elsewhere.
        """
        there = {"examples": len(self.examples), "wordings": min(len(one.proxies) for one in self.examples)}
        if self.choice in there and self.setting > there[self.choice]:
            raise DataError(f"there are {there[self.choice]} {self.choice}; accepted: at most so many")
        if self.choice not in ("wordings", "letters", "order") or self.setting in ("balanced", "as asked"):
            return list(self.examples)
        return [_asked(example, self.choice, self.setting) for example in self.examples]


@dataclass(frozen=True)
class ChoiceRows(TaskRows):
    """The part `choices`: a row for each task, scorer, choice, setting and figure: value, low and high.

    Figures: `enhance`, `degrade`: change of the right letter's log-odds in nats under the edit of half good and half
    bad neurons, + what it is for; `enhance-beyond`, `degrade-beyond`: the same less that of the standard, on the same
    questions; `spearman`, `good@100`: agreement with exact ablation at the same site; `same`: overlap of the good
    neurons with the standard's. Intervals are over texts of the evaluation set, which is taken as it comes; what other
    identification examples would do lies outside them. A setting that can't be had holds the reason.
    """

    kind = "choices"
    stratified = False
    spec: Choices

    @property
    def sizes(self) -> Sizes:
        """The examples; as many to learn from as any setting takes."""
        return replace(super().sizes, identify=self.spec.most)

    def depth(self, n_units: int) -> int:
        """The edits' budget."""
        return min(self.spec.budget, n_units)

    def needs(self, job: Job, group: Sequence[Job], shelf: Shelf) -> list[Unit]:
        """Nothing: every setting's scores are its own."""
        return []

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task."""
        split = self.sizes.at(desk).split
        rows: list[dict[str, Any]] = []
        truth: dict[str, Truth] = {}
        for name in self.spec.scorers:
            rows += self._rows(desk, split, registry().make(Scorer, name), truth)
        return Payload({"rows": rows, "notes": split.report.notes})

    def _rows(self, desk: Desk, split: Split, scorer: Scorer, truth: dict[str, Truth]) -> Iterator[dict[str, Any]]:
        evaluate = split.evaluate
        standard, *variants = self._variants(desk, split.identify, scorer)
        found: dict[int, tuple[Candidate, Values]] = {}
        reasons: dict[int, str] = {}
        for number, variant in enumerate([standard, *variants]):
            try:
                (scored,) = attribute_each(desk.model, variant.asked(), [variant.acting()], variant.settings)
            except AntagonismError as error:
                if variant is standard:
                    raise
                reasons[number] = str(error)
                continue
            found[number] = candidate_of(scored, self.spec.budget), scored.scores.double().numpy()
        every = [standard, *variants]
        edits = [self._edit(every[i], mode, candidate) for i, (candidate, _) in found.items() for mode in MODES]
        told = desk.told(f"{self.name}, {scorer.name}")
        answers = evaluate_many(desk.model, evaluate, [None, *edits], seed=desk.job.seed, progress=told)
        odds = np.stack([example_log_odds(one) for one in answers])
        changes = (odds[1:] - odds[0]).reshape(len(found), len(MODES), -1)
        by_number = dict(zip(found, changes, strict=True))
        texts = np.array([example.unit for example in evaluate])
        for number in found:
            site = every[number].settings.site
            if site not in truth:
                # the same for every scorer
                truth[site] = self._truth(desk, evaluate, site)
        base, seed = answers[0].outcomes, desk.job.seed
        above = natural_levels(split, base, base.resamples(seed), seed)["above_chance"]
        for number, variant in enumerate(every):
            about = {"task": desk.job.name, "scorer": scorer.name, "choice": variant.choice}
            about |= {"setting": str(variant.setting), "above_chance": above}
            if number in reasons:
                yield about | _figure("enhance", None) | {"reason": reasons[number]}
                continue
            candidate, scores = found[number]
            for one in _control(by_number[number], by_number[0], texts, seed):
                yield about | one | {"reason": ""}
            effects, units = truth[variant.settings.site]
            agreed = agreement_over_texts(scores, effects, units, seed=seed)
            for name in ("spearman", "good@100"):
                value, ends = agreed[name]
                yield about | _figure(name, value, *ends) | {"reason": ""}
            site = self.classes.site
            same = jaccard([found[0][0].good.at(site), candidate.good.at(site)])
            yield about | _figure("same", same) | {"reason": ""}

    def _variants(self, desk: Desk, identify: Sequence[Example], scorer: Scorer) -> list[_Variant]:
        site = self.classes.site
        settings = Settings(site=site, budget=self.spec.budget, seed=desk.job.seed, progress=desk.told(self.name))
        first = identify[: self.spec.identify]
        standard = _Variant("standard", "", scorer, settings, first)
        found = [standard]
        for choice, values in self.spec.choices.items():
            for value in values:
                own = replace(standard, choice=choice, setting=value)
                if choice in ("steps", "quadrature", "site"):
                    own = replace(own, settings=replace(settings, **{choice: value}))
                elif choice == "examples":
                    own = replace(own, examples=identify[:value])
                elif choice == "positions":
                    own = replace(own, positions=value)
                found.append(own)
        return found

    def _edit(self, variant: _Variant, mode: str, candidate: Candidate) -> Edit:
        how: dict[str, Any] = {"budget": self.spec.budget, "ratio": 0.5 if candidate.bad is not None else 1.0}
        how |= {"site": variant.settings.site, "positions": variant.positions}
        return MAKERS[mode](candidate.good, candidate.bad, **how)

    def _truth(self, desk: Desk, evaluate: Sequence[Example], site: str) -> Truth:
        examples = evaluate[: self.spec.truth]
        found = ablate(desk.model, examples, self.spec.target, site=site, progress=desk.told(f"{self.name}, truth"))
        return found.effects.float().numpy(), question_texts(examples)


def _asked(example: Example, choice: str, value: Any) -> Example:
    """An identification example asked in another way."""
    if choice == "wordings":
        return replace(example, proxies=example.proxies[:value])
    turns = 1 if choice == "order" else None
    return replace(example, proxies=tuple(_turned(question, turns) for question in example.proxies))


def _turned(question: Question, turns: int | None) -> Question:
    """A question with its options so many letters further on; None: the right one at the first letter."""
    count = (len(question.letters) - question.answer) % len(question.letters) if turns is None else turns
    for _ in range(count):
        turned = rotated(question)
        if turned is None:
            raise DataError(
                "a question does not list its options after their letters, so that they can't be put in another order; "
                "accepted: choices without letters and order"
            )
        question = turned
    return question


def _control(
    changes: Float[np.ndarray, "mode example"],
    standard: Float[np.ndarray, "mode example"],
    texts: Shaped[np.ndarray, " example"],
    seed: int,
) -> Iterator[dict[str, Any]]:
    for number, mode in enumerate(MODES):
        for name, values in ((mode, changes[number]), (f"{mode}-beyond", changes[number] - standard[number])):
            found = over_texts(weighted_means, sign(mode) * values, units=texts, seed=seed)
            yield _figure(name, float(found.value), float(found.low), float(found.high))


def _figure(name: str, value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"figure": name} | figure(value, low, high)
