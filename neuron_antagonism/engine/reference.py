"""The reference engine: whole sequences, one question and one layer at a time. Every architecture; the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.engine.base import Asked, Gradients, Path, Progress, letter_columns, outputs_of, wide

if TYPE_CHECKING:
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.plugin.base import Target


class ReferenceEngine:
    """Runs the whole sequence once per layer with a batch of all steps."""

    name = "reference"

    def integrated_gradients(
        self,
        model: HookedModel,
        questions: Sequence[Asked],
        targets: Sequence[Target],
        path: Path,
        progress: Progress | None = None,
    ) -> Gradients:
        """See `Engine`."""
        values: list[Tensor] = []
        integrated: dict[Target, list[Tensor]] = {target: [] for target in targets}
        change: dict[Target, list[Tensor]] = {target: [] for target in targets}
        for number, question in enumerate(questions):
            w, full = _clean(model, question, targets, path.site)
            values.append(w)
            layers = [_layer(model, question, targets, path, layer, w[layer], full) for layer in range(model.n_layers)]
            for target in targets:
                integrated[target].append(torch.stack([ig[target] for ig, _ in layers]))
                change[target].append(torch.stack([delta[target] for _, delta in layers]))
            if progress is not None:
                progress("gradients", number + 1, len(questions))
        return Gradients(
            wide(torch.stack(values)).cpu(),
            {t: torch.stack(integrated[t]).cpu() for t in targets},
            {t: torch.stack(change[t]).cpu() for t in targets},
        )


def _clean(
    model: HookedModel, question: Asked, targets: Sequence[Target], site: str
) -> tuple[Tensor, dict[Target, Tensor]]:
    """Neuron values at the last position, and F of the untouched model."""
    found: dict[int, Tensor] = {}

    def read(values: Tensor, layer: int) -> Tensor:
        found[layer] = values[0, -1]
        return values

    with torch.no_grad(), model.writing(range(model.n_layers), read, site):
        logits = model.last_logits([question.encoded.ids])
    letters, answer = letter_columns([question], logits)
    return (
        torch.stack([found[layer] for layer in range(model.n_layers)]),
        {target: f[0] for target, f in outputs_of(targets, logits, letters, answer).items()},
    )


def _layer(
    model: HookedModel,
    question: Asked,
    targets: Sequence[Target],
    path: Path,
    layer: int,
    w: Tensor,
    full: dict[Target, Tensor],
) -> tuple[dict[Target, Tensor], dict[Target, Tensor]]:
    """IG of one layer's neurons and F(w) − F(0), by target."""
    nodes = torch.tensor([*path.nodes, 0.0], dtype=w.dtype, device=w.device)
    weights = torch.tensor([*path.weights, 0.0], dtype=w.dtype, device=w.device)
    scaled = nodes[:, None] * w
    if not targets:
        return {}, {}

    def replace(values: Tensor, _: int) -> Tensor:
        return torch.cat([values[:, :-1], scaled[:, None]], dim=1)

    with torch.enable_grad(), model.writing([layer], replace, path.site):
        scaled.requires_grad_()
        logits = model.last_logits([question.encoded.ids] * len(nodes))
        letters, answer = letter_columns([question] * len(nodes), logits)
        outputs = outputs_of(targets, logits, letters, answer)
    integrated, change = {}, {}
    for target, f in outputs.items():
        (gradient,) = torch.autograd.grad(f.sum(), scaled, retain_graph=True)
        integrated[target] = wide(w) * (wide(weights)[:, None] * wide(gradient)).sum(0)
        change[target] = full[target] - f[-1].detach()
    return integrated, change
