"""Interaction: do a scorer's good and bad neurons do together what they do one by one?"""

from __future__ import annotations

from neuron_antagonism.method.edits import MAKERS, Edit
from neuron_antagonism.metrics.interaction import interaction
from neuron_antagonism.metrics.outcomes import MODES, sign
from neuron_antagonism.parts.judging.bench import Bench, Judge, Row


class Interaction(Judge):
    """Δ(good and bad) − Δ(good) − Δ(bad) in log-odds (nats), of the n strongest of each; + = more than the sum.

    The suite `antagonism` has the controls that tell antagonism from saturation.
    """

    name = "interaction"
    fields = ("n",)

    def measure(self, at: Bench) -> dict[str, list[Row]]:
        """Only scorers with bad neurons have one."""
        n = at.spec.n
        edits: list[Edit | None] = [None]
        asked = []
        for name in at.scores:
            found = at.candidate(name, n)
            if found.bad is None or not len(found.good) or not len(found.bad):
                continue
            for mode in MODES:
                asked.append((name, mode))
                make = MAKERS[mode]
                edits += [
                    make(found.good, None, budget=n, ratio=1.0, site=at.site),
                    make(found.good, found.bad, budget=n, ratio=0.0, site=at.site),
                    make(found.good, found.bad, budget=2 * n, ratio=0.5, site=at.site),
                ]
        odds = at.log_odds(edits, self.name)
        rows: dict[str, list[Row]] = {name: [] for name in at.scores}
        for number, (name, mode) in enumerate(asked):
            good, bad, both = odds[1 + 3 * number : 4 + 3 * number]
            values = sign(mode) * interaction(odds[0], good, bad, both)
            rows[name].append(at.mean(f"interaction.{mode}", values))
        return rows
