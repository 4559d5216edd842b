"""What an edit did, counted over examples: Acc, Com and their relative changes (NeuronLLM §4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from neuron_antagonism.errors import DataError, UsageError, unknown
from neuron_antagonism.method.bootstrap import Interval, percentile_interval, ratio_of_sums

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

    Raises:
        DataError: no examples, unequal lengths, more right than there are, a cross-entropy that isn't finite.
    """

    right: Integer[np.ndarray, " example"]
    proxies: Integer[np.ndarray, " example"]
    cross_entropy: Float[np.ndarray, " example"]
    examples: str = ""

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
        """Which examples have at least ceil(2n/3) of their n proxies right; also the default strata."""
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


def relative_change(before: int | float, after: int | float, mode: str) -> float | None:
    """`s · 100 · (after - before) / before` in %, positive where the mode did what it should; None = n/a.

    NeuronLLM §4.2 prints the absolute value; the sign is kept here so that averages can take it.
    """
    factor = sign(mode)
    return factor * 100.0 * (after - before) / before + 0.0 if before else None  # + 0.0: never -0.0


_SHOWN = (
    *("mode", "examples", "proxies", "failed"),
    *("right_before", "right_after", "acc_before", "acc_after", "acc_difference"),
    *("understood_before", "understood_after", "com_before", "com_after", "com_difference"),
    *("rac", "rac_interval", "rac_dropped", "rcc", "rcc_interval", "rcc_dropped"),
)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Counts before and after one edit on one example set, and what follows from them.

    Counts after the edit are fractional only where they are means over several draws.

    Args:
        mode: "enhance" or "degrade".
        examples, proxies: how many there are.
        right_before, right_after: right proxy questions.
        understood_before, understood_after: understood examples.
        rac_interval, rcc_interval: 95 %, in %; None = none can be given.
        rac_dropped, rcc_dropped: replicates left out because their denominator was zero.
    """

    mode: str
    examples: int
    proxies: int
    right_before: int
    right_after: int | float
    understood_before: int
    understood_after: int | float
    rac_interval: Interval | None = None
    rcc_interval: Interval | None = None
    rac_dropped: int = 0
    rcc_dropped: int = 0

    @property
    def acc_before(self) -> float:
        """Share of right proxy questions before the edit."""
        return self.right_before / self.proxies

    @property
    def acc_after(self) -> float:
        """Share of right proxy questions after the edit."""
        return self.right_after / self.proxies

    @property
    def com_before(self) -> float:
        """Share of understood examples before the edit."""
        return self.understood_before / self.examples

    @property
    def com_after(self) -> float:
        """Share of understood examples after the edit."""
        return self.understood_after / self.examples

    @property
    def acc_difference(self) -> float:
        """Acc after - before in percentage points, not turned by the mode; always there."""
        return 100.0 * (self.right_after - self.right_before) / self.proxies

    @property
    def com_difference(self) -> float:
        """Com after - before in percentage points, not turned by the mode; always there."""
        return 100.0 * (self.understood_after - self.understood_before) / self.examples

    @property
    def rac(self) -> float | None:
        """Relative accuracy change, signed %; None where nothing was right before."""
        return relative_change(self.right_before, self.right_after, self.mode)

    @property
    def rcc(self) -> float | None:
        """Relative comprehension change, signed %; None where nothing was understood before."""
        return relative_change(self.understood_before, self.understood_after, self.mode)

    @property
    def failed(self) -> bool:
        """Whether the edit did the opposite by either metric: what the tables print as `Fail`."""
        return fails(self.rac, self.rcc)

    def to_json(self) -> dict[str, Any]:
        """Every count and figure as plain JSON values; n/a is None."""
        return {name: _plain(getattr(self, name)) for name in _SHOWN}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def effect(
    before: Outcomes,
    after: Outcomes,
    mode: str,
    sums: tuple[Float[np.ndarray, "2 replicate"], Float[np.ndarray, "2 replicate"]] | None = None,
) -> Effect:
    """What lies between two outcomes of the same examples.

    Args:
        before, after: unedited and edited.
        mode: decides the sign.
        sums: right proxies and understood examples in each replicate, before and after; None = no intervals.
    """
    intervals: dict[str, Any] = {}
    for row, metric in enumerate(("rac", "rcc")):
        if sums is not None:
            values, dropped = ratio_of_sums(sign(mode) * (sums[1][row] - sums[0][row]), sums[0][row])
            intervals |= {f"{metric}_interval": percentile_interval(values), f"{metric}_dropped": dropped}
    return Effect(
        mode=mode,
        examples=before.n_examples,
        proxies=before.n_proxies,
        right_before=before.n_right,
        right_after=after.n_right,
        understood_before=before.n_understood,
        understood_after=after.n_understood,
        **intervals,
    )


def fails(*values: float | None) -> bool:
    """Any negative value is a Fail; zero and n/a are not."""
    return any(value is not None and value < 0 for value in values)
