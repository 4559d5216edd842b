"""Dose response: does more of a scorer's good neurons help more, and more of its bad ones hinder more?"""

from __future__ import annotations

from functools import partial

import numpy as np

from neuron_antagonism.method.edits import Edit, Part
from neuron_antagonism.metrics.judges import SCALES, monotonicity, over_texts, slope
from neuron_antagonism.parts.judging.bench import Bench, Judge, Row, row
from neuron_antagonism.plugin.base import Intervention


class Scaled(Intervention):
    """Multiplies values by one factor."""

    name = "scaled"

    def __init__(self, factor: float) -> None:
        """The factor."""
        super().__init__()
        self.scale = factor  # type: ignore[misc]  # of this copy, which stands for a class of its own


class Dose(Judge):
    """Log-odds (nats) per unit of the factor by which good, or bad, neurons are multiplied: 0, .5, 1, 1.5, 2, 4.

    `slope` is that of the line through the unedited model; `monotonicity` the rank correlation of factor and change;
    `good@2` the mean change (nats) at one factor.
    """

    name = "dose"
    fields = ("budget",)
    points = SCALES

    def measure(self, at: Bench) -> dict[str, list[Row]]:
        """Every factor is a copy beside all others."""
        sets = [
            (name, role, neurons) for name in at.scores for role, neurons in at.candidate(name).sets if len(neurons)
        ]
        rows: dict[str, list[Row]] = {name: [] for name in at.scores}
        if not sets:
            return rows
        edits = [Edit((Part(Scaled(scale), neurons),), "last", at.site) for _, _, neurons in sets for scale in SCALES]
        odds = at.log_odds([None, *edits], self.name)
        changes = odds[1:].reshape(len(sets), len(SCALES), -1) - odds[0]
        for (name, role, _), change in zip(sets, changes, strict=True):
            line = over_texts(partial(slope, SCALES), change, units=at.units, seed=at.seed)
            rows[name] += [
                row(f"dose.{role}-slope", float(line.value), float(line.low), float(line.high)),
                row(f"dose.{role}-monotonicity", float(np.asarray(monotonicity(SCALES, change)))),
                *(at.mean(f"dose.{role}@{scale:g}", one) for scale, one in zip(SCALES, change, strict=True)),
            ]
        return rows
