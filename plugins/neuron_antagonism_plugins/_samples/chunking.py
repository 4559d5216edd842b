"""Generated short sentences with their division into phrases."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

from neuron_antagonism_plugins._samples._split import number, part

Phrase = tuple[str, tuple[str, ...]]

_TRAIN = 50

_DETS = ["the", "a", "my", "this"]
_ADJECTIVES = ["old", "small", "clever", "hungry", "quiet", "tired"]
_NOUNS = ["dog", "farmer", "child", "bird", "nurse", "pilot"]
_PRONOUNS = ["she", "he", "they"]
_INTRANSITIVE = ["slept", "ran", "sang", "laughed", "waited"]
_TRANSITIVE = ["saw", "followed", "helped", "found"]
_AUXILIARIES = ["will", "can", "must"]
_BARE = ["sleep", "run", "sing", "wait"]
_LINKING = ["was", "seemed", "felt"]
_ADVERBS = ["quickly", "loudly", "often", "today"]
_PREPOSITIONS = ["near", "behind", "with", "under"]

_SHAPES: tuple[tuple[tuple[str, tuple[list[str], ...]], ...], ...] = (
    (("NP", (_DETS, _ADJECTIVES, _NOUNS)), ("VP", (_INTRANSITIVE,))),
    (("NP", (_DETS, _NOUNS)), ("VP", (_INTRANSITIVE,)), ("ADVP", (_ADVERBS,))),
    (("NP", (_DETS, _NOUNS)), ("VP", (_LINKING,)), ("ADJP", (_ADJECTIVES,))),
    (("NP", (_PRONOUNS,)), ("VP", (_TRANSITIVE,)), ("NP", (_DETS, _NOUNS))),
    (("NP", (_DETS, _NOUNS)), ("VP", (_AUXILIARIES, _BARE))),
    (("NP", (_PRONOUNS,)), ("VP", (_AUXILIARIES, _BARE)), ("ADVP", (_ADVERBS,))),
    (("ADVP", (_ADVERBS,)), ("NP", (_PRONOUNS,)), ("VP", (_AUXILIARIES, _BARE))),
    (("VP", (_BARE,)), ("PP", (_PREPOSITIONS,)), ("NP", (_DETS, _NOUNS))),
)
_PER_SHAPE = 150


def sentences() -> Iterator[tuple[str, tuple[Phrase, ...]]]:
    """Up to a fixed number of sentences of each shape, chosen by their own words: their parts and their phrases."""
    for shape in _SHAPES:
        slots = [words for _, slot in shape for words in slot]
        chosen = sorted(product(*slots), key=lambda words: number(" ".join(words), 10**9))
        for words in chosen[:_PER_SHAPE]:
            rest = iter(words)
            phrases = tuple((label, tuple(islice(rest, len(slot)))) for label, slot in shape)
            yield part(" ".join(words), _TRAIN), phrases
