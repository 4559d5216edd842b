"""The sets of examples of a run: identification, selection, evaluation; saved and loaded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuron_antagonism.errors import AntagonismError, DataError
from neuron_antagonism.files import expanded
from neuron_antagonism.types import Example, Item, Question

SETS = ("identify", "select", "evaluate")


@dataclass
class SplitReport:
    """What was read, what was left out and why, and what imbalance is left.

    Attributes:
        read: examples asked of the reference model (or taken) so far.
        duplicates: items equal to another in text, meta and answer.
        too_few_options: items with fewer distinct options than the task asks for.
        too_long: examples longer than the model's context.
        shared_texts: items about a text that another set, or the demonstration, has.
        rows: items that the data holds.
        dropped: rows that the task itself left out, by reason.
        reference: name of the model whose understanding stratifies the sets; "" = not stratified.
        understood: by set, how many examples the reference understands and how many it does not.
        right_letters: by set, how often each letter is the right one.
        notes: what a reader should know, a line each.
    """

    read: int = 0
    duplicates: int = 0
    too_few_options: int = 0
    too_long: int = 0
    shared_texts: int = 0
    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    reference: str = ""
    understood: dict[str, tuple[int, int]] = field(default_factory=dict)
    right_letters: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def left_out_lines(self, n_options: int) -> list[str]:
        """What was left out and why, a line each."""
        reasons = {
            "the same as another": self.duplicates,
            f"fewer than {n_options} different options": self.too_few_options,
            "longer than the model's context": self.too_long,
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
        strata: by set, whether the reference model understands each example (True) or not.
        report: what was left out and why.
    """

    identify: list[Example]
    select: list[Example]
    evaluate: list[Example]
    strata: dict[str, list[bool]] = field(default_factory=dict)
    report: SplitReport = field(default_factory=SplitReport)

    def rows(self) -> Iterator[dict[str, Any]]:
        """One JSON-able dict an example: its set, stratum, item and proxies."""
        for name in SETS:
            for number, example in enumerate(getattr(self, name)):
                strata = self.strata.get(name)
                item = None if example.item is None else {**asdict(example.item), "meta": dict(example.item.meta)}
                yield {
                    "set": name,
                    "understood": strata[number] if strata else None,
                    "item": item,
                    "proxies": [asdict(question) for question in example.proxies],
                }

    def save(self, path: str | Path) -> None:
        """Write one JSON line an example."""
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows())
        expanded(path).write_text("".join(lines), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read what `save` wrote.

        Raises:
            DataError: no such file or a malformed line; names file and line.
        """
        try:
            # not splitlines(): texts may hold U+2028 and other ends of lines that are none in JSON
            lines = expanded(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"can't read questions from {path}: {error}; accepted: a file that Split.save wrote"
            ) from None
        return cls.from_rows(lines, str(path))

    @classmethod
    def from_rows(cls, lines: Sequence[str], name: str) -> Split:
        """Read JSON lines as `rows` gives them; `name` stands in errors."""
        split = cls([], [], [])
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                proxies = tuple(Question(**proxy) for proxy in row["proxies"])
                item = Item(**row["item"]) if row["item"] is not None else None
                if row["set"] not in SETS:
                    raise DataError(f"unknown set {row['set']!r}")
            except (ValueError, TypeError, KeyError, AntagonismError) as error:
                raise DataError(f"{name}, line {number}: {error}; accepted: a line that Split.save wrote") from None
            getattr(split, row["set"]).append(Example(item, proxies))
            if row["understood"] is not None:
                split.strata.setdefault(row["set"], []).append(row["understood"])
        return split


def right_letters(examples: Sequence[Example]) -> dict[str, int]:
    """How often each letter is the right one."""
    count = Counter(q.letters[q.answer] for example in examples for q in example.proxies)
    letters = examples[0].proxies[0].letters if examples else ()
    return {letter: count[letter] for letter in letters}
