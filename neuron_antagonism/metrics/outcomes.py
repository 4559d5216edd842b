"""What a model answers, counted over examples: Acc, Com and their relative changes (NeuronLLM §4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from neuron_antagonism.errors import DataError, UsageError, unknown
from neuron_antagonism.metrics.bootstrap import REPLICATES, Resamples

MODES = ("enhance", "degrade")


def sign(mode: str) -> int:
    """+1 for enhance, -1 for degrade: what makes a wanted change positive.

    Raises:
        UsageError: another mode.
    """
    if mode not in MODES:
        raise UsageError(unknown("mode", mode, MODES))
    return 1 if mode == "enhance" else -1


def needed(proxies: Integer[np.ndarray, " example"]) -> Integer[np.ndarray, " example"]:
    """How many of its n proxies an example must get right to count as understood: ceil(2n/3)."""
    return (2 * proxies.astype(np.int64) + 2) // 3


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What one edit (or none) made of one example set.

    Args:
        right: how many of its proxies each example got right.
        proxies: how many proxies each example has, at least one.
        cross_entropy: mean letter cross-entropy over its proxies, in nats.
        examples: a fingerprint of the example set; "" = not known. Only equal sets are compared.
        strata: whether a reference model understands each example, where the set was drawn by that; None = it wasn't.
        units: a number for the text of each example, equal for examples of one text; None = a text each.

    Raises:
        DataError: no examples, unequal lengths, more right than there are, a cross-entropy that isn't finite.
    """

    right: Integer[np.ndarray, " example"]
    proxies: Integer[np.ndarray, " example"]
    cross_entropy: Float[np.ndarray, " example"]
    examples: str = ""
    strata: Bool[np.ndarray, " example"] | None = None
    units: Integer[np.ndarray, " example"] | None = None

    def __post_init__(self) -> None:
        """Check the counts once, where they are made."""
        shapes = {self.right.shape, self.proxies.shape, self.cross_entropy.shape}
        counts = (self.right, self.proxies)
        if len(shapes) > 1 or self.right.ndim != 1 or not self.right.size:
            raise DataError(f"outcomes of shapes {sorted(shapes)}; accepted: 1-D of one length, at least 1")
        if not all(np.issubdtype(count.dtype, np.integer) for count in counts):
            raise DataError("an example's counts are no integers; accepted: integers")
        if (self.proxies < 1).any() or (self.right < 0).any() or (self.right > self.proxies).any():
            raise DataError(
                "an example's right proxies are out of range; accepted: 0 <= right <= proxies, 1 <= proxies"
            )
        if not np.isfinite(self.cross_entropy).all():
            raise DataError("a letter cross-entropy is NaN or infinite; accepted: finite numbers")
        for name in ("strata", "units"):
            labels = getattr(self, name)
            if labels is not None and labels.shape != self.right.shape:
                raise DataError(f"{name} of shape {labels.shape}; accepted: {self.right.shape}")

    @property
    def n_examples(self) -> int:
        """How many examples."""
        return self.right.size

    @property
    def n_proxies(self) -> int:
        """How many proxy questions in all."""
        return int(self.proxies.sum(dtype=np.int64))

    @property
    def n_right(self) -> int:
        """How many proxy questions are right."""
        return int(self.right.sum(dtype=np.int64))

    @property
    def understood(self) -> Bool[np.ndarray, " example"]:
        """Which examples have at least ceil(2n/3) of their n proxies right."""
        return self.right >= needed(self.proxies)

    @property
    def n_understood(self) -> int:
        """How many examples are understood."""
        return int(self.understood.sum())

    @property
    def acc(self) -> float:
        """Share of proxy questions that are right, 0..1 (NeuronLLM §4.2)."""
        return self.n_right / self.n_proxies

    @property
    def com(self) -> float:
        """Share of examples that are understood, 0..1 (NeuronLLM §4.2)."""
        return self.n_understood / self.n_examples

    def resamples(self, seed: int = 0, n: int = REPLICATES) -> Resamples:
        """Draws for everything that is measured on these examples: within strata where they were drawn so, by text."""
        strata = np.zeros(self.n_examples, bool) if self.strata is None else self.strata
        return Resamples(strata, self.units, n, seed)

    def least_and_most(self) -> tuple[Integer[np.ndarray, " example"], Integer[np.ndarray, " example"]]:
        """The fewest and the most right proxies that an example can have.

        Less than all is possible where the strata are what these very answers say.
        """
        least = needed(self.proxies)
        if self.strata is None or not np.array_equal(self.strata, self.understood):
            return np.zeros_like(least), self.proxies
        return np.where(self.understood, least, 0), np.where(self.understood, self.proxies, least - 1)


def relative_change(before: int | float, after: int | float, mode: str) -> float | None:
    """`s · 100 · (after - before) / before` in %, positive where the mode did what it should; None = n/a.

    NeuronLLM §4.2 prints the absolute value; the sign is kept here so that averages can take it.
    """
    factor = sign(mode)
    return factor * 100.0 * (after - before) / before + 0.0 if before else None  # + 0.0: never -0.0


def fails(*values: float | None) -> bool:
    """Any negative value is a Fail; zero and n/a are not."""
    return any(value is not None and value < 0 for value in values)
