"""Stability: how much hangs on which examples the scores come from?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neuron_antagonism.errors import AntagonismError
from neuron_antagonism.method.attribute import attribute_each
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.metrics.judges import jaccard, role_changes, variance_split
from neuron_antagonism.metrics.outcomes import MODES, sign
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.judging.bench import Bench, Judge, Row, row
from neuron_antagonism.types import Example
from neuron_antagonism.units.neurons import Candidate, candidate_of
from neuron_antagonism.units.scores import draws_of


class Stability(Judge):
    """Over draws of as many identification examples, all disjoint, on one evaluation set.

    `good-jaccard`, `bad-jaccard`: mean overlap of two draws' sets, |A ∩ B| / |A ∪ B|. `role-changes`: share of the
    neurons chosen at all that are good in one draw and bad in another. `enhance-draws`, `degrade-draws`: of the
    variance that the mean effect of one draw's edit on log-odds has, the share that comes from the draw, and not from
    the evaluation's texts.
    """

    name = "stability"
    fields = ("draws", "identify", "budget", "steps")

    def measure(self, at: Bench) -> dict[str, list[Row]]:
        """Attribute every draw, then try all their edits beside one another."""
        size, wanted = at.spec.identify, at.spec.identify * at.spec.draws
        if len(at.more) < wanted:
            why = f"{len(at.more)} identification examples are left of {wanted}; accepted: fewer draws, or more data"
            return {name: [row("stability.good-jaccard", float("nan"), note=why)] for name in at.scores}
        draws = [at.more[start : start + size] for start in range(0, wanted, size)]
        found, failed = self._drawn(at, draws)
        rows = {name: _sets(own, at.site) for name, own in found.items()}
        rows |= {name: [row("stability.good-jaccard", float("nan"), note=why)] for name, why in failed.items()}
        edits = [at.edit(mode, one) for own in found.values() for mode in MODES for one in own]
        if not edits:
            return rows
        odds = at.log_odds([None, *edits], self.name)
        texts, unit = np.unique(at.units, return_inverse=True)
        # examples of one text are one
        share = (unit[:, None] == np.arange(len(texts))) / np.bincount(unit)
        changes = ((odds[1:] - odds[0]) @ share).reshape(len(found), len(MODES), len(draws), -1)
        for name, by_mode in zip(found, changes, strict=True):
            for mode, change in zip(MODES, by_mode, strict=True):
                split = variance_split(sign(mode) * change)
                # a user's edit comes from one draw
                whole = split.by_draw + (split.by_example + split.by_rest) / len(texts)
                rows[name].append(row(f"stability.{mode}-draws", split.by_draw / whole if whole > 0 else float("nan")))
        return rows

    def _drawn(
        self, at: Bench, draws: Sequence[Sequence[Example]]
    ) -> tuple[dict[str, list[Candidate]], dict[str, str]]:
        """Neurons by scorer and draw; and why some scorers can't score every draw."""
        found: dict[str, list[Candidate]] = {name: [] for name in at.scores}
        failed: dict[str, str] = {}
        for number, examples in enumerate(draws):
            asked = [name for name in found if name not in failed]
            try:
                scored = self._attributed(at, asked, examples, number)
            except AntagonismError:
                # one that can't spoils it for the others: each by itself
                scored = {}
                for name in asked:
                    try:
                        scored |= self._attributed(at, [name], examples, number)
                    except AntagonismError as error:
                        failed[name] = f"not every draw can be scored: {error}"
            for name, one in scored.items():
                found[name].append(candidate_of(one, at.spec.budget))
        return {name: own for name, own in found.items() if name not in failed}, failed

    def _attributed(
        self, at: Bench, names: Sequence[str], examples: Sequence[Example], number: int
    ) -> dict[str, Attribution]:
        # what draws its scores draws others each time
        chosen = [at.scorers[name] for name in names]
        scorers = [draws_of(one, at.desk.job, at.spec.draws)[number] if one.draws else one for one in chosen]
        settings = replace(at.settings, progress=at.told(self.name))
        return dict(zip(names, attribute_each(at.model, examples, scorers, settings), strict=True))


def _sets(found: list[Candidate], site: str) -> list[Row]:
    good = [one.good for one in found]
    rows = [row("stability.good-jaccard", jaccard(good))]
    if all(one.bad is not None for one in found):
        bad = [one.bad or NeuronSet.of([], site) for one in found]
        rows += [row("stability.bad-jaccard", jaccard(bad)), row("stability.role-changes", role_changes(good, bad))]
    return rows
