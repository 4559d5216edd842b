"""The measurements as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from planting import LAYERS
from texts import LABELS

TEXT = """# A positive control for ranges

    {command}

{seeds} models of {parameters:,} parameters (4 blocks, FFN {width}), one for each seed, that answer with the topic of a
generated text ({labels}). {units} FFN units of each were *planted* by training. The value of each at the last position
lies near one of {levels}, in an order of the topics that is the unit's own, so that every unit serves all topics; the
filler words give it a spread. The answer goes through these units: with some of them silenced the model was trained to
be as sure as units live, and with all of them silenced to guess by the text's first word, which has nothing to do with
the topic and is right once in four. Training took {seconds} s each, on one thread of a shared machine.

Measured with the package's own scorer `neuronlens`, intervention `range` (τ = {tau:g}) and `evaluate_many`, on {each}
texts of each topic for identification and {each} others for evaluation; training saw none of them. Every topic is
masked in turn; "target" is the masked topic's questions, "complement" the others'. Figures are percent over all seeds,
with 95 % bootstrap intervals over questions (2,000 resamples within seed and topic). [0.0, 0.0] says that no question
of these differed, not that none could.

**What it shows.** Masking the planted units by range takes the masked topic from {base:.1f} to {target:.1f} % accuracy
and leaves the others at {complement:.1f} %; silencing the same units as a whole leaves the others at {whole:.1f} %.

**What it also shows.**

- The score, mean |value|, says how large a unit is, not whether the answer goes through it. Of the {units} strongest
  units of all layers {found:.1f} are planted, and masking these {units} by range leaves the masked topic at
  {strongest:.1f} %. Of as many taken layer by layer from the planted layers {layered:.1f} are planted; masking these
  leaves it at {by_layer:.1f} %.
- With share 0.3 of the planted layers at least {least} of the {units} planted units are in the set, among others. The
  others cost the other topics {dragged:.1f} points under range masking, but the masked topic stays at {share:.1f} %,
  against {target:.1f} % for the planted units alone. Ranges are learned while nothing is masked: masking units of an
  early layer moves those of a later one, and what has left its range is not masked. With what the scorer chooses in
  layer {early} beside the planted units the masked topic stays at {with_early:.1f} %, with its choice in layer {late}
  at {with_late:.1f} %.

