"""Options of the scorers that say what taking a neuron out does to a target."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import neuron_antagonism as na

Baseline = Literal["zero", "mean", "counterfactual"]


class EffectOptions(na.Options):
    """What is explained."""

    target: str = Field(
        default="log-odds",
        description="the target F: letter-probability, contrast, probability, log-odds, logit-difference, a plugin's, "
        "or a scorer's by its name",
    )


class BaselineOptions(EffectOptions):
    """What is explained, and against what."""

    baseline: Baseline = Field(
        default="zero",
        description="what a neuron is taken to: 'zero'; 'mean': its mean over the identification questions; "
        "'counterfactual': its value on the question with its options rotated, or the item's own counterfactual",
    )


class EffectScorer(na.Scorer):
    """A scorer of effects on the target that its options name."""

    @property
    def target(self) -> na.Target:  # type: ignore[override]  # a property, as contracts allow
        """The target of that name."""
        return na.target_of(self.options.target)
