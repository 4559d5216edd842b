"""An edit's neurons and where they come from, as JSON and CSV."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import neuron_antagonism
from neuron_antagonism.csvs import csv_text
from neuron_antagonism.exports.choose import Chosen
from neuron_antagonism.exports.recipe import loading_of
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.source import is_gguf

SCHEMA = 1
PROVENANCE = "neuron_antagonism.json"
COLUMNS = ("layer", "neuron", "score", "role", "intervention", "scale")
PACKAGES = ("torch", "transformers", "transformer-lens", "safetensors")


def rows(edit: Edit) -> list[dict[str, Any]]:
    """One dict a neuron, by `COLUMNS`; None where something is not known. At another site than `post` also `site`."""
    found = []
    # FFN neurons are what everybody's files hold: theirs need not say so
    site = {} if edit.site == "post" else {"site": edit.site}
    for role, part in _roles(edit):
        for (layer, neuron), score in zip(part.neurons, part.neurons.scores.tolist(), strict=True):
            known = score if score == score else None
            act = part.intervention
            found.append(dict(zip(COLUMNS, (layer, neuron, known, role, act.name, act.scale), strict=True)) | site)
    return found


def _roles(edit: Edit) -> Iterator[tuple[str | None, Any]]:
    """Each part with what its neurons are: an enhancer or degrader has its good neurons first."""
    roles = [role for role, n in (("good", edit.n_good), ("bad", edit.n_bad)) if n] if edit.mode else []
    if len(roles) != len(edit.parts):
        roles = [""] * len(edit.parts)
    yield from ((role or None, part) for role, part in zip(roles, edit.parts, strict=True))


def provenance(chosen: Chosen, model: HookedModel | None, form: str) -> dict[str, Any]:
    """Base model, edit, neurons, measured effect and versions, as plain JSON values."""
    edit, ran = chosen.edit, chosen.manifest
    base = ran.get("model")
    if model is not None:
        base = {
            # of a GGUF file the name that it has, not where its copy is kept
            "name": model.name if is_gguf(Path(model.name)) else model.source or model.name,
            "revision": model.loading.revision,
            "loading": loading_of(model),
            "architecture": model.architecture,
            "layers": model.n_layers,
            "neurons_per_layer": model.n_neurons,
            "dtype": str(model.dtype).removeprefix("torch."),
            "fingerprint": model.fingerprint(),
        }
    return {
        "schema": SCHEMA,
        "format": form,
        "version": neuron_antagonism.__version__,
        "packages": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "base": base,
        "run": {**chosen.names, "config": ran["config"]} if ran else None,
        "edit": {
            "mode": edit.mode or None,
            "positions": edit.positions,
            "site": edit.site,
            "ratio": edit.ratio,
            "n_good": edit.n_good,
            "n_bad": edit.n_bad,
        },
        "effect": chosen.effect,
        "side_effects": chosen.side_effects,
        "above_chance": chosen.above_chance,
        "neurons": rows(edit),
    }


def write_provenance(folder: Path, name: str, stated: dict[str, Any]) -> None:
    """Write what `provenance` states; one line a neuron."""
    neurons = ",\n".join(f"  {json.dumps(row, ensure_ascii=False, allow_nan=False)}" for row in stated["neurons"])
    rest = {key: value for key, value in stated.items() if key != "neurons"}
    head = json.dumps(rest, indent=1, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    text = f'{head},\n "neurons": [\n{neurons}\n ]\n}}\n'
    (folder / name).write_text(text, encoding="utf-8")


def write_csv(folder: Path, edit: Edit) -> None:
    """Write neurons.csv, which `NeuronSet.load` reads."""
    found = rows(edit)
    text = csv_text(list(found[0]) if found else COLUMNS, found)
    (folder / "neurons.csv").write_text(text, encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
