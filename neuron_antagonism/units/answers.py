"""What the model answers to a set of a job's examples: unedited, or under edits of one scorer's neurons."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Integer

from neuron_antagonism.method.evaluate import Evaluation, evaluate_sets
from neuron_antagonism.metrics.outcomes import MODES, Outcomes
from neuron_antagonism.metrics.sweeps import N_RATIOS, Sweep, Swept
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import Acting, Candidate

if TYPE_CHECKING:
    from neuron_antagonism.method.edits import Edit
    from neuron_antagonism.runs.work import Desk

KIND = "answers"

REPORTED = "evaluate"
"""The set whose probabilities of every option are kept, for whoever reads single questions."""

Where = tuple[int, str, int]
"""Draw, mode and ratio in tenths of an edit."""


@dataclass(frozen=True)
class Asking:
    """Asks a set of examples, under edits or without; a recipe once it has its units.

    Args:
        sizes: the examples.
        name: the set's: "select" or "evaluate".
        max_tokens: tokens in one forward; None = planned.
        acting: how neurons are edited; None = not at all.
        where: draw, mode and ratio of each edit.
        neurons, fits: the units of the neurons, which may be another job's, and of what was learned of them.
    """

    sizes: Sizes
    name: str
    max_tokens: int | None = None
    acting: Acting | None = None
    where: tuple[Where, ...] = ()
    neurons: Unit | None = None
    fits: Unit | None = None

    def unit(self, job: Job, shelf: Shelf) -> Unit | None:
        """Answers without an edit; None while the job's examples are not known."""
        return self._unit(job, shelf, f"{job.name}.unedited.{self.name}", None)

    def edited(
        self,
        job: Job,
        shelf: Shelf,
        acting: Acting,
        neurons: Unit,
        fits: Unit | None,
        where: Sequence[Where],
    ) -> Unit | None:
        """Answers under edits; None while the job's examples are not known.

        Args:
            job: whose examples are asked.
            shelf: what is there.
            acting: how neurons are edited.
            neurons, fits: their units, of this job or another one of the same model.
            where: draw, mode and ratio of each edit.
        """
        recipe = replace(self, acting=acting, where=tuple(where), neurons=neurons, fits=fits)
        what = [neurons.key, None if fits is None else fits.key, *acting.described(), recipe.where]
        label = neurons.label if neurons.label.startswith(f"{job.name}.") else f"{job.name}.{neurons.label}"
        return recipe._unit(job, shelf, f"{label}.{self.name}", what)

    def _unit(self, job: Job, shelf: Shelf, label: str, edits: Any) -> Unit | None:
        prepared = self.sizes.of(job, shelf)
        if prepared is None:
            return None
        # ties are broken by the seed; answers without an edit hold the strata, which are a reference's, not the set's
        edited = prepared.strata(self.name) if edits is None else edits
        what = [job.model.id, prepared.set_hash(self.name), prepared.engine["name"], job.seed, edited]
        needs = [self.sizes.unit(job), *(unit for unit in (self.neurons, self.fits) if unit is not None)]
        return Unit(KIND, label, key_of(KIND, *what), self, needs=tuple(needs))

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Ask; edits on a set of examples share its prompts, and no unit's answers depend on what else is asked."""
        together: dict[tuple[Sizes, str, int | None], list[tuple[Unit, Asking]]] = {}
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Asking)
            together.setdefault((recipe.sizes, recipe.name, recipe.max_tokens), []).append((unit, recipe))
        for (sizes, name, max_tokens), asked in together.items():
            examples = getattr(sizes.at(desk).split, name)
            edits = [recipe._edits(desk) for _, recipe in asked]
            # scorers may agree in all edits of a set; only whole sets are shared: rounding depends on what is in one
            contents = [tuple(map(_content, own)) for own in edits]
            distinct = dict(zip(contents, edits, strict=True))
            answers = evaluate_sets(
                desk.model,
                examples,
                list(distinct.values()),
                seed=desk.job.seed,
                engine=sizes.engine,
                max_tokens=max_tokens,
                progress=desk.told(name),
            )
            found = dict(zip(distinct, answers, strict=True))
            for (unit, recipe), content, own in zip(asked, contents, edits, strict=True):
                desk.shelf.put(unit, recipe._packed(found[content], own))

    def _edits(self, desk: Desk) -> list[Edit | None]:
        if self.acting is None or self.neurons is None:
            return [None]
        neurons, fits = desk.shelf.get(self.neurons), None if self.fits is None else desk.shelf.get(self.fits)
        assert neurons is not None
        editor = self.acting.editor(neurons, fits)
        return [editor.edit(*where) for where in self.where]

    def _packed(self, answers: Sequence[Evaluation], edits: Sequence[Edit | None]) -> Payload:
        outcomes = [one.outcomes for one in answers]
        first = outcomes[0]
        arrays: dict[str, Any] = {
            "right": np.stack([one.right for one in outcomes]).astype(np.int32),
            "cross_entropy": np.stack([one.cross_entropy for one in outcomes]).astype(np.float32),
            "chosen": np.stack([one.chosen.numpy() for one in answers]).astype(np.int16),
        }
        if self.name == REPORTED:
            # to be looked at, not to be computed with: half precision tells .501 from .502
            arrays["probabilities"] = np.stack([one.option_probabilities.numpy() for one in answers]).astype(np.float16)
        meta: dict[str, Any] = {
            "where": [list(where) for where in self.where],
            "used": [[edit.n_good, edit.n_bad] for edit in edits if edit is not None],
            "ties": [one.ties for one in answers],
            "examples": first.examples,
        }
        if self.acting is None:
            arrays |= {"proxies": first.proxies, "cross_entropy": np.stack([first.cross_entropy])}
            if first.units is not None:
                arrays["units"] = first.units
            if first.strata is not None:
                arrays["strata"] = first.strata.astype(np.uint8)
            meta["letter_mass"] = float(answers[0].letter_mass.mean())
        return Payload(meta, arrays)


