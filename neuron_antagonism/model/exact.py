"""Letters' logits in float32, whatever the model's own precision.

In bfloat16 logits near 20 lie an eighth apart: letters tie, and which one counts as the answer is then a matter of a
seed. Rounding the few logits that are compared can be avoided without computing the whole model in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel

COARSE = (torch.bfloat16, torch.float16)


@contextmanager
def exact_letters(model: HookedModel, tokens: Iterable[int]) -> Iterator[None]:
    """Within the context, these tokens' logits are float32 products of the last hidden state and their own weights.

    All others stay as the model rounds them, and whatever it does to its logits afterwards (a scale, a cap) it does to
    these too. A head that is no plain matrix of floating numbers, as a quantized one, is left alone.
    """
    head = model.bridge.original_model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.dtype not in COARSE or weight.ndim != 2:
        yield
        return
    ids = torch.tensor(sorted(set(tokens)), device=weight.device)
    rows = weight.detach()[ids].float()
    bias = getattr(head, "bias", None)
    offset = bias.detach()[ids].float() if isinstance(bias, torch.Tensor) else None

    def hook(module: Any, args: tuple[Any, ...], output: Any) -> Any:
        if not args or not isinstance(output, torch.Tensor) or args[0].shape[-1] != rows.shape[1]:
            return output
        logits: Tensor = output.float()
        logits[..., ids] = torch.nn.functional.linear(args[0].float(), rows, offset)
        return logits

    handle = head.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
