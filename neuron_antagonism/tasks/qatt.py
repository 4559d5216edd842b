"""QATT: an item becomes an example of three proxy questions (NeuronLLM §3.3)."""

from __future__ import annotations

import math
import random
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from neuron_antagonism.errors import DataError
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.types import (
    ALPHABET,
    LEAST_OPTIONS,
    MOST_OPTIONS,
    N_OPTIONS,
    Example,
    Item,
    Question,
    same,
    whole,
)

N_PROXIES = 3
CUE = "Answer:"

Distractors = Callable[[Item, random.Random], Sequence[str]]


def build_examples(
    items: Iterable[Item],
    *,
    role: str,
    rule: str,
    stems: Sequence[str],
    demonstration: Item | None = None,
    seed: int = 0,
    distractors: Distractors | None = None,
    letters: Sequence[str] = (),
    n_options: int = N_OPTIONS,
) -> list[Example]:
    """Turn items into examples of three proxy questions each.

    The option texts are drawn once per example. The right option takes three different letters in the three proxies
    (of two letters one of them twice); which these are cycles over `items`, so that each is right equally often.

    Args:
        items: what to ask about, each with distractors enough.
        role, rule: the first two lines of every prompt.
        stems: three templates with `{text}` and the items' meta keys; a single one serves three times.
        demonstration: the item of the one-shot demonstration, asked with the first stem; None = no demonstration.
        seed: the same seed gives byte-identical questions.
        distractors: wrong answers for an item, one less than there are options; default: drawn from its own.
        letters: what the model answers with; () = A, B, C, …
        n_options: options of a question, 2 to 10.

    Raises:
        DataError: an item with fewer distinct options, or a stem with an unknown field.
    """
    n_options = checked_options(n_options)
    letters = tuple(letters) or ALPHABET[:n_options]
    if len(letters) != n_options:
        raise DataError(f"{len(letters)} letters were given; accepted: {n_options}, one for each option")
    draw = distractors or _drawing(n_options)
    stems = _three(stems)
    head = f"{role}\n{rule}\n\n".lstrip("\n")
    if demonstration is not None:
        rng = random.Random(f"{seed}|demonstration|{demonstration.key!r}")
        options = draw_options(demonstration, rng, draw, n_options)
        rng.shuffle(options)
        body = _ask(stems[0], demonstration, options, letters)
        head += f"{body} {letters[options.index(demonstration.answer)]}\n\n"
    return [
        _example(item, number, head=head, stems=stems, seed=seed, draw=draw, letters=letters)
        for number, item in enumerate(items)
    ]


def draw_options(item: Item, rng: random.Random, draw: Distractors, n_options: int = N_OPTIONS) -> list[str]:
    """The right answer and distinct wrong ones, as many as a question shows.

    Raises:
        DataError: there are too few.
    """
    # a counterfactual's answer is always among them
    other = item.counterfactual
    wrong = {} if other is None else {same(other.answer): other.answer}
    for text in draw(item, rng):
        if same(text) != same(item.answer):
            wrong.setdefault(same(text), text)
    if len(wrong) < n_options - 1:
        raise DataError(
            f"the item {item.text[:60]!r} has {len(wrong) + 1} distinct options; accepted: at least {n_options}"
        )
    return [item.answer, *list(wrong.values())[: n_options - 1]]


def checked_options(n_options: object) -> int:
    """A number of options that a question can have.

    Raises:
        DataError: none from 2 to 10.
    """
    found = whole(n_options)
    if found is None or not LEAST_OPTIONS <= found <= MOST_OPTIONS:
        raise DataError(f"n_options is {n_options!r}; accepted: a whole number from {LEAST_OPTIONS} to {MOST_OPTIONS}")
    return found


def letter_pattern(example: Example) -> tuple[int, ...]:
    """How often each letter is the right one in an example's proxies; ordered by which are left out."""
    counts = Counter(question.answer for question in example.proxies)
    return tuple(counts[place] for place in range(len(example.proxies[0].letters)))


def n_patterns(n_options: int) -> int:
    """How many patterns of right letters examples of so many options cycle through."""
    return n_options // math.gcd(N_PROXIES, n_options)


def right_places(number: int, n_options: int) -> list[int]:
    """Where the right option stands in the three proxies of the example of that number."""
    if n_options == N_OPTIONS:
        # by the letter that is left out
        return [place for place in range(n_options) if place != number % n_options]
    return [(N_PROXIES * number + proxy) % n_options for proxy in range(N_PROXIES)]


def _drawing(n_options: int) -> Distractors:
    task = Task()
    task.n_options = n_options
    return task.distractors


def check_stems(stems: Sequence[str], item: Item) -> None:
    """Raise DataError unless every stem's fields are plain names that `item` provides."""
    accepted = {"text", *item.meta}
    for stem in stems:
        for _, name, spec, conversion in string.Formatter().parse(stem):
            if name is not None and (name not in accepted or spec or conversion):
                shown = ", ".join(sorted("{" + known + "}" for known in accepted))
                raise DataError(f"the stem {stem!r} has the field {{{name}}}; accepted: {shown}, plain names only")


def _three(stems: Sequence[str]) -> tuple[str, ...]:
    if len(stems) == 1:
        return tuple(stems) * N_PROXIES
    if len(stems) != N_PROXIES:
        raise DataError(f"{len(stems)} stems were given; accepted: {N_PROXIES}, or one that serves {N_PROXIES} times")
    return tuple(stems)


def _example(
    item: Item,
    number: int,
    *,
    head: str,
    stems: Sequence[str],
    seed: int,
    draw: Distractors,
    letters: Sequence[str],
) -> Example:
    rng = random.Random(f"{seed}|{item.key!r}")
    options = draw_options(item, rng, draw, len(letters))
    places = right_places(number, len(letters))
    rng.shuffle(places)
    proxies = []
    for stem, place in zip(stems, places, strict=True):
        shuffled = options[1:]
        rng.shuffle(shuffled)
        shuffled.insert(place, item.answer)
        asked = Question(head + _ask(stem, item, shuffled, letters), tuple(shuffled), place, tuple(letters))
        if item.counterfactual is not None:
            other = head + _ask(stem, item.counterfactual, shuffled, letters)
            at = shuffled.index(item.counterfactual.answer)
            asked = replace(asked, own_counterfactual=Question(other, tuple(shuffled), at, tuple(letters)))
        proxies.append(asked)
    return Example(item, tuple(proxies))


def _ask(stem: str, item: Item, options: Sequence[str], letters: Sequence[str]) -> str:
    check_stems([stem], item)
    lines = [f"{letter}. {text}" for letter, text in zip(letters, options, strict=True)]
    return "\n".join([stem.format(text=item.text, **item.meta), *lines, CUE])
