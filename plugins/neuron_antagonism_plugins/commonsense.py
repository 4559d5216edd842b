"""Commonsense: questions about everyday life."""

from __future__ import annotations

from collections.abc import Iterable

import neuron_antagonism as na


class Commonsense(na.Task):
    """Commonsense: questions about everyday life."""

    name = "commonsense"
    role = 'You answer questions about everyday life.'
    rule = "Reply with one letter only: A, B, C or D."
    stems = (
        'Question: {text}',
        'Think: {text}\nWhich choice is best?',
        'Read this: {text}\nWhat is the right answer?',
    )
    reference = 'NeuronLLM §4.1; CommonsenseQA (Talmor et al., 2019)'

    def examples(self, source: str | None, seed: int) -> Iterable[na.Item]:
        """Items."""
        raise na.DataError("to be written")


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [Commonsense]
