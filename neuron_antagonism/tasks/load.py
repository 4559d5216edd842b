"""Loading a task and dividing its examples into the sets of a run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_antagonism.errors import DataError, PluginError, UsageError
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.plugin.foreign import foreign
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.progress import Progress
from neuron_antagonism.tasks.blind import blind_accuracies
from neuron_antagonism.tasks.drawing import Builder, Stratified
from neuron_antagonism.tasks.qatt import build_examples, check_stems, checked_options, draw_options
from neuron_antagonism.tasks.splits import Split, SplitReport, right_letters
from neuron_antagonism.types import Example, Item, whole

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

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
        raise UsageError(
            f"a task is given as a {type(thing).__name__}; accepted: a name, a task file, or an instance of na.Task "
            "(own questions need none: na.Question, na.build_examples)"
        )
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
    _check_options(task)
    if train is not None and source is None:
        raise DataError(
            f"task {task.name!r} was given training data but no evaluation data; accepted: both, or neither"
        )
    return LoadedTask(task, None if source is None else str(source), None if train is None else str(train))


class LoadedTask:
    """A task and where its data comes from."""

    def __init__(self, task: Task, source: str | None, train: str | None) -> None:
        """Nothing is read before `split` or `items`."""
        self.shown: Item | None = None  # the demonstration, once examples are built
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
        seed = _size("seed", seed)
        sizes = {"identify": identify, "select": select, "evaluate": evaluate}
        sizes = {name: _size(name, size) for name, size in sizes.items()}
        report = SplitReport(reference=reference.name if reference else "")
        test, train = self.pools(seed, report, sizes["identify"] + sizes["select"] + 1, sizes["evaluate"])
        has_train = bool(train)
        first = train if has_train else test
        blind = self._blind(test, train, seed)
        build = Builder(self.asking(first, seed, report), fits or reference, report)
        self.apart(report, [self.shown], test, train)

        chosen = build.take(first, sizes["identify"])
        self.apart(report, chosen, test, train)
        if len(chosen) < min(sizes["identify"], 1):
            raise DataError(f"task {self.name!r} has no example left for identification ({self._left_out(report)})")
        for model in {id(model): model for model in (reference, fits) if model is not None and chosen}.values():
            # the same prompts as in a run that is resumed: there the sets are not drawn again
            model.encode_all([question for example in chosen for question in example.proxies])
        draw = Stratified(build, reference, report, progress, self.task.n_options)
        # what the selection may ask of a pool that the evaluation needs too
        shared = len(first) * sizes["select"] // max(1, sizes["select"] + sizes["evaluate"])
        most = None if has_train else max(sizes["select"], shared)
        second, _ = draw.take(first, sizes["select"], "select", most)
        self.apart(report, second, test, train)
        third, natural = draw.take(test, sizes["evaluate"], "evaluate")
        natural.blind = blind
        split = Split(chosen, second, third, natural, report)
        for name, wanted in sizes.items():
            got = getattr(split, name)
            if wanted and not got:
                raise DataError(
                    f"task {self.name!r} has no example left for the set {name!r} ({self._left_out(report)})"
                )
            if len(got) < wanted:
                report.notes.append(f"{name}: {len(got)} examples instead of {wanted}")
            report.right_letters[name] = right_letters(got)
        if not has_train:
            report.notes.append("no training part: all sets come from one source")
        report.notes += report.left_out_lines(self.task.n_options)
        return split

    def items(self, seed: int = 0) -> tuple[list[Item], list[Item]]:
        """Items of the test part and of the training part; without parts, everything is test."""
        test: list[Item] = []
        train: list[Item] = []
        # a task counts what it leaves out of one reading
        self.task.left_out = Counter()
        for item in self._examples(self.source, seed):
            (train if item.part == "train" else test).append(item)
        if self.train is not None:
            train += [item for item in self._examples(self.train, seed) if item.part != "test"]
        if not test:
            test, train = train, []
        return test, train

    def _examples(self, source: str | None, seed: int) -> list[Item]:
        """What the task makes of a source, checked: a plugin's code."""
        who = f"task {self.name!r}"
        with foreign(f"{who} failed in examples()"):
            offered = self.task.examples(source, seed)
            found = list(offered) if offered is not None else None
        if found is None:
            raise PluginError(f"{who} returned None from examples(); accepted: items, yielded or in a list")
        for item in found:
            if not isinstance(item, Item):
                raise PluginError(f"{who} yielded {item!r:.80} from examples(); accepted: na.Item")
        return found

    def _distractors(self, item: Item, rng: random.Random) -> Sequence[str]:
        """The task's wrong answers for an item, checked: a plugin's code."""
        who = f"task {self.name!r}"
        with foreign(f"{who} failed in distractors()"):
            found: object = self.task.distractors(item, rng)
        if not isinstance(found, list | tuple) or not all(isinstance(text, str) for text in found):
            raise PluginError(f"{who} returned {found!r:.80} from distractors(); accepted: a list of texts")
        return found

    def pools(self, seed: int, report: SplitReport, first: int = 1, last: int = 0) -> tuple[list[Item], list[Item]]:
        """Usable items of the test part and of the training part, shuffled; what is left out stands in the report.

        A text that is in both parts stays in the test part, but for those that the training part needs to have `first`
        items; where the test part needs them too, to have `last`, it keeps half of them.

        Raises:
            DataError: no items, or stems that ask for what the items lack.
        """
        test, train = self.items(seed)
        if not test:
            raise DataError(f"task {self.name!r}: {self.source or 'its own data'} holds no examples")
        check_stems(self.task.stems, test[0])
        _check_options(self.task)
        report.rows = len(test) + len(train)
        report.dropped = dict(self.task.left_out)
        # a demonstration of the task's own must not be asked as well
        shown = self.task.demonstration
        seen: set[object] = set() if shown is None else {shown.key}
        rng = random.Random(f"{seed}|split|{self.name}")
        usable = list(self._usable(test, seen, seed, report)), list(self._usable(train, seen, seed, report))
        for pool in usable:
            rng.shuffle(pool)
        _divide(*usable, first, last, report)
        return usable

    def apart(self, report: SplitReport, used: Sequence[Example | Item | None], *pools: list[Item]) -> None:
        """Leave what is about a text that is used already out of the pools."""
        groups = {one.group if isinstance(one, Item) else one.unit for one in used if one is not None}
        for pool in {id(pool): pool for pool in pools}.values():
            kept = [item for item in pool if item.group not in groups]
            report.shared_texts += len(pool) - len(kept)
            pool[:] = kept

    def asking(self, pool: list[Item], seed: int, report: SplitReport) -> Callable[[Sequence[Item]], list[Example]]:
        """What turns items into examples; where the task shows none of its own, the pool loses its shortest item to the
        demonstration."""
        self.shown = self.task.demonstration or self._pop_short(pool, report)
        return partial(
            build_examples,
            role=self.task.role,
            rule=self.task.rule,
            stems=self.task.stems,
            demonstration=self.shown,
            seed=seed,
            distractors=self._distractors,
            n_options=self.task.n_options,
        )

    def _usable(self, pool: Iterable[Item], seen: set[object], seed: int, report: SplitReport) -> Iterator[Item]:
        for item in pool:
            if item.key in seen:
                report.duplicates += 1
                continue
            seen.add(item.key)
            try:
                draw_options(item, random.Random(f"{seed}|{item.key!r}"), self._distractors, self.task.n_options)
            except DataError:
                report.too_few_options += 1
                continue
            yield item

    def _blind(self, items: Sequence[Item], training: Sequence[Item], seed: int) -> dict[str, float]:
        """What the text-blind baselines reach on items, with the options that their questions show."""

        def options(item: Item) -> list[str]:
            return draw_options(item, random.Random(f"{seed}|{item.key!r}"), self._distractors, self.task.n_options)

        return blind_accuracies(items, options, training)

    def _pop_short(self, pool: list[Item], report: SplitReport) -> Item:
        """Takes the shortest of the first few items: the demonstration stands in every prompt."""
        if len(pool) < 2:
            raise DataError(
                f"task {self.name!r} has {len(pool)} usable examples ({self._left_out(report)}); "
                "accepted: enough for a demonstration and the sets"
            )

        def length(index: int) -> int:
            return len(pool[index].text) + 4 * len(pool[index].answer)

        return pool.pop(min(range(min(DEMONSTRATION_CANDIDATES, len(pool))), key=length))

    def _left_out(self, report: SplitReport) -> str:
        return "; ".join(report.left_out_lines(self.task.n_options)) or "nothing was left out"


def _check_options(task: Task) -> None:
    try:
        checked_options(task.n_options)
    except DataError as error:
        raise DataError(f"task {task.name!r}: {error}") from None


def _size(name: str, size: object) -> int:
    found = whole(size)
    if found is None or found < 0:
        raise UsageError(f"{name} is {size!r}; accepted: a whole number from 0")
    return found


def _divide(test: list[Item], train: list[Item], first: int, last: int, report: SplitReport) -> None:
    """Leave each text in one of two parts: in the test part, or in the training part as far as that needs it."""
    shared = {item.group for item in test} & {item.group for item in train}
    if not shared:
        return
    own = sum(item.group not in shared for item in train)
    lacking = max(0, last - sum(item.group not in shared for item in test))
    most = len(shared) - min(lacking, len(shared) // 2)
    needed: dict[str, None] = {}
    for item in train:
        if own >= first:
            break
        if item.group not in needed and len(needed) == most:
            continue
        if item.group in shared:
            needed.setdefault(item.group)
            own += 1
    before = len(test) + len(train)
    train[:] = [item for item in train if item.group not in shared or item.group in needed]
    test[:] = [item for item in test if item.group not in needed]
    report.shared_texts += before - len(test) - len(train)
