"""Continuing a prompt, unedited or under an edit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.types import whole

if TYPE_CHECKING:
    from neuron_antagonism.method.edits import Edit
    from neuron_antagonism.model.hooked import HookedModel


def generate(
    model: HookedModel,
    prompt: str,
    edit: Edit | None = None,
    *,
    max_new_tokens: int = 50,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[str]:
    """Yield the continuation piece by piece, as it comes.

    Each new token is one forward over the keys and values of what came before; an edit at `last` acts on the last
    position of every forward, hence on the prompt's last token and on each new one.

    Args:
        model: the model; edited only while a token is computed, so that it may be used between pieces.
        prompt: the text to continue; a user's message where the model was loaded with `chat_template`.
        edit: the edit; None = unedited.
        max_new_tokens: at most so many; generation also ends at the tokenizer's end-of-text token or at the model's
            context.
        temperature: 0 takes the likeliest token; above, tokens are drawn.
        seed: of the draws; the same seed gives the same text.

    Raises:
        UsageError: a temperature or seed out of bounds, or fewer than one new token.
        DataError: an empty prompt, or one that fills the model's context.
    """
    if temperature != 0 and not 1e-4 <= temperature <= 1e4:
        raise UsageError(f"temperature is {temperature!r}; accepted: 0 (the likeliest token), or 0.0001 to 10000")
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens is {max_new_tokens!r}; accepted: a whole number from 1")
    if (number := whole(seed)) is None or not 0 <= number < 2**63:
        raise UsageError(f"seed is {seed!r}; accepted: a whole number from 0, below 2^63")
    if edit is not None:
        edit.check(model)
    ids = model.letters.tokens(prompt)
    room = max_new_tokens if model.max_context is None else min(max_new_tokens, model.max_context - len(ids))
    if not ids or room < 1:
        problem = "is empty" if not ids else f"is {len(ids)} tokens long"
        limit = "" if model.max_context is None else f", shorter than {model.max_context} tokens"
        raise DataError(f"the prompt {prompt[-60:]!r} {problem}; accepted: some text{limit}")
    return _pieces(model, ids, edit, room, temperature, seed)


def _pieces(
    model: HookedModel, ids: list[int], edit: Edit | None, room: int, temperature: float, seed: int
) -> Iterator[str]:
    generator = torch.Generator().manual_seed(seed)
    end = model.tokenizer.eos_token_id
    cache: Any = None
    new: list[int] = []
    shown, step = "", ids
    for _ in range(room):
        with torch.no_grad(), model.under(edit) if edit is not None else nullcontext():
            tokens = torch.tensor([step], device=model.device)
            logits, cache = model.forward_and_cache(tokens, past_key_values=cache, **model.keep_last)
        token = _choose(model.checked(logits[0, -1]).cpu(), temperature, generator)
        if token == end:
            return
        new.append(token)
        # decoded as a whole: a token may be part of a character, or bring a space only beside its neighbour
        text = _after(model, ids, new)
        if not text.endswith("�"):
            yield text[len(shown) :]
            shown = text
        step = [token]


def _choose(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))


def _after(model: HookedModel, ids: list[int], new: list[int]) -> str:
    """The text that new tokens add to a prompt's."""
    whole, before = (str(model.tokenizer.decode(tokens)) for tokens in (ids + new, ids))
    return whole[len(before) :] if whole.startswith(before) else str(model.tokenizer.decode(new))