def _content(edit: Edit | None) -> Hashable:
    """Equal for edits that do the same: the same factors, or one and the same intervention, on the same neurons."""
    if edit is None:
        return None
    parts = frozenset(
        (one.scale, None if one.scale is not None else id(one), frozenset(part.neurons))
        for part in edit.parts
        for one in (part.intervention,)
    )
    return edit.positions, edit.site, parts


def every_ratio(candidates: Sequence[Candidate]) -> list[Where]:
    """Every edit that sweeping the ratio of some neuron sets takes."""
    return [(one.draw, mode, tenths) for one in candidates for mode in MODES for tenths in one.tenths()]


@dataclass(frozen=True)
class Asked:
    """A set's answers without an edit, and those under edits.

    Args:
        unedited: the unit without an edit.
        edited: the unit of one scorer's edits.
    """

    unedited: Payload
    edited: Payload | None = None

    @property
    def baseline(self) -> Outcomes:
        """The set without an edit."""
        a, meta = self.unedited.arrays, self.unedited.meta
        strata = a["strata"].astype(bool) if "strata" in a else None
        right = a["right"][0].astype(np.int64)
        return Outcomes(right, a["proxies"], a["cross_entropy"][0], meta["examples"], strata, a.get("units"))

    @property
    def rows(self) -> Mapping[Where, int]:
        """The place of each edit."""
        assert self.edited is not None
        return {
            (int(draw), str(mode), int(tenths)): i for i, (draw, mode, tenths) in enumerate(self.edited.meta["where"])
        }

    def outcomes(self, where: Where) -> Outcomes:
        """The set under one edit."""
        assert self.edited is not None
        i, a = self.rows[where], self.edited.arrays
        return replace(self.baseline, right=a["right"][i].astype(np.int64), cross_entropy=a["cross_entropy"][i])

    def chosen(self, where: Where | None) -> Integer[np.ndarray, " question"]:
        """The option that is chosen of each question, under one edit or without."""
        payload = self.unedited if where is None else self.edited
        assert payload is not None
        found: Integer[np.ndarray, " question"] = payload.arrays["chosen"][0 if where is None else self.rows[where]]
        return found

    def ties(self, where: Where) -> int:
        """Questions whose highest letters tied exactly under one edit."""
        assert self.edited is not None
        return int(self.edited.meta["ties"][self.rows[where]])

    def swept(self, draw: int) -> tuple[Swept, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """One draw's edits as a sweep; which were made; and the good and bad neurons that each had."""
        assert self.edited is not None
        base, a, meta = self.baseline, self.edited.arrays, self.edited.meta
        shape = (len(MODES), N_RATIOS)
        right = np.zeros((*shape, base.n_examples), dtype=np.int32)
        surprise = np.zeros(right.shape, dtype=np.float32)
        made, used = np.zeros(shape, dtype=bool), np.zeros((*shape, 2), dtype=np.int64)
        for (one, mode, tenths), i in self.rows.items():
            if one == draw:
                at = MODES.index(mode), tenths
                right[at], surprise[at], made[at], used[at] = (
                    a["right"][i],
                    a["cross_entropy"][i],
                    True,
                    meta["used"][i],
                )
        return Swept(right, surprise, base), made, used


def sweep_of(scorer: str, draw: int, task: str, evaluate: Asked | None, select: Asked | None) -> Sweep:
    """A draw's answers as the sweep that protocols take; without an evaluation it only chooses.

    Args:
        scorer, draw, task: what it is of.
        evaluate, select: answers on each set; at least one.
    """
    if evaluate is None:
        assert select is not None
        chosen_from, offered, used = select.swept(draw)
        return Sweep(scorer, chosen_from, chosen_from, offered, used, draw, task, offered)
    swept, made, used = evaluate.swept(draw)
    if select is None:
        return Sweep(scorer, swept, None, made, used, draw, task)
    chosen_from, offered, _ = select.swept(draw)
    return Sweep(scorer, swept, chosen_from, made, used, draw, task, offered)
