"""An edit as a PEFT (IA)^3 adapter: one vector a touched layer, on the input of the FFN's output projection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from neuron_antagonism import demo
from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import DataError, ExportError, UsageError
from neuron_antagonism.exports.choose import scales
from neuron_antagonism.files import TABLE, read_text
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.plain import projection

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX, SUFFIX = "base_model.model.", ".ia3_l"
"""What PEFT puts around a module's name to name its (IA)^3 vector."""


def base_of(model: HookedModel) -> str:
    """What Hugging Face's own loaders know the model by."""
    return str(demo.directory()) if model.source == "demo" else model.source or model.name


def write_ia3(folder: Path, model: HookedModel, edit: Edit) -> None:
    """Write the adapter's two files; PEFT is not needed for it."""
    from safetensors.torch import save_file

    vectors = {projection(model, layer): scale for layer, scale in scales(edit, model.n_neurons).items()}
    names = sorted(place.name for place in vectors)
    config = {
        "base_model_name_or_path": base_of(model),
        "fan_in_fan_out": any(place.fan_in_fan_out for place in vectors),
        # whole names: other layers then carry nothing
        "feedforward_modules": names,
        "inference_mode": True,
        "init_ia3_weights": True,
        "modules_to_save": None,
        "peft_type": "IA3",
        "revision": model.loading.revision,
        "target_modules": names,
        "task_type": "CAUSAL_LM",
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tensors = {f"{PREFIX}{place.name}{SUFFIX}": scale[None].contiguous() for place, scale in vectors.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def load_ia3(base: Any, folder: Path) -> Any:
    """Put an adapter on a plain Hugging Face model with PEFT.

    Raises:
        UsageError: PEFT is not installed.
        ExportError: the adapter is damaged, or one for another model.
    """
    try:
        from peft import PeftModel
    except ImportError:
        raise UsageError(
            "peft is not installed, which loads (IA)^3 adapters; accepted: pip install 'neuron-antagonism[export]'"
        ) from None
    _check(base, folder)
    return PeftModel.from_pretrained(base, str(folder)).eval()


def _check(base: Any, folder: Path) -> None:
    """PEFT skips what does not fit, or fails in long words."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers.pytorch_utils import Conv1D

    try:
        config = parsed_json(read_text(folder / CONFIG, "an adapter's config", TABLE))
        targets = set(config["target_modules"])
        tensors = load_file(folder / WEIGHTS)
    except (DataError, OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ExportError(f"can't read the adapter {folder}: {reason}; accepted: a whole (IA)^3 adapter") from None
    vectors = {name.removeprefix(PREFIX).removesuffix(SUFFIX): tensor for name, tensor in tensors.items()}
    if set(vectors) != targets:
        raise ExportError(
            f"the adapter {folder} has vectors for {len(vectors)} modules and names {len(targets)} in {CONFIG}; "
            "accepted: the same ones"
        )
    modules = dict(base.named_modules())
    for name, vector in vectors.items():
        module = modules.get(name)
        if not isinstance(module, torch.nn.Linear | Conv1D):
            raise ExportError(
                f"the adapter {folder} is for another model: {type(base).__name__} has no projection {name}; "
                f"accepted: {config.get('base_model_name_or_path')}"
            )
        width = module.weight.shape[0 if isinstance(module, Conv1D) else 1]
        if tuple(vector.shape) != (1, width):
            raise ExportError(
                f"the adapter {folder} has a vector of shape {tuple(vector.shape)} for {name}; "
                f"accepted by this model: (1, {width})"
            )
