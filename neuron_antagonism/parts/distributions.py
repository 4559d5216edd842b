"""How unit values are distributed by class: the whole idea of ranges rests on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_antagonism.files import file_name, write_whole
from neuron_antagonism.method.moments import gaussian_overlap
from neuron_antagonism.method.observe import Observation, observe
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.rows import Rows
from neuron_antagonism.parts.specs import Distributions
from neuron_antagonism.parts.subject import Concept, Subject, check_layers
from neuron_antagonism.report.rows import write_rows
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class DistributionRows(Rows):
    """The part `distributions`."""

    kind = "distributions"
    aside = Rows.aside | {"tau"}  # of the plots alone
    spec: Distributions

    def ingredients(self) -> list[Any]:
        """The classes too."""
        return [*super().ingredients(), asdict(self.classes)]

    def check(self, desk: Desk) -> None:
        """Two classes to learn from, and blocks that are there."""
        check_layers(self.name, self.spec.layers, desk.model.n_layers)
        Subject.at(desk, self.classes, self.text).check()

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """See `distributions`; beside the rows the values of the units that are shown."""
        subject = Subject.at(desk, self.classes, self.text)
        rows = distributions(self.spec, subject)
        meta = {"rows": rows, "left_out": subject.left_out, "notes": subject.split.report.notes}
        return Payload(meta | {"values": list(_values(subject, shown_units(rows)))})

    def finish(self, found: Iterable[tuple[Mapping[str, Any], Payload]], out: Path) -> None:
        """Write the values of each class's shown unit as CSV, and a plot of them by class as PNG."""
        from neuron_antagonism.report.plots import plot_values

        folder = out / "plots"
        folder.mkdir(parents=True, exist_ok=True)
        for about, payload in found:
            values = payload.meta["values"]
            told = [str(value) for value in about.values()]
            name = file_name(".".join([*told, self.name]))
            write_rows(folder / f"{name}.csv", [{**about, **value} for value in values])
            picture = plot_values(payload.meta["rows"], values, self.spec.tau, ", ".join(told))
            write_whole(folder / f"{name}.png", picture)


def shown_units(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    """By class, layer and index of the unit that its row shows."""
    return {row["concept"]: tuple(int(part) for part in row["shown"].split(".")) for row in rows}


def distributions(spec: Distributions, subject: Subject) -> list[dict[str, Any]]:
    """One row for each class: how Gaussian its selected units are on it, and how much its Gaussians overlap others'.

    Overlap is the overlap coefficient, 0 (apart) to 1 (equal), averaged over the other classes; normality is Jarque
    and Bera's test of each unit, at 5 %.
    """
    rows = []
    for concept in subject.concepts:
        units = concept.saliency.top_share(spec.share, spec.layers)
        own = subject.statistics.of(concept.name)
        at = units.layers, units.neurons
        overlap = _overlap(concept, subject)
        shown = _shown(units, overlap, subject)
        rows.append(
            {
                "task": subject.name,
                "concept": concept.name,
                "questions": concept.questions,
                "units": len(units),
                "normal_share": float((own.normality[at] >= SIGNIFICANT).double().mean()),
                "median_abs_skewness": float(own.skewness[at].abs().nanmedian()),
                "median_kurtosis": float(own.kurtosis[at].nanmedian()),
                "overlap_selected": float(overlap[at].mean()),
                "overlap_all": float(overlap.mean()),
                "shown": f"{shown[0]}.{shown[1]}",
                "shown_overlap": float(overlap[shown]),
                "shown_mean": float(own.mean[shown]),
                "shown_std": float(own.std[shown]),
            }
        )
    return rows


def _values(subject: Subject, units: Mapping[str, tuple[int, ...]]) -> Iterator[dict[str, Any]]:
    """The shown units' values on every rightly answered identification question, in the questions' order."""
    questions = [question for example in subject.split.identify for question in example.proxies]
    found: dict[int, Tensor] = {}

    def see(seen: Observation) -> None:
        for row, i in enumerate(seen.questions):
            if seen.right[row]:
                found[i] = torch.stack([seen.values[row, layer, unit] for layer, unit in units.values()])

    observe(subject.model, subject.split.identify, see, site=subject.classes.site)
    for number, (concept, (layer, unit)) in enumerate(units.items()):
        for i in sorted(found):
            where = {"unit_of": concept, "layer": layer, "unit": unit}
            yield where | {"concept": questions[i].concept, "value": float(found[i][number])}


def _overlap(concept: Concept, subject: Subject) -> Float[Tensor, "layer unit"]:
    """Mean overlap coefficient of a class's Gaussians with the other classes'."""
    own = subject.statistics.of(concept.name)
    others = [subject.statistics.of(other.name) for other in subject.concepts if other.name != concept.name]
    return torch.stack([gaussian_overlap(own.mean, own.std, o.mean, o.std) for o in others]).mean(0)


def _shown(units: NeuronSet, overlap: Float[Tensor, "layer unit"], subject: Subject) -> tuple[int, int]:
    """Of a class's selected units the one whose range overlaps the others' least, by Gaussians that fit.

    A Gaussian that does not fit makes units seem apart that are not; where none fits every class, any unit will do.
    """
    at = units.layers, units.neurons
    tests = torch.stack([subject.statistics.of(one.name).normality[at] for one in subject.concepts])
    fits = (tests >= SIGNIFICANT).all(0)
    best = int((overlap[at].masked_fill(~fits, 2.0) if bool(fits.any()) else overlap[at]).argmin())
    return int(units.layers[best]), int(units.neurons[best])
