"""The schema of task files, and what its fields must satisfy together."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

import neuron_antagonism as na
from neuron_antagonism_plugins._cells import distinct
from neuron_antagonism_plugins._files import listed, malformed
from neuron_antagonism_plugins._tables import SEPARATED, is_separated

N_OPTIONS = 4
"""Options of a question where the data offers as many."""
LEAST, MOST = 2, 10

Where = Callable[..., str]
"""How an error names a field: file, line where it is known, and the field's path."""


def _one(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _by_value(value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        return value
    # a list that repeats stays one, and is refused
    return {label: label for label in value} if len(set(value)) == len(value) else value


def _test_alone(value: Any) -> Any:
    return {"test": value} if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_one)]


class Data(na.Options):
    """Where the rows are."""

    test: Text = Field(description="a file (relative to the task file) or hub:dataset-id")
    train: Text | None = Field(
        default=None,
        description="a file or hub:dataset-id for identification, selection and demonstration; unset: from test",
    )
    split: Text | None = Field(
        default=None, description="the Hub split that is the test part; unset: test, validation or dev"
    )


class Columns(na.Options):
    """Which column holds what; a dot reaches into an object, as in `choices.text`."""

    text: Text | None = Field(
        default=None,
        description="the column of the text or question; unset, with options and stems without {text}: the options "
        "are all there is",
    )
    answer: Text | None = Field(
        default=None,
        description="the column of the answer: its text, a key of labels, or with options a label, letter, index or "
        "text, or a 1 among zeros; unset with answers: first or last",
    )
    distractors: Texts = Field(
        default=(), description="two or more columns of wrong answers, or one that holds a list of them"
    )
    options: Texts = Field(
        default=(),
        description="two or more columns of options, in order, or one that holds a list of texts, a list of objects "
        "of label and text, or an object of texts by label",
    )
    labels: Text | None = Field(
        default=None,
        description="the column of the list of the options' own labels, with options; unset: found where it stands "
        "beside the options in an object",
    )
    meta: dict[str, Text] = Field(
        default_factory=dict, description="further columns by the plain names that the stems use"
    )


class Demonstration(na.Options):
    """The answered question at the head of every prompt."""

    text: Text | None = Field(default=None, description="its text; unset without columns.text")
    answer: Text = Field(description="its right answer; with labels one of them")
    distractors: Texts = Field(default=(), description="its wrong answers; with labels: unset, the others")
    meta: dict[str, Text] = Field(default_factory=dict, description="a text for each name in columns.meta")


class Spec(na.Options):
    """What a task file states."""

    name: Text | None = Field(default=None, description="the task's name; unset: the file's, without its ending")
    data: Annotated[Data, BeforeValidator(_test_alone)] = Field(
        description="a file or hub:dataset-id, or test, train and split"
    )
    format: Literal["csv", "tsv", "jsonl", "json", "parquet"] | None = Field(
        default=None, description="csv, tsv, jsonl, json or parquet; unset: by the file's ending"
    )
    header: Texts = Field(
        default=(), description="the column names of a CSV or TSV file that has no line of them, in order"
    )
    delimiter: Annotated[str, Field(pattern=r'^[^"\r\n\x00]$')] | None = Field(
        default=None,
        description="the one character, no quote, between the cells of a CSV or TSV file; unset: a comma or a tab",
    )
    columns: Columns = Field(description="text, answer, and distractors or options; meta")
    labels: Annotated[dict[str, Text], BeforeValidator(_by_value)] = Field(
        default_factory=dict,
        description="a list of different label texts, or the label's text for each value of columns.answer",
    )
    fillers: Texts = Field(default=(), description="labels that are never right, for more options than labels")
    answers: Literal["letter", "index", "number", "text", "first", "last"] | None = Field(
        default=None,
        description="letter (from A), index (from 0), number (from 1), text, or first or last (of the options), with "
        "columns.options; unset: the options' own labels, else the one way that fits all rows",
    )
    n_options: int | None = Field(
        default=None,
        ge=LEAST,
        le=MOST,
        description="options of a question, 2 to 10, at most the labels or columns; unset: four, or as many as the "
        "labels or the rows offer",
    )
    unit: Text | None = Field(
        default=None,
        description="the name in columns.meta whose value rows have in common that belong into one set, such as a "
        "passage; unset: the text",
    )
    role: Text = Field(default="You answer multiple-choice questions.", description="the first line of every prompt")
    rule: Text | None = Field(
        default=None, description="the second line; unset: Reply with one letter only: A, B, C or D."
    )
    stems: Texts = Field(
        default=("Question: {text}", "Read the question: {text}\nWhich answer is right?", "{text}\nChoose an answer."),
        description="three templates with {text} and the names in columns.meta, or one that serves three times; "
        "needed with labels",
    )
    demonstration: Demonstration | None = Field(
        default=None, description="text, answer, distractors, meta; unset: one more example, used nowhere else"
    )
    forms: Annotated[tuple[Literal["letters", "words"], ...], Field(min_length=1), BeforeValidator(_one)] = Field(
        default=("letters", "words"), description="letters, words or both: how questions can be answered"
    )
    words_stems: Texts = Field(
        default=(),
        description="in words: three templates as stems, or one, that end where the answer begins; unset: the stems, "
        "each with Answer: on a line of its own after it",
    )
    words_role: str = Field(default="", description="in words: what stands before the answered examples")
    words_options: Texts = Field(default=(), description="in words: the labels that are asked for; unset: all")
    words_shots: int = Field(
        default=4, ge=0, description="in words: answered examples of each label, or in all without labels, from 0"
    )


