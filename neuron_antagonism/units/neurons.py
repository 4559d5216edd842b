"""The good and bad neurons that a scorer chooses, of every draw; and what interventions learn of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neuron_antagonism.errors import AntagonismWarning
from neuron_antagonism.method.attribute import attribute_each
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.edits import MAKERS, Edit, fitted
from neuron_antagonism.metrics.sweeps import GOOD_ONLY, N_RATIOS
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.plugin.base import Intervention, Scorer
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import identity, key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit, held
from neuron_antagonism.units.scores import Scoring, draws_of, read

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

NEURONS, FITS = "neurons", "fits"
ROLES, ACTS = ("good", "bad"), ("strengthen", "weaken")

RATIOS_OF_DRAWS = (0, GOOD_ONLY // 2, GOOD_ONLY)
"""The ratios, in tenths, that are swept for each draw of a scorer that draws: its order of neurons means nothing."""


@dataclass(frozen=True)
class Candidate:
    """One neuron set to sweep: a scorer's, or one draw of a scorer that draws.

    Args:
        scorer: whose.
        draw: which draw.
        good, bad: strongest first; no bad ones where a scorer has none.
        draws: whether the scorer draws.
    """

    scorer: str
    draw: int
    good: NeuronSet
    bad: NeuronSet | None
    draws: bool = False

    def tenths(self) -> tuple[int, ...]:
        """The ratios to sweep; without bad neurons only good ones."""
        if self.bad is None:
            return (GOOD_ONLY,)
        return RATIOS_OF_DRAWS if self.draws else tuple(range(N_RATIOS))

    @property
    def sets(self) -> Iterator[tuple[str, NeuronSet]]:
        """Role and neurons of the sets that there are."""
        return ((role, one) for role, one in zip(ROLES, (self.good, self.bad), strict=True) if one is not None)


def candidate_of(a: Attribution, budget: int, draw: int = 0, *, draws: bool = False) -> Candidate:
    """The neuron sets of one attribution."""
    with warnings.catch_warnings():
        # a short set is reported in the table and in results.json
        warnings.simplefilter("ignore", AntagonismWarning)
        return Candidate(a.scorer, draw, a.good(budget), a.bad(budget) if "bad" in a.roles else None, draws)


@dataclass(frozen=True)
class Choosing:
    """How neurons are chosen from scores.

    Args:
        scoring: the scores.
        budget: neurons of each set.
        count: draws of a scorer that draws.
        scorer: whose; in a recipe.
        units: the scores' units, those of further draws among them; in a recipe.
    """

    scoring: Scoring
    budget: int
    count: int = 1
    scorer: Scorer | None = None
    units: tuple[Unit, ...] = ()

    def scores(self, job: Job, shelf: Shelf, scorer: Scorer) -> Unit | None:
        """The scores that are stored: of a scorer that draws, those of its first draw."""
        return self.scoring.unit(job, shelf, draws_of(scorer, job, self.count)[0])

    def unit(self, job: Job, shelf: Shelf, scorer: Scorer) -> Unit | None:
        """A scorer's neurons; None while its scores are not there."""
        drawn = enumerate(draws_of(scorer, job, self.count))
        units = tuple(unit for i, one in drawn if (unit := self.scoring.unit(job, shelf, one, i)) is not None)
        if not units:
            return None
        key = key_of(NEURONS, [unit.key for unit in units], self.budget)
        recipe = replace(self, scorer=scorer, units=units)
        found = Unit(NEURONS, f"{job.name}.{scorer.name}", key, recipe, needs=(units[0],))
        # another job's neurons are sent without the scores, which are large
        return found if shelf.has(units[0]) or shelf.has(found) else None

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Choose; scores of further draws are computed on the way, and not kept."""
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Choosing)
            assert recipe.scorer is not None
            first = desk.shelf.get(recipe.units[0])
            assert first is not None
            further = [one.recipe.scorer for one in recipe.units[1:] if isinstance(one.recipe, Scoring)]
            found = [read(first)]
            if further:
                examples = recipe.scoring.sizes.at(desk).split.identify
                settings = replace(recipe.scoring.settings, seed=desk.job.seed, progress=None)
                found += attribute_each(desk.model, examples, [one for one in further if one is not None], settings)
            draws = recipe.scorer.draws
            desk.shelf.put(unit, packed([candidate_of(a, recipe.budget, i, draws=draws) for i, a in enumerate(found)]))


def packed(candidates: Sequence[Candidate]) -> Payload:
    """A unit that holds the neuron sets of every draw, from which `candidates_of` makes them again."""
    arrays: dict[str, Any] = {}
    for candidate in candidates:
        for role, neurons in candidate.sets:
            for name in ("layers", "neurons", "scores"):
                arrays[f"{candidate.draw}.{role}.{name}"] = getattr(neurons, name).numpy()
    first = candidates[0]
    about = {"scorer": first.scorer, "draws": first.draws, "count": len(candidates), "site": first.good.site}
    return Payload(about | {"roles": [role for role, _ in first.sets]}, arrays)


def candidates_of(payload: Payload) -> list[Candidate]:
    """The neuron sets of every draw that a unit of neurons holds."""
    meta, arrays = payload.meta, payload.arrays

    def one(draw: int, role: str) -> NeuronSet | None:
        if role not in meta["roles"]:
            return None
        layers, neurons, scores = (
            torch.from_numpy(np.array(arrays[f"{draw}.{role}.{name}"])) for name in ("layers", "neurons", "scores")
        )
        return NeuronSet(layers, neurons, scores, meta["site"])

    found = []
    for draw in range(meta["count"]):
        good = one(draw, "good")
        assert good is not None
        found.append(Candidate(meta["scorer"], draw, good, one(draw, "bad"), meta["draws"]))
    return found


@dataclass(frozen=True)
class Acting:
    """How neurons are edited.

    Args:
        choosing: which neurons.
        strengthen, weaken: what is done to neurons that should act more, and less.
        positions: where edits act.
        site: where the neurons are.
        unit_of_neurons: in a recipe.
    """

    choosing: Choosing
    strengthen: Intervention
    weaken: Intervention
    positions: str
    site: str
    unit_of_neurons: Unit | None = None

    @property
    def learns(self) -> bool:
        """Whether an intervention has to be fitted."""
        return any(one.needs_fit and not one.fitted for one in (self.strengthen, self.weaken))

    def described(self) -> list[Any]:
        """What determines an edit beside its neurons and what was learned."""
        return [identity(self.strengthen), identity(self.weaken), self.positions, self.site]

    def unit(self, job: Job, shelf: Shelf, scorer: Scorer) -> Unit | None:
        """What the interventions learn of a scorer's neurons; None while these are not there, or nothing is learned."""
        neurons = self.choosing.unit(job, shelf, scorer)
        if neurons is None or not shelf.has(neurons) or not self.learns:
            return None
        prepared = self.choosing.scoring.sizes.of(job, shelf)
        assert prepared is not None
        what = [job.model.id, neurons.key, prepared.set_hash("identify"), *self.described()[:2]]
        examples = self.choosing.scoring.sizes.unit(job)
        recipe = replace(self, unit_of_neurons=neurons)
        return Unit(FITS, f"{job.name}.{scorer.name}", key_of(FITS, *what), recipe, needs=(neurons, examples))

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Fit every intervention on the good and on the bad neurons of every draw."""
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Acting)
            payload = held(desk.shelf, recipe.unit_of_neurons)
            examples = recipe.choosing.scoring.sizes.at(desk).split.identify
            arrays: dict[str, Any] = {}
            meta: dict[str, Any] = {}
            for candidate in candidates_of(payload):
                for (role, neurons), act in product(candidate.sets, ACTS):
                    one = getattr(recipe, act)
                    if not one.needs_fit or not len(neurons):
                        continue
                    learned = fitted(one, desk.model, examples, neurons)
                    state, name = learned.state(), f"{candidate.draw}.{role}.{act}"
                    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
                    # numpy has no bfloat16, which float32 holds exactly
                    narrow = [key for key, tensor in tensors.items() if tensor.dtype == torch.bfloat16]
                    kept = {key: tensor.float() if key in narrow else tensor for key, tensor in tensors.items()}
                    arrays |= {f"{name}.{key}": tensor.detach().cpu().numpy() for key, tensor in kept.items()}
                    plain = {key: value for key, value in state.items() if key not in tensors}
                    meta[name] = {"site": learned.site, "plain": plain, "bfloat16": narrow}
            desk.shelf.put(unit, Payload({"learned": meta}, arrays))

    def editor(self, neurons: Payload, fits: Payload | None) -> Editor:
        """What makes edits of a scorer's neurons.

        Args:
            neurons: the unit of neurons.
            fits: what was learned of them, where anything was.
        """
        return Editor(self, candidates_of(neurons), fits)


@dataclass(frozen=True)
class Editor:
    """Makes edits of one scorer's neurons.

    Args:
        acting: how.
        candidates: the scorer's draws.
        fits: what interventions have learned.
    """

    acting: Acting
    candidates: Sequence[Candidate]
    fits: Payload | None = None

    def edit(self, draw: int, mode: str, tenths: int, positions: str | None = None) -> Edit:
        """The edit of a draw's neurons at one ratio, in tenths."""
        candidate = self.candidates[draw]
        # to enhance, good neurons are strengthened and bad ones weakened; to degrade, the other way round
        strong, weak = ("good", "bad") if mode == "enhance" else ("bad", "good")
        return MAKERS[mode](
            candidate.good,
            candidate.bad,
            budget=self.acting.choosing.budget,
            ratio=tenths / 10,
            positions=positions or self.acting.positions,
            strengthen=self._act(draw, strong, "strengthen"),
            weaken=self._act(draw, weak, "weaken"),
            site=self.acting.site,
        )

    def _act(self, draw: int, role: str, act: str) -> Intervention:
        one: Intervention = getattr(self.acting, act)
        name = f"{draw}.{role}.{act}"
        learned: Mapping[str, Any] = {} if self.fits is None else self.fits.meta["learned"]
        if self.fits is None or name not in learned:
            return one
        start = f"{name}."
        arrays = {key: array for key, array in self.fits.arrays.items() if key.startswith(start)}
        tensors = {key.removeprefix(start): torch.from_numpy(np.array(array)) for key, array in arrays.items()}
        tensors |= {key: tensors[key].bfloat16() for key in learned[name]["bfloat16"]}
        return one.with_state({**learned[name]["plain"], **tensors}, learned[name]["site"])
