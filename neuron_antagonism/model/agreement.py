"""How far two computations of the same logits lie apart, how far they may, and the verdict on such a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ROUNDING = {torch.float64: 2e-6, torch.float32: 2e-5, torch.bfloat16: 4e-2, torch.float16: 1e-2}
"""Accepted difference between the same operations, of which some were split or batched otherwise.

float64: some architectures compute their softmax and angles in float32 by themselves.
"""

BATCHED = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Accepted difference between a prompt run alone and run with others, in pieces or as copies.

A wrong mask, or another rotation, differs by 10 % and more.
"""


@dataclass(frozen=True)
class Proof:
    """One thing that was proved, or not.

    Attributes:
        name: what.
        figure: what was measured.
        bound: the largest figure that is accepted.
        holds: the verdict.
        detail: the figure in words; of what does not hold also what is accepted.
    """

    name: str
    figure: float
    bound: float
    holds: bool
    detail: str


def difference(ours: Float[Tensor, "*shape"], theirs: Float[Tensor, "*shape"]) -> float:
    """Largest difference as a share of the largest magnitude.

    −inf, which some models give to entries of the vocabulary that they never use, must stand in the same places; inf
    where it does not, NaN where either holds one.
    """
    ours, theirs = (logits.detach().double() for logits in (ours, theirs.to(ours.device)))
    masked = torch.isneginf(theirs)
    if not torch.equal(torch.isneginf(ours), masked):
        return float("inf")
    ours, theirs = ours.masked_fill(masked, 0), theirs.masked_fill(masked, 0)
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12))
