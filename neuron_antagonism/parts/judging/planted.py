"""Planted truth: does a scorer find the neurons that were put into a model to help or to hinder?"""

from __future__ import annotations

from neuron_antagonism.metrics.judges import auroc, precision
from neuron_antagonism.parts.judging.bench import Bench, Judge, Row, row
from neuron_antagonism.units.neurons import ROLES


class Planted(Judge):
    """AUROC, and precision at as many as were planted, by role; nothing where none is known to be planted.

    Exact ablation, as a scorer beside the others, shows what can be reached.
    """

    name = "planted"

    def measure(self, at: Bench) -> dict[str, list[Row]]:
        """From the scores alone."""
        planted = at.model.planted
        rows: dict[str, list[Row]] = {name: [] for name in at.scores}
        if planted is None or at.site != "post":
            return rows
        for name, one in at.scores.items():
            for role in (role for role in ROLES if role in one.roles):
                neurons = planted[role]
                scores = one.scores.double().numpy() * (1 if role == "good" else -1)
                chosen = dict(at.candidate(name, len(neurons)).sets)[role]
                rows[name] += [
                    row(f"planted.{role}-auroc", auroc(scores, neurons)),
                    row(f"planted.{role}-precision", precision(chosen, neurons)),
                ]
        return rows
