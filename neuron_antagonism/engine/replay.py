"""The fast engines: every layer and step as one copy of the last token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.engine.base import (
    Asked,
    Gradients,
    Path,
    Progress,
    by_length,
    letter_columns,
    outputs_of,
    wide,
)
from neuron_antagonism.engine.copies import Copies

if TYPE_CHECKING:
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.plugin.base import Target

MAX_COPIES = 128
"""Copies in one forward: beyond this, attention among the copies costs more than running them together saves."""

MAX_PROMPTS = 4


class CopiesEngine:
    """Integrated gradients of every layer and step from copies of the last token.

    Args:
        kind: "replay" or "rows", see `Copies`.
    """

    def __init__(self, kind: str) -> None:
        """Remember the kind, which is the engine's name too."""
        self.name = kind

    def integrated_gradients(
        self,
        model: HookedModel,
        questions: Sequence[Asked],
        targets: Sequence[Target],
        path: Path,
        progress: Progress | None = None,
    ) -> Gradients:
        """See `Engine`."""
        done: dict[int, tuple[Tensor, dict[Target, Tensor], dict[Target, Tensor]]] = {}
        for group in by_length([q.encoded.ids for q in questions]):
            for start in range(0, len(group), MAX_PROMPTS):
                part = group[start : start + MAX_PROMPTS]
                w, ig, change = self._batch(model, [questions[i] for i in part], targets, path)
                for row, index in enumerate(part):
                    done[index] = (w[row], {t: ig[t][row] for t in targets}, {t: change[t][row] for t in targets})
                if progress is not None:
                    progress("gradients", len(done), len(questions))
        order = [done[i] for i in range(len(questions))]
        return Gradients(
            torch.stack([w for w, _, _ in order]).cpu(),
            {t: torch.stack([ig[t] for _, ig, _ in order]).cpu() for t in targets},
            {t: torch.stack([change[t] for _, _, change in order]).cpu() for t in targets},
        )

    def _batch(
        self, model: HookedModel, questions: Sequence[Asked], targets: Sequence[Target], path: Path
    ) -> tuple[Tensor, dict[Target, Tensor], dict[Target, Tensor]]:
        copies = Copies(model, [q.encoded.ids for q in questions], self.name)
        found: dict[int, Tensor] = {}

        def read(values: Tensor, layer: int) -> Tensor:
            found[layer] = values[:, 0]
            return values

        with torch.no_grad():
            logits = copies.logits(1, read, path.site)[:, 0]
        letters, answer = letter_columns(questions, logits)
        w = torch.stack([found[layer] for layer in range(model.n_layers)], dim=1)
        clean = outputs_of(targets, logits, letters, answer)
        if not targets:
            return wide(w), {}, {}
        per_chunk = max(1, MAX_COPIES // (len(path.nodes) + 1))
        parts = [
            _chunk(copies, range(start, min(start + per_chunk, model.n_layers)), w, targets, path, letters, answer)
            for start in range(0, model.n_layers, per_chunk)
        ]
        integrated = {t: torch.cat([ig[t] for ig, _ in parts], dim=1) for t in targets}
        change = {t: clean[t][:, None] - torch.cat([zero[t] for _, zero in parts], dim=1) for t in targets}
        return wide(w), integrated, change


def _chunk(
    copies: Copies,
    layers: range,
    w: Tensor,
    targets: Sequence[Target],
    path: Path,
    letters: Tensor,
    answer: Tensor,
) -> tuple[dict[Target, Tensor], dict[Target, Tensor]]:
    """IG [prompt, layer, neuron] of some layers, and F with each of these layers zeroed [prompt, layer]."""
    nodes = torch.tensor([*path.nodes, 0.0], dtype=w.dtype, device=w.device)
    weights = wide(torch.tensor([*path.weights, 0.0], dtype=w.dtype, device=w.device))
    per_layer, n = len(nodes), len(nodes) * len(layers)
    scaled = {layer: (nodes[None, :, None] * w[:, layer, None]).requires_grad_() for layer in layers}

    def replace(values: Tensor, layer: int) -> Tensor:
        if layer not in scaled:
            return values
        at = (layer - layers.start) * per_layer
        return torch.cat([values[:, :at], scaled[layer], values[:, at + per_layer :]], dim=1)

    with torch.enable_grad():
        logits = copies.logits(n, replace, path.site)
        prompts = logits.shape[0]
        each = letters[:, None].expand(prompts, n, 4), answer[:, None].expand(prompts, n)
        outputs = outputs_of(targets, logits, *each)
    integrated, zeroed = {}, {}
    leaves = [scaled[layer] for layer in layers]
    for number, (target, f) in enumerate(outputs.items()):
        gradients = torch.autograd.grad(f.sum(), leaves, retain_graph=number + 1 < len(outputs))
        integrated[target] = torch.stack(
            [
                wide(w[:, layer]) * (weights[None, :, None] * wide(gradient)).sum(1)
                for layer, gradient in zip(layers, gradients, strict=True)
            ],
            dim=1,
        )
        zeroed[target] = f.detach().reshape(prompts, len(layers), per_layer)[..., -1]
    return integrated, zeroed
