"""What a result was computed with, for its manifest: versions, machine, model."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any

import torch

import neuron_antagonism
from neuron_antagonism.model.hooked import HookedModel

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "safetensors", "pluggy", "pydantic")


def software() -> dict[str, Any]:
    """The versions of this package and of those that its numbers depend on."""
    return {
        "version": neuron_antagonism.__version__,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def machine(model: HookedModel) -> dict[str, Any]:
    """What it ran on."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": str(model.device),
    }


def described(model: HookedModel, fingerprint: str) -> dict[str, Any]:
    """The model, and a hash of its weights."""
    return {
        "name": model.name,
        "architecture": model.architecture,
        "layers": model.n_layers,
        "neurons_per_layer": model.n_neurons,
        "dtype": str(model.dtype).removeprefix("torch."),
        "chat_template": model.chat is not None,
        "adapter": model.adapter,
        "proofs": {
            # JSON has no NaN, which is the figure of a proof that could not be carried out
            name: {**vars(proof), "figure": proof.figure if isfinite(proof.figure) else None}
            for name, proof in model.proofs.items()
        },
        "fingerprint": fingerprint,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
