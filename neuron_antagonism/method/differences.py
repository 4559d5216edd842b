"""One method against every baseline under a protocol: differences, intervals, Holm-corrected p-values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.method.bootstrap import (
    Interval,
    Resamples,
    holm,
    percentile_interval,
    ratio_of_sums,
    two_sided_p,
)
from neuron_antagonism.method.protocols import Cell, Rule, derive, groups_of, prepared, rule_of
from neuron_antagonism.method.statistics import MODES, relative_change, sign
from neuron_antagonism.method.sweeps import Sweep, replicate_sums

METRICS = ("rac", "rcc")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One method against one baseline: `100 · s · (A₁ - A₂) / A₀` in %, A = Acc for "rac", Com for "rcc".

    Args:
        difference: positive where the method did more of what was wanted; None = zero denominator.
        interval: 95 %; None where none can be given.
        p_value, p_holm: two-sided bootstrap, and Holm-corrected over the baselines of one mode and metric.
        dropped: replicates left out because their denominator was zero.
        draws: how many draws the baseline has; replicate b takes draw b modulo that.
    """

    task: str
    protocol: str
    mode: str
    metric: str
    method: str
    baseline: str
    difference: float | None
    interval: Interval | None
    p_value: float | None
    dropped: int
    draws: int
    p_holm: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return vars(self) | {"interval": self.interval and list(self.interval)}


def differences(
    sweeps: Sequence[Sweep],
    protocol: str,
    *,
    method: str = "ace",
    enabled: Collection[str] = (),
    resamples: Resamples | None = None,
) -> list[Difference]:
    """`method` against every other scorer, by mode and metric, Holm-corrected over those others.

    The draws of a scorer that has several (RANDOM) are resampled along with the examples.
    Arguments and errors are those of `protocols.cells`; `method` must be among the scorers.
    """
    resamples = prepared(sweeps, resamples)
    rule = rule_of(sweeps, protocol, method, enabled)
    groups = groups_of(sweeps)
    if method not in groups:
        raise UsageError(unknown("scorer", method, groups))
    before = sweeps[0].evaluation.before_sums(resamples)
    found: list[Difference] = []
    every = derive(sweeps, protocol, rule, None)
    for mode in MODES:
        cells = {cell.scorer: cell for cell in every if cell.mode == mode}
        after = {name: _after(groups[name], mode, rule, resamples) for name in cells if method in cells}
        for row, metric in enumerate(METRICS):
            family = [
                _against(cells[method], cells[name], metric, after[method][row] - after[name][row], before[row])
                for name in after
                if name != method
            ]
            corrected = holm([difference.p_value for difference in family])
            found += [replace(one, p_holm=p) for one, p in zip(family, corrected, strict=True)]
    return found


def _after(group: Sequence[Sweep], mode: str, rule: Rule, resamples: Resamples) -> Float[np.ndarray, "2 replicate"]:
    """Right and understood after a scorer's edit in each replicate; its draws take the replicates in turn."""
    offers = [(sweep, offer) for sweep in group if (offer := rule(sweep, mode))]
    out = np.empty((2, resamples.n))
    for number, (sweep, offer) in enumerate(offers):
        rows = slice(number, None, len(offers))
        out[:, rows] = replicate_sums(sweep.evaluation, mode, offer, resamples, rows)
    return out


def _against(
    method: Cell,
    baseline: Cell,
    metric: str,
    gained: Float[np.ndarray, " replicate"],
    before: Float[np.ndarray, " replicate"],
) -> Difference:
    """The difference of two cells, not yet corrected; `gained` = after the method - after the baseline."""
    values, dropped = ratio_of_sums(sign(method.mode) * gained, before)
    counts = ("right_before", "right_after") if metric == "rac" else ("understood_before", "understood_after")
    start, ours, theirs = getattr(method, counts[0]), getattr(method, counts[1]), getattr(baseline, counts[1])
    return Difference(
        task=method.task,
        protocol=method.protocol,
        mode=method.mode,
        metric=metric,
        method=method.scorer,
        baseline=baseline.scorer,
        difference=relative_change(start, start + (ours - theirs), method.mode),
        interval=percentile_interval(values),
        p_value=None if values is None else two_sided_p(values),
        dropped=dropped,
        draws=max(1, len(baseline.draws)),
    )
