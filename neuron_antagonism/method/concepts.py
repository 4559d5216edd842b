"""Concept classification: examples by class, asked through letters or by a prompt that ends before the label."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from neuron_antagonism.errors import DataError, UsageError, unknown
from neuron_antagonism.method.qatt import CUE
from neuron_antagonism.method.splits import SplitReport
from neuron_antagonism.method.tasks import Builder, LoadedTask, load_task
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.types import Example, Item, LabelQuestion

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

FORMS = ("letters", "label")


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
    form: Literal["letters", "label"] = "letters",
    identify: int = 20,
    evaluate: int = 20,
    shots: int = 1,
    seed: int = 0,
    fits: HookedModel | None = None,
) -> ConceptSplit:
    """Examples of each class of a task.

    Args:
        task: a name, a file that states one, an instance, or a loaded task; its answers must be classes.
        form: "letters" asks four-option questions as `run` does; "label" ends the prompt before the label, and the
            model answers with the label's first token.
        identify, evaluate: examples of each class; the former from the training part, where there is one.
        shots: of form "label", answered examples of each class at the head of every prompt; from the training part too.
        seed: the same seed gives the same examples.
        fits: the model whose context the examples must fit; None = any.

    Raises:
        DataError: answers that are no classes, or a class without examples.
        UsageError: an unknown form, or a negative size.
    """
    loaded = task if isinstance(task, LoadedTask) else load_task(task)
    concepts = tuple(loaded.task.concepts)
    if form not in FORMS:
        raise UsageError(unknown("form", form, FORMS))
    for name, size, least in (("identify", identify, 1), ("evaluate", evaluate, 1), ("shots", shots, 0)):
        if isinstance(size, bool) or not isinstance(size, int) or size < least:
            raise UsageError(f"{name} is {size!r}; accepted: a whole number from {least}")
    if len(concepts) < 2:
        raise DataError(
            f"the answers of task {loaded.name!r} are no classes; accepted: a task with concepts, such as sentiment "
            "or ner, or a task file with labels"
        )
    report = SplitReport()
    test, train = loaded.pools(seed, report)
    first = train or test
    if form == "label":
        shown = [item for concept in concepts for item in _taken(first, concept, shots)]
        random.Random(f"{seed}|shots|{loaded.name}").shuffle(shown)
        build = Builder(partial(_labelled, loaded.task, concepts, shown), fits, report)
    else:
        build = Builder(loaded.asking(first, seed, report), fits, report)

    def each(pool: list[Item], size: int, name: str) -> list[Example]:
        made = []
        for concept in concepts:
            own = _taken(pool, concept, len(pool))
            found = build.take(own, size)
            # what was not used may be evaluated on, where there is no training part
            pool += own
            if not found:
                used = f", {shots} of each class shown in every prompt" if form == "label" else ""
                raise DataError(
                    f"task {loaded.name!r} has no example of {concept!r} left to {name} ({report.too_long} longer than "
                    f"the model's context{used})"
                )
            if len(found) < size:
                report.notes.append(f"{name}: {len(found)} examples of {concept!r} instead of {size}")
            made += found
        return made

    return ConceptSplit(concepts, each(first, identify, "identify"), each(test, evaluate, "evaluate"), report)


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
