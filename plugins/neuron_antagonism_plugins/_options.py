"""The options of a row in every layout that data sets write them in, with the labels that belong to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from neuron_antagonism_plugins._carried import without_letters
from neuron_antagonism_plugins._cells import Row, as_text, cell, distinct, empty, same
from neuron_antagonism_plugins._files import listed, malformed, readable

LABEL_NAMES = ("label", "labels", "key", "keys", "letter", "letters", "id", "ids")
"""Names of an option's label, or of the list of all of them, first ones first."""
TEXT_NAMES = ("text", "texts", "choice", "choices", "option", "options", "content", "value", "answer")
"""Names of an option's text likewise; an `option` beside a `text` is a label."""

_TEXTS = 'a list of texts (in CSV and TSV as JSON, such as ["a", "b", "c"])'
_LAYOUTS = f"{_TEXTS}, a list of objects of label and text, or an object of texts by label"


@dataclass(frozen=True)
class Choices:
    """The options of one row.

    Args:
        texts: in order; "" where a cell is empty.
        labels: the row's own labels of them; None = it has none.
        marks: one number or truth value an option, where the options' column says which are right as well.
        written: the texts with the letters that the data writes before them, where it does.
    """

    texts: Sequence[str]
    labels: Sequence[str] | None = None
    marks: list[Any] | None = None
    written: Sequence[str] = ()

    def place(self, text: str) -> int:
        """Which option has this text, with or without the letter that it carries; -1 = none."""
        for texts in (self.texts, self.written):
            found = [same(one) for one in texts]
            if text and same(text) in found:
                return found.index(same(text))
        return -1


def choices(row: Row, columns: Sequence[str], labels: str | None, *, marked: bool, strict: bool) -> Choices:
    """The options of a row.

    Args:
        row: where they are.
        columns: several columns, an option each, or the one that holds them all.
        labels: the column of their labels; None = looked for beside them.
        marked: whether the options' column says which are right as well, as in `{"a text": 1, "another": 0}`.
        strict: whether a list of labels beside the options must fit them, because nothing else tells the answer.

    Raises:
        LeftOut: there are none.
        DataError: another layout, or labels that don't fit; names the row and what is accepted.
    """
    if len(columns) > 1:
        where = f"{row.where}, columns.options"
        found = Choices(_texts(where, [cell(row, column, "columns.options") for column in columns]))
    else:
        where = f"{row.where}, column {columns[0]!r}"
        found = _in_one(row, columns[0], where, marked=marked, strict=strict)
    if not any(found.texts):
        raise empty(row, ", ".join(columns), list(found.texts), "texts or numbers that aren't empty")
    if labels is not None:
        given = loaded(cell(row, labels, "columns.labels"))
        if as_text(given) == "" or given == []:
            raise empty(row, labels, given, "a list of the options' labels")
        found = replace(found, labels=_labels(f"{row.where}, column {labels!r}", given, found.texts))
    bare, numbers = without_letters(where, found.texts, found.labels)
    if bare is None:
        return found
    # of letters the place is the meaning; a number is the option's own label, never an index
    return Choices(bare, found.labels or numbers, found.marks, found.texts)


def wrong_answers(row: Row, columns: Sequence[str]) -> list[str]:
    """The texts of columns of wrong answers, or of the one that holds a list of them; "" for an empty one."""
    if len(columns) > 1:
        return _texts(f"{row.where}, columns.distractors", [cell(row, name, "columns.distractors") for name in columns])
    where = f"{row.where}, column {columns[0]!r}"
    value = loaded(cell(row, columns[0], "columns.distractors"))
    if as_text(value) == "" or value == []:
        raise empty(row, columns[0], value, _TEXTS)
    if not isinstance(value, list):
        raise malformed(where, value, _TEXTS)
    return _texts(where, value)


