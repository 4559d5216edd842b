"""Training sequences: the prompts of `build_examples`, with the places that the training needs to know."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from neuron_antagonism import Item, Task
from neuron_antagonism.tasks.qatt import CUE, draw_options
from neuron_antagonism.types import LETTERS
from neuron_antagonism_plugins._samples._split import number
from neuron_antagonism_plugins.chunking import Chunking
from neuron_antagonism_plugins.commonsense import Commonsense
from neuron_antagonism_plugins.ner import Ner
from neuron_antagonism_plugins.sentiment import Sentiment

TASKS: dict[str, type[Task]] = {task.name: task for task in (Ner, Chunking, Sentiment, Commonsense)}
SHARES = {"ner": 0.16, "chunking": 0.14, "sentiment": 0.40, "commonsense": 0.30}  # harder ones more often
HARD_SALT = 367  # four to five of ten items of every task are hard
WORDINGS = {"chunking": 16}  # how many sets of wrong options a task's items are seen with in training
COPY_STEM = "what is {text} ?"


def load_items(task: str, seed: int = 0) -> list[Item]:
    """The generated items of a task, both parts; the seed draws chunking's wrong divisions."""
    return list(TASKS[task]().examples(None, seed))


def is_hard(item: Item) -> bool:
    """Whether the item belongs to those that the planted model gets wrong when nothing is edited.

    It goes by the last word of the right answer, so that a model can learn it and unseen items have it too.
    """
    word = item.answer.rstrip("]").split()[-1]
    return number(f"{HARD_SALT}|{word}", 100) < 40


def all_texts() -> Iterable[str]:
    """Every text that can be in a prompt."""
    yield from (CUE, *LETTERS, ".", COPY_STEM)
    for name, task in TASKS.items():
        yield from (task.role, task.rule, *task.stems)
        for item in load_items(name):
            yield from (item.text, item.answer, *item.distractors, *item.meta.values())


@dataclass
class Prompt:
    """One training sequence of one or two questions.

    Args:
        ids: the tokens, up to and including the last answer cue.
        cues: of each question, the position whose next token is the answer.
        right: of each question, the index of the right letter.
        ends: of each question, the positions of its four options' last tokens.
        hard: whether the last question is one that the planted model shall get wrong.
    """

    ids: list[int] = field(default_factory=list)
    cues: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    ends: list[list[int]] = field(default_factory=list)
    hard: bool = False


@dataclass
class Batch:
    """Sequences padded on the right, all with equally many questions; names as in `Prompt`."""

    ids: Tensor
    cues: Tensor
    right: Tensor
    ends: Tensor
    hard: Tensor

    @classmethod
    def of(cls, sequences: Sequence[Prompt], pad: int) -> Batch:
        """Pad and stack."""
        longest = max(len(one.ids) for one in sequences)
        return cls(
            torch.tensor([one.ids + [pad] * (longest - len(one.ids)) for one in sequences]),
            torch.tensor([one.cues for one in sequences]),
            torch.tensor([one.right for one in sequences]),
            torch.tensor([one.ends for one in sequences]),
            torch.tensor([one.hard for one in sequences]),
        )


class Sampler:
    """Draws training sequences from the items of the training part."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        """Read the items and start the one random stream of the questions."""
        self.tokenizer = tokenizer
        self.rng = random.Random(seed)
        self.letters = [tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS]
        self._encoded: dict[str, list[int]] = {}
        self._items: dict[str, dict[str, list[Item]]] = {}
        for name in TASKS:  # by answer where a task has few answers, so that each is equally frequent
            groups: dict[str, list[Item]] = {}
            seeds = range(WORDINGS.get(name, 1))
            items = [item for wording in seeds for item in load_items(name, wording) if item.part == "train"]
            few = len({item.answer for item in items}) <= 8
            for item in items:
                groups.setdefault(item.answer if few else "", []).append(item)
            self._items[name] = groups

    def draw(self, task: str, shots: int) -> Prompt:
        """A question of `task` after its head and `shots` (0 or 1) demonstrations."""
        made = Prompt()
        made.ids += self._encode(TASKS[task].role) + self._encode(TASKS[task].rule)
        for last in (False, True)[1 - shots :]:
            groups = self._items[task]
            item = self.rng.choice(groups[self.rng.choice(list(groups))])
            stem = self.rng.choice(TASKS[task].stems) if last else TASKS[task].stems[0]
            self._ask(made, stem.format(text=item.text, **item.meta), draw_options(item, self.rng, self._wrong))
            made.hard = is_hard(item)
            if not last:
                made.ids.append(self.letters[made.right[-1]])
        return made

    def draw_copy(self, words: Sequence[str]) -> Prompt:
        """A question whose right option repeats the word asked about; teaches what letters stand for."""
        made = Prompt()
        options = self.rng.sample(words, 4)
        self._ask(made, COPY_STEM.format(text=options[0]), options)
        return made

    def batches(self, size: int, shots: int) -> list[Batch]:
        """About `size` sequences, shared out among the tasks; the long ones of chunking apart."""
        parts = (["chunking"], [name for name in TASKS if name != "chunking"])
        counts = {name: round(size * share) for name, share in SHARES.items()}
        return [self.collate([self.draw(name, shots) for name in part for _ in range(counts[name])]) for part in parts]

    def collate(self, sequences: Sequence[Prompt]) -> Batch:
        """Pad and stack."""
        return Batch.of(sequences, self.tokenizer.pad_token_id)

    def _wrong(self, item: Item, rng: random.Random) -> Sequence[str]:
        pool = sorted(set(item.distractors) - {item.answer})
        return rng.sample(pool, 3)

    def _ask(self, made: Prompt, question: str, options: list[str]) -> None:
        """Append a question; the first of `options` is the right one."""
        places = list(range(len(LETTERS)))
        self.rng.shuffle(places)
        made.ids += self._encode(question)
        made.right.append(places.index(0))
        made.ends.append([])
        for letter, place in zip(LETTERS, places, strict=True):
            made.ids += [*self._encode(f"{letter}."), *self._encode(options[place])]
            made.ends[-1].append(len(made.ids) - 1)
        made.ids += self._encode(CUE)
        made.cues.append(len(made.ids) - 1)

    def _encode(self, text: str) -> list[int]:
        if text not in self._encoded:
            self._encoded[text] = self.tokenizer(text)["input_ids"]
        return self._encoded[text]
