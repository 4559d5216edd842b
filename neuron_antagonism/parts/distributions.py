"""How unit values are distributed by class: the whole idea of ranges rests on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_antagonism.files import write_whole
from neuron_antagonism.method.moments import gaussian_overlap
from neuron_antagonism.method.observe import Observation, observe
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.parts.subject import Concept, Subject
from neuron_antagonism.suites.rows import write_rows
from neuron_antagonism.suites.spec import Distributions

SIGNIFICANT = 0.05


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


def write_distributions(spec: Distributions, subject: Subject, rows: list[dict[str, Any]], folder: Path) -> None:
    """Write the values of each class's shown unit as CSV, and a plot of them by class with the range marked as PNG."""
    from neuron_antagonism.report.plots import plot_values

    units = {row["concept"]: tuple(int(part) for part in row["shown"].split(".")) for row in rows}
    values = list(_values(subject, units))
    write_rows(folder / f"{subject.name}.{spec.name}.csv", [{"task": subject.name, **value} for value in values])
    write_whole(folder / f"{subject.name}.{spec.name}.png", plot_values(rows, values, spec.tau))


def _values(subject: Subject, units: Mapping[str, tuple[int, ...]]) -> Iterator[dict[str, Any]]:
    """The shown units' values on every rightly answered identification question, in the questions' order."""
    questions = [question for example in subject.split.identify for question in example.proxies]
    found: dict[int, Tensor] = {}

    def see(seen: Observation) -> None:
        for row, i in enumerate(seen.questions):
            if seen.right[row]:
                found[i] = torch.stack([seen.values[row, layer, unit] for layer, unit in units.values()])

    observe(subject.model, subject.split.identify, see, site=subject.suite.site)
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
