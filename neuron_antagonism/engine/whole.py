"""Gradients by whole forwards: at all positions, or along a path of input embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from einops import rearrange, reduce, repeat

from neuron_antagonism.engine.base import Asked, leaf_gradients, letter_columns, outputs_of, rows_of, wide
from neuron_antagonism.engine.lengths import each_length

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.plugin.base import Target
    from neuron_antagonism.progress import Progress


def whole_effects(
    model: HookedModel,
    questions: Sequence[Asked],
    target: Target,
    *,
    others: Sequence[Asked] | None = None,
    baseline: Float[Tensor, "question layer neuron"] | None = None,
    positions: str = "last",
    input_steps: int = 1,
    site: str = "post",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "question layer neuron"]:
    """Σ over positions of (a − b) · ḡ, ḡ the mean of ∂F/∂a over `input_steps` inputs; on the CPU, float32 or wider.

    The inputs are e′ + (k / input_steps) (e − e′), k = 1 … input_steps, e the embeddings of the question's tokens and
    e′ those of the other's: the last one is the question itself.

    Args:
        model: the model.
        questions: with equally many letters each.
        target: F.
        others: of each question another one of as many tokens; needed where `input_steps` is above 1, and where
            `baseline` is None.
        baseline: b at every position; one row serves all questions. None = the other question's, position by position.
        positions: "last" or "all".
        input_steps: 1 = at the question alone.
        site, max_tokens, progress: see `Settings`.
    """
    done: dict[int, Tensor] = {}

    def work(part: Sequence[int]) -> None:
        asked = [questions[i] for i in part]
        start = None if others is None else [others[i] for i in part]
        values, gradients = _gradients(model, asked, start, target, positions, input_steps, site)
        own = (
            _values(model, start or (), positions, site)
            if baseline is None
            else [row[:, None].to(values[0]) for row in rows_of(baseline, part).unbind(1)]
        )
        layers = [((a - b) * g).sum(1) for a, b, g in zip(values, own, gradients, strict=True)]
        done.update(zip(part, torch.stack([layer.cpu() for layer in layers], dim=1), strict=True))
        if progress is not None:
            progress("gradients", len(done), len(questions))

    each_length(model, questions, work, grad=True, rows=input_steps, max_tokens=max_tokens)
    return torch.stack([done[i] for i in range(len(questions))])


def position_means(
    model: HookedModel, questions: Sequence[Asked], *, site: str = "post", max_tokens: int | None = None
) -> Float[Tensor, "1 layer neuron"]:
    """The mean of every neuron over all positions of the questions, on the CPU, in float64."""
    sums: dict[tuple[int, ...], Tensor] = {}

    def work(part: Sequence[int]) -> None:
        values = _values(model, [questions[i] for i in part], "all", site)
        sums[tuple(part)] = torch.stack([layer.double().sum((0, 1)).cpu() for layer in values])

    each_length(model, questions, work, grad=False, max_tokens=max_tokens)
    positions = sum(len(question.encoded.ids) for question in questions)
    return torch.stack(list(sums.values())).sum(0, keepdim=True) / positions


def _values(
    model: HookedModel, questions: Sequence[Asked], positions: str, site: str
) -> list[Float[Tensor, "question position neuron"]]:
    """Values by layer, of questions of one length."""
    found: dict[int, Tensor] = {}

    def read(values: Tensor, layer: int) -> Tensor:
        found[layer] = wide(values if positions == "all" else values[:, -1:])
        return values

    with torch.no_grad(), model.writing(range(model.n_layers), read, site):
        model.last_logits([question.encoded.ids for question in questions])
    return [found[layer] for layer in range(model.n_layers)]


def _gradients(
    model: HookedModel,
    questions: Sequence[Asked],
    others: Sequence[Asked] | None,
    target: Target,
    positions: str,
    steps: int,
    site: str,
) -> tuple[list[Tensor], list[Tensor]]:
    """By layer, values and mean gradients [question, position, neuron] of questions of one length."""
    values: dict[int, Tensor] = {}
    zeros: dict[int, Tensor] = {}

    def add(found: Tensor, layer: int) -> Tensor:
        at = found if positions == "all" else found[:, -1:]
        # the path's last point is the question itself
        values[layer] = wide(rearrange(at.detach(), "(question step) t n -> question step t n", step=steps)[:, -1])
        zeros[layer] = torch.zeros_like(at).requires_grad_()
        return torch.cat([found[:, : -at.shape[1]], at + zeros[layer]], dim=1)

    rows = [question for question in questions for _ in range(steps)]
    start = None if others is None or steps == 1 else [other.encoded.ids for other in others for _ in range(steps)]
    with torch.enable_grad(), model.writing(range(model.n_layers), add, site), _between(model, start, steps):
        logits = model.last_logits([row.encoded.ids for row in rows])
        f = outputs_of([target], logits, *letter_columns(rows, logits))[target]
        leaves = [zeros[layer] for layer in range(model.n_layers)]
        gradients, size = leaf_gradients(f, logits, leaves, retain=False)
    shares = rearrange(size, "row -> row 1 1")
    means = [
        reduce(gradient * shares.to(gradient), "(question step) t n -> question t n", "mean", step=steps)
        for gradient in gradients
    ]
    return [values[layer] for layer in range(model.n_layers)], means


@contextmanager
def _between(model: HookedModel, start: Sequence[Sequence[int]] | None, steps: int) -> Iterator[None]:
    """Within the context input embeddings lie between those of `start` and a forward's own, each row at its step."""
    if start is None:
        yield
        return
    module = model.bridge.original_model.get_input_embeddings()
    ids = torch.tensor([list(row) for row in start], device=model.device)
    with torch.no_grad():
        others = module.forward(ids)
    points = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    share = repeat(points, "step -> (question step) 1 1", question=len(start) // steps)

    def mix(_: object, __: object, own: Tensor) -> Tensor:
        at = share.to(own)
        # at the last step exactly the question's own
        mixed: Tensor = at * own + (1 - at) * others.to(own)
        return mixed

    hook = module.register_forward_hook(mix)
    try:
        yield
    finally:
        hook.remove()
