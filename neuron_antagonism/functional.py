"""Pure tensor functions of the method: quadrature, rankings, additive reordering, option probabilities."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.types import whole

DEFAULT_Z = 5000
DEFAULT_Z_SHARE = 0.0142  # 5000 of LLaMA-2-7B's 352,256 neurons: the paper's setting at its own scale
QUADRATURES = ("right", "midpoint", "gauss-legendre")
MAX_STEPS = 4096


def quadrature_rule(name: str, steps: object) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1] that approximate the path integral of integrated gradients.

    Args:
        name: "right" (NeuronLLM Eq. 1: k/m, k = 1..m), "midpoint" or "gauss-legendre".
        steps: number of nodes m.

    Raises:
        UsageError: an unknown rule, or a number of steps outside 1 to `MAX_STEPS`.
    """
    count = whole(steps)
    if count is None or not 1 <= count <= MAX_STEPS:
        raise UsageError(f"steps is {steps!r}; accepted: a whole number from 1 to {MAX_STEPS}, or 'auto'")
    steps = count
    if name == "right":
        return [(k + 1) / steps for k in range(steps)], [1 / steps] * steps
    if name == "midpoint":
        return [(k + 0.5) / steps for k in range(steps)], [1 / steps] * steps
    if name == "gauss-legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return [float(x) for x in (nodes + 1) / 2], [float(w) for w in weights / 2]
    raise UsageError(unknown("quadrature", name, QUADRATURES))


def option_log_probabilities(
    logits: Float[Tensor, "*batch vocab"],
    letters: Int[Tensor, "*batch option"],
    absent: Bool[Tensor, "*batch option"] | None = None,
) -> Float[Tensor, "*batch option"]:
    """Log-softmax over the letters' logits; −inf where a question has no such option."""
    found = torch.gather(logits, -1, letters)
    return (found if absent is None else found.masked_fill(absent, float("-inf"))).log_softmax(-1)


def ranked(scores: Float[Tensor, "layer neuron"], *, descending: bool = True) -> Int[Tensor, " rank"]:
    """Flat indices of all neurons, strongest first; ties go to the lower layer, then the lower index."""
    return torch.argsort(rearrange(scores, "layer neuron -> (layer neuron)"), descending=descending, stable=True)


def resolve_z(z: int | float | None, n_total: int, largest_k: int = 100, option: str = "z") -> int:
    """The number of neurons per example that may score in additive reordering.

    Args:
        z: a count (int), a fraction of all neurons (float below 1), or None for the default: 5000, capped at
            1.42 % of all, at least `largest_k`, at most half of all.
        n_total: layers times neurons.
        largest_k: the largest selection depth that will be used.
        option: how an error names z.

    Raises:
        UsageError: more than there are.
    """
    if z is None:
        return max(1, min(max(min(DEFAULT_Z, int(DEFAULT_Z_SHARE * n_total)), largest_k), n_total // 2))
    if isinstance(z, float) and 0 < z < 1:
        return max(1, int(z * n_total))
    if isinstance(z, float) or not 1 <= z <= n_total:
        raise UsageError(
            f"option {option}={z}: accepted: a count from 1 to {n_total} (all neurons of this model), "
            "or a fraction below 1"
        )
    return z


def additive_reordering(
    example_scores: Float[Tensor, "example layer neuron"], *, z: int, ambiguous: str = "drop"
) -> Float[Tensor, "layer neuron"]:
    """Task-level scores from example scores (NeuronLLM §3.4, Eq. 5).

    For each example the top z neurons with a positive score form its good set and the bottom z with a negative
    score its bad set; a neuron's task score is the sum of its example scores over the sets it is in.

    Args:
        example_scores: ES (Eq. 4) of each identification example.
        z: size of the per-example sets.
        ambiguous: "drop" zeroes neurons that are good for one example and bad for another (the paper);
            "keep" lets them score.
    """
    scores, both = reordered(example_scores, z=z)
    return scores.masked_fill(both, 0.0) if ambiguous == "drop" else scores


def reordered(
    example_scores: Float[Tensor, "example layer neuron"], *, z: int
) -> tuple[Float[Tensor, "layer neuron"], Bool[Tensor, "layer neuron"]]:
    """Task scores before ambiguous neurons are dropped, and which are ambiguous; see `additive_reordering`."""
    flat = rearrange(example_scores, "example layer neuron -> example (layer neuron)")
    good = _top(flat, z)
    bad = _top(-flat, z)
    scores = torch.where(good | bad, flat, torch.zeros_like(flat)).sum(0)
    both = good.any(0) & bad.any(0)
    n = example_scores.shape[-1]
    scores, both = (rearrange(found, "(layer neuron) -> layer neuron", neuron=n) for found in (scores, both))
    return scores, both


def _top(flat: Float[Tensor, "example neuron"], z: int) -> Bool[Tensor, "example neuron"]:
    order = torch.argsort(flat, dim=1, descending=True, stable=True)[:, :z]
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, True)
    return chosen & (flat > 0)
