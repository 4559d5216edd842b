"""The sets of examples of a run: identification, selection, evaluation; saved and loaded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import AntagonismError, DataError
from neuron_antagonism.files import COMPUTED, expanded, read_text
from neuron_antagonism.metrics.natural import Natural
from neuron_antagonism.types import N_OPTIONS, Example, Item, Question, has_own_words

SETS = ("identify", "select", "evaluate")


@dataclass
class SplitReport:
    """What was read, what was left out and why, and what imbalance is left.

    Attributes:
        read: examples asked of the reference model (or taken) so far.
        duplicates: items equal to another in text, meta and answer.
        too_few_options: items with fewer distinct options than the task asks for.
        no_class: items whose answer is none of the classes that are asked for in words.
        too_long: examples longer than the model's context.
        alike: examples in words with options that begin with the same token.
        shared_texts: items about a text that another set, or the demonstration, has.
        rows: items that the data holds.
        dropped: rows that the task itself left out, by reason.
        reference: name of the model whose understanding stratifies the sets; "" = not stratified.
        understood: by set, how many examples the reference understands and how many it does not.
        right_letters: by set, how often each letter (in words: class) is the right one; nothing where each question
            has its own.
        n_options: options of a question.
        form: "letters" or "words".
        shown: how many answered examples stand at the head of every prompt.
        notes: what a reader should know, a line each.
    """

    read: int = 0
    duplicates: int = 0
    too_few_options: int = 0
    no_class: int = 0
    too_long: int = 0
    alike: int = 0
    shared_texts: int = 0
    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    reference: str = ""
    understood: dict[str, tuple[int, int]] = field(default_factory=dict)
    right_letters: dict[str, dict[str, int]] = field(default_factory=dict)
    n_options: int = N_OPTIONS
    form: str = "letters"
    shown: int = 1
    notes: list[str] = field(default_factory=list)

    @property
    def left_out(self) -> str:
        """What was left out and why, in one line."""
        return "; ".join(self.left_out_lines()) or "nothing was left out"

    def left_out_lines(self) -> list[str]:
        """What was left out and why, a line each."""
        reasons = {
            "the same as another": self.duplicates,
            f"fewer than {self.n_options} different options": self.too_few_options,
            "their answer is no class that is asked for": self.no_class,
            "longer than the model's context": self.too_long,
            "their options begin with the same token": self.alike,
            "their text is in another set": self.shared_texts,
            **self.dropped,
        }
        total = self.rows + sum(self.dropped.values())
        return [f"{count} of {total} rows left out: {reason}" for reason, count in reasons.items() if count]


@dataclass
class Split:
    """Disjoint lists of examples.

    Attributes:
        identify: for attribution; drawn regardless of what a model answers.
        select: for choosing the ratio under the `held-out` protocol.
        evaluate: for reporting.
        natural: what was read for the evaluation set, before half of it was chosen by outcome.
        report: what was left out and why.
    """

    identify: list[Example]
    select: list[Example]
    evaluate: list[Example]
    natural: Natural = field(default_factory=Natural)
    report: SplitReport = field(default_factory=SplitReport)

    @property
    def strata(self) -> dict[str, list[bool]]:
        """By set that was drawn by stratum, whether the reference model understands each example."""
        known = {name: [example.understood for example in getattr(self, name)] for name in SETS}
        return {name: [bool(one) for one in each] for name, each in known.items() if each and None not in each}

    def rows(self) -> Iterator[dict[str, Any]]:
        """One JSON-able dict an example (its set, stratum, item and proxies), and one for what was read."""
        for name in SETS:
            for example in getattr(self, name):
                yield {
                    "set": name,
                    "understood": example.understood,
                    "item": None if example.item is None else _item_row(example.item),
                    "proxies": [_question_row(question) for question in example.proxies],
                }
        yield {"set": "natural", **self.natural.to_json()}

    def save(self, path: str | Path) -> None:
        """Write one JSON line an example, and one for what was read."""
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows())
        expanded(path).write_text("".join(lines), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read what `save` wrote.

        Raises:
            DataError: no such file or a malformed line; names file and line.
        """
        text = read_text(expanded(path), "a file that Split.save wrote", COMPUTED)
        # not splitlines(): texts may hold U+2028 and other ends of lines that are none in JSON
        return cls.from_rows(text.removesuffix("\n").split("\n"), str(path))

    @classmethod
    def from_rows(cls, lines: Sequence[str], name: str) -> Split:
        """Read JSON lines as `rows` gives them; `name` stands in errors."""

        def parsed(number: int, line: str) -> Any:
            try:
                return parsed_json(line)
            except ValueError as error:
                raise DataError(f"{name}, line {number}: {error}; accepted: a line that Split.save wrote") from None

        return cls.of_rows((parsed(number, line) for number, line in enumerate(lines, start=1)), name)

    @classmethod
    def of_rows(cls, rows: Iterable[Any], name: str = "examples") -> Split:
        """The split of what `rows` gives; `name` stands in errors."""
        split = cls([], [], [])
        for number, row in enumerate(rows, start=1):
            try:
                if row["set"] == "natural":
                    split.natural = Natural.from_json({name: row[name] for name in vars(split.natural)})
                    continue
                proxies = tuple(_question_of(proxy) for proxy in row["proxies"])
                item = _item_of(row["item"]) if row["item"] is not None else None
                if row["set"] not in SETS:
                    raise DataError(f"unknown set {row['set']!r:.80}")
                example = Example(item, proxies, row["understood"])
            except (ValueError, TypeError, KeyError, AttributeError, AntagonismError) as error:
                raise DataError(f"{name}, line {number}: {error}; accepted: a line that Split.save wrote") from None
            getattr(split, row["set"]).append(example)
        return split


def _item_row(item: Item) -> dict[str, Any]:
    other = item.counterfactual
    # a deep copy would fail on whatever mapping a task gives
    row = {**vars(item), "meta": dict(item.meta)}
    del row["counterfactual"]
    return row if other is None else {**row, "counterfactual": _item_row(other)}


def _item_of(row: dict[str, Any]) -> Item:
    other = row.get("counterfactual")
    return Item(**{**row, "counterfactual": None if other is None else _item_of(other)})


def _question_row(question: Question) -> dict[str, Any]:
    row = asdict(replace(question, own_counterfactual=None))
    del row["own_counterfactual"]
    if not question.in_words:
        del row["form"]
    other = question.own_counterfactual
    return row if other is None else {**row, "own_counterfactual": _question_row(other)}


def _question_of(row: dict[str, Any]) -> Question:
    other = row.get("own_counterfactual")
    return Question(**{**row, "own_counterfactual": None if other is None else _question_of(other)})


def right_letters(examples: Sequence[Example]) -> dict[str, int]:
    """How often each letter, or word, is the right one; nothing where the words are each question's own."""
    questions = [question for example in examples for question in example.proxies]
    if not questions or has_own_words(questions):
        return {}
    count = Counter(q.letters[q.answer] for q in questions)
    return {letter: count[letter] for letter in questions[0].letters}
