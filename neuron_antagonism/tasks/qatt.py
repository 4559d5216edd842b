"""QATT: an item becomes an example of three proxy questions (NeuronLLM §3.3)."""

from __future__ import annotations

import math
import random
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

from neuron_antagonism.errors import DataError, unknown
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.types import (
    ALPHABET,
    FORMS,
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

TRIES = 50
"""Random orders of the items that a prompt shows, of which one that differs from the others' is taken."""

Distractors = Callable[[Item, random.Random], Sequence[str]]
Asking = Callable[[Sequence[Item]], list[Example]]


def build_examples(
    items: Iterable[Item],
    *,
    role: str = "",
    rule: str = "",
    stems: Sequence[str],
    demonstration: Item | None = None,
    seed: int = 0,
    distractors: Distractors | None = None,
    letters: Sequence[str] = (),
    n_options: int = N_OPTIONS,
    form: str = "letters",
    shots: Sequence[Item] = (),
) -> list[Example]:
    """Turn items into examples of three proxy questions each.

    The option texts are drawn once per example. The right option takes three different letters in the three proxies
    (of two letters one of them twice); which these are cycles over `items`, so that each is right equally often. In
    words it takes such places among the options, which no prompt shows.

    Args:
        items: what to ask about, each with distractors enough.
        role, rule: the first two lines of every prompt; an empty one is left out.
        stems: three templates with `{text}` and the items' meta keys; a single one serves three times. In words each
            ends where the answer begins, such as "Review: {text}\\nSentiment:".
        demonstration: the item of the one-shot demonstration, asked with the first stem; None = no demonstration.
        seed: the same seed gives byte-identical questions.
        distractors: wrong answers for an item, one less than there are options; default: drawn from its own.
        letters: what the model answers with; () = A, B, C, …
        n_options: options of a question, 2 to 10; in words 2 or more.
        form: "letters", or "words": the prompts list no options, and the model answers with one.
        shots: in words, items shown answered at the head of every prompt, in another order for each proxy.

    Raises:
        DataError: an item with fewer distinct options, a stem with an unknown field, or what the form does not take.
    """
    if form not in FORMS:
        raise DataError(unknown("form", form, FORMS))
    n_options, letters = checked_options(n_options, form), tuple(letters)
    if form == "words" and (demonstration is not None or letters):
        raise DataError("questions in words were given letters or a demonstration; accepted: shots, or form 'letters'")
    if form == "letters" and shots:
        raise DataError("questions by letters were given shots; accepted: a demonstration, or form 'words'")
    if letters and len(letters) != n_options:
        raise DataError(f"{len(letters)} letters were given; accepted: {n_options}, one for each option")
    draw = distractors or _drawing(n_options)
    stems = _three(stems)
    head = "".join(f"{line}\n" for line in (role, rule) if line)
    head += "\n" * bool(head)
    if form == "words":
        heads = [head + shown for shown in _answered(shots, stems, seed)]
    else:
        letters = letters or ALPHABET[:n_options]
        heads = [head + _demonstrated(demonstration, stems[0], seed, draw, letters)] * N_PROXIES
    return [
        _example(item, number, heads=heads, stems=stems, seed=seed, draw=draw, n_options=n_options, letters=letters)
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


def checked_options(n_options: object, form: str = "letters") -> int:
    """A number of options that a question of a form can have.

    Raises:
        DataError: none from 2, or by letters more than 10.
    """
    found = whole(n_options)
    to = "" if form == "words" else f" to {MOST_OPTIONS}"
    if found is None or found < LEAST_OPTIONS or (to and found > MOST_OPTIONS):
        raise DataError(f"n_options is {n_options!r}; accepted: a whole number from {LEAST_OPTIONS}{to}")
    return found


def letter_pattern(example: Example) -> tuple[int, ...]:
    """How often each letter, in words each place, is right in an example's proxies; ordered by which are left out."""
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


def _demonstrated(item: Item | None, stem: str, seed: int, draw: Distractors, letters: Sequence[str]) -> str:
    """An answered question; "" without an item."""
    if item is None:
        return ""
    rng = random.Random(f"{seed}|demonstration|{item.key!r}")
    options = draw_options(item, rng, draw, len(letters))
    rng.shuffle(options)
    return f"{_ask(stem, item, options, letters)} {letters[options.index(item.answer)]}\n\n"


def _answered(shots: Sequence[Item], stems: Sequence[str], seed: int) -> list[str]:
    """The shown items with their answers: worded by each stem, in an order of its own.

    What a small model answers hangs on the order: so answers take turns, and if possible each order ends with another.
    """
    rng = random.Random(f"{seed}|shots")
    orders: list[list[Item]] = []
    for _ in stems:
        tried = [_in_turn(shots, rng) for _ in range(TRIES)]
        new = [order for order in tried if order not in orders] or tried
        ends = {order[-1].answer for order in orders if order}
        orders.append(next((order for order in new if order and order[-1].answer not in ends), new[0]))
    return [
        "".join(f"{_ask(stem, item)} {item.answer}\n\n" for item in order)
        for stem, order in zip(stems, orders, strict=True)
    ]


def _in_turn(shots: Sequence[Item], rng: random.Random) -> list[Item]:
    """Items in rounds, each answer at most once a round; at random beside that."""
    by_answer: dict[str, list[Item]] = {}
    for item in rng.sample(list(shots), len(shots)):
        by_answer.setdefault(item.answer, []).append(item)
    rounds = [[item for item in each if item is not None] for each in zip_longest(*by_answer.values())]
    return [item for each in rounds for item in rng.sample(each, len(each))]


def _example(
    item: Item,
    number: int,
    *,
    heads: Sequence[str],
    stems: Sequence[str],
    seed: int,
    draw: Distractors,
    n_options: int,
    letters: Sequence[str],
) -> Example:
    """Three proxies; without letters in words."""
    rng = random.Random(f"{seed}|{item.key!r}")
    options = draw_options(item, rng, draw, n_options)
    places = right_places(number, n_options)
    rng.shuffle(places)
    form = "letters" if letters else "words"
    proxies = []
    for head, stem, place in zip(heads, stems, places, strict=True):
        shuffled = options[1:]
        rng.shuffle(shuffled)
        shuffled.insert(place, item.answer)
        texts = tuple(shuffled)
        asked = Question(head + _ask(stem, item, texts, letters), texts, place, tuple(letters), form=form)
        if item.counterfactual is not None:
            other = head + _ask(stem, item.counterfactual, texts, letters)
            at = texts.index(item.counterfactual.answer)
            asked = replace(asked, own_counterfactual=Question(other, texts, at, tuple(letters), form=form))
        proxies.append(asked)
    return Example(item, tuple(proxies))


def _ask(stem: str, item: Item, options: Sequence[str] = (), letters: Sequence[str] = ()) -> str:
    """An item asked; without letters in words, which the stem leads up to."""
    check_stems([stem], item)
    text = stem.format(text=item.text, **item.meta)
    if not letters:
        return text
    return "\n".join([text, *(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True)), CUE])
