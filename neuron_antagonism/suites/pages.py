"""Reports from directories: what of a run or a suite a page shows, read without torch, and the page written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import neuron_antagonism
from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.files import COMPUTED, expanded, file_name, read_text, unwritable, write_whole
from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.neuron_files import neuron_rows
from neuron_antagonism.report.page.sources import Answers, Asked, BenchSource, Described, RunSource, Source
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.suites.directory import (
    BENCH_SCHEMA,
    MANIFEST,
    NEURONS,
    QUESTIONS,
    RESULTS,
    RUN_SCHEMA,
    fetched,
    read_json,
)

REPORT = "report.html"
ACCEPTED = "a directory that `run` or `bench` finished"
MARK = re.compile(r'<meta name="key" content="([^"]*)">')
HEAD = 4096
"""Bytes of a page in which its key stands."""


def write_report(paths: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write one page of one or several runs and suites.

    Args:
        paths: their directories.
        out: the file; default: `report.html` in the one directory that there is.

    Raises:
        DataError: a directory holds no finished run or suite, or a damaged one.
        UsageError: no file was named for several directories, or it is another's.
    """
    directories = [expanded(path) for path in paths]
    if out is None and len(directories) != 1:
        raise UsageError(f"a report of {len(directories)} directories needs --out; accepted: a file such as {REPORT}")
    file = directories[0] / REPORT if out is None else expanded(out)
    sources = sources_of(directories)
    _check_ours(file)
    try:
        text = report_of(sources)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise _damaged(", ".join(map(str, directories)), error) from error
    try:
        write_whole(file, text.encode())
    except OSError as error:
        raise unwritable(file, error.strerror) from None
    return file


def write_figures(paths: Sequence[str | Path], out: str | Path) -> list[Path]:
    """Write every figure of a page as PNG and SVG into a directory, which is made where it is not there.

    Raises:
        DataError: as of `write_report`.
        UsageError: the directory can't be written.
    """
    from neuron_antagonism.report.page.plots import Plots
    from neuron_antagonism.report.page.vega import png, svg

    directory, found = expanded(out), []
    plots = Plots(sources_of([expanded(path) for path in paths]))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, document in plots.documents():
            for kind, data in (("svg", svg(document).encode()), ("png", png(document))):
                file = directory / f"{file_name(name)}.{kind}"
                write_whole(file, data)
                found.append(file)
    except OSError as error:
        raise unwritable(directory, error.strerror) from None
    return found


def report_of(sources: Sequence[Source]) -> str:
    """The text of a page."""
    from neuron_antagonism.report.page.compose import compose
    from neuron_antagonism.report.page.html import html

    return html(compose(sources), [one.name for one in sources], neuron_antagonism.__version__)


def report_there(directory: Path, key: str) -> Path | None:
    """The report in a directory, where it is one of these results."""
    file = directory / REPORT
    try:
        with file.open("rb") as opened:
            mark = MARK.search(opened.read(HEAD).decode(errors="replace"))
    except OSError:
        return None
    return file if mark is not None and mark[1] == key else None


def sources_of(directories: Sequence[Path]) -> list[Source]:
    """What each directory holds; names tell them apart.

    Raises:
        DataError: one holds no finished run or suite, or a damaged one.
    """
    names = [path.resolve().name or str(path) for path in directories]
    shown = [str(path) if names.count(name) > 1 else name for path, name in zip(directories, names, strict=True)]
    if len(set(shown)) < len(shown):
        raise UsageError(f"a directory was given twice: {', '.join(shown)}; accepted: each once")
    return [_source(path, name) for path, name in zip(directories, shown, strict=True)]


def _check_ours(file: Path) -> None:
    """Refuse to write over a file that is no report."""
    if file.is_dir():
        raise UsageError(f"{file} is a directory; accepted: a file such as {file / REPORT}")
    if file.exists():
        with file.open("rb") as opened:
            if MARK.search(opened.read(HEAD).decode(errors="replace")) is None:
                raise UsageError(f"{file} is there and is no report; accepted: a new file, or an earlier report")
    elif not file.parent.is_dir():
        raise UsageError(f"{file.parent} is no directory; accepted: a file in one that is there")


