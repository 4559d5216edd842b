"""Options of the scorers that say what taking a neuron out does to a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

import neuron_antagonism as na

Baseline = Literal["zero", "mean", "counterfactual"]


TARGETS = "letter-probability, contrast, probability, log-odds, logit-difference, a plugin's, or a scorer's by its name"
TAKEN_TO = (
    "what a neuron is taken to: 'zero'; 'mean': its mean over the identification questions; 'counterfactual': its "
    "value on the question with its options rotated, or the item's own counterfactual"
)


class EffectOptions(na.Options):
    """What is explained, and against what."""

    target: str = Field(default="log-odds", description=f"the target F: {TARGETS}")
    baseline: Baseline = Field(default="zero", description=TAKEN_TO)


class EffectScorer(na.Scorer):
    """A scorer of effects on the target that its options name."""

    @property
    def target(self) -> na.Target:  # type: ignore[override]  # a property, as contracts allow
        """The target of that name."""
        return na.target_of(self.options.target)

    def scored(
        self, found: na.Ablation | na.LinearEffects, examples: Sequence[na.Example], settings: na.Settings
    ) -> na.Attribution:
        """Scores of effects that were found: their mean over the questions."""
        return na.Attribution.of_questions(
            found.effects,
            examples,
            scorer=self.name,
            options=self.options.model_dump(),
            target=found.target,
            engine=found.engine,
            engine_reason=found.engine_reason,
            site=settings.site,
        )
