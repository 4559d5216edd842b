"""How far one gets without reading: text-blind baselines of a task, and the chance level that they imply."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

from neuron_antagonism.types import Item, same

MOST_ITEMS = 1000
_TOKEN = re.compile(r"\w+|[^\w\s]")


def blind_accuracies(
    items: Sequence[Item], options_of: Callable[[Item], Sequence[str]], training: Sequence[Item]
) -> dict[str, float]:
    """Accuracy of three rules that see the options only; ties count as guesses among them.

    - `medoid`: the option with the least summed edit distance (over words and signs) to the others;
    - `longest`: the option of the most words and signs;
    - `frequent`: the option that is the right answer most often in the training part.

    Args:
        items: of the part that is evaluated; the first thousand count.
        options_of: the options that an item's questions show.
        training: items of the training part; none = the items themselves, each of which then sees all others.
    """
    answers = Counter(same(item.answer) for item in training or items)
    totals = dict.fromkeys(("medoid", "longest", "frequent"), 0.0)
    for item in items[:MOST_ITEMS]:
        options = options_of(item)
        right = next(place for place, text in enumerate(options) if same(text) == same(item.answer))
        tokens = [_TOKEN.findall(text) for text in options]
        points = {
            "medoid": [-sum(Levenshtein.distance(one, other) for other in tokens) for one in tokens],
            "longest": [len(one) for one in tokens],
            "frequent": [answers[same(text)] for text in options],
        }
        if not training:
            points["frequent"][right] -= 1
        for name, values in points.items():
            best = [place for place, value in enumerate(values) if value == max(values)]
            totals[name] += (right in best) / len(best)
    counted = len(items[:MOST_ITEMS])
    return {name: total / counted for name, total in totals.items()} if counted else {}
