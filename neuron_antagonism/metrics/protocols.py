"""The three protocols for the good:bad ratio, derived from stored sweeps by one code path (Table 1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.metrics.bootstrap import Interval, Resamples, percentile_interval
from neuron_antagonism.metrics.effects import Effect, effect
from neuron_antagonism.metrics.outcomes import MODES, fails
from neuron_antagonism.metrics.sweeps import GOOD_ONLY, N_RATIOS, Sweep, best_ratio

PROTOCOLS = ("paper", "matched", "held-out")
SHOWN = "held-out"
"""The protocol that a run shows."""

# What a sweep may choose its ratio from on the evaluation set, in tenths; a single one is fixed.
Rule = Callable[[Sweep, str], list[int]]


@dataclass(frozen=True, kw_only=True)
class Cell(Effect):
    """One scorer, one mode, one protocol on one task: what the edit with the chosen ratio did.

    With several draws (RANDOM), counts are their means and the intervals their 2.5-97.5 %. A ratio that was chosen on
    the evaluation set itself has no interval: the value is optimistic, and no interval around it is known to hold.

    Args:
        scorer, protocol, task: what it is a cell of.
        tenths: the ratio in tenths; None where the draws chose different ones.
        n_good, n_bad: neurons that the edit really had; None where unknown or different.
        draws: the cell of each draw, without intervals; empty where there is one.
        chosen_on: the set whose outcomes chose the ratio; "" = there was nothing to choose.
    """

    scorer: str
    protocol: str
    task: str = ""
    tenths: int | None = None
    n_good: int | None = None
    n_bad: int | None = None
    draws: tuple[Cell, ...] = ()
    chosen_on: str = ""

    @property
    def ratio(self) -> float | None:
        """Share of good neurons in the budget, 0..1."""
        return None if self.tenths is None else self.tenths / 10

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; n/a is None. `interval_over` says what the intervals span."""
        names = ("scorer", "protocol", "task", "tenths", "ratio", "n_good", "n_bad", "chosen_on")
        mine: dict[str, Any] = {name: getattr(self, name) for name in names}
        mine["interval_over"] = "draws" if self.draws else "examples"
        each = (
            *("tenths", "n_good", "n_bad", "right_after", "understood_after", "rac", "rcc"),
            *("population_acc", "population_com"),
        )
        mine["draws"] = [{name: getattr(draw, name) for name in each} for draw in self.draws]
        return mine | super().to_json()


@dataclass(frozen=True, kw_only=True)
class Average:
    """Mean over tasks of signed values, failed cells included; None (n/a) where any of them is.

    `acc_difference` and `com_difference` are means of percentage points, after - before.
    """

    scorer: str
    mode: str
    protocol: str
    tasks: tuple[str, ...]
    rac: float | None
    rcc: float | None
    acc_difference: float
    com_difference: float

    @property
    def failed(self) -> bool:
        """Whether either average is negative."""
        return fails(self.rac, self.rcc)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return vars(self) | {"tasks": list(self.tasks), "failed": self.failed}


def cells(
    sweeps: Sequence[Sweep],
    protocol: str,
    *,
    method: str = "ace",
    enabled: Collection[str] = (),
    resamples: Resamples | None = None,
    read: tuple[int, int] | None = None,
) -> list[Cell]:
    """Every scorer and mode of one task under one protocol, in the order of the sweeps.

    - `paper`: `method` and `enabled` at the best ratio on the evaluation set, all others good only;
    - `matched`: all at their best ratio on the evaluation set;
    - `held-out`: all at their best ratio on the selection set.

    Only a ratio that was not chosen on the evaluation set has intervals.

    Args:
        sweeps: one task's; several of one scorer are its draws.
        protocol: one of `PROTOCOLS`.
        method: the scorer under test; only `paper` treats it differently.
        enabled: further scorers that `paper` lets choose (NeuronLLM Table 2).
        resamples: draws over the evaluation set; default: 10,000 with seed 0.
        read: how many examples were understood, of how many that were read for the evaluation set.

    Raises:
        UsageError: no sweeps, an unknown protocol or scorer, sweeps of different examples, repeated draws, no
            good-only edit under `paper`, no selection set under `held-out`.
    """
    resamples = prepared(sweeps, resamples)
    rule = rule_of(sweeps, protocol, method, enabled)
    return derive(sweeps, protocol, rule, resamples, read)


