"""How an export's base is loaded by Hugging Face's own loaders, as it was loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuron_antagonism.exports.adapter import base_of
from neuron_antagonism.model.hooked import HookedModel


def loading_of(model: HookedModel) -> dict[str, Any]:
    """The options that a model was loaded with, those that were used, as plain JSON values.

    `dtype` is always among them: without it a checkpoint in half precision would be loaded as it is.
    """
    asked = model.loading
    bits = {f"load_in_{bits}": getattr(asked, f"load_in_{bits}") for bits in ("8bit", "4bit")}
    device_map = asked.device_map
    used = {
        "dtype": str(model.dtype).removeprefix("torch."),
        "revision": asked.revision,
        "trust_remote_code": asked.trust_remote_code,
        "device_map": device_map if device_map is None or isinstance(device_map, str) else dict(device_map),
        **bits,
        "adapter": asked.adapter,
        "chat_template": model.chat is not None,
    }
    return {name: value for name, value in used.items() if value not in (None, False)}


def base_name(model: HookedModel) -> str:
    """What the base is loaded from, without an adapter that was merged into it here."""
    adapter = model.loading.adapter
    return base_of(model) if adapter is None else model.name.removesuffix(f" + {adapter}")


def recipe(form: str, base: str, where: str, loading: Mapping[str, Any]) -> list[str]:
    """Lines of Python that load an export.

    Args:
        form: "ia3", "lora" or "checkpoint".
        base: as `base_name` has it.
        where: the export, a directory or Hub id.
        loading: as `loading_of` has it.
    """
    whole = form == "checkpoint"
    kept = ("dtype", "revision", "trust_remote_code", "device_map")
    # a checkpoint has no revision, and may be stored narrower than it was loaded
    given = [f"{name}={loading[name]!r}" for name in kept if name in loading and not (whole and name == "revision")]
    quantized = next((name for name in ("load_in_8bit", "load_in_4bit") if name in loading), None)
    names = ["AutoModelForCausalLM as Auto"]
    if quantized is not None:
        names.append("BitsAndBytesConfig")
        compute = "" if quantized == "load_in_8bit" else f", bnb_4bit_compute_dtype={loading['dtype']!r}"
        given.append(f"quantization_config=BitsAndBytesConfig({quantized}=True{compute})")
    loaded = f"Auto.from_pretrained({', '.join([repr(where if whole else base), *given])})"
    lines = [] if whole else ["from peft import PeftModel"]
    lines.append(f"from transformers import {', '.join(names)}")
    if whole:
        lines.append(f"model = {loaded}")
    elif "adapter" in loading:
        lines.append(f"base = PeftModel.from_pretrained({loaded}, {loading['adapter']!r}).merge_and_unload()")
        lines.append(f"model = PeftModel.from_pretrained(base, {where!r})")
    else:
        lines.append(f"model = PeftModel.from_pretrained({loaded}, {where!r})")
    if "chat_template" in loading:
        lines.append("# prompts went through the tokenizer's chat template: tokenizer.apply_chat_template(...)")
    return lines