def check(spec: Spec, where: Where) -> None:
    """Check what concerns several fields together.

    Raises:
        DataError: names the field.
    """
    _check_table(spec, where)
    columns = spec.columns
    if columns.text is None and not (columns.options and "stems" in spec.model_fields_set):
        raise _missing(where, "columns", "text")
    if columns.answer is None and spec.answers not in ("first", "last"):
        raise _missing(where, "columns", "answer")
    given = [
        name
        for name, value in (
            ("columns.distractors", columns.distractors),
            ("columns.options", columns.options),
            ("labels", spec.labels),
        )
        if value
    ]
    if len(given) != 1:
        accepted = "one of columns.distractors, columns.options, and labels (the classes, where answers are classes)"
        raise malformed(where("columns"), " and ".join(given) or "no wrong answers", accepted)
    used = [name for name in (columns.text, columns.answer, columns.labels) if name is not None]
    used += [*columns.distractors, *columns.options]
    if marked(spec):
        used.remove(columns.options[0])
    twice = sorted({name for name in used if used.count(name) > 1})
    if twice:
        raise malformed(where("columns"), f"{twice[0]} twice", "a different column for each")
    for name in columns.meta:
        if not name.isidentifier() or name == "text":
            raise malformed(where("columns", "meta", name), name, "a plain name other than text")
    if spec.unit is not None and spec.unit not in spec.columns.meta:
        names = f"a name in columns.meta: {listed(spec.columns.meta) or 'none'}"
        raise malformed(where("unit"), spec.unit, names)
    _check_answers(spec, where)
    _check_labels(spec, where)
    most = most_options(spec)
    if spec.n_options and most and spec.n_options > most:
        raise malformed(where("n_options"), spec.n_options, f"at most as many as there are: {most}")
    if "stems" not in spec.model_fields_set and spec.labels:
        raise _missing(where, "stems")
    _check_stems(spec, "stems", spec.stems, where)
    if spec.words_stems:
        _check_stems(spec, "words_stems", spec.words_stems, where)
    if spec.demonstration is not None:
        _check_demonstration(spec, spec.demonstration, where)


def marked(spec: Spec) -> bool:
    """Whether the options' one column says which of them are right as well."""
    return len(spec.columns.options) == 1 and spec.columns.options[0] == spec.columns.answer


def most_options(spec: Spec) -> int | None:
    """How many options a question can have by the task file alone; None = as many as a row's list holds."""
    columns = spec.columns
    if spec.labels:
        return len(label_set(spec))
    if len(columns.distractors) > 1:
        return len(columns.distractors) + 1
    return len(columns.options) if len(columns.options) > 1 else None


def label_set(spec: Spec) -> tuple[str, ...]:
    """The different labels, fillers last."""
    return tuple(distinct((*spec.labels.values(), *spec.fillers)))


def _check_answers(spec: Spec, where: Where) -> None:
    columns = spec.columns
    for name, value in (("answers", spec.answers), ("columns.labels", columns.labels)):
        if value and not columns.options:
            raise malformed(where(*name.split(".")), value, f"{name} only together with columns.options")
    if spec.answers and columns.labels:
        raise malformed(where("answers"), spec.answers, "answers or columns.labels: the labels say what is meant")


