"""What was read for an evaluation set, before half of it was chosen by outcome: what the data is like by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from neuron_antagonism.metrics.bootstrap import Interval
from neuron_antagonism.metrics.effects import METRICS, natural_level
from neuron_antagonism.metrics.outcomes import Outcomes, needed


@dataclass
class Natural:
    """All examples that were read for an evaluation set, as the reference model answers them.

    Attributes:
        right, proxies: of each example, how many of its questions were answered rightly, of how many.
        units: a number for the text of each example.
        options: options of a question.
        blind: accuracy of the text-blind baselines by name, on the part of the data that is evaluated.
    """

    right: list[int] = field(default_factory=list)
    proxies: list[int] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    options: int = 4
    blind: dict[str, float] = field(default_factory=dict)

    @property
    def read(self) -> int:
        """How many examples; 0 where no reference model was asked."""
        return len(self.right)

    @property
    def outcomes(self) -> Outcomes | None:
        """The same as outcomes of one set that was not drawn by stratum; None where no reference model was asked."""
        if not self.read:
            return None
        right, proxies, units = (np.array(each) for each in (self.right, self.proxies, self.units))
        return Outcomes(right, proxies, np.zeros(self.read), units=units)

    @property
    def counts(self) -> tuple[int, int] | None:
        """How many examples are understood, and how many were read; None where no reference model was asked."""
        return None if self.outcomes is None else (self.outcomes.n_understood, self.read)

    @property
    def understood(self) -> float | None:
        """Share of examples that are understood, π in 0..1; the same as `com`."""
        return self.com

    @property
    def acc(self) -> float | None:
        """Share of questions that are answered rightly, 0..1."""
        return None if self.outcomes is None else self.outcomes.acc

    @property
    def com(self) -> float | None:
        """Share of examples that are understood, 0..1."""
        return None if self.outcomes is None else self.outcomes.com

    def intervals(self, seed: int = 0) -> tuple[Interval, Interval] | None:
        """95 % intervals of `acc` and `com`, over texts; None where no reference model was asked."""
        if self.outcomes is None:
            return None
        draws = self.outcomes.resamples(seed)
        levels = [natural_level(self.outcomes, metric, draws, None) for metric in METRICS]
        acc, com = (level[1] for level in levels if level is not None)
        return acc, com

    @property
    def chance(self) -> float:
        """Accuracy without reading: of a guess, or of the best text-blind baseline where that is better."""
        return max([1 / self.options, *self.blind.values()])

    @property
    def chance_com(self) -> float:
        """Comprehension at chance: at least two thirds of an example's questions right, by independent guesses."""
        n = max(self.proxies, default=3)
        least = int(needed(np.array([n]))[0])
        return sum(math.comb(n, k) * self.chance**k * (1 - self.chance) ** (n - k) for k in range(least, n + 1))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, from which `from_json` makes the same."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
            ValueError: values of other kinds.
        """
        lists = [values[name] for name in ("right", "proxies", "units")]
        if not all(isinstance(one, list) and all(type(n) is int for n in one) for one in lists):
            raise ValueError("right, proxies and units are no lists of whole numbers")
        blind = values["blind"]
        if type(values["options"]) is not int or not isinstance(blind, dict):
            raise ValueError("options is no whole number, or blind no accuracy by name")
        if not all(isinstance(level, int | float) for level in blind.values()):
            raise ValueError("blind holds something else than accuracies")
        return cls(**values)
