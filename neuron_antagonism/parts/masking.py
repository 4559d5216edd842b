"""By class: what masking its ranges does to it and to the others, against masking whole units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from neuron_antagonism.method.edits import Edit, edit
from neuron_antagonism.method.evaluate import Evaluation, evaluate_many
from neuron_antagonism.method.perplexity import perplexity
from neuron_antagonism.metrics.bootstrap import Resamples, interval_around
from neuron_antagonism.parts.subject import Concept, Subject
from neuron_antagonism.suites.spec import Masking

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
    return edit(units, concept.ranges.with_options(tau=tau, inside=inside), positions="all")


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
