"""The reference engine: whole sequences, one question and one layer at a time. Every architecture; the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.engine.base import (
    Asked,
    Gradients,
    Path,
    leaf_gradients,
    letter_columns,
    outputs_of,
    rows_of,
    wide,
)
from neuron_antagonism.engine.memory import TokenLimit
from neuron_antagonism.progress import Progress

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.plugin.base import Target


class ReferenceEngine:
    """Runs the whole sequence once per layer with a batch of all steps, or of silenced neurons.

    Args:
        max_tokens: rows × their length in one forward; None = planned from the free memory.
    """

    name = "reference"

    def __init__(self, max_tokens: int | None = None) -> None:
        """Remember the limit."""
        self._max_tokens = max_tokens

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
        limit = self._limit(model, questions, grad=True)
        for number, question in enumerate(questions):
            w, full = _clean(model, question, targets, path.site)
            values.append(w)
            layers = [
                _layer(model, question, targets, path, layer, w[layer], full, limit)
                for layer in (range(model.n_layers) if targets else ())
            ]
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

    def ablation_effects(
        self,
        model: HookedModel,
        questions: Sequence[Asked],
        target: Target,
        site: str,
        baseline: Float[Tensor, "question layer neuron"] | None = None,
        progress: Progress | None = None,
    ) -> Float[Tensor, "question layer neuron"]:
        """See `Engine`."""
        limit = self._limit(model, questions, grad=False)
        effects, width = [], model.units(site)
        total = len(questions) * model.n_layers * width
        for number, question in enumerate(questions):
            own = None if baseline is None else rows_of(baseline, [number])[0]
            layers = []
            for layer in range(model.n_layers):
                instead = None if own is None else own[layer]
                layers.append(_ablated(model, question, target, site, layer, instead, limit))
                if progress is not None:
                    progress("ablations", (number * model.n_layers + layer + 1) * width, total)
            effects.append(torch.stack(layers))
        return torch.stack(effects).cpu()

    def _limit(self, model: HookedModel, questions: Sequence[Asked], *, grad: bool) -> TokenLimit:
        longest = max(len(q.encoded.ids) for q in questions)
        return TokenLimit(model, longest, self.name, grad=grad, given=self._max_tokens)


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
        torch.stack([found[layer].to(logits.device) for layer in range(model.n_layers)]),
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
    limit: TokenLimit,
) -> tuple[dict[Target, Tensor], dict[Target, Tensor]]:
    """IG of one layer's neurons and F(w) − F(0), by target."""
    nodes = w.new_tensor([*path.nodes, 0.0])
    weights = wide(w).new_tensor([*path.weights, 0.0])
    integrated = {target: torch.zeros_like(wide(w)) for target in targets}
    change: dict[Target, Tensor] = {}

    def work(part: list[int]) -> None:
        scaled = nodes[part, None] * w

        def replace(values: Tensor, _: int) -> Tensor:
            return torch.cat([values[:, :-1], scaled[:, None].to(values.device)], dim=1)

        with torch.enable_grad(), model.writing([layer], replace, path.site):
            scaled.requires_grad_()
            logits = model.last_logits([question.encoded.ids] * len(part))
            outputs = outputs_of(targets, logits, *letter_columns([question] * len(part), logits))
            found = {t: leaf_gradients(f, logits, [scaled], retain=True) for t, f in outputs.items()}
        # only now that nothing can run out of memory any more: a part that is tried again must not count twice
        for target, ((gradient,), size) in found.items():
            integrated[target] += wide(w) * ((weights[part] * size.to(w.device))[:, None] * gradient).sum(0)
            if part[-1] == len(nodes) - 1:
                change[target] = full[target] - outputs[target][-1].detach()

    limit.in_batches(range(len(nodes)), lambda _: len(question.encoded.ids), work)
    return integrated, change


def _ablated(
    model: HookedModel,
    question: Asked,
    target: Target,
    site: str,
    layer: int,
    baseline: Float[Tensor, " neuron"] | None,
    limit: TokenLimit,
) -> Float[Tensor, " neuron"]:
    """Ablation effects of one layer's neurons, each batch beside an untouched row."""
    effects: list[Tensor] = []

    def work(part: list[int]) -> None:
        def remove(values: Tensor, _: int) -> Tensor:
            values = values.clone()
            instead = 0 if baseline is None else baseline[part].to(values)
            values[torch.arange(len(part)), -1, torch.tensor(part)] = instead
            return values

        with torch.no_grad(), model.writing([layer], remove, site):
            logits = model.last_logits([question.encoded.ids] * (len(part) + 1))
        f = outputs_of([target], logits, *letter_columns([question] * (len(part) + 1), logits))[target]
        effects.append(f[-1] - f[:-1])

    limit.in_batches(range(model.units(site)), lambda _: len(question.encoded.ids), work)
    return torch.cat(effects)
