"""Do two sets of neurons do together what they do one by one? In log-odds of the right letter, which don't saturate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuron_antagonism.metrics.bootstrap import Interval, Resamples, interval_around

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


def mean_interval(values: Float[np.ndarray, " example"], draws: Resamples) -> Interval:
    """95 % interval of the mean of an unbounded quantity, over the texts of its examples."""
    mean = float(values.mean())
    # nothing is known of how far a text that was not seen could lie from the others
    found = interval_around(mean, draws.means(values, mean, mean)[0])
    assert found is not None
    return found
