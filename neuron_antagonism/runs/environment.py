"""What a result was computed with, for its manifest: versions, machine, model."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import TYPE_CHECKING, Any

import neuron_antagonism

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "safetensors", "pluggy", "pydantic")


def software() -> dict[str, Any]:
    """The versions of this package and of those that its numbers depend on."""
    return {
        "version": neuron_antagonism.__version__,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def machine() -> dict[str, Any]:
    """What it runs on."""
    import torch

    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def described(model: HookedModel) -> dict[str, Any]:
    """The model, and a hash of its weights, as plain JSON values."""
    from neuron_antagonism.model.hooked import SITES

    planted = model.planted
    return {
        "name": model.name,
        "architecture": model.architecture,
        "layers": model.n_layers,
        "neurons_per_layer": model.n_neurons,
        "units": {site: model.units(site) for site in SITES if _has(model, site)},
        "planted": None if planted is None else {role: [list(pair) for pair in one] for role, one in planted.items()},
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "chat_template": model.chat is not None,
        "adapter": model.adapter,
        "proofs": {
            # JSON has no NaN, which is the figure of a proof that could not be carried out
            name: {**vars(proof), "figure": proof.figure if isfinite(proof.figure) else None}
            for name, proof in model.proofs.items()
        },
        "fingerprint": model.fingerprint(),
    }


def _has(model: HookedModel, site: str) -> bool:
    proof = model.proofs.get(site)
    return model.has_site(site) and (proof is None or proof.holds)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
