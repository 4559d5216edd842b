"""The ratio sweep of one task: every neuron set, direction and ratio, evaluated together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import DataError
from neuron_antagonism.files import write_whole
from neuron_antagonism.method.edits import Edit, degrader, enhancer
from neuron_antagonism.method.evaluate import Evaluation, evaluate_many
from neuron_antagonism.metrics.outcomes import MODES, Outcomes
from neuron_antagonism.metrics.sweeps import GOOD_ONLY, N_RATIOS, Sweep, Swept
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.progress import Progress
from neuron_antagonism.types import Example

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

MAKERS = {"enhance": enhancer, "degrade": degrader}
SETS = ("select", "evaluate")


@dataclass(frozen=True)
class Candidate:
    """One neuron set to sweep: a scorer's, or one draw of a scorer that draws."""

    scorer: str
    draw: int
    good: NeuronSet
    bad: NeuronSet | None

    def tenths(self) -> range:
        """The ratios to sweep; without bad neurons only good ones."""
        return range(GOOD_ONLY, N_RATIOS) if self.bad is None else range(N_RATIOS)


@dataclass(frozen=True)
class Act:
    """One intervention, fitted for good and for bad neurons: what it learns of them may differ."""

    good: Intervention
    bad: Intervention


@dataclass(frozen=True)
class Editing:
    """How an edit is made from a neuron set."""

    budget: int
    positions: str
    site: str
    strengthen: Act
    weaken: Act

    def edit(self, candidate: Candidate, mode: str, tenths: int) -> Edit:
        """The edit of one candidate, direction and ratio."""
        return MAKERS[mode](
            candidate.good,
            candidate.bad,
            budget=self.budget,
            ratio=tenths / 10,
            positions=self.positions,
            strengthen=self.strengthen.good if mode == "enhance" else self.strengthen.bad,
            weaken=self.weaken.bad if mode == "enhance" else self.weaken.good,
            site=self.site,
        )


def sweep_task(
    model: HookedModel,
    task: str,
    sets: Mapping[str, Sequence[Example]],
    candidates: Sequence[Candidate],
    editing: Editing,
    *,
    seed: int = 0,
    engine: str = "auto",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[Sweep]:
    """Evaluate every candidate in both directions at all its ratios, on the selection and the evaluation set."""
    where = [(c, m, t) for c in range(len(candidates)) for m in MODES for t in candidates[c].tenths()]
    edits = [editing.edit(candidates[c], m, t) for c, m, t in where]
    swept: dict[str, list[Swept]] = {}
    for name in SETS:
        answers = evaluate_many(
            model, sets[name], [None, *edits], seed=seed, engine=engine, max_tokens=max_tokens, progress=progress
        )
        swept[name] = _swept(answers, where, len(candidates))
    available = np.zeros((len(candidates), len(MODES), N_RATIOS), dtype=bool)
    used = np.zeros((len(candidates), len(MODES), N_RATIOS, 2), dtype=np.int64)
    for (c, m, t), edit in zip(where, edits, strict=True):
        available[c, MODES.index(m), t] = True
        used[c, MODES.index(m), t] = (edit.n_good or 0, edit.n_bad or 0)
    return [
        Sweep(
            scorer=candidate.scorer,
            evaluation=swept["evaluate"][c],
            selection=swept["select"][c],
            available=available[c],
            used=used[c],
            draw=candidate.draw,
            task=task,
        )
        for c, candidate in enumerate(candidates)
    ]


def _swept(answers: Sequence[Evaluation], where: Sequence[tuple[int, str, int]], n: int) -> list[Swept]:
    baseline = answers[0].outcomes
    right = np.zeros((n, len(MODES), N_RATIOS, baseline.n_examples), dtype=np.uint8)
    surprise = np.zeros(right.shape, dtype=np.float32)
    for (c, m, t), answer in zip(where, answers[1:], strict=True):
        outcomes = answer.outcomes
        right[c, MODES.index(m), t] = outcomes.right
        surprise[c, MODES.index(m), t] = outcomes.cross_entropy
    return [Swept(right[c], surprise[c], baseline) for c in range(n)]


def save_sweeps(path: Path, sweeps: Sequence[Sweep], key: str) -> None:
    """Write one task's sweeps to a safetensors file, atomically."""
    from safetensors.numpy import save

    tensors: dict[str, Any] = {}
    for name in SETS:
        swept = [_side(s, name) for s in sweeps]
        base = swept[0].baseline
        tensors |= {
            f"{name}.right": np.stack([s.right for s in swept]),
            f"{name}.cross_entropy": np.stack([s.cross_entropy for s in swept]),
            f"{name}.baseline.right": base.right,
            f"{name}.baseline.proxies": base.proxies,
            f"{name}.baseline.cross_entropy": base.cross_entropy,
            f"{name}.baseline.units": base.units if base.units is not None else np.arange(base.n_examples),
        }
        if base.strata is not None:
            tensors[f"{name}.baseline.strata"] = base.strata.astype(np.uint8)
    tensors["available"] = np.stack([s.available for s in sweeps if s.available is not None]).astype(np.uint8)
    tensors["used"] = np.stack([s.used for s in sweeps if s.used is not None])
    prints = {name: _side(sweeps[0], name).baseline.examples for name in SETS}
    meta = {
        "key": key,
        "task": sweeps[0].task,
        "scorers": json.dumps([s.scorer for s in sweeps]),
        "draws": json.dumps([s.draw for s in sweeps]),
        "examples": json.dumps(prints),
        "axes": json.dumps({"mode": MODES, "ratio": "tenths 0..10", "used": ["good", "bad"]}),
    }
    write_whole(path, save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata=meta))


def load_sweeps(path: Path, key: str) -> list[Sweep] | None:
    """Read what `save_sweeps` wrote with this key; None where there is nothing, or nothing readable, with that key."""
    from safetensors import SafetensorError

    try:
        return _load(path, key)
    except (OSError, SafetensorError, KeyError, ValueError, DataError):
        return None


def _load(path: Path, key: str) -> list[Sweep] | None:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        meta = file.metadata()
        if meta["key"] != key:
            return None
        t = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    prints = parsed_json(meta["examples"])
    sides: dict[str, list[Swept]] = {}
    scorers, draws = parsed_json(meta["scorers"]), parsed_json(meta["draws"])
    for name in SETS:
        base = Outcomes(
            t[f"{name}.baseline.right"],
            t[f"{name}.baseline.proxies"],
            t[f"{name}.baseline.cross_entropy"],
            prints[name],
            t[strata].astype(bool) if (strata := f"{name}.baseline.strata") in t else None,
            t[f"{name}.baseline.units"],
        )
        sides[name] = [Swept(t[f"{name}.right"][c], t[f"{name}.cross_entropy"][c], base) for c in range(len(scorers))]
    return [
        Sweep(
            scorer=scorer,
            evaluation=sides["evaluate"][c],
            selection=sides["select"][c],
            available=t["available"][c].astype(bool),
            used=t["used"][c],
            draw=draws[c],
            task=meta["task"],
        )
        for c, scorer in enumerate(scorers)
    ]


def _side(sweep: Sweep, name: str) -> Swept:
    side = sweep.evaluation if name == "evaluate" else sweep.selection
    assert side is not None
    return side
