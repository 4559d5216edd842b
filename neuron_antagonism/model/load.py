"""Loading a model into the hooked runner, by name, directory or in-memory pair."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism import demo
from neuron_antagonism.errors import ModelError, UsageError, unknown
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.neurons import NeuronSet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
ACCEPTED = "'demo' (the embedded model), a local directory, or a Hub id"


def load_model(
    name: str | Path | None = None,
    *,
    hf_model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> HookedModel:
    """Load a model with hooks on every FFN neuron.

    Args:
        name: "demo", a local Hugging Face directory, or a Hub id.
        hf_model: a loaded Hugging Face causal language model instead. It is taken over: TransformerLens replaces
            parts of it in place, it is put in evaluation mode, and its parameters stop requiring gradients.
        tokenizer: its tokenizer; used unchanged for all tokenising.
        dtype: "float32", "float16", "bfloat16" or "float64"; default: float32 on the CPU, the checkpoint's own on
            a GPU; an in-memory model keeps its own.
        device: "cpu", "cuda", "cuda:1", …; default: a GPU where there is one; an in-memory model stays where it is.

    Raises:
        ModelError: no such model, or one that can't be hooked.
        UsageError: arguments that contradict each other.
    """
    if hf_model is not None:
        wanted = _dtype(dtype)
        if name is not None or tokenizer is None:
            raise UsageError("load_model takes either a name, or both hf_model= and tokenizer=")
        if wanted is not None or device is not None:
            moved: Any = hf_model
            hf_model = moved.to(device=device, dtype=wanted)
        label = str(getattr(hf_model.config, "name_or_path", "") or type(hf_model).__name__)
        return _hook(hf_model, tokenizer, label)
    if name is None or tokenizer is not None:
        raise UsageError(f"load_model takes either a name ({ACCEPTED}), or both hf_model= and tokenizer=")
    loaded, tokenizer = load_pair(str(name), dtype=dtype, device=device)
    return _hook(loaded, tokenizer, str(name))


def load_pair(
    name: str, *, dtype: str | torch.dtype | None = None, device: str | torch.device | None = None
) -> tuple[Any, Any]:
    """The Hugging Face model and tokenizer of a name, not hooked yet; arguments and errors as in `load_model`."""
    wanted, target = _dtype(dtype), _device(device)
    if wanted is None and target.type == "cpu":
        wanted = torch.float32
    model, tokenizer = _from_pretrained(name, wanted)
    return model.to(target), tokenizer


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise UsageError(unknown("dtype", dtype, DTYPES))
    return DTYPES[dtype]


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    # torch raises RuntimeError, AssertionError or its own classes here, depending on the build
    except Exception as error:
        line = str(error).splitlines()[0]
        raise UsageError(
            f"device {str(device)!r} can't be used: {line}; accepted: 'cpu', or a GPU that is here"
        ) from None
    return found


def _from_pretrained(name: str, dtype: torch.dtype | None) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = demo.directory() if name == "demo" else Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"the directory {name} holds no config.json; accepted: a Hugging Face model directory")
        source = str(path)
    elif path.exists():
        raise ModelError(f"the model {name} is a file; accepted: {ACCEPTED}")
    else:
        source = name
    here = path.is_dir() or not _on_hub(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=here, trust_remote_code=False)
        loader: Any = AutoModelForCausalLM  # its annotations don't know of output_loading_info
        model, found = loader.from_pretrained(
            source,
            output_loading_info=True,
            dtype=dtype or "auto",
            attn_implementation="eager",
            low_cpu_mem_usage=True,
            local_files_only=here,
            trust_remote_code=False,
        )
    # transformers and safetensors raise a dozen unrelated classes for a checkpoint that can't be read
    except Exception as error:
        if here and not path.is_dir():
            raise _unknown(name, "the Hub can't be reached and the model is not in the local cache") from None
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"can't load the model {name}: {type(error).__name__}: {reason}") from None
    # transformers fills both gaps by itself: with random weights, and with a tokenizer that knows no words
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise ModelError(
            f"the checkpoint {name} lacks {len(missing)} weights, {missing[0]} among them; accepted: a complete one"
        )
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"the model {name} has no tokenizer; accepted: a checkpoint with its tokenizer's files")
    return model, tokenizer


def _on_hub(name: str) -> bool:
    """Whether the Hub has the model; False where it can't be reached.

    Asked once and briefly: `from_pretrained` itself retries for most of a minute before it gives up.

    Raises:
        ModelError: the Hub says that there is no such model.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        HfApi().model_info(name, timeout=10)
    except (HFValidationError, HfHubHTTPError) as error:
        raise _unknown(name, " ".join(str(error).split())[:160]) from None
    # no connection: which class says so depends on the HTTP library below
    except Exception:
        return False
    return True


def _unknown(name: str, reason: str) -> ModelError:
    return ModelError(f"{unknown('model', name, ['demo'])}, a local directory, or a Hub id ({reason})")


def _hook(hf_model: Any, tokenizer: Any, name: str) -> HookedModel:
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
    return HookedModel(bridge, tokenizer, name, _planted(name))


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
