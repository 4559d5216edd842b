"""The parts that can be measured; imports torch."""

from __future__ import annotations

from neuron_antagonism.parts.antagonism import AntagonismRows
from neuron_antagonism.parts.budgets import BudgetRows
from neuron_antagonism.parts.choices import ChoiceRows
from neuron_antagonism.parts.common import CommonRows
from neuron_antagonism.parts.cross import CrossRows
from neuron_antagonism.parts.distributions import DistributionRows
from neuron_antagonism.parts.gating import GatingRows
from neuron_antagonism.parts.layers import LayerRows
from neuron_antagonism.parts.leaderboard import LeaderboardRows
from neuron_antagonism.parts.masking import MaskingRows
from neuron_antagonism.parts.probabilities import ProbabilityRows
from neuron_antagonism.parts.rows import Rows
from neuron_antagonism.parts.runs import RunRows
from neuron_antagonism.parts.specs import (
    Antagonism,
    Budgets,
    Choices,
    Classes,
    Common,
    Cross,
    Distributions,
    Gating,
    Judging,
    Layers,
    Masking,
    PartSpec,
    Probabilities,
    Run,
)

KINDS: dict[type[PartSpec], type[Rows]] = {
    Masking: MaskingRows,
    Distributions: DistributionRows,
    Gating: GatingRows,
    Antagonism: AntagonismRows,
    Run: RunRows,
    Judging: LeaderboardRows,
    Common: CommonRows,
    Budgets: BudgetRows,
    Cross: CrossRows,
    Layers: LayerRows,
    Probabilities: ProbabilityRows,
    Choices: ChoiceRows,
}


def part_of(spec: PartSpec, classes: Classes, text: tuple[str, ...]) -> Rows:
    """The part that a spec states.

    Args:
        spec: what is measured.
        classes: how examples are drawn by class, and where units are.
        text: plain texts for perplexity; () = the texts of the evaluation examples.
    """
    return KINDS[type(spec)](spec, classes, text)
