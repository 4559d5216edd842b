"""Generated sentences with one named entity each, of eight coarse types."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from neuron_antagonism import Item
from neuron_antagonism_plugins._samples._split import part

_TRAIN = 60

_NAMES = {
    "art": "Moonrise Nocturne Silverleaf Hamletta Pastorale Dreamers Bluebird Sonatina Mirrorland Firedance",
    "building": "Highgate Ironhall Stonegate Glasshouse Castleton Whitefort Oldchapel Skytower Redbarn",
    "event": "Winterfest Sunrally Jazzweek Cupfinal Harvestfair Bookweek Marathona Snowgames Filmfest",
    "location": "Norway Peru Kyoto Lisbon Nairobi Danube Texas Oslo Cairo Alberta Toledo",
    "organization": "Unicorps Medicorp Bankwell Greenunion Steelworks Redguard Airlink Farmbank Seatrust",
    "other": "Latin Hindi Monday Sagitta Diabetes Euro Jupiter Oxygen Nobel Swahili",
    "person": "Maria Tomas Aisha Oliver Ingrid Pablo Yusuf Helen Dmitri Fatima Emma",
    "product": "Fonetta Kodax Speedster Turbovan Cleanix Snackpop Laptrix Camerix Softpad Rollbike",
}

_BETWEEN = {  # names of two types, which only the sentence settles
    ("person", "location"): "Jordan Victoria Sydney",
    ("organization", "location"): "Amazon Phoenix",
    ("person", "organization"): "Morgan Wells",
    ("product", "organization"): "Apple Tesla",
    ("art", "person"): "Carmen Emmeline",
    ("building", "location"): "Alhambra Westminster",
    ("event", "product"): "Olympia Galaxy",
    ("other", "art"): "Venus Mercury",
}

_CONTEXTS = {
    "art": (
        "the singer performed {}",
        "we hung {} in the gallery",
        "the poet wrote {}",
        "critics praised the painting {}",
    ),
    "building": (
        "workers repaired the roof of {}",
        "the lift in {} stopped",
        "guests entered {} by the door",
        "they built {} of brick",
    ),
    "event": (
        "thousands came to watch {}",
        "{} begins next week",
        "she won a medal at {}",
        "tickets for {} sold out",
    ),
    "location": (
        "they travelled across {}",
        "rain fell over {}",
        "the border of {} is long",
        "he was born in {}",
    ),
    "organization": (
        "{} hired new staff",
        "the board of {} resigned",
        "{} reported a profit",
        "she joined the team of {}",
    ),
    "other": (
        "students learn about {}",
        "the lecture explained {}",
        "scientists discuss {}",
        "a chapter covers {}",
    ),
    "person": (
        "{} smiled and waved",
        "my sister married {}",
        "{} told us a story",
        "doctors thanked {}",
    ),
    "product": (
        "he bought a cheap {}",
        "the battery of my {} failed",
        "this shop sells {}",
        "a new model of {} arrived",
    ),
}

_NEUTRAL = (
    "everyone mentioned {} today",
    "they spoke about {}",
    "{} was in the news",
    "nobody knew {}",
    "do you recall {}",
)

TYPES = tuple(_CONTEXTS)


def items() -> Iterator[Item]:
    """Every name in every sentence that fits it, in a fixed order."""
    for kind, names in _NAMES.items():
        for name in names.split():
            for sentence in chain(_CONTEXTS[kind], _NEUTRAL):
                yield _item(sentence, name, kind)
    for kinds, names in _BETWEEN.items():
        for name in names.split():
            for kind in kinds:
                for sentence in _CONTEXTS[kind]:
                    yield _item(sentence, name, kind)


def _item(sentence: str, name: str, kind: str) -> Item:
    others = tuple(other for other in TYPES if other != kind)
    where = part(f"{sentence}|{name}", _TRAIN)
    return Item(sentence.format(name), kind, others, {"mention": name}, where)
