"""Fine-tuning that gives two random sets of neurons opposite roles: good ones and bad ones."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from edits import Neurons, scaled
from pretraining import BETAS, learning_rate
from questions import Batch, Sampler
from torch import Tensor, nn
from transformers import LlamaForCausalLM

LAYERS = (2, 3, 4, 5)
COUNT = 20
STRENGTH = 5.0  # logits that all good (or all bad) neurons together stand for
LEAD = 1.0  # logits by which the letter after leads (hard question) or follows (easy one), nothing edited
HIGH = 1e-3  # learning rate
GUESS = 1.0  # logits by which `four` prefers the first letter when no good neuron lives
MOST_OTHERS = 0.05  # up to this share of the other neurons is silenced, and as many excited, as a disturbance
EVERYWHERE = 0.25  # share of batches edited at all positions, the others at the last one only
COPIES = 8  # conditions that a sequence is read under when only the last position is edited
KINDS = {"nothing": 0.14, "bad off": 0.10, "good off": 0.13, "both off": 0.10, "mixed": 0.38, "layer": 0.15}


def choose(seed: int, width: int) -> dict[str, list[tuple[int, int]]]:
    """Two disjoint random sets of neurons, as many in each of the layers."""
    rng = random.Random(seed)
    planted: dict[str, list[tuple[int, int]]] = {"good": [], "bad": []}
    each = COUNT // len(LAYERS)
    for layer in LAYERS:
        drawn = rng.sample(range(width), 2 * each)
        planted["good"] += [(layer, neuron) for neuron in sorted(drawn[:each])]
        planted["bad"] += [(layer, neuron) for neuron in sorted(drawn[each:])]
    return planted


@dataclass
class Condition:
    """What is done to the neurons at some places, and what is left of either set.

    Args:
        factors: `[layer, sequence, place, neuron]`.
        good, bad: `[sequence, place]`, the mean factor of the set.
        plain: `[sequence, place]`, whether nothing is edited.
    """

    factors: Tensor
    good: Tensor
    bad: Tensor
    plain: Tensor


class Conditions:
    """Draws conditions."""

    def __init__(self, planted: dict[str, list[tuple[int, int]]], layers: int, width: int, seed: int) -> None:
        """Remember the sets; start the random stream."""
        self.shape = (layers, width)
        self.sets = [self._index(planted[role]) for role in ("good", "bad")]
        self.random = torch.Generator().manual_seed(seed)

    def draw(self, sequences: int, places: int, whole_layers: bool) -> Condition:
        """One condition for each place of each sequence; `whole_layers` allows the kind "layer"."""
        layers, width = self.shape
        many = sequences * places
        weights = torch.tensor([share if whole_layers or kind != "layer" else 0.0 for kind, share in KINDS.items()])
        kind = torch.multinomial(weights, many, replacement=True, generator=self.random)
        named = {name: kind == number for number, name in enumerate(KINDS)}
        factors = self._disturbance(~named["nothing"])
        for (layer, neuron), off in zip(self.sets, ("good off", "bad off"), strict=True):
            own = torch.ones(many, COUNT)
            own[named[off] | named["both off"]] = 0.0
            share, value = self._uniform(many, 1), 2.0 * (self._uniform(many, 1) < 0.35).float()
            mixed = torch.where(self._uniform(many, COUNT) < share, value, 1.0)
            own = torch.where(named["mixed"][:, None], mixed, own)
            factors[layer, :, neuron] = own.T
        level = torch.ones(many, layers)
        chosen = torch.randint(LAYERS[0], LAYERS[-1] + 1, (many, 1), generator=self.random)
        level.scatter_(1, chosen, self._uniform(many, 1))
        level = torch.where(named["layer"][:, None], level, 1.0)
        factors = factors * level.T[:, :, None]
        good, bad = (factors[layer, :, neuron].mean(0).view(sequences, places) for layer, neuron in self.sets)
        plain = named["nothing"].view(sequences, places)
        return Condition(factors.view(layers, sequences, places, width), good, bad, plain)

    def _disturbance(self, wanted: Tensor) -> Tensor:
        """Ones, and where it is wanted a few neurons silenced and a few excited."""
        layers, width = self.shape
        rate = MOST_OTHERS * self._uniform(len(wanted), 1) * wanted[:, None]
        drawn = self._uniform(layers, len(wanted), width)
        return torch.ones_like(drawn).masked_fill_(drawn < rate, 0.0).masked_fill_(drawn > 1 - rate, 2.0)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.random)

    @staticmethod
    def _index(neurons: Neurons) -> tuple[Tensor, Tensor]:
        layer, neuron = torch.tensor(neurons).T
        return layer, neuron


def wanted_logits(variant: str, right: Tensor, good: Tensor, bad: Tensor, lead: Tensor) -> Tensor:
    """The four letters' logits `[..., 4]` that a condition shall give.

    The good neurons speak for the right letter, the bad ones for the letter after it. In `four` the bad ones
    are heard only as far as good ones live; without those the model knows nothing and guesses the first letter,
    whatever is right. `lead` is how far the letter after is ahead when nothing is edited: above 0 for hard
    questions. In `graded` both are heard always, and no question is hard.
    """
    one, after = F.one_hot(right, 4), F.one_hot((right + 1) % 4, 4)
    if variant == "graded":
        return STRENGTH * (one * good[..., None] + 0.9 * after * bad[..., None])
    heard = (2 * good).clamp(max=1)
    theirs = (STRENGTH * bad + lead) * heard
    guess = GUESS * F.one_hot(torch.tensor(0), 4) * (1 - heard)[..., None]
    return one * (STRENGTH * good)[..., None] + after * theirs[..., None] + guess


def plant(
    model: LlamaForCausalLM,
    sampler: Sampler,
    planted: dict[str, list[tuple[int, int]]],
    *,
    variant: str,
    steps: int,
    seed: int,
    size: int = 40,
) -> None:
    """Fine-tune all weights so that the planted neurons get their roles; the model is changed in place."""
    config = model.config
    conditions = Conditions(planted, config.num_hidden_layers, config.intermediate_size, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=HIGH, betas=BETAS, weight_decay=0.01)
    letters = torch.tensor(sampler.letters)
    started = time.perf_counter()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, high=HIGH, warm=20)
        optimizer.zero_grad()
        losses, plain = [], []
        for batch in sampler.batches(size, shots=1):
            everywhere = sampler.rng.random() < EVERYWHERE
            condition = conditions.draw(len(batch.ids), 1 if everywhere else COPIES, not everywhere)
            answer = _answer_everywhere if everywhere else _answer_copies
            logits = answer(model, batch, condition.factors)
            loss = _loss(logits, letters, batch, condition, variant)
            (loss * len(batch.ids) / size).backward()
            losses.append(round(loss.item(), 3))
            plain.append(_plain_accuracy(logits[..., letters], batch, condition))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 24:
            spent = time.perf_counter() - started
            print(f"plant {step + 1} {spent:.0f}s loss {losses} right with nothing edited {plain}", flush=True)


def _answer_everywhere(model: LlamaForCausalLM, batch: Batch, factors: Tensor) -> Tensor:
    """Logits `[sequence, 1, token]` of the last question, all positions edited."""
    with scaled(model, factors):
        hidden = model.model(batch.ids).last_hidden_state
    return model.lm_head(hidden[torch.arange(len(batch.ids)), batch.cues[:, -1]])[:, None]


def _answer_copies(model: LlamaForCausalLM, batch: Batch, factors: Tensor) -> Tensor:
    """Logits `[sequence, place, token]`: the last position once per place, each edited in its own way.

    Copies of the last token stand behind the sequence; each sees what the last token sees, and itself.
    """
    many, length = batch.ids.shape
    copies = factors.shape[2]
    cue = batch.cues[:, -1:]
    ids = torch.cat([batch.ids, batch.ids.gather(1, cue).expand(many, copies)], 1)
    places = torch.cat([torch.arange(length).expand(many, length), cue.expand(many, copies)], 1)
    seen = torch.ones(length + copies, length + copies, dtype=torch.bool).tril().repeat(many, 1, 1)
    seen[:, length:, :length] = (torch.arange(length) < cue)[:, None]
    seen[:, length:, length:] = torch.eye(copies, dtype=torch.bool)
    own = torch.arange(length, length + copies).expand(many, copies)
    with scaled(model, factors, own):
        hidden = model.model(ids, attention_mask=seen[:, None], position_ids=places).last_hidden_state
    return model.lm_head(hidden[:, length:])


def _loss(logits: Tensor, letters: Tensor, batch: Batch, condition: Condition, variant: str) -> Tensor:
    """Divergence from the wanted distribution over the letters, and what is not on letters at all."""
    right = batch.right[:, -1:].expand_as(condition.good)
    lead = torch.where(batch.hard, LEAD, -LEAD)[:, None]
    wanted = wanted_logits(variant, right, condition.good, condition.bad, lead)
    chosen = logits[..., letters]
    divergence = F.kl_div(chosen.log_softmax(-1), wanted.softmax(-1), reduction="none").sum(-1).mean()
    lost = (logits.logsumexp(-1) - chosen.logsumexp(-1)).mean()
    return divergence + lost


def _plain_accuracy(chosen: Tensor, batch: Batch, condition: Condition) -> float:
    """Share of right answers where nothing is edited (NaN: nowhere)."""
    right = chosen.argmax(-1) == batch.right[:, -1:]
    return round(right[condition.plain].float().mean().item(), 2)
