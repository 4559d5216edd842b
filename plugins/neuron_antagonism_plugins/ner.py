"""Named entity recognition: which type a mention in a sentence has."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import neuron_antagonism as na
from neuron_antagonism_plugins._files import at, blocks, columns, malformed
from neuron_antagonism_plugins._hub import is_hub, splits, unknown_columns

TYPES = ("art", "building", "event", "location", "organization", "other", "person", "product")
OUTSIDE = "O"

_FILE = "a Few-NERD file: `token<TAB>coarse-fine` or `token<TAB>O`, a blank line between sentences"
_LABEL = f"`O` or coarse-fine, coarse one of {', '.join(TYPES)}"
_COLUMNS = "tokens with fine_ner_tags or ner_tags (Few-NERD's, as strings or named class labels)"

Token = tuple[str, str]
"""A token and its label: `O`, `coarse-fine`, or from the Hub a coarse type alone."""


def sentences(path: str | Path) -> Iterator[list[Token]]:
    """Yield the sentences of a Few-NERD file (Ding et al., 2021) as tokens with their labels.

    Tab and runs of spaces both separate the columns; labels are checked but not split.

    Raises:
        DataError: an unreadable or empty file, or a malformed line; names file, line and what is accepted.
    """
    for block in blocks(path, _FILE):
        sentence = []
        for number, line in block:
            found = columns(line)
            if len(found) != 2:
                raise malformed(at(path, number), line, f"`token<TAB>label`, the label {_LABEL}")
            token, label = found
            if label != OUTSIDE and (label in TYPES or not _is_label(label)):
                raise malformed(at(path, number), label, _LABEL)
            sentence.append((token, label))
        yield sentence


def mentions(sentence: Sequence[Token]) -> dict[str, str]:
    """The coarse type of each surface form in a sentence, in order of first occurrence.

    Adjacent tokens with one label are one entity (the data set's IO tagging can't say otherwise). A surface
    form that carries two coarse types in the sentence is left out: its question would have two right answers.
    """
    types: dict[str, set[str]] = {}
    for label, tokens in groupby(sentence, key=lambda token: token[1]):
        if label != OUTSIDE:
            surface = " ".join(token for token, _ in tokens)
            types.setdefault(surface, set()).add(_coarse(label))
    return {surface: next(iter(found)) for surface, found in types.items() if len(found) == 1}


class Ner(na.Task):
    """Named entity recognition: which type a mention in a sentence has."""

    name = "ner"
    role = "You label named entities in text."
    rule = (
        "The types are art (a work), building, event, location, organization, person, product, and other (such as an "
        "award, a disease, a language, a law).\nReply with one letter only: A, B, C or D."
    )
    stems = (
        'Sentence: {text}\nWhich type of entity is "{mention}"?',
        'Text: {text}\nThe name "{mention}" stands for what?',
        'Read this: {text}\nWhat kind of thing is "{mention}"?',
    )
    concepts = TYPES
    words_stems = (
        "Sentence: {text}\nEntity: {mention}\nType:",
        "Text: {text}\nName: {mention}\nKind:",
        "{text}\nIn this text, {mention} is a kind of",
    )
    words_shots = 2
    reference = "NeuronLLM §4.1; Few-NERD (Ding et al., 2021)"

    def examples(self, source: str | None, seed: int) -> Iterable[na.Item]:
        """Yield one item for each sentence that has a usable mention (see `mentions`), in the source's order.

        The seed chooses the mention. The distractors are the other seven coarse types; `O` is never one.

        Args:
            source: a Few-NERD file, `hub:dataset-id[:config]` in DFKI-SLT/few-nerd's layout, or None = the
                sample.
            seed: the same seed gives the same items, whatever the order of the sentences.

        Raises:
            DataError: malformed or empty data; names file and line, or split and row.
            UsageError: a Hub source without the package `datasets`.
        """
        if source is None:
            from neuron_antagonism_plugins._samples import ner as sample

            yield from sample.items()
            return
        labelled = _hub_sentences(source) if is_hub(source) else (("", found) for found in sentences(source))
        for part, sentence in labelled:
            types = mentions(sentence)
            if not types:
                continue
            text = " ".join(token for token, _ in sentence)
            mention = random.Random(f"{seed}|{text}").choice(list(types))
            answer = types[mention]
            others = tuple(other for other in TYPES if other != answer)
            yield na.Item(text, answer, others, meta={"mention": mention}, part=part)


def _hub_sentences(source: str) -> Iterator[tuple[str, list[Token]]]:
    for split in splits(source, _COLUMNS):
        # Fine labels first: they tell adjacent entities of one coarse type apart, as the files do.
        column = next((name for name in ("fine_ner_tags", "ner_tags") if name in split.columns), None)
        if column is None or "tokens" not in split.columns:
            raise unknown_columns(split, _COLUMNS)
        for where, row in split.rows():
            tokens, labels = row["tokens"] or [], row[column] or []
            if len(tokens) != len(labels):
                raise malformed(where, f"{len(tokens)} tokens, {len(labels)} labels", "one label for each token")
            for label in labels:
                if not _is_label(label):
                    raise malformed(where, label, f"{_LABEL}; as strings or named class labels")
            yield split.part, list(zip(tokens, labels, strict=True))


def _coarse(label: str) -> str:
    return label.partition("-")[0]  # the first hyphen: fine types may hold more


def _is_label(label: object) -> bool:
    if not isinstance(label, str):
        return False
    coarse, hyphen, fine = label.partition("-")
    return label == OUTSIDE or (coarse in TYPES and bool(fine) == bool(hyphen))


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [Ner]
