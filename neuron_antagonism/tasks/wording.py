"""How a task's questions are worded in one form: with letters, or in words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from neuron_antagonism.errors import DataError, PluginError, UsageError, unknown
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.plugin.foreign import foreign
from neuron_antagonism.tasks.qatt import CUE, Asking, build_examples, checked_options, draw_options
from neuron_antagonism.types import FORMS, Item, same, whole


@dataclass(frozen=True)
class Wording:
    """A task in one form; what is fixed when its data is read, such as the number of options, is asked for then.

    Args:
        task: the task.
        form: "letters" or "words".
        shots: in words, answered examples at the head of a prompt: of each class, or in all where answers are no
            classes; None = as the task says.

    Raises:
        UsageError: an unknown form or one that the task does not suit, or shots that are no number, or with letters.
    """

    task: Task
    form: str = "letters"
    shots: int | None = None

    def __post_init__(self) -> None:
        """Check what is asked for."""
        if self.form not in FORMS:
            raise UsageError(unknown("form", self.form, FORMS))
        if self.form not in self.task.forms:
            raise UsageError(
                f"task {self.task.name!r} does not suit the form {self.form!r}; accepted: "
                f"{', '.join(map(repr, self.task.forms))}"
            )
        if self.shots is None:
            return
        shots = whole(self.shots)
        if not self.in_words:
            raise UsageError(f"shots is {self.shots!r} of the form 'letters'; accepted: shots with the form 'words'")
        if shots is None or shots < 0:
            raise UsageError(f"shots is {self.shots!r}; accepted: a whole number from 0")
        object.__setattr__(self, "shots", shots)

    @property
    def in_words(self) -> bool:
        """Whether the model answers with an option, and not with a letter."""
        return self.form == "words"

    @property
    def classes(self) -> tuple[str, ...]:
        """In words, the options of every question, where answers are classes; else ()."""
        return (self.task.words_options or self.task.concepts) if self.in_words else ()

    @property
    def n_options(self) -> int:
        """Options of a question."""
        return len(self.classes) or self.task.n_options

    @property
    def stems(self) -> tuple[str, ...]:
        """Three templates, or one that serves three times."""
        if not self.in_words:
            return tuple(self.task.stems)
        return tuple(self.task.words_stems) or tuple(f"{stem}\n{CUE}" for stem in self.task.stems)

    @property
    def each(self) -> int:
        """How many items a prompt shows answered: of each class, or in all; by letters it is one in all."""
        if not self.in_words:
            return 1
        return self.task.words_shots if self.shots is None else self.shots

    @property
    def n_shown(self) -> int:
        """How many items a prompt shows answered, where there are enough."""
        return self.each * max(1, len(self.classes))

    def check(self) -> None:
        """Raise DataError for a number of options that the task can't have."""
        try:
            checked_options(self.n_options, self.form)
        except DataError as error:
            raise DataError(f"task {self.task.name!r}: {error}") from None

    def options(self, item: Item, rng: random.Random) -> Sequence[str]:
        """Wrong answers of an item, one less than a question has options at least: a plugin's code, checked."""
        if self.classes:
            return [text for text in self.classes if same(text) != same(item.answer)]
        who = f"task {self.task.name!r}"
        with foreign(f"{who} failed in distractors()"):
            found: object = self.task.distractors(item, rng)
        if not isinstance(found, list | tuple) or not all(isinstance(text, str) for text in found):
            raise PluginError(f"{who} returned {found!r:.80} from distractors(); accepted: a list of texts")
        return found

    def drawn(self, item: Item, seed: int) -> list[str]:
        """The options of an item's questions, the right one first.

        Raises:
            DataError: there are too few.
        """
        return draw_options(item, random.Random(f"{seed}|{item.key!r}"), self.options, self.n_options)

    def asks(self, item: Item) -> bool:
        """Whether the item's answer is one of the options, where these are classes."""
        return not self.classes or any(same(text) == same(item.answer) for text in self.classes)

    def asking(self, shown: Sequence[Item], seed: int) -> Asking:
        """What turns items into examples, with these shown answered."""
        how = {"shots": shown} if self.in_words else {"demonstration": shown[0]}
        return partial(
            build_examples,
            role=self.task.words_role if self.in_words else self.task.role,
            rule="" if self.in_words else self.task.rule,
            stems=self.stems,
            seed=seed,
            distractors=self.options,
            n_options=self.n_options,
            form=self.form,
            **how,
        )
