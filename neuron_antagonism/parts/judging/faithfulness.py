"""Faithfulness: what is left of the model with a scorer's first neurons alone, and without them."""

from __future__ import annotations

from functools import partial

import numpy as np

from neuron_antagonism.method.faithfulness import Faithfulness as Curve
from neuron_antagonism.method.faithfulness import faithfulness_many
from neuron_antagonism.metrics.judges import RANKINGS, SHARES, areas, comprehensiveness, faithfulness, over_texts
from neuron_antagonism.parts.judging.bench import Bench, Judge, Row, row


class Faithfulness(Judge):
    """CPR, CMD, f(k), completeness and comprehensiveness, of the signed and of the absolute ranking.

    `f@1%` is that of the first 1 % of all neurons.
    """

    name = "faithfulness"
    fields = ("target", "rest")
    points = SHARES

    def measure(self, at: Bench) -> dict[str, list[Row]]:
        """Every scorer's sets are copies beside one another."""
        # the part has settled it
        assert at.spec.rest is not None
        curves = faithfulness_many(
            at.model,
            at.evaluate,
            {name: one for name, one in at.scores.items() if not at.says_nothing(name)},
            baseline=at.spec.rest,
            mean_of=at.identify,
            target=at.spec.target,
            site=at.site,
            progress=at.told(self.name),
        )
        silent = row("faithfulness.cpr", float("nan"), note="all neurons have the same score")
        return {
            name: [silent]
            if at.says_nothing(name)
            else [one for ranking in RANKINGS for one in _rows(curves[name, ranking], at.seed)]
            for name in at.scores
        }


def _rows(curve: Curve, seed: int) -> list[Row]:
    label = "faithfulness" if curve.ranking == "signed" else f"faithfulness-{curve.ranking}"
    over = partial(over_texts, units=curve.units, seed=seed)
    both = over(areas, curve.kept, curve.empty, curve.clean)
    rows = [row(f"{label}.{name}", both.value[i], both.low[i], both.high[i]) for i, name in enumerate(("cpr", "cmd"))]
    columns = {
        "f": over(faithfulness, curve.kept, curve.empty, curve.clean),
        "completeness": over(faithfulness, curve.removed, curve.empty, curve.clean),
        "comprehensiveness": over(comprehensiveness, curve.clean, curve.removed),
    }
    for name, found in columns.items():
        values = zip(SHARES, np.stack([found.value, found.low, found.high], axis=1), strict=True)
        rows += [row(f"{label}.{name}@{100 * share:g}%", *ends) for share, ends in values]
    return rows
