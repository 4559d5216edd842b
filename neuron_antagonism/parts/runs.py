"""A run as a part of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_antagonism.metrics.bootstrap import Resamples
from neuron_antagonism.metrics.differences import Difference, differences, gains
from neuron_antagonism.metrics.protocols import PROTOCOLS, SHOWN
from neuron_antagonism.metrics.sweeps import Sweep
from neuron_antagonism.parts.effects import Effects
from neuron_antagonism.parts.results import collected, method_of, task_results
from neuron_antagonism.parts.rows import Rows
from neuron_antagonism.parts.specs import Run
from neuron_antagonism.parts.sweeping import ALONE, effect_rows, paired
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload, Shelf, Unit

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk


@dataclass(frozen=True)
class RunRows(Rows):
    """The part `effects`: a row for each task, protocol, scorer and direction.

    A row holds the cell of a run's table: accuracy before and after, RAC, RCC and the change as examples come with
    their 95 % intervals; of the protocol `held-out` also `net`, the change of accuracy in points beyond RANDOM's mean,
    with its interval, and `method_…`, how much further the first scorer gets that does not draw; `natural`, the
    unedited accuracy as examples come, and comprehension, and the share of examples that the model understands; and the
    share of planted neurons that the scorer finds (None without). Where every ratio is evaluated, the protocols `good`
    and `bad` are those of one kind of neurons alone, and `both_…` is how much further the same scorer gets with both,
    at the ratio that `held-out` chooses.
    """

    kind = "effects"
    spec: Run

    @property
    def effects(self) -> Effects:
        """The run's part."""
        asked = {"site": self.classes.site, "form": self.classes.task_form, "shots": self.classes.task_shots}
        return Effects(self.spec.config(**asked), self.spec.chosen(), *self.spec.acts())

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """Nothing: a run's units have recipes of their own."""
        raise NotImplementedError

    def check(self, desk: Desk) -> None:
        """As a run does."""
        self.effects.check_options()
        self.effects.check(desk)

    def first(self, job: Job) -> list[Unit]:
        """The examples."""
        return self.effects.first(job)

    def units(self, job: Job, group: Sequence[Job], shelf: Shelf) -> list[Unit]:
        """See `Part.units`."""
        return self.effects.units(job, group, shelf)

    def found(self, job: Job, group: Sequence[Job], shelf: Shelf) -> Payload | None:
        """A job's rows; None where something of it is not there."""
        part = self.effects
        if not part.answered(job, group, shelf):
            return None
        own = collected(part, job, tuple(group), shelf)
        sweeps = own.sweeps()
        results = task_results(own, sweeps)
        method, resamples = method_of(sweeps), sweeps[0].evaluation.baseline.resamples(job.seed)
        compared = _compared(sweeps, method, resamples)
        net = {(one["method"], one["mode"]): one for one in results["net"] if one["metric"] == "rac"}
        protocols = [name for name in PROTOCOLS if name in {*self.spec.protocols, SHOWN}]
        natural = results["natural"]
        rows = []
        read = own.split.natural.counts
        for cell in effect_rows(sweeps, protocols, method=method, resamples=resamples, read=read):
            beyond = net.get((cell["scorer"], cell["mode"]), {}) if cell["protocol"] == SHOWN else {}
            planted = (results["planted"] or {}).get(cell["scorer"], {})
            rows.append(
                {"task": job.name}
                | cell
                | compared.get((cell["protocol"], cell["scorer"], cell["mode"]), {})
                | {"net": beyond.get("points"), "net_interval": beyond.get("points_interval")}
                | {"natural": natural["acc"], "natural_interval": natural["acc_interval"]}
                | {"natural_com": natural["com"], "natural_com_interval": natural["com_interval"]}
                | {"understood": natural["understood"], "above_chance": natural["above_chance"]}
                | {"planted_good": planted.get("good"), "planted_bad": planted.get("bad")}
            )
        return Payload({"rows": rows, "notes": results["split"]["notes"]})


def _compared(sweeps: Sequence[Sweep], method: str, resamples: Resamples) -> dict[tuple[str, str, str], dict[str, Any]]:
    """By protocol, scorer and mode what rows hold of paired comparisons."""
    found: dict[tuple[str, str, str], list[Difference]] = {}
    for one in differences(sweeps, SHOWN, method=method, resamples=resamples):
        found.setdefault((SHOWN, one.baseline, one.mode), []).append(one)
    for name, tenths in ALONE.items():
        for one in gains(sweeps, tenths, resamples=resamples):
            found.setdefault((name, one.baseline, one.mode), []).append(one)
    rows = {at: paired("both" if at[0] in ALONE else "method", own) for at, own in found.items()}
    return {at: row | ({"method": method} if at[0] == SHOWN else {}) for at, row in rows.items()}
