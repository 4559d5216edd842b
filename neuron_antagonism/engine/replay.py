"""The fast engines: every layer and step, or every silenced neuron, as one copy of the last token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from einops import rearrange, repeat

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
from neuron_antagonism.engine.copies import Copies, each_batch
from neuron_antagonism.progress import Progress

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.plugin.base import Target


Steps = Literal["all", "late", "growing"]
"""What a forward leaves out of the blocks below those that it changes: nothing; all of them; or, of every copy, those
below the block where it is changed."""


class CopiesEngine:
    """Copies of the last token after prefixes that are run once.

    Args:
        kind: "replay" or "rows", see `Copies`.
        max_tokens: copies × prompts in one forward; None = planned from the free memory.
        steps: what a forward leaves out below the blocks that it changes, see `Steps`.
    """

    def __init__(self, kind: str, max_tokens: int | None = None, steps: Steps = "growing") -> None:
        """Remember the kind, which is the engine's name too."""
        self.name = kind
        self._max_tokens = max_tokens
        # copies that are rows come in all at once
        self._steps: Steps = "late" if kind == "rows" and steps == "growing" else steps

    def integrated_gradients(
        self,
        model: HookedModel,
        questions: Sequence[Asked],
        targets: Sequence[Target],
        path: Path,
        progress: Progress | None = None,
    ) -> Gradients:
        """See `Engine`."""
        done: dict[int, _Integrated] = {}
        # a forward of few layers starts late, but a small one is slow: a quarter of them is a fair mean
        layers = -(-model.n_layers // 4) if self._steps == "late" else model.n_layers

        def work(part: Sequence[int], copies: Copies, per_forward: int) -> None:
            asked = [questions[i] for i in part]
            found = _integrated(copies, asked, targets, path, per_forward, self._steps)
            done.update(zip(part, found, strict=True))
            if progress is not None:
                progress("gradients", len(done), len(questions))

        if progress is not None:
            progress("gradients", 0, len(questions))
        wanted = layers * (len(path.nodes) + 1)
        each_batch(model, questions, self.name, wanted, work, grad=True, max_tokens=self._max_tokens)
        order = [done[i] for i in range(len(questions))]
        return Gradients(
            torch.stack([found.values for found in order]).cpu(),
            {t: torch.stack([found.integrated[t] for found in order]).cpu() for t in targets},
            {t: torch.stack([found.change[t] for found in order]).cpu() for t in targets},
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
        done: dict[int, Tensor] = {}
        each = model.n_layers * model.units(site)

        def work(part: Sequence[int], copies: Copies, per_forward: int) -> None:
            asked = [questions[i] for i in part]
            own = None if baseline is None else rows_of(baseline, part)

            def told(neurons: int) -> None:
                if progress is not None:
                    # a question of many neurons takes minutes
                    progress("ablations", len(done) * each + len(part) * neurons, len(questions) * each)

            found = _effects(copies, asked, target, site, own, per_forward, told, self._steps)
            done.update(zip(part, found, strict=True))

        each_batch(model, questions, self.name, model.units(site), work, grad=False, max_tokens=self._max_tokens)
        return torch.stack([done[i] for i in range(len(questions))]).cpu()


class _Integrated:
    """What becomes known of one question: w, and IG and F(w) − F(0) by target."""

    def __init__(self, values: Tensor, integrated: dict[Target, Tensor], change: dict[Target, Tensor]) -> None:
        self.values, self.integrated, self.change = values, integrated, change


def _integrated(
    copies: Copies,
    questions: Sequence[Asked],
    targets: Sequence[Target],
    path: Path,
    per_forward: int,
    steps: Steps,
) -> list[_Integrated]:
    """Integrated gradients of a batch, `per_forward` points of the path at a time."""
    model = copies.model
    logits, w = copies.clean(path.site)
    letters, answer = letter_columns(questions, logits)
    clean = outputs_of(targets, logits, letters, answer)
    ig = {t: [torch.zeros_like(wide(values)) for values in w] for t in targets}
    zeroed = {t: logits.new_zeros(len(questions), model.n_layers) for t in targets}
    points = model.n_layers * (len(path.nodes) + 1) if targets else 0
    for start in range(0, points, per_forward):
        chunk = range(start, min(start + per_forward, points))
        _forward(copies, chunk, w, path, letters, answer, ig, zeroed, steps)
    values = wide(torch.stack([values.to(logits.device) for values in w], dim=1))
    stacked = {t: torch.stack([layer.to(logits.device) for layer in ig[t]], dim=1) for t in targets}
    return [
        _Integrated(
            values[row],
            {t: stacked[t][row] for t in targets},
            {t: clean[t][row] - zeroed[t][row] for t in targets},
        )
        for row in range(len(questions))
    ]


def _forward(
    copies: Copies,
    points: range,
    w: Sequence[Tensor],
    path: Path,
    letters: Tensor,
    answer: Tensor,
    ig: dict[Target, list[Tensor]],
    zeroed: dict[Target, Tensor],
    steps: Steps,
) -> None:
    """Add some points' share to IG, and note F where a point is a layer's zero.

    A point is a layer and a node of the path; each layer's last one is its zero. One forward runs a copy for each.
    """
    nodes, weights = (*path.nodes, 0.0), (*path.weights, 0.0)
    layers = range(points.start // len(nodes), -(-points.stop // len(nodes)))
    inside = {layer: _overlap(layer * len(nodes), len(nodes), points) for layer in layers}
    scaled = {
        layer: (w[layer].new_tensor(nodes[own.start : own.stop])[None, :, None] * w[layer][:, None]).requires_grad_()
        for layer, own in inside.items()
    }

    counts = None
    if steps == "late":
        counts = _from(layers.start, len(points), len(w))
    elif steps == "growing":
        # a layer's points come in at its block
        counts = [len(_overlap(points.start, len(points), range((layer + 1) * len(nodes)))) for layer in range(len(w))]

    def replace(values: Tensor, layer: int) -> Tensor:
        if layer not in scaled:
            return values
        at = layer * len(nodes) + inside[layer].start - points.start
        return torch.cat([values[:, :at], scaled[layer], values[:, at + len(inside[layer]) :]], dim=1)

    with torch.enable_grad():
        logits = copies.logits(len(points), replace, path.site, counts)
        outputs = outputs_of(list(ig), logits, *of_copies(letters, answer, len(points)))
        leaves = list(scaled.values())
        found = [
            leaf_gradients(f, logits, leaves, retain=number + 1 < len(outputs))
            for number, f in enumerate(outputs.values())
        ]
    for (target, f), (gradients, size) in zip(outputs.items(), found, strict=True):
        for (layer, own), gradient in zip(inside.items(), gradients, strict=True):
            at = layer * len(nodes) + own.start - points.start
            weight = gradient.new_tensor(weights[own.start : own.stop]) * size[:, at : at + len(own)].to(gradient)
            ig[target][layer] += wide(w[layer]) * (weight[..., None] * gradient).sum(1)
            if own.stop == len(nodes):
                last = (layer + 1) * len(nodes) - 1 - points.start
                zeroed[target][:, layer] = f.detach()[:, last]


def _effects(
    copies: Copies,
    questions: Sequence[Asked],
    target: Target,
    site: str,
    baseline: Float[Tensor, "question layer neuron"] | None,
    per_forward: int,
    told: Callable[[int], None],
    steps: Steps,
) -> Float[Tensor, "question layer neuron"]:
    """Ablation effects of a batch, `per_forward` neurons at a time, each forward beside an untouched copy.

    The untouched copy goes through the same products as the others, so that most of their rounding cancels.
    """
    model = copies.model
    width = model.units(site)
    total = model.n_layers * width
    told(0)
    copies.clean(site)
    parts = []
    for start in range(0, total, per_forward):
        chunk = range(start, min(start + per_forward, total))

        def remove(values: Tensor, layer: int, chunk: range = chunk) -> Tensor:
            own = _overlap(layer * width, width, chunk)
            if not own:
                return values
            neurons = torch.arange(own.start, own.stop, device=values.device)
            values = values.clone()
            instead = 0 if baseline is None else baseline[:, layer, own.start : own.stop].to(values)
            values[:, neurons + layer * width - chunk.start, neurons] = instead
            return values

        with torch.no_grad():
            counts = _from(start // width, len(chunk) + 1, model.n_layers) if steps != "all" else None
            logits = copies.logits(len(chunk) + 1, remove, site, counts)
        columns = of_copies(*letter_columns(questions, logits), logits.shape[1])
        f = outputs_of([target], logits, *columns)[target]
        parts.append(f[:, -1:] - f[:, :-1])
        told(chunk.stop)
    return rearrange(torch.cat(parts, dim=1), "question (layer neuron) -> question layer neuron", neuron=width)


def of_copies(
    letters: Int[Tensor, "question option"], answer: Int[Tensor, " question"], n: int
) -> tuple[Int[Tensor, "question copy option"], Int[Tensor, "question copy"]]:
    """Letter ids and answers of `n` copies of each question."""
    return (
        repeat(letters, "question option -> question copy option", copy=n),
        repeat(answer, "question -> question copy", copy=n),
    )


def _from(first: int, n: int, layers: int) -> list[int]:
    """All copies from a block on, none below."""
    return [n if layer >= first else 0 for layer in range(layers)]


def _overlap(start: int, size: int, chunk: range) -> range:
    """Which of the `size` items from `start` on lie in a chunk, counted from `start`."""
    return range(max(chunk.start - start, 0), min(chunk.stop - start, size))
