"""Edits: which intervention acts on which neurons, where (NeuronLLM §3.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.errors import PluginError, UsageError, unknown
from neuron_antagonism.method.guard import left_as_it_was
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.plugin.foreign import foreign
from neuron_antagonism.plugin.manager import registry, run_check
from neuron_antagonism.types import Example, Question, as_examples, whole

if TYPE_CHECKING:
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel, Write

POSITIONS = ("last", "all")


@dataclass(frozen=True)
class Part:
    """One intervention on one set of neurons."""

    intervention: Intervention
    neurons: NeuronSet

    def __post_init__(self) -> None:
        """Refuse what is no neuron set where it is given, not where it is used."""
        if not isinstance(self.neurons, NeuronSet):
            raise UsageError(
                f"{self.neurons!r:.80} is no neuron set; accepted: na.NeuronSet, such as NeuronSet.of(pairs)"
            )

    @cached_property
    def by_layer(self) -> dict[int, Tensor]:
        """Neuron indices by layer."""
        return self.neurons.by_layer()


@dataclass(frozen=True)
class Edit:
    """Disjoint parts that act together.

    Args:
        parts: interventions and their neurons.
        positions: "last" (the last position of every forward) or "all".
        site: where it acts: "post", "up" or "resid_post".
        mode: "enhance", "degrade", or "" for an edit made by hand.
        ratio: the share of good neurons in the budget that was asked for.
        n_good, n_bad: how many neurons are really used; a set that runs short is not filled up.

    Raises:
        UsageError: unknown positions, a neuron in two parts, or neurons of another site.
    """

    parts: tuple[Part, ...]
    positions: str = "last"
    site: str = "post"
    mode: str = ""
    ratio: float | None = None
    n_good: int | None = None
    n_bad: int | None = None

    def __post_init__(self) -> None:
        """Check once, where it is made."""
        if self.positions not in POSITIONS:
            raise UsageError(unknown("positions", self.positions, POSITIONS))
        for part in self.parts:
            part.neurons.at(self.site)
        pairs = [pair for part in self.parts for pair in part.neurons]
        if len(set(pairs)) != len(pairs):
            twice = next(pair for pair in pairs if pairs.count(pair) > 1)
            raise UsageError(f"neuron {twice[0]}.{twice[1]} is in two parts of an edit; accepted: disjoint sets")

    @property
    def layers(self) -> list[int]:
        """Blocks with edited neurons, ascending."""
        return sorted({layer for part in self.parts for layer in part.by_layer})

    @property
    def foldable(self) -> bool:
        """Whether the edit equals scaling columns of the FFN output projections."""
        return (
            self.positions == "all"
            and self.site == "post"
            and all(part.intervention.scale is not None for part in self.parts)
        )

    def at(self, positions: str) -> Edit:
        """The same edit at other positions."""
        return replace(self, positions=positions)

    def fit(self, model: HookedModel, examples: Sequence[Example | Question]) -> Edit:
        """The same edit, its interventions fitted on their own neurons where they need it and are not yet.

        Args:
            model: the unedited model.
            examples: what to learn from.
        """
        asked = as_examples(examples)
        parts = (
            replace(p, intervention=fitted(p.intervention, model, asked, p.neurons.at(self.site))) for p in self.parts
        )
        return replace(self, parts=tuple(parts))

    @property
    def asks(self) -> bool:
        """Whether it depends on which questions are asked: such an edit acts in `evaluate` only."""
        return any(part.intervention.asks for part in self.parts)

    def on(self, model: HookedModel, questions: Sequence[Question]) -> Edit:
        """The same edit for a batch of these questions, in their order."""
        parts = []
        for part in self.parts:
            own = part.intervention
            if own.asks and len(part.neurons):
                with foreign(f"intervention {own.name!r} failed in on()"):
                    own = own.on(model, questions, self.site)
            parts.append(replace(part, intervention=own))
        return replace(self, parts=tuple(parts))

    def check(self, model: HookedModel) -> None:
        """Raise unless every neuron exists in the model and every intervention is fitted, and fitted here."""
        for part in (part for part in self.parts if len(part.neurons)):
            part.neurons.check(model.n_layers, model.units(self.site))
            if part.intervention.needs_fit and not part.intervention.fitted:
                raise UsageError(
                    f"intervention {part.intervention.name!r} is not fitted; accepted: the copy "
                    "that its fit() returns, as in edit.fit(model, examples)"
                )
            if part.intervention.site not in (None, self.site):
                raise UsageError(
                    f"intervention {part.intervention.name!r} was fitted at site {part.intervention.site!r} and is "
                    f"used at {self.site!r}; accepted: fitted where it acts, on neurons.at({self.site!r})"
                )

    def apply(self, values: Tensor, layer: int) -> Tensor:
        """New values [batch, position, neuron] of a layer; every position given is edited."""
        for part in self.parts:
            neurons = part.by_layer.get(layer)
            if neurons is None:
                continue
            neurons = neurons.to(values.device)
            before = values[..., neurons]
            with foreign(f"intervention {part.intervention.name!r} failed in edit()"):
                after = part.intervention.edit(before, layer, neurons)
            if not isinstance(after, torch.Tensor) or after.shape != before.shape or after.dtype != before.dtype:
                got = f"{tuple(after.shape)} {after.dtype}" if isinstance(after, torch.Tensor) else repr(after)
                raise PluginError(
                    f"intervention {part.intervention.name!r} returned {got}; "
                    f"accepted: {tuple(before.shape)} {before.dtype}, as it was given"
                )
            if not bool(torch.isfinite(after).all()) and bool(torch.isfinite(before).all()):
                raise PluginError(
                    f"intervention {part.intervention.name!r} returned values that are not finite in layer {layer}; "
                    "accepted: finite ones for finite ones"
                )
            values = values.index_copy(-1, neurons, after)
        return values

    def write(self, model: HookedModel) -> Write:
        """The function that edits whole forwards of `model`."""
        if self.positions == "all":
            return self.apply
        return lambda values, layer: torch.cat([values[:, :-1], self.apply(values[:, -1:], layer)], dim=1)


def fitted(
    intervention: Intervention, model: HookedModel, examples: Sequence[Example], neurons: NeuronSet
) -> Intervention:
    """The intervention, fitted where it needs it and is not yet.

    Raises:
        PluginError: fitting did not leave the model as it was.
    """
    if not intervention.needs_fit or intervention.fitted or not len(neurons):
        return intervention
    run_check(intervention, model, examples, neurons.site)
    ids = model.encode(examples[0].proxies[0]).ids
    who = f"intervention {intervention.name!r}"
    with left_as_it_was(model, who, ids), foreign(f"{who} failed in fit()"):
        found = intervention.fit(model, examples, neurons)
    if not isinstance(found, Intervention):
        raise PluginError(f"{who} returned {found!r:.80} from fit(); accepted: a fitted copy of itself")
    return found


def edit(
    neurons: NeuronSet,
    intervention: str | Intervention,
    *,
    positions: str = "last",
    site: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Edit:
    """One intervention on one set of neurons.

    Args:
        neurons: the set.
        intervention: a registered name, or an instance; one that needs fitting is fitted before or by `Edit.fit`.
        positions: "last" or "all".
        site: where it acts; None = where the set was chosen.
        options: the intervention's options, where it is given by name.
    """
    part = Part(_intervention(intervention, options), neurons)
    return Edit((part,), positions, neurons.site if site is None else site)


def enhancer(
    good: NeuronSet,
    bad: NeuronSet | None,
    *,
    budget: int = 100,
    ratio: float = 0.5,
    positions: str = "last",
    strengthen: str | Intervention = "excite",
    weaken: str | Intervention = "silence",
    site: str | None = None,
) -> Edit:
    """Excite good neurons and silence bad ones (NeuronLLM §3.5).

    Args:
        good, bad: the sets, strongest first; `bad` may be None or empty at ratio 1.
        budget: how many neurons are touched.
        ratio: share of good ones, 0 to 1; floor(budget · ratio + 1/2) are good, the rest bad.
        positions: "last" or "all".
        strengthen, weaken: what is done to the neurons that should act more, and less.
        site: where it acts; None = where the sets were chosen.
    """
    return _antagonists("enhance", good, bad, budget, ratio, positions, strengthen, weaken, site)


def degrader(
    good: NeuronSet,
    bad: NeuronSet | None,
    *,
    budget: int = 100,
    ratio: float = 0.5,
    positions: str = "last",
    strengthen: str | Intervention = "excite",
    weaken: str | Intervention = "silence",
    site: str | None = None,
) -> Edit:
    """Silence good neurons and excite bad ones (NeuronLLM §3.5); arguments as in `enhancer`."""
    return _antagonists("degrade", good, bad, budget, ratio, positions, weaken, strengthen, site)


def n_good(budget: int, ratio: float) -> int:
    """How many neurons of a budget are good ones: floor(budget · ratio + 1/2)."""
    # 0.1 · 3 is not 0.3: rounding the product first keeps exact halves where decimals put them
    return math.floor(round(budget * ratio, 9) + 0.5)


def _antagonists(
    mode: str,
    good: NeuronSet,
    bad: NeuronSet | None,
    budget: int,
    ratio: float,
    positions: str,
    on_good: str | Intervention,
    on_bad: str | Intervention,
    site: str | None,
) -> Edit:
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1:
        raise UsageError(f"ratio is {ratio!r}; accepted: 0 to 1, the share of good neurons")
    given, budget = budget, whole(budget) or 0
    if budget < 1:
        raise UsageError(f"budget is {given!r}; accepted: a whole number of at least 1")
    count = n_good(budget, ratio)
    chosen_good = good.top(count)
    chosen_bad = bad.top(budget - count) if bad is not None else NeuronSet.of([])
    parts = [
        Part(_intervention(what, None), neurons)
        for what, neurons in ((on_good, chosen_good), (on_bad, chosen_bad))
        if len(neurons)
    ]
    where = parts[0].neurons.site if parts and site is None else site or "post"
    return Edit(tuple(parts), positions, where, mode, ratio, len(chosen_good), len(chosen_bad))


def _intervention(what: str | Intervention, options: Mapping[str, Any] | None) -> Intervention:
    if isinstance(what, str):
        return registry().make(Intervention, what, options)
    if not isinstance(what, Intervention):
        raise UsageError(f"{what!r:.80} is no intervention; accepted: a registered name or an instance")
    return what.with_options(**options) if options else what


MAKERS = {"enhance": enhancer, "degrade": degrader}
"""What makes an edit, by mode."""
