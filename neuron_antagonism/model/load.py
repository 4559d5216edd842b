"""Loading a model into the hooked runner, by name, directory or in-memory pair."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_antagonism import demo
from neuron_antagonism.errors import ModelError, UsageError
from neuron_antagonism.model.checkpoint import ACCEPTED, read_checkpoint
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.loading import Loading, checked_device, checked_dtype
from neuron_antagonism.neurons import NeuronSet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WIDE_ATTENTION = ("BaichuanForCausalLM", "BaiChuanForCausalLM")
"""Architectures whose attention weights TransformerLens 4.3 leaves in float32, which narrower values can't meet."""


def load_model(
    name: str | Path | None = None,
    *,
    hf_model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
    load_in_8bit: bool = False,
    load_in_4bit: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    chat_template: bool = False,
) -> HookedModel:
    """Load a model with hooks on every FFN neuron.

    Args:
        name: "demo", a local Hugging Face directory, or a Hub id.
        hf_model: a loaded Hugging Face causal language model instead. It is taken over: TransformerLens replaces
            parts of it in place, it is put in evaluation mode, and its parameters stop requiring gradients.
        tokenizer: its tokenizer; used unchanged for all tokenising.
        dtype: "float32", "float16", "bfloat16" or "float64"; default: float32 on the CPU, the checkpoint's own on
            a GPU, bfloat16 beside quantized weights; an in-memory model keeps its own.
        device: "cpu", "cuda", "cuda:1", …; default: a GPU where there is one; an in-memory model stays where it is.
        device_map: instead of a device, how accelerate spreads the blocks over several: "auto", "balanced", … or a
            mapping of module names to devices, "cpu" and "disk" among them.
        load_in_8bit, load_in_4bit: quantize the weights on loading; needs bitsandbytes.
        revision: branch, tag or commit of a Hub id.
        trust_remote_code: run the Python code that a checkpoint brings along, with all the rights of this process.
        chat_template: put every question's prompt through the tokenizer's chat template, as a user's message that
            the model is to answer.

    Raises:
        ModelError: no such model, or one that can't be hooked.
        UsageError: arguments that contradict each other.
    """
    loading = Loading(dtype, device, device_map, load_in_8bit, load_in_4bit, revision, trust_remote_code)
    if hf_model is not None:
        if name is not None or tokenizer is None:
            raise UsageError("load_model takes either a name, or both hf_model= and tokenizer=")
        label = str(getattr(hf_model.config, "name_or_path", "") or type(hf_model).__name__)
        return _hook(_placed(hf_model, loading), tokenizer, label, chat=chat_template)
    if name is None or tokenizer is not None:
        raise UsageError(f"load_model takes either a name ({ACCEPTED}), or both hf_model= and tokenizer=")
    loaded, tokenizer = read_checkpoint(str(name), loading)
    # a directory by its full path: the working directory may be another one by the time it is loaded again
    source = str(Path(name).resolve()) if str(name) != "demo" and Path(name).is_dir() else str(name)
    return _hook(loaded, tokenizer, str(name), source, loading=loading, chat=chat_template)


def load_pair(
    name: str, *, dtype: str | torch.dtype | None = None, device: str | torch.device | None = None, **loading: Any
) -> tuple[Any, Any]:
    """The Hugging Face model and tokenizer of a name, not hooked yet; arguments and errors as in `load_model`."""
    return read_checkpoint(name, Loading(dtype, device, **loading))


def _placed(hf_model: Any, loading: Loading) -> Any:
    """A model that was given in memory, in the precision and place that were asked for."""
    dtype = checked_dtype(loading.dtype)
    rest = replace(loading, dtype=None, device=None)
    for field in fields(rest):
        if getattr(rest, field.name) != field.default:
            raise UsageError(f"{field.name}= was given for a model that is loaded already; accepted: with a name")
    if dtype is None and loading.device is None:
        return hf_model
    if getattr(hf_model, "hf_device_map", None) or getattr(hf_model, "is_quantized", False):
        raise UsageError(
            "dtype= or device= was given for a model that is quantized or spread over devices; accepted: neither"
        )
    return hf_model.to(device=None if loading.device is None else checked_device(loading.device), dtype=dtype)


def _hook(
    hf_model: Any,
    tokenizer: Any,
    name: str,
    source: str | None = None,
    *,
    loading: Loading | None = None,
    chat: bool = False,
) -> HookedModel:
    # importing TransformerLens takes seconds and configures logging: only where a model is really loaded
    from transformer_lens.model_bridge import TransformerBridge

    hf_model.eval().requires_grad_(False)
    if not getattr(hf_model.config, "architectures", None):
        hf_model.config.architectures = [type(hf_model).__name__]
    # TransformerLens would swap in a tokenizer that adds a BOS; a copy marked as doing so already is left alone
    theirs = copy.deepcopy(tokenizer)
    theirs.init_kwargs = {**theirs.init_kwargs, "name_or_path": name, "add_bos_token": True}
    level = logging.root.level
    try:
        bridge = TransformerBridge.boot_transformers(
            name, hf_model=hf_model, tokenizer=theirs, device=hf_model.device, dtype=hf_model.dtype
        )
    # an unsupported architecture surfaces as whatever its adapter tripped over
    except Exception as error:
        architecture = hf_model.config.architectures[0]
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"TransformerLens can't hook {name} ({architecture}): {type(error).__name__}: {reason}"
        ) from None
    finally:
        logging.root.setLevel(level)
    # TransformerLens makes parameters of its own where it splits a joint projection
    bridge.requires_grad_(False)
    if hf_model.config.architectures[0] in WIDE_ATTENTION and hf_model.dtype.itemsize < 4:
        for block in bridge.blocks:
            block.attn.hook_pattern.register_forward_hook(lambda _, args, weights: weights.to(hf_model.dtype))
    return HookedModel(bridge, tokenizer, name, _planted(name), source, loading=loading, chat=chat)


def _planted(name: str) -> dict[str, NeuronSet] | None:
    """The neurons that a checkpoint's planted.json names, where it has one."""
    file = (demo.directory() if name == "demo" else Path(name)) / "planted.json"
    if not file.is_file():
        return None
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {role: NeuronSet.of([(int(a), int(b)) for a, b in stored[role]]) for role in ("good", "bad")}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file} is malformed: {error}; accepted: lists of [layer, neuron] under good and bad"
        ) from None
