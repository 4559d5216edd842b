"""Finding the tokens of the option letters after a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neuron_antagonism.errors import ModelError

SUFFIXES = ("", " ", "\n")
FORMS = (" {}", "{}")

Tokenize = Callable[[str], list[int]]


class Encoded(NamedTuple):
    """A question in tokens.

    Attributes:
        ids: the prompt's token ids; the answer is read after the last one.
        letters: token ids of the four option letters, or of the first tokens of a label question's labels.
    """

    ids: tuple[int, ...]
    letters: tuple[int, ...]


@dataclass(frozen=True)
class LetterForm:
    """How the letters follow a prompt: what is put after the prompt, and how a letter is written there."""

    suffix: str
    form: str


class Letters:
    """Resolves the option letters after prompts, once per ending of a prompt.

    The suffix is the first of "", " ", newline after which every letter is exactly one further token and the
    earlier tokens stay as they were; all four letters take the same form, " A" before "A".
    """

    def __init__(
        self,
        tokenize: Tokenize,
        tokenizer_name: str,
        unknown_id: int | None = None,
        frame: Callable[[str], str] | None = None,
    ) -> None:
        """Remember the tokenizer, its token for unknown text, and what every prompt is put into (a chat template)."""
        self._unknown_id = unknown_id
        self._frame = frame or str
        self._tokenize = tokenize
        self._tokenizer_name = tokenizer_name
        self.chosen: dict[tuple[str, tuple[str, ...], bool], LetterForm] = {}

    def encode(self, prompt: str, letters: Sequence[str], *, whole: bool = True) -> Encoded:
        """Token ids of the prompt (with its suffix) and of the letters.

        Args:
            prompt: the text; the answer comes after it.
            letters: what the model answers with.
            whole: whether each must be a single token; else its first token stands for it.

        Raises:
            ModelError: no suffix works; names tokenizer, letter and tokens.
        """
        prompt = self._frame(prompt)
        key = _key(prompt, letters, whole=whole)
        known = self.chosen.get(key)
        if known is not None:
            encoded = self._try(prompt, letters, known, whole=whole)
            if encoded is not None:
                return encoded
        for suffix in SUFFIXES:
            for form in FORMS:
                choice = LetterForm(suffix, form)
                encoded = self._try(prompt, letters, choice, whole=whole)
                if encoded is not None:
                    self.chosen[key] = choice
                    return encoded
        raise ModelError(self._explain(prompt, letters) if whole else self._explain_labels(prompt, letters))

    def tokens(self, prompt: str) -> list[int]:
        """Token ids of a prompt, in its frame, with nothing after it."""
        return list(self._tokenize(self._frame(prompt)))

    def length(self, prompt: str, letters: Sequence[str], *, whole: bool = True) -> int:
        """How many tokens `encode` gives; the letters are resolved only where the ending is new."""
        framed = self._frame(prompt)
        known = self.chosen.get(_key(framed, letters, whole=whole))
        if known is None:
            return len(self.encode(prompt, letters, whole=whole).ids)
        return len(self._tokenize(framed + known.suffix))

    def _try(self, prompt: str, letters: Sequence[str], choice: LetterForm, *, whole: bool) -> Encoded | None:
        ids = self._tokenize(prompt + choice.suffix)
        found = []
        for letter in letters:
            longer = self._tokenize(prompt + choice.suffix + choice.form.format(letter))
            added = longer[len(ids) :]
            if longer[: len(ids)] != ids or not added or added[0] == self._unknown_id or (whole and len(added) > 1):
                return None
            found.append(added[0])
        return Encoded(tuple(ids), tuple(found)) if len(set(found)) == len(found) else None

    def _explain_labels(self, prompt: str, labels: Sequence[str]) -> str:
        ids = self._tokenize(prompt)
        first: dict[int, str] = {}
        for label in labels:
            longer = self._tokenize(prompt + FORMS[0].format(label))
            token = longer[len(ids)] if longer[: len(ids)] == ids and len(longer) > len(ids) else None
            if token is None or token == self._unknown_id:
                return (
                    f"the tokenizer {self._tokenizer_name} does not know how the label {label!r} begins after "
                    f"{prompt[-20:]!r}; accepted: labels that begin with tokens of their own"
                )
            if token in first:
                return (
                    f"the tokenizer {self._tokenizer_name} begins the labels {first[token]!r} and {label!r} with the "
                    f"same token {token}; accepted: labels whose first tokens differ"
                )
            first[token] = label
        return (
            f"the tokenizer {self._tokenizer_name} joins the labels {list(labels)!r} with the end of "
            f"{prompt[-20:]!r}; accepted: a prompt after which they begin a token"
        )

    def _explain(self, prompt: str, letters: Sequence[str]) -> str:
        ids = self._tokenize(prompt)
        for letter in letters:
            longer = self._tokenize(prompt + FORMS[0].format(letter))
            if longer[:-1] == ids and longer[-1] == self._unknown_id:
                return (
                    f"the tokenizer {self._tokenizer_name} does not know the letter {letter!r} (token {longer[-1]} "
                    "stands for anything unknown); accepted: letters with tokens of their own"
                )
            if len(longer) != len(ids) + 1 or longer[:-1] != ids:
                added = longer[len(ids) :] if longer[: len(ids)] == ids else longer[-3:]
                return (
                    f"the tokenizer {self._tokenizer_name} has no single token for the letter {letter!r} after "
                    f"{prompt[-20:]!r} (tokens {added}); accepted: letters that are one token there"
                )
        return (
            f"the tokenizer {self._tokenizer_name} gives the letters {list(letters)!r} the same token after "
            f"{prompt[-20:]!r}; accepted: letters with tokens of their own"
        )


def _key(prompt: str, letters: Sequence[str], *, whole: bool) -> tuple[str, tuple[str, ...], bool]:
    return prompt.rsplit("\n", 1)[-1], tuple(letters), whole
