"""Texts into tokens by the user's own tokenizer, with what it adds by itself handled by one rule."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from neuron_antagonism.errors import DataError, ModelError

SAMPLES = ("a", "A", "0", ".")
"""Texts by which it is seen what a tokenizer adds to a text; the first that it knows."""


class Tokens:
    """Tokenises texts: what the tokenizer puts before a text comes once, what it puts after it is left off.

    A beginning-of-sequence token that a text brings along itself is not put there again, and a closing one is no part
    of a prompt that is to be continued.

    Args:
        tokenizer: the user's own, unchanged.
        special: whether the tokenizer may add tokens of its own; not where a chat template writes them.
        embeddings: rows of the model's embedding, which every token must have.
    """

    def __init__(self, tokenizer: Any, embeddings: int, *, special: bool = True) -> None:
        """See what the tokenizer adds."""
        self.name = str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
        self.size = len(tokenizer)
        self.embeddings = embeddings
        self._tokenizer = tokenizer
        self._special = special
        self.head, self.tail = self._added() if special else ((), ())
        # a question is encoded for each of several passes, and each time its prompt is tokenised with every letter
        self._split = lru_cache(maxsize=16_384)(self._tokenised)

    def __call__(self, text: str) -> list[int]:
        """Token ids as the model is to see them.

        Raises:
            DataError: a text that no encoding can hold.
            ModelError: a token that the model has no embedding for.
        """
        head, own = self._split(text)
        return [*head, *own]

    def own(self, text: str) -> list[int]:
        """Token ids of the text alone; errors as above."""
        return list(self._split(text)[1])

    def _tokenised(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the tokenizer put before a text, and the text's own tokens."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"the text {text[max(0, error.start - 20) : error.end + 20]!r} holds {text[error.start]!r}, half of a "
                "surrogate pair, which is no character; accepted: Unicode text"
            ) from None
        ids = list(self._tokenizer(text, add_special_tokens=self._special)["input_ids"])
        head: tuple[int, ...] = ()
        if tuple(ids[: len(self.head)]) == self.head:
            head, ids = self.head, ids[len(self.head) :]
        if self.tail and tuple(ids[-len(self.tail) :]) == self.tail:
            ids = ids[: -len(self.tail)]
        if head and tuple(ids[: len(head)]) == head:
            ids = ids[len(head) :]
        if ids and max(ids) >= self.embeddings:
            raise ModelError(
                f"the tokenizer {self.name} has {self.size} tokens and the model an embedding of {self.embeddings}: "
                f"token {max(ids)} ({self._tokenizer.decode([max(ids)])!r}) of {text[-40:]!r} has none; accepted: the "
                "model's own tokenizer, or resize_token_embeddings"
            )
        return head, tuple(ids)

    def _added(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the tokenizer puts before and after a text."""
        for sample in SAMPLES:
            plain = list(self._tokenizer(sample, add_special_tokens=False)["input_ids"])
            whole = list(self._tokenizer(sample)["input_ids"])
            for start in range(len(whole) - len(plain) + 1 if plain else 0):
                if whole[start : start + len(plain)] == plain:
                    return tuple(whole[:start]), tuple(whole[start + len(plain) :])
        return (), ()
