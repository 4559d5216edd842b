"""Adapters (LoRA and its kin) merged into the weights, where TransformerLens would leave them out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import DataError, ModelError, UsageError
from neuron_antagonism.files import read_text

CONFIG = "adapter_config.json"

ACCEPTED = "an adapter that peft can merge into the weights (LoRA, IA3, LoHa, LoKr, OFT, …)"


def named_base(folder: Path) -> str:
    """The model that an adapter's folder says it was made for.

    Raises:
        ModelError: it names none.
    """
    try:
        text = read_text(folder / CONFIG, "an adapter's config")
        stated = parsed_json(text).get("base_model_name_or_path")
    except (DataError, ValueError, AttributeError) as error:
        raise ModelError(f"can't read {folder / CONFIG}: {error}; accepted: an adapter's folder") from None
    if not stated:
        raise ModelError(
            f"the directory {folder} holds an adapter that does not name its base model; accepted: "
            f"load_model(BASE, adapter={str(folder)!r}) (--model BASE --adapter {folder})"
        )
    return str(stated)


def with_adapter(hf_model: Any, folder: str) -> Any:
    """A base model with the adapter of a folder or Hub id on it; the base is taken over.

    Raises:
        UsageError: peft is missing.
        ModelError: it is no adapter, or one of another model.
    """
    peft = _peft()
    try:
        return peft.PeftModel.from_pretrained(hf_model, folder)
    # peft and safetensors raise a dozen classes for an adapter that can't be put on
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"can't put the adapter {folder} on {type(hf_model).__name__}: {type(error).__name__}: {reason}; accepted: "
            "an adapter's folder or Hub id, made for this model"
        ) from None


def is_adapted(given: Any) -> bool:
    """Whether a module has adapters, which `merged` would merge.

    Raises:
        ModelError: one that is no change of weights, such as a prompt that is learned.
    """
    if not getattr(given, "peft_config", None):
        return False
    stated = getattr(given, "active_peft_config", None)
    there = any(isinstance(part, _layers()) for part in given.modules())
    if not there or (stated is not None and stated.is_prompt_learning):
        raise ModelError(
            f"an adapter of kind {', '.join(_kinds(given).values())} is no change of weights; accepted: {ACCEPTED}"
        )
    return True


def _kinds(given: Any) -> dict[str, str]:
    """The kind of each adapter, by its name."""
    configs = given.peft_config.items()
    return {name: str(getattr(config.peft_type, "value", config.peft_type)) for name, config in configs}


def _layers() -> Any:
    """What peft puts in the place of a module that it adapts."""
    peft = _peft()
    return (peft.tuners.tuners_utils.BaseTunerLayer, peft.utils.other.AuxiliaryTrainingWrapper)


def merged(given: Any, *, mine: bool = False) -> tuple[Any, dict[str, Any] | None]:
    """A module without adapters that computes the same, and what was merged; the module itself where it has none.

    Args:
        given: a Hugging Face model with adapters in it, or a `peft.PeftModel`.
        mine: whether it may be changed; else a copy is.

    Raises:
        ModelError: an adapter that can't be merged.
    """
    if not is_adapted(given):
        return given, None
    layers = _layers()
    kinds = _kinds(given)
    inner = given.get_base_model() if hasattr(given, "get_base_model") else given
    module = inner if mine else copy.deepcopy(inner)
    found = [(name, part) for name, part in module.named_modules() if isinstance(part, layers)]
    active: set[str] = set()
    replaced: list[str] = []
    try:
        for name, part in found:
            if any(name.startswith(f"{done}.") for done in replaced):
                continue
            replaced.append(name)
            active |= set() if getattr(part, "disable_adapters", False) else set(part.active_adapters)
            _replace(module, name, part)
    # whatever a kind of adapter says that has no merged form
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"can't merge the adapter: {type(error).__name__}: {reason}; accepted: {ACCEPTED}") from None
    # transformers saves and reports adapters by this mark
    if hasattr(module, "_hf_peft_config_loaded"):
        module._hf_peft_config_loaded = False
    vars(module).pop("peft_config", None)
    return module, {"adapters": {name: kinds.get(name, "") for name in sorted(active)}, "modules": len(replaced)}


def _replace(module: Any, name: str, part: Any) -> None:
    """Put what an adapted module computes in its place, as a plain module."""
    off = bool(getattr(part, "disable_adapters", False))
    if hasattr(part, "unload_and_optionally_merge_module"):
        plain = part.unload_and_optionally_merge_module(merge=not off, safe_merge=True, adapter_names=None)
    else:
        if not off:
            part.merge(safe_merge=True)
        plain = part.get_base_layer()
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, plain)


def _peft() -> Any:
    try:
        import peft
        import peft.tuners.tuners_utils
        import peft.utils.other
    except ImportError:
        raise UsageError(
            "adapters need the package peft, which is not installed; accepted: pip install neuron-antagonism[adapters]"
        ) from None
    return peft
