"""The result of a run, in memory and from its directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import DataError
from neuron_antagonism.files import expanded
from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.notebook import html_table
from neuron_antagonism.report.run_table import ResultTable
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.suites.directory import (
    MANIFEST,
    NEURONS,
    QUESTIONS,
    RESULTS,
    RUN_SCHEMA,
    fetched,
    finished_manifest,
    read_json,
)

if TYPE_CHECKING:
    from neuron_antagonism.method.attribution import Attribution
    from neuron_antagonism.method.edits import Edit
    from neuron_antagonism.report.page.plots import Plots
    from neuron_antagonism.tasks.splits import Split

ACCEPTED = "accepted: a directory that a run wrote"

Fetch = Callable[[Mapping[str, str]], Payload]
"""What a unit holds that a manifest names by kind, file and key."""


@dataclass(repr=False)
class RunResult:
    """What a run found.

    Attributes:
        manifest: versions, options, hashes, machine, engine, timings, and the files of every task.
        results: what results.json holds.
        path: the run's directory, or None.
        fetch: reads a unit that the manifest names.
    """

    manifest: dict[str, Any]
    results: dict[str, Any]
    path: Path | None = None
    fetch: Fetch | None = field(default=None, repr=False)

    @property
    def table(self) -> ResultTable:
        """The table of RAC and RCC; printing it gives text."""
        return ResultTable(self.results)

    @cached_property
    def splits(self) -> dict[str, Split]:
        """By task, the examples."""
        from neuron_antagonism.units.examples import Prepared

        return {task: Prepared(self._get(units["examples"])).split for task, units in self._units.items()}

    @cached_property
    def readings(self) -> dict[str, dict[tuple[str, tuple[str, ...]], str]]:
        """By task, what stands between a prompt and a letter where answers are read, by its end and the letters."""
        told = {task: self._get(units["examples"]).meta["letters"] for task, units in self._units.items()}
        return {
            task: {(ending, tuple(letters)): suffix + form.format("") for ending, letters, _, suffix, form, *_ in rows}
            for task, rows in told.items()
        }

    @cached_property
    def attributions(self) -> dict[str, dict[str, Attribution]]:
        """By task and scorer; of a scorer that draws, its first draw."""
        from neuron_antagonism.units.scores import read

        return {
            task: {scorer: read(self._get(unit)) for scorer, unit in units["scores"].items()}
            for task, units in self._units.items()
        }

    @cached_property
    def edits(self) -> dict[str, dict[str, dict[str, Edit]]]:
        """By task, scorer and mode ("enhance", "degrade"): the edit at the ratio that `held-out` chose.

        Of a scorer that draws: of its first draw.
        """
        from neuron_antagonism.suites.edits import editor_of

        found: dict[str, dict[str, dict[str, Edit]]] = {}
        for task, units in self._units.items():
            cells = self.results["tasks"][task]["cells"][SHOWN]
            for scorer, unit in units["neurons"].items():
                fits = units["fits"].get(scorer)
                editor = editor_of(self.manifest, self._get(unit), None if fits is None else self._get(fits))
                own = [cell for cell in cells if cell["scorer"] == scorer]
                tenths = {cell["mode"]: (cell["draws"][0] if cell["draws"] else cell)["tenths"] for cell in own}
                found.setdefault(task, {})[scorer] = {m: editor.edit(0, m, ratio) for m, ratio in tenths.items()}
        return found

    @property
    def plot(self) -> Plots:
        """The charts of a report by their names, such as `plot.layers()`."""
        from neuron_antagonism.report.page.plots import Plots
        from neuron_antagonism.report.page.sources import RunSource
        from neuron_antagonism.suites.pages import sources_of

        return Plots([RunSource("run", self.manifest, self.results)] if self.path is None else sources_of([self.path]))

    def __repr__(self) -> str:
        """What was run; the figures are in `table`."""
        of = self.manifest["config"]
        where = "" if self.path is None else f", {str(self.path)!r}"
        return f"RunResult({of['model']!r}, tasks {', '.join(of['tasks'])}, scorers {', '.join(of['scorers'])}{where})"

    def _repr_html_(self) -> str:
        """The answer and the cells of the shown protocol, for a notebook."""
        from neuron_antagonism.report.answer import lines

        shown = ("task", "mode", "scorer", "acc_after", "rac", "rcc", "population_acc", "failed")
        return html_table(shown, self.table.rows, " | ".join(line.strip() for line in lines(self.results)))

    @property
    def _units(self) -> dict[str, Any]:
        return {task: units for task, units in self.manifest["units"].items() if task in self.results["tasks"]}

    def _get(self, unit: Mapping[str, str]) -> Payload:
        if self.fetch is None:
            raise DataError("this result has no examples, scores or edits; accepted: one that a run returned")
        return self.fetch(unit)


def load_run(path: str | Path) -> RunResult:
    """Read a run's directory.

    Raises:
        DataError: no such directory, or a run that did not finish, or a damaged one.
    """
    path = expanded(path)
    manifest, results = read_json(path / MANIFEST), read_json(path / RESULTS)
    if manifest is None or results is None or not isinstance(manifest, dict) or not manifest.get("finished"):
        raise DataError(
            f"{path} holds no finished run; accepted: a directory with the manifest.json and results.json of one; run "
            "with the same --out completes it"
        )
    if manifest.get("schema") != RUN_SCHEMA or "config" not in manifest:
        raise DataError(
            f"{path} holds results of schema {manifest.get('schema')!r}, not of a run of this version ({RUN_SCHEMA}); "
            "accepted: such a run, which run with the same options and --out makes of it"
        )
    result = RunResult(manifest, results, path, lambda unit: fetched(path, unit))
    try:
        # what is damaged is said here, not where it is used
        assert result.splits is not None
        assert result.attributions is not None
        assert result.edits is not None
    except DataError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} holds a damaged run ({reason}); {ACCEPTED}") from None
    return result


def finished(path: Path, key: str) -> RunResult | None:
    """The run in a directory, where it is finished and of this key, with all its files whole; no torch is imported."""
    manifest = finished_manifest(path, key)
    if manifest is None:
        return None
    try:
        results = read_json(path / RESULTS)
        for unit in every_unit(manifest["units"]):
            fetched(path, unit)
    except (DataError, KeyError, TypeError, AttributeError):
        # what is damaged is computed again
        return None
    if results is None or not all((path / name).is_file() for name in (QUESTIONS, NEURONS)):
        return None
    return RunResult(manifest, results, path, lambda unit: fetched(path, unit))


def every_unit(units: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """All units that a manifest names."""
    found = []
    for own in units.values():
        found += [own["examples"], *(unit for kind in ("scores", "neurons", "fits") for unit in own[kind].values())]
    return found
