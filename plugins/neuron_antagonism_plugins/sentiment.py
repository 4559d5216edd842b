"""Sentiment: positive, negative, neutral or not sure."""

from __future__ import annotations

from collections.abc import Iterable

import neuron_antagonism as na


class Sentiment(na.Task):
    """Sentiment: positive, negative, neutral or not sure."""

    name = "sentiment"
    role = 'You judge the feeling of a text.'
    rule = "Reply with one letter only: A, B, C or D."
    stems = (
        'Text: {text}\nWhat is the feeling of this text?',
        'Review: {text}\nHow does the writer feel?',
        'Read this: {text}\nWhich feeling fits?',
    )
    reference = 'NeuronLLM §4.1; SST-3 (Socher et al., 2013)'

    def examples(self, source: str | None, seed: int) -> Iterable[na.Item]:
        """Items."""
        raise na.DataError("to be written")


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [Sentiment]
