"""By class: what masking its ranges does to it and to the others, against masking whole units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Bool, Float

from neuron_antagonism.method.edits import Edit, edit
from neuron_antagonism.method.evaluate import Evaluation, evaluate_many
from neuron_antagonism.method.perplexity import perplexity
from neuron_antagonism.metrics.bootstrap import Resamples, interval_around
from neuron_antagonism.parts.rows import Found, Rows
from neuron_antagonism.parts.specs import Masking
from neuron_antagonism.parts.subject import Concept, Subject, check_layers
from neuron_antagonism.runs.job import Job
from neuron_antagonism.runs.unit import Payload

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

WHOLE = float("inf")
METRICS = ("accuracy", "confidence")
CONTROL = 0.1
"""A mask that drops its target's accuracy by less controls nothing."""


@dataclass(frozen=True)
class _Mask:
    """One edit: units of a class, masked within τ standard deviations, or (τ = ∞) always."""

    concept: Concept
    share: float
    tau: float
    edit: Edit


@dataclass(frozen=True)
class Masked:
    """What one mask did.

    Attributes:
        row: the figures.
        changed: of the other classes' answers, the share that changes, by example; None for no mask.
    """

    row: dict[str, Any]
    changed: Float[np.ndarray, " example"] | None = None


@dataclass(frozen=True)
class MaskingRows(Rows):
    """The part `masking`."""

    kind = "masking"
    spec: Masking

    def ingredients(self) -> list[Any]:
        """The classes too, and the texts where they are read."""
        return [*super().ingredients(), asdict(self.classes), self.text if self.spec.perplexity else None]

    def slices(self) -> list[Self]:
        """One for each share of the units."""
        return [self.narrowed(shares=(share,)) for share in self.spec.shares]

    def merged(self, payloads: Sequence[Payload]) -> Payload:
        """By class, unedited once, then every slice's masks."""
        slices = [[list(rows) for _, rows in groupby(masked_of(one), _concept)] for one in payloads]
        every = [
            one
            for of_class in zip(*slices, strict=True)
            for one in (of_class[0][0], *chain(*(m[1:] for m in of_class)))
        ]
        return _payload(every, payloads[0].meta)

    def check(self, desk: Desk) -> None:
        """Two classes to learn from, and blocks that are there."""
        check_layers(self.name, self.spec.layers, desk.model.n_layers)
        Subject.at(desk, self.classes, self.text).check()

    def measure(self, desk: Desk, group: Sequence[Job]) -> Payload:
        """See `masking`; what each mask changed by example is kept for `add_rivals`."""
        subject = Subject.at(desk, self.classes, self.text)
        found = masking(self.spec, subject)
        return _payload(found, {"left_out": subject.left_out, "notes": subject.split.report.notes})

    @classmethod
    def joined(cls, found: Found) -> dict[str, dict[Job, list[dict[str, Any]]]]:
        """The rows, range masks with their rivals: these may come from any part of the suite."""
        masked = {(part, job): masked_of(payload) for part, own in found.items() for job, payload in own.items()}
        groups: dict[tuple[str, int], list[Masked]] = {}
        for (_, job), each in masked.items():
            groups.setdefault((job.model.id, job.seed), []).extend(each)
        for (_, seed), every in groups.items():
            add_rivals(every, seed)
        return {part: {job: [one.row for one in masked[part, job]] for job in own} for part, own in found.items()}


def _payload(found: Sequence[Masked], about: Mapping[str, Any]) -> Payload:
    arrays = {str(i): one.changed for i, one in enumerate(found) if one.changed is not None}
    return Payload({**about, "rows": [one.row for one in found]}, arrays)


def _concept(one: Masked) -> str:
    return str(one.row["concept"])


def masked_of(payload: Payload) -> list[Masked]:
    """What `MaskingRows.measure` found; its rows are copies."""
    return [Masked(dict(row), payload.arrays.get(str(i))) for i, row in enumerate(payload.meta["rows"])]


