"""Items, questions and examples: plain data that a plugin can build without importing torch."""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neuron_antagonism.errors import DataError
from neuron_antagonism.notebook import html_table

N_OPTIONS = 4
"""Options of a question where a task says nothing else (the paper's four)."""

FORMS = ("letters", "words")
"""How a question is answered: with the letter of an option that the prompt lists, or with an option itself."""

ALPHABET = tuple("ABCDEFGHIJ")
LEAST_OPTIONS, MOST_OPTIONS = 2, len(ALPHABET)
LETTERS = ALPHABET[:N_OPTIONS]


def same(text: str) -> str:
    """What texts have in common that read alike: composed characters (NFC), no blanks around them."""
    return unicodedata.normalize("NFC", text).strip()


@dataclass(frozen=True)
class Item:
    """One example of a task as its data set states it, before it becomes questions.

    Args:
        text: the text asked about; fills `{text}` in the stems.
        answer: the right answer's text.
        distractors: at least one wrong answer less than the task's questions have options; drawn once per example.
        meta: further values by name that the stems may use, and that tell examples apart.
        part: the part of the data set: "train" (identification, selection, demonstration), "test"
            (evaluation), or "" where the data set has no parts.
        unit: what items have in common that must not be divided among sets, such as a passage that several questions
            ask about; "" = the text.
        counterfactual: the item that is asked in this one's place where a counterfactual is wanted, with another of
            this one's answers; None = the same question with its options rotated.

    Raises:
        DataError: something else than a text, or one that holds half of a surrogate pair; a counterfactual that is no
            item, has this one's answer, or a counterfactual of its own.
    """

    text: str
    answer: str
    distractors: tuple[str, ...]
    meta: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    unit: str = ""
    counterfactual: Item | None = None

    def __post_init__(self) -> None:
        """Make the distractors a tuple, so that a list is accepted too; check the texts once, where they are made."""
        for name in ("text", "answer", "part", "unit"):
            if not isinstance(getattr(self, name), str):
                raise DataError(f"an item's {name} is {getattr(self, name)!r:.80}; accepted: a text")
        if not isinstance(self.meta, Mapping):
            raise DataError(f"an item's meta is {self.meta!r:.80}; accepted: values by name")
        given = self.distractors
        loose = isinstance(given, Iterable) and not isinstance(given, str | Mapping)
        object.__setattr__(self, "distractors", _texts("an item's distractors", tuple(given) if loose else given))
        for text in (self.text, self.answer, self.unit, *self.distractors, *self.meta.values()):
            _check_unicode("an item", text)
        other = self.counterfactual
        if other is not None and (
            not isinstance(other, Item) or other.counterfactual or same(other.answer) == same(self.answer)
        ):
            raise DataError(f"an item's counterfactual is {other!r:.80}; accepted: an item with another answer")

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...], str]:
        """What makes two items the same: text, meta and answer."""
        meta = tuple((name, unicodedata.normalize("NFC", str(value))) for name, value in sorted(self.meta.items()))
        return (unicodedata.normalize("NFC", self.text), meta, unicodedata.normalize("NFC", self.answer))

    @property
    def group(self) -> str:
        """What items of one unit have in common, however it is composed and spaced."""
        return " ".join(unicodedata.normalize("NFC", self.unit or self.text).split())


