"""The one recipe of keys: a hash of everything that determines a unit, and of nothing else."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import uuid
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import neuron_antagonism
from neuron_antagonism.plugin.base import Configurable, Target, Task
from neuron_antagonism.plugin.manager import registry

FORMAT = 1
"""Another number makes every stored unit another one."""

LIBRARIES = ("torch", "transformers", "transformer-lens", "scikit-learn")
"""Beside this package, what computes."""

_UNKNOWN_CODE = uuid.uuid4().hex
"""Stands for code that can't be read: another one in each process, so that nothing stored is taken for its result."""


def key_of(kind: str, *ingredients: Any) -> str:
    """The key of a unit: SHA-256 of its kind, what computes it, and JSON-able ingredients.

    No thread count, batch size, path, or time may be among them.
    """
    return content_hash([FORMAT, kind, _software(), ingredients])


def content_hash(value: Any) -> str:
    """SHA-256 of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()


def identity(plugin: Configurable | Target | Task) -> list[Any]:
    """A JSON-able value that changes with a plugin's distribution, version, code, options or attributes."""
    cls = type(plugin)
    sources = [_code(c.__module__) for c in cls.__mro__ if c is not object]
    state = {name: _plain(value) for name, value in sorted(vars(plugin).items())}
    target = getattr(plugin, "target", None)
    of_target = identity(target) if isinstance(target, Target) else None
    return [_distribution(cls), cls.__module__, cls.__qualname__, sources, state, of_target]


@cache
def _software() -> tuple[str, ...]:
    return (neuron_antagonism.__version__, *(_version(name) for name in LIBRARIES))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _distribution(cls: type) -> str:
    return next((f"{entry.distribution} {entry.version}" for entry in registry() if entry.cls is cls), "")


@cache
def _code(module: str) -> str:
    """A hash of a module's source and of what stands in its package's folder: helpers are code too."""
    loaded = sys.modules.get(module)
    try:
        if loaded is None:
            return _UNKNOWN_CODE
        texts = [inspect.getsource(loaded)]
        package = getattr(loaded, "__package__", "") or ""
        # of this package its version speaks; a module without a package has no folder of its own
        if package and package.partition(".")[0] != "neuron_antagonism" and loaded.__file__:
            texts += [file.read_text("utf-8") for file in sorted(Path(loaded.__file__).parent.glob("*.py"))]
    except (OSError, TypeError, UnicodeDecodeError):
        return _UNKNOWN_CODE
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        import torch

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
