"""Loading a model into the hooked runner, by name, directory or in-memory pair."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import AntagonismError, DataError, ModelError, UsageError
from neuron_antagonism.files import TABLE, read_text
from neuron_antagonism.model.adapters import is_adapted, merged, with_adapter
from neuron_antagonism.model.agreement import Proof
from neuron_antagonism.model.checkpoint import ACCEPTED, read_checkpoint
from neuron_antagonism.model.gguf import opened
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.loading import Loading, checked_device, checked_dtype
from neuron_antagonism.model.proofs import given_logits, probe, prove, refuse
from neuron_antagonism.model.source import base_and_adapter, directory
from neuron_antagonism.model.turn import Turn
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
    adapter: str | Path | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
    load_in_8bit: bool = False,
    load_in_4bit: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    chat_template: bool = False,
) -> HookedModel:
    """Load a model with hooks on every FFN neuron, and prove that it is what its numbers will be taken for.

    What is proved stands in `model.proofs`: its logits are those of the module before TransformerLens touched it, what
    is called a neuron is one, a token sees only earlier ones, hooks act and are restored. It takes a few forwards of 64
    tokens, and nothing for a checkpoint that was proved in this process already.

    Args:
        name: "demo", a local Hugging Face directory, an adapter's directory that names its base, a GGUF file (extra
            `gguf`; converted once, into a cache), or a Hub id.
        hf_model: a loaded Hugging Face causal language model instead. It is taken over: TransformerLens replaces
            parts of it in place, it is put in evaluation mode, and its parameters stop requiring gradients. Of one with
            adapters (a `peft.PeftModel`, or after `add_adapter`) a copy is taken, with those that are active merged.
        tokenizer: its tokenizer; used unchanged for all tokenising.
        adapter: the directory or Hub id of a PEFT adapter to merge into the model of that name.
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
        ModelError: no such model, one that can't be hooked, or one for which a proof fails.
        UsageError: arguments that contradict each other.
    """
    model = examine_model(
        name,
        hf_model=hf_model,
        tokenizer=tokenizer,
        loading=Loading(
            dtype,
            device,
            device_map,
            load_in_8bit,
            load_in_4bit,
            revision,
            trust_remote_code,
            None if adapter is None else str(adapter),
        ),
        chat_template=chat_template,
    )
    refuse(model)
    return model


def examine_model(
    name: str | Path | None = None,
    *,
    hf_model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    loading: Loading,
    chat_template: bool = False,
) -> HookedModel:
    """Load a model and keep what was proved of it, also what does not hold; arguments and errors as in `load_model`."""
    import torch

    # weights that are made in inference mode could never be differentiated
    with torch.inference_mode(False):
        return _examined(name, hf_model, tokenizer, loading, chat_template)


def _examined(
    name: str | Path | None,
    hf_model: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase | None,
    loading: Loading,
    chat_template: bool,
) -> HookedModel:
    if hf_model is not None:
        if name is not None or tokenizer is None:
            raise UsageError("load_model takes either a name, or both hf_model= and tokenizer=")
        _check_pair(hf_model, tokenizer)
        label = str(getattr(hf_model.config, "name_or_path", "") or type(hf_model).__name__)
        return _hook(_placed(hf_model, loading), tokenizer, label, chat=chat_template)
    if name is None or tokenizer is not None:
        raise UsageError(f"load_model takes either a name ({ACCEPTED}), or both hf_model= and tokenizer=")
    if not isinstance(name, str | Path):
        raise UsageError(
            f"the model's name is a {type(name).__name__}; accepted: {ACCEPTED}, or hf_model= and tokenizer= for one "
            "in memory"
        )
    name, adapter = base_and_adapter(str(name), loading.adapter)
    base = replace(loading, adapter=None)
    place = opened(name, loading.revision)
    loaded, own = read_checkpoint(place, base)
    if adapter is not None:
        loaded = with_adapter(loaded, adapter)
    # a directory by its full path: the working directory may be another one by the time it is loaded again
    here = Path(place)
    source = str(here.resolve()) if place != "demo" and here.is_dir() else place
    label = name if adapter is None else f"{name} + {adapter}"
    return _hook(loaded, own, label, source, loading=replace(loading, adapter=adapter), chat=chat_template)


def _check_pair(hf_model: Any, tokenizer: Any) -> None:
    import torch

    if not isinstance(hf_model, torch.nn.Module) or not hasattr(hf_model, "config"):
        raise UsageError(
            f"hf_model is a {type(hf_model).__name__}{_shown(hf_model)}; accepted: a loaded Hugging Face model "
            "(load_model takes a name by itself)"
        )
    if any(parameter.is_inference() for parameter in hf_model.parameters()):
        raise ModelError(
            "the model's weights were made inside torch.inference_mode(), and have no gradients; accepted: a model "
            "that is made or loaded outside of it"
        )
    if not all(callable(getattr(tokenizer, name, None)) for name in ("__call__", "__len__", "decode")):
        raise UsageError(
            f"tokenizer is a {type(tokenizer).__name__}{_shown(tokenizer)}; accepted: the model's loaded tokenizer, "
            "such as AutoTokenizer.from_pretrained gives"
        )


def _shown(thing: Any) -> str:
    return f" ({thing!r:.40})" if isinstance(thing, str | Path) else ""


def load_pair(
    name: str, *, dtype: str | torch.dtype | None = None, device: str | torch.device | None = None, **loading: Any
) -> tuple[Any, Any]:
    """The Hugging Face model and tokenizer of a name, not hooked yet; arguments and errors as in `load_model`."""
    asked = Loading(dtype, device, **loading)
    return read_checkpoint(opened(name, asked.revision), asked)


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
    if getattr(hf_model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{name} ({type(hf_model).__name__}) is an encoder with a decoder; accepted: a causal language model, "
            "which is a decoder alone"
        )
    _make_eager(hf_model)
    key = None if is_adapted(hf_model) else _key(hf_model, source, loading)
    known = _proved.get(key, {})
    # of what was given, adapters and all, and before they are merged: what they are merged into must give the same
    given = None if known else given_logits(hf_model, probe(hf_model, tokenizer, _embeddings(hf_model)), name)
    plain, adapter = merged(hf_model, mine=source is not None)
    embeddings = _embeddings(plain)
    # of a model with adapters this is a copy: the user's own may be in training
    hf_model = plain.eval().requires_grad_(False)
    turn = _turns.setdefault(hf_model, Turn())
    bridge = _bridge(hf_model, tokenizer, name)
    # what was merged stands in no checkpoint that it could be loaded from again
    again = source if adapter is None else None
    try:
        model = HookedModel(
            bridge,
            tokenizer,
            name,
            _planted(name),
            again,
            loading=loading,
            chat=chat,
            adapter=adapter,
            embeddings=embeddings,
            turn=turn,
        )
    except AntagonismError:
        raise
    # a bridge that lacks what a decoder has
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"TransformerLens can't hook {name} ({hf_model.config.architectures[0]}): {type(error).__name__}: "
            f"{reason}; accepted: a decoder that it knows"
        ) from None
    model.proofs = known if given is None else prove(model, given)
    if key is not None and all(proof.holds for proof in model.proofs.values()):
        _proved[key] = model.proofs
    return model


def _make_eager(hf_model: Any) -> None:
    """Attention as TransformerLens runs it: in bfloat16 another kind moves logits by several percent of the largest.

    A model whose code knows only one kind keeps that.
    """
    inner = hf_model.get_base_model() if hasattr(hf_model, "get_base_model") else hf_model
    config = inner.config
    if getattr(config, "_attn_implementation", None) in (None, "eager"):
        return
    with suppress(AttributeError, NotImplementedError, ValueError):
        inner.set_attn_implementation("eager")


def _bridge(hf_model: Any, tokenizer: Any, name: str) -> Any:
    # importing TransformerLens takes seconds and configures logging: only where a model is really loaded
    from transformer_lens.model_bridge import TransformerBridge

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
    return bridge


_turns: WeakKeyDictionary[Any, Turn] = WeakKeyDictionary()
"""Modules that were taken over in this process, and whose turn it is with them; a module may be loaded twice."""

_proved: dict[Any, dict[str, Proof]] = {}
"""What was proved in this process, by checkpoint."""


def forget_proofs() -> None:
    """Let every checkpoint be proved again when it is loaded the next time."""
    _proved.clear()


def _key(hf_model: Any, source: str | None, loading: Loading | None) -> Any:
    """What tells a checkpoint, and how it is loaded, apart from others; None where nothing does."""
    if source is None or loading is None or loading.trust_remote_code:
        return None
    folder = directory(source)
    commit = getattr(hf_model.config, "_commit_hash", None)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        state: Any = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    elif commit:
        state = commit
    else:
        return None
    return source, state, str(loading), str(hf_model.dtype), str(hf_model.device)


def _embeddings(hf_model: Any) -> int:
    """Rows of the embedding; what the config says where it can't be found."""
    try:
        return int(hf_model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError, TypeError):
        return int(hf_model.config.get_text_config().vocab_size)


def _planted(name: str) -> dict[str, NeuronSet] | None:
    """The neurons that a checkpoint's planted.json names, where it has one."""
    file = directory(name) / "planted.json"
    if not file.is_file():
        return None
    try:
        stored = parsed_json(read_text(file, "lists of neurons", TABLE))
        return {role: NeuronSet.of([(int(a), int(b)) for a, b in stored[role]]) for role in ("good", "bad")}
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file} is malformed: {error}; accepted: lists of [layer, neuron] under good and bad"
        ) from None