**What it does not show.** The ranges are there because training put them there, {apart:.0f} standard deviations from
one level to the next, and so is the rule that only these units carry the answer. It proves that the tool sees ranges
and acts on them where the claim of "Neurons Speak in Ranges" is true by construction. It is no evidence that natural
models have such units.
"""


def markdown(found: dict[str, Any]) -> str:
    """The whole report."""
    sections = {
        "Masking, by set of units": _masking(found["masking"]),
        "The planted units by seed": _rows(found["by seed"], "seed"),
        "The planted units by topic (all positions)": _rows(found["by topic"], "topic"),
        "Width of the range (planted units)": _rows(found["sweep"], "τ"),
        "Planted units in each set": _sets(found["models"]),
        "Values of the planted units": _levels(found["models"]),
        "Overlap and shape": _shapes(found["models"]),
    }
    return "\n".join([_text(found), *(f"## {title}\n\n{body}\n" for title, body in sections.items())])


def _text(found: dict[str, Any]) -> str:
    setup, models = found["setup"], found["models"]
    by_key = {(row["set"], row["way"], row["positions"]): row for row in found["masking"]}

    def percent(name: str, way: str, column: str, of: str = "masked") -> float:
        return 100 * float(by_key[name, way, "all"][column][of])

    stds = statistics.mean(row["std"] for model in models for row in model["levels"])
    closest = min(b - a for a, b in pairwise(setup["levels"]))
    return TEXT.format(
        **{**setup, "levels": ", ".join(map(str, setup["levels"]))},
        labels=", ".join(LABELS),
        seeds=len(models),
        seconds=_span([model["training seconds"] for model in models], "{:.0f}"),
        base=percent("planted", "range", "target acc", "base"),
        target=percent("planted", "range", "target acc"),
        complement=percent("planted", "range", "complement acc"),
        whole=percent("planted", "whole", "complement acc"),
        found=statistics.mean(_planted(models, "strongest, of all layers")),
        strongest=percent("strongest, of all layers", "range", "target acc"),
        layered=statistics.mean(_planted(models, "strongest, of planted layers")),
        by_layer=percent("strongest, of planted layers", "range", "target acc"),
        least=min(_planted(models, "share 0.3 of planted layers")),
        dragged=percent("share 0.3 of planted layers", "range", "complement acc", "drop"),
        share=percent("share 0.3 of planted layers", "range", "target acc"),
        early=LAYERS[0],
        with_early=percent(f"planted and share 0.3 of layer {LAYERS[0]}", "range", "target acc"),
        late=LAYERS[-1],
        with_late=percent(f"planted and share 0.3 of layer {LAYERS[-1]}", "range", "target acc"),
        apart=closest / stds,
    )


def _masking(rows: Sequence[dict[str, Any]]) -> str:
    lines = [(row["set"], _span(row["units"], "{:.0f}"), row["way"], row["positions"], *_answers(row)) for row in rows]
    return _table(("units", "count", "masked", "positions", *ANSWERS), lines)


def _rows(rows: Sequence[dict[str, Any]], first: str) -> str:
    lines = [(row[first], row["way"], row["positions"], *_answers(row)) for row in rows]
    return _table((first, "masked", "positions", *ANSWERS), lines)


ANSWERS = ("target acc", "drop", "complement acc", "drop", "target confidence", "drop", "complement confidence", "drop")


def _answers(row: dict[str, Any]) -> Iterable[str]:
    for name in ANSWERS[::2]:
        cell = row[name]
        low, high = (100 * bound for bound in cell["interval"])
        yield f"{100 * cell['base']:.1f} → {100 * cell['masked']:.1f}"
        yield f"{_signless(100 * cell['drop'])} [{_signless(low)}, {_signless(high)}]"


def _signless(value: float) -> str:
    """One decimal, and no minus before a zero."""
    return f"{round(value, 1) + 0.0:.1f}"


def _sets(models: Sequence[dict[str, Any]]) -> str:
    names = dict.fromkeys(row["set"] for row in models[0]["sets"])
    lines = []
    for name in names:
        rows = [row for model in models for row in model["sets"] if row["set"] == name]
        precision = statistics.mean(row["planted"] / row["units"] for row in rows)
        planted = [row["planted"] for row in rows]
        sizes = _span([row["units"] for row in rows], "{:.0f}")
        lines.append(
            (name, sizes, f"{statistics.mean(planted):.1f} ({min(planted)}–{max(planted)})", f"{precision:.2f}")
        )
    return _table(("set", "units", "planted in it: mean (least–most) over topics and seeds", "precision"), lines)


def _planted(models: Sequence[dict[str, Any]], name: str) -> list[int]:
    return [row["planted"] for model in models for row in model["sets"] if row["set"] == name]


def _levels(models: Sequence[dict[str, Any]]) -> str:
    lines = []
    for model in models:
        away = [abs(row["mean"] - row["level"]) for row in model["levels"]]
        stds = [row["std"] for row in model["levels"]]
        lines.append(
            (
                model["seed"],
                f"{statistics.mean(away):.3f}",
                f"{max(away):.3f}",
                f"{statistics.mean(stds):.3f}",
                f"{max(stds):.3f}",
            )
        )
    columns = ("seed", "fitted mean from planted level: mean", "largest", "fitted standard deviation: mean", "largest")
    return _table(columns, lines)


def _shapes(models: Sequence[dict[str, Any]]) -> str:
    lines = []
    for rows in zip(*(model["shapes"] for model in models), strict=True):
        columns = (
            _span([row["overlap"] for row in rows], "{:.3f}"),
            _span([row["largest overlap"] for row in rows], "{:.3f}"),
            _span([100 * row["gaussian"] for row in rows], "{:.0f}"),
        )
        lines.append((rows[0]["units"], rows[0]["count"], *columns))
    overlap = "overlap coefficient of two topics: mean over units and pairs"
    return _table(("units", "count", overlap, "largest", "% with normality p ≥ 0.05"), lines)


def _span(values: Sequence[float], shape: str) -> str:
    low, high = shape.format(min(values)), shape.format(max(values))
    return low if low == high else f"{low}–{high}"


def _table(columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
