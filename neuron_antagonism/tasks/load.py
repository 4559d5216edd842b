"""Loading a task and dividing its examples into the sets of a run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_antagonism.errors import DataError, PluginError, UsageError
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.plugin.foreign import foreign
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.progress import Progress
from neuron_antagonism.tasks.blind import blind_accuracies
from neuron_antagonism.tasks.drawing import Builder, Stratified
from neuron_antagonism.tasks.qatt import Asking, check_stems
from neuron_antagonism.tasks.splits import Split, SplitReport, right_letters
from neuron_antagonism.tasks.wording import Wording
from neuron_antagonism.types import FORMS, Example, Item, same, whole

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

DEMONSTRATION_CANDIDATES = 20

SHOT_CANDIDATES = 2
"""Items of which the shortest is shown answered in words, for each one that is."""


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
    if not task.forms or not set(task.forms) <= set(FORMS):
        raise PluginError(f"task {task.name!r} has the forms {task.forms!r}; accepted: one or more of {FORMS!r}")
    Wording(task, task.forms[0]).check()
    if train is not None and source is None:
        raise DataError(
            f"task {task.name!r} was given training data but no evaluation data; accepted: both, or neither"
        )
    return LoadedTask(task, None if source is None else str(source), None if train is None else str(train))


class LoadedTask:
    """A task and where its data comes from."""

    def __init__(self, task: Task, source: str | None, train: str | None) -> None:
        """Nothing is read before `split` or `items`."""
        self.shown: tuple[Item, ...] = ()  # what prompts show answered, once examples are built
        self.task = task
        self.name = task.name
        self.source = source
        self.train = train
        self._read: tuple[int, list[Item], list[Item]] | None = None

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
        form: str = "letters",
        shots: int | None = None,
        reference: HookedModel | None = None,
        fits: HookedModel | None = None,
        progress: Progress | None = None,
    ) -> Split:
        """Disjoint sets of examples (NeuronLLM §4.1).

        Identification examples, what prompts show answered and the selection set come from the training part where
        there is one, the evaluation set from the test part.

        Args:
            identify: identification examples, drawn regardless of what a model answers.
            select, evaluate: sizes of the other two; each half understood by the reference, half not.
            seed: the same seed gives the same sets.
            form: "letters": the prompt lists options, and the model answers with a letter; "words": it lists none, and
                the model answers with an option.
            shots: in words, answered examples at the head of every prompt: of each class, or in all where answers are
                no classes; None = as the task says.
            reference: the model whose understanding stratifies; None = not stratified.
            fits: the model whose context examples must fit; default: the reference.
            progress: called while the reference model is asked.

        Raises:
            DataError: unreadable data, or too few examples left for a set.
            UsageError: a form that there is not, or that the task does not suit.
        """
        seed, wording = _size("seed", seed), Wording(self.task, form, shots)
        sizes = {"identify": identify, "select": select, "evaluate": evaluate}
        sizes = {name: _size(name, size) for name, size in sizes.items()}
        report = SplitReport(reference=reference.name if reference else "")
        needed = sizes["identify"] + sizes["select"] + wording.n_shown
        test, train = self.pools(wording, seed, report, needed, sizes["evaluate"])
        has_train = bool(train)
        first = train if has_train else test
        blind = self._blind(wording, test, train, seed)
        models = list({id(model): model for model in (reference, fits) if model is not None}.values())
        # where classes that all questions share can't be told apart, asking says which
        own = models if wording.in_words and not wording.classes else ()
        build = Builder(self.asking(first, wording, seed, report), fits or reference, report, own)
        self.apart(report, self.shown, test, train)

        chosen = build.take(first, sizes["identify"])
        self.apart(report, chosen, test, train)
        if len(chosen) < min(sizes["identify"], 1):
            raise DataError(f"task {self.name!r} has no example left for identification ({report.left_out})")
        for model in models if chosen else ():
            # the same prompts as in a run that is resumed: there the sets are not drawn again
            model.encode_all([question for example in chosen for question in example.proxies])
        draw = Stratified(build, reference, report, progress, wording.n_options)
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
                raise DataError(f"task {self.name!r} has no example left for the set {name!r} ({report.left_out})")
            if len(got) < wanted:
                report.notes.append(f"{name}: {len(got)} examples instead of {wanted}")
            report.right_letters[name] = right_letters(got)
        if not has_train:
            report.notes.append("no training part: all sets come from one source")
        report.notes += report.left_out_lines()
        return split

    def read(self, seed: int) -> LoadedTask:
        """The same with its data read: from here on it is of these items, whatever becomes of the files."""
        other = LoadedTask(self.task, self.source, self.train)
        other._read = seed, *self.items(seed)
        return other

    def items(self, seed: int = 0) -> tuple[list[Item], list[Item]]:
        """Items of the test part and of the training part; without parts, everything is test."""
        if self._read is not None and self._read[0] == seed:
            _, known, learned = self._read
            return [*known], [*learned]
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

    def pools(
        self, wording: Wording, seed: int, report: SplitReport, first: int = 1, last: int = 0
    ) -> tuple[list[Item], list[Item]]:
        """Usable items of the test part and of the training part, shuffled; what is left out stands in the report.

        A text that is in both parts stays in the test part, but for those that the training part needs to have `first`
        items; where the test part needs them too, to have `last`, it keeps half of them.

        Raises:
            DataError: no items, or stems that ask for what the items lack.
        """
        test, train = self.items(seed)
        if not test:
            raise DataError(f"task {self.name!r}: {self.source or 'its own data'} holds no examples")
        check_stems(wording.stems, test[0])
        wording.check()
        report.n_options, report.form = wording.n_options, wording.form
        report.rows = len(test) + len(train)
        report.dropped = dict(self.task.left_out)
        # a demonstration of the task's own must not be asked as well
        shown = None if wording.in_words else self.task.demonstration
        seen: set[object] = set() if shown is None else {shown.key}
        rng = random.Random(f"{seed}|split|{self.name}")
        test, train = (list(self._usable(wording, part, seen, seed, report)) for part in (test, train))
        usable = test, train
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

    def asking(self, pool: list[Item], wording: Wording, seed: int, report: SplitReport) -> Asking:
        """What turns items into examples. The pool loses what prompts show answered: a few items in words; by letters,
        where the task shows none of its own, its shortest item."""
        if wording.in_words:
            self.shown = _pop_shots(pool, wording, report)
        else:
            self.shown = (self.task.demonstration or self._pop_short(pool, report),)
        report.shown = len(self.shown)
        return wording.asking(self.shown, seed)

    def _usable(
        self, wording: Wording, pool: Iterable[Item], seen: set[object], seed: int, report: SplitReport
    ) -> Iterator[Item]:
        for item in pool:
            if item.key in seen:
                report.duplicates += 1
                continue
            seen.add(item.key)
            if not wording.asks(item):
                report.no_class += 1
                continue
            try:
                wording.drawn(item, seed)
            except DataError:
                report.too_few_options += 1
                continue
            yield item

    def _blind(self, wording: Wording, items: Sequence[Item], training: Sequence[Item], seed: int) -> dict[str, float]:
        """What the text-blind baselines reach on items, with the options that their questions have."""
        return blind_accuracies(items, lambda item: wording.drawn(item, seed), training)

    def _pop_short(self, pool: list[Item], report: SplitReport) -> Item:
        """Takes the shortest of the first few items: the demonstration stands in every prompt."""
        if len(pool) < 2:
            raise DataError(
                f"task {self.name!r} has {len(pool)} usable examples ({report.left_out}); "
                "accepted: enough for a demonstration and the sets"
            )

        def length(index: int) -> int:
            return len(pool[index].text) + 4 * len(pool[index].answer)

        return pool.pop(min(range(min(DEMONSTRATION_CANDIDATES, len(pool))), key=length))


def _pop_shots(pool: list[Item], wording: Wording, report: SplitReport) -> tuple[Item, ...]:
    """Takes the shortest of the first few items: as many of each class, where answers are classes."""
    shown: dict[str, Item] = {}
    for of in wording.classes or ("",):
        own: dict[str, Item] = {}
        for item in pool:
            if len(own) == SHOT_CANDIDATES * wording.each:
                break
            if item.group not in shown and (not of or same(item.answer) == same(of)):
                own.setdefault(item.group, item)
        chosen = sorted(own.values(), key=lambda item: len(item.text))[: wording.each]
        if len(chosen) < wording.each:
            what = f"examples of {of!r}" if of else "examples"
            report.notes.append(f"shown answered: {len(chosen)} {what} instead of {wording.each}")
        shown |= {item.group: item for item in chosen}
    keys = {item.key for item in shown.values()}
    pool[:] = [item for item in pool if item.key not in keys]
    return tuple(shown.values())


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
