"""Counting forwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel


@dataclass
class Count:
    """Forwards so far, and the tokens in them, padding included."""

    forwards: int = 0
    tokens: int = 0


@contextmanager
def counted(model: HookedModel) -> Iterator[Count]:
    """Within the context every forward is counted, whoever runs it."""
    count = Count()

    def note(_: object, args: tuple[Any, ...]) -> None:
        count.forwards += 1
        count.tokens += int(args[0].numel())

    # every forward embeds its tokens, and only then runs its blocks
    hook = model.bridge.original_model.get_input_embeddings().register_forward_pre_hook(note)
    try:
        yield count
    finally:
        hook.remove()
