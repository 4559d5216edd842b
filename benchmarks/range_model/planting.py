"""Training a small model whose answer goes through units that hold one level for each topic."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from texts import FILLED, FILLERS, LABELS, OPENERS, PAD, HeldOut, training_batches
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LAYERS = (1, 2)
EACH = 8  # planted units in either layer
LEVELS = (-1.5, -0.5, 0.5, 1.5)  # 0 is no topic's level: a silenced unit says nothing
SPREAD = 0.15  # standard deviation of a unit's value around a level, about
STRENGTH = 6.0  # logits by which the right label leads while all planted units live
GUESS = 1.0  # logits by which the opener's label leads when they are silenced
DEAF, FULL = 0.25, 0.75  # share of planted units alive up to which nothing is said, and from which all is
KINDS = {"nothing": 0.35, "all": 0.3, "some": 0.35}  # what is silenced, as shares of the texts
PULL = 3.0  # weight of the levels beside the answers
SIZE, HIGH, WARM = 64, 3e-3, 50


@dataclass(frozen=True)
class Plan:
    """Which units are planted, and at which level each lies for each topic.

    Args:
        units: (layer, neuron) pairs.
        levels: `[unit, topic]`.
        nudges: `[unit, token]`, what each filler word of a text adds to a unit's value; they make the spread.
    """

    units: list[tuple[int, int]]
    levels: Tensor
    nudges: Tensor

    @classmethod
    def draw(cls, seed: int, width: int, tokenizer: PreTrainedTokenizerFast) -> Plan:
        """Random units; each has an order of the levels of its own, so that no two topics share a side everywhere."""
        rng = random.Random(f"plan {seed}")
        units = [(layer, neuron) for layer in LAYERS for neuron in sorted(rng.sample(range(width), EACH))]
        levels = torch.tensor([rng.sample(LEVELS, len(LEVELS)) for _ in units])
        drawn = torch.tensor([[rng.gauss(0, 1) for _ in FILLERS] for _ in units])
        nudges = torch.zeros(len(units), len(tokenizer))
        nudges[:, tokenizer.convert_tokens_to_ids(list(FILLERS))] = drawn - drawn.mean(1, keepdim=True)
        return cls(units, levels, nudges * SPREAD / FILLED**0.5)

    def values(self, ids: Tensor, topics: Tensor) -> Tensor:
        """What the units shall be worth, `[text, unit]`: the topic's level and the filler words' nudges."""
        return self.levels.T[topics] + self.nudges.T[ids].sum(1)

    def at(self, layer: int) -> tuple[list[int], list[int]]:
        """Of a layer, the planted units' places in the plan and their neurons."""
        here = [(place, neuron) for place, (block, neuron) in enumerate(self.units) if block == layer]
        return [place for place, _ in here], [neuron for _, neuron in here]


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=32,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.06,
    )
    return LlamaForCausalLM(config)


def train(
    held_out: HeldOut, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int
) -> tuple[LlamaForCausalLM, Plan]:
    """A model that was trained on everything but the held-out texts, and what was planted in it."""
    torch.manual_seed(seed)
    model = new_model(tokenizer)
    plan = Plan.draw(seed, model.config.intermediate_size, tokenizer)
    drawn = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=HIGH, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    labels, openers = (torch.tensor(tokenizer.convert_tokens_to_ids(list(words))) for words in (LABELS, OPENERS))
    batches = training_batches(held_out, SIZE, seed)
    for step in range(steps):
        prompts, topics = next(batches)
        ids, right = torch.tensor(tokenizer(prompts)["input_ids"]), torch.tensor(topics)
        alive, everywhere = _condition(len(plan.units), drawn)
        with silenced(model, plan, alive, everywhere) as seen:
            logits = model(ids, logits_to_keep=1).logits[:, -1]
        # levels hold under every condition: silencing in one layer must not move the other's units
        pull = F.mse_loss(torch.cat(seen, 1), plan.values(ids, right))
        guess = (ids[:, :, None] == openers).any(1).int().argmax(1)
        answers = _answer_loss(logits, labels, _wanted(right, guess, alive))
        optimizer.zero_grad()
        (answers + PULL * pull).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 249:
            away = pull.item() ** 0.5
            print(f"  step {step + 1}: answers {answers.item():.3f}, away from planted values {away:.3f}", flush=True)
    return model.eval(), plan


@contextmanager
def silenced(model: LlamaForCausalLM, plan: Plan, alive: Tensor, everywhere: Tensor) -> Iterator[list[Tensor]]:
    """Multiply the planted units inside the block, and note what they are worth at the last position before that.

    Args:
        model: the model.
        plan: which units.
        alive: `[text, unit]`, 1 or 0.
        everywhere: `[text]`, whether at all positions; else at the last one.
    """
    seen: list[Tensor] = []

    def hook(layer: int) -> Any:
        places, neurons = plan.at(layer)

        def scale(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            values = inputs[0]
            seen.append(values[:, -1, neurons])
            here = everywhere[:, None] | (torch.arange(values.shape[1]) == values.shape[1] - 1)
            factors = torch.ones_like(values)
            factors[..., neurons] = torch.where(here[..., None], alive[:, None, places], 1.0)
            return (values * factors,)

        return scale

    blocks = model.model.layers
    handles = [blocks[layer].mlp.down_proj.register_forward_pre_hook(hook(layer)) for layer in LAYERS]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _condition(units: int, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each text of a batch, which planted units live, and whether the others are silenced at all positions."""
    kind = torch.multinomial(torch.tensor(list(KINDS.values())), SIZE, replacement=True, generator=drawn)[:, None]
    share = torch.rand(SIZE, 1, generator=drawn)
    some = (torch.rand(SIZE, units, generator=drawn) < share).float()
    alive = torch.where(kind == 0, 1.0, torch.where(kind == 1, 0.0, some))
    return alive, torch.rand(SIZE, generator=drawn) < 0.5


def _wanted(right: Tensor, guess: Tensor, alive: Tensor) -> Tensor:
    """The labels' logits `[text, label]` that training wants, by the share of planted units that live.

    With few of them the model guesses by the text's opener, which has nothing to do with the topic: accuracy is then
    chance, where among equal labels the smallest rest of knowledge would decide.
    """
    heard = ((alive.mean(1, keepdim=True) - DEAF) / (FULL - DEAF)).clamp(0, 1)
    return STRENGTH * heard * F.one_hot(right, len(LABELS)) + GUESS * (1 - heard) * F.one_hot(guess, len(LABELS))


def _answer_loss(logits: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Divergence from the wanted distribution over the labels, and what is not on labels at all."""
    chosen = logits[:, labels]
    divergence = F.kl_div(chosen.log_softmax(-1), wanted.softmax(-1), reduction="batchmean")
    return divergence + (logits.logsumexp(-1) - chosen.logsumexp(-1)).mean()


def _rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down."""
    return min(1.0, (step + 1) / WARM) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
