"""Commonsense: questions about everyday life."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import neuron_antagonism as na
from neuron_antagonism_plugins._cells import LeftOut, kept
from neuron_antagonism_plugins._files import at, filled_lines, malformed, readable
from neuron_antagonism_plugins._hub import is_hub, splits, unknown_columns

LABELS = ("A", "B", "C", "D", "E")

_LINE = "a JSON object with answerKey A to E, question.stem, and question.choices: five of label and text"
_FILE = f"a CommonsenseQA file: on each line {_LINE}"
_COLUMNS = "question, choices (five of label and text) and answerKey (tau/commonsense_qa's)"
_NO_ANSWER = "answerKey A to E (the official test file has none: use train or dev)"


class Choices(NamedTuple):
    """One question: its text, its five choices by label, and the right one's label."""

    stem: str
    choices: dict[str, str]
    key: str


def questions(path: str | Path) -> Iterator[Choices]:
    """Yield the questions of a CommonsenseQA file (Talmor et al., 2019), JSON lines with keys in any order.

    Raises:
        DataError: an unreadable or empty file, a malformed line, or one without an answer (as in the official
            test file); names file, line and what is accepted.
    """
    yield from map(_parsed, _placed(path))


def _placed(path: str | Path) -> Iterator[tuple[str, str]]:
    return ((at(path, number), line) for number, line in filled_lines(path, _FILE))


def _parsed(placed: tuple[str, str]) -> Choices:
    where, line = placed
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise malformed(where, line, _LINE) from None
    if not isinstance(record, dict) or not isinstance(record.get("question"), dict):
        raise malformed(where, line, _LINE)
    question = record["question"]
    return _checked(where, question.get("stem"), question.get("choices"), record.get("answerKey"))


class Commonsense(na.Task):
    """Commonsense: questions about everyday life."""

    name = "commonsense"
    role = "You answer questions about everyday life."
    rule = "Reply with one letter only: A, B, C or D."
    stems = (
        "Question: {text}",
        "Think: {text}\nWhich choice is best?",
        "Read this: {text}\nWhat is the right answer?",
    )
    words_stems = ("Question: {text}\nAnswer:", "Q: {text}\nA:", "Think: {text}\nThe answer is")
    words_shots = 8
    reference = "NeuronLLM §4.1; CommonsenseQA (Talmor et al., 2019)"

    def examples(self, source: str | None, seed: int) -> Iterable[na.Item]:
        """Yield one item for each question, in the source's order, with the data set's own wrong choices.

        These are four, of which the core drops one at random; fewer where choices repeat, as some do. A question
        without an answer is left out and counted; a file of such questions alone is an error.

        Args:
            source: a CommonsenseQA file, `hub:dataset-id[:config]` in tau/commonsense_qa's layout (its
                validation split is the test part: its test split has no answers), or None = the sample.
            seed: nothing is drawn here.

        Raises:
            DataError: malformed or empty data; names file and line, or split and row.
            UsageError: a Hub source without the package `datasets`.
        """
        if source is None:
            from neuron_antagonism_plugins._samples import commonsense as sample

            yield from sample.items()
            return
        if is_hub(source):
            asked = _hub_questions(self, source)
        else:
            asked = (("", found) for found in kept(self, _placed(source), _parsed))
        for part, (stem, choices, key) in asked:
            wrong = dict.fromkeys(text for text in choices.values() if text != choices[key])
            yield na.Item(stem, choices[key], tuple(wrong), part=part)


def _hub_questions(task: na.Task, source: str) -> Iterator[tuple[str, Choices]]:
    for split in splits(source, _COLUMNS, test=("validation", "dev", "test")):
        if not {"question", "answerKey"} <= set(split.columns):
            raise unknown_columns(split, _COLUMNS)
        yield from ((split.part, found) for found in kept(task, split.rows(), _hub_question))


def _hub_question(placed: tuple[str, dict[str, Any]]) -> Choices:
    where, row = placed
    asked = row["question"]
    if not isinstance(asked, dict):  # a dict: the official files, loaded as JSON
        asked = {"stem": asked, "choices": row.get("choices")}
    return _checked(where, asked.get("stem"), asked.get("choices"), row["answerKey"])


def _checked(where: str, stem: Any, choices: Any, key: Any) -> Choices:
    if not isinstance(stem, str) or not stem.strip():
        raise malformed(where, stem, "a question stem that isn't empty")
    texts = _texts(choices)
    if texts is None:
        raise malformed(where, choices, "five choices labelled A to E, each with a text")
    if key is None or key == "":
        raise LeftOut(str(malformed(where, key, _NO_ANSWER)), "no answerKey")
    if key not in LABELS:
        raise malformed(where, key, _NO_ANSWER)
    for text in (stem, *texts.values()):
        readable(where, text)
    return Choices(stem.strip(), texts, key)


def _texts(choices: Any) -> dict[str, str] | None:
    """The choices' texts by label, or None where they are malformed."""
    if isinstance(choices, dict):  # the Hub's columns: a list of labels and a list of texts
        labels, texts = choices.get("label"), choices.get("text")
        if not isinstance(labels, list) or not isinstance(texts, list) or len(labels) != len(texts):
            return None
        pairs = list(zip(labels, texts, strict=True))
    elif isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
        pairs = [(choice.get("label"), choice.get("text")) for choice in choices]
    else:
        return None
    if not all(isinstance(text, str) and text.strip() for pair in pairs for text in pair):
        return None
    if sorted(label for label, _ in pairs) != list(LABELS):
        return None
    return {label: text.strip() for label, text in pairs}


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [Commonsense]
