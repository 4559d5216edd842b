"""`na.push`: an adapter, a checkpoint, neurons or a run's results to a repository on the Hub, with a model card."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from neuron_antagonism.csvs import csv_text
from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import DataError, ExportError, UsageError
from neuron_antagonism.exports.adapter import CONFIG
from neuron_antagonism.exports.card import RUN_FILE, Base, card_of_edit, card_of_neurons, card_of_run, head, run_file
from neuron_antagonism.exports.neurons import COLUMNS, PROVENANCE
from neuron_antagonism.exports.place import check_free, placed, sizes
from neuron_antagonism.files import COMPUTED, expanded, read_text
from neuron_antagonism.hub import checked_repo
from neuron_antagonism.neurons import FILE as NEURONS
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.suites.directory import MANIFEST, RESULTS
from neuron_antagonism.suites.result import RunResult, load_run

CARD = "README.md"
ACCEPTED = "a directory that export or run wrote, a file of neurons, or a NeuronSet"


@dataclass(frozen=True)
class Pushed:
    """What was written, and where it is.

    Attributes:
        repo: the repository's id.
        kind: "ia3", "lora", "gguf", "checkpoint", "neurons" or "results".
        path: the folder, where it was kept.
        files: bytes of each file.
        url: where it is on the Hub; "" where it was not sent.
    """

    repo: str
    kind: str
    path: Path | None
    files: dict[str, int]
    url: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "path": None if self.path is None else str(self.path)}


def push(
    what: str | Path | NeuronSet | RunResult,
    *,
    repo: str,
    dry_run: bool = False,
    out: str | Path | None = None,
    private: bool = False,
) -> Pushed:
    """Write a folder with a model card, and send it to the Hub.

    A run's texts stay here: of its directory the manifest, the figures and the neurons are sent, without what may be
    others' data. Paths of this machine are shortened to their last names.

    Args:
        what: what `export` wrote, a run's directory or result, a file of neurons or a set of them.
        repo: user/name; made where it is missing.
        dry_run: write the folder only.
        out: where the folder is kept; None: nowhere, in a dry run a new directory of the repository's name.
        private: whether a repository that is made is seen by its owner only.

    Raises:
        UsageError: no repository's id, something else to push, or a directory that can't be written.
        ExportError: it can't be sent.
    """
    repo = checked_repo(repo)
    if out is None and dry_run:
        out = repo.rpartition("/")[2]
    if out is not None:
        kept = expanded(out)
        check_free(kept)
        kind = _written(what, kept, repo)
        return Pushed(repo, kind, kept, sizes(kept), "" if dry_run else _sent(kept, repo, private))
    with tempfile.TemporaryDirectory(prefix="push-") as scratch:
        folder = Path(scratch) / "folder"
        kind = _written(what, folder, repo)
        return Pushed(repo, kind, None, sizes(folder), _sent(folder, repo, private))


def _sent(folder: Path, repo: str, private: bool) -> str:
    from huggingface_hub import HfApi

    try:
        HfApi().create_repo(repo, private=private, exist_ok=True)
        return str(HfApi().upload_folder(repo_id=repo, folder_path=folder))
    # the library raises a dozen classes, from a missing token's to the network's
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(
            f"can't push to {repo}: {reason}; accepted: a repository that you may write to (hf auth login)"
        ) from None


def _written(what: object, out: Path, repo: str) -> str:
    """Fill the folder; returns what kind of thing it holds."""
    if isinstance(what, str | Path):
        path = expanded(what)
        if path.is_dir() and (path / PROVENANCE).is_file():
            return _edit(path, path / PROVENANCE, out, repo)
        if path.is_dir() and (path / "neurons.json").is_file():
            return _edit(path, path / "neurons.json", out, repo)
        if path.is_dir() and not (path / MANIFEST).is_file() and (path / NEURONS).is_file():
            path = path / NEURONS
        what = load_run(path) if path.is_dir() else NeuronSet.load(path)
    if isinstance(what, RunResult):
        return _run(what, out, repo)
    if not isinstance(what, NeuronSet):
        raise UsageError(f"can't push {what!r:.80}; accepted: {ACCEPTED}")
    with placed(out) as folder:
        what.save(folder / NEURONS)
        rows = [{"layer": layer, "neuron": neuron} for layer, neuron in what]
        _card(folder, head("neurons", Base()), card_of_neurons(repo, rows))
    return "neurons"


def _edit(source: Path, file: Path, out: Path, repo: str) -> str:
    found = _read(file)
    stated = public(found)
    try:
        kind = "neurons" if stated["format"] in ("json", "csv") else str(stated["format"])
        base = _base(found["base"] or {})
        card = card_of_edit(kind, repo, stated, base)
        csv = csv_text(list(stated["neurons"][0]) if stated["neurons"] else COLUMNS, stated["neurons"])
        config = stated["run"]["config"] if stated["run"] else None
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise DataError(f"{file}: {type(error).__name__}: {error}; accepted: {ACCEPTED}") from None
    with placed(out) as folder:
        for one in sorted(path for path in source.iterdir() if path.is_file() and path.name != CARD):
            if one.name in (file.name, CONFIG):
                (folder / one.name).write_text(_json(public(_read(one))), encoding="utf-8")
            else:
                shutil.copyfile(one, folder / one.name)
        (folder / NEURONS).write_text(csv, encoding="utf-8")
        if config is not None:
            _run_file(folder, config)
        _card(folder, head(kind, base), card)
    return kind


def _run(result: RunResult, out: Path, repo: str) -> str:
    if result.path is None:
        raise UsageError(f"the result has no directory; accepted: {ACCEPTED}")
    base = _base(result.manifest["model"])
    manifest = public(result.manifest)
    with placed(out) as folder:
        (folder / MANIFEST).write_text(_json(manifest), encoding="utf-8")
        figures = public(result.results, _paths(result.manifest))
        (folder / RESULTS).write_text(_json(figures), encoding="utf-8")
        shutil.copyfile(result.path / NEURONS, folder / NEURONS)
        _run_file(folder, manifest["config"])
        _card(folder, head("results", base), card_of_run(repo, manifest, result.results, base))
    return "results"


def _run_file(folder: Path, config: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(json.loads(json.dumps(run_file(config))), sort_keys=False, allow_unicode=True)
    (folder / RUN_FILE).write_text(text, encoding="utf-8")


def _card(folder: Path, stated: dict[str, Any], text: str) -> None:
    lines = yaml.safe_dump(stated, sort_keys=False, allow_unicode=True)
    (folder / CARD).write_text(f"---\n{lines}---\n\n{text}", encoding="utf-8")


def _base(stated: Mapping[str, Any]) -> Base:
    """What is known of a model from a manifest's or export's few words on it."""
    name = str(stated.get("name") or "")
    if name == "demo":
        return Base("the demonstration model of neuron_antagonism", None, "mit")
    if _is_path(name) or Path(name).is_dir() or name.lower().endswith(".gguf"):
        return Base(Path(name).name, None, _licence(Path(name).expanduser() / CARD))
    return Base(name, name or None, _licence(_cached(name)))


def _cached(repo: str) -> Path | None:
    """The card of a repository, where it has been downloaded: nothing is asked of the network for it."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repo, CARD)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _licence(card: Path | None) -> str | None:
    from huggingface_hub import ModelCard

    try:
        return None if card is None or not card.is_file() else ModelCard.load(card).data.license
    except (OSError, ValueError, yaml.YAMLError):  # a card that somebody wrote by hand
        return None


def public(value: Any, known: Iterable[str] = ()) -> Any:
    """A JSON value in which paths of this machine are their last names, within sentences too.

    Args:
        value: any.
        known: further paths that its sentences may name.
    """
    paths = sorted({*_paths(value), *known}, key=len, reverse=True)
    return _named(value, {path: Path(path).name for path in paths})


def _paths(value: Any) -> Iterator[str]:
    """Texts in a JSON value that are paths as a whole."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _paths(one)
    elif isinstance(value, str) and _is_path(value):
        yield value


def _named(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _named(one, names) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_named(one, names) for one in value]
    if isinstance(value, str):
        for path, name in names.items():
            value = value.replace(path, name)
    return value


def _is_path(text: str) -> bool:
    return "\n" not in text and text.startswith(("/", "~", "./", "../")) and len(text) > 1


def _read(file: Path) -> dict[str, Any]:
    try:
        found = parsed_json(read_text(file, ACCEPTED, COMPUTED))
    except ValueError as error:
        raise DataError(f"{file}: {error}; accepted: {ACCEPTED}") from None
    if not isinstance(found, dict):
        raise DataError(f"{file} holds a JSON {type(found).__name__}; accepted: {ACCEPTED}")
    return found


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
