"""Which form of questions a model can answer: a few examples of a task in each, at a bounded cost."""

from __future__ import annotations

import time
from collections.abc import Iterator

from neuron_antagonism.errors import AntagonismError
from neuron_antagonism.method.evaluate import Evaluation, evaluate
from neuron_antagonism.metrics.natural import Natural
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.tasks.load import LoadedTask, load_task
from neuron_antagonism.types import FORMS

FIRST, MORE = 2, 10
"""Examples of each form: those that are timed, and those that are asked too where these were quick."""

PATIENCE = 10.0
"""Seconds that the first ones may take, if more are to be asked."""


def form_checks(model: HookedModel, task: str) -> Iterator[tuple[str, bool, str]]:
    """Accuracy beside chance, and option mass, of each form on the task's own data; then which of them will do."""
    will_do = []
    for form in FORMS:
        try:
            loaded = load_task(task)
            answers, natural = _asked(model, loaded, form)
        except AntagonismError as error:
            yield f"form {form}", True, f"not asked: {error}"
            continue
        spread = natural.intervals()
        assert spread is not None
        low, high = spread[0]
        will_do += [form] if low > natural.chance else []
        mass = sum(float(one.letter_mass.sum()) for one in answers) / sum(natural.proxies)
        line = f"accuracy {natural.acc:.0%} [{100 * low:.0f}, {100 * high:.0f}] of {sum(natural.proxies)} questions of "
        line += f"{loaded.name}, {'' if low > natural.chance else 'not '}above chance ({natural.chance:.0%})"
        yield f"form {form}", True, f"{line}; option mass {mass:.2f}"
    told = " or ".join(f"--form {form}" for form in will_do)
    yield "forms", True, f"to be asked with {told}" if told else "neither is above chance on so few questions"


def _asked(model: HookedModel, task: LoadedTask, form: str) -> tuple[list[Evaluation], Natural]:
    """Answers to the first few examples, and to more of them where that is quick."""
    split = task.split(0, 0, FIRST + MORE, form=form, fits=model)
    start = time.perf_counter()
    answers = [evaluate(model, split.evaluate[:FIRST])]
    if time.perf_counter() - start < PATIENCE and len(split.evaluate) > FIRST:
        answers.append(evaluate(model, split.evaluate[FIRST:]))
    outcomes = [one.outcomes for one in answers]
    right, proxies = ([n for one in outcomes for n in getattr(one, name).tolist()] for name in ("right", "proxies"))
    natural = Natural(right, proxies, list(range(len(right))), split.natural.options, split.natural.blind)
    return answers, natural
