"""Where a model's name leads, and what identifies the checkpoint there without loading it. No torch here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from neuron_antagonism import demo
from neuron_antagonism.errors import UsageError
from neuron_antagonism.files import homed
from neuron_antagonism.model.adapters import CONFIG, named_base

COMMIT = re.compile("[0-9a-f]{40}")

UNREAD = {
    *(".md", ".rst", ".pdf", ".html", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".mp4", ".csv", ".log"),
    *(".pt", ".pth", ".h5", ".msgpack", ".ot", ".onnx", ".gguf"),
}
"""Endings of what lies beside a checkpoint and loading never opens: documents, pictures, logs, the states of a
training, weights of other frameworks. All else counts: a file too many costs a computation, one too few would make a
wrong result."""


def directory(name: str) -> Path:
    """The directory that a model's name means before it means a Hub id; it may not exist."""
    return demo.directory() if name == "demo" else Path(name)


def is_gguf(path: Path) -> bool:
    """Whether a name leads to a GGUF file."""
    return path.suffix.lower() == ".gguf" and path.is_file()


def base_and_adapter(name: str, adapter: str | None) -> tuple[str, str | None]:
    """The model and the adapter that are loaded: an adapter's directory stands for the base that it names.

    Raises:
        UsageError: an adapter's directory with another adapter, or the folder of a user who is not known.
        ModelError: an adapter's directory that does not name its base.
    """
    name = homed(name)
    here = Path(name)
    if not here.is_dir() or not (here / CONFIG).is_file() or (here / "config.json").is_file():
        return name, None if adapter is None else homed(adapter)
    if adapter is not None:
        raise UsageError(f"the model {name} is an adapter itself; accepted: its base model's name, with adapter=")
    return named_base(here), str(here)


def source_identity(name: str, revision: str | None = None, adapter: str | None = None) -> dict[str, str] | None:
    """What identifies the checkpoint that `load_model` would load, without loading it and without the network.

    Of a directory, and of "demo", the SHA-256 of each file that loading may read, by its name there: the same wherever
    the directory lies. Of a GGUF file {"gguf": its SHA-256}. Of a Hub id {"commit": …}, where the local cache has the
    revision; a branch may have moved on since, and loading asks the Hub, so that only what is asked again after loading
    says what was loaded. An adapter's entries begin with "adapter:". A file that keeps its size and its time of change
    is read once in a process.

    Args:
        name: as `load_model` takes it; a `Path` as a string.
        revision: branch, tag or commit of a Hub id.
        adapter: the directory or Hub id of an adapter.

    Returns:
        None where it can't be known, or where there is nothing that could be loaded.

    Raises:
        UsageError: an adapter's directory with another adapter, or the folder of a user who is not known.
        ModelError: an adapter's directory that does not name its base.
    """
    name, adapter = base_and_adapter(name, adapter)
    here = directory(name)
    if here.exists():
        whole = here.is_dir() and (here / "config.json").is_file() and revision is None
        found = _contents(here) if whole else None
        if is_gguf(here) and revision is None:
            found = {"gguf": file_sha256(here)}
    else:
        found = _commit(name, revision)
        # transformers takes the weights of an adapter's repository from wherever it says
        if found is not None and (_snapshot(name, found["commit"]) / CONFIG).is_file():
            return None
    if adapter is None or found is None:
        return found
    # as peft tells a directory from a Hub id
    there = Path(adapter)
    added = _contents(there) if (there / CONFIG).is_file() else _commit(adapter, None)
    return None if added is None else found | {f"adapter:{key}": value for key, value in added.items()}


def weight_bytes(name: str, revision: str | None = None) -> int | None:
    """The size of a checkpoint's files on this machine, nearly all of it weights; None where they are not here.

    Args:
        name: as `load_model` takes it; of an adapter, its base is meant.
        revision: branch, tag or commit of a Hub id.
    """
    name, _ = base_and_adapter(name, None)
    here = directory(name)
    if not here.is_dir():
        found = _commit(name, revision)
        here = _snapshot(name, found["commit"]) if found is not None else here
    return sum(path.stat().st_size for path in _read(here)) if here.is_dir() else None


def _contents(folder: Path) -> dict[str, str]:
    found = {}
    for path in _read(folder):
        found[path.relative_to(folder).as_posix()] = file_sha256(path)
    return dict(sorted(found.items()))


def _read(folder: Path) -> Iterator[Path]:
    for path in (*folder.iterdir(), *folder.glob("additional_chat_templates/*.jinja")):
        described = path.suffix.lower() in UNREAD or path.stem.upper() in ("README", "LICENSE", "NOTICE")
        if path.is_file() and not described and not path.name.startswith("."):
            yield path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; one that keeps its size and its time of change is read once in a process."""
    stat = path.stat()
    return _sha256(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@cache
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _commit(name: str, revision: str | None) -> dict[str, str] | None:
    """The commit of a Hub id, of a branch or tag as the local cache has it."""
    if revision is not None and COMMIT.fullmatch(revision):
        return {"commit": revision}
    ref = _cached(name) / "refs" / (revision or "main")
    if not ref.is_file():
        return None
    commit = ref.read_text(encoding="utf-8").strip()
    return {"commit": commit} if COMMIT.fullmatch(commit) and _snapshot(name, commit).is_dir() else None


def _snapshot(name: str, commit: str) -> Path:
    return _cached(name) / "snapshots" / commit


def _cached(name: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
