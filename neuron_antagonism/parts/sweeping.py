"""Neuron sets edited at every ratio of good and bad ones: the units that it takes, and rows under every protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from neuron_antagonism.method.edits import Edit
from neuron_antagonism.metrics.differences import Difference
from neuron_antagonism.metrics.effects import METRICS
from neuron_antagonism.metrics.outcomes import MODES
from neuron_antagonism.metrics.protocols import SHOWN, Cell, cells, cells_at
from neuron_antagonism.metrics.sweeps import GOOD_ONLY, Sweep, best_ratio
from neuron_antagonism.parts.natural import natural_levels
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Shelf, Unit, held
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.units.answers import Asked, Asking, every_ratio, sweep_of
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import Acting, Candidate, candidates_of

EFFECT = (
    *("scorer", "mode", "protocol", "ratio", "n_good", "n_bad", "acc_before", "acc_after", "com_before", "com_after"),
    *("rac", "rac_interval", "rcc", "rcc_interval", "population_acc", "population_acc_interval", "failed"),
    "interval_over",
)
"""What a row holds of a cell."""

SETS = ("select", "evaluate")
"""Where a ratio is chosen, and where it is reported on."""

ALONE = {"good": GOOD_ONLY, "bad": 0}
"""Protocols of a fixed ratio, in tenths: one kind of neurons by itself."""


@dataclass(frozen=True)
class Sweeping:
    """Sweeps the ratio of neuron sets on a job's examples: answers are units, shared with whoever asks the same.

    Args:
        sizes: the examples.
        acting: how neurons are edited.
    """

    sizes: Sizes
    acting: Acting

    def unedited(self, job: Job, shelf: Shelf, name: str) -> Unit:
        """A set's answers without an edit, of a job whose examples are there."""
        unit = Asking(self.sizes, name).unit(job, shelf)
        assert unit is not None
        return unit

    def edited(self, job: Job, shelf: Shelf, name: str, neurons: Unit) -> Unit | None:
        """A set's answers at every ratio of neurons that are there; None where the set has no ratio to choose."""
        candidates = candidates_of(held(shelf, neurons))
        if not candidates or (name == "select" and all(len(one.tenths()) == 1 for one in candidates)):
            return None
        return Asking(self.sizes, name).edited(job, shelf, self.acting, neurons, None, every_ratio(candidates))

    def units(self, job: Job, shelf: Shelf, neurons: Unit, names: Sequence[str]) -> Iterator[Unit]:
        """Some neurons, and once they are there what is asked of some sets with them, and without an edit."""
        yield neurons
        if shelf.has(neurons):
            asked = [self.edited(job, shelf, name, neurons) for name in names]
            yield from (unit for unit in asked if unit is not None)
            yield from (self.unedited(job, shelf, name) for name in names)

    def sweeps(self, job: Job, shelf: Shelf, neurons: Unit) -> list[Sweep]:
        """The sweep of each neuron set of a unit, on both sets."""
        select, evaluate = (self._asked(job, shelf, name, neurons) for name in SETS)
        every = candidates_of(held(shelf, neurons))
        return [sweep_of(one.scorer, one.draw, job.name, evaluate, select) for one in every]

    def choose(self, job: Job, shelf: Shelf, neurons: Unit) -> dict[str, int]:
        """By mode the ratio, in tenths, that the selection examples choose of a unit's first neuron set."""
        candidate, asked = self.first(shelf, neurons), self._asked(job, shelf, "select", neurons)
        if asked is None:
            (only,) = candidate.tenths()
            return dict.fromkeys(MODES, only)
        swept = asked.swept(candidate.draw)[0]
        return {mode: best_ratio(swept, mode, candidate.tenths()) for mode in MODES}

    def first(self, shelf: Shelf, neurons: Unit) -> Candidate:
        """The first neuron set of a unit that is there."""
        return candidates_of(held(shelf, neurons))[0]

    def edit(self, shelf: Shelf, neurons: Unit, mode: str, tenths: int) -> Edit:
        """The edit of a unit's first neuron set at one ratio."""
        return self.acting.editor(held(shelf, neurons), None).edit(0, mode, tenths)

    def baseline(self, job: Job, shelf: Shelf, name: str) -> Asked:
        """A set without an edit."""
        return Asked(held(shelf, self.unedited(job, shelf, name)))

    def _asked(self, job: Job, shelf: Shelf, name: str, neurons: Unit) -> Asked | None:
        unit = self.edited(job, shelf, name, neurons)
        return None if unit is None else Asked(self.baseline(job, shelf, name).unedited, held(shelf, unit))


def swept_rows(sweeps: Sequence[Sweep], method: str, split: Split, seed: int) -> list[dict[str, Any]]:
    """The rows of a task under every protocol, and of good and bad neurons by themselves.

    Args:
        sweeps: the task's.
        method: the scorer that the protocol `paper` lets choose its ratio.
        split: the task's examples.
        seed: of the bootstrap.
    """
    base = sweeps[0].evaluation.baseline
    resamples = base.resamples(seed)
    how = {"method": method, "resamples": resamples, "read": split.natural.counts}
    rows = effect_rows(sweeps, ("paper", "matched", SHOWN), **how)
    above = natural_levels(split, base, resamples, seed)["above_chance"]
    return [row | {"above_chance": above} for row in rows]


def paired(prefix: str, found: Iterable[Difference]) -> dict[str, Any]:
    """What a row holds of one comparison: the differences in RAC and RCC, their intervals, p not yet corrected."""
    fields = dict.fromkeys(
        f"{prefix}_{metric}{what}" for metric in METRICS.values() for what in ("", "_interval", "_p")
    )
    for one in found:
        name = f"{prefix}_{one.metric}"
        fields |= {name: one.difference, f"{name}_interval": one.interval, f"{name}_p": one.p_value}
    return fields


def effect_rows(sweeps: Sequence[Sweep], protocols: Sequence[str], **how: Any) -> list[dict[str, Any]]:
    """A row for each protocol, scorer and mode; with every ratio evaluated also for good and bad neurons alone.

    Args:
        sweeps: one task's.
        protocols: which.
        how: further arguments of `cells`.
    """
    found: list[Cell] = [one for protocol in protocols for one in cells(sweeps, protocol, **how)]
    rows = [row_of(one, one.protocol) for one in found]
    if set(protocols) - {SHOWN}:
        for name, tenths in ALONE.items():
            fixed = {key: how.get(key) for key in ("resamples", "read")}
            rows += [row_of(one, name) for one in cells_at(sweeps, tenths, **fixed)]
    return rows


def row_of(cell: Cell, protocol: str) -> dict[str, Any]:
    """What a row holds of a cell."""
    told = cell.to_json()
    return {name: protocol if name == "protocol" else told[name] for name in EFFECT}
