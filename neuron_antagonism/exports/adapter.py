"""What PEFT adapters have in common: their two files, and putting them on a plain model again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from neuron_antagonism import demo
from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import DataError, ExportError, UsageError
from neuron_antagonism.files import TABLE, read_text
from neuron_antagonism.model.hooked import HookedModel

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts before a module's name to name its tensors."""

TENSORS = {"IA3": (".ia3_l",), "LORA": (".lora_A.weight", ".lora_B.weight")}
"""What it puts after it, one for each tensor of a module, by the kind of adapter."""

NAMES = {"IA3": "(IA)^3 adapter", "LORA": "LoRA"}


class Width(NamedTuple):
    """What a projection takes in and gives out."""

    inside: int
    outside: int


def base_of(model: HookedModel) -> str:
    """What Hugging Face's own loaders know the model by."""
    return str(demo.directory()) if model.source == "demo" else model.source or model.name


def write_adapter(
    folder: Path, model: HookedModel, kind: str, config: dict[str, Any], tensors: Mapping[str, tuple[Tensor, ...]]
) -> None:
    """Write the adapter's two files; PEFT is not needed for it.

    Args:
        folder: an empty directory.
        model: what it is for.
        kind: "IA3" or "LORA".
        config: what this kind's configuration states besides what all do.
        tensors: by the module's name in the plain model.
    """
    from safetensors.torch import save_file

    stated = {
        "base_model_name_or_path": base_of(model),
        "inference_mode": True,
        "modules_to_save": None,
        "peft_type": kind,
        "revision": model.loading.revision,
        # whole names: other layers then carry nothing
        "target_modules": sorted(tensors),
        "task_type": "CAUSAL_LM",
        **config,
    }
    (folder / CONFIG).write_text(json.dumps(stated, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    named = {
        f"{PREFIX}{name}{suffix}": tensor.contiguous()
        for name, of_module in tensors.items()
        for suffix, tensor in zip(TENSORS[kind], of_module, strict=True)
    }
    save_file(named, folder / WEIGHTS, metadata={"format": "pt"})


def load_adapter(base: Any, folder: Path) -> Any:
    """Put an exported adapter on a plain Hugging Face model with PEFT.

    Raises:
        UsageError: PEFT is not installed.
        ExportError: the adapter is damaged, or one for another model.
    """
    try:
        from peft import PeftModel
    except ImportError:
        raise UsageError(
            "peft is not installed, which loads adapters; accepted: pip install 'neuron-antagonism[export]'"
        ) from None
    _check(base, folder)
    return PeftModel.from_pretrained(base, str(folder)).eval()


def _check(base: Any, folder: Path) -> None:
    """PEFT skips what does not fit, or fails in long words."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    accepted = "adapter that export wrote"
    try:
        config = parsed_json(read_text(folder / CONFIG, "an adapter's config", TABLE))
        targets, kind = set(config["target_modules"]), config["peft_type"]
        suffixes, accepted = TENSORS[kind], NAMES[kind]
        tensors = load_file(folder / WEIGHTS)
    except (DataError, OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ExportError(f"can't read the adapter {folder}: {reason}; accepted: a whole {accepted}") from None
    modules = {name.removeprefix(PREFIX).removesuffix(suffix) for name in tensors for suffix in suffixes}
    there = {name for name in modules if all(f"{PREFIX}{name}{suffix}" in tensors for suffix in suffixes)}
    if there != targets:
        raise ExportError(
            f"the adapter {folder} has vectors for {len(there)} modules and names {len(targets)} in {CONFIG}; "
            "accepted: the same ones"
        )
    for name in sorted(there):
        width = _width(base, folder, name, config.get("base_model_name_or_path"))
        found = [tuple(tensors[f"{PREFIX}{name}{suffix}"].shape) for suffix in suffixes]
        wanted = [(1, width.inside)] if kind == "IA3" else [(_rank(config, name), width.inside)]
        if kind == "LORA":
            wanted.append((width.outside, wanted[0][0]))
        for shape, fits in zip(found, wanted, strict=True):
            if shape != fits:
                raise ExportError(
                    f"the adapter {folder} has a vector of shape {shape} for {name}; accepted by this model: {fits}"
                )


def _rank(config: Mapping[str, Any], name: str) -> Any:
    return (config.get("rank_pattern") or {}).get(name, config.get("r"))


def _width(base: Any, folder: Path, name: str, made_for: object) -> Width:
    from transformers.pytorch_utils import Conv1D

    module = dict(base.named_modules()).get(name)
    if isinstance(module, Conv1D):
        return Width(*module.weight.shape)
    if isinstance(module, torch.nn.Linear):
        return Width(module.in_features, module.out_features)
    raise ExportError(
        f"the adapter {folder} is for another model: {type(base).__name__} has no projection {name}; "
        f"accepted: {made_for}"
    )
