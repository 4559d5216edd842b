"""From a part's spec to the part."""

from __future__ import annotations

from typing import Any

from neuron_antagonism.parts.antagonism import AntagonismRows
from neuron_antagonism.parts.distributions import DistributionRows
from neuron_antagonism.parts.gating import GatingRows
from neuron_antagonism.parts.masking import MaskingRows
from neuron_antagonism.parts.rows import Rows
from neuron_antagonism.parts.runs import RunRows
from neuron_antagonism.parts.specs import Classes, Part

KINDS: dict[str, Any] = {
    kind.kind: kind for kind in (MaskingRows, DistributionRows, GatingRows, AntagonismRows, RunRows)
}
"""By what a spec's field `part` says."""


def made(spec: Part, classes: Classes, text: tuple[str, ...]) -> Rows:
    """The part of a spec.

    Args:
        spec: what is measured.
        classes: how the suite's examples are drawn by class.
        text: plain texts for perplexity; () = the examples' own.
    """
    part: Rows = KINDS[spec.part](spec.name, spec, classes, text)
    return part