def _source(path: Path, name: str) -> Source:
    manifest, results = read_json(path / MANIFEST), read_json(path / RESULTS)
    if not isinstance(manifest, dict) or not isinstance(results, dict):
        raise DataError(f"{path} holds no results; accepted: {ACCEPTED}")
    schema = RUN_SCHEMA if "config" in manifest else BENCH_SCHEMA
    if manifest.get("schema") != schema or results.get("schema") != schema:
        raise DataError(f"{path} holds results of another version; accepted: {ACCEPTED}, by this one")
    try:
        if "config" in manifest:
            if not results["tasks"]:
                raise DataError(f"{path} holds no task that was finished; accepted: {ACCEPTED}")
            return _run(path, name, manifest, results)
        return BenchSource(name, manifest, results)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise _damaged(str(path), error) from error


def _damaged(what: str, error: Exception) -> DataError:
    return DataError(f"{what} is damaged ({type(error).__name__}: {error}); accepted: {ACCEPTED}")


def _run(path: Path, name: str, manifest: Mapping[str, Any], results: Mapping[str, Any]) -> RunSource:
    units = {task: units for task, units in manifest["units"].items() if task in results["tasks"]}
    tasks = results["tasks"]
    asked = {task: one for task, own in units.items() if (one := _asked(path, own, tasks[task])) is not None}
    scores = {task: _scores(path, own["scores"]) for task, own in units.items()}
    exact = {task: one for task, own in units.items() if (one := _array(path, own.get("exact"), "scores")) is not None}
    for task, own in scores.items():
        # asked for as a scorer, exact ablation is among the others
        if task not in exact and "ablation" in own:
            exact[task] = own["ablation"]
    told = {task: found for task, own in units.items() if (found := _described(path, own.get("described", {})))}
    return RunSource(name, manifest, results, _questions(path), _neurons(path), asked, scores, exact, told)


def _questions(path: Path) -> list[dict[str, Any]]:
    file = path / QUESTIONS
    if not file.is_file():
        return []
    # not splitlines(): texts may hold U+2028 and other ends of lines that are none in JSON
    return [json.loads(line) for line in read_text(file, "the questions of a run", COMPUTED).split("\n") if line]


def _neurons(path: Path) -> list[dict[str, Any]]:
    file = path / NEURONS
    if not file.is_file():
        return []
    return [dict(row.columns) for row in neuron_rows(file)]


def _asked(path: Path, units: Mapping[str, Any], found: Mapping[str, Any]) -> Asked | None:
    """Answers without an edit and under the chosen edits of every scorer that does not draw."""
    unedited = _payload(path, units.get("unedited"))
    if unedited is None:
        return None
    edited = {}
    for scorer, unit in units["answers"].items():
        own = [cell for cell in found["cells"][SHOWN] if cell["scorer"] == scorer and not cell["draws"]]
        payload = _payload(path, unit) if own else None
        if payload is not None:
            there = {(mode, tenths): i for i, (_, mode, tenths) in enumerate(payload.meta["where"])}
            places = {cell["mode"]: there[cell["mode"], cell["tenths"]] for cell in own}
            edited[scorer] = _answers(payload, places)
    return Asked(_answers(unedited, {"": 0}), edited)


def _answers(payload: Payload, places: Mapping[str, int]) -> Answers:
    """Some of a unit's answers, by the mode of their edits."""
    every, rows = payload.arrays.get("probabilities"), list(places.values())
    return Answers(list(places), payload.arrays["chosen"][rows], None if every is None else every[rows])


def _described(path: Path, units: Mapping[str, Mapping[str, str]]) -> list[Described]:
    found = []
    for unit in units.values():
        payload = _payload(path, unit)
        if payload is None or not payload.meta["groups"]:
            continue
        arrays, meta = payload.arrays, payload.meta
        promoted, suppressed = (
            (arrays[side], arrays[f"{side}_logits"]) if side in arrays else None for side in ("promoted", "suppressed")
        )
        groups = [(by, label, count) for by, label, count in meta["groups"]]
        layers, neurons = arrays["layers"].tolist(), arrays["neurons"].tolist()
        about = (layers, neurons, groups, arrays["mean"], arrays["std"])
        found.append(Described(*about, meta["tokens"], promoted, suppressed, meta["reason"]))
    return found


def _scores(path: Path, units: Mapping[str, Any]) -> dict[str, Any]:
    found = {scorer: _array(path, unit, "scores") for scorer, unit in units.items()}
    return {scorer: one for scorer, one in found.items() if one is not None}


def _array(path: Path, unit: Mapping[str, str] | None, name: str) -> Any:
    payload = _payload(path, unit)
    return None if payload is None else payload.arrays.get(name)


def _payload(path: Path, unit: Mapping[str, str] | None) -> Payload | None:
    """What a unit holds, or None: a report does without what is not there."""
    if unit is None:
        return None
    try:
        return fetched(path, unit)
    except DataError:
        return None
