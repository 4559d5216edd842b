"""Concept classification: examples by class, asked through letters or by a prompt that ends before the label."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from neuron_antagonism.errors import DataError, UsageError, unknown
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.tasks.drawing import Builder
from neuron_antagonism.tasks.load import LoadedTask, load_task
from neuron_antagonism.tasks.qatt import CUE
from neuron_antagonism.tasks.splits import SplitReport
from neuron_antagonism.tasks.wording import Wording
from neuron_antagonism.types import Example, Item, LabelQuestion, whole

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

FORMS = ("letters", "words", "label")
"""Two of every task's, and label: in words too, once a text, after a line that names the classes."""


@dataclass
class ConceptSplit:
    """Disjoint examples of a task whose answers are classes, equally many of each class where there are enough.

    Attributes:
        concepts: the classes, in the task's order.
        identify: examples to learn from.
        evaluate: examples to report on.
        report: what was left out and why.
    """

    concepts: tuple[str, ...]
    identify: list[Example]
    evaluate: list[Example]
    report: SplitReport = field(default_factory=SplitReport)


def concept_split(
    task: str | Path | Task | LoadedTask,
    *,
    form: Literal["letters", "words", "label"] = "letters",
    identify: int = 20,
    evaluate: int = 20,
    shots: int | None = None,
    seed: int = 0,
    fits: HookedModel | None = None,
) -> ConceptSplit:
    """Examples of each class of a task that its data holds; a class without enough of them is left out, and noted.

    Args:
        task: a name, a file that states one, an instance, or a loaded task; its answers must be classes.
        form: "letters" and "words" ask as `run` does in these forms; "label" ends the prompt before a word too, but
            asks once, by the first stem, after a line that names the classes (NeuronLens).
        identify, evaluate: examples of each class; the former from the training part, where there is one.
        shots: but by letters, answered examples of each class at the head of every prompt; from the training part too;
            None = as the task says, of form "label" 1.
        seed: the same seed gives the same examples.
        fits: the model whose context the examples must fit; None = any.

    Raises:
        DataError: answers that are no classes, or fewer than two classes with examples.
        UsageError: an unknown form, or a negative size.
    """
    loaded = task if isinstance(task, LoadedTask) else load_task(task)
    if form not in FORMS:
        raise UsageError(unknown("form", form, FORMS))
    wording = Wording(loaded.task, form, shots) if form == "words" else Wording(loaded.task)
    shots = wording.each if shots is None or form == "words" else shots
    identify, evaluate, shots = (
        _size(name, size, least)
        for name, size, least in (("identify", identify, 1), ("evaluate", evaluate, 1), ("shots", shots, 0))
    )
    if len(loaded.task.concepts) < 2:
        raise DataError(
            f"the answers of task {loaded.name!r} are no classes; accepted: a task with concepts, such as sentiment "
            "or ner, or a task file with labels"
        )
    report = SplitReport()
    classes = len(loaded.task.concepts)
    test, train = loaded.pools(wording, seed, report, classes * (identify + shots), classes * evaluate)
    first = train or test
    if form == "label":
        concepts = _held(loaded, first, test, shots, report)
        shown = [item for concept in concepts for item in _taken(first, concept, shots)]
        loaded.apart(report, shown, first, test)
        random.Random(f"{seed}|shots|{loaded.name}").shuffle(shown)
        build = Builder(partial(_labelled, loaded.task, concepts, shown), fits, report)
    else:
        build = Builder(loaded.asking(first, wording, seed, report), fits, report)
        loaded.apart(report, loaded.shown, first, test)
        concepts = _held(loaded, first, test, 0, report)

    def each(pool: list[Item], size: int, name: str, *, spare: bool = False) -> list[Example]:
        made = []
        for concept in concepts:
            own = _taken(pool, concept, len(pool))
            # of one pool each class keeps a text for the other set
            last = own[-1].group if spare else None
            pool += [item for item in own if item.group == last]
            own = [item for item in own if item.group != last]
            found = build.take(own, size)
            # what was not used may be evaluated on, where there is no training part
            pool += own
            if not found:
                used = f", {shots} of each class shown in every prompt" if form != "letters" else ""
                raise DataError(
                    f"task {loaded.name!r} has no example of {concept!r} left to {name} ({report.too_long} longer than "
                    f"the model's context{used})"
                )
            if len(found) < size:
                report.notes.append(f"{name}: {len(found)} examples of {concept!r} instead of {size}")
            made += found
        return made

    learned = each(first, identify, "identify", spare=first is test)
    loaded.apart(report, learned, first, test)
    found = ConceptSplit(concepts, learned, each(test, evaluate, "evaluate"), report)
    report.notes += report.left_out_lines()
    return found


def _held(
    loaded: LoadedTask, first: Sequence[Item], test: Sequence[Item], shots: int, report: SplitReport
) -> tuple[str, ...]:
    """The classes of which there is an example for each set; the others are noted."""
    held = []
    for concept in loaded.task.concepts:
        learn, ask = (len({item.group for item in pool if item.answer == concept}) for pool in (first, test))
        if (learn >= shots + 1 and ask >= 1) if first is not test else ask >= shots + 2:
            held.append(concept)
        elif learn or ask:
            where = f"{learn} to learn from and {ask} to evaluate on" if first is not test else f"{ask}"
            report.notes.append(f"the class {concept!r} is left out: it has too few examples ({where})")
        else:
            report.notes.append(f"the class {concept!r} is left out: the data holds no example of it")
    if len(held) < 2:
        raise DataError(
            f"task {loaded.name!r}: {'; '.join(report.notes)}; accepted: data that holds at least two "
            "classes, each with examples for every set"
        )
    return tuple(held)


def _size(name: str, size: object, least: int) -> int:
    found = whole(size)
    if found is None or found < least:
        raise UsageError(f"{name} is {size!r}; accepted: a whole number from {least}")
    return found


def label_prompt(task: Task, concepts: Sequence[str], shown: Sequence[Item], item: Item) -> str:
    """A prompt that ends before the label: role, the labels, answered examples, the text."""
    head = f"{task.role}\nReply with one of these: {', '.join(concepts)}."
    asked = [f"{task.stems[0].format(text=one.text, **one.meta)}\n{CUE}" for one in (*shown, item)]
    answered = [f"{text} {one.answer}" for text, one in zip(asked, shown, strict=False)]
    return "\n\n".join([head, *answered, asked[-1]])


def _labelled(task: Task, concepts: Sequence[str], shown: Sequence[Item], items: Sequence[Item]) -> list[Example]:
    prompts = [label_prompt(task, concepts, shown, item) for item in items]
    return [
        Example(item, (LabelQuestion.of(prompt, concepts, item.answer),))
        for prompt, item in zip(prompts, items, strict=True)
    ]


def _taken(pool: list[Item], concept: str, count: int) -> list[Item]:
    """The first `count` items of a class; they leave the pool."""
    taken = [item for item in pool if item.answer == concept][:count]
    keys = {item.key for item in taken}
    pool[:] = [item for item in pool if item.key not in keys]
    return taken
