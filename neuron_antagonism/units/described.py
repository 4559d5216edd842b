"""What single neurons do, for whoever looks at them in a report: the tokens they write towards, values by answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from neuron_antagonism.errors import ModelError
from neuron_antagonism.method.describe import Tokens, by_letter, last_values, output_tokens
from neuron_antagonism.neurons import FFN_SITES
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.keys import key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit, held
from neuron_antagonism.types import Example, Question
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import candidates_of

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

KIND = "described"

DEPTH = 100
"""Of each role, so many of the strongest neurons, as many as a run chooses by default."""

EXAMPLES = 24
"""Of the evaluation set, so many are looked at: a pass over all of them would take as long as to ask them."""

TOKENS = 8
"""On each side."""

LABELS = 8
"""Right options that are told apart: where there are more, each stands for too few questions."""

Place = tuple[int, int]
"""Layer and index of a neuron."""

RESIDUAL = "units of the residual stream have no output vector, so they promote no tokens of their own"


@dataclass(frozen=True)
class Describing:
    """Describes the strongest neurons of a scorer; a recipe once it has their unit.

    A unit holds `layers`, `neurons`; `mean` and `std` (ddof 0) by neuron and group of questions, which `groups` names:
    all of them, by the letter of the right answer, and by the right option where these are few; and the places in
    `tokens` of what each neuron promotes and suppresses, strongest first, with their logits; or why there are none.

    Args:
        sizes: the examples.
        site: where the neurons are.
        max_tokens: tokens in one forward; None = planned.
        neurons: the unit of the neurons; of a scorer that draws, its first draw counts.
    """

    sizes: Sizes
    site: str
    max_tokens: int | None = None
    neurons: Unit | None = None

    def unit(self, job: Job, shelf: Shelf, neurons: Unit) -> Unit | None:
        """The descriptions of a scorer's neurons; None while the job's examples are not known."""
        prepared = self.sizes.of(job, shelf)
        if prepared is None:
            return None
        bounds = [DEPTH, EXAMPLES, TOKENS, LABELS]
        key = key_of(KIND, job.model.id, prepared.set_hash("evaluate"), neurons.key, self.site, bounds)
        needs = (self.sizes.unit(job), neurons)
        return Unit(KIND, neurons.label, key, replace(self, neurons=neurons), needs=needs)

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """One pass over some questions for the neurons of all scorers."""
        together: dict[Describing, list[tuple[Unit, list[Place]]]] = {}
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Describing)
            payload = held(desk.shelf, recipe.neurons)
            together.setdefault(replace(recipe, neurons=None), []).append((unit, strongest(payload)))
        for recipe, asked in together.items():
            neurons = sorted({neuron for _, own in asked for neuron in own})
            found = recipe._described(desk, neurons) if neurons else None
            for unit, own in asked:
                # a scorer may have given no neuron a score
                told = Payload({"groups": []}) if found is None or not own else found.payload(own, neurons)
                desk.shelf.put(unit, told)

    def _described(self, desk: Desk, neurons: Sequence[Place]) -> _Found:
        examples = spread(self.sizes.at(desk).split.evaluate)
        groups = groups_of([question for example in examples for question in example.proxies])
        how: dict[str, Any] = {"site": self.site, "max_tokens": self.max_tokens, "progress": desk.told("neurons")}
        values = last_values(desk.model, examples, neurons, **how).numpy()
        reason, tokens = ("" if self.site in FFN_SITES else RESIDUAL), None
        if not reason:
            try:
                tokens = output_tokens(desk.model, neurons, TOKENS)
            except ModelError as error:
                reason = str(error)
        own = [values[rows] for _, _, rows in groups]
        mean, std = (np.stack([getattr(one, name)(0) for one in own], axis=1) for name in ("mean", "std"))
        return _Found([[by, name, len(rows)] for by, name, rows in groups], mean, std, tokens, reason)


@dataclass(frozen=True)
class _Found:
    """What was found of all scorers' neurons, by neuron."""

    groups: list[list[Any]]
    mean: np.ndarray[Any, Any]
    std: np.ndarray[Any, Any]
    tokens: list[tuple[Tokens, Tokens]] | None
    reason: str

    def payload(self, neurons: Sequence[Place], every: Sequence[Place]) -> Payload:
        """Of some of them."""
        places = {neuron: row for row, neuron in enumerate(every)}
        rows = [places[neuron] for neuron in neurons]
        arrays: dict[str, Any] = {
            "layers": np.array([layer for layer, _ in neurons], np.int32),
            "neurons": np.array([neuron for _, neuron in neurons], np.int32),
            # to be looked at, not to be computed with
            "mean": self.mean[rows].astype(np.float32),
            "std": self.std[rows].astype(np.float32),
        }
        texts: dict[str, int] = {}
        for side, name in enumerate(("promoted", "suppressed") if self.tokens is not None else ()):
            assert self.tokens is not None
            own = [self.tokens[row][side] for row in rows]
            arrays[name] = np.array([[texts.setdefault(text, len(texts)) for text, _ in one] for one in own], np.int32)
            # the last bits depend on which neurons are looked at together
            arrays[f"{name}_logits"] = np.round([[logit for _, logit in one] for one in own], 3).astype(np.float32)
        return Payload({"groups": self.groups, "tokens": list(texts), "reason": self.reason}, arrays)


def strongest(payload: Payload) -> list[Place]:
    """The strongest neurons of every role, in order of their places."""
    return sorted({neuron for _, neurons in candidates_of(payload)[0].sets for neuron in neurons.top(DEPTH)})


def spread(examples: Sequence[Example], most: int = EXAMPLES) -> list[Example]:
    """So many examples, from all over a set: its beginning may be of one kind."""
    n = min(most, len(examples))
    return [examples[i * len(examples) // n] for i in range(n)]


def groups_of(questions: Sequence[Question], most: int = LABELS) -> list[tuple[str, str, list[int]]]:
    """What is told apart, its name, and the places of its questions: all, by letter, by right option where few.

    Args:
        questions: the questions.
        most: options that are few.
    """
    labels = [question.concept for question in questions]
    # an option that each question has for itself tells nothing
    few = len(set(labels)) <= most and max(Counter(labels).values(), default=0) > 1
    by_label: Mapping[str, list[int]] = (
        {label: [i for i, one in enumerate(labels) if one == label] for label in sorted(set(labels))} if few else {}
    )
    # in words a letter is an option
    letters = {} if any(question.in_words for question in questions) else by_letter(questions)
    return [
        ("all", "all", list(range(len(questions)))),
        *(("letter", letter, rows) for letter, rows in letters.items()),
        *(("option", label, rows) for label, rows in by_label.items()),
    ]
