"""An edit as a PEFT (IA)^3 adapter: one vector a touched layer, on the input of the FFN's output projection."""

from __future__ import annotations

from pathlib import Path

from neuron_antagonism.exports.adapter import write_adapter
from neuron_antagonism.exports.choose import scales
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.plain import projection


def write_ia3(folder: Path, model: HookedModel, edit: Edit) -> None:
    """Write the adapter's two files; a vector has shape [1, neuron] and holds 1 where nothing is edited."""
    vectors = {projection(model, layer): scale for layer, scale in scales(edit, model.n_neurons).items()}
    config = {
        "fan_in_fan_out": any(place.fan_in_fan_out for place in vectors),
        "feedforward_modules": sorted(place.name for place in vectors),
        "init_ia3_weights": True,
    }
    write_adapter(folder, model, "IA3", config, {place.name: (scale[None],) for place, scale in vectors.items()})
