"""Chunking: which division of a sentence into phrases is right."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import NamedTuple

import neuron_antagonism as na
from neuron_antagonism_plugins._files import at, blocks, columns, malformed
from neuron_antagonism_plugins._hub import is_hub, splits, unknown_columns

PHRASES = ("NP", "VP", "PP", "ADJP", "ADVP")
OUTSIDE = ""
SHORTEST, LONGEST = 4, 20
LONGEST_WORD = 1000
SPOKEN = "%&#@"
"""Signs that are read as words, though Unicode counts them as punctuation; currency and other symbols are words too."""

_FILE = "a CoNLL-2000 file: `word POS chunk`, a blank line between sentences"
_TAG = "`O`, `B-TYPE`, or `I-TYPE` after a tag of the same type"
_COLUMNS = "tokens with chunk_tags (CoNLL-2000's, as strings or named class labels)"


class Chunk(NamedTuple):
    """A phrase with its type, or one word outside every phrase (type `OUTSIDE`)."""

    label: str
    words: tuple[str, ...]


Chunks = tuple[Chunk, ...]


def sentences(path: str | Path) -> Iterator[Chunks]:
    """Yield every sentence of a CoNLL-2000 file (Tjong Kim Sang & Buchholz, 2000), as it is in the file.

    Raises:
        DataError: an unreadable or empty file, or a malformed line; names file, line and what is accepted.
    """
    for block in blocks(path, _FILE):
        tagged = []
        for number, line in block:
            found = columns(line)
            if len(found) != 3:
                raise malformed(at(path, number), line, f"`word POS chunk`, the chunk {_TAG}")
            tagged.append((number, found[0], found[2]))
        yield _chunks(tagged, partial(at, path))


def simplified(sentence: Chunks) -> Chunks | None:
    """The sentence without punctuation, or None where the task leaves it out.

    Punctuation is a token without a letter, digit or spoken sign ("%", "$"), inside phrases too; a phrase of nothing
    else goes. Left out are sentences of fewer than 4 or more than 20 remaining words, with a phrase type not in
    `PHRASES`, with no phrase, or with a word of more than 1,000 characters. Words outside every phrase ("and") stay,
    because the sentence would not read without them. Of CoNLL-2000's 2,012 test sentences 844 remain.
    """
    kept = tuple(
        Chunk(label, words)
        for label, every in sentence
        if (words := tuple(word for word in every if any(map(_is_read, word))))
    )
    labels = {chunk.label for chunk in kept} - {OUTSIDE}
    lengths = [len(word) for word in words_of(kept)]
    usable = bool(labels) and labels <= set(PHRASES) and SHORTEST <= len(lengths) <= LONGEST
    return kept if usable and max(lengths) <= LONGEST_WORD else None


def _is_read(character: str) -> bool:
    return character.isalnum() or character in SPOKEN or unicodedata.category(character) in ("Sc", "Sm", "So")


def words_of(chunks: Iterable[Chunk]) -> list[str]:
    """The words that the chunks cover, in order."""
    return [word for chunk in chunks for word in chunk.words]


def bracketed(chunks: Iterable[Chunk]) -> str:
    """How a division is shown: `[NP the old dog] [VP ran]`; words outside every phrase without brackets."""
    return " ".join(f"[{label} {' '.join(words)}]" if label else " ".join(words) for label, words in chunks)


class Chunking(na.Task):
    """Chunking: which division of a sentence into phrases is right."""

    name = "chunking"
    role = "You divide sentences into phrases."
    rule = "Reply with one letter only: A, B, C or D."
    stems = (
        "Sentence: {text}\nWhich division into phrases is right?",
        "Text: {text}\nHow do the words group into phrases?",
        "Read this: {text}\nFind the right phrases.",
    )
    forms = ("letters",)
    reference = "NeuronLLM §4.1; CoNLL-2000 (Tjong Kim Sang & Buchholz, 2000)"

    def examples(self, source: str | None, seed: int) -> Iterable[na.Item]:
        """Yield one item for each sentence that `simplified` keeps, in the source's order.

        Args:
            source: a CoNLL-2000 file, `hub:dataset-id[:config]` in conll2000's layout, or None = the sample.
            seed: for the wrong divisions; the same seed gives the same items, whatever the sentences' order.

        Raises:
            DataError: malformed or empty data; names file and line, or split and row.
            PluginError: an overridden `alternatives` changed the words.
            UsageError: a Hub source without the package `datasets`.
        """
        if source is None:
            from neuron_antagonism_plugins._samples import chunking as sample

            read: Iterable[tuple[str, Chunks]] = (
                (part, tuple(Chunk(*phrase) for phrase in phrases)) for part, phrases in sample.sentences()
            )
        elif is_hub(source):
            read = _hub_sentences(source)
        else:
            read = (("", found) for found in sentences(source))
        for part, sentence in read:
            chunks = simplified(sentence)
            if chunks is None:
                continue
            answer = bracketed(chunks)
            wrong = self._wrong(chunks, random.Random(f"{seed}|{answer}"))
            yield na.Item(" ".join(words_of(chunks)), answer, wrong, part=part)

    def alternatives(self, chunks: Chunks, rng: random.Random) -> list[Chunks]:
        """Other divisions of a sentence: the hook to override for another generator, for example an LLM.

        This one changes the division in one place each: it shifts a boundary by a word, merges two phrases, splits one,
        or relabels one, each kind once where the sentence allows it, before any comes again.

        Args:
            chunks: a division, right or wrong; words outside every phrase are chunks of type `OUTSIDE`.
            rng: where all randomness must come from.

        Returns:
            Divisions that cover the same words in order, all different, none the one given; as many as a question has
            options, or more. `examples` drops repeated ones, the right one and the one given, and refuses other words.
        """
        kinds = [list(kind(chunks)) for kind in (_shifts, _merges, _splits, _relabels)]
        rng.shuffle(kinds)
        for kind in kinds:
            rng.shuffle(kind)
        given = bracketed(chunks)
        found: dict[str, Chunks] = {}
        for one_of_each in zip_longest(*kinds):
            for other in one_of_each:
                if other is not None and len(found) < self.n_options and bracketed(other) != given:
                    found.setdefault(bracketed(other), other)
        return list(found.values())

    def _wrong(self, chunks: Chunks, rng: random.Random) -> tuple[str, ...]:
        """Exactly as many wrong divisions as a question shows, all of them and the right one made from one hub.

        The hub is the right division as often as any other option. Were it always the right one, it would be the option
        that is most like the others, and be found without reading the sentence.
        """
        wanted, right = self.n_options - 1, bracketed(chunks)
        near = self._others(chunks, right, rng)
        if rng.randrange(self.n_options) == 0:
            return tuple(near)[:wanted]
        for hub, division in near.items():
            around = {hub: division, **self._others(division, right, rng)}
            if len(around) >= wanted:
                return tuple(around)[:wanted]
        return tuple(near)[:wanted]

    def _others(self, chunks: Chunks, right: str, rng: random.Random) -> dict[str, Chunks]:
        """What `alternatives` makes of a division, checked, without the right one; by how it is shown."""
        given = bracketed(chunks)
        found: dict[str, Chunks] = {}
        for other in self.alternatives(chunks, rng):
            if words_of(other) != words_of(chunks):
                raise na.PluginError(
                    f"task {self.name!r}: alternatives() gave {bracketed(other)!r} for {given!r}; "
                    "accepted: divisions of the same words"
                )
            found[bracketed(other)] = other
        return {shown: other for shown, other in found.items() if shown not in (given, right)}


def _replaced(chunks: Chunks, start: int, n: int, *new: Chunk) -> Chunks:
    return (*chunks[:start], *new, *chunks[start + n :])


def _shifts(chunks: Chunks) -> Iterator[Chunks]:
    """Every boundary of a phrase moved by one word, with no phrase left empty."""
    for i, (left, right) in enumerate(pairwise(chunks)):
        words = left.words + right.words
        for cut in (len(left.words) - 1, len(left.words) + 1):
            before, after = _of(left.label, words[:cut]), _of(right.label, words[cut:])
            if (before or not left.label) and (after or not right.label):
                yield _replaced(chunks, i, 2, *before, *after)


def _of(label: str, words: tuple[str, ...]) -> list[Chunk]:
    if label == OUTSIDE:
        return [Chunk(OUTSIDE, (word,)) for word in words]
    return [Chunk(label, words)] if words else []


def _merges(chunks: Chunks) -> Iterator[Chunks]:
    """Every two neighbouring phrases as one, of either's type."""
    for i, (left, right) in enumerate(pairwise(chunks)):
        if left.label and right.label:
            for label in dict.fromkeys((left.label, right.label)):
                yield _replaced(chunks, i, 2, Chunk(label, left.words + right.words))