@dataclass(frozen=True)
class Question:
    """One question with options, ready for a model.

    Of the form "letters" the prompt lists two to ten options, and the model answers with a letter. Of the form "words"
    it lists none and ends before the answer: the model answers with an option, of which the first token counts; these
    must differ. Questions of both forms, and with other options, can be asked together.

    Args:
        prompt: the full text up to and including the answer cue; the model's next token is the answer.
        options: the option texts, at least two, in the order of `letters`.
        answer: index of the right option, from 0; any integer type.
        letters: what the model answers with, one for each option; () = A, B, C, … or, in words, the options.
        own_counterfactual: its counterfactual; None = with its options rotated, see `counterfactual`.
        form: "letters" or "words".

    Raises:
        DataError: another form, fewer than two options or more than ten letters, repeated ones, letters that don't
            match them, an empty prompt or word, an answer that is no index of them, half of a surrogate pair; a
            counterfactual of another form, with other letters, or with the same right one.
    """

    prompt: str
    options: tuple[str, ...]
    answer: int
    letters: tuple[str, ...] = ()
    own_counterfactual: Question | None = field(default=None, repr=False, kw_only=True)
    form: str = field(default="letters", kw_only=True)

    def __post_init__(self) -> None:
        """Check the question once, where it is made."""
        if self.form not in FORMS:
            raise DataError(f"a question's form is {self.form!r:.80}; accepted: {', '.join(FORMS)}")
        options = _texts("a question's options", self.options)
        most, accepted = (
            (len(options), f"{LEAST_OPTIONS} or more")
            if self.in_words
            else (MOST_OPTIONS, f"{LEAST_OPTIONS} to {MOST_OPTIONS}")
        )
        if not LEAST_OPTIONS <= len(options) <= most:
            raise DataError(f"a question has {len(options)} options; accepted: {accepted} different ones")
        letters = _texts("a question's letters", self.letters) or (options if self.in_words else _alphabet(options))
        if self.in_words and (letters != options or not all(options)):
            raise DataError(
                f"a question in words has the options {options!r:.80} and the letters {letters!r:.80}; accepted: "
                "options that are not empty, and no letters"
            )
        if len(letters) != len(options):
            raise DataError(f"a question has {len(options)} options and {len(letters)} letters; accepted: one for each")
        for what, values in (("options", options), ("letters", letters)):
            if len({same(text) for text in values}) != len(values):
                raise DataError(f"a question's {what} repeat: {values!r:.200}; accepted: different ones")
            object.__setattr__(self, what, values)
        self._check_prompt_and_answer()

    @property
    def in_words(self) -> bool:
        """Whether the model answers with an option's first token, and not with a letter."""
        return self.form == "words"

    @property
    def concept(self) -> str:
        """The right option's text: the class, where options are classes."""
        return self.options[self.answer]

    @property
    def counterfactual(self) -> Question | None:
        """A question like this one whose right letter is another: its own, or this one with its options rotated.

        Rotated, the same texts stand in the same prompt, each one letter further on. None where the prompt does not
        list the options after their letters, as in words, and it has none of its own.
        """
        return self.own_counterfactual or (None if self.in_words else rotated(self))

    def _repr_html_(self) -> str:
        """The prompt and its options, for a notebook."""
        rows = [
            {"": letter, "option": option, "right": "right" if place == self.answer else ""}
            for place, (letter, option) in enumerate(zip(self.letters, self.options, strict=True))
        ]
        return html_table(("prompt",), [{"prompt": self.prompt}]) + html_table(("", "option", "right"), rows)

    def _check_prompt_and_answer(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise DataError("a question's prompt is empty; accepted: the full text that ends where the answer starts")
        for text in (self.prompt, *self.options, *self.letters):
            _check_unicode("a question", text)
        accepted = f"accepted: an index 0 to {len(self.options) - 1}"
        answer = whole(self.answer)
        if answer is None:
            raise DataError(f"a question's answer is {self.answer!r:.80}; {accepted}")
        if not 0 <= answer < len(self.options):
            raise DataError(f"a question's answer index is {answer}; {accepted}")
        object.__setattr__(self, "answer", answer)
        other = self.own_counterfactual
        if other is not None and (
            not isinstance(other, Question)
            or (other.form, other.letters) != (self.form, self.letters)
            or other.answer == answer
        ):
            raise DataError(
                f"a question's counterfactual is {other!r:.80}; accepted: a question with the same letters, "
                f"{', '.join(self.letters)}, of which another is right"
            )


def _alphabet(options: tuple[str, ...]) -> tuple[str, ...]:
    return ALPHABET[: len(options)]


def rotated(question: Question) -> Question | None:
    """The question with every option one letter further on, the last one at the first letter.

    None where its prompt does not list the options after their letters, all in one way ("A. x", "(A) x", …). Where it
    does so several times, as in a demonstration with the same options, the last list is meant, and one with a line for
    each option rather than one within a line.
    """
    first, *others = zip(question.letters, map(re.escape, question.options), strict=True)
    pattern = re.escape(first[0]) + r"(?P<after>\W{1,4}?)" + first[1] + (r"(?P<between>\W{1,8}?)")
    pattern += "(?P=between)".join(re.escape(letter) + "(?P=after)" + option for letter, option in others)
    # what is listed last must end there, and not only begin so
    every = list(re.finditer(pattern + r"(?!\w)", question.prompt))
    rest = [question.prompt[one.end() :].lstrip(" \t") for one in every]
    apart = [one for one, left in zip(every, rest, strict=True) if "\n" in one["between"] and left[:1] in ("\n", "")]
    found = apart or [one for one in every if "\n" not in one["between"]]
    if not found:
        return None
    options = (question.options[-1], *question.options[:-1])
    after, between = found[-1].group("after", "between")
    listed = between.join(f"{letter}{after}{text}" for letter, text in zip(question.letters, options, strict=True))
    prompt = question.prompt[: found[-1].start()] + listed + question.prompt[found[-1].end() :]
    return Question(prompt, options, (question.answer + 1) % len(options), question.letters)


def has_own_words(questions: Sequence[Question]) -> bool:
    """Whether questions in words name different ones: what one says of a word, it says of few questions."""
    return any(q.in_words for q in questions) and len({frozenset(q.letters) for q in questions}) > 1


def whole(value: Any) -> int | None:
    """A whole number of any integer type, numpy's and torch's among them; None for anything else, True too."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _texts(what: str, given: Any) -> tuple[str, ...]:
    """Texts in a tuple, from whatever holds them in an order."""
    found = None
    if isinstance(given, list | tuple):
        found = tuple(given)
    elif hasattr(given, "tolist") and getattr(given, "ndim", 0) == 1:
        # arrays and series
        found = tuple(given.tolist())
    if found is None or not all(isinstance(text, str) for text in found):
        shown = " ".join(f"{given!r}".split())
        raise DataError(f"{what} are {shown:.80}; accepted: texts in a tuple")
    return tuple(str(text) for text in found)


def _check_unicode(what: str, text: Any) -> None:
    try:
        str(text).encode()
    except UnicodeEncodeError as error:
        around = str(text)[max(0, error.start - 20) : error.end + 20]
        raise DataError(
            f"{what} holds half of a surrogate pair, which is no character: {around!a}; accepted: Unicode text"
        ) from None


@dataclass(frozen=True)
class LabelQuestion(Question):
    """A question in words whose options are classes, by their labels: its right answer may be given by its label."""

    form: str = field(default="words", kw_only=True)

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

    `item` is None for a user's own question, which is an example of one proxy. `understood` is whether a reference
    model understands the example, where its set was drawn by that (half of those that it does, half of the others).
    """

    item: Item | None
    proxies: tuple[Question, ...]
    understood: bool | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse an example that asks nothing."""
        if not self.proxies:
            raise DataError("an example has no questions; accepted: at least one")

    @property
    def unit(self) -> str:
        """What examples of one unit have in common: the item's text or passage, or a user's own prompt."""
        return self.proxies[0].prompt if self.item is None else self.item.group

    def _repr_html_(self) -> str:
        """Its questions, for a notebook."""
        rows = [
            {"wording": number, "prompt": one.prompt, "right": f"{one.letters[one.answer]}: {one.options[one.answer]}"}
            for number, one in enumerate(self.proxies, 1)
        ]
        return html_table(("wording", "prompt", "right"), rows)


def as_examples(things: Iterable[Example | Question]) -> list[Example]:
    """Examples; a plain question becomes an example of one proxy.

    Raises:
        DataError: not a list, an empty one, or something in it that is neither.
    """
    accepted = "accepted: a list of examples or questions"
    table = hasattr(things, "columns")  # a data frame yields the names of its columns
    if isinstance(things, Example | Question | str | Mapping) or table or not isinstance(things, Iterable):
        raise DataError(f"examples are given as a {type(things).__name__}; {accepted}")
    found = []
    for thing in things:
        if not isinstance(thing, Example | Question):
            raise DataError(f"{' '.join(repr(thing).split()):.80} is no example; {accepted}")
        found.append(thing if isinstance(thing, Example) else Example(None, (thing,)))
    if not found:
        raise DataError(f"there are no examples; {accepted}, at least one")
    return found
