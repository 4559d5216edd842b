"""A scorer whose target is a difference of logits."""

from pydantic import Field

import neuron_antagonism as na


class LogitDifference(na.Target):
    """Logit of the right letter minus the mean, or the largest, of the wrong ones."""

    name = "logit difference"

    def __init__(self, against):
        """Remember what the right letter is set against: "mean" or "max"."""
        self.against = against

    def __call__(self, logits, letters, answer):
        """F without bounds: it does not saturate where a probability does."""
        four = logits.gather(-1, letters)
        index = answer[..., None]
        right = four.gather(-1, index)[..., 0]
        if self.against == "mean":
            return right - (four.sum(-1) - right) / 3
        return right - four.scatter(-1, index, float("-inf")).amax(-1)


class LogitDifferenceScorer(na.Scorer):
    """Integrated gradients of the right letter's logit against the wrong ones'."""

    name = "logit-difference"

    class Options(na.Scorer.Options):
        """Options of the target."""

        against: str = Field(default="mean", pattern="^(mean|max)$", description="mean or max of the wrong letters")

    @property
    def target(self):
        """Two scorers with equal options share one target."""
        return LogitDifference(self.options.against)


@na.hookimpl
def neuron_antagonism_scorers():
    """Register the scorer."""
    return [LogitDifferenceScorer]
