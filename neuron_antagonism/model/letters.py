"""Finding where a model writes its answer after a prompt, and the tokens of the option letters there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, NamedTuple

from neuron_antagonism.errors import ModelError

BETWEEN = (" ", "", "\n")
"""What may stand between a prompt and a letter; in a tie what leaves the prompt's tokens as they are is taken,
then what adds the fewest, then the earlier one."""

NEGLIGIBLE = 0.1
"""Where a model would write letters nowhere with more probability than this, it has no preference worth following."""

SAMPLE = 4
"""Prompts of each ending on which the model is asked where it writes the letters."""

REMEMBERED = 1024
"""Prompts whose tokens are remembered, so that what is asked twice is tokenised once."""

Tokenize = Callable[[str], list[int]]


class Encoded(NamedTuple):
    """A question in tokens.

    Attributes:
        ids: the prompt's token ids; the answer is read after the last one.
        letters: token ids of the option letters, or in words of the options' first tokens.
    """

    ids: tuple[int, ...]
    letters: tuple[int, ...]


class Weight(NamedTuple):
    """What a model gives to the letters at one place.

    Attributes:
        written: probability that it goes on with what stands between, and then with one of the letters.
        mass: probability of the letters in the whole vocabulary, at the place where the answer is read.
    """

    written: float
    mass: float


Weigh = Callable[[Sequence[Encoded]], "list[Weight] | None"]
"""Weighs the places after one prompt at which its letters may be read; None where the prompt is too long to be run."""


@dataclass(frozen=True)
class LetterForm:
    """How the letters follow a prompt.

    Attributes:
        suffix: what is put after the prompt, before the place where the answer is read.
        form: how a letter is written there.
        mass: probability of all letters there, mean over the prompts that chose this form; None: not measured.
    """

    suffix: str
    form: str
    mass: float | None = None

    @property
    def between(self) -> str:
        """The text between prompt and letter."""
        return self.suffix + self.form.format("")


class Asked(NamedTuple):
    """A prompt and what it is to be answered with: letters, each one token, or words, by their first tokens."""

    prompt: str
    letters: tuple[str, ...]
    whole: bool = True


class Letters:
    """Resolves the option letters after prompts, once per ending of a prompt.

    Candidates are the texts " ", none and newline between prompt and letter, after which every letter is exactly one
    token that differs from the others' and all tokens before it are the same. Among them the model chooses: the one
    that it would most probably write, on a few of the prompts at hand; where it would write hardly any letter at all,
    the one that leaves the prompt's tokens as they are. Whatever is chosen, the prompt's text stays as it is: where its
    end and a letter are one token ("Answer: " and "A"), that token is the letter's.

    Words may be others in each prompt: what stands before them is chosen for an ending whatever they are, among the
    texts after which the words of the most prompts can be told apart.
    """

    def __init__(
        self,
        tokenize: Tokenize,
        tokenizer_name: str,
        unknown_id: int | None = None,
        frame: Callable[[str], str] | None = None,
        weigh: Weigh | None = None,
    ) -> None:
        """Remember the tokenizer, its token for unknown text, what every prompt is put into (a chat template), and
        what weighs candidates; without that the first one is taken."""
        self._unknown_id = unknown_id
        self._frame = frame or str
        self._tokenize = tokenize
        self._tokenizer_name = tokenizer_name
        self._weigh = weigh
        self._tried: dict[tuple[str, tuple[str, ...], str, bool], Encoded | None] = {}
        self.chosen: dict[tuple[str, tuple[str, ...], bool], LetterForm] = {}
        # of how many prompts: a prompt that was asked alone must not decide for those of a run
        self._asked: dict[tuple[str, tuple[str, ...], bool], int] = {}

    def told(self) -> list[list[Any]]:
        """What has been chosen, as plain JSON values for `recall`."""
        return [[*key, form.suffix, form.form, form.mass, self._asked.get(key, 0)] for key, form in self.chosen.items()]

    def recall(self, told: Iterable[Sequence[Any]]) -> None:
        """Forget every choice, and take those that were `told`."""
        self.chosen, self._asked = {}, {}
        for ending, letters, whole, suffix, form, mass, asked in told:
            key = (ending, tuple(letters), whole)
            self.chosen[key], self._asked[key] = LetterForm(suffix, form, mass), asked

    def settle(self, asked: Iterable[Asked]) -> None:
        """Let the model choose where the answer is read, for each ending of a prompt that is not settled yet.

        A choice on fewer prompts than are wanted is made again where there are more.
        """
        groups: dict[tuple[str, tuple[str, ...], bool], dict[str, tuple[str, ...]]] = {}
        for prompt, letters, whole in asked:
            framed = self._frame(prompt)
            key = _key(framed, letters, whole=whole)
            known = self.chosen.get(key)
            if known is None or (self._weigh is not None and self._asked.get(key, 0) < SAMPLE):
                group = groups.setdefault(key, {})
                if len(group) < SAMPLE:
                    group.setdefault(framed, tuple(letters))
        for key, prompts in groups.items():
            if len(prompts) <= self._asked.get(key, 0):
                continue
            form = self._choice(prompts, whole=key[2])
            if form is not None:
                self.chosen[key] = form
                self._asked[key] = len(prompts) if form.mass is not None else 0

    def encode(self, prompt: str, letters: Sequence[str], *, whole: bool = True) -> Encoded:
        """Token ids of the prompt (with what is put after it) and of the letters.

        Args:
            prompt: the text; the answer comes after it.
            letters: what the model answers with.
            whole: whether each must be a single token; else its first token stands for it.

        Raises:
            ModelError: nothing can stand between; names tokenizer, letter and tokens.
        """
        framed = self._frame(prompt)
        letters = tuple(letters)
        for key in (_key(framed, letters, whole=whole), (framed, letters, whole)):
            if key not in self.chosen:
                form = self._choice({framed: letters}, whole=whole)
                if form is None:
                    break
                self.chosen[key] = form
                self._asked[key] = 1 if form.mass is not None else 0
            encoded = self._try(framed, letters, self.chosen[key].between, whole=whole)
            # none: this prompt's end joins with the letters otherwise than that of those which chose
            if encoded is not None:
                return encoded
        raise ModelError(self._explain(framed, letters) if whole else self._explain_labels(framed, letters))

    def differ(self, prompt: str, words: Sequence[str]) -> bool:
        """Whether the first tokens of words differ where the answer to prompts with this ending is read."""
        framed = self._frame(prompt)
        known = self.chosen.get(_key(framed, words, whole=False))
        return known is not None and self._try(framed, tuple(words), known.between, whole=False) is not None

    def tokens(self, prompt: str) -> list[int]:
        """Token ids of a prompt, in its frame, with nothing after it."""
        return self._tokenize(self._frame(prompt))

    def length(self, prompt: str, letters: Sequence[str], *, whole: bool = True) -> int:
        """How many tokens `encode` gives; at most, while the model has not chosen.

        Raises:
            ModelError: see `encode`.
        """
        framed = self._frame(prompt)
        letters = tuple(letters)
        known = self.chosen.get(_key(framed, letters, whole=whole))
        between = BETWEEN if known is None else (known.between,)
        found = [self._try(framed, letters, text, whole=whole) for text in between]
        lengths = [len(encoded.ids) for encoded in found if encoded is not None]
        return max(lengths) if lengths else len(self.encode(prompt, letters, whole=whole).ids)

    def _choice(self, asked: Mapping[str, tuple[str, ...]], *, whole: bool) -> LetterForm | None:
        """The form that all these prompts (in words: the most of them) can take and the model prefers on them.

        Args:
            asked: the letters, or words, of each prompt.
            whole: whether each must be a single token.
        """
        tables = [
            {between: self._try(prompt, letters, between, whole=whole) for between in BETWEEN}
            for prompt, letters in asked.items()
        ]
        able = {between: [i for i, table in enumerate(tables) if table[between] is not None] for between in BETWEEN}
        most = max(map(len, able.values()))
        if not most or (whole and most < len(tables)):
            return None
        common = [between for between in BETWEEN if len(able[between]) == most]
        taking = [i for i in able[common[0]] if all(i in able[between] for between in common)]
        if not taking:
            # each of them suits other prompts
            common, taking = common[:1], able[common[0]]
        prompt = list(asked)[taking[0]]
        first = {between: one for between, one in tables[taking[0]].items() if one is not None}
        own = len(self._tokenize(prompt))
        common.sort(key=lambda between: (len(first[between].ids) < own, len(first[between].ids)))
        form = self._form(prompt, common[0], first[common[0]])
        if self._weigh is None:
            return form
        places = [[one for between in common if (one := tables[i][between]) is not None] for i in taking]
        weights = [found for each in places if (found := self._weigh(each)) is not None]
        if not weights:
            return form
        written = [sum(row[i].written for row in weights) / len(weights) for i in range(len(common))]
        best = written.index(max(written)) if max(written) >= NEGLIGIBLE else 0
        mass = sum(row[best].mass for row in weights) / len(weights)
        return replace(self._form(prompt, common[best], first[common[best]]), mass=mass)

    def _form(self, framed: str, between: str, encoded: Encoded) -> LetterForm:
        later = len(encoded.ids) > len(self._tokenize(framed))
        return LetterForm(between, "{}") if later else LetterForm("", between + "{}")

    def _try(self, framed: str, letters: tuple[str, ...], between: str, *, whole: bool) -> Encoded | None:
        """Tokens where this text stands between; None where the letters are no tokens of their own then."""
        asked = (framed, letters, between, whole)
        if asked not in self._tried:
            # whether a prompt fits is asked before the prompt is: its tokens are then known
            if len(self._tried) >= REMEMBERED:
                self._tried.pop(next(iter(self._tried)))
            self._tried[asked] = self._tokens(framed, letters, between, whole=whole)
        return self._tried[asked]

    def _tokens(self, framed: str, letters: tuple[str, ...], between: str, *, whole: bool) -> Encoded | None:
        rows = [self._tokenize(framed + between + letter) for letter in letters]
        before = self._tokenize(framed + between)
        same = min(_common(rows), len(before))
        if not whole:
            # words may all begin with one token, into which a blank before them goes: it is none of the prompt's
            same = min(same, max(_common([rows[0], before]), len(self._tokenize(framed))))
        if same < 1 or any(len(row) <= same or (whole and len(row) > same + 1) for row in rows):
            return None
        found = tuple(row[same] for row in rows)
        if self._unknown_id in found or len(set(found)) < len(found):
            return None
        return Encoded(tuple(rows[0][:same]), found)

    def _explain_labels(self, framed: str, labels: Sequence[str]) -> str:
        ids = self._tokenize(framed)
        first: dict[int, str] = {}
        for label in labels:
            longer = self._tokenize(framed + BETWEEN[0] + label)
            token = longer[len(ids)] if longer[: len(ids)] == ids and len(longer) > len(ids) else None
            if token is None or token == self._unknown_id:
                return (
                    f"the tokenizer {self._tokenizer_name} does not know how the label {label!r} begins after "
                    f"{framed[-20:]!r}; accepted: labels that begin with tokens of their own"
                )
            if token in first:
                return (
                    f"the tokenizer {self._tokenizer_name} begins the labels {first[token]!r} and {label!r} with the "
                    f"same token {token}; accepted: labels whose first tokens differ"
                )
            first[token] = label
        return (
            f"the tokenizer {self._tokenizer_name} joins the labels {list(labels)!r} with the end of "
            f"{framed[-20:]!r}; accepted: a prompt after which they begin a token"
        )

    def _explain(self, framed: str, letters: Sequence[str]) -> str:
        ids = self._tokenize(framed)
        for letter in letters:
            longer = self._tokenize(framed + BETWEEN[0] + letter)
            if longer[:-1] == ids and longer[-1] == self._unknown_id:
                return (
                    f"the tokenizer {self._tokenizer_name} does not know the letter {letter!r} (token {longer[-1]} "
                    "stands for anything unknown); accepted: letters with tokens of their own"
                )
            if len(longer) != len(ids) + 1 or longer[:-1] != ids:
                added = longer[len(ids) :] if longer[: len(ids)] == ids else longer[-3:]
                return (
                    f"the tokenizer {self._tokenizer_name} has no single token for the letter {letter!r} after "
                    f"{framed[-20:]!r} (tokens {added}); accepted: letters that are one token there"
                )
        return (
            f"the tokenizer {self._tokenizer_name} gives the letters {list(letters)!r} the same token after "
            f"{framed[-20:]!r}; accepted: letters with tokens of their own"
        )


def _common(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all begin with."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False)))


def _key(framed: str, letters: Sequence[str], *, whole: bool) -> tuple[str, tuple[str, ...], bool]:
    """What prompts have in common that are read alike: their last word with the blanks after it, and the letters."""
    ending = re.search(r"\S*\s*\Z", framed)
    return (ending[0] if ending else "")[-40:], tuple(letters) if whole else (), whole
