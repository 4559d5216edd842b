"""What a plugin's result depends on: its code, its options and its state. Keys of stored results are made of this."""

from __future__ import annotations

import hashlib
import inspect
import sys
import uuid
from typing import Any

import numpy as np
import torch

from neuron_antagonism.plugin.base import Configurable, Target, Task

_UNKNOWN_CODE = uuid.uuid4().hex
"""Stands for code that can't be read: another one in each process, so that nothing stored is taken for its result."""


def identity(plugin: Configurable | Target | Task) -> list[Any]:
    """A JSON-able value that changes with a plugin's class, source, options or attributes."""
    cls = type(plugin)
    sources = [_source(c) for c in cls.__mro__ if c is not object]
    state = {name: _plain(value) for name, value in sorted(vars(plugin).items())}
    target = getattr(plugin, "target", None)
    return [cls.__module__, cls.__qualname__, sources, state, identity(target) if isinstance(target, Target) else None]


def _source(cls: type) -> str:
    try:
        text = inspect.getsource(sys.modules[cls.__module__])
    except (OSError, TypeError, KeyError):
        return _UNKNOWN_CODE
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return [str(value.dtype), list(value.shape), hashlib.sha256(raw.tobytes()).hexdigest()]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, Target):
        return identity(value)
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return repr(value)
