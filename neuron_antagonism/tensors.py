"""The one binary format on disk: tensors by name and one JSON document, in a safetensors file; no torch, no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuron_antagonism.errors import DataError
from neuron_antagonism.files import write_whole

DOCUMENT = "document"
"""The one entry of the file's metadata: with several, their order would differ from one writing to the next."""

MOST_BYTES = 64 * 2**30
"""A larger file is none of ours."""

Arrays = Mapping[str, np.ndarray[Any, Any]]


def pack(arrays: Arrays, document: Mapping[str, Any]) -> bytes:
    """The bytes of a file: the same for the same content.

    Args:
        arrays: by name; of any shape, contiguous or not.
        document: plain JSON values; NaN and infinities are refused.
    """
    from safetensors.numpy import save

    # not ascontiguousarray, which makes a list of a single number
    whole = {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
    text = _text(document)
    meta = {DOCUMENT: json.dumps({"sha256": _digest(whole, text), "text": text})}
    return save(whole, metadata=meta)


def write(path: Path, arrays: Arrays, document: Mapping[str, Any]) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: it can't be written.
    """
    write_whole(path, pack(arrays, document))


def read(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Arrays and document of a file that `write` made.

    Raises:
        DataError: no such file, a damaged one, or one of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes are too many")
        with safe_open(path, framework="numpy") as file:
            stored = json.loads((file.metadata() or {})[DOCUMENT])
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if stored["sha256"] != _digest(arrays, stored["text"]):
            raise ValueError("its checksum is another one")
        document = json.loads(stored["text"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or f"{error}"
        raise DataError(f"can't read {path}: {reason}; accepted: a file that this program wrote") from None
    if not isinstance(document, dict):
        raise DataError(f"can't read {path}: it holds no document; accepted: a file that this program wrote")
    return arrays, document


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _digest(arrays: Arrays, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(repr((name, str(array.dtype), array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
