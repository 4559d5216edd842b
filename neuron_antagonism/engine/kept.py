"""F where only some neurons are left at what they are, and all others are at their baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.engine.base import Asked, letter_columns, outputs_of, rows_of
from neuron_antagonism.engine.copies import Copies, each_batch
from neuron_antagonism.engine.lengths import each_length
from neuron_antagonism.engine.replay import of_copies

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from neuron_antagonism.engine.choose import Choice
    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.plugin.base import Target
    from neuron_antagonism.progress import Progress


def kept_outputs(
    model: HookedModel,
    questions: Sequence[Asked],
    target: Target,
    masks: Bool[Tensor, "mask layer neuron"],
    baseline: Float[Tensor, "question layer neuron"],
    choice: Choice,
    *,
    site: str = "post",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "mask question"]:
    """F of each question under each mask, on the CPU, in float64.

    Neurons are set at the last position only; those that a mask keeps take whatever value follows from the others.

    Args:
        model: the model.
        questions: with equally many letters each.
        target: F.
        masks: which neurons are kept.
        baseline: what the others are set to; one row serves all questions.
        choice: the engine: masks are copies of the last token, and whole forwards where it is "reference".
        site, max_tokens, progress: see `Settings`.
    """
    table = torch.zeros(len(masks), len(questions), dtype=torch.float64)
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress("masks", done, len(questions))

    def copied(part: Sequence[int], copies: Copies, per_forward: int) -> None:
        asked, own = [questions[i] for i in part], rows_of(baseline, part)
        for start in range(0, len(masks), per_forward):
            chunk = masks[start : start + per_forward]

            def write(values: Tensor, layer: int, chunk: Tensor = chunk) -> Tensor:
                return torch.where(chunk[:, layer].to(values.device), values, own[:, None, layer].to(values))

            with torch.no_grad():
                logits = copies.logits(len(chunk), write, site)
            columns = of_copies(*letter_columns(asked, logits), len(chunk))
            f = outputs_of([target], logits, *columns)[target]
            table[start : start + len(chunk), list(part)] = f.double().cpu().T
        told(len(part))

    def whole(part: Sequence[int]) -> None:
        asked, own = [questions[i] for i in part], rows_of(baseline, part)
        for at, mask in enumerate(masks):

            def write(values: Tensor, layer: int, mask: Tensor = mask) -> Tensor:
                last = torch.where(mask[layer].to(values.device), values[:, -1:], own[:, None, layer].to(values))
                return torch.cat([values[:, :-1], last], dim=1)

            with torch.no_grad(), model.writing(range(model.n_layers), write, site):
                logits = model.last_logits([question.encoded.ids for question in asked])
            table[at, list(part)] = outputs_of([target], logits, *letter_columns(asked, logits))[target].double().cpu()
        told(len(part))

    if choice.name != "reference":
        each_batch(model, questions, choice.name, len(masks), copied, grad=False, max_tokens=max_tokens)
    else:
        each_length(model, questions, whole, grad=False, max_tokens=max_tokens)
    return table
