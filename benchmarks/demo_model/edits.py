"""Scaling the input of the FFN output projections, which is where a neuron's value lives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

Neurons = Sequence[tuple[int, int]]


@contextmanager
def scaled(model: LlamaForCausalLM, factors: Tensor, cues: Tensor | None = None) -> Iterator[None]:
    """Multiply every neuron's value inside the block.

    Args:
        model: the model.
        factors: `[layer, sequence, place, neuron]`; sequence and place may be 1.
        cues: `[sequence, place]`, the positions that are scaled; None = place stands for all positions.
    """

    def hook(layer: int) -> Any:
        def scale(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            values = inputs[0]
            if cues is None:
                return (values * factors[layer],)
            rows = torch.arange(len(values))[:, None]
            changed = values.clone()
            changed[rows, cues] = values[rows, cues] * factors[layer]
            return (changed,)

        return scale

    blocks = model.model.layers
    handles = [block.mlp.down_proj.register_forward_pre_hook(hook(layer)) for layer, block in enumerate(blocks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def factors_of(model: LlamaForCausalLM, changes: Sequence[tuple[Neurons, float]]) -> Tensor:
    """Factors for `scaled` that multiply each group of neurons by its number and leave the others alone."""
    config = model.config
    factors = torch.ones(config.num_hidden_layers, 1, 1, config.intermediate_size)
    for neurons, factor in changes:
        for layer, neuron in neurons:
            factors[layer, ..., neuron] = factor
    return factors
