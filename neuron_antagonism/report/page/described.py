"""What the explorer of neurons tells of single ones: the tokens they promote, and their values by right answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuron_antagonism.report.page.sources import Described, RunSource

MOST = 1_000
"""Descriptions on a page, of a neuron one for each task."""

LONGEST = 24
"""Characters of a token that are shown."""


def explorer(runs: Sequence[RunSource], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What is told of the neurons of each run; of one without descriptions nothing.

    Args:
        runs: the runs.
        rows: by run, the neurons that are on the page, strongest first.
    """
    most = MOST // len(runs)
    return [_of_run(run, rows[run.name], most) for run in runs if run.described]


def _of_run(run: RunSource, rows: Sequence[Mapping[str, Any]], most: int) -> dict[str, Any]:
    places = {task: _places(own) for task, own in run.described.items()}
    texts: dict[str, int] = {}
    tokens: dict[str, list[Any]] = {}
    values: dict[str, dict[str, list[Any]]] = {task: {} for task in places}
    told = [row for row in rows if row["id"] in places.get(row["task"], {})][:most]
    for row in told:
        task, name = row["task"], row["id"]
        one, place = places[task][name]
        values[task][name] = _scaled(one.mean[place], one.std[place])
        if one.promoted is not None and one.suppressed is not None and name not in tokens:
            tokens[name] = [_tokens(one, side, place, texts) for side in (one.promoted, one.suppressed)]
    every = [one for own in run.described.values() for one in own]
    return {
        "run": run.name,
        "reason": next((one.reason for one in every if one.reason), ""),
        "texts": list(texts),
        "tokens": tokens,
        "tasks": [
            {"task": task, "groups": [list(group) for group in own[0].groups], "values": values[task]}
            for task, own in run.described.items()
        ],
    }


def shown(token: str) -> str:
    """A token in quotes, as Python writes it: spaces can be counted, and what can't be seen has a code."""
    return repr(token if len(token) <= LONGEST else f"{token[: LONGEST - 1]}…")


def _places(each: Sequence[Described]) -> dict[str, tuple[Described, int]]:
    """Where each neuron is described; whoever chose it, it is described alike."""
    found: dict[str, tuple[Described, int]] = {}
    for one in each:
        for i, (layer, neuron) in enumerate(zip(one.layers, one.neurons, strict=True)):
            found.setdefault(f"{layer}.{neuron}", (one, i))
    return found


def _tokens(one: Described, side: Any, place: int, texts: dict[str, int]) -> list[list[float]]:
    """The places of texts, and their logits."""
    found, logits = side
    words = [shown(one.tokens[i]) for i in found[place].tolist()]
    return [[texts.setdefault(word, len(texts)) for word in words], _rounded(logits[place])]


def _scaled(*each: Any) -> list[Any]:
    """A thousandth of the largest value, and values in so many of it: what a column of few decimals shows."""
    unit = float(f"{max(float(abs(values).max()) for values in each) / 1000:.4g}") or 1.0
    return [unit, *([round(value / unit) for value in values.tolist()] for values in each)]


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.3g}") for value in values.tolist()]
