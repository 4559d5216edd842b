"""Do good and bad neurons do more, or less, together than one by one? Against other pairs of sets of their size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from einops import rearrange
from jaxtyping import Float

from neuron_antagonism.errors import UsageError
from neuron_antagonism.method.edits import Edit, Part
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.metrics.bootstrap import Resamples, percentile_interval
from neuron_antagonism.metrics.interaction import example_log_odds, interaction, mean_interval, verdict
from neuron_antagonism.metrics.outcomes import MODES, sign
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.of_tasks import TaskRows
from neuron_antagonism.parts.specs import Antagonism
from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.tasks.splits import Split

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

PAIRS = ("G+B", "G+G", "B+B", "2G", "2B", "random")

BUDGET = 100
"""The selection depth of a default run: scores depend on it, and the neurons are to be those of a run."""


@dataclass(frozen=True)
class Pair:
    """Two disjoint sets, and the role in which each is edited ("good" or "bad"); or why there are none."""

    name: str
    roles: tuple[str, str]
    first: NeuronSet
    second: NeuronSet
    reason: str = ""

    def edits(self, acts: Mapping[str, Intervention], positions: str, site: str) -> tuple[Edit, Edit, Edit]:
        """The first set's edit, the second's, and that of both.

        Args:
            acts: by role, what is done to neurons.
            positions: where edits act.
            site: where the neurons are.
        """
        one, two = (
            Part(acts[role], neurons) for role, neurons in zip(self.roles, (self.first, self.second), strict=True)
        )
        alone, other, both = (Edit(parts, positions, site) for parts in ((one,), (two,), (one, two)))
        return alone, other, both


@dataclass(frozen=True)
class AntagonismRows(TaskRows):
    """The part `antagonism`: one row for each task, scorer, direction and pair of sets; the random pairs share one.

    A row holds the change Δ of the right letter's log-odds (nats, mean over examples; its sign turned for degraders, so
    that + is what the edit is for) under the first set's edit, the second's, and both at once; the interaction
    Δ(both) − Δ(first) − Δ(second) with its 95 % interval, over texts or, of random pairs, over draws; and what the
    interval says. `ahead` is how much more good and bad neurons together do than this pair together. A pair that
    can't be had, because a scorer has too few neurons, holds the reason alone.

    - G+B: the n strongest good and the n strongest bad neurons;
    - G+G, B+B: the 2n strongest of one kind, dealt to two sets in turn, so that both are about as strong;
    - 2G, 2B: the same neurons, the n strongest in one set and the next n in the other;
    - random: two disjoint sets of as many neurons as G+B, edited as good and as bad ones, drawn from all neurons.

    Evaluation examples are taken as they come, not half of them understood: the mean over them is that of the task.
    """

    kind = "antagonism"
    stratified = False
    spec: Antagonism

    def slices(self) -> list[Self]:
        """One a scorer."""
        return [self.narrowed(scorers=(name,)) for name in self.spec.scorers]

    def depth(self, n_units: int) -> int:
        """As in a default run, whose neurons these are to be."""
        return min(max(BUDGET, 2 * self.spec.n), n_units)

    def check(self, desk: Desk) -> None:
        """Neurons enough, and scorers that fit."""
        n_units = desk.model.n_layers * desk.model.units(self.classes.site)
        if 2 * self.spec.n > n_units:
            raise UsageError(
                f"part {self.name!r} asks for two sets of {self.spec.n} neurons; accepted: 1 to {n_units // 2} of the "
                f"{n_units} of this model"
            )
        super().check(desk)

    def chosen(self, desk: Desk, scorer: str) -> tuple[Pair, ...]:
        """A scorer's pairs of sets, and the random ones."""
        spec, model, site = self.spec, desk.model, self.classes.site
        found = self.candidate(desk, scorer, 2 * spec.n)
        pairs = _pairs(found.good, found.bad or NeuronSet.of([], site), spec.n, scorer)
        first, second = len(pairs[0].first) or spec.n, len(pairs[0].second) or spec.n
        drawn = random_pairs(first, second, spec.draws, model.n_layers, model.units(site), site, desk.job.seed)
        return (*pairs, *drawn)

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task."""
        split = self.sizes.at(desk).split
        return Payload({"rows": list(self._rows(desk, split)), "notes": split.report.notes})

    def _acts(self, mode: str) -> dict[str, Intervention]:
        """By role, what is done to neurons."""
        strong, weak = ("good", "bad") if mode == "enhance" else ("bad", "good")
        names = {strong: self.spec.strengthen, weak: self.spec.weaken}
        return {role: registry().make(Intervention, name) for role, name in names.items()}

    def _rows(self, desk: Desk, split: Split) -> Iterator[dict[str, Any]]:
        spec, site, seed, examples = self.spec, self.classes.site, desk.job.seed, split.evaluate
        groups = [
            (scorer, mode, [pair for pair in pairs if pair.name == name])
            for scorer, pairs in ((scorer, self.chosen(desk, scorer)) for scorer in spec.scorers)
            for mode in MODES
            for name in PAIRS
        ]
        acts = {mode: self._acts(mode) for mode in MODES}
        edits = [
            [
                edit.fit(desk.model, split.identify)
                for pair in pairs
                if not pair.reason
                for edit in pair.edits(acts[mode], spec.positions, site)
            ]
            for _, mode, pairs in groups
        ]
        every = [None, *(edit for own in edits for edit in own)]
        answers = iter(evaluate_many(desk.model, examples, every, seed=seed, progress=desk.told(self.name)))
        before = example_log_odds(next(answers))
        units = np.unique([example.unit for example in examples], return_inverse=True)[1]
        draws = Resamples(np.zeros(len(units)), units, seed=seed)
        good_and_bad: Float[np.ndarray, " example"] | None = None
        for (scorer, mode, pairs), own in zip(groups, edits, strict=True):
            pair, levels = pairs[0], np.array([example_log_odds(next(answers)) for _ in own])
            row: dict[str, Any] = {"task": desk.job.name, "scorer": scorer, "mode": mode, "pair": pair.name}
            row |= {"positions": spec.positions, "n_first": len(pair.first), "n_second": len(pair.second)}
            row["reason"] = pair.reason
            if not pair.reason:
                by_draw = rearrange(levels, "(draw edit) example -> draw edit example", edit=3)
                row |= _figures(before, by_draw, sign(mode), draws)
            if pair.name == "G+B":
                good_and_bad = None if pair.reason else levels[2]
            elif good_and_bad is not None and not pair.reason:
                row |= _named("ahead", sign(mode) * (good_and_bad - levels[2::3]), draws)
            yield row


def _pairs(good: NeuronSet, bad: NeuronSet, n: int, scorer: str) -> list[Pair]:
    """Good with bad neurons, and each kind with itself, from up to 2n of each."""
    missing = " and ".join(role for role, neurons in (("good", good), ("bad", bad)) if not len(neurons))
    reason = missing and f"{scorer} has no {missing} neurons"
    pairs = [Pair("G+B", ("good", "bad"), good.top(n), bad.top(n), reason)]
    for letter, role, every in (("G", "good", good), ("B", "bad", bad)):
        in_turn = NeuronSet.of(list(every)[::2], every.site)
        for name, one in ((f"{letter}+{letter}", in_turn), (f"2{letter}", every.top(n))):
            two = every - one
            reason = "" if len(two) else f"{scorer} has {len(every) or 'no'} {role} neurons, none for a second set"
            pairs.append(Pair(name, (role, role), one, two, reason))
    return pairs


def random_pairs(
    first: int, second: int, draws: int, n_layers: int, n_units: int, site: str = "post", seed: int = 0
) -> list[Pair]:
    """Pairs of disjoint random sets, to be edited as good and as bad neurons.

    Args:
        first, second: neurons of each set.
        draws: how many pairs.
        n_layers, n_units: of the model.
        site: where the neurons are.
        seed: the same seed gives the same pairs.
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(draws):
        drawn = rng.choice(n_layers * n_units, first + second, replace=False).tolist()
        units = [divmod(index, n_units) for index in drawn]
        one, two = (NeuronSet.of(part, site) for part in (units[:first], units[first:]))
        pairs.append(Pair("random", ("good", "bad"), one, two))
    return pairs


def _figures(
    before: Float[np.ndarray, " example"], levels: Float[np.ndarray, "draw 3 example"], s: int, draws: Resamples
) -> dict[str, Any]:
    """Of a pair's draws under the first set's edit, the second's and both: changes, and how they add up."""
    names = ("delta_first", "delta_second", "delta_both")
    changes = s * (levels - before).mean(axis=(0, 2))
    first, second, both = levels.swapaxes(0, 1)
    found = _named("interaction", s * interaction(before, first, second, both), draws)
    return (
        dict(zip(names, map(float, changes), strict=True))
        | found
        | {"verdict": verdict(found["interaction_interval"]), "draws": len(levels)}
    )


def _named(name: str, values: Float[np.ndarray, "draw example"], draws: Resamples) -> dict[str, Any]:
    """A mean and its 95 % interval: over texts, or over draws where there are several."""
    one = len(values) == 1
    interval = mean_interval(values[0], draws) if one else percentile_interval(values.mean(axis=1))
    return {name: float(values.mean()), f"{name}_interval": interval}
