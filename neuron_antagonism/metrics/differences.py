"""One method against every baseline under a protocol: differences, intervals, p-values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.metrics.bootstrap import (
    Interval,
    Resamples,
    holm,
    interval_around,
    rank_p,
    ratio_of_sums,
    sign_flip_p,
)
from neuron_antagonism.metrics.effects import METRICS, before_means, largest_of, values_of
from neuron_antagonism.metrics.outcomes import MODES, Outcomes, relative_change, sign
from neuron_antagonism.metrics.protocols import SHOWN, Cell, at_ratio, derive, groups_of, prepared, rule_of
from neuron_antagonism.metrics.sweeps import Sweep


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One method against one baseline: `100 · s · (A₁ - A₂) / A₀` in %, A = Acc for "rac", Com for "rcc".

    Of a baseline with several draws (RANDOM), A₂ is their mean.

    Args:
        difference: positive where the method did more of what was wanted; None = zero denominator.
        points: the same without the denominator, `100 · s · (A₁ - A₂)`.
        interval, points_interval: 95 %; None where none can be given: where a ratio was chosen on the evaluation set.
        test: "sign flips" (two-sided, over texts), "rank" (one-sided, among the baseline's draws), or "" for none.
        p_value, p_holm: of the test, and Holm-corrected over everything that is shown together.
        dropped: replicates left out because their denominator was zero.
        draws: how many draws the baseline has.
    """

    task: str
    protocol: str
    mode: str
    metric: str
    method: str
    baseline: str
    difference: float | None
    interval: Interval | None
    points: float
    points_interval: Interval | None
    test: str
    p_value: float | None
    dropped: int
    draws: int
    p_holm: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        intervals = {name: vars(self)[name] and list(vars(self)[name]) for name in ("interval", "points_interval")}
        return vars(self) | intervals


def differences(
    sweeps: Sequence[Sweep],
    protocol: str,
    *,
    method: str = "ace",
    enabled: Collection[str] = (),
    resamples: Resamples | None = None,
    baselines: Collection[str] | None = None,
) -> list[Difference]:
    """`method` against every other scorer, or some of them, by mode and metric; not yet corrected for their number.

    Arguments and errors are those of `protocols.cells`; `method` must be among the scorers.
    """
    resamples = prepared(sweeps, resamples)
    groups = groups_of(sweeps)
    rule = rule_of(sweeps, protocol, method, enabled)
    if method not in groups:
        raise UsageError(unknown("scorer", method, groups))
    found: list[Difference] = []
    every = derive(sweeps, protocol, rule, None)
    for mode in MODES:
        cells = {cell.scorer: cell for cell in every if cell.mode == mode}
        if method not in cells:
            continue
        for metric in METRICS:
            found += [
                _against(cells[method], cells[name], groups[method], groups[name], metric, resamples)
                for name in cells
                if name != method and (baselines is None or name in baselines)
            ]
    return found


def net_effects(sweeps: Sequence[Sweep], protocol: str, *, resamples: Resamples | None = None) -> list[Difference]:
    """Every scorer against the mean of the draws of each scorer that has several (RANDOM), by mode and metric.

    Arguments and errors are those of `protocols.cells`. Under `paper` each scorer counts as the method under test.
    """
    resamples = prepared(sweeps, resamples)
    drawn = {name for name, group in groups_of(sweeps).items() if len(group) > 1}
    return [
        one
        for name in groups_of(sweeps)
        if drawn and name not in drawn
        for one in differences(sweeps, protocol, method=name, resamples=resamples, baselines=drawn)
    ]


def gains(sweeps: Sequence[Sweep], tenths: int, *, resamples: Resamples | None = None) -> list[Difference]:
    """Every scorer without draws at the ratio that `held-out` chooses against itself at a given one, in tenths.

    By mode and metric; a scorer that was not evaluated at the given ratio, or has no ratio to choose, is left out.
    `resamples` and errors are those of `protocols.cells`.
    """
    resamples = prepared(sweeps, resamples)
    rule = rule_of(sweeps, SHOWN, sweeps[0].scorer, ())
    found: list[Difference] = []
    for group in groups_of(sweeps).values():
        fixed = {} if len(group) > 1 else {one.mode: one for one in derive(group, "fixed", at_ratio(tenths), None)}
        for cell in derive(group, SHOWN, rule, None) if fixed else ():
            if cell.mode in fixed and cell.chosen_on:
                found += [_against(cell, fixed[cell.mode], group, group, metric, resamples) for metric in METRICS]
    return found


def corrected(found: Iterable[Difference]) -> list[Difference]:
    """The same with Holm's correction over all of them: whatever stands, and may be marked, in one table."""
    found = list(found)
    adjusted = holm([one.p_value for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]


def _against(
    method: Cell, baseline: Cell, ours: Sequence[Sweep], theirs: Sequence[Sweep], metric: str, resamples: Resamples
) -> Difference:
    """The difference of two cells of one mode."""
    mode, factor = method.mode, sign(method.mode)
    before = ours[0].evaluation.baseline
    mine = np.stack([values_of(one, metric) for one in _outcomes(method, ours)])
    others = np.stack([values_of(one, metric) for one in _outcomes(baseline, theirs)])
    gained = factor * (mine.mean(0) - others.mean(0))
    start, size = values_of(before, metric).sum(), largest_of(before, metric).sum() / 100.0
    change = relative_change(start, start + factor * gained.sum(), mode)
    points = float(gained.sum() / size) + 0.0
    interval, points_interval, dropped, test, p_value = None, None, 0, "", None
    if "evaluate" not in (method.chosen_on, baseline.chosen_on):
        bound = largest_of(before, metric)
        drawn = resamples.mixtures(resamples.sums(factor * (mine.mean(0) - others), -bound, bound, after=True))
        ratios, dropped = ratio_of_sums(drawn, resamples.sizes @ before_means(before, metric, resamples))
        interval, points_interval = interval_around(change, ratios), interval_around(points, drawn / size)
        if len(others) > 1:
            sums = factor * others.sum(1)
            test, p_value = "rank", rank_p(float(factor * mine.mean(0).sum()), sums.tolist())
        elif len(mine) == 1:
            units = np.arange(gained.size) if before.units is None else before.units
            test, p_value = "sign flips", sign_flip_p(gained, units, resamples.n, resamples.seed)
    return Difference(
        task=method.task,
        protocol=method.protocol,
        mode=mode,
        metric=METRICS[metric],
        method=method.scorer,
        baseline=baseline.scorer,
        difference=change,
        interval=interval,
        points=points,
        points_interval=points_interval,
        test=test,
        p_value=p_value,
        dropped=dropped,
        draws=max(1, len(baseline.draws)),
    )


def _outcomes(cell: Cell, group: Sequence[Sweep]) -> list[Outcomes]:
    """The outcomes behind a cell: of each draw, where there are several."""
    each = cell.draws or (cell,)
    return [
        sweep.evaluation.outcomes(cell.mode, one.tenths)
        for sweep, one in zip((s for s in group if s.ratios(cell.mode)), each, strict=True)
        if one.tenths is not None
    ]