def loaded(value: Any) -> Any:
    """A cell's value; the list or object that a text of a CSV or TSV file writes as JSON."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def is_marks(values: Any) -> bool:
    """Whether values are zeros and ones or truth values, so that each says whether its option is right."""
    # 0 == 0.0 == False in Python
    numbers = isinstance(values, list) and all(isinstance(value, bool | int | float) for value in values)
    return numbers and bool(values) and all(value in (0, 1) for value in values)


def _in_one(row: Row, column: str, where: str, *, marked: bool, strict: bool) -> Choices:
    value = loaded(cell(row, column, "columns.options"))
    if as_text(value) == "" or value in ([], {}):
        raise empty(row, column, value, _LAYOUTS)
    if isinstance(value, dict):
        return _of_object(where, value, marked=marked, strict=strict)
    if not isinstance(value, list):
        raise malformed(where, value, _LAYOUTS)
    if any(isinstance(one, dict) for one in value):
        return _of_objects(where, value, marked=marked)
    found = Choices(_texts(where, value))
    beside, _, name = column.rpartition(".")
    around = cell(row, beside, "columns.options") if beside and column not in row.values else None
    return _with_lists(where, found, around, name, strict=strict) if isinstance(around, dict) else found


def _with_lists(where: str, found: Choices, around: Mapping[str, Any], name: str, *, strict: bool) -> Choices:
    """Options with the labels (as in ARC) or marks (as in TruthfulQA) that their object holds as well."""
    beside = {label: loaded(around.get(label)) for label in LABEL_NAMES if label != name}
    for label, value in beside.items():
        if is_marks(value) and len(value) == len(found.texts):
            found = replace(found, marks=value)
        elif isinstance(value, list) and (strict or len(value) == len(found.texts)):
            return replace(found, labels=_labels(f"{where}, its {label!r}", value, found.texts))
    return found


def _of_object(where: str, value: Mapping[str, Any], *, marked: bool, strict: bool) -> Choices:
    lists = {name: one for name, one in value.items() if isinstance(one, list)}
    if lists:
        name = next((name for name in TEXT_NAMES if name in lists), "")
        if not name:
            raise malformed(where, value, f"{_LAYOUTS}, or an object of lists, that of the texts named text or choices")
        return _with_lists(where, Choices(_texts(where, lists[name])), value, name, strict=strict)
    filled = {label: one for label, one in value.items() if as_text(one) != ""}
    names, values = list(filled), list(filled.values())
    if marked:
        return Choices(_texts(where, names), marks=values)
    if is_marks(values) and any(len(name.strip()) > 2 for name in names):
        # {"a text": 1, "another": 0}: the texts are the names
        raise malformed(where, value, f"{_LAYOUTS}; if it says which are right: columns.answer is that column too")
    return Choices(_texts(where, values), _labels(where, names, names))


def _of_objects(where: str, value: Sequence[Any], *, marked: bool) -> Choices:
    layouts = {tuple(sorted(one)) if isinstance(one, dict) else () for one in value}
    there = {name: [one[name] for one in value] for name in layouts.pop()} if len(layouts) == 1 else {}
    marks = [name for name in there if marked and is_marks(there[name])]
    label = next((name for name in (*LABEL_NAMES, "option") if name in there and name not in marks), "")
    text = next((name for name in TEXT_NAMES if name in there and name not in (label, *marks)), "")
    if not text and label == "option":
        label, text = "", "option"
    if not text:
        accepted = f"objects of the same fields: the text in {listed(TEXT_NAMES)}, the label in {listed(LABEL_NAMES)}"
        raise malformed(where, value, accepted)
    texts = _texts(where, there[text])
    labels = _labels(where, there[label], texts) if label else None
    return Choices(texts, labels, there[marks[0]] if len(marks) == 1 else None)


def _texts(where: str, values: Sequence[Any]) -> list[str]:
    found = [as_text(value) for value in values]
    for value, one in zip(values, found, strict=True):
        if one is None:
            raise malformed(where, value, "texts or numbers as options")
    return [readable(where, one or "") for one in found]


def _labels(where: str, values: Any, texts: Sequence[str]) -> list[str]:
    accepted = f"a list of as many different labels as there are options: {len(texts)}"
    if not isinstance(values, list) or len(values) != len(texts):
        raise malformed(where, values, accepted)
    found = [as_text(value) for value in values]
    kept = [label for label, text in zip(found, texts, strict=True) if text]
    if None in found or "" in kept or len(distinct(label or "" for label in kept)) != len(kept):
        raise malformed(where, values, accepted)
    return [readable(where, label or "") for label in found]
