"""Which option an answer means: by the row's own labels, else by the one way of answering that fits all rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import neuron_antagonism as na
from neuron_antagonism_plugins._carried import LETTERS
from neuron_antagonism_plugins._cells import LeftOut, Row, as_text, cell, empty, same, whole
from neuron_antagonism_plugins._files import listed, malformed, readable
from neuron_antagonism_plugins._options import Choices, is_marks, loaded

FORMS = ("letter", "index", "number", "text")
CONSTANT = {"first": 0, "last": -1}

_BARE = re.compile(r"[(\[]?([A-Za-z]|[0-9]{1,2})[)\].:]?")  # (A), A., A)
_ONE = "exactly one 1 among zeros, a number for each option"

Readings = Mapping[str, int]
"""The place of the option that an answer means, by the way of reading it."""


class Answer(NamedTuple):
    """An answer as the data states it.

    Args:
        where: row and column, for errors.
        found: its text, marks of all options, or None where none is stated.
        choices: the row's options.
    """

    where: str
    found: str | list[Any] | None
    choices: Choices


def stated(row: Row, column: str | None, choices: Choices, *, marked: bool) -> Answer:
    """The answer that a row states.

    Args:
        row: where it stands.
        column: its column; None = every row's is the same.
        choices: the row's options.
        marked: whether the column is the options' own, which says which are right.

    Raises:
        LeftOut: none, or that there is none: -1.
        DataError: something else than a text, a number or marks.
    """
    if column is None:
        return Answer(row.where, None, choices)
    where = f"{row.where}, column {column!r}"
    value = cell(row, column, "columns.answer")
    marks = choices.marks if marked else loaded(value)
    if marked and marks is None:
        raise malformed(where, value, "options that say which are right, as in {'a text': 1, 'another': 0}")
    if isinstance(marks, list):
        place = marks.index(1) if is_marks(marks) and sum(marks) == 1 else -1
        return _of_an_option(Answer(where, marks, choices), place)
    found = as_text(value)
    if found is None:
        raise malformed(where, value, f"a text or number that isn't empty, or {_ONE}")
    if not found:
        raise empty(row, column, value)
    labelled = _labelled(found, choices)
    known = choices.place(found) >= 0 or labelled >= 0
    if whole(found) == -1 and not known:
        raise LeftOut(str(malformed(where, found, "an answer; -1 says that there is none")), "unlabelled (-1)")
    answer = Answer(where, readable(where, found), choices)
    return _of_an_option(answer, labelled if known or choices.labels else _letter(_bare(found)))


def _of_an_option(answer: Answer, place: int) -> Answer:
    """The answer, unless the option that it surely means is empty; of numbers that may be seen in another row only."""
    texts = answer.choices.texts
    if 0 <= place < len(texts) and not texts[place]:
        raise LeftOut(str(malformed(answer.where, answer.found, "an option that is not empty")), "empty right option")
    return answer


def chosen(answers: Sequence[Answer], form: str | None) -> list[str]:
    """The right option's text of each answer.

    Args:
        answers: those of all rows: what a number counts from is seen in all of them, or not at all.
        form: one of `FORMS`, "first" or "last"; None = found out.

    Raises:
        DataError: an answer without or with several meanings, or rows that answer in different ways; names the row.
    """
    places = [_certain(answer, form) for answer in answers]
    open_ones = [answer for answer, place in zip(answers, places, strict=True) if place is None]
    way = form or _way(open_ones)
    found = []
    for answer, place in zip(answers, places, strict=True):
        found.append(answer.choices.texts[_read(answer, way) if place is None else place])
    return found


def _certain(answer: Answer, form: str | None) -> int | None:
    """The place of an answer that needs no other row to be understood; None = it does."""
    found, choices = answer.found, answer.choices
    if isinstance(found, list):
        place = _marked(answer, found)
        return _constant(answer, form, [place]) if form in CONSTANT else place
    if form in CONSTANT:
        any_of = None if found is None else [_labelled(found, choices), *_readings(found, choices).values()]
        return _constant(answer, form, any_of)
    if found is None or choices.labels is None:
        return None
    place = _labelled(found, choices)
    if form is not None:
        meant = {"own label": place, form: _readings(found, choices).get(form, -1)}
        if form != "text" and min(meant.values()) >= 0 and _differ(meant, choices):
            raise _several(answer, meant, "")
        return None
    if place < 0:
        place = choices.place(found)
    if place < 0:
        own = listed(label for label in choices.labels if label)
        raise malformed(answer.where, found, f"one of the row's own labels ({own}), or the text of an option")
    return place


def _marked(answer: Answer, marks: Sequence[Any]) -> int:
    marks = list(marks)
    if len(marks) != len(answer.choices.texts) or not is_marks(marks) or sum(marks) != 1:
        raise malformed(answer.where, marks, f"{_ONE} ({len(answer.choices.texts)})")
    return marks.index(1)


def _constant(answer: Answer, form: str, meant: Sequence[int] | None) -> int:
    """The first or last option, which a stated answer must not contradict."""
    place = range(len(answer.choices.texts))[CONSTANT[form]]
    if meant is not None and place not in meant:
        raise malformed(answer.where, answer.found, f"the {form} option, as the task file's field answers says")
    return place


def _labelled(found: str, choices: Choices) -> int:
    """The place of the option with this label of the row's own; -1 = none."""
    labels = choices.labels or ()
    for form in (same, _plain_label):
        places = [place for place, label in enumerate(labels) if label and form(label) == form(found)]
        if len(places) == 1:
            return places[0]
    return -1


