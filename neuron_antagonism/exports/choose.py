"""Which edit of a run is exported, and whether an edit can be weights at all."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from neuron_antagonism.errors import AntagonismWarning, ModelError, UsageError
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.load import load_model
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.suites.choose import chosen_edit
from neuron_antagonism.suites.result import RunResult, load_run


@dataclass(frozen=True)
class Chosen:
    """An edit to export, with what is known about it.

    Args:
        edit: in the form that is exported.
        names: task, scorer and mode; empty for an edit given by itself.
        effect: what it was measured to do in this form, where it was.
        manifest: the run's; empty for an edit given by itself.
        side_effects: what the run's own form of the edit does besides, where that was measured.
        above_chance: whether the model is above chance at the task; None where that is not known.
    """

    edit: Edit
    names: dict[str, str]
    effect: dict[str, Any] | None
    manifest: dict[str, Any]
    side_effects: dict[str, Any] | None = None
    above_chance: bool | None = None


def choose(what: RunResult | Edit | str | Path, task: str | None, scorer: str | None, mode: str | None) -> Chosen:
    """The edit that is meant; of a run its form at all positions, which is what weights can do.

    Raises:
        UsageError: a choice that is open, or one that the run does not have.
        DataError: no such run.
    """
    if isinstance(what, Edit):
        if given := [name for name in (task, scorer, mode) if name is not None]:
            raise UsageError(f"{', '.join(given)}: choices among a run's edits; accepted: none of them with one edit")
        return Chosen(what, {}, None, {})
    if isinstance(what, str | Path):
        what = load_run(what)
    if not isinstance(what, RunResult):
        raise UsageError(f"can't export {what!r:.80}; accepted: a run's result or directory, or an edit")
    edit, names = chosen_edit(what, task, scorer, mode)
    measured = what.results["tasks"][names["task"]]
    effect, besides = (_of_edit(rows, names) for rows in (measured["at_all"], measured["side_effects"]["rows"]))
    return Chosen(edit.at("all"), names, effect, what.manifest, besides, measured["natural"]["above_chance"])


def _of_edit(rows: list[dict[str, Any]], names: dict[str, str]) -> dict[str, Any] | None:
    return next((row for row in rows if all(row[key] == names[key] for key in ("scorer", "mode"))), None)


def base_model(chosen: Chosen, model: HookedModel | str | None, device: str | None, trust: bool) -> HookedModel:
    """The model whose weights an export is made for: the one given, or the run's own, loaded again.

    Raises:
        UsageError: an edit without a model, or another model than the run's.
        ModelError: the run's model can't be loaded.
    """
    manifest = chosen.manifest
    if isinstance(model, HookedModel):
        loaded = model
    elif not manifest and model is None:
        raise UsageError("an edit is exported for a model; accepted: model=, the one it was made for")
    else:
        config = RunConfig.of(**manifest["config"]) if manifest else RunConfig()
        loading = config.loading_again(model, trust_remote_code=trust, device=device)
        try:
            loaded = load_model(config.model if model is None else model, **loading)
        except ModelError as error:
            hint = "" if model else "; the run's model can also be given: model=, --model"
            raise ModelError(f"{error}{hint}") from None
    if loaded.is_edited:
        raise UsageError("an edit is active on the model; accepted: exports outside of model.edited(…)")
    if manifest:
        _same(loaded, manifest)
    return loaded


def _same(model: HookedModel, manifest: dict[str, Any]) -> None:
    """Whether it is the run's model: another shape is an error, other weights are a warning."""
    ran = manifest["model"]
    shape = (model.architecture, model.n_layers, model.n_neurons)
    if shape != (ran["architecture"], ran["layers"], ran["neurons_per_layer"]):
        raise UsageError(
            f"{model!r} is not the run's model; accepted: {ran['name']} ({ran['architecture']}, {ran['layers']} x "
            f"{ran['neurons_per_layer']} neurons)"
        )
    # in another precision the same weights are other bytes
    if str(model.dtype).removeprefix("torch.") == ran["dtype"] and model.fingerprint() != ran["fingerprint"]:
        warnings.warn(
            f"the weights of {model.name} are not those that the run was made with: its neurons may mean nothing here",
            AntagonismWarning,
            stacklevel=4,
        )


def scales(edit: Edit, n_neurons: int) -> dict[int, torch.Tensor]:
    """By layer, the factor of every neuron: 1 where it is not edited; `foldable` edits only."""
    found: dict[int, torch.Tensor] = {}
    for part in edit.parts:
        for layer, neurons in part.by_layer.items():
            vector = found.setdefault(layer, torch.ones(n_neurons))
            vector[neurons] = float(part.intervention.scale or 0.0)
    return dict(sorted(found.items()))


def check_foldable(edit: Edit, form: str) -> None:
    """Raise UsageError, naming the way out, for an edit that no weights can stand for."""
    fixed = next((part.intervention for part in edit.parts if part.intervention.scale is None), None)
    if not any(len(part.neurons) for part in edit.parts):
        raise UsageError(f"the edit touches no neuron; accepted by {form}: one that touches some")
    if edit.positions != "all":
        raise UsageError(
            f"an edit at {edit.positions!r} acts at one position, which weights can't; accepted by {form}: "
            'edit.at("all"), another edit with effects of its own (json and csv take any)'
        )
    if edit.site != "post":
        raise UsageError(
            f"an edit at site {edit.site!r} scales no input of the FFN's output projection; accepted by {form}: "
            "site 'post' (json and csv take any)"
        )
    if fixed is not None:
        raise UsageError(
            f"intervention {fixed.name!r} has no constant scale, which weights need; accepted by {form}: "
            "interventions with one, such as silence and excite (json and csv take any)"
        )
