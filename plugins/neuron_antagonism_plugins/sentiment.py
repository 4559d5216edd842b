"""Sentiment: positive, negative, neutral or not sure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import neuron_antagonism as na
from neuron_antagonism_plugins._cells import LeftOut, Row, as_text, empty, kept, whole
from neuron_antagonism_plugins._files import at, filled_lines, malformed
from neuron_antagonism_plugins._hub import Split, is_hub, splits, unknown_columns

OPTIONS = ("positive", "negative", "neutral", "not sure")
FIVE = ("negative", "negative", "neutral", "positive", "positive")
"""The answer for each label 0 to 4 of the Stanford Sentiment Treebank (SST-3)."""

_TREE = "one Penn Treebank tree, a label 0 to 4 on every node, e.g. `(3 (2 so) (4 good))`"
_FILE = f"an SST file: on each line {_TREE}"
_COLUMNS = "text or sentence with label (0 to 4, a name, or a float 0 to 1), or ptb_tree"
_LABEL = (
    "a label 0 to 4 in a data set that uses 3 or 4 (else the scale is unknown: name the classes), "
    "[very] negative, neutral, [very] positive, or a float 0 to 1"
)
_PIECES = re.compile(r"\(|\)|[^() \t]+")  # only these blanks: some words hold a no-break space
_ESCAPES = {r"\/": "/", r"\*": "*"}
_BRACKETS = {"-LRB-": "(", "-RRB-": ")"}


def trees(path: str | Path) -> Iterator[tuple[int, str]]:
    r"""Yield each sentence's root label (0 to 4) and its text from a Stanford Sentiment Treebank file.

    The text is the words joined by spaces, with `-LRB-`, `-RRB-`, `\/`, `\*` unescaped (Socher et al., 2013).

    Raises:
        DataError: an unreadable or empty file, or a malformed line; names file, line and what is accepted.
    """
    for number, line in filled_lines(path, _FILE):
        yield parse(line, at(path, number))


def parse(tree: str, where: str) -> tuple[int, str]:
    """Root label (0 to 4) and text of one tree.

    Args:
        tree: a node is `(label word)` or `(label node node ...)`.
        where: how an error names the place.

    Raises:
        DataError: anything else.
    """
    words: list[str] = []
    open_nodes: list[str] = []  # what each has so far: "", "label", "word" or "nodes"
    root = None
    for found in _PIECES.finditer(tree.strip()):
        piece = found[0]
        state = open_nodes[-1] if open_nodes else None
        if piece == "(" and (state in ("label", "nodes") or (state is None and root is None)):
            if open_nodes:
                open_nodes[-1] = "nodes"
            open_nodes.append("")
        elif piece == ")" and state in ("word", "nodes"):
            open_nodes.pop()
        elif state == "" and piece in ("0", "1", "2", "3", "4"):
            open_nodes[-1] = "label"
            root = int(piece) if root is None else root
        elif state == "label" and piece != ")":
            open_nodes[-1] = "word"
            words.append(_unescape(piece))
        else:
            raise malformed(where, tree, _TREE)
    if open_nodes or root is None:
        raise malformed(where, tree, _TREE)
    return root, " ".join(words)


class Sentiment(na.Task):
    """Sentiment: positive, negative, neutral or not sure."""

    name = "sentiment"
    role = "You judge the feeling of a text."
    rule = "Reply with one letter only: A, B, C or D."
    stems = (
        "Text: {text}\nWhat is the feeling of this text?",
        "Review: {text}\nHow does the writer feel?",
        "Read this: {text}\nWhich feeling fits?",
    )
    concepts = OPTIONS
    words_stems = ("Review: {text}\nSentiment:", "Text: {text}\nFeeling:", "Sentence: {text}\nTone:")
    words_options = OPTIONS[:3]
    reference = "NeuronLLM §4.1; SST-3 (Socher et al., 2013)"

    def examples(self, source: str | None, seed: int) -> Iterable[na.Item]:
        """Yield one item for each sentence, in the source's order; the options are always `OPTIONS`.

        Args:
            source: an SST file, `hub:dataset-id[:config]` in the layout of SetFit/sst5 or stanfordnlp/sst
                (floats: up to 0.4 is negative, up to 0.6 neutral), or None = the sample. Of the Hub, rows without
                a text or label are left out and counted.
            seed: nothing is drawn here.

        Raises:
            DataError: malformed or empty data; names file and line, or split and row.
            UsageError: a Hub source without the package `datasets`.
        """
        if source is None:
            from neuron_antagonism_plugins._samples import sentiment as sample

            yield from sample.items()
        elif is_hub(source):
            yield from _hub_items(self, source)
        else:
            for label, text in trees(source):
                yield _item(text, FIVE[label])


def _item(text: str, answer: str, part: str = "") -> na.Item:
    return na.Item(text, answer, tuple(option for option in OPTIONS if option != answer), part=part)


def _unescape(word: str) -> str:
    if word in _BRACKETS:
        return _BRACKETS[word]
    for escape, character in _ESCAPES.items():
        word = word.replace(escape, character)
    return word


def _hub_items(task: na.Task, source: str) -> Iterator[na.Item]:
    loaded = splits(source, _COLUMNS)
    five = _five_labels(loaded)
    for split in loaded:
        text = next((name for name in ("text", "sentence") if name in split.columns), "")
        label = next((name for name in ("label_text", "label") if name in split.columns), "")
        # The lines of official files, loaded as text, are trees too; stanfordnlp/sst's `tree` column is not.
        tree = "ptb_tree" if "ptb_tree" in split.columns else "" if label else text
        if not tree and not (text and label):
            raise unknown_columns(split, _COLUMNS)
        yield from kept(task, split.rows(), partial(_hub_item, split.part, tree, text, label, five))


def _hub_item(part: str, tree: str, text: str, label: str, five: bool, placed: tuple[str, dict[str, Any]]) -> na.Item:
    where, values = placed
    if tree:
        root, words = parse(str(values[tree]), where)
        return _item(words, FIVE[root], part)
    row = Row(part, where, values)
    asked = values[text]
    if as_text(asked) == "":
        raise empty(row, text, asked, "a text that isn't empty")
    if not isinstance(asked, str):
        raise malformed(where, asked, "a text that isn't empty")
    written = as_text(values[label])
    if written == "":
        raise empty(row, label, values[label], _LABEL)
    if written is not None and whole(written) == -1:
        raise LeftOut(str(malformed(where, values[label], _LABEL)), "unlabelled (-1)")
    return _item(asked.strip(), _answer(values[label], five, where), part)


def _five_labels(loaded: Sequence[Split]) -> bool:
    """Whether integer labels are SST's five classes: 0 and 1 alone may as well be negative and positive."""
    labels = [value for split in loaded if "label" in split.columns for value in split.distinct("label")]
    return bool({str(value) for value in labels if not isinstance(value, float)} & {"3", "4"})


def _answer(label: Any, five: bool, where: str) -> str:
    if isinstance(label, float) and 0 <= label <= 1:
        return "negative" if label <= 0.4 else "neutral" if label <= 0.6 else "positive"
    name = str(label).strip().lower().replace("_", " ").removeprefix("very ")
    if name in FIVE:
        return name
    if five and not isinstance(label, float) and name in ("0", "1", "2", "3", "4"):
        return FIVE[int(name)]
    raise malformed(where, label, _LABEL)


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [Sentiment]
