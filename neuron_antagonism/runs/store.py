"""A run's directory and its result in memory."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import AntagonismWarning, DataError
from neuron_antagonism.files import COMPUTED, expanded, inside, read_text, there, write_whole
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.report.run_table import ResultTable
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.sweep import Act, Candidate, Editing
from neuron_antagonism.tasks.splits import Split


@dataclass
class RunResult:
    """What a run found.

    Attributes:
        manifest: versions, options, hashes, machine, engine, timings.
        results: what results.json holds.
        splits: by task, the examples.
        attributions: by task and scorer.
        edits: by task, scorer and mode ("enhance", "degrade"): the edit at the ratio that `held-out` chose.
        path: the run's directory, or None.
    """

    manifest: dict[str, Any]
    results: dict[str, Any]
    splits: dict[str, Split] = field(default_factory=dict)
    attributions: dict[str, dict[str, Attribution]] = field(default_factory=dict)
    edits: dict[str, dict[str, dict[str, Edit]]] = field(default_factory=dict)
    path: Path | None = None

    @property
    def table(self) -> ResultTable:
        """The table of RAC and RCC; printing it gives text."""
        return ResultTable(self.results)


class RunDirectory:
    """Where a run is written; every file appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet."""
        self.path = path

    def scores(self, task: str, scorer: str) -> Path:
        """The file of one scorer's scores for one task."""
        return inside(self.path, "scores", f"{task}.{scorer}.safetensors")

    def sweeps(self, task: str) -> Path:
        """The file of one task's sweep."""
        return inside(self.path, "sweeps", f"{task}.safetensors")

    def write_json(self, name: str, value: Any, indent: int | None = 1) -> None:
        """Write one JSON file."""
        self._write(name, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")

    def write_questions(self, splits: Mapping[str, tuple[str, Split]]) -> None:
        """Write questions.jsonl: one line an example, with its task and the key it was chosen by."""
        rows = ({"task": t, "key": key, **row} for t, (key, split) in splits.items() for row in split.rows())
        self._write("questions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def write_neurons(self, candidates: Mapping[str, list[Candidate]]) -> None:
        """Write neurons.csv: the chosen good and bad neurons of every task and scorer."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        sets = [s for found in candidates.values() for c in found for s in (c.good, c.bad) if s is not None and len(s)]
        site = [] if all(neurons.site == "post" for neurons in sets) else [sets[0].site]
        columns = ["task", "scorer", "role", "rank", "layer", "neuron", "score"]
        writer.writerow([*columns, *("site" for _ in site)])
        for task, found in candidates.items():
            for candidate in found:
                if candidate.draw:
                    continue
                for role, neurons in (("good", candidate.good), ("bad", candidate.bad)):
                    if neurons is None:
                        continue
                    for rank, (pair, score) in enumerate(zip(neurons, neurons.scores.tolist(), strict=True), 1):
                        writer.writerow([task, candidate.scorer, role, rank, *pair, repr(score), *site])
        self._write("neurons.csv", text.getvalue())

    def read_splits(self) -> dict[str, tuple[str, Split]]:
        """The key and split of each task in questions.jsonl; empty where there is none."""
        file = self.path / "questions.jsonl"
        if not file.exists():
            return {}
        lines: dict[str, list[str]] = {}
        keys: dict[str, str] = {}
        try:
            # not splitlines(): texts may hold U+2028 and other ends of lines that are none in JSON
            for line in read_text(file, "a file that a run wrote", COMPUTED).removesuffix("\n").split("\n"):
                row = parsed_json(line)
                keys[row["task"]] = row.pop("key")
                lines.setdefault(row.pop("task"), []).append(json.dumps(row))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"can't read {file}: {error}; accepted: a file that a run wrote") from None
        reports = self.read_json("splits.json") or {}
        found = {}
        for task, rows in lines.items():
            split = Split.from_rows(rows, str(file))
            for name, value in reports.get(task, {}).items():
                setattr(split.report, name, value)
            found[task] = (keys[task], split)
        return found

    def read_json(self, name: str) -> Any:
        """A JSON file of the run, or None."""
        file, accepted = inside(self.path, *name.split("/")), "a file that a run wrote"
        try:
            return parsed_json(read_text(file, accepted, COMPUTED)) if there(file) else None
        except (OSError, ValueError) as error:
            raise DataError(f"can't read {file}: {error}; accepted: {accepted}") from None

    def read_kept(self, name: str, key: str) -> dict[str, Any] | None:
        """A JSON file that holds this key; None where there is none, or only a damaged or another one."""
        try:
            kept = self.read_json(name)
        except DataError:
            return None
        return kept if isinstance(kept, dict) and kept.get("key") == key else None

    def _write(self, name: str, text: str) -> None:
        write_whole(inside(self.path, *name.split("/")), text.encode("utf-8"))


def candidate_of(a: Attribution, budget: int, draw: int = 0) -> Candidate:
    """The neuron sets of one attribution."""
    with warnings.catch_warnings():
        # a short set is reported in the table and in results.json
        warnings.simplefilter("ignore", AntagonismWarning)
        return Candidate(a.scorer, draw, a.good(budget), a.bad(budget) if "bad" in a.roles else None)


def chosen_edits(
    results: Mapping[str, Any], candidates: Mapping[str, Candidate], editing: Editing
) -> dict[str, dict[str, Edit]]:
    """By scorer and mode, the edit at the ratio that `held-out` chose (of a scorer that draws: of its first draw)."""
    edits: dict[str, dict[str, Edit]] = {}
    for cell in results["cells"][SHOWN]:
        tenths = cell["draws"][0]["tenths"] if cell["draws"] else cell["tenths"]
        edit = editing.edit(candidates[cell["scorer"]], cell["mode"], tenths)
        edits.setdefault(cell["scorer"], {})[cell["mode"]] = edit
    return edits


def load_run(path: str | Path) -> RunResult:
    """Read a run's directory.

    Interventions that need fitting come back unfitted: they refuse to act until they are fitted again.

    Raises:
        DataError: no such directory, or a run that did not finish.
    """
    path = expanded(path)
    try:
        return _load(RunDirectory(path), path)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} holds a damaged run ({reason}); accepted: a directory that a run wrote") from None


def _load(directory: RunDirectory, path: Path) -> RunResult:
    manifest, results = directory.read_json("manifest.json"), directory.read_json("results.json")
    if manifest is None or results is None or not manifest.get("finished"):
        raise DataError(
            f"{path} holds no finished run; accepted: a directory with the manifest.json and results.json of one, "
            "or --resume to complete it"
        )
    config = RunConfig.of(**manifest["config"])
    made = [
        registry().make(Intervention, name, config.options.get(name)) for name in (config.strengthen, config.weaken)
    ]
    editing = Editing(config.budget, config.positions, config.site, *(Act(one, one) for one in made))
    splits = {task: split for task, (_, split) in directory.read_splits().items()}
    attributions: dict[str, dict[str, Attribution]] = {}
    edits = {}
    for task, found in results["tasks"].items():
        attributions[task] = {name: Attribution.load(directory.scores(task, name)) for name in found["attribution"]}
        candidates = {name: candidate_of(a, config.budget) for name, a in attributions[task].items()}
        edits[task] = chosen_edits(found, candidates, editing)
    return RunResult(manifest, results, splits, attributions, edits, path)
