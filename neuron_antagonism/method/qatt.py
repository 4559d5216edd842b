"""QATT: an item becomes an example of three proxy questions (NeuronLLM §3.3)."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterable, Sequence

from neuron_antagonism.errors import DataError
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.types import LETTERS, N_OPTIONS, Example, Item, Question

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
    letters: Sequence[str] = LETTERS,
) -> list[Example]:
    """Turn items into examples of three proxy questions each.

    The four option texts are drawn once per example. The right option takes three different letters in the three
    proxies; the letter that is left out cycles over `items`, so that each is right equally often.

    Args:
        items: what to ask about, each with at least three distractors.
        role, rule: the first two lines of every prompt.
        stems: three templates with `{text}` and the items' meta keys; a single one serves three times.
        demonstration: the item of the one-shot demonstration, asked with the first stem; None = no demonstration.
        seed: the same seed gives byte-identical questions.
        distractors: three wrong answers for an item; default: drawn from its own.
        letters: what the model answers with.

    Raises:
        DataError: an item with fewer than four distinct options, or a stem with an unknown field.
    """
    draw = distractors or Task().distractors
    stems = _three(stems)
    head = f"{role}\n{rule}\n\n".lstrip("\n")
    if demonstration is not None:
        rng = random.Random(f"{seed}|demonstration|{demonstration.key!r}")
        options = draw_options(demonstration, rng, draw)
        rng.shuffle(options)
        body = _ask(stems[0], demonstration, options, letters)
        head += f"{body} {letters[options.index(demonstration.answer)]}\n\n"
    return [
        _example(item, number, head=head, stems=stems, seed=seed, draw=draw, letters=letters)
        for number, item in enumerate(items)
    ]


def draw_options(item: Item, rng: random.Random, draw: Distractors) -> list[str]:
    """The right answer and three distinct wrong ones.

    Raises:
        DataError: there are not three.
    """
    wrong = [text for text in dict.fromkeys(draw(item, rng)) if text != item.answer]
    if len(wrong) < N_OPTIONS - 1:
        raise DataError(
            f"the item {item.text[:60]!r} has {len(wrong) + 1} distinct options; accepted: at least {N_OPTIONS}"
        )
    return [item.answer, *wrong[: N_OPTIONS - 1]]


def omitted_letter(example: Example) -> int:
    """Index of the letter that is never right in an example of three proxies."""
    return next(i for i in range(N_OPTIONS) if i not in {q.answer for q in example.proxies})


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
    options = draw_options(item, rng, draw)
    places = [place for place in range(N_OPTIONS) if place != number % N_OPTIONS]
    rng.shuffle(places)
    proxies = []
    for stem, place in zip(stems, places, strict=True):
        shuffled = options[1:]
        rng.shuffle(shuffled)
        shuffled.insert(place, item.answer)
        prompt = head + _ask(stem, item, shuffled, letters)
        proxies.append(Question(prompt, tuple(shuffled), place, tuple(letters)))
    return Example(item, tuple(proxies))


def _ask(stem: str, item: Item, options: Sequence[str], letters: Sequence[str]) -> str:
    check_stems([stem], item)
    lines = [f"{letter}. {text}" for letter, text in zip(letters, options, strict=True)]
    return "\n".join([stem.format(text=item.text, **item.meta), *lines, CUE])
