"""Reading a Hugging Face checkpoint, once and in one copy; one line for whatever is wrong with it."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.errors import AntagonismWarning, ModelError, UsageError, unknown
from neuron_antagonism.model.source import directory

if TYPE_CHECKING:
    from neuron_antagonism.model.loading import Loading

ACCEPTED = "'demo' (the embedded model), a local directory, a GGUF file, or a Hub id"

REASONS = {
    "trust_remote_code=True": (
        "comes with Python code of its own, which loading would run with all the rights that you have; accepted: "
        "trust_remote_code=True (--trust-remote-code), once you have read that code"
    ),
    "does not recognize this architecture": (
        "has a model_type in its config.json that the installed transformers does not know; accepted: an architecture "
        "that transformers and TransformerLens know"
    ),
    "Unrecognized model in": "has no model_type in its config.json; accepted: a Hugging Face model with its config",
    "Unrecognized configuration class": "is no causal language model; accepted: one that continues a text",
}
"""Our words for some of transformers' messages, which are longer, by a part of them that identifies them."""


def read_checkpoint(name: str, loading: Loading) -> tuple[Any, Any]:
    """The Hugging Face model and tokenizer of a name.

    Raises:
        ModelError: no such model, or one that can't be read whole.
        UsageError: arguments that contradict each other.
    """
    arguments, target = loading.arguments()
    if not name:
        # as a path it would be the working directory
        raise UsageError(f"the model's name is empty; accepted: {ACCEPTED}")
    path = directory(name)
    if path.is_dir():
        if loading.revision is not None:
            raise UsageError(f"revision {loading.revision!r} was given for {name}, a directory; accepted: for a Hub id")
        if not (path / "config.json").is_file():
            raise ModelError(f"the directory {name} holds no config.json; accepted: a Hugging Face model directory")
        source = str(path)
    elif path.exists():
        raise ModelError(f"the model {name} is a file; accepted: {ACCEPTED}")
    else:
        source = name
    here = path.is_dir() or not _on_hub(name, loading.revision)
    try:
        model, tokenizer, found = _read(source, loading, arguments, here=here)
    # transformers and safetensors raise a dozen unrelated classes for a checkpoint that can't be read
    except Exception as error:
        for part, reason in REASONS.items():
            if part in str(error):
                raise ModelError(f"the checkpoint {name} {reason}") from None
        if here and not path.is_dir():
            raise _unknown(name, "the Hub can't be reached and the model is not in the local cache") from None
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"can't load the model {name}: {type(error).__name__}: {reason}") from None
    check_whole(name, found, tokenizer)
    if model.is_custom_code():
        _restore_computed(model)
    return model if target is None else model.to(target), tokenizer


def _read(source: str, loading: Loading, arguments: dict[str, Any], *, here: bool) -> tuple[Any, Any, dict[str, Any]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    if os.environ.get("TRANSFORMERS_VERBOSITY") == "error":
        # whoever wants to hear of errors only wants no bars either; it may be imported here for the first time
        theirs: Any = logging
        theirs.disable_progress_bar()
    common: dict[str, Any] = {
        "local_files_only": here,
        "trust_remote_code": loading.trust_remote_code,
        "revision": loading.revision or "main",
    }
    tokenizer = AutoTokenizer.from_pretrained(source, **common)
    loader: Any = AutoModelForCausalLM  # its annotations don't know of output_loading_info
    # weights that do not fit their module are reported by us: transformers' own error is a table
    model, found = loader.from_pretrained(
        source,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        attn_implementation="eager",
        **arguments,
        **common,
    )
    return model, tokenizer, found


def check_whole(name: str, found: dict[str, Any], tokenizer: Any) -> None:
    """Refuse what transformers fills up by itself: with random weights, and a tokenizer that knows no words."""
    if found["mismatched_keys"]:
        key, stored, wanted = min(found["mismatched_keys"])
        raise ModelError(
            f"the checkpoint {name} holds {key} in the shape {tuple(stored)}; accepted: {tuple(wanted)}, which its "
            "config.json asks for"
        )
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise ModelError(
            f"the checkpoint {name} lacks {len(missing)} weights, {missing[0]} among them; accepted: a complete one"
        )
    if found["unexpected_keys"]:
        unused = sorted(found["unexpected_keys"])
        warnings.warn(
            f"the checkpoint {name} holds {len(unused)} weights that its architecture does not use, {unused[0]} among "
            "them: does its config.json belong to it?",
            AntagonismWarning,
            stacklevel=2,
        )
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"the model {name} has no tokenizer; accepted: a checkpoint with its tokenizer's files")


def _restore_computed(model: Any) -> None:
    """Give a remote-code model the tensors that its constructor computes and no checkpoint stores.

    transformers constructs models without memory, and leaves such tensors (rotary angles, masks) as whatever memory
    holds. Its own classes compute them again; code that was written for earlier versions does not know that it must.
    """
    from accelerate import init_empty_weights  # type: ignore[import-untyped]
    from transformers.initialization import no_init_weights

    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False), no_init_weights():
        torch.set_default_dtype(model.dtype)
        try:
            fresh = type(model)(model.config)
        finally:
            torch.set_default_dtype(before)
    for name, module in fresh.named_modules():
        target = model.get_submodule(name)
        where = next((p.device for p in target.parameters() if not p.is_meta), torch.device("cpu"))
        for key in module._non_persistent_buffers_set:
            if module._buffers[key] is not None:
                target._buffers[key] = module._buffers[key].to(where)
        for key, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                setattr(target, key, value.to(where))


def _on_hub(name: str, revision: str | None) -> bool:
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
        HfApi().model_info(name, revision=revision, timeout=10)
    except (HFValidationError, HfHubHTTPError) as error:
        raise _unknown(name, " ".join(str(error).split())[:160]) from None
    # no connection: which class says so depends on the HTTP library below
    except Exception:
        return False
    return True


def _unknown(name: str, reason: str) -> ModelError:
    return ModelError(f"{unknown('model', name, ['demo'])}, a local directory, a GGUF file, or a Hub id ({reason})")
