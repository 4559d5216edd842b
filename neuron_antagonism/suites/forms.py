"""Which form of questions a model can answer: a few examples of a task in each, at a bounded cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from neuron_antagonism.errors import AntagonismError
from neuron_antagonism.method.evaluate import evaluate
from neuron_antagonism.metrics.bootstrap import Interval
from neuron_antagonism.metrics.natural import Natural
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.tasks.load import LoadedTask, load_task
from neuron_antagonism.types import FORMS

FIRST, MORE = 2, 10
"""Examples of each form: those that are timed, and those that are asked too where these were quick."""

PATIENCE = 10.0
"""Seconds that the first ones may take, if more are to be asked."""


@dataclass(frozen=True)
class FormLevel:
    """How a model answers a few examples of a task in one form, as they come.

    Attributes:
        acc: share of questions that are answered rightly.
        interval: 95 %, over texts.
        chance: accuracy without reading.
        questions: how many were asked.
        mass: mean probability of a question's options, where the answer is read.
    """

    acc: float
    interval: Interval
    chance: float
    questions: int
    mass: float

    @property
    def above_chance(self) -> bool:
        """Whether the whole interval is."""
        return self.interval[0] > self.chance

    def line(self, of: str = "") -> str:
        """The same in words; `of` says what the questions are of."""
        low, high = self.interval
        spread = f"{self.acc:.0%} [{100 * low:.0f}, {100 * high:.0f}] of {self.questions} questions{of}"
        chance = f"{'' if self.above_chance else 'not '}above chance ({self.chance:.0%})"
        return f"accuracy {spread}, {chance}; option mass {self.mass:.2f}"


def form_checks(model: HookedModel, task: str) -> Iterator[tuple[str, bool, str]]:
    """Accuracy beside chance, and option mass, of each form on the task's own data; then which of them will do."""
    will_do = []
    for form in FORMS:
        try:
            loaded = load_task(task)
            level = form_level(model, loaded, form)
        except AntagonismError as error:
            yield f"form {form}", True, f"not asked: {error}"
            continue
        will_do += [form] if level.above_chance else []
        yield f"form {form}", True, level.line(f" of {loaded.name}")
    told = " or ".join(f"--form {form}" for form in will_do)
    yield "forms", True, f"to be asked with {told}" if told else "neither is above chance on so few questions"


def form_level(
    model: HookedModel, task: LoadedTask, form: str, *, shots: int | None = None, seed: int = 0
) -> FormLevel:
    """How a model answers the first few examples, and more of them where that is quick.

    Raises:
        AntagonismError: data that can't be used, or a form that the task or the model does not suit.
    """
    split = task.split(0, 0, FIRST + MORE, seed=seed, form=form, shots=shots, fits=model)
    start = time.perf_counter()
    answers = [evaluate(model, split.evaluate[:FIRST])]
    if time.perf_counter() - start < PATIENCE and len(split.evaluate) > FIRST:
        answers.append(evaluate(model, split.evaluate[FIRST:]))
    outcomes = [one.outcomes for one in answers]
    right, proxies = ([n for one in outcomes for n in getattr(one, name).tolist()] for name in ("right", "proxies"))
    numbers: dict[str, int] = {}
    units = [numbers.setdefault(example.unit, len(numbers)) for example in split.evaluate[: len(right)]]
    natural = Natural(right, proxies, units, split.natural.options, split.natural.blind)
    spread = natural.intervals()
    assert natural.acc is not None
    assert spread is not None
    mass = sum(float(one.letter_mass.sum()) for one in answers) / sum(proxies)
    return FormLevel(natural.acc, spread[0], natural.chance, sum(proxies), mass)
