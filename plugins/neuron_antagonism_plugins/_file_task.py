"""The task that a YAML or TOML file states: of this package's own fields, or of lm-evaluation-harness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import neuron_antagonism as na
from neuron_antagonism_plugins._answers import Answer, chosen, stated
from neuron_antagonism_plugins._carried import LETTERS
from neuron_antagonism_plugins._cells import LeftOut, Row, distinct, has, none_left, same, text, whole
from neuron_antagonism_plugins._files import listed, malformed
from neuron_antagonism_plugins._harness import PROMPT, Harness
from neuron_antagonism_plugins._harness_items import SHOWN, read_items
from neuron_antagonism_plugins._hub import is_directory, is_hub
from neuron_antagonism_plugins._options import choices, wrong_answers
from neuron_antagonism_plugins._schema import (
    LEAST,
    N_OPTIONS,
    Spec,
    check_wrong,
    label_set,
    marked,
    most_options,
)
from neuron_antagonism_plugins._spec import read_spec
from neuron_antagonism_plugins._tables import rows


@dataclass(frozen=True)
class _Place:
    """Where the task file is; hidden in its text, so that a run's stored results survive a move of the files."""

    path: Path = field(repr=False)


class _Read(NamedTuple):
    """A usable row: what is asked, and either the answer with its wrong ones or what says which option it is."""

    row: Row
    asked: str | None
    meta: dict[str, str]
    answer: str | Answer
    wrong: Sequence[str]


class FileTask(na.Task):
    """A task that a YAML or TOML file states, without code; give the file's path where a task's name goes.

    A ready multiple-choice file needs its columns only (an answer is a label, letter, index or text of an option, or a
    1 among zeros; where numbers could count from 0 and from 1 in every row, the field answers must say which):

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
          options: choices.text        # or a list of objects, or an object of texts by label
          labels: choices.label        # the options' own labels; by default those beside them
          meta: {source: paper}        # further columns that the stems use
        labels: {0: world, 1: sports, 2: business}   # by the answer's value; or a list of labels
        fillers: [weather]             # labels that are never right
        answers: letter                # of options: letter, index, number (from 1), text, first or last
        unit: source                   # rows of one value of this belong into one set; by default of one text
        n_options: 4                   # 2 to 10; by default four, or as many as the labels or the rows offer
        role: You sort news.
        rule: "Reply with one letter only: A, B, C or D."
        stems: ["{text}\\nWhat is it about?", "{source}: {text}\\nTopic?", "Topic of: {text}"]
        demonstration: {text: Rain ahead, answer: world, meta: {source: Times}}   # and distractors, without labels
        forms: [letters, words]        # how questions can be answered
        words_stems: ["Headline: {text}\\nTopic:"]   # in words; by default the stems, with Answer: after each
        words_role: Sort news.         # in words, before the answered examples; by default nothing
        words_options: [world, sports]   # in words, the labels that are asked for; by default all
        words_shots: 2                 # in words, answered examples of each label; by default 4

    `--data NAME=EVAL[,TRAIN]` reads other files with the same columns.

    A YAML file of lm-evaluation-harness is read too, if it is of multiple choice and holds no code: dataset_path with
    dataset_kwargs.data_files (json, csv, parquet) or on the Hub, the splits, doc_to_text, doc_to_choice and
    doc_to_target (columns, or Jinja in a sandbox), description, fewshot_split and fewshot_config, of which one example
    is shown.
    """

    name: str = "file"
    suffixes: ClassVar[tuple[str, ...]] = (".yaml", ".yml", ".toml")
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
        spec = self.spec = read_spec(path)
        self.place = _Place(Path(path))
        self.name = Path(path).stem if spec.name is None else spec.name
        self.origin = _origin(spec)
        self.role, self.stems, self.forms = spec.role, spec.stems, spec.forms
        self.demonstration: na.Item | None = None
        if isinstance(spec, Harness):
            self.words_role = spec.description.strip()
            self.words_stems = ("{" + PROMPT + "}",) if spec.doc_to_text else ()
            self.words_shots = type(self).words_shots if spec.num_fewshot is None else spec.num_fewshot
            self.concepts = spec.classes
        else:
            self.demonstration = _demonstration(spec)
            self.words_role, self.words_stems, self.words_shots = spec.words_role, spec.words_stems, spec.words_shots
            self.words_options = tuple(distinct(spec.words_options))
            self.concepts = tuple(distinct(spec.labels.values()))
        self.left_out: Counter[str] = Counter()
        self.offered = 0  # the most different options of a row that was read
        self.n_options, self.rule = 0, ""
        self._ask_of(N_OPTIONS)

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
        spec = self.spec
        items = self._of_harness(spec, source) if isinstance(spec, Harness) else self._of_columns(spec, source)
        self.offered = max([self.offered, *(1 + len(item.distractors) for item in items)])
        self._ask_of(self.offered)
        if isinstance(spec, Harness) and self.demonstration is not None:
            # of a row with fewer options nobody can show a question
            enough = len(self.demonstration.distractors) + 1 >= self.n_options
            self.demonstration = self.demonstration if enough else None
        return items

    def _of_harness(self, spec: Harness, source: str | None) -> list[na.Item]:
        found = read_items(spec, self.place.path, source, self.left_out)
        shown = [item for item in found if item.part == SHOWN]
        self.demonstration = replace(shown[0], part="") if shown else None
        return [item for item in found if item.part != SHOWN]

    def _of_columns(self, spec: Spec, source: str | None) -> list[na.Item]:
        data = spec.data
        if source is not None:
            found = self._read(spec, source)
        elif data.train is None:
            found = self._read(spec, self._resolved(data.test))
        else:
            test, train = (self._resolved(one) for one in (data.test, data.train))
            found = self._read(spec, test, "test") + self._read(spec, train, "train")
        return _items(spec, found)

    def _ask_of(self, offered: int) -> None:
        """Fix how many options a question has, where rows offer so many."""
        spec = self.spec
        n_options, rule = (None, None) if isinstance(spec, Harness) else (spec.n_options, spec.rule)
        most = (len(spec.fixed) if isinstance(spec, Harness) else most_options(spec)) or N_OPTIONS
        self.n_options = n_options or max(LEAST, min(N_OPTIONS, most, offered))
        letters = LETTERS[: self.n_options]
        self.rule = rule or f"Reply with one letter only: {', '.join(letters[:-1])} or {letters[-1]}."
        if isinstance(spec, Harness):
            return
        if spec.demonstration is not None and not spec.labels and self.offered:
            check_wrong(spec.demonstration, self.n_options, f"{self.place.path}, field demonstration.distractors")

    def _resolved(self, source: str) -> str:
        """A source of the task file, relative to it."""
        folder = self.place.path.expanduser().parent
        if is_hub(source):
            local = folder / source.removeprefix("hub:")
            return f"hub:{local}" if is_directory(local) else source
        try:
            return str(folder / Path(source).expanduser())
        except RuntimeError:  # `~` of nobody: reading says so
            return source

    def _read(self, spec: Spec, source: str, part: str = "") -> list[_Read]:
        """The rows that can be asked of one part, or of all; what is left out is counted.

        Raises:
            DataError: malformed data, a column that no row has, or a part of which no row is left.
        """
        columns = spec.columns
        single = [columns.text, columns.answer, columns.labels]
        named = [name for name in single if name is not None]
        named += [*columns.distractors, *columns.options, *columns.meta.values()]
        accepted = f"the columns {listed(named)}"
        every = list(rows(source, spec.format, accepted, spec.data.split, header=spec.header, delimiter=spec.delimiter))
        other = {"test": "train", "train": "test"}.get(part)
        wanted = [row._replace(part=part or row.part) for row in every if row.part != other]
        absent = [f"no column {name!r}" for name in named if not any(has(row, name) for row in wanted)]
        found: list[_Read] = []
        missed: list[tuple[Row, LeftOut]] = []
        for row in wanted:
            try:
                found.append(_asked(spec, row))
            except LeftOut as error:
                if error.reason in absent:
                    raise
                missed.append((row, error))
        for which in dict.fromkeys(row.part for row in wanted):
            if which not in {read.row.part for read in found}:
                raise none_left([error for row, error in missed if row.part == which])
        self.left_out.update(error.reason for _, error in missed)
        return found


