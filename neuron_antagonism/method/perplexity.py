"""Perplexity of plain text: what an edit does to language modelling that nobody asked it to touch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.engine.base import Progress, longest_first, wide
from neuron_antagonism.engine.memory import TokenLimit
from neuron_antagonism.errors import DataError, ModelError, UsageError
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.model.prefix import padded

if TYPE_CHECKING:
    from neuron_antagonism.method.edits import Edit
    from neuron_antagonism.model.hooked import HookedModel

WINDOW = 512
"""Tokens that are read together at most; a longer text is cut into windows."""


def perplexity(
    model: HookedModel,
    texts: Sequence[str],
    edit: Edit | None = None,
    *,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> float:
    """exp of the mean loss per token: exp(Σ loss·T / ΣT) over windows of T predicted tokens.

    Each text is tokenised by the model's own tokenizer, in no chat template. Only the text's own tokens count. What the
    tokenizer puts before a text (a beginning-of-sequence token) stands before every window, as the model was trained;
    without that, the first token of a window is given, not predicted.

    Args:
        model: the model; restored afterwards.
        texts: plain texts; those of a single token count nothing.
        edit: an edit at all positions; None = unedited.
        max_tokens: tokens in one forward; None = planned from the free memory.
        progress: called with what is being done, how much is done and how much there is.

    Raises:
        DataError: no text of two tokens or more.
        UsageError: an edit at the last position, which a pass over whole texts can't follow.
        ModelError: logits that are not finite.
    """
    check_model(model)
    if (edit is not None and edit.positions != "all") or model.edited_at_last:
        raise UsageError("perplexity under an edit at 'last' is not defined; accepted: edit.at('all')")
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"texts are {texts!r:.60}; accepted: a list of texts")
    size = min(WINDOW, model.max_context or WINDOW)
    tokens = model.text_tokens
    head = list(tokens.head)
    room = size - len(head)
    own = [tokens.own(text) for text in texts]
    cut = [ids[start : start + room] for ids in own for start in range(0, len(ids), room)]
    windows = [head + ids for ids in cut if head or len(ids) > 1]
    first = max(1, len(head))
    if not windows:
        raise DataError("there is no plain text of two tokens or more; accepted: at least one")
    limit = TokenLimit(model, max(map(len, windows)), "reference", given=max_tokens)
    loss, count, done = 0.0, 0, 0

    def work(part: list[int]) -> None:
        nonlocal loss, count, done
        # only once all of it is there: a part that runs out of memory is tried again, and must not count twice
        apart = len({len(windows[i]) for i in part}) > 1 and not model.independent(windows)
        found = [lost(group) for group in ([[i] for i in part] if apart else [part])]
        loss, count = loss + sum(one[0] for one in found), count + sum(one[1] for one in found)
        done += len(part)
        if progress is not None:
            progress("perplexity", done, len(windows))

    def lost(part: list[int]) -> tuple[float, int]:
        """Loss and predicted tokens of some windows that may share a forward."""
        rows = [windows[i] for i in part]
        ids = padded(rows, model.device)
        # as in last_logits: padding on the right, which by causality no real token sees
        logits = wide(model.forward(ids, attention_mask=torch.ones_like(ids))[:, :-1])
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:].to(logits.device), reduction="none")
        lengths = torch.tensor([len(row) for row in rows], device=each.device)
        at = torch.arange(1, ids.shape[1], device=each.device)
        real = (at < lengths[:, None]) & (at >= first)
        total = float(each[real].double().sum())
        if not math.isfinite(total):
            raise ModelError(
                f"{model.name} gives losses that are not finite (dtype {model.dtype}); accepted: finite ones"
            )
        return total, int(real.sum())

    with torch.no_grad(), model.under(edit) if edit is not None else nullcontext():
        limit.in_batches(longest_first(windows), lambda i: len(windows[i]), work)
    # a mean loss beyond what a float holds as an exponent is as good as infinite
    return math.exp(min(loss / count, 700.0))
