"""What a reader of a run's tables must know besides the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from neuron_antagonism.report.run_table import MARKED, level
from neuron_antagonism.settings import COMPLETENESS_TOLERANCE

LEAST_MASS = 0.5


def notes(results: Mapping[str, Any]) -> Iterator[str]:
    """Notes and warnings of each task, then what the columns mean, a line each."""
    for task, found in results["tasks"].items():
        for line in found["split"]["notes"]:
            yield f"note: {task}: {line}"
        natural = found["natural"]
        if not natural["above_chance"]:
            yield (
                f"warning: {task}: unedited the model is not above chance (accuracy {level(natural, 'acc')} against "
                f"{natural['chance_acc']:.1%}, comprehension {level(natural, 'com')} against "
                f"{natural['chance_com']:.1%}): what edits do to its answers says nothing about the task"
            )
        mass = found["before"]["letter_mass"]
        if mass < LEAST_MASS:
            yield (
                f"warning: {task}: where its answer is read, the model gives the letters only {mass:.1%} of its "
                "probability: it would write something else there"
            )
        for line, scorers in _incomplete(found["attribution"]).items():
            yield f"warning: {task}: the integrated gradients of {', '.join(scorers)} miss {line}"
        dropped = [
            f"{scorer} {filtered['count']} neurons ({filtered['share']:.1%})"
            for scorer, a in found["attribution"].items()
            if (filtered := a["filtered"]) is not None and filtered["count"]
        ]
        if dropped:
            yield f"note: {task}: dropped as ambiguous (share of the sum of |score|): {', '.join(dropped)}"
    yield from _legend(results)


def _legend(results: Mapping[str, Any]) -> Iterator[str]:
    tasks = list(results["tasks"].values())
    compared = sum(one["p_value"] is not None for found in tasks for one in found["differences"])
    method = next((one["method"] for found in tasks for one in found["differences"]), None)
    yield (
        "letter mass: probability of the option letters among all tokens, where the answer is read. "
        f"Acc: accuracy under the edit (protocol {results['protocol']}: the ratio was chosen on other examples). "
        "RAC, RCC: relative change of accuracy and comprehension on the evaluation set, + where the edit does what it "
        "is for; Fail: either is negative; n/a: nothing was right (understood) before."
    )
    yield (
        "as it comes: change of accuracy in points where understood examples are as frequent as in the data, not half; "
        "net: change of accuracy on the evaluation set in points beyond RANDOM's mean, + where the edit does what it "
        "is for. [..]: 95 % interval over texts (random: over draws), for this choice of identification examples."
    )
    if method is not None:
        yield (
            f"*: differs from {method} in RAC or RCC, p < {MARKED} after Holm's correction over the {compared} "
            "comparisons of this table. g:b: good and bad neurons touched, fewer than the budget where a scorer has no "
            "more; varies: over the draws. at all: accuracy with the edit at all positions; -: not measured for draws."
        )
    yield (
        "side effects: share of answers changed; accuracy under the edit by right letter (%); change of accuracy on "
        "the run's other tasks, in their order (points); on plain text, with the edit at all positions: "
        "KL(unedited || edited) in nats a token, and perplexity as a multiple of the unedited one."
    )


def _incomplete(attributions: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Scorers whose gradients miss more than the tolerance, by what there is to say."""
    lines: dict[str, list[str]] = {}
    for scorer, a in attributions.items():
        error = a["completeness_error"]
        if error is not None and error > COMPLETENESS_TOLERANCE:
            line = (
                f"{error:.0%} of what they should sum to at {a['steps']} steps ({a['quadrature']}); "
                "--steps auto takes as many as it needs, up to 256"
            )
            lines.setdefault(line, []).append(scorer)
    return lines
