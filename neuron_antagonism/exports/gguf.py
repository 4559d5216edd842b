"""An edit as a LoRA in a GGUF file, which llama.cpp and what is made of it put on their model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.errors import ExportError, ModelError
from neuron_antagonism.exports.lora import factors
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.model.gguf import check_package, tensor_names
from neuron_antagonism.model.hooked import HookedModel

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER = "adapter.gguf"

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""llama.cpp's name of an architecture by transformers': it keeps their FFN's output projection as it is."""


def write_gguf(folder: Path, model: HookedModel, edit: Edit) -> None:
    """Write the adapter, then read it back.

    All layers have one rank, as llama.cpp takes it, and alpha is that rank: the factor is 1. Layers that need less are
    filled up with zeros.

    Raises:
        UsageError: the package gguf is missing.
        ModelError: an architecture that llama.cpp calls something else, or as in `write_lora`.
        ExportError: the file does not hold what was written.
    """
    check_package()
    import gguf

    config = model.bridge.original_model.config
    arch = ARCHITECTURES.get(config.model_type)
    if arch is None:
        raise ModelError(
            f"{model.name} is of the architecture {config.model_type!r}; accepted by gguf: "
            f"{', '.join(sorted(ARCHITECTURES))} (format lora takes any)"
        )
    found = {name: pair for name, (_, pair) in factors(model, edit, "gguf").items()}
    names = tensor_names(arch, model.n_layers)
    rank = max(len(a) for a, _ in found.values())
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in found.items():
        stored = names.get_name(name)
        if stored is None:
            raise ModelError(f"llama.cpp has no name for {name} of {model.name}; accepted: format lora")
        tensors[f"{stored}.weight.lora_a"] = torch.cat([a, a.new_zeros(rank - len(a), a.shape[1])]).float()
        tensors[f"{stored}.weight.lora_b"] = torch.cat([b, b.new_zeros(len(b), rank - b.shape[1])], dim=1).float()
    writer = gguf.GGUFWriter(folder / ADAPTER, arch)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    _check(folder / ADAPTER, tensors)


def _check(file: Path, tensors: dict[str, Tensor]) -> None:
    """What the file holds, read by the same package, is what was written: its tensors lie by offsets."""
    import gguf

    read = {tensor.name: torch.tensor(tensor.data) for tensor in gguf.GGUFReader(file).tensors}
    if read.keys() != tensors.keys() or not all(torch.equal(read[name], tensor) for name, tensor in tensors.items()):
        raise ExportError(f"{file.name} does not hold what was written; nothing is left of it; accepted: another disk")
