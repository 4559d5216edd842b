"""The least that integrated gradients of one question can cost, in operations, and the machine's own matrix rate."""

from __future__ import annotations

import torch
from measure import seconds


def integrated(layers: int, width: int, ffn: int, vocabulary: int, length: int, steps: int) -> float:
    """Multiplications and additions of all neurons' integrated gradients of one question, LLaMA's blocks.

    - the prefix once: every block on all tokens but the last, each of which sees those before it;
    - a copy of the last token for each block, step and zero, forward from that block's output projection on;
    - the probability over the whole vocabulary of each copy;
    - the same backwards, for the copies of the steps: gradients of activations alone, none of weights.
    """
    block, out, head = 2 * (4 * width**2 + 3 * width * ffn), 2 * width * ffn, 2 * width * vocabulary
    sees = 4 * width  # scores and sums, for each token that is seen
    prefix = layers * ((length - 1) * block + sees * length * (length - 1) / 2)
    above = layers * (layers - 1) / 2 * (block + sees * length) + layers * (out + head)
    last = layers * (block + sees * length)
    return float(prefix + last + above * (steps + 1) + above * steps)


def matrix_rate(size: int = 1536, rounds: int = 12) -> float:
    """Operations a second of a product of square float32 matrices: the best of some rounds."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(rounds))
