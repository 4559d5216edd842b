"""Run files: the options of a run in YAML, TOML or JSON, or those of an earlier run, from its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuron_antagonism.documents import parsed
from neuron_antagonism.errors import DataError, UsageError, unknown
from neuron_antagonism.files import WRITTEN, expanded, read_text, there, unwritable
from neuron_antagonism.runs.config import RunConfig

ACCEPTED = "a YAML, TOML or JSON file of a run's options, or a run's manifest.json"
READERS = (".yaml", ".yml", ".toml", ".json")
MANIFEST = 2**22
"""Bytes of a JSON run file, at most: a manifest says more than somebody writes."""
TRACES = (".lock", "manifest.json", "questions.jsonl", "examples", "scores", "neurons", "answers", "results.json")
"""What a run leaves in its directory, the first of it before anything is computed; of one killed early, its lock."""


def read_run_file(path: str | Path) -> dict[str, Any]:
    """Options by name, as `RunConfig` takes them; relative paths in them are left as they stand.

    Raises:
        DataError: an unreadable or malformed file; names file and line.
        UsageError: an unknown option.
    """
    file = expanded(path)
    if file.suffix.lower() not in READERS:
        raise UsageError(f"{path} ends in {file.suffix!r}; accepted: {', '.join(READERS)}")
    ending = file.suffix.lower()
    try:
        found = parsed(read_text(file, ACCEPTED, MANIFEST if ending == ".json" else WRITTEN), ending)
    except ValueError as error:
        raise DataError(f"{path}: {error}; accepted: {ACCEPTED}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds a {type(found).__name__}; accepted: {ACCEPTED}")
    if "schema" in found and isinstance(found.get("config"), dict):
        found = found["config"]
    for name in found:
        if name not in RunConfig.model_fields:
            raise UsageError(f"{path}: {unknown('option', str(name), RunConfig.model_fields)}")
    try:
        _check_mappings(found)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return {**found, "data": {task: _files(files) for task, files in found.get("data", {}).items()}}


def check_resumable(out: Path, *, asked: bool) -> None:
    """Raise UsageError where there is no run to complete: resuming must not start another one instead.

    Args:
        out: the run's directory.
        asked: whether options are given; without them only a manifest can say what the run was.
    """
    try:
        found = [name for name in TRACES if there(out / name)]
        reason = "holds no run" if there(out) else "is not there"
    except OSError as error:
        raise unwritable(out, error.strerror) from None
    if found and not asked and "manifest.json" not in found:
        reason = "holds a run that ended before it had written its options"
    elif found:
        return
    raise UsageError(
        f"{out} {reason}; accepted with --resume: the directory of a run, or none of --resume for a new run"
    )


def stored_options(out: Path) -> dict[str, Any]:
    """The options of the run in a directory, from its manifest; none where there is none.

    Raises:
        DataError, UsageError: as `read_run_file`, and where the directory can't be reached.
    """
    manifest = out / "manifest.json"
    try:
        found = there(manifest)
    except OSError as error:
        raise unwritable(out, error.strerror) from None
    return read_run_file(manifest) if found else {}


def resumed(stored: dict[str, Any], given: dict[str, Any], instances: Sequence[str] = ()) -> dict[str, Any]:
    """`merged`, where what was stored for plugins and tasks that are no longer asked for is left out.

    Args:
        stored: the earlier run's options.
        given: what is asked for now.
        instances: names of scorers that are given as instances, with options of their own.
    """
    both = {**stored, **given}
    used = {*both.get("scorers", ()), both.get("strengthen"), both.get("weaken")} - set(instances)
    options = {name: value for name, value in stored.get("options", {}).items() if name in used}
    # data goes by a task's name, which a task file may state itself: it is kept unless other tasks are named
    other = "tasks" in given and tuple(given["tasks"]) != tuple(stored.get("tasks", ()))
    names = set(given["tasks"]) if other else set(stored.get("data", {}))
    data = {name: value for name, value in stored.get("data", {}).items() if name in names}
    return merged({**stored, "options": options, "data": data}, given)


def merged(file: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What was given goes before what the file says; data by task, options by plugin and option.

    Raises:
        UsageError: malformed options, or a file that would have a checkpoint's own Python code run: files come from
            others, and so this is for the user to say each time.
    """
    _check_mappings(given)
    if file.get("trust_remote_code") and "trust_remote_code" not in given:
        raise UsageError(
            "the run file or earlier run asks for trust_remote_code, which runs Python code that a checkpoint brings "
            "along; accepted: from you alone, by --trust-remote-code (trust_remote_code=True in Python)"
        )
    both = {**file, **given}
    both["data"] = {**file.get("data", {}), **given.get("data", {})}
    options = (file.get("options", {}), given.get("options", {}))
    both["options"] = {name: {**options[0].get(name, {}), **options[1].get(name, {})} for o in options for name in o}
    return both


def _check_mappings(found: dict[str, Any]) -> None:
    for name in ("data", "options"):
        if not isinstance(found.get(name, {}), dict):
            raise UsageError(f"{name}={found[name]!r:.60}; accepted: a mapping by name")
    for plugin, options in found.get("options", {}).items():
        if not isinstance(options, dict):
            raise UsageError(f"options of {plugin} are {options!r:.60}; accepted: a mapping by option")


def _files(files: Any) -> Any:
    """One file is the evaluation data."""
    return (files, None) if isinstance(files, str) else files
