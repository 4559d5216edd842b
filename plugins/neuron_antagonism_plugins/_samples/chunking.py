"""Generated short sentences with their division into phrases, and wrong divisions of the same words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from neuron_antagonism import Item
from neuron_antagonism_plugins._samples._split import number, part

_TRAIN = 50
_LABELS = ("NP", "VP", "PP", "ADJP", "ADVP")

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

Phrase = tuple[str, tuple[str, ...]]
Division = tuple[Phrase, ...]

_SHAPES: tuple[tuple[tuple[str, tuple[list[str], ...]], ...], ...] = (
    (("NP", (_DETS, _ADJECTIVES, _NOUNS)), ("VP", (_INTRANSITIVE,))),
    (("NP", (_DETS, _NOUNS)), ("VP", (_INTRANSITIVE,)), ("ADVP", (_ADVERBS,))),
    (("NP", (_DETS, _NOUNS)), ("VP", (_LINKING,)), ("ADJP", (_ADJECTIVES,))),
    (("NP", (_PRONOUNS,)), ("VP", (_TRANSITIVE,)), ("NP", (_DETS, _NOUNS))),
    (("NP", (_DETS, _NOUNS)), ("VP", (_AUXILIARIES, _BARE))),
    (("NP", (_PRONOUNS,)), ("VP", (_AUXILIARIES, _BARE)), ("ADVP", (_ADVERBS,))),
    (("ADVP", (_ADVERBS,)), ("NP", (_PRONOUNS,)), ("VP", (_INTRANSITIVE,))),
    (("VP", (_BARE,)), ("PP", (_PREPOSITIONS,)), ("NP", (_DETS, _NOUNS))),
)
_PER_SHAPE = 150


def items() -> Iterator[Item]:
    """Up to a fixed number of sentences of each shape, chosen and divided by their own words."""
    for shape in _SHAPES:
        slots = [words for _, slot in shape for words in slot]
        sentences = sorted(product(*slots), key=lambda words: number(" ".join(words), 10**9))
        for words in sentences[:_PER_SHAPE]:
            division = _divide(words, [(label, len(slot)) for label, slot in shape])
            text = " ".join(words)
            yield Item(text, _write(division), _wrong(division, text), part=part(text, _TRAIN))


def _divide(words: tuple[str, ...], phrases: list[tuple[str, int]]) -> Division:
    made: list[Phrase] = []
    start = 0
    for label, length in phrases:
        made.append((label, words[start : start + length]))
        start += length
    return tuple(made)


def _write(division: Division) -> str:
    return " ".join(f"[{label} {' '.join(words)}]" for label, words in division)


def _wrong(division: Division, text: str) -> tuple[str, ...]:
    """One wrong division of each way to go wrong, then more until there are four."""
    ways = [[_write(made) for made in way(division)] for way in (_shifted, _merged, _split, _relabelled)]
    for number_of_way, made in enumerate(ways):
        made.sort(key=lambda written: number(f"{text}|{number_of_way}|{written}", 10**9))
    firsts = [made[0] for made in ways if made]
    rest = [written for made in ways for written in made[1:]]
    chosen = dict.fromkeys(written for written in firsts + rest if written != _write(division))
    return tuple(chosen)[:4]


def _shifted(division: Division) -> Iterator[Division]:
    for i in range(len(division) - 1):
        (left, a), (right, b) = division[i : i + 2]
        if len(a) > 1:
            yield (*division[:i], (left, a[:-1]), (right, a[-1:] + b), *division[i + 2 :])
        if len(b) > 1:
            yield (*division[:i], (left, a + b[:1]), (right, b[1:]), *division[i + 2 :])


def _merged(division: Division) -> Iterator[Division]:
    for i in range(len(division) - 1):
        (left, a), (right, b) = division[i : i + 2]
        for label in dict.fromkeys((left, right)):
            yield (*division[:i], (label, a + b), *division[i + 2 :])


def _split(division: Division) -> Iterator[Division]:
    for i, (label, words) in enumerate(division):
        for at in range(1, len(words)):
            yield (*division[:i], (label, words[:at]), (label, words[at:]), *division[i + 1 :])


def _relabelled(division: Division) -> Iterator[Division]:
    for i, (label, words) in enumerate(division):
        for other in _LABELS:
            if other != label:
                yield (*division[:i], (other, words), *division[i + 1 :])
