"""How many tokens one forward may take: planned from the free memory, halved where that was too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.errors import ModelError, UsageError

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

SHARE = 0.5
"""Share of the free memory that a forward is planned to fill; the rest is for what the plan does not see."""

FAST = {"cpu": 4096, "cuda": 16384}
"""Tokens beyond which a larger forward is no faster; with gradients, of which everything is kept, a quarter."""

ATTENTION_SHARE = 1 / 8
"""What attention among copies may cost, as a share of a block's products: with more copies a forward is no faster."""


class TokenLimit:
    """The tokens that one forward may take: copies × prompts, or rows × their length.

    Args:
        model: the model.
        length: tokens of the longest prompt.
        kind: "replay", "rows" or "reference".
        grad: whether activations are kept for a backward pass.
        given: the user's own limit; None = planned.

    Raises:
        UsageError: a limit below 1.
    """

    def __init__(
        self, model: HookedModel, length: int, kind: str, *, grad: bool = False, given: int | None = None
    ) -> None:
        """Plan."""
        self._device = model.device
        # attention among n copies takes 2·n·d products a token, a block's weights one each
        self._copies = max(1, int(ATTENTION_SHARE * model.block_parameters / (2 * model.width)))
        if given is None:
            # as if each of several devices had to take the whole forward: the blocks may be spread unevenly
            free = min(free_bytes(device) for device in model.devices)
            fits = int(SHARE * free / bytes_per_token(model, length, kind, grad=grad))
            fast = FAST.get(model.device.type, FAST["cuda"]) // (4 if grad else 1)
            self.tokens = max(1, min(fits, fast))
        else:
            self.tokens = checked_tokens(given)

    def copies(self, wanted: int, prompts: int = 1) -> int:
        """Copies of each prompt in one forward: `wanted` in as few forwards as will do, of even size."""
        most = min(wanted, self._copies, max(1, self.tokens // prompts))
        return -(-wanted // -(-wanted // most))

    def in_batches(self, items: Sequence[int], each: Callable[[int], int], work: Callable[[list[int]], None]) -> None:
        """Call `work` on consecutive parts of `items`; a part that runs out of memory is tried again at half the limit.

        Args:
            items: what there is to do.
            each: tokens that an item takes in one forward, under the limit as it is then; asked for the first of a
                part.
            work: does a part.

        Raises:
            ModelError: not even the smallest part fits.
        """
        start = 0
        while start < len(items):
            tokens = each(items[start])
            part = list(items[start : start + max(1, self.tokens // tokens)])
            try:
                work(part)
                start += len(part)
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # out of the handler, whose traceback would keep what the failed part had made
            if self.tokens == 1:
                raise too_little(self._device)
            self.tokens = max(1, min(self.tokens, len(part) * tokens) // 2)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()


def checked_tokens(given: int) -> int:
    """The user's own limit.

    Raises:
        UsageError: one below 1.
    """
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise UsageError(f"max_tokens is {given!r}; accepted: a whole number of at least 1, or None to plan it")
    return given


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed; the CPU's allocator has no exception class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def check_fits(model: HookedModel, length: int, kind: str) -> None:
    """Raise ModelError where one prompt of this many tokens takes more memory than is free."""
    need = length * bytes_per_token(model, length, kind, grad=False)
    free, device = min(((free_bytes(device), device) for device in model.devices), key=lambda found: found[0])
    if need > free:
        raise ModelError(
            f"a forward of one prompt of {length} tokens takes about {need / 1e9:.2f} GB and {device} has "
            f"{free / 1e9:.2f} GB free; accepted: a smaller model, a narrower dtype, shorter prompts, or more memory"
        )


def too_little(device: torch.device) -> ModelError:
    """Not even the smallest forward fits."""
    return ModelError(
        f"out of memory on {device} with a single prompt; accepted: a smaller model, a narrower dtype, shorter "
        "prompts, or a device with more free memory"
    )


def bytes_per_token(model: HookedModel, length: int, kind: str, *, grad: bool) -> int:
    """Memory that one more token of a forward takes, estimated from the model's shape.

    Per block: about sixteen vectors of the model's width, six of the FFN's, and five rows of attention scores for
    each head, two of them in float32. With gradients every block keeps its own; without, one at a time. A prefix leaves
    keys and values in every block, copied twice while they are concatenated; a token of the kind "rows" brings a whole
    prefix of its own. The logits come in the model's
    dtype and in float32, and once more for each of up to three gradients.
    """
    size = torch.finfo(model.dtype).bits // 8
    keys = length + 128
    block = (16 * model.width + 6 * model.n_neurons) * size + model.n_heads * keys * (3 * size + 2 * 4)
    cached = 3 * 2 * model.width * size * (length if kind == "rows" else 1)
    logits = model.vocabulary * (size + 4 * (4 if grad else 2))
    return (model.n_layers if grad else 1) * block + model.n_layers * cached + logits


def weight_bytes(model: HookedModel) -> int:
    """Memory that the model's parameters take, those kept on disk included; shared memory counts once."""
    parameters: list[torch.nn.Parameter] = list(model.bridge.original_model.parameters())
    there = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in parameters if not p.is_meta}
    return sum(there.values()) + sum(p.numel() * p.element_size() for p in parameters if p.is_meta)


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on a device, what torch holds in reserve included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    return min(psutil.virtual_memory().available, _container_bytes())


def _container_bytes() -> int:
    """What a container's limit leaves, which the machine's own figures don't show."""
    group = Path("/sys/fs/cgroup")
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit
        return 2**63
