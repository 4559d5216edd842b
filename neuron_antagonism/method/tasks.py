"""Loading a task and dividing its examples into the sets of a run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_antagonism.engine.base import Progress
from neuron_antagonism.errors import DataError, PluginError, UsageError
from neuron_antagonism.method.evaluate import evaluate
from neuron_antagonism.method.qatt import build_examples, check_stems, draw_options, omitted_letter
from neuron_antagonism.method.splits import Split, SplitReport, right_letters
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.types import N_OPTIONS, Example, Item

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

BLOCK = 24
"""Examples asked of the reference model at a time; a multiple of four keeps the cycle of letters whole."""

DEMONSTRATION_CANDIDATES = 20


def make_task(thing: str | Path | Task) -> Task:
    """The task of a name, of a file that states one, or the instance itself.

    Raises:
        PluginError: an unknown task.
        DataError: a malformed task file.
        UsageError: something else.
    """
    task = registry().task(thing) if isinstance(thing, str | Path) else thing
    if not isinstance(task, Task):
        raise UsageError(f"task {thing!r:.80} is neither a name, a file nor an instance of na.Task")
    return task


def load_task(
    name: str | Path | Task, *, source: str | Path | None = None, train: str | Path | None = None
) -> LoadedTask:
    """Load a task with its data.

    Args:
        name: a registered task, a file that states one (such as `my_task.yaml`), or an instance.
        source: a file in the data set's official format, or `hub:dataset-id`; None = the embedded sample, or the
            data that a task file names.
        train: the data set's training part likewise, where it is a file of its own.

    Raises:
        PluginError: an unknown task.
        DataError: a malformed task file; from `split`: an unreadable or malformed source.
    """
    task = make_task(name)
    if not task.role or not task.rule or not task.stems:
        raise PluginError(f"task {task.name!r} lacks role, rule or stems; accepted: all three")
    if train is not None and source is None:
        raise DataError(
            f"task {task.name!r} was given training data but no evaluation data; accepted: both, or neither"
        )
    return LoadedTask(task, None if source is None else str(source), None if train is None else str(train))


class LoadedTask:
    """A task and where its data comes from."""

    def __init__(self, task: Task, source: str | None, train: str | None) -> None:
        """Nothing is read before `split` or `items`."""
        self.task = task
        self.name = task.name
        self.source = source
        self.train = train

    def __repr__(self) -> str:
        """Name and source."""
        return f"LoadedTask({self.name!r}, source={self.source or 'its own'!r})"

    def split(
        self,
        identify: int = 5,
        select: int = 50,
        evaluate: int = 100,
        *,
        seed: int = 0,
        reference: HookedModel | None = None,
        fits: HookedModel | None = None,
        progress: Progress | None = None,
    ) -> Split:
        """Disjoint sets of examples (NeuronLLM §4.1).

        Identification examples, the demonstration and the selection set come from the training part where there is
        one, the evaluation set from the test part.

        Args:
            identify: identification examples, drawn regardless of what a model answers.
            select, evaluate: sizes of the other two; each half understood by the reference, half not.
            seed: the same seed gives the same sets.
            reference: the model whose understanding stratifies; None = not stratified.
            fits: the model whose context examples must fit; default: the reference.
            progress: called while the reference model is asked.

        Raises:
            DataError: unreadable data, or too few examples left for a set.
        """
        for set_name, size in (("identify", identify), ("select", select), ("evaluate", evaluate)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise UsageError(f"{set_name} is {size!r}; accepted: a whole number from 0")
        report = SplitReport(reference=reference.name if reference else "")
        test, train = self.pools(seed, report)
        has_train = bool(train)
        first = train if has_train else test
        build = Builder(self.asking(first, seed, report), fits or reference, report)

        chosen = build.take(first, identify)
        if len(chosen) < min(identify, 1):
            raise DataError(f"task {self.name!r} has no example left for identification ({_left_out(report)})")
        draw = _Stratified(build, reference, report, progress)
        second, second_strata = draw.take(first, select, "select")
        third, third_strata = draw.take(test, evaluate, "evaluate")
        split = Split(chosen, second, third, report=report)
        if reference is not None:
            split.strata = {"select": second_strata, "evaluate": third_strata}
        for name, wanted in (("identify", identify), ("select", select), ("evaluate", evaluate)):
            got = getattr(split, name)
            if wanted and not got:
                raise DataError(f"task {self.name!r} has no example left for the set {name!r} ({_left_out(report)})")
            if len(got) < wanted:
                report.notes.append(f"{name}: {len(got)} examples instead of {wanted}")
            report.right_letters[name] = right_letters(got)
        if not has_train:
            report.notes.append("no training part: all sets come from one source")
        return split

    def items(self, seed: int = 0) -> tuple[list[Item], list[Item]]:
        """Items of the test part and of the training part; without parts, everything is test."""
        test: list[Item] = []
        train: list[Item] = []
        for item in self.task.examples(self.source, seed):
            (train if item.part == "train" else test).append(item)
        if self.train is not None:
            train += [item for item in self.task.examples(self.train, seed) if item.part != "test"]
        if not test:
            test, train = train, []
        return test, train

    def pools(self, seed: int, report: SplitReport) -> tuple[list[Item], list[Item]]:
        """Usable items of the test part and of the training part, shuffled; what is left out stands in the report.

        Raises:
            DataError: no items, or stems that ask for what the items lack.
        """
        test, train = self.items(seed)
        if not test:
            raise DataError(f"task {self.name!r}: {self.source or 'its own data'} holds no examples")
        check_stems(self.task.stems, test[0])
        # a demonstration of the task's own must not be asked as well
        seen: set[object] = set() if self.task.demonstration is None else {self.task.demonstration.key}
        rng = random.Random(f"{seed}|split|{self.name}")
        usable = list(self._usable(test, seen, seed, report)), list(self._usable(train, seen, seed, report))
        for pool in usable:
            rng.shuffle(pool)
        return usable

    def asking(self, pool: list[Item], seed: int, report: SplitReport) -> Callable[[Sequence[Item]], list[Example]]:
        """What turns items into four-option examples; where the task shows none of its own, the pool loses its
        shortest item to the demonstration."""
        return partial(
            build_examples,
            role=self.task.role,
            rule=self.task.rule,
            stems=self.task.stems,
            demonstration=self.task.demonstration or _pop_short(pool, self.name, report),
            seed=seed,
            distractors=self.task.distractors,
        )

    def _usable(self, pool: Iterable[Item], seen: set[object], seed: int, report: SplitReport) -> Iterator[Item]:
        for item in pool:
            if item.key in seen:
                report.duplicates += 1
                continue
            seen.add(item.key)
            try:
                draw_options(item, random.Random(f"{seed}|{item.key!r}"), self.task.distractors)
            except DataError:
                report.too_few_options += 1
                continue
            yield item


class Builder:
    """Builds examples from the front of a pool, leaving out those that don't fit.

    Args:
        asking: turns items into examples.
        fitting: the model whose context they must fit; None = any.
        report: counts what was read and left out.
    """

    def __init__(
        self, asking: Callable[[Sequence[Item]], list[Example]], fitting: HookedModel | None, report: SplitReport
    ) -> None:
        """Nothing is built yet."""
        self.asking, self.fitting, self.report = asking, fitting, report

    def block(self, pool: list[Item], size: int) -> list[Example]:
        """Examples of the next `size` items that fit; the items leave the pool."""
        items, pool[:] = pool[:size], pool[size:]
        built = self.asking(items)
        if self.fitting is None:
            return built
        model = self.fitting
        fitting = [example for example in built if all(model.fits(q) for q in example.proxies)]
        self.report.too_long += len(built) - len(fitting)
        return fitting

    def take(self, pool: list[Item], count: int) -> list[Example]:
        """The next `count` examples that fit, or fewer."""
        taken: list[Example] = []
        while pool and len(taken) < count:
            taken += self.block(pool, count - len(taken))
        self.report.read += len(taken)
        return taken


class _Stratified:
    """Draws sets of which the reference understands half, with each letter right equally often in each half."""

    def __init__(
        self, build: Builder, reference: HookedModel | None, report: SplitReport, progress: Progress | None
    ) -> None:
        self.build, self.reference, self.report, self.progress = build, reference, report, progress

    def take(self, pool: list[Item], count: int, name: str) -> tuple[list[Example], list[bool]]:
        """`count` examples, or fewer, and whether each is understood."""
        if self.reference is None or count == 0:
            return self.build.take(pool, count), []
        strata: dict[bool, list[Example]] = {True: [], False: []}
        quota = {True: count - count // 2, False: count // 2}
        read = 0
        found = 0
        while pool and read < 4 * count and found < count:
            block = self.build.block(pool, min(BLOCK, 4 * count - read))
            read += len(block)
            if not block:
                continue
            outcomes = evaluate(self.reference, block).outcomes
            for example, understood in zip(block, outcomes.understood, strict=True):
                strata[bool(understood)].append(example)
            found = sum(_even(strata[stratum], quota[stratum]) for stratum in strata)
            if self.progress is not None:
                self.progress(f"choosing examples ({name})", found, count)
        self.report.read += read
        chosen = {stratum: _balanced(strata[stratum], quota[stratum]) for stratum in (True, False)}
        self.report.understood[name] = (len(chosen[True]), len(chosen[False]))
        for stratum, label in ((True, "understands"), (False, "does not understand")):
            if len(chosen[stratum]) < quota[stratum]:
                self.report.notes.append(
                    f"{name}: {len(chosen[stratum])} examples that {self.report.reference} {label}, instead of "
                    f"{quota[stratum]}, among {read} read"
                )
        return [*chosen[True], *chosen[False]], [True] * len(chosen[True]) + [False] * len(chosen[False])


def _even(examples: Sequence[Example], count: int) -> int:
    """How many of `count` can be drawn with no letter omitted more often than its share."""
    omitted = Counter(omitted_letter(example) for example in examples)
    return min(count, sum(min(n, -(-count // N_OPTIONS)) for n in omitted.values()))


def _balanced(examples: Sequence[Example], count: int) -> list[Example]:
    """`count` examples in order, drawn in turn from those that omit each letter."""
    queues: dict[int, list[int]] = {}
    for number, example in enumerate(examples):
        queues.setdefault(omitted_letter(example), []).append(number)
    taken: list[int] = []
    while len(taken) < min(count, len(examples)):
        for letter in sorted(queues):
            if queues[letter] and len(taken) < count:
                taken.append(queues[letter].pop(0))
    return [examples[number] for number in sorted(taken)]


def _pop_short(pool: list[Item], name: str, report: SplitReport) -> Item:
    """Takes the shortest of the first few items: the demonstration stands in every prompt."""
    if len(pool) < 2:
        raise DataError(
            f"task {name!r} has {len(pool)} usable examples ({_left_out(report)}); "
            "accepted: enough for a demonstration and the sets"
        )

    def length(index: int) -> int:
        return len(pool[index].text) + 4 * len(pool[index].answer)

    return pool.pop(min(range(min(DEMONSTRATION_CANDIDATES, len(pool))), key=length))


def _left_out(report: SplitReport) -> str:
    return (
        f"left out: {report.duplicates} duplicates, {report.too_few_options} with fewer than four options, "
        f"{report.too_long} longer than the model's context"
    )
