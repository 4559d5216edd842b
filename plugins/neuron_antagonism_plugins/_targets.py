"""The shipped targets F: what a neuron is asked to explain (NeuronLLM §3.4 and §4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import neuron_antagonism as na

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class LetterProbability(na.Target):
    """Softmax over the letters' logits, probability of the right one: exp(−cross-entropy)."""

    name = "letter-probability"
    reference = "ACE, NeuronLLM Eq. 3"

    def __call__(
        self, logits: Float[Tensor, "*b vocab"], letters: Int[Tensor, "*b option"], answer: Int[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """F in [0, 1]."""
        return logits.gather(-1, letters).softmax(-1).gather(-1, answer[..., None])[..., 0]


class Probability(na.Target):
    """Probability of the right letter over the whole vocabulary."""

    name = "probability"
    reference = "KN: Dai et al. 2022; QRNCA: Chen et al. 2025"

    def __call__(
        self, logits: Float[Tensor, "*b vocab"], letters: Int[Tensor, "*b option"], answer: Int[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """F in [0, 1]."""
        return logits.softmax(-1).gather(-1, letters).gather(-1, answer[..., None])[..., 0]


class Contrast(na.Target):
    """p(right) − mean of p over the wrong letters, p over the whole vocabulary."""

    name = "contrast"
    reference = "TN: Li et al. 2025"

    def __call__(
        self, logits: Float[Tensor, "*b vocab"], letters: Int[Tensor, "*b option"], answer: Int[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """F in [−1 / wrong letters, 1]."""
        p = logits.softmax(-1).gather(-1, letters)
        right = p.gather(-1, answer[..., None])[..., 0]
        return right - (p.sum(-1) - right) / (letters.shape[-1] - 1)


class LogOdds(na.Target):
    """Log-odds of the right letter among the letters, ln(p / (1 − p)), in nats; unlike p it does not saturate."""

    name = "log-odds"
    reference = "the logit of NeuronLLM Eq. 3"

    def __call__(
        self, logits: Float[Tensor, "*b vocab"], letters: Int[Tensor, "*b option"], answer: Int[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """F, unbounded: the right letter's logit less the log-sum-exp of the wrong ones'."""
        found = logits.gather(-1, letters)
        right = found.gather(-1, answer[..., None])
        wrong = found.scatter(-1, answer[..., None], float("-inf"))
        return right[..., 0] - wrong.logsumexp(-1)


class LogitDifference(na.Target):
    """The right letter's logit less the mean of the wrong letters'."""

    name = "logit-difference"
    reference = "Wang et al. 2023 (IOI), with several wrong answers as in MIB (Mueller et al. 2025)"

    def __call__(
        self, logits: Float[Tensor, "*b vocab"], letters: Int[Tensor, "*b option"], answer: Int[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """F, unbounded; linear in the logits."""
        found = logits.gather(-1, letters)
        right = found.gather(-1, answer[..., None])[..., 0]
        return right - (found.sum(-1) - right) / (letters.shape[-1] - 1)
