"""Perplexity of plain text: what an edit does to language modelling that nobody asked it to touch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from einops import rearrange

from neuron_antagonism.engine.base import longest_first, wide
from neuron_antagonism.engine.memory import TokenLimit
from neuron_antagonism.errors import DataError, ModelError, UsageError
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.model.prefix import padded
from neuron_antagonism.progress import Progress

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from neuron_antagonism.method.edits import Edit
    from neuron_antagonism.model.hooked import HookedModel

WINDOW = 512
"""Tokens that are read together at most; a longer text is cut into windows."""

MOST = 700.0
"""The largest exponent that a float holds, about."""

AT_LAST = "under an edit at 'last' is not defined; accepted: edit.at('all')"


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
    if edit is not None and edit.positions != "all":
        raise UsageError(f"perplexity {AT_LAST}")
    windows = Windows(model, texts, "perplexity")

    def lost(part: list[int]) -> Tensor:
        logits, ids, real = windows.forward(part)
        by_class = rearrange(logits, "text position vocab -> text vocab position")
        each = torch.nn.functional.cross_entropy(by_class, ids, reduction="none")
        return each[real].double().sum().cpu()

    with torch.no_grad(), model.under(edit) if edit is not None else nullcontext():
        loss = float(windows.summed(lost, max_tokens=max_tokens, progress=progress))
    # a mean loss beyond what a float holds as an exponent is as good as infinite
    return math.exp(min(loss / windows.predicted, MOST))


class Windows:
    """Plain texts in tokens, cut into windows that are read together.

    Args:
        model: the model; no edit at the last position may be active.
        texts: plain texts; those of a single token count nothing.
        purpose: what is measured, for errors and progress.

    Attributes:
        predicted: how many tokens are predicted in all.

    Raises:
        DataError: no text of two tokens or more.
        UsageError: something else than a list of texts, or an edit at the last position around it.
    """

    def __init__(self, model: HookedModel, texts: Sequence[str], purpose: str) -> None:
        """Tokenise and cut."""
        if model.edited_at_last:
            raise UsageError(f"{purpose} {AT_LAST}")
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise UsageError(f"texts are {texts!r:.60}; accepted: a list of texts")
        head = list(model.text_tokens.head)
        room = min(WINDOW, model.max_context or WINDOW) - len(head)
        own = [model.text_tokens.own(text) for text in texts]
        cut = [ids[start : start + room] for ids in own for start in range(0, len(ids), room)]
        self._model, self._purpose = model, purpose
        self._rows = [head + ids for ids in cut if head or len(ids) > 1]
        self._first = max(1, len(head))
        if not self._rows:
            raise DataError("there is no plain text of two tokens or more; accepted: at least one")
        self.predicted = sum(len(row) - self._first for row in self._rows)

    def summed(
        self,
        read: Callable[[list[int]], Tensor],
        *,
        held: int = 1,
        max_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """The sum of what `read` gives for all windows, in batches within the memory plan.

        Args:
            read: takes the numbers of windows that may share a forward; gives sums over their predicted tokens.
            held: logits that it holds at once, in forwards.
            max_tokens: tokens in one forward, or in `held` of them together; None = planned from the free memory.
            progress: called with what is being done, how much is done and how much there is.
        """
        rows = self._rows
        limit = TokenLimit(self._model, max(map(len, rows)), "reference", given=max_tokens)
        total, done = torch.zeros((), dtype=torch.float64), 0

        def work(part: list[int]) -> None:
            nonlocal total, done
            # only once all of it is there: a part that runs out of memory is tried again, and must not count twice
            apart = len({len(rows[i]) for i in part}) > 1 and not self._model.independent(rows)
            found = [read(group) for group in ([[i] for i in part] if apart else [part])]
            total = total + torch.stack(found).sum(0)
            if not bool(torch.isfinite(total).all()):
                raise ModelError(
                    f"{self._model.name} gives losses that are not finite (dtype {self._model.dtype}); "
                    "accepted: finite ones"
                )
            done += len(part)
            if progress is not None:
                progress(self._purpose, done, len(rows))

        limit.in_batches(longest_first(rows), lambda i: held * len(rows[i]), work)
        return total

    def forward(
        self, part: Sequence[int]
    ) -> tuple[Float[Tensor, "window position vocab"], Int[Tensor, "window position"], Bool[Tensor, "window position"]]:
        """One forward of some windows: logits in float32 or wider, what follows each, and where that is predicted."""
        rows = [self._rows[i] for i in part]
        ids = padded(rows, self._model.device)
        # as in last_logits: padding on the right, which by causality no real token sees
        logits = wide(self._model.forward(ids, attention_mask=torch.ones_like(ids))[:, :-1])
        lengths = torch.tensor([len(row) for row in rows], device=logits.device)
        at = torch.arange(1, ids.shape[1], device=logits.device)
        return logits, ids[:, 1:].to(logits.device), (at < lengths[:, None]) & (at >= self._first)
