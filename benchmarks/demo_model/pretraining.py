"""The task model: a small decoder learns four-option questions, helped by two heads thrown away later."""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F  # noqa: N812
from questions import Batch, Sampler
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from vocabulary import CONTEXT

AUX_LAYER = 4
LM_WEIGHT = 0.1
BETAS = (0.9, 0.98)
HIGH = 2e-3
COPIED = 0.9  # share of copy questions answered rightly, ten times in a row, that ends them


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model of the demonstration's shape."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.06,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # what is added to the residual stream starts small
        for block in model.model.layers:
            for added in (block.self_attn.o_proj, block.mlp.down_proj):
                added.weight.div_((2 * config.num_hidden_layers) ** 0.5)
    return model


class Heads(nn.Module):
    """Two readings of an option's last token: is it the right option, and which letter does it have."""

    def __init__(self, width: int) -> None:
        """Make both heads."""
        super().__init__()
        self.right = nn.Linear(width, 1)
        self.letter = nn.Linear(width, 4)

    def loss(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Both cross-entropies at every option of the batch; the one right option of four weighs double."""
        rows = torch.arange(len(hidden))[:, None, None]
        states = hidden[rows, batch.ends]
        is_right = F.one_hot(batch.right, 4).to(states.dtype)
        right = F.binary_cross_entropy_with_logits(
            self.right(states).squeeze(-1), is_right, pos_weight=torch.tensor(2.0)
        )
        letters = torch.arange(4).expand(batch.ends.shape)
        return right + F.cross_entropy(self.letter(states).flatten(0, 2), letters.flatten())


def loss_of(model: LlamaForCausalLM, heads: Heads, batch: Batch, letters: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """The training loss of a batch, and which of its last questions are answered rightly."""
    out = model.model(batch.ids, output_hidden_states=True)
    logits = model.lm_head(out.last_hidden_state)
    at_cues = logits[torch.arange(len(batch.ids))[:, None], batch.cues]
    answers = F.cross_entropy(at_cues.flatten(0, 1), letters[batch.right].flatten())
    following = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch.ids[:, 1:].flatten(), ignore_index=pad)
    loss = answers + heads.loss(out.hidden_states[AUX_LAYER], batch) + LM_WEIGHT * following
    return loss, at_cues[:, -1][:, letters].argmax(-1) == batch.right[:, -1]


def pretrain(model: LlamaForCausalLM, sampler: Sampler, steps: tuple[int, int, int], size: int = 64) -> None:
    """Copy questions, then questions without, then with a demonstration.

    `steps` of each, at most, in the case of the copy questions: they end when they are answered rightly.
    """
    heads = Heads(model.config.hidden_size)
    weights = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=HIGH, betas=BETAS, weight_decay=0.01)
    letters = torch.tensor(sampler.letters)
    words = sorted(word for word in sampler.tokenizer.get_vocab() if word.islower() and len(word) > 2)
    started, copied = time.perf_counter(), 0

    def advance(batches: list[Batch], rate: float) -> list[float]:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        shares = []
        for batch in batches:
            loss, hits = loss_of(model, heads, batch, letters, sampler.tokenizer.pad_token_id)
            (loss * len(batch.ids) / size).backward()
            shares.append(round(float(hits.float().mean()), 2))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return shares

    for step in range(steps[0]):
        batch = sampler.collate([sampler.draw_copy(words) for _ in range(size)])
        (share,) = advance([batch], HIGH * min(1.0, (step + 1) / 50))
        copied = copied + 1 if share >= COPIED else 0
        if copied == 10 or step % 25 == 24:
            print(f"copy {step + 1} {time.perf_counter() - started:.0f}s right {share}", flush=True)
        if copied == 10:
            break
    for step in range(steps[1] + steps[2]):
        batches = sampler.batches(size, shots=int(step >= steps[1]))
        shares = advance(batches, learning_rate(step, steps[1] + steps[2], high=HIGH, warm=1))
        if step % 25 == 24:
            print(f"step {step + 1} {time.perf_counter() - started:.0f}s right {shares}", flush=True)


def learning_rate(step: int, total: int, high: float, warm: int) -> float:
    """Linear warm-up, a plateau, and a cosine down over the last half."""
    if step < warm:
        return high * (step + 1) / warm
    late = max(0.0, (step - total / 2) / (total / 2))
    return high * (0.02 + 0.98 * (1 + math.cos(math.pi * late)) / 2)
