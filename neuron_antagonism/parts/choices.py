"""What the method's own choices do: each changed by itself, judged by control and by exact ablation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from neuron_antagonism.errors import AntagonismError
from neuron_antagonism.method.ablate import ablate
from neuron_antagonism.method.attribute import attribute_each
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.edits import MAKERS, Edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.metrics.interaction import example_log_odds
from neuron_antagonism.metrics.judges import agreement_over_texts, jaccard, over_texts
from neuron_antagonism.metrics.judges.means import weighted_means
from neuron_antagonism.metrics.outcomes import MODES, sign
from neuron_antagonism.parts.judging.agreement import in_turn, question_texts
from neuron_antagonism.parts.judging.bench import figure
from neuron_antagonism.parts.natural import natural_levels
from neuron_antagonism.parts.of_tasks import TaskRows
from neuron_antagonism.parts.specs import Choices
from neuron_antagonism.parts.variants import Variant, variants
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.settings import Settings
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.types import Example
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import Candidate, candidate_of

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

Values = Float[np.ndarray, "layer neuron"]
Truth = tuple[Float[np.ndarray, "question layer neuron"], Shaped[np.ndarray, " question"]]
"""Exact effects, and the text of each question."""


@dataclass(frozen=True)
class ChoiceRows(TaskRows):
    """The part `choices`: a row for each task, scorer, choice, setting and figure: value, low and high.

    `n_good` and `n_bad` are the neurons that are edited: a setting that scores too few edits fewer than the budget.
    Figures: `enhance`, `degrade`: change of the right letter's log-odds in nats under the edit of half good and half
    bad neurons, + what it is for; `enhance-beyond`, `degrade-beyond`: the same less that of the standard, on the same
    questions; `spearman`, `good@100`: agreement with exact ablation at the same site, unless none is asked for;
    `same`: overlap of the good neurons with the standard's. Intervals are over texts of the evaluation set, which is
    taken as it comes; what other identification examples would do lies outside them. A setting that can't be had holds
    the reason.
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
        settings = Settings(
            site=self.classes.site, budget=self.spec.budget, seed=desk.job.seed, progress=desk.told(self.name)
        )
        standard = Variant("standard", "", scorer, settings, split.identify[: self.spec.identify])
        every = [standard, *variants(standard, self.spec.choices, split.identify)]
        found, reasons = self._scored(desk, every)
        edits = {i: [self._edit(every[i], mode, one) for mode in MODES] for i, (one, _) in found.items()}
        # settings that choose the same neurons are asked once
        asked = {_does(edit): edit for both in edits.values() for edit in both}
        told = desk.told(f"{self.name}, {scorer.name}")
        answers = evaluate_many(desk.model, evaluate, [None, *asked.values()], seed=desk.job.seed, progress=told)
        odds = [example_log_odds(one) for one in answers]
        change = {what: own - odds[0] for what, own in zip(asked, odds[1:], strict=True)}
        by_number = {i: np.stack([change[_does(edit)] for edit in both]) for i, both in edits.items()}
        texts = np.array([example.unit for example in evaluate])
        base, seed = answers[0].outcomes, desk.job.seed
        above = natural_levels(split, base, base.resamples(seed), seed)["above_chance"]
        for number, variant in enumerate(every):
            about: dict[str, Any] = {"task": desk.job.name, "scorer": scorer.name, "choice": variant.choice}
            about |= {"setting": str(variant.setting), "above_chance": above, "n_good": None, "n_bad": None}
            if number in reasons:
                yield about | _figure("enhance", None) | {"reason": reasons[number]}
                continue
            candidate, scores = found[number]
            about |= {"n_good": edits[number][0].n_good, "n_bad": edits[number][0].n_bad}
            for one in _control(by_number[number], by_number[0], texts, seed):
                yield about | one | {"reason": ""}
            if self.spec.truth:
                if variant.settings.site not in truth:
                    # the same for every scorer
                    truth[variant.settings.site] = self._truth(desk, evaluate, variant.settings.site)
                effects, units = truth[variant.settings.site]
                agreed = agreement_over_texts(scores, effects, units, seed=seed)
                for name in ("spearman", "good@100"):
                    value, ends = agreed[name]
                    yield about | _figure(name, value, *ends) | {"reason": ""}
            site = self.classes.site
            same = jaccard([found[0][0].good.at(site), candidate.good.at(site)])
            yield about | _figure("same", same) | {"reason": ""}

    def _scored(
        self, desk: Desk, every: Sequence[Variant]
    ) -> tuple[dict[int, tuple[Candidate, Values]], dict[int, str]]:
        """The neurons and scores of each setting, the first one's at least, and why the others have none.

        Settings that ask the same questions in the same way share their passes.
        """
        passes: list[tuple[Settings, list[Example], dict[int, Scorer]]] = []
        reasons: dict[int, str] = {}
        for number, variant in enumerate(every):
            try:
                scorer, examples = variant.acting(), variant.asked()
            except AntagonismError as error:
                reasons[number] = str(error)
                continue
            alike = next((p for p in passes if p[0] == variant.settings and p[1] == examples), None)
            if alike is None:
                passes.append((variant.settings, examples, {number: scorer}))
            else:
                alike[2][number] = scorer
        found = {}
        for settings, examples, scorers in passes:
            for number, one in self._attributed(desk, settings, examples, scorers):
                if isinstance(one, Attribution):
                    found[number] = candidate_of(one, self.spec.budget), one.scores.double().numpy()
                elif number == 0:
                    raise one
                else:
                    reasons[number] = str(one)
        return dict(sorted(found.items())), reasons

    @staticmethod
    def _attributed(
        desk: Desk, settings: Settings, examples: Sequence[Example], scorers: Mapping[int, Scorer]
    ) -> Iterator[tuple[int, Attribution | AntagonismError]]:
        """Attributions by shared passes; where one scorer fails each by itself, so that the others are not lost."""
        try:
            yield from zip(scorers, attribute_each(desk.model, examples, list(scorers.values()), settings), strict=True)
        except AntagonismError as error:
            if len(scorers) == 1:
                yield from dict.fromkeys(scorers, error).items()
                return
            for number, scorer in scorers.items():
                yield from ChoiceRows._attributed(desk, settings, examples, {number: scorer})

    def _edit(self, variant: Variant, mode: str, candidate: Candidate) -> Edit:
        how: dict[str, Any] = {"budget": self.spec.budget, "ratio": 0.5 if candidate.bad is not None else 1.0}
        how |= {"site": variant.settings.site, "positions": variant.positions}
        return MAKERS[mode](candidate.good, candidate.bad, **how)

    def _truth(self, desk: Desk, evaluate: Sequence[Example], site: str) -> Truth:
        examples = in_turn(evaluate[: self.spec.truth], self.spec.wordings)
        found = ablate(desk.model, examples, self.spec.target, site=site, progress=desk.told(f"{self.name}, truth"))
        return found.effects.float().numpy(), question_texts(examples)


def _does(edit: Edit) -> tuple[Any, ...]:
    """What an edit does to which neurons where, whatever their order."""
    parts = ((part.intervention.name, frozenset(part.neurons)) for part in edit.parts)
    return edit.mode, edit.positions, edit.site, *parts


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
