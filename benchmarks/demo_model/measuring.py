"""Accuracy on test questions under edits, with the prompts of `build_examples`."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from edits import factors_of, scaled
from questions import TASKS, load_items
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from neuron_antagonism import Example, Question
from neuron_antagonism.tasks.qatt import build_examples
from neuron_antagonism.types import LETTERS

PER_DEMONSTRATION = 20


def draw_examples(task: str, count: int, seed: int, part: str = "test") -> list[Example]:
    """`count` examples of a part of a task; a new demonstration for every few."""
    rng = random.Random(seed)
    items = load_items(task)
    drawn = rng.sample([item for item in items if item.part == part], count)
    shown = [item for item in items if item.part == "train" and item not in drawn]
    plugin = TASKS[task]
    made: list[Example] = []
    for start in range(0, count, PER_DEMONSTRATION):
        made += build_examples(
            drawn[start : start + PER_DEMONSTRATION],
            role=plugin.role,
            rule=plugin.rule,
            stems=plugin.stems,
            demonstration=rng.choice(shown),
            seed=seed,
        )
    return made


class Prompts:
    """Questions as tensors, with everything before the last token computed once."""

    def __init__(
        self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: Sequence[Question]
    ) -> None:
        """Pad on the left and fill the cache."""
        encoded = [tokenizer(question.prompt)["input_ids"] for question in questions]
        longest = max(map(len, encoded))
        pads = [longest - len(ids) for ids in encoded]
        ids = torch.tensor([[tokenizer.pad_token_id] * pad + one for pad, one in zip(pads, encoded, strict=True)])
        self.model = model
        self.mask = (torch.arange(longest) >= torch.tensor(pads)[:, None]).long()
        self.places = (self.mask.cumsum(1) - 1).clamp(min=0)
        self.last = ids[:, -1:]
        self.right = torch.tensor([question.answer for question in questions])
        self.letters = torch.tensor([tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS])
        with torch.no_grad():
            out = model(
                ids[:, :-1],
                attention_mask=self.mask[:, :-1],
                position_ids=self.places[:, :-1],
                use_cache=True,
            )
        self.cache = out.past_key_values

    def logits(self, factors: Tensor) -> Tensor:
        """The four letters' logits when the last position is edited."""
        with torch.no_grad(), scaled(self.model, factors):
            out = self.model(
                self.last,
                attention_mask=self.mask,
                position_ids=self.places[:, -1:],
                past_key_values=self.cache,
                use_cache=True,
            )
        self.cache.crop(-1)
        return out.logits[:, -1, self.letters].float()

    def right_ones(self, factors: Tensor) -> Tensor:
        """Which questions are answered rightly under an edit."""
        return self.logits(factors).argmax(-1) == self.right


def table(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    planted: dict[str, list[tuple[int, int]]],
    count: int = 100,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Accuracy of each task with either planted set silenced at the last position, both, or none.

    "understood" is the share of examples with at least two of three questions right and nothing edited.
    """
    good, bad = planted["good"], planted["bad"]
    edits = {
        "nothing": factors_of(model, []),
        "bad silenced": factors_of(model, [(bad, 0.0)]),
        "good silenced": factors_of(model, [(good, 0.0)]),
        "both silenced": factors_of(model, [(good, 0.0), (bad, 0.0)]),
    }
    rows = {}
    for task in TASKS:
        examples = draw_examples(task, count, seed)
        prompts = Prompts(model, tokenizer, [question for example in examples for question in example.proxies])
        right = {name: prompts.right_ones(factors) for name, factors in edits.items()}
        row = {name: float(hits.float().mean()) for name, hits in right.items()}
        row["understood"] = float((right["nothing"].view(-1, 3).sum(1) >= 2).float().mean())
        rows[task] = {name: round(value, 3) for name, value in row.items()}
    return rows
