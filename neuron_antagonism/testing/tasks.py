"""The conformance tests of a task."""

from __future__ import annotations

import pytest

from neuron_antagonism.errors import DataError
from neuron_antagonism.tasks.load import load_task
from neuron_antagonism.tasks.qatt import CUE, draw_options
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism.testing.plugins import PluginTests
from neuron_antagonism.types import Item

IDENTIFY, SELECT, EVALUATE = 2, 4, 4


class TaskTests(PluginTests):
    """Subclass it and set `plugin`.

    Class attributes:
        plugin: the task's class, or an instance.
        source: the data to test with; None = the embedded sample.
    """

    kind = "task"
    source: str | None = None

    def items(self, seed: int = 0) -> list[Item]:
        """All items."""
        return list(self.made().examples(self.source, seed))

    def split(self, seed: int = 0) -> Split:
        """A small division of its examples."""
        return load_task(self.made(), source=self.source).split(IDENTIFY, SELECT, EVALUATE, seed=seed)

    def test_items(self) -> None:
        """There are enough of them, each with a text, an answer, a known part, and wrong answers."""
        items = self.items()
        assert len(items) > IDENTIFY + SELECT + EVALUATE, f"{len(items)} items are too few"
        for item in items:
            assert isinstance(item, Item)
            assert item.text.strip()
            assert item.answer.strip()
            assert item.part in ("", "train", "test")
            assert all(isinstance(text, str) for text in (*item.distractors, *item.meta.values()))

    def test_the_same_again(self) -> None:
        """The same seed gives the same items and the same questions."""
        assert [repr(item) for item in self.items()] == [repr(item) for item in self.items()]
        assert list(self.split().rows()) == list(self.split().rows())

    def test_wrong_answers(self) -> None:
        """Most items have wrong answers enough that differ from one another and from the right one."""
        import random

        task, items = self.made(), self.items()
        usable = 0
        for item in items:
            try:
                options = draw_options(item, random.Random(0), task.distractors, task.n_options)
            except DataError:
                continue
            usable += 1
            assert len(set(options)) == task.n_options
            assert options[0] == item.answer
        assert usable > len(items) / 2, f"{len(items) - usable} of {len(items)} items have too few wrong answers"

    def test_questions(self) -> None:
        """Each example asks three times, for another letter each time (of two for both), and shows all options."""
        task, split = self.made(), self.split()
        for example in (*split.identify, *split.select, *split.evaluate):
            assert len(example.proxies) == 3
            assert len({q.answer for q in example.proxies}) == min(3, task.n_options)
            assert all(len(q.options) == len(q.letters) == task.n_options for q in example.proxies)
            assert len({q.prompt for q in example.proxies}) == 3
            assert len({frozenset(q.options) for q in example.proxies}) == 1
            for question in example.proxies:
                assert question.prompt.startswith(f"{task.role}\n{task.rule}\n")
                assert question.prompt.endswith(CUE)
                assert all(text in question.prompt for text in question.options)

    def test_nothing_appears_twice(self) -> None:
        """The sets share no example."""
        split = self.split()
        keys = [e.item.key for e in (*split.identify, *split.select, *split.evaluate) if e.item is not None]
        assert len(keys) == len(set(keys)) == IDENTIFY + SELECT + EVALUATE

    def test_a_missing_source_is_named(self) -> None:
        """A file that is not there gives one line that names it."""
        with pytest.raises(DataError) as caught:
            list(self.made().examples("no/such/file.xyz", 0))
        assert "no/such/file.xyz" in str(caught.value)
        assert "\n" not in str(caught.value)
