"""The targets F of the shipped scorers (NeuronLLM §3.4 and §4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import neuron_antagonism as na

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class FourLetterProbability(na.Target):
    """Softmax over the four letters' logits, probability of the right one: exp(−cross-entropy) (NeuronLLM Eq. 3)."""

    name = "p(c) over the four letters"

    def __call__(
        self, logits: Float[Tensor, "*b vocab"], letters: Int[Tensor, "*b option"], answer: Int[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """F in [0, 1]."""
        return logits.gather(-1, letters).softmax(-1).gather(-1, answer[..., None])[..., 0]


class VocabularyProbability(na.Target):
    """Probability of the right letter over the whole vocabulary (KN: Dai et al. 2022; QRNCA: Chen et al. 2025)."""

    name = "p(c) over the vocabulary"

    def __call__(
        self, logits: Float[Tensor, "*b vocab"], letters: Int[Tensor, "*b option"], answer: Int[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """F in [0, 1]."""
        return logits.softmax(-1).gather(-1, letters).gather(-1, answer[..., None])[..., 0]


class ProbabilityDifference(na.Target):
    """p(c) − mean of p over the three wrong letters, over the whole vocabulary (TN: Li et al. 2025)."""

    name = "p(c) - mean p(wrong letters) over the vocabulary"

    def __call__(
        self, logits: Float[Tensor, "*b vocab"], letters: Int[Tensor, "*b option"], answer: Int[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """F in [−1/3, 1]."""
        p = logits.softmax(-1).gather(-1, letters)
        right = p.gather(-1, answer[..., None])[..., 0]
        return right - (p.sum(-1) - right) / (letters.shape[-1] - 1)
