"""Named entity recognition: which type a mention in a sentence has."""

from __future__ import annotations

from collections.abc import Iterable

import neuron_antagonism as na


class Ner(na.Task):
    """Named entity recognition: which type a mention in a sentence has."""

    name = "ner"
    role = 'You label named entities in text.'
    rule = "Reply with one letter only: A, B, C or D."
    stems = (
        'Sentence: {text}\nWhich type of entity is "{mention}"?',
        'Text: {text}\nThe name "{mention}" stands for what?',
        'Read this: {text}\nWhat kind of thing is "{mention}"?',
    )
    reference = 'NeuronLLM §4.1; Few-NERD (Ding et al., 2021)'

    def examples(self, source: str | None, seed: int) -> Iterable[na.Item]:
        """Items."""
        raise na.DataError("to be written")


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [Ner]
