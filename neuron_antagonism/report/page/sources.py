"""What a page is made of: a run or a suite as plain data, read by whoever knows its directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Array = Any
"""A numpy array."""


@dataclass(frozen=True)
class Answers:
    """What a set's questions were answered under several edits, in the order of the questions.

    Args:
        where: of each edit its mode; for answers without an edit one "".
        chosen: index of the chosen option, by edit and question.
        probabilities: of every option, by edit, question and option; None where they were not kept.
    """

    where: Sequence[str]
    chosen: Array
    probabilities: Array | None


@dataclass(frozen=True)
class Asked:
    """Everything that single questions of a task show.

    Args:
        unedited: answers without an edit.
        edited: by scorer, answers under its chosen edits.
    """

    unedited: Answers
    edited: Mapping[str, Answers]


@dataclass(frozen=True)
class Described:
    """What a scorer's neurons of a task do.

    Args:
        layers, neurons: which.
        groups: what questions are told apart by ("all", "letter", "option"), the name of each, and how many there are.
        mean, std: of the values of each group's questions, by neuron and group.
        tokens: texts of tokens.
        promoted, suppressed: places of the tokens and their logits, by neuron, strongest first; None = none are known.
        reason: why none are.
    """

    layers: Array
    neurons: Array
    groups: Sequence[tuple[str, str, int]]
    mean: Array
    std: Array
    tokens: Sequence[str] = ()
    promoted: tuple[Array, Array] | None = None
    suppressed: tuple[Array, Array] | None = None
    reason: str = ""


@dataclass(frozen=True)
class RunSource:
    """A finished run.

    Args:
        name: what tells it from others on the page.
        manifest, results: what the files hold.
        questions: lines of questions.jsonl.
        neurons: lines of neurons.csv.
        asked: by task.
        scores: by task and scorer, the score of every neuron: layer × neuron.
        exact: by task, exact effects of silencing, where they are there.
        described: by task, what the strongest neurons of each scorer do, where that is there.
    """

    name: str
    manifest: Mapping[str, Any]
    results: Mapping[str, Any]
    questions: Sequence[Mapping[str, Any]] = ()
    neurons: Sequence[Mapping[str, Any]] = ()
    asked: Mapping[str, Asked] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    exact: Mapping[str, Array] = field(default_factory=dict)
    described: Mapping[str, Sequence[Described]] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchSource:
    """A finished suite.

    Args:
        name: what tells it from others on the page.
        manifest, results: what the files hold.
    """

    name: str
    manifest: Mapping[str, Any]
    results: Mapping[str, Any]


Source = RunSource | BenchSource