def _check_table(spec: Spec, where: Where) -> None:
    twice = sorted({name for name in spec.header if spec.header.count(name) > 1})
    if twice:
        raise malformed(where("header"), f"{twice[0]} twice", "a different name for each column")
    for name, value in (("header", spec.header), ("delimiter", spec.delimiter)):
        for source in (spec.data.test, spec.data.train):
            if value and source and not is_separated(source, spec.format):
                raise malformed(where(name), f"data in {source}", f"{name} only with {SEPARATED}")


def _check_labels(spec: Spec, where: Where) -> None:
    if not spec.labels:
        if spec.fillers:
            raise malformed(where("fillers"), list(spec.fillers), "fillers only together with labels")
        if spec.words_options:
            raise malformed(where("words_options"), list(spec.words_options), "words_options only with labels")
        return
    if len(label_set(spec)) < LEAST:
        least = f"at least {LEAST} different labels, fillers among them"
        raise malformed(where("labels"), list(label_set(spec)), least)
    asked = distinct(spec.words_options)
    if asked and (len(asked) < LEAST or not set(asked) <= set(spec.labels.values())):
        least = f"at least {LEAST} of the labels: {listed(spec.labels.values())}"
        raise malformed(where("words_options"), list(spec.words_options), least)
    right = set(spec.labels.values()) & set(spec.fillers)
    if right:
        raise malformed(where("fillers"), sorted(right)[0], "texts that are no label of columns.answer")


def _check_stems(spec: Spec, field: str, stems: Sequence[str], where: Where) -> None:
    if len(stems) not in (1, 3):
        raise malformed(where(field), f"{len(stems)} stems", "three, or one that serves three times")
    names = ("text", *spec.columns.meta) if spec.columns.text else tuple(spec.columns.meta)
    fields = [*("{" + name + "}" for name in names), "plain names only", "{{ and }} for braces"]
    usable = ", ".join(fields if names else ["no names without columns.text and columns.meta", fields[-1]])
    for number, stem in enumerate(stems):
        try:
            found = [field for field in string.Formatter().parse(stem) if field[1] is not None]
        except ValueError:
            raise malformed(where(field, number), stem, usable) from None
        for _, name, form, conversion in found:
            if name not in names or form or conversion:
                shown = stem if name in names else "{" + str(name) + "}"
                raise malformed(where(field, number), shown, usable)
        if spec.columns.text and "text" not in {name for _, name, _, _ in found}:
            raise malformed(where(field, number), stem, "a stem that holds {text}")


def _check_demonstration(spec: Spec, shown: Demonstration, where: Where) -> None:
    if spec.labels and shown.answer not in spec.labels.values():
        raise malformed(where("demonstration", "answer"), shown.answer, f"a label: {listed(spec.labels.values())}")
    if shown.text is None and spec.columns.text:
        raise _missing(where, "demonstration", "text")
    if shown.distractors or not spec.labels:
        least = spec.n_options or min(N_OPTIONS, most_options(spec) or LEAST)
        check_wrong(shown, least, where("demonstration", "distractors"))
    if set(shown.meta) != set(spec.columns.meta):
        names = f"the names in columns.meta: {listed(spec.columns.meta) or 'none'}"
        raise malformed(where("demonstration", "meta"), list(shown.meta), names)


def check_wrong(shown: Demonstration, n_options: int, where: str) -> None:
    """Check that a demonstration shows as many options as a question."""
    if len(distinct((shown.answer, *shown.distractors))) < n_options:
        least = f"at least {n_options - 1} wrong answers, different from each other and from the right one"
        raise malformed(where, list(shown.distractors), least)


def _missing(where: Where, *loc: str) -> na.DataError:
    return na.DataError(f"{where(*loc)}: is missing; accepted: {accepted(loc)}")


def fields(loc: Sequence[str | int]) -> Mapping[str, Any]:
    """The fields of the model at a place in the schema."""
    models: dict[str, type[na.Options]] = {"data": Data, "columns": Columns, "demonstration": Demonstration}
    return models[str(loc[0])].model_fields if loc else Spec.model_fields


def accepted(loc: Sequence[str | int]) -> str:
    """What the field at a place accepts; of a list's or mapping's entry, what that list or mapping does."""
    nested = loc[:1] if loc[0] in ("data", "columns", "demonstration") and len(loc) > 1 else ()
    return str(fields(nested)[str(loc[len(nested)])].description)