def cells_at(
    sweeps: Sequence[Sweep],
    tenths: int,
    *,
    resamples: Resamples | None = None,
    read: tuple[int, int] | None = None,
) -> list[Cell]:
    """Every scorer and mode at one given ratio: Good (10) and Bad (0) of Table 3.

    The protocol's name is "fixed". A scorer without that ratio has no cell. `resamples` and `read` are as in `cells`.

    Raises:
        UsageError: as in `cells`, or a ratio outside 0..10 tenths.
    """
    if tenths not in range(N_RATIOS):
        raise UsageError(f"ratio of {tenths} tenths; accepted: 0 to {N_RATIOS - 1}")
    return derive(sweeps, "fixed", at_ratio(tenths), prepared(sweeps, resamples), read)


def at_ratio(tenths: int) -> Rule:
    """The rule that there is one ratio, for whoever was evaluated at it."""
    return lambda sweep, mode: [there for there in sweep.ratios(mode) if there == tenths]


def averages(cells: Iterable[Cell]) -> list[Average]:
    """The mean over tasks of each scorer, mode and protocol, in order of appearance (Table 1, "Average")."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.scorer, cell.mode, cell.protocol), []).append(cell)
    return [
        Average(
            scorer=scorer,
            mode=mode,
            protocol=protocol,
            tasks=tuple(cell.task for cell in group),
            rac=_mean([cell.rac for cell in group]),
            rcc=_mean([cell.rcc for cell in group]),
            acc_difference=math.fsum(cell.acc_difference for cell in group) / len(group),
            com_difference=math.fsum(cell.com_difference for cell in group) / len(group),
        )
        for (scorer, mode, protocol), group in groups.items()
    ]


def prepared(sweeps: Sequence[Sweep], resamples: Resamples | None) -> Resamples:
    """The draws to use, once the sweeps are known to be of the same examples; errors as in `cells`."""
    if not sweeps:
        raise UsageError("no sweeps; accepted: at least one")
    there = sweeps[0].evaluation.baseline
    for sweep in sweeps[1:]:
        here = sweep.evaluation.baseline
        names = ("right", "proxies", "strata", "units")
        pairs = [(getattr(there, name), getattr(here, name)) for name in names]
        if there.examples != here.examples or not all(np.array_equal(a, b) for a, b in pairs):
            raise UsageError(f"{sweep.scorer!r} was swept on other examples; accepted: sweeps of one task")
    if len({(sweep.scorer, sweep.draw) for sweep in sweeps}) < len(sweeps):
        raise UsageError("two sweeps have the same scorer and draw; accepted: one each")
    if resamples is None:
        return there.resamples()
    if resamples.strata.size != there.n_examples:
        raise UsageError("the bootstrap draws are of other examples; accepted: those of the evaluation set")
    return resamples


def rule_of(sweeps: Sequence[Sweep], protocol: str, method: str, enabled: Collection[str]) -> Rule:
    """What a protocol lets each sweep choose from; arguments and errors as in `cells`."""
    if protocol not in PROTOCOLS:
        raise UsageError(unknown("protocol", protocol, PROTOCOLS))
    for name in enabled:
        if name not in groups_of(sweeps):
            raise UsageError(unknown("scorer", name, groups_of(sweeps)))
    choosing = {method, *enabled}

    def rule(sweep: Sweep, mode: str) -> list[int]:
        made = sweep.ratios(mode)
        if protocol == "matched" or (protocol == "paper" and sweep.scorer in choosing) or not made:
            return made
        if protocol == "paper":
            if GOOD_ONLY not in made:
                raise UsageError(f"{sweep.scorer!r} has no good-only edit; accepted under paper: ratio 1")
            return [GOOD_ONLY]
        offers = sweep.offers(mode)
        if len(offers) == 1:
            return [offers[0]]
        if sweep.selection is None:
            raise UsageError(f"{sweep.scorer!r} has no selection set; accepted under held-out: one")
        chosen = best_ratio(sweep.selection, mode, offers)
        if chosen not in made:
            raise UsageError(f"{sweep.scorer!r} was not evaluated at the ratio that held-out chooses, {chosen / 10}")
        return [chosen]

    return rule


def groups_of(sweeps: Sequence[Sweep]) -> dict[str, list[Sweep]]:
    """The sweeps of each scorer, in order of appearance."""
    groups: dict[str, list[Sweep]] = {}
    for sweep in sweeps:
        groups.setdefault(sweep.scorer, []).append(sweep)
    return groups


def derive(
    sweeps: Sequence[Sweep],
    protocol: str,
    rule: Rule,
    resamples: Resamples | None,
    read: tuple[int, int] | None = None,
) -> list[Cell]:
    """The cells that a rule gives; without draws to take them from, no example intervals."""
    found = []
    for group in groups_of(sweeps).values():
        for mode in MODES:
            offers = [(sweep, offer) for sweep in group if (offer := rule(sweep, mode))]
            draws = resamples if len(offers) == 1 else None
            each = [_cell(sweep, mode, protocol, offer, draws, read) for sweep, offer in offers]
            found += each if len(each) < 2 else [_spread(each)]
    return found


def _cell(
    sweep: Sweep,
    mode: str,
    protocol: str,
    offer: list[int],
    resamples: Resamples | None,
    read: tuple[int, int] | None,
) -> Cell:
    swept = sweep.evaluation
    tenths = best_ratio(swept, mode, offer)
    chosen = protocol == "held-out" and len(sweep.offers(mode)) > 1
    chosen_on = "evaluate" if len(offer) > 1 else "select" if chosen else ""
    used = None if sweep.used is None else sweep.used[MODES.index(mode), tenths]
    draws = None if chosen_on == "evaluate" else resamples
    return Cell(
        **vars(effect(swept.baseline, swept.outcomes(mode, tenths), mode, draws, read)),
        scorer=sweep.scorer,
        protocol=protocol,
        task=sweep.task,
        tenths=tenths,
        n_good=None if used is None else int(used[0]),
        n_bad=None if used is None else int(used[1]),
        chosen_on=chosen_on,
    )


def _spread(draws: list[Cell]) -> Cell:
    """One cell for several draws; what they don't agree on is None."""

    def common(values: list[int | None]) -> int | None:
        return values[0] if len(set(values)) == 1 else None

    def spread(name: str) -> Interval | None:
        there = [value for draw in draws if (value := getattr(draw, name)) is not None]
        return percentile_interval(np.array(there)) if there else None

    def mean(name: str) -> float | None:
        return _mean([getattr(draw, name) for draw in draws])

    spreads: dict[str, Any] = {
        f"{name}_interval": spread(name)
        for name in ("rac", "rcc", "acc_difference", "com_difference", "population_acc", "population_com")
    }
    return replace(
        draws[0],
        right_after=math.fsum(draw.right_after for draw in draws) / len(draws),
        understood_after=math.fsum(draw.understood_after for draw in draws) / len(draws),
        population_acc=mean("population_acc"),
        population_com=mean("population_com"),
        **spreads,
        tenths=common([draw.tenths for draw in draws]),
        n_good=common([draw.n_good for draw in draws]),
        n_bad=common([draw.n_bad for draw in draws]),
        draws=tuple(draws),
    )


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if len(there) == len(values) else None
