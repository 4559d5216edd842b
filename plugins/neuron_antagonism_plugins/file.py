"""A task without code: one YAML or TOML file states where the data is and how it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import neuron_antagonism as na
from neuron_antagonism_plugins._files import listed, malformed
from neuron_antagonism_plugins._hub import is_hub
from neuron_antagonism_plugins._schema import Spec, label_set
from neuron_antagonism_plugins._spec import read_spec
from neuron_antagonism_plugins._tables import Row, rows, text, texts

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class _Folder:
    """The task file's folder; hidden in its text, so that a run's stored results survive a move of the files."""

    path: Path = field(repr=False)


class FileTask(na.Task):
    """A task that a YAML or TOML file states, without code; give the file's path where a task's name goes.

    A ready multiple-choice file needs its columns only (an answer is a letter, an index from 0, or an option's text):

        data: questions.csv            # .csv .tsv .jsonl .json .parquet, relative to this file, or hub:dataset-id
        columns: {text: question, options: [a, b, c, d], answer: key}

    Anything else states the wrong answers, and what is asked:

        name: topic                    # by default the file's name
        data: {test: test.tsv, train: train.tsv}   # on the Hub also split: the split that is the test part
        format: tsv                    # by default what the file's ending says
        header: [class, headline, w1, w2, w3, paper]   # of a CSV or TSV file without a line of column names
        delimiter: ";"                 # between the cells of a CSV or TSV file; by default a comma or a tab
        columns:
          text: headline
          answer: class
          distractors: [w1, w2, w3]    # or one column that holds a list; not with labels
          meta: {source: paper}        # further columns that the stems use
        labels: {0: world, 1: sports, 2: business}   # by the answer's value; or a list of labels
        fillers: [weather]             # labels that are never right
        answers: letter                # of options: letter, index, number (from 1) or text; by default what fits
        role: You sort news.
        rule: "Reply with one letter only: A, B, C or D."
        stems: ["{text}\\nWhat is it about?", "{source}: {text}\\nTopic?", "Topic of: {text}"]
        demonstration: {text: Rain ahead, answer: world, meta: {source: Times}}   # and distractors, without labels

    `--data NAME=EVAL[,TRAIN]` reads other files with the same columns.
    """

    name: str = "file"
    suffixes = (".yaml", ".yml", ".toml")
    reference = "NeuronLLM §3.3 (QATT)"

    def __init__(self, path: str | Path | None = None) -> None:
        """Read the task file; no data is read before `examples`.

        Raises:
            DataError: a malformed file; names file, line and field.
            UsageError: no file was given.
        """
        if path is None:
            raise na.UsageError(
                "task 'file' needs a file that states it; accepted: its path as the task, such as --task my_task.yaml"
            )
        self.spec = read_spec(path)
        self.folder = _Folder(Path(path).expanduser().parent)
        self.name = Path(path).stem if self.spec.name is None else self.spec.name
        self.role, self.rule, self.stems = self.spec.role, self.spec.rule, self.spec.stems
        self.demonstration = _demonstration(self.spec)
        self.concepts = tuple(dict.fromkeys(self.spec.labels.values()))

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The task that a file states."""
        return cls(path)

    def examples(self, source: str | None, seed: int) -> Iterable[na.Item]:
        """Yield one item for each row, in the source's order.

        Args:
            source: a file or `hub:dataset-id` with the columns that the task file names; None = the data it names.
            seed: nothing is drawn here.

        Raises:
            DataError: malformed or empty data; names file and line, or split and row.
            UsageError: a package is missing that the source needs.
        """
        data = self.spec.data
        if source is not None:
            yield from self._items(source)
        elif data.train is None:
            yield from self._items(self._resolved(data.test))
        else:
            for name, part, other in ((data.test, "test", "train"), (data.train, "train", "test")):
                items = self._items(self._resolved(name))
                yield from (replace(item, part=part) for item in items if item.part != other)

    def _resolved(self, source: str) -> str:
        """A source of the task file, relative to it."""
        if is_hub(source):
            local = self.folder.path / source.removeprefix("hub:")
            return f"hub:{local}" if local.is_dir() else source
        return str(self.folder.path / Path(source).expanduser())

    def _items(self, source: str) -> Iterator[na.Item]:
        spec, columns = self.spec, self.spec.columns
        named = [columns.text, columns.answer, *columns.distractors, *columns.options, *columns.meta.values()]
        accepted = f"the columns {listed(named)}"
        found = rows(source, spec.format, accepted, spec.data.split, header=spec.header, delimiter=spec.delimiter)
        for row in found:
            asked = text(row, columns.text, "columns.text")
            meta = {name: text(row, column, f"columns.meta.{name}") for name, column in columns.meta.items()}
            answer, wrong = self._answers(row)
            yield na.Item(asked, answer, tuple(dict.fromkeys(w for w in wrong if w and w != answer)), meta, row.part)

    def _answers(self, row: Row) -> tuple[str, Sequence[str]]:
        spec, columns = self.spec, self.spec.columns
        found = text(row, columns.answer, "columns.answer")
        where = f"{row.where}, column {columns.answer!r}"
        if columns.options:
            options = texts(row, columns.options, "columns.options")
            return _chosen(found, options, spec.answers, where), options
        if columns.distractors:
            return found, texts(row, columns.distractors, "columns.distractors")
        if found not in spec.labels:
            raise malformed(where, found, f"{listed(spec.labels)} (labels of the task file)")
        return spec.labels[found], label_set(spec)


def _demonstration(spec: Spec) -> na.Item | None:
    shown = spec.demonstration
    if shown is None:
        return None
    wrong = shown.distractors or label_set(spec)
    return na.Item(shown.text, shown.answer, tuple(w for w in dict.fromkeys(wrong) if w != shown.answer), shown.meta)


def _chosen(found: str, options: Sequence[str], form: str | None, where: str) -> str:
    """The option that an answer means.

    Raises:
        DataError: none, an empty one, or several that differ.
    """
    letters = _LETTERS[: len(options)]
    number = int(found) if found in map(str, range(len(options) + 1)) else -1
    places = {
        "letter": letters.find(found.upper()) if len(found) == 1 else -1,
        "index": number,
        "number": number - 1,
        "text": options.index(found) if found in options else -1,
    }
    # a count from 1 is never guessed: nothing tells it from one that counts from 0
    forms = [form] if form else ["letter", "index", "text"]
    meant = {name: options[places[name]] for name in forms if 0 <= places[name] < len(options)}
    if len(set(meant.values())) > 1:
        said = " and ".join(f"as {name} {option!r:.40}" for name, option in meant.items())
        raise malformed(where, found, f"one meaning, but this is {said}: set the task file's field answers")
    chosen = next(iter(meant.values()), "")
    if not chosen:
        ranges = {
            "letter": f"a letter A to {letters[-1:]}",
            "index": f"an index 0 to {len(options) - 1}",
            "number": f"a number 1 to {len(options)}",
            "text": "the text of an option",
        }
        more = "" if form else "; for numbers from 1: answers: number in the task file"
        raise malformed(where, found, f"{', '.join(ranges[name] for name in forms)} that is not empty{more}")
    return chosen


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [FileTask]