def _plain_label(label: str) -> str:
    bare = _bare(label)
    number = whole(bare)
    return same(bare).casefold() if number is None else str(number)


def _bare(text: str) -> str:
    found = _BARE.fullmatch(text)
    return found[1] if found else text


def _readings(found: str, choices: Choices) -> Readings:
    """What an answer means in each way of reading it in which it means an option that isn't empty."""
    bare = _bare(found)
    number = whole(bare)
    places = {
        "letter": _letter(bare),
        "index": -1 if number is None else number,
        "number": -1 if number is None else number - 1,
        "text": choices.place(found),
    }
    texts = choices.texts
    return {name: place for name, place in places.items() if 0 <= place < len(texts) and texts[place]}


def _letter(bare: str) -> int:
    return LETTERS.find(bare.upper()) if len(bare) == 1 and bare.isascii() and bare.isalpha() else -1


def _way(answers: Sequence[Answer]) -> str:
    """The way of reading that fits all answers.

    A 0 rules out counting from 1, the number of a row's options rules out counting from 0; where neither is there,
    nothing tells them apart.

    Raises:
        DataError: none fits all, or several that differ.
    """
    readings = [_readings(str(answer.found), answer.choices) for answer in answers]
    shared = [form for form in FORMS if all(form in found for found in readings)]
    for answer, found in zip(answers, readings, strict=True):
        if not found:
            raise malformed(answer.where, answer.found, f"{_accepted(answer, FORMS)} that is not empty")
        meant = {form: found[form] for form in shared}
        if _differ(meant, answer.choices):
            ways = " or ".join(f"answers: {form}" for form in shared)
            raise _several(answer, meant, f": state {ways} in the task file, as no row tells")
    if not shared:
        raise _mixed(answers, readings)
    return shared[0]


def _mixed(answers: Sequence[Answer], readings: Sequence[Readings]) -> na.DataError:
    """The error for a file that answers in several ways: names two rows."""
    common = Counter(form for found in readings for form in found).most_common(1)[0][0]
    odd = next(place for place, found in enumerate(readings) if common not in found)
    others = [place for place, found in enumerate(readings) if common in found]
    other = next((place for place in others if not set(readings[place]) & set(readings[odd])), others[0])
    return na.DataError(
        f"{answers[odd].where}: found {answers[odd].found!r:.40}, but {answers[other].where} has "
        f"{answers[other].found!r:.40}; accepted: one way of answering in all rows (letters, indices, numbers or "
        "texts), or columns.labels, the column of each row's own labels"
    )


def _read(answer: Answer, way: str) -> int:
    place = _readings(str(answer.found), answer.choices).get(way)
    if place is None:
        raise malformed(answer.where, answer.found, f"{_accepted(answer, [way])} that is not empty")
    return place


def _differ(meant: Readings, choices: Choices) -> bool:
    return len({same(choices.texts[place]) for place in meant.values()}) > 1


def _several(answer: Answer, meant: Readings, more: str) -> na.DataError:
    said = " and ".join(f"as {name} {answer.choices.texts[place]!r:.40}" for name, place in meant.items())
    return na.DataError(f"{answer.where}: found {answer.found!r:.40}; accepted: one meaning, but this is {said}{more}")


def _accepted(answer: Answer, forms: Sequence[str]) -> str:
    count = len(answer.choices.texts)
    ranges = {
        "letter": f"a letter A to {LETTERS[:count][-1:]}",
        "index": f"an index 0 to {count - 1}",
        "number": f"a number 1 to {count}",
        "text": "the text of an option",
    }
    return ", ".join(ranges[form] for form in forms)
