"""Control: what the paper's edits of a scorer's neurons do to held-out questions, and random neurons like them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from neuron_antagonism.method.edits import Edit
from neuron_antagonism.metrics.interaction import example_log_odds
from neuron_antagonism.metrics.judges import detectable
from neuron_antagonism.metrics.outcomes import MODES, sign
from neuron_antagonism.parts.judging.bench import Bench, Judge, Row, row
from neuron_antagonism.parts.matching import matched, mean_abs, touched
from neuron_antagonism.units.neurons import Candidate


class Control(Judge):
    """Change of log-odds (nats) and of accuracy (points) under the enhancer and the degrader, + = what it is for.

    Half of the budget good and half bad neurons; good ones alone where a scorer has no bad ones. `net` is the change
    beyond the mean of matched random sets: as many neurons of each layer, as active, edited in the same roles.
    `detectable` is the smallest change of log-odds that this many texts show with a power of 80 %. `neurons` is how
    many an edit touches: fewer than the budget where a scorer has no more, and then its figures are those of so many.
    """

    name = "control"
    fields = ("budget", "matched")

    def measure(self, at: Bench) -> dict[str, list[Row]]:
        """Every edit is a copy beside all others."""
        active = mean_abs(at.desk, at.identify, at.site)
        edits: list[Edit | None] = [None]
        asked: list[tuple[str, str]] = []
        rows: dict[str, list[Row]] = {}
        for name in at.scores:
            found = at.candidate(name)
            own = {mode: at.edit(mode, found) for mode in MODES}
            touched = sum(len(part.neurons) for part in own["enhance"].parts)
            few = (
                f"{touched} of {at.spec.budget} neurons have a score in their role" if touched < at.spec.budget else ""
            )
            rows[name] = [row("control.neurons", touched, note=few if touched else "no neuron has a score")]
            for mode in MODES if touched else ():
                asked.append((name, mode))
                edits += [own[mode], *(at.edit(mode, other) for other in _matched(found, own[mode], active, at))]
        answers = at.answers(edits, self.name)
        odds = np.stack([example_log_odds(one) for one in answers])
        right = np.stack([one.outcomes.right / one.outcomes.proxies for one in answers])
        size = 1 + at.spec.matched
        for number, (name, mode) in enumerate(asked):
            own_rows = slice(1 + number * size, 1 + (number + 1) * size)
            rows[name] += _rows(mode, odds[0], odds[own_rows], right[0], right[own_rows], at)
        return rows


def _matched(found: Candidate, own: Edit, active: Float[np.ndarray, "layer neuron"], at: Bench) -> list[Candidate]:
    """Random neurons in the place of those that the edit touches."""
    return matched(touched(found, own), active, at.spec.matched, np.random.default_rng([at.seed, 1]))


def _rows(
    mode: str,
    before: Float[np.ndarray, " example"],
    odds: Float[np.ndarray, "edit example"],
    right_before: Float[np.ndarray, " example"],
    right: Float[np.ndarray, "edit example"],
    at: Bench,
) -> list[Row]:
    """The first edit is the scorer's, the others those of matched sets."""
    change = sign(mode) * (odds - before)
    points = 100 * sign(mode) * (right - right_before)
    rows = [
        at.mean(f"control.{mode}", change[0]),
        at.mean(f"control.{mode}-net", change[0] - change[1:].mean(0)),
        at.mean(f"control.{mode}-accuracy", points[0]),
        at.mean(f"control.{mode}-accuracy-net", points[0] - points[1:].mean(0)),
    ]
    _, text = np.unique(at.units, return_inverse=True)
    by_text = np.bincount(text, change[0]) / np.bincount(text)
    spread = float(by_text.std(ddof=1)) if len(by_text) > 1 else float("nan")
    return [*rows, row(f"control.{mode}-detectable", detectable(spread, len(by_text)) if spread > 0 else float("nan"))]
