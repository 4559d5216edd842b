"""Matched random neurons in the place of chosen ones: what any neurons as active, of the same layers, would do."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neuron_antagonism.errors import UsageError
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.method.evaluate import fingerprint
from neuron_antagonism.method.observe import Observation, observe
from neuron_antagonism.metrics.differences import Difference, differences
from neuron_antagonism.metrics.judges import matched_random
from neuron_antagonism.metrics.outcomes import MODES, Outcomes
from neuron_antagonism.metrics.protocols import cells
from neuron_antagonism.metrics.sweeps import GOOD_ONLY, N_RATIOS, Sweep, Swept
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.sweeping import paired
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit, held
from neuron_antagonism.types import Example
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import Candidate, candidates_of, packed

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

KIND = MATCHED = "matched"
"""What such neurons are called where a scorer's name stands."""

SHOWN_OF_MATCHED = ("rac", "rac_interval", "rcc", "rcc_interval", "population_acc", "population_acc_interval")
"""What a row holds of the cell of matched sets: means over draws, and their spread (2.5 and 97.5 % percentiles)."""


def mean_abs(desk: Desk, examples: Sequence[Example], site: str) -> Float[np.ndarray, "layer neuron"]:
    """Mean |a| of every neuron over some questions; observed once for all that ask on one desk."""
    key = ("mean |a|", site, fingerprint(examples))
    if key not in desk.notes:
        sums: list[Float[np.ndarray, "layer neuron"]] = []

        def see(seen: Observation) -> None:
            sums.append(seen.values.abs().double().sum(0).numpy())

        observe(desk.model, examples, see, site=site)
        desk.notes[key] = np.sum(sums, axis=0) / sum(len(example.proxies) for example in examples)
    found: Float[np.ndarray, "layer neuron"] = desk.notes[key]
    return found


def touched(own: Candidate, edit: Edit) -> Candidate:
    """The neurons of a set that an edit of it really has."""
    bad = None if own.bad is None else own.bad.top(edit.n_bad or 0)
    return replace(own, good=own.good.top(edit.n_good or 0), bad=bad)


def matched(
    own: Candidate, active: Float[np.ndarray, "layer neuron"], count: int, rng: np.random.Generator
) -> list[Candidate]:
    """Draws of random neurons, the i-th in the place of the i-th good or bad one.

    Args:
        own: the neurons that are replaced.
        active: mean |a| of every neuron.
        count: how many draws.
        rng: the same state gives the same draws.

    Raises:
        UsageError: a layer with too few other neurons.
    """
    bad = NeuronSet.of([], own.good.site) if own.bad is None else own.bad
    found = []
    for draw in range(count):
        drawn = matched_random([own.good, bad], active, rng)
        one, two = (NeuronSet.of([(int(a), int(b)) for a, b in pairs], own.good.site) for pairs in drawn)
        found.append(Candidate(MATCHED, draw, one, None if own.bad is None else two))
    return found


def beyond(
    own: Sequence[Sweep], control: Sequence[Sweep], protocol: str, seed: int, read: tuple[int, int] | None
) -> dict[str, dict[str, Any]]:
    """By mode, what matched sets do under a protocol, and how much further the neurons get that they stand for.

    Args:
        own: the sweep of those.
        control: those of matched sets; none, and every field is None.
        protocol: how the ratio is chosen.
        seed: of the bootstrap.
        read: as in `cells`.
    """
    drawn: dict[str, dict[str, Any]] = {mode: {} for mode in MODES}
    compared: dict[str, list[Difference]] = {mode: [] for mode in MODES}
    if control:
        how: dict[str, Any] = {"method": own[0].scorer, "resamples": own[0].evaluation.baseline.resamples(seed)}
        drawn |= {one.mode: one.to_json() for one in cells(control, protocol, read=read, **how)}
        for one in differences([*own, *control], protocol, baselines={MATCHED}, **how):
            compared[one.mode].append(one)
    return {
        mode: {"matched_draws": len(control)}
        | {f"matched_{name}": drawn[mode].get(name) for name in SHOWN_OF_MATCHED}
        | paired("beyond", compared[mode])
        for mode in MODES
    }


def at_one_ratio(scorer: str, draw: int, mode: str, before: Outcomes, after: Outcomes) -> Sweep:
    """The sweep of an edit whose ratio is given."""
    shape = (len(MODES), N_RATIOS, before.n_examples)
    right, surprise = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    made = np.zeros(shape[:2], dtype=bool)
    at = MODES.index(mode), GOOD_ONLY
    right[at], surprise[at], made[at] = after.right, after.cross_entropy, True
    return Sweep(scorer, Swept(right, surprise, before), None, made, draw=draw)


def generator(job: Job) -> np.random.Generator:
    """Each task's and seed's own draws, whatever tasks are beside it."""
    return np.random.default_rng([job.seed, zlib.crc32(job.name.encode())])


@dataclass(frozen=True)
class Matching:
    """Draws matched random neurons for those of a unit; a recipe once it has that.

    Args:
        sizes: the examples, of which those to learn from say how active a neuron is.
        site: where the neurons are.
        count: how many draws.
        neurons: the unit whose first neuron set is replaced.
    """

    sizes: Sizes
    site: str
    count: int
    neurons: Unit | None = None

    def unit(self, job: Job, shelf: Shelf, neurons: Unit) -> Unit:
        """Matched sets for the neurons of a unit, on the examples of a job; those are there."""
        prepared = self.sizes.of(job, shelf)
        assert prepared is not None
        what = [job.model.id, job.name, job.seed, prepared.set_hash("identify"), self.site, self.count, neurons.key]
        label = f"{job.name}.{neurons.label}"
        needs = (self.sizes.unit(job), neurons)
        return Unit(KIND, label, key_of(KIND, *what), replace(self, neurons=neurons), needs)

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Draw; a unit without sets says why there are none."""
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Matching)
            payload = held(desk.shelf, recipe.neurons)
            (own, *_) = candidates_of(payload)
            active = mean_abs(desk, recipe.sizes.at(desk).split.identify, recipe.site)
            try:
                found = packed(matched(own, active, recipe.count, generator(desk.job)))
            except UsageError as error:
                found = Payload({"count": 0, "reason": str(error)})
            desk.shelf.put(unit, found)
