"""What edits of a scorer's neurons do to plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from neuron_antagonism.method.side_effects import chosen_text, plain_text_effects
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.units.answers import Where
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import Acting

if TYPE_CHECKING:
    from neuron_antagonism.method.edits import Edit
    from neuron_antagonism.runs.work import Desk

KIND = "text"
MOST_TEXTS = 40
"""Of the examples' own texts, so many are read, as many as the embedded sample has."""


@dataclass(frozen=True)
class Reading:
    """Reads plain text under edits, at all positions; a recipe once it has its units.

    Args:
        sizes: the examples, whose own texts are read where the model does not know everyday English.
        max_tokens: tokens in one forward; None = planned.
        acting: how neurons are edited.
        where: draw, mode and ratio of each edit.
        neurons, fits: their units.
    """

    sizes: Sizes
    max_tokens: int | None = None
    acting: Acting | None = None
    where: tuple[Where, ...] = ()
    neurons: Unit | None = None
    fits: Unit | None = None

    def unit(
        self, job: Job, shelf: Shelf, acting: Acting, neurons: Unit, fits: Unit | None, where: Sequence[Where]
    ) -> Unit | None:
        """The effects of edits; None while the job's examples are not known."""
        prepared = self.sizes.of(job, shelf)
        if prepared is None:
            return None
        edits = [neurons.key, None if fits is None else fits.key, *acting.described()[:2], acting.site, list(where)]
        # the examples' own texts are those of the evaluation set
        key = key_of(KIND, job.model.id, prepared.set_hash("evaluate"), edits)
        needs = [self.sizes.unit(job), neurons, *([] if fits is None else [fits])]
        recipe = replace(self, acting=acting, where=tuple(where), neurons=neurons, fits=fits)
        return Unit(KIND, neurons.label, key, recipe, needs=tuple(needs))

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Read; the unedited pass is shared."""
        together: dict[tuple[Sizes, int | None], list[tuple[Unit, list[Edit]]]] = {}
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Reading)
            together.setdefault((recipe.sizes, recipe.max_tokens), []).append((unit, recipe._edits(desk)))
        for (sizes, max_tokens), asked in together.items():
            texts, name = chosen_text(desk.model, own_texts(sizes.at(desk).split))
            flat = [edit for _, own in asked for edit in own]
            told = desk.told("side effects")
            found = iter(plain_text_effects(desk.model, texts, flat, max_tokens=max_tokens, progress=told))
            for unit, own in asked:
                desk.shelf.put(unit, Payload({"text": name, "effects": [asdict(next(found)) for _ in own]}))

    def _edits(self, desk: Desk) -> list[Edit]:
        assert self.acting is not None
        assert self.neurons is not None
        neurons = desk.shelf.get(self.neurons)
        assert neurons is not None
        editor = self.acting.editor(neurons, None if self.fits is None else desk.shelf.get(self.fits))
        return [editor.edit(*where, positions="all") for where in self.where]


def own_texts(split: Split) -> list[str]:
    """The texts of a job's own evaluation examples."""
    return [example.item.text for example in split.evaluate if example.item is not None][:MOST_TEXTS]
