"""Drawing the examples of a set: those that fit, and half of them understood by a reference model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from neuron_antagonism.metrics.natural import Natural
from neuron_antagonism.progress import Progress
from neuron_antagonism.tasks.qatt import Asking, letter_pattern, n_patterns
from neuron_antagonism.tasks.splits import SplitReport
from neuron_antagonism.types import N_OPTIONS, Example, Item

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

BLOCK = 24
"""Examples asked of the reference model at a time, or a little fewer: whole cycles of right letters."""


class Builder:
    """Builds examples from the front of a pool, leaving out those that don't fit.

    Args:
        asking: turns items into examples.
        fitting: the model whose context they must fit; None = any.
        report: counts what was read and left out.
        reading: models that must tell the options of each question apart, where questions have options of their own.
    """

    def __init__(
        self, asking: Asking, fitting: HookedModel | None, report: SplitReport, reading: Sequence[HookedModel] = ()
    ) -> None:
        """Nothing is built yet."""
        self.asking, self.fitting, self.report, self.reading = asking, fitting, report, reading

    def block(self, pool: list[Item], size: int) -> list[Example]:
        """Examples of the next `size` items that fit; the items leave the pool."""
        items, pool[:] = pool[:size], pool[size:]
        built = self._apart(self.asking(items))
        if self.fitting is None:
            return built
        model = self.fitting
        fitting = [example for example in built if all(model.fits(q) for q in example.proxies)]
        self.report.too_long += len(built) - len(fitting)
        return fitting

    def _apart(self, built: list[Example]) -> list[Example]:
        """Examples whose options every model can tell apart."""
        for model in self.reading:
            asked = [question for example in built for question in example.proxies]
            readable = dict(zip(map(id, asked), model.readable(asked), strict=True))
            kept = [example for example in built if all(readable[id(question)] for question in example.proxies)]
            self.report.alike += len(built) - len(kept)
            built = kept
        return built

    def take(self, pool: list[Item], count: int) -> list[Example]:
        """The next `count` examples that fit, or fewer."""
        taken: list[Example] = []
        while pool and len(taken) < count:
            taken += self.block(pool, count - len(taken))
        self.report.read += len(taken)
        return taken


class Stratified:
    """Draws sets of which the reference understands half, with each letter right equally often in each half."""

    def __init__(
        self,
        build: Builder,
        reference: HookedModel | None,
        report: SplitReport,
        progress: Progress | None,
        n_options: int = N_OPTIONS,
    ) -> None:
        """Nothing is asked yet."""
        self.build, self.reference, self.report, self.progress = build, reference, report, progress
        self.n_options = n_options

    def take(self, pool: list[Item], count: int, name: str, most: int | None = None) -> tuple[list[Example], Natural]:
        """`count` examples, or fewer, and what was read for them.

        Args:
            pool: items; those that are asked leave it, and those that are not taken stand at its end again.
            count: how many are wanted.
            name: the set's.
            most: at most so many are asked, where others need the pool too; None = four times the count.
        """
        if self.reference is None or count == 0:
            return self.build.take(pool, count), Natural(options=self.n_options)
        from neuron_antagonism.method.evaluate import evaluate

        strata: dict[bool, list[Example]] = {True: [], False: []}
        quota = {True: count - count // 2, False: count // 2}
        most = 4 * count if most is None else min(most, 4 * count)
        natural = Natural(options=self.n_options)
        units: dict[str, int] = {}
        found = 0
        self._told(name, 0, count)
        while pool and natural.read < most and found < count:
            block = self.build.block(pool, min(self._block, most - natural.read))
            if not block:
                continue
            outcomes = evaluate(self.reference, block).outcomes
            for example, understood in zip(block, outcomes.understood, strict=True):
                strata[bool(understood)].append(replace(example, understood=bool(understood)))
            natural.right += outcomes.right.tolist()
            natural.proxies += outcomes.proxies.tolist()
            natural.units += [units.setdefault(example.unit, len(units)) for example in block]
            found = sum(_even(strata[stratum], quota[stratum]) for stratum in strata)
            self._told(name, min(found, count - 1), count)
        # however many there were: no more are looked for
        self._told(name, found, found)
        self.report.read += natural.read
        if not any(quota[stratum] and strata[stratum] for stratum in strata):
            # a set of one that its stratum does not offer: rather another than none
            quota = {True: count, False: count}
        chosen = {stratum: _balanced(strata[stratum], quota[stratum]) for stratum in (True, False)}
        self.report.understood[name] = (len(chosen[True]), len(chosen[False]))
        for stratum, label in ((True, "understands"), (False, "does not understand")):
            if len(chosen[stratum]) < quota[stratum]:
                self.report.notes.append(
                    f"{name}: {len(chosen[stratum])} examples that {self.report.reference} {label}, instead of "
                    f"{quota[stratum]}, among {natural.read} read"
                )
        taken = {id(example) for examples in chosen.values() for example in examples}
        pool += [
            example.item
            for examples in strata.values()
            for example in examples
            if id(example) not in taken and example.item is not None
        ]
        return [*chosen[True], *chosen[False]], natural

    def _told(self, name: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(f"choosing examples ({name})", done, total)

    @property
    def _block(self) -> int:
        """Examples asked at a time: whole cycles of right letters."""
        return BLOCK - BLOCK % n_patterns(self.n_options)


def _even(examples: Sequence[Example], count: int) -> int:
    """How many of `count` can be drawn with no pattern of right letters more often than its share."""
    patterns = Counter(letter_pattern(example) for example in examples)
    if not patterns:
        return 0
    share = -(-count // n_patterns(len(examples[0].proxies[0].letters)))
    return min(count, sum(min(n, share) for n in patterns.values()))


def _balanced(examples: Sequence[Example], count: int) -> list[Example]:
    """`count` examples in order, drawn in turn from those of each pattern of right letters."""
    queues: dict[tuple[int, ...], list[int]] = {}
    for number, example in enumerate(examples):
        queues.setdefault(letter_pattern(example), []).append(number)
    taken: list[int] = []
    while len(taken) < min(count, len(examples)):
        for pattern in sorted(queues):
            if queues[pattern] and len(taken) < count:
                taken.append(queues[pattern].pop(0))
    return [examples[number] for number in sorted(taken)]
