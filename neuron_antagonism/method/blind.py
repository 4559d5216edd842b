"""How far one gets without reading: text-blind baselines of a task, and the chance level that they imply."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rapidfuzz.distance import Levenshtein

from neuron_antagonism.types import Item, same

MOST_ITEMS = 1000
_TOKEN = re.compile(r"\w+|[^\w\s]")


def blind_accuracies(
    items: Sequence[Item], options_of: Callable[[Item], Sequence[str]], training: Mapping[str, int]
) -> dict[str, float]:
    """Accuracy of three rules that see the options only; ties count as guesses among them.

    - `medoid`: the option with the least summed edit distance (over words and signs) to the others;
    - `longest`: the option of the most words and signs;
    - `frequent`: the option that is the right answer most often in the training part.

    Args:
        items: of the part that is evaluated; the first thousand count.
        options_of: the options that an item's questions show.
        training: how often each text is the answer in the training part, by its `same` form.
    """
    totals = dict.fromkeys(("medoid", "longest", "frequent"), 0.0)
    for item in items[:MOST_ITEMS]:
        options = options_of(item)
        right = next(place for place, text in enumerate(options) if same(text) == same(item.answer))
        tokens = [_TOKEN.findall(text) for text in options]
        points = {
            "medoid": [-sum(Levenshtein.distance(one, other) for other in tokens) for one in tokens],
            "longest": [len(one) for one in tokens],
            "frequent": [training.get(same(text), 0) for text in options],
        }
        for name, values in points.items():
            best = [place for place, value in enumerate(values) if value == max(values)]
            totals[name] += (right in best) / len(best)
    counted = len(items[:MOST_ITEMS])
    return {name: total / counted for name, total in totals.items()} if counted else {}


def answer_counts(items: Sequence[Item]) -> Counter[str]:
    """How often each text is the answer."""
    return Counter(same(item.answer) for item in items)
