"""Models in GGUF files: read by transformers, once, and kept as the checkpoint that they are."""

from __future__ import annotations

import importlib.util
import io
import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError

from neuron_antagonism.errors import AntagonismWarning, ModelError, UsageError
from neuron_antagonism.files import CACHE, expanded, read_text, unwritable
from neuron_antagonism.model.checkpoint import ACCEPTED, check_whole
from neuron_antagonism.model.source import file_sha256, is_gguf

READ = ("llama", "qwen2", "qwen3")
"""Architectures, as the files name them, whose files state all that a config holds. Of others transformers fills in
what one model of the kind has (Gemma's scale of queries, Phi's window), and nothing there says so."""

RULE = "unknown_rule.txt"
"""Beside a converted model whose file cuts texts into words by a rule that transformers does not know: its name."""

STATED = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "rope.dimension_count": "head_dim",
    "rope.freq_base": "rope_theta",
    "rope.scaling.type": "rope_type",
    "vocab_size": "vocab_size",
}
"""What a file may state of such a model, and what its config calls it: all that is stated must have been taken over."""


def converted(file: Path) -> Path:
    """The directory of a GGUF file's model as a Hugging Face checkpoint; it is made the first time.

    It lies in the cache that NEURON_ANTAGONISM_CACHE names, else among the Hub's own, under the SHA-256 of the file and
    the version of transformers that read it. Weights are float32, or narrower where that loses nothing.

    Raises:
        UsageError: the package gguf is missing, or the cache can't be written.
        ModelError: a file that transformers does not read, or not wholly.
    """
    target = _place(file)
    if not (target / "config.json").is_file():
        check_package()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not (target / "config.json").is_file():
                    _convert(file, target)
        except (OSError, SafetensorError) as error:
            raise unwritable(target, getattr(error, "strerror", None) or str(error)) from None
    if (target / RULE).is_file():
        warnings.warn(
            f"{file} names a rule for cutting texts into words, {read_text(target / RULE, 'its name')!r}, that "
            "transformers does not know: GPT-2's is taken, and some texts (numbers, rare scripts) may get other tokens "
            "than the model was trained with",
            AntagonismWarning,
            stacklevel=2,
        )
    return target


def _place(file: Path) -> Path:
    from transformers import __version__ as version

    name = f"{file_sha256(file)}-transformers-{version}"
    if given := os.environ.get(CACHE):
        return expanded(given) / "gguf" / name
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "neuron_antagonism" / "gguf" / name


def _convert(file: Path, target: Path) -> None:
    stated, tensors = _header(file)
    _check_kind(file, stated)
    model, tokenizer, found = _read(file)
    check_whole(str(file), found, tokenizer)
    _check_taken(file, stated, tensors, model)
    # dequantised on loading: an ordinary model from here on
    model.hf_quantizer, model.is_quantized = None, False
    vars(model.config).pop("quantization_config", None)
    model.to(_narrowest(model))
    with tempfile.TemporaryDirectory(prefix=f".{target.name[:8]}-", dir=target.parent) as scratch:
        whole = Path(scratch) / "whole"
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        if rule := _unknown_rule(stated):
            (whole / RULE).write_text(rule, encoding="utf-8")
        whole.replace(target)


def _header(file: Path) -> tuple[dict[str, Any], set[str]]:
    """What a file states, without its long lists, and the names of its tensors."""
    import gguf

    class Bounded(gguf.GGUFReader):
        """Reads no list that is longer than the file: a few bytes could ask for all memory."""

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type == gguf.GGUFValueType.ARRAY:
                (length,) = self._get(orig_offs + 4, np.uint64)
                if length > len(self.data):
                    raise ValueError(f"a list of {length} values")
            return super()._get_field_parts(orig_offs, raw_type)

    try:
        reader = Bounded(file)
        fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
        # a vocabulary's lists are long, and read by transformers
        short = {name: field for name, field in fields.items() if len(field.data) == 1 or "tokenizer." not in name}
        return {name: field.contents() for name, field in short.items()}, {tensor.name for tensor in reader.tensors}
    # the reader maps the file's bytes, and raises whatever they lead it to
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"can't read {file}: {type(error).__name__}: {reason}; accepted: a GGUF file") from None


def _check_kind(file: Path, stated: Mapping[str, Any]) -> None:
    kind, arch = stated.get("general.type", "model"), stated.get("general.architecture")
    if kind != "model":
        raise ModelError(f"{file} holds no model but: {kind}; accepted: a GGUF file of a whole model")
    if stated.get("split.count", 1) > 1:
        raise ModelError(
            f"{file} is one of {stated['split.count']} parts; accepted: one file (llama-gguf-split --merge)"
        )
    if arch not in READ:
        raise ModelError(
            f"{file} is of the architecture {arch!r}, which transformers does not read from GGUF wholly; accepted: "
            f"{', '.join(READ)}, or the model's Hugging Face directory or Hub id"
        )


