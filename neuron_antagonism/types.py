"""Items, questions and examples: plain data that a plugin can build without importing torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from neuron_antagonism.errors import DataError

N_OPTIONS = 4
LETTERS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Item:
    """One example of a task as its data set states it, before it becomes questions.

    Args:
        text: the text asked about; fills `{text}` in the stems.
        answer: the right answer's text.
        distractors: at least three wrong answers; three are drawn once per example.
        meta: further values by name that the stems may use, and that tell examples apart.
        part: the part of the data set: "train" (identification, selection, demonstration), "test"
            (evaluation), or "" where the data set has no parts.
    """

    text: str
    answer: str
    distractors: tuple[str, ...]
    meta: Mapping[str, str] = field(default_factory=dict)
    part: str = ""

    def __post_init__(self) -> None:
        """Make the distractors a tuple, so that a list is accepted too."""
        object.__setattr__(self, "distractors", tuple(self.distractors))

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...], str]:
        """What makes two items the same: text, meta and answer."""
        return (self.text, tuple(sorted(self.meta.items())), self.answer)


@dataclass(frozen=True)
class Question:
    """One four-option multiple-choice question, ready for a model.

    Args:
        prompt: the full text up to and including the answer cue; the model's next token is the answer.
        options: the four option texts in the order of `letters`.
        answer: index 0..3 of the right option.
        letters: what the model answers with.

    Raises:
        DataError: not four options or letters, repeated ones, an empty prompt, an answer outside 0..3.
    """

    prompt: str
    options: tuple[str, ...]
    answer: int
    letters: tuple[str, ...] = LETTERS

    def __post_init__(self) -> None:
        """Check the question once, where it is made."""
        for name in ("options", "letters"):
            given = getattr(self, name)
            if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
                raise DataError(f"a question's {name} are {given!r:.80}; accepted: {N_OPTIONS} texts in a tuple")
            object.__setattr__(self, name, tuple(given))
        for what, values in (("options", self.options), ("letters", self.letters)):
            if len(values) != N_OPTIONS:
                raise DataError(f"a question has {len(values)} {what}; accepted: exactly {N_OPTIONS}")
            if len(set(values)) != N_OPTIONS:
                raise DataError(f"a question's {what} repeat: {values!r}; accepted: four different ones")
        self._check_prompt_and_answer()

    @property
    def concept(self) -> str:
        """The right option's text: the class, where options are classes."""
        return self.options[self.answer]

    def _check_prompt_and_answer(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise DataError("a question's prompt is empty; accepted: the full text that ends where the answer starts")
        accepted = f"accepted: an index 0 to {len(self.options) - 1}"
        if isinstance(self.answer, bool) or not isinstance(self.answer, int):
            raise DataError(f"a question's answer is {self.answer!r}; {accepted}")
        if not 0 <= self.answer < len(self.options):
            raise DataError(f"a question's answer index is {self.answer}; {accepted}")


@dataclass(frozen=True)
class LabelQuestion(Question):
    """A text and its class, asked so that the model's next token begins the class's label.

    Its options are the classes' labels, at least two; what the model answers with are their first tokens, which must
    differ. The questions of one list must name the same labels.
    """

    def __post_init__(self) -> None:
        """Check the question once, where it is made; the labels are what the model answers with."""
        given = self.options
        if not isinstance(given, list | tuple) or not all(isinstance(text, str) and text for text in given):
            raise DataError(f"a question's labels are {given!r:.80}; accepted: texts in a tuple")
        object.__setattr__(self, "options", tuple(given))
        if len(self.options) < 2 or len(set(self.options)) != len(self.options):
            raise DataError(f"a question's labels are {self.options!r:.80}; accepted: two or more, all different")
        if tuple(self.letters) not in (LETTERS, self.options):
            raise DataError(f"a label question's letters are {self.letters!r:.80}; accepted: its labels, or none")
        object.__setattr__(self, "letters", self.options)
        self._check_prompt_and_answer()

    @classmethod
    def of(cls, prompt: str, labels: Iterable[str], label: str) -> LabelQuestion:
        """The question whose right answer is `label`.

        Raises:
            DataError: it is none of the labels.
        """
        labels = tuple(labels)
        if label not in labels:
            raise DataError(f"label {label!r:.80} is none of the classes; accepted: {', '.join(labels)}")
        return cls(prompt, labels, labels.index(label))


@dataclass(frozen=True)
class Example:
    """An item and the proxy questions that ask for it (NeuronLLM §3.3: three, options shuffled).

    `item` is None for a user's own question, which is an example of one proxy.
    """

    item: Item | None
    proxies: tuple[Question, ...]

    def __post_init__(self) -> None:
        """Refuse an example that asks nothing."""
        if not self.proxies:
            raise DataError("an example has no questions; accepted: at least one")


def n_options(questions: Iterable[Question]) -> int:
    """How many options each of some questions has.

    Raises:
        DataError: not equally many.
    """
    counts = {len(question.letters) for question in questions}
    if len(counts) > 1:
        raise DataError(f"questions of {sorted(counts)} options are asked together; accepted: equally many in a list")
    return counts.pop()


def as_examples(things: Iterable[Example | Question]) -> list[Example]:
    """Examples; a plain question becomes an example of one proxy.

    Raises:
        DataError: not a list, an empty one, or something in it that is neither.
    """
    accepted = "accepted: a list of examples or questions"
    if isinstance(things, Example | Question | str) or not isinstance(things, Iterable):
        raise DataError(f"examples are given as a {type(things).__name__}; {accepted}")
    found = []
    for thing in things:
        if not isinstance(thing, Example | Question):
            raise DataError(f"{thing!r:.80} is no example; {accepted}")
        found.append(thing if isinstance(thing, Example) else Example(None, (thing,)))
    if not found:
        raise DataError(f"there are no examples; {accepted}, at least one")
    return found