def masking(spec: Masking, subject: Subject) -> list[Masked]:
    """One row for each class unedited, and for each of its masks.

    A row holds accuracy and confidence (probability of the right answer's token in the whole vocabulary) on the class
    (`target_`) and on all others (`complement_`); for masks also how much these drop, and which share of the answers
    is another one than unedited (`changed`), each with a 95 % interval over examples. All but perplexity are shares.
    """
    masks = [
        _Mask(concept, share, tau, _edit(spec, subject, concept, share, tau))
        for concept in subject.concepts
        for share in spec.shares
        for tau in (*spec.taus, WHOLE)
    ]
    base, *after = evaluate_many(
        subject.model,
        subject.split.evaluate,
        [None, *(mask.edit for mask in masks)],
        seed=subject.seed,
        progress=subject.progress(spec.name),
    )
    before, text = _by_example(base, base), _perplexity(spec, subject, None)
    found = []
    for concept in subject.concepts:
        target = subject.of(concept.name)
        sizes = {side: int(chosen.sum()) for side, chosen in _sides(target).items()}
        draws = {side: _draws(size, subject.seed) for side, size in sizes.items()}
        about = {"task": subject.name, "concept": concept.name, "questions": concept.questions}
        about |= {f"{side}_examples": size for side, size in sizes.items()}
        none = {"mask": "none", "share": None, "tau": None, "units": 0}
        found.append(Masked(about | none | _levels(before, target) | {"perplexity": text}))
        for mask, answers in zip(masks, after, strict=True):
            if mask.concept is not concept:
                continue
            values = _by_example(answers, base)
            row = (
                about
                | {"mask": "whole" if mask.tau == WHOLE else "range", "share": mask.share}
                | {"tau": None if mask.tau == WHOLE else mask.tau, "units": len(mask.edit.parts[0].neurons)}
                | _levels(values, target)
                | _effects(before, values, target, draws)
                | {"perplexity": _perplexity(spec, subject, mask.edit)}
            )
            found.append(Masked(row, values["changed"][~target]))
    return found


@cache
def _draws(size: int, seed: int) -> Resamples:
    """Draws of so many examples: the same for every class of that size, and for every part of a suite."""
    return Resamples(np.zeros(size), seed=seed)


def _edit(spec: Masking, subject: Subject, concept: Concept, share: float, tau: float) -> Edit:
    units = concept.saliency.top_share(share, spec.layers)
    inside = "zero" if tau == WHOLE else spec.inside
    mask = subject.mask(spec.mask, concept.name).with_options(tau=tau, inside=inside)
    return edit(units, mask, positions="all")


def _perplexity(spec: Masking, subject: Subject, mask: Edit | None) -> float | None:
    return perplexity(subject.model, subject.text, mask) if spec.perplexity else None


def _by_example(answers: Evaluation, base: Evaluation) -> dict[str, Float[np.ndarray, " example"]]:
    """Share of an example's questions answered rightly, their mean confidence, and the share answered otherwise."""
    edges = np.cumsum([0, *(len(example.proxies) for example in answers.examples)])
    sizes = np.diff(edges)
    values = {
        "accuracy": answers.right.double().numpy(),
        "confidence": answers.confidence.numpy(),
        "changed": (answers.chosen != base.chosen).double().numpy(),
    }
    return {name: np.add.reduceat(value, edges[:-1]) / sizes for name, value in values.items()}


def _sides(target: Bool[np.ndarray, " example"]) -> dict[str, Bool[np.ndarray, " example"]]:
    return {"target": target, "complement": ~target}


def _levels(values: Mapping[str, np.ndarray], target: np.ndarray) -> dict[str, float]:
    return {
        f"{side}_{metric}": float(values[metric][chosen].mean())
        for side, chosen in _sides(target).items()
        for metric in METRICS
    }


def _effects(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    target: np.ndarray,
    draws: Mapping[str, Resamples],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side, chosen in _sides(target).items():
        effects = {f"{side}_{metric}_drop": (before[metric] - after[metric])[chosen] for metric in METRICS}
        effects[f"{side}_changed"] = after["changed"][chosen]
        for name, effect in effects.items():
            # sums of thirds: equal drops must be equal numbers
            found[name] = round(float(effect.mean()), 12) + 0.0
            drawn = draws[side].sums(effect, 0.0 if name.endswith("changed") else -1.0, 1.0, after=True) / effect.size
            found[f"{name}_interval"] = interval_around(found[name], drawn)
    return found


def add_rivals(masked: Sequence[Masked], seed: int) -> None:
    """Same control, less interference? Gives each range mask its rival among the whole masks of its class.

    Interference is the share of the other classes' answers that change, for better or worse. The rival is the whole
    mask that interferes least of those that drop the class's accuracy at least as far; `spared` is how much more of the
    others' answers it changes. A range mask that drops its class's accuracy by less than `CONTROL` has none.

    Args:
        masked: every mask of every class, of all parts of a suite.
        seed: of the bootstrap.
    """
    for one in masked:
        row, own = one.row, one.changed
        if own is None or row["mask"] != "range" or row["target_accuracy_drop"] < CONTROL:
            continue
        row["controls"] = True
        rivals = [
            (other.row, other.changed)
            for other in masked
            if other.changed is not None
            and other.row["mask"] == "whole"
            and all(other.row[key] == row[key] for key in ("task", "concept"))
            and other.row["target_accuracy_drop"] >= row["target_accuracy_drop"]
        ]
        if not rivals:
            continue
        rival, changed = min(rivals, key=lambda pair: float(pair[0]["complement_changed"]))
        spared = changed - own
        row["rival_share"] = rival["share"]
        row["spared"] = float(spared.mean())
        drawn = _draws(spared.size, seed).sums(spared, -1.0, 1.0, after=True) / spared.size
        row["spared_interval"] = interval_around(row["spared"], drawn)
