"""Causal agreement: do scores rank neurons as exact ablation does on held-out questions?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Shaped

from neuron_antagonism.metrics.judges import FIGURES, agreement_over_texts, split_half
from neuron_antagonism.parts.judging.bench import Bench, Judge, Row, row
from neuron_antagonism.types import Example

CEILING = "ceiling"
"""Stands in a scorer's place: what exact ablation of half of the questions reaches on the other half."""


class Agreement(Judge):
    """Correlations, signs and overlaps with the mean exact effect (see `metrics.judges.agreement`).

    Over all neurons; `agreement.spearman-nonzero` over those that the scorer gives a score.
    """

    name = "agreement"
    fields = ("target", "baseline", "truth", "wordings")
    needs_truth = True

    def measure(self, at: Bench) -> dict[str, list[Row]]:
        """A row for each figure."""
        assert at.truth is not None
        units = question_texts(in_turn(at.evaluate[: at.spec.truth], at.spec.wordings))
        found: dict[str, list[Row]] = {}
        for name, one in at.scores.items():
            if at.says_nothing(name):
                found[name] = [row("agreement.spearman", float("nan"), note="all neurons have the same score")]
                continue
            scores = one.scores.double().numpy()
            figures = agreement_over_texts(scores, at.truth, units, seed=at.seed)
            rows = [row(f"agreement.{figure}", value, *ends) for figure, (value, ends) in figures.items()]
            if not scores.all():
                figures = agreement_over_texts(scores, at.truth, units, nonzero=True, seed=at.seed)
            value, ends = figures["spearman"]
            found[name] = [*rows, row("agreement.spearman-nonzero", value, *ends)]
        return found


def ceiling(
    truth: Float[np.ndarray, "question layer neuron"], units: Shaped[np.ndarray, " question"], seed: int
) -> list[Row]:
    """What exact ablation reaches that has seen half of the questions, on the other half."""
    found = split_half(truth, units, seed)
    return [row(f"agreement.{figure}", found[figure]) for figure in FIGURES]


def in_turn(examples: Sequence[Example], wordings: int | None) -> list[Example]:
    """Examples with so many of their wordings each, all where there are fewer or none is said.

    Each example's are the next in turn: more texts for the same work, and no wording preferred.
    """
    found = []
    for number, example in enumerate(examples):
        there = len(example.proxies)
        count = min(wordings or there, there)
        asked = tuple(example.proxies[(number * count + i) % there] for i in range(count))
        found.append(replace(example, proxies=asked))
    return found


def question_texts(examples: Sequence[Example]) -> Shaped[np.ndarray, " question"]:
    """The text of each question."""
    return np.array([example.unit for example in examples for _ in example.proxies])
