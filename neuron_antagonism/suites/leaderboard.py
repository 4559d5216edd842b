"""`na.leaderboard`: scorers side by side, by every judge, in one call and one tidy frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import UsageError
from neuron_antagonism.parts.specs import JUDGES
from neuron_antagonism.progress import Progress
from neuron_antagonism.suites.bench import BenchResult, Data, bench
from neuron_antagonism.suites.plan import listed
from neuron_antagonism.suites.spec import Suite, find_suite
from neuron_antagonism.suites.told import told

if TYPE_CHECKING:
    import pandas as pd

    from neuron_antagonism.model.hooked import HookedModel

NAME = "leaderboard"


@dataclass
class Leaderboard:
    """Scorers side by side.

    Attributes:
        result: what was measured, with its manifest.
    """

    result: BenchResult

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A tidy frame: model, task, seed, scorer, judge, value, low, high; the ends are those of 95 % intervals.

        NaN where there is nothing to measure, and ends where there is no interval. The scorer `ceiling` is what exact
        ablation agrees with itself. `metrics.judges` has what each judge's figure is.
        """
        import pandas as pd

        (model,) = (self.result.manifest["models"][0]["name"],)
        (seed,) = self.result.manifest["seeds"][:1]
        rows = [{"model": model, "task": "", "seed": seed} | row for row in self.result.parts[NAME]]
        frame = pd.DataFrame(rows, columns=["model", "task", "seed", "scorer", "judge", "value", "low", "high"])
        return frame.astype(dict.fromkeys(("value", "low", "high"), "float64"))

    @cached_property
    def table(self) -> pd.DataFrame:
        """Judges by scorers: means over tasks and seeds, where there are several."""
        found = self.frame.pivot_table(index="judge", columns="scorer", values="value", sort=False, dropna=False)
        found.columns.name = found.index.name = None
        return found

    def __repr__(self) -> str:
        """How much was measured."""
        frame = self.frame
        return f"Leaderboard({frame.scorer.nunique()} scorers, {frame.judge.nunique()} figures, {len(frame)} rows)"


def leaderboard(
    model: str | HookedModel | Sequence[str | HookedModel] = "demo",
    tasks: Sequence[str | Path] = (),
    scorers: Sequence[str] = (),
    judges: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    *,
    form: str | None = None,
    shots: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    data: Data | None = None,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    backend: str = "serial",
    workers: int = 1,
    progress: Progress | bool | None = True,
    **fields: Any,
) -> Leaderboard:
    """Score every neuron with every scorer, and judge the scores by causal truth.

    What is in the directory or in the cache already is not computed again: another scorer computes its own figures.

    Args:
        model: one or several, names (see `load_model`) or loaded.
        tasks: names or task files; default: the four that are shipped.
        scorers: registered names; default: all of the shipped suite.
        judges: "agreement", "faithfulness", "control", "dose", "interaction", "stability", "planted", "cost";
            None = all.
        seeds: of every draw; each chooses other examples.
        form, shots: as in `bench`.
        options: options by scorer.
        data: by task, its own evaluation file and, or None, training file.
        out: the directory for results; None = nothing is written but what a cache that is given keeps.
        cache, backend, workers: as in `run`.
        progress: a callable, or whether a bar is shown on stderr.
        fields: further fields of the part `judging`: identify, evaluate, budget, target, baseline, rest, truth, …

    Raises:
        AntagonismError: something asked for is wrong; nothing has been created then.
        RunError: a job failed under way; what was finished is in `out`.
    """
    shipped = find_suite(NAME)
    (part,) = (one.model_dump(mode="json") for one in shipped.parts)
    own = sorted(set(part) - _OURS)
    if wrong := sorted(set(fields) - set(own)):
        raise UsageError(f"leaderboard has no field {wrong[0]!r}; accepted: {', '.join(own)}")
    if isinstance(scorers, str) or not all(isinstance(name, str) for name in scorers):
        raise UsageError(f"scorers are {scorers!r:.80}; accepted: a list of registered names; their options: options=")
    asked = {"scorers": listed(scorers) or part["scorers"], "judges": listed(judges or ()) or JUDGES}
    spec = shipped.model_dump(mode="json") | {
        "tasks": [str(task) for task in listed(tasks)] or shipped.tasks,
        "parts": [part | asked | {"options": dict(options or {})} | fields],
    }
    how: dict[str, Any] = {"data": data, "seed": seeds, "out": out, "cache": cache, "backend": backend}
    how |= {"form": form, "shots": shots}
    with told(progress) as tell:
        return Leaderboard(bench(Suite.of(spec, NAME), model, workers=workers, progress=tell, **how))


_OURS = {"part", "name", "tasks", "scorers", "judges", "options"}
