"""How a checkpoint is to be loaded: precision, place, version and trust, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from neuron_antagonism.errors import UsageError, unknown

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True)
class Loading:
    """What `load_model` was asked for about a checkpoint; see there."""

    dtype: str | torch.dtype | None = None
    device: str | torch.device | None = None
    device_map: str | Mapping[str, int | str] | None = None
    load_in_8bit: bool = False
    load_in_4bit: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    adapter: str | None = None

    @property
    def quantized(self) -> bool:
        """Whether weights are stored in 8 or 4 bits."""
        return self.load_in_8bit or self.load_in_4bit

    def arguments(self) -> tuple[dict[str, Any], torch.device | None]:
        """What `from_pretrained` takes, and the device to move the model to afterwards; None where it stays.

        Raises:
            UsageError: values that are unknown, contradict each other, or need a package that is not installed.
        """
        wanted = checked_dtype(self.dtype)
        if self.device_map is None:
            place: Any = checked_device(self.device)
            on_cpu = place.type == "cpu"
        else:
            if self.device is not None:
                raise UsageError("device and device_map were both given; accepted: one of them")
            place = _checked_map(self.device_map)
            on_cpu = not torch.cuda.is_available()
        if self.quantized:
            self._check_quantization(on_cpu=on_cpu)
            wanted = wanted or torch.bfloat16
        elif wanted is None and on_cpu:
            wanted = torch.float32
        arguments: dict[str, Any] = {"dtype": wanted or "auto"}
        if self.device_map is None and not self.quantized:
            return arguments, place
        arguments["device_map"] = place if self.device_map is not None else {"": place}
        if self.quantized:
            from transformers import BitsAndBytesConfig

            config: Any = BitsAndBytesConfig
            arguments["quantization_config"] = config(
                load_in_8bit=self.load_in_8bit, load_in_4bit=self.load_in_4bit, bnb_4bit_compute_dtype=wanted
            )
        return arguments, None

    def _check_quantization(self, *, on_cpu: bool) -> None:
        if self.load_in_8bit and self.load_in_4bit:
            raise UsageError("load_in_8bit and load_in_4bit were both given; accepted: one of them")
        if find_spec("bitsandbytes") is None:
            raise UsageError(
                "8-bit and 4-bit weights need the package bitsandbytes, which is not installed; "
                "accepted: pip install bitsandbytes, or no quantization"
            )
        if self.load_in_4bit and on_cpu:
            raise UsageError(
                "4-bit weights give no gradients on a CPU (bitsandbytes); accepted: a GPU, or 8-bit weights"
            )


def checked_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The dtype of a name.

    Raises:
        UsageError: an unknown name.
    """
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise UsageError(unknown("dtype", dtype, DTYPES))
    return DTYPES[dtype]


def checked_device(device: str | torch.device | None) -> torch.device:
    """A device that can be used; by default a GPU where there is one.

    Raises:
        UsageError: it can't be used here.
    """
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


def _checked_map(device_map: str | Mapping[str, int | str]) -> str | dict[str, int | str]:
    if isinstance(device_map, str):
        if device_map not in DEVICE_MAPS:
            raise UsageError(f"{unknown('device_map', device_map, DEVICE_MAPS)}, or a mapping of modules to devices")
        return device_map
    if not device_map:
        raise UsageError('device_map is empty; accepted: devices by module, such as {"": "cpu"}, for all of them')
    for where in device_map.values():
        if where != "disk":
            checked_device(torch.device("cuda", where) if isinstance(where, int) else where)
    return dict(device_map)
