"""Do two sets of neurons do together what they do one by one? In log-odds of the right letter, which don't saturate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuron_antagonism.errors import UsageError
from neuron_antagonism.method.bootstrap import REPLICATES, Interval, Resamples

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from neuron_antagonism.method.evaluate import Evaluation

SUB, ADDITIVE, SUPER = "sub-additive", "additive", "super-additive"


def log_odds(
    log_probabilities: Float[Tensor, "question option"], answers: Int[Tensor, " question"]
) -> Float[Tensor, " question"]:
    """log p − log(1 − p) of each question's right option, in nats.

    Args:
        log_probabilities: of the options; −inf where a question has no such option.
        answers: index of the right one.
    """
    right = answers[:, None]
    # where p rounds to 1, only the others' own sum still knows 1 − p
    others = log_probabilities.scatter(1, right, float("-inf")).logsumexp(1)
    return log_probabilities.gather(1, right)[:, 0] - others


def example_log_odds(answers: Evaluation) -> Float[np.ndarray, " example"]:
    """Log-odds of the right letter by example, the mean over its proxies, in nats."""
    sizes = np.array([len(example.proxies) for example in answers.examples])
    found = log_odds(answers.log_probabilities.double(), answers.answers).numpy()
    means: Float[np.ndarray, " example"] = np.add.reduceat(found, np.cumsum(sizes) - sizes) / sizes
    return means


def interaction(
    before: Float[np.ndarray, "*draw example"],
    first: Float[np.ndarray, "*draw example"],
    second: Float[np.ndarray, "*draw example"],
    both: Float[np.ndarray, "*draw example"],
) -> Float[np.ndarray, "*draw example"]:
    """Δ(both) − Δ(first) − Δ(second), where Δ is what an edit adds to `before`; all of the same examples and unit."""
    together: Float[np.ndarray, "*draw example"] = (both - before) - (first - before) - (second - before)
    return together


def verdict(interval: Interval) -> str:
    """What the interval of an interaction says: additive where it holds 0."""
    low, high = interval
    return SUB if high < 0 else SUPER if low > 0 else ADDITIVE


class Texts:
    """The bootstrap of texts: examples about one text are drawn together. Made once for figures to be compared.

    Args:
        units: what each example is about; equal ones are one text.
        n: replicates.
        seed: the same seed and units give the same draws.

    Raises:
        UsageError: no examples.
    """

    def __init__(self, units: Sequence[str], n: int = REPLICATES, seed: int = 0) -> None:
        """Draw."""
        if not units:
            raise UsageError("bootstrap of no texts; accepted: at least one")
        _, self._text = np.unique(units, return_inverse=True)
        self._sizes = np.bincount(self._text)
        self._draws = Resamples(np.zeros(len(self._sizes)), n, seed)

    def interval(self, values: Float[np.ndarray, " example"]) -> Interval:
        """95 % interval of the mean over examples."""
        sums = self._draws.sums(np.stack([np.bincount(self._text, weights=values), self._sizes]))
        return spread(sums[0] / sums[1])


def spread(values: Float[np.ndarray, " draw"]) -> Interval:
    """The middle 95 % of some values."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