def _splits(chunks: Chunks) -> Iterator[Chunks]:
    """Every phrase of two words or more, cut in two of its type."""
    for i, (label, words) in enumerate(chunks):
        if label:
            for cut in range(1, len(words)):
                yield _replaced(chunks, i, 1, Chunk(label, words[:cut]), Chunk(label, words[cut:]))


def _relabels(chunks: Chunks) -> Iterator[Chunks]:
    """Every phrase with each other type."""
    for i, (label, words) in enumerate(chunks):
        if label:
            for other in PHRASES:
                if other != label:
                    yield _replaced(chunks, i, 1, Chunk(other, words))


def _chunks(tagged: Iterable[tuple[int, str, object]], where: Callable[[int], str]) -> Chunks:
    """Chunks of numbered words with BIO tags; `where` names the place of a number, for errors."""
    chunks: list[tuple[str, list[str]]] = []
    for number, word, tag in tagged:
        begins, _, label = tag.partition("-") if isinstance(tag, str) else ("", "", "")
        if tag == "O":
            chunks.append((OUTSIDE, [word]))
        elif begins == "B" and label:
            chunks.append((label, [word]))
        elif begins == "I" and label and chunks and chunks[-1][0] == label:
            chunks[-1][1].append(word)
        else:
            raise malformed(where(number), tag, _TAG)
    return tuple(Chunk(label, tuple(words)) for label, words in chunks)


def _hub_sentences(source: str) -> Iterator[tuple[str, Chunks]]:
    for split in splits(source, _COLUMNS):
        if not {"tokens", "chunk_tags"} <= set(split.columns):
            raise unknown_columns(split, _COLUMNS)
        for where, row in split.rows():
            tokens, tags = row["tokens"] or [], row["chunk_tags"] or []
            if len(tokens) != len(tags):
                raise malformed(where, f"{len(tokens)} tokens, {len(tags)} tags", "one tag for each token")
            tagged = zip(range(len(tokens)), tokens, tags, strict=True)
            yield split.part, _chunks(tagged, partial("{}, token {}".format, where))


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [Chunking]
