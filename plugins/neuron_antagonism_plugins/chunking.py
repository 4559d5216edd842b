"""Chunking: which division of a sentence into phrases is right."""

from __future__ import annotations

from collections.abc import Iterable

import neuron_antagonism as na


class Chunking(na.Task):
    """Chunking: which division of a sentence into phrases is right."""

    name = "chunking"
    role = 'You divide sentences into phrases.'
    rule = "Reply with one letter only: A, B, C or D."
    stems = (
        'Sentence: {text}\nWhich division into phrases is right?',
        'Text: {text}\nHow do the words group into phrases?',
        'Read this: {text}\nFind the right phrases.',
    )
    reference = 'NeuronLLM §4.1; CoNLL-2000 (Tjong Kim Sang & Buchholz, 2000)'

    def examples(self, source: str | None, seed: int) -> Iterable[na.Item]:
        """Items."""
        raise na.DataError("to be written")


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [Chunking]
