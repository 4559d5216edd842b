"""What was read for an evaluation set, before half of it was chosen by outcome: what the data is like by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from neuron_antagonism.method.bootstrap import REPLICATES, Interval, Resamples, interval_around
from neuron_antagonism.method.statistics import needed


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
    def counts(self) -> tuple[int, int] | None:
        """How many examples are understood, and how many were read; None where no reference model was asked."""
        return (sum(self._understood), self.read) if self.read else None

    @property
    def understood(self) -> float | None:
        """Share of examples that are understood, π in 0..1; the same as `com`."""
        return sum(self._understood) / self.read if self.read else None

    @property
    def acc(self) -> float | None:
        """Share of questions that are answered rightly, 0..1."""
        return sum(self.right) / sum(self.proxies) if self.read else None

    @property
    def com(self) -> float | None:
        """Share of examples that are understood, 0..1."""
        return self.understood

    @property
    def _understood(self) -> list[bool]:
        return list(np.array(self.right) >= needed(np.array(self.proxies)))

    def intervals(self, seed: int = 0) -> tuple[Interval, Interval] | None:
        """95 % intervals of `acc` and `com`, over texts; None where no reference model was asked."""
        if self.acc is None or self.com is None:
            return None
        draws = Resamples(np.zeros(self.read), np.array(self.units), REPLICATES, seed)
        shares = np.array(self.right) / np.array(self.proxies)
        found = []
        for value, values in ((self.acc, shares), (self.com, np.array(self._understood))):
            interval = interval_around(value, draws.means(values, 0.0, 1.0)[0])
            assert interval is not None
            found.append(interval)
        return found[0], found[1]

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
        """What `to_json` gave."""
        return cls(**values)