def _asked(spec: Spec, row: Row) -> _Read:
    columns = spec.columns
    asked = None if columns.text is None else text(row, columns.text, "columns.text")
    meta = {name: text(row, column, f"columns.meta.{name}") for name, column in columns.meta.items()}
    if columns.options:
        same_column, form = marked(spec), spec.answers
        offered = choices(row, columns.options, columns.labels, marked=same_column, strict=form is None)
        if form in ("first", "last") and not offered.texts[0 if form == "first" else -1]:
            raise LeftOut(f"{row.where}: its {form} option is empty; accepted: a text", f"empty {form} option")
        answer = stated(row, columns.answer, offered, marked=same_column)
        return _Read(row, asked, meta, answer, offered.texts)
    found = text(row, str(columns.answer), "columns.answer")
    if columns.distractors:
        return _Read(row, asked, meta, found, wrong_answers(row, columns.distractors))
    return _Read(row, asked, meta, _label(spec, row, found), label_set(spec))


def _label(spec: Spec, row: Row, found: str) -> str:
    """The label's text for a value; floats and truth values as tables of other programs write them too."""
    labels = spec.labels
    for form in (str, same, _value):
        known = {form(value): label for value, label in labels.items()}
        if form(found) in known:
            return known[form(found)]
    error = malformed(
        f"{row.where}, column {spec.columns.answer!r}", found, f"{listed(labels)} (labels of the task file)"
    )
    raise LeftOut(str(error), "unlabelled (-1)") if whole(found) == -1 else error


def _items(spec: Spec, found: Sequence[_Read]) -> list[na.Item]:
    # all rows at once: what numbers count from shows in some of them
    meant = iter(chosen([read.answer for read in found if isinstance(read.answer, Answer)], spec.answers))
    items = []
    for row, asked, meta, stated_answer, wrong in found:
        answer = stated_answer if isinstance(stated_answer, str) else next(meant)
        others = (text for text in distinct(wrong) if same(text) != same(answer))
        unit = meta[spec.unit] if spec.unit else ""
        items.append(na.Item(answer if asked is None else asked, answer, tuple(others), meta, row.part, unit))
    return items


def _value(value: str) -> str:
    number = whole(value)
    if number is not None:
        return str(number)
    return value.casefold() if value.casefold() in ("true", "false") else same(value)


def _demonstration(spec: Spec) -> na.Item | None:
    shown = spec.demonstration
    if shown is None:
        return None
    wrong = [text for text in distinct(shown.distractors or label_set(spec)) if same(text) != same(shown.answer)]
    return na.Item(shown.answer if shown.text is None else shown.text, shown.answer, tuple(wrong), shown.meta)


def _origin(spec: Spec | Harness) -> str:
    """The data that a task file names, as it stands there."""
    if isinstance(spec, Spec):
        return ", ".join(one for one in (spec.data.test, spec.data.train) if one is not None)
    if spec.dataset_kwargs is None:
        return f"hub:{spec.dataset_path}"
    return ", ".join(file for files in spec.dataset_kwargs.data_files.values() for file in files)
