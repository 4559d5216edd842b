"""How attribution is carried out; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuron_antagonism.progress import Progress

COMPLETENESS_TOLERANCE = 0.1
"""The largest completeness error that "auto" steps accept, and that no warning is given for."""


@dataclass(frozen=True)
class Settings:
    """How attribution is carried out.

    Args:
        steps: number of quadrature nodes m, or "auto": one m for all scorers of a call and for all tasks of a run,
            doubled from 16 until every completeness error is at most 10 %, at most 256.
        quadrature: "right" (NeuronLLM Eq. 1), "midpoint" or "gauss-legendre".
        engine: "auto", "replay", "rows" or "reference".
        site: "post" (input of the FFN's output projection), "up", or "resid_post" (residual stream after a block).
        budget: the largest number of neurons that will be chosen from the scores; bounds the default z.
        seed: of scorers that draw, unless their own option `seed` is set.
        max_tokens: tokens in one forward (copies × prompts); None = planned from the free memory. Halved and retried
            where memory runs out; results do not depend on it beyond rounding.
        progress: called with what is being done, how much is done and how much there is.
    """

    steps: int | str = 16
    quadrature: str = "right"
    engine: str = "auto"
    site: str = "post"
    budget: int = 100
    seed: int = 0
    max_tokens: int | None = None
    progress: Progress | None = field(default=None, compare=False)
