"""The scores of one scorer on a job's identification examples."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from neuron_antagonism.method.attribute import attribute_each, with_fixed_z
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.plugin.base import Scorer
from neuron_antagonism.plugin.scorers import own_target, passes_of_its_own
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import identity, key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.settings import Settings
from neuron_antagonism.units.examples import Sizes

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

KIND = "scores"


@dataclass(frozen=True)
class Scoring:
    """How a job's examples are scored; a recipe once it has its scorer.

    Args:
        sizes: the examples.
        settings: how attribution is carried out; its seed is the job's.
        scorer: whose scores.
        draw: which draw of a scorer that draws.
        first: how many of the identification examples are scored; None = all.
    """

    sizes: Sizes
    settings: Settings
    scorer: Scorer | None = None
    draw: int = 0
    first: int | None = None

    def unit(self, job: Job, shelf: Shelf, scorer: Scorer, draw: int = 0) -> Unit | None:
        """A scorer's scores; None while the job's examples are not known.

        Args:
            job: the job.
            shelf: what is there.
            scorer: the scorer, of a draw with that draw's seed.
            draw: which draw it is.
        """
        prepared = self.sizes.of(job, shelf)
        if prepared is None:
            return None
        s = self.settings
        fixed = with_fixed_z(scorer, prepared.units(s.site), s.budget)
        own = passes_of_its_own(fixed)
        # what is not integrated does not depend on how
        path = [s.steps, s.quadrature] if own or own_target(fixed) is not None else None
        examples = prepared.set_hash("identify", self.first)
        what = [job.model.id, examples, identity(fixed), path, prepared.engine["name"], s.site]
        # a scorer with passes of its own is handed all settings
        key = key_of(KIND, *what, job.seed, s.budget if own else None)
        label = f"{job.name}.{scorer.name}" + (f".{draw}" if draw else "")
        recipe = replace(self, scorer=fixed, draw=draw, settings=replace(s, seed=job.seed, progress=None))
        return Unit(KIND, label, key, recipe, needs=(self.sizes.unit(job),))

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Attribute; forwards, and gradients of equal targets, are shared."""
        together: dict[tuple[Sizes, Settings, int | None], list[tuple[Unit, Scorer]]] = {}
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Scoring)
            assert recipe.scorer is not None
            together.setdefault((recipe.sizes, recipe.settings, recipe.first), []).append((unit, recipe.scorer))
        for (sizes, settings, first), asked in together.items():
            examples = sizes.at(desk).split.identify[:first]
            scorers = [scorer for _, scorer in asked]
            told = replace(settings, progress=desk.progress)
            for (unit, _), found in zip(asked, attribute_each(desk.model, examples, scorers, told), strict=True):
                arrays, meta = found.packed()
                desk.shelf.put(unit, Payload(meta, arrays))


def read(payload: Payload) -> Attribution:
    """The attribution that a unit of scores holds."""
    return Attribution.unpacked(payload.arrays, payload.meta)


def draws_of(scorer: Scorer, job: Job, count: int) -> list[Scorer]:
    """A scorer that draws with each of its seeds; any other one by itself.

    By the task's name, not by its place: a task's draws are the same whatever tasks are beside it, and no other's.
    """
    if not scorer.draws:
        return [scorer]
    first = scorer.options.seed + (job.seed + zlib.crc32(job.name.encode())) * count
    return [scorer.with_options(seed=first + draw) for draw in range(count)]


def steady(scorers: Iterable[Scorer]) -> list[Scorer]:
    """Scorers that don't draw: those whose chosen edit stands for the scorer."""
    return [scorer for scorer in scorers if not scorer.draws]
