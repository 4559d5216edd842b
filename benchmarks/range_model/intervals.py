"""What masking costs the masked topic and the others, with bootstrap intervals over questions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from masks import Answers
from texts import LABELS

from neuron_antagonism.metrics.bootstrap import Resamples, interval_around

REPLICATES = 2000
PARTS = ("target", "complement")
MEASURES = ("acc", "confidence")


def costs(answers: Sequence[Answers], topics: np.ndarray, masked: int | None = None) -> dict[str, Any]:
    """Accuracy and confidence of the masked topic's questions (target) and the others' (complement), and their drops.

    Questions are weighted anew within model and topic; the models are taken as given.

    Args:
        answers: of each trained model.
        topics: index of each question's topic, the same for every model.
        masked: which topic is masked; None = each in turn. A question then counts once for the target, and for the
            complement with its mean over the other topics' masks.
    """
    row: dict[str, Any] = {}
    for part in PARTS:
        there = _of(np.stack([topics] * len(LABELS)), topics, part, masked).astype(int)
        draws = _draws(tuple(np.concatenate([there + len(LABELS) * number for number in range(len(answers))])))
        for measure in MEASURES:
            before, after = (
                np.concatenate([_of(one[name], topics, part, masked) for one in answers])
                for name in (f"base {measure}", measure)
            )
            drop = float((before - after).mean())
            row[f"{part} {measure}"] = {
                "base": float(before.mean()),
                "masked": float(after.mean()),
                "drop": drop,
                "interval": interval_around(drop, draws.sums(before - after, -1.0, 1.0, after=True) / before.size),
            }
    return row


def _of(table: np.ndarray, topics: np.ndarray, part: str, masked: int | None) -> np.ndarray:
    """One number for each question of the part, from `[masked topic, question]`."""
    if masked is not None:
        return table[masked, (topics == masked) == (part == "target")]
    own = table[topics, np.arange(len(topics))]
    return own if part == "target" else (table.sum(0) - own) / (len(table) - 1)


@cache
def _draws(strata: tuple[int, ...]) -> Resamples:
    return Resamples(np.array(strata), REPLICATES)