def _read(file: Path) -> tuple[Any, Any, dict[str, Any]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loader: Any = AutoModelForCausalLM  # its annotations don't know of output_loading_info
    # alone: what lies beside the file is another model's, perhaps
    with tempfile.TemporaryDirectory() as alone:
        name = "model.gguf"
        (Path(alone) / name).symlink_to(file.resolve())
        try:
            with _quietly():
                model, found = loader.from_pretrained(
                    alone, gguf_file=name, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
                )
            tokenizer = AutoTokenizer.from_pretrained(alone, gguf_file=name)
        # transformers raises whatever a file that it does not expect leads it to
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"transformers can't read {file}: {type(error).__name__}: {reason}; accepted: a GGUF file that it "
                "reads, or the model's Hugging Face directory or Hub id"
            ) from None
    return model, tokenizer, found


@contextmanager
def _quietly() -> Iterator[None]:
    """Without a bar that transformers' own switch does not reach, where only errors were asked for."""
    if os.environ.get("TRANSFORMERS_VERBOSITY") != "error":
        yield
        return
    with redirect_stderr(io.StringIO()):
        yield


def _check_taken(file: Path, stated: Mapping[str, Any], tensors: set[str], model: Any) -> None:
    """Refuse a file that says more of its model than was read: transformers passes over what it does not know."""
    config, arch = model.config, stated["general.architecture"]
    held = {**vars(config), "head_dim": _head_dim(config), **(getattr(config, "rope_parameters", None) or {})}
    for key, value in stated.items():
        own = key.removeprefix(f"{arch}.")
        if own == key:
            continue
        taken = held.get(STATED.get(own, ""))
        # files hold float32, of which a config has the same number
        close = isinstance(value, float) and isinstance(taken, float | int) and math.isclose(value, taken, rel_tol=1e-6)
        if not close and taken != ("default" if value == "none" else value):
            raise ModelError(
                f"{file} states {key} = {value!r:.60}, which transformers does not take over; accepted: a file without "
                "it, or the model's Hugging Face directory or Hub id"
            )
    names = tensor_names(arch, config.num_hidden_layers)
    known = {names.get_name(name, try_suffixes=(".weight", ".bias")) for name in model.state_dict()}
    if unread := sorted(tensors - known):
        raise ModelError(
            f"{file} holds {len(unread)} tensors that transformers does not read, {unread[0]} among them; accepted: a "
            "file without them, or the model's Hugging Face directory or Hub id"
        )


def check_package() -> None:
    """Raise UsageError where the package gguf is missing."""
    if importlib.util.find_spec("gguf") is None:
        raise UsageError(
            "GGUF files need the package gguf, which is not installed; accepted: pip install 'neuron-antagonism[gguf]'"
        )


def tensor_names(arch: str, n_layers: int) -> Any:
    """llama.cpp's names of an architecture's tensors, by those of transformers."""
    import gguf

    kind = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    return gguf.get_tensor_name_map(kind, n_layers)


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _unknown_rule(stated: Mapping[str, Any]) -> str | None:
    """How the file cuts texts into words, where transformers does it in another way."""
    rule, known = str(stated.get("tokenizer.ggml.pre", "default")), {"gpt-2"}
    # earlier versions have no table
    with suppress(ImportError):
        from transformers.integrations.gguf import gguf_tokenizer_mapping as mapping

        known |= set(getattr(mapping, "GGUF_PRE_TOKENIZER_SPLITS", ()))
    return rule if stated.get("tokenizer.ggml.model") == "gpt2" and rule not in known else None


def _narrowest(model: Any) -> Any:
    """The narrowest dtype that holds every weight exactly."""
    import torch

    weights = list(model.state_dict().values())
    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(weight.to(dtype).float(), weight) for weight in weights):
            return dtype
    return torch.float32


def opened(name: str, revision: str | None) -> str:
    """A name as it is read: of a GGUF file the directory of its model; any other as it is.

    Raises:
        UsageError: a revision for a file, and as in `converted`.
        ModelError: as in `converted`.
    """
    file = Path(name)
    if not is_gguf(file):
        if file.suffix.lower() == ".gguf" and not file.exists():
            raise ModelError(f"there is no file {name}; accepted: {ACCEPTED}")
        return name
    if revision is not None:
        raise UsageError(f"revision {revision!r} was given for {name}, a file; accepted: for a Hub id")
    return str(converted(file))
