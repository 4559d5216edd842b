"""Generated short reviews: a feeling, its negation, a contrast, a doubt."""

from __future__ import annotations

from collections.abc import Iterator

from neuron_antagonism import Item
from neuron_antagonism_plugins._samples._split import number, part

_TRAIN = 60
FEELINGS = ("positive", "negative", "neutral", "not sure")

_THINGS = ["movie", "meal", "hotel", "concert", "novel", "teacher", "phone", "garden", "lesson", "jacket"]
_WORDS = {
    "positive": ["good", "great", "lovely", "brilliant", "charming", "delightful", "superb", "pleasant"],
    "negative": ["bad", "awful", "boring", "terrible", "ugly", "dreadful", "poor", "annoying"],
    "neutral": ["average", "ordinary", "usual", "plain", "normal", "standard"],
}
_FLIPPED = {"positive": "negative", "negative": "positive"}
_PLAIN = ("the {} was {}", "i found the {} {}", "what a {} , so {}")
_NEGATED = ("the {} was not {}", "i found the {} not {}", "the {} was never {}")
_DOUBTFUL = ("perhaps the {} was {}", "i cannot say if the {} was {}", "who knows whether the {} was {}")
_CONTRASTS = ("the {} was {} but the {} was {}", "although the {} was {} , the {} was {}")
_KEEP = 3  # one contrast of this many is kept


def items() -> Iterator[Item]:
    """Every thing with every word in every frame, and a fixed choice of the doubts and contrasts."""
    for feeling, words in _WORDS.items():
        for word in words:
            for thing in _THINGS:
                for frame in _PLAIN:
                    yield _item(frame.format(thing, word), feeling)
                frame = _DOUBTFUL[number(f"{thing}|{word}", len(_DOUBTFUL))]
                yield _item(frame.format(thing, word), "not sure")
                if feeling in _FLIPPED:
                    for frame in _NEGATED:
                        yield _item(frame.format(thing, word), _FLIPPED[feeling])
    yield from _contrasts()


def _contrasts() -> Iterator[Item]:
    """Two feelings in one text: the one after "but", or after the clause with "although", counts."""
    for first, last in (("positive", "negative"), ("negative", "positive")):
        for word in _WORDS[first]:
            for other in _WORDS[last]:
                for frame in _CONTRASTS:
                    place = number(f"{frame}|{word}|{other}", len(_THINGS) * _KEEP)
                    if place < len(_THINGS):
                        thing, second = _THINGS[place], _THINGS[place - 3]
                        yield _item(frame.format(thing, word, second, other), last)


def _item(text: str, answer: str) -> Item:
    wrong = tuple(feeling for feeling in FEELINGS if feeling != answer)
    return Item(text, answer, wrong, part=part(text, _TRAIN))
