"""In which layers good and bad neurons are (NeuronLLM, Figures 5, 6 and 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuron_antagonism.method.shared import common, specific
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.of_tasks import GroupRows
from neuron_antagonism.parts.specs import Layers
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk


@dataclass(frozen=True)
class LayerRows(GroupRows):
    """The part `layers`: a row for each task, scorer, role, kind of neurons and layer, with how many there are.

    `neurons` says which: `all`, the `count` strongest; `specific`, those left when what two tasks share is taken out
    and refilled; `common`, the shared ones, the same under each task. `depth` is how far down the rankings one had to
    go for those.
    """

    kind = "layers"
    spec: Layers

    def depth(self, n_units: int) -> int:
        """As many as are counted."""
        return min(self.spec.count, n_units)

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """The rows of a task."""
        rows: list[dict[str, Any]] = []
        count, task = self.spec.count, desk.job.name
        for scorer in self.spec.scorers:
            for role, tasks in self.rankings(desk, group, scorer).items():
                if task not in tasks:
                    continue
                found: dict[str, tuple[NeuronSet, int | None]] = {"all": (tasks[task].top(count), None)}
                if len(tasks) > 1:
                    shared = common(tasks, count, count)
                    found["specific"] = specific(tasks, count)[task], None
                    found["common"] = shared.neurons, shared.depth
                about = {"task": task, "scorer": scorer, "role": role}
                for kind, (neurons, depth) in found.items():
                    counts = np.bincount(neurons.layers.numpy(), minlength=desk.model.n_layers)
                    rows += [
                        about | {"neurons": kind, "layer": layer, "count": int(number), "depth": depth}
                        for layer, number in enumerate(counts)
                    ]
        return Payload({"rows": rows, "notes": self.sizes.at(desk).split.report.notes})
