"""An edit as a whole checkpoint: the columns of the FFN output projections scaled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from neuron_antagonism.errors import ModelError, UsageError
from neuron_antagonism.exports.adapter import base_of
from neuron_antagonism.exports.choose import scales
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.plain import plain_model, projection


def check_shard_size(size: str | int) -> None:
    """Raise UsageError unless it is a size of a file."""
    if isinstance(size, bool) or not re.fullmatch(r"[1-9]\d*(\.\d+)?([KMGT]B)?", str(size)):
        raise UsageError(f"max_shard_size is {size!r}; accepted: a number of bytes, or a size such as '5GB' or '500MB'")


def write_checkpoint(
    folder: Path, model: HookedModel, edit: Edit | None, max_shard_size: str | int, *, tokenizer: bool = True
) -> None:
    """Write weights, configuration, generation configuration and the user's own tokenizer.

    Args:
        folder: an empty directory.
        model: whose weights they are.
        edit: folded into them; None = the weights as they are.
        max_shard_size: of a file of weights.
        tokenizer: whether it is written too.
    """
    save = getattr(model.tokenizer, "save_pretrained", None)
    if tokenizer and save is None:
        raise ModelError(
            f"the tokenizer of {model.name}, a {type(model.tokenizer).__name__}, can't be saved; "
            "accepted: a Hugging Face tokenizer, or format ia3"
        )
    plain = plain_model(model)
    for layer, scale in scales(edit, model.n_neurons).items() if edit is not None else ():
        place = projection(model, layer)
        weight = torch.nn.Parameter(place.scaled(scale), requires_grad=False)
        plain.get_submodule(place.name).weight = weight
    plain = _as_stored(plain, model)
    plain.save_pretrained(folder, max_shard_size=max_shard_size)
    generation = getattr(model.bridge.original_model, "generation_config", None)
    if generation is not None:
        # as it was: save_pretrained() refuses what some published ones say
        generation.to_json_file(folder / "generation_config.json")
    if tokenizer and save is not None:
        save(folder)


def _as_stored(plain: Any, model: HookedModel) -> Any:
    """The model in the dtype of the checkpoint it was loaded from, where that loses nothing.

    On a CPU, checkpoints in half precision are loaded as float32.
    """
    from transformers import AutoConfig

    if model.source is None:
        return plain
    try:
        stored = AutoConfig.from_pretrained(
            base_of(model),
            local_files_only=True,
            revision=model.loading.revision or "main",
            trust_remote_code=model.loading.trust_remote_code,
        ).dtype
    # the source may be gone by now: then what is in memory is all there is
    except (OSError, ValueError):
        return plain
    if not isinstance(stored, torch.dtype) or stored.itemsize >= model.dtype.itemsize:
        return plain
    exact = all(torch.equal(weight.to(stored).to(weight.dtype), weight) for weight in plain.state_dict().values())
    return plain.to(stored) if exact else plain
