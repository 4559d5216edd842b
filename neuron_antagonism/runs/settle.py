"""The one number of integration steps of a run."""

from __future__ import annotations

from neuron_antagonism.method.attribute import settled_steps
from neuron_antagonism.runs.identity import identity
from neuron_antagonism.runs.plan import Plan, content_hash
from neuron_antagonism.runs.store import RunDirectory
from neuron_antagonism.settings import Settings

FILE = "steps.json"


def settled(plan: Plan, directory: RunDirectory | None, settings: Settings) -> int | str:
    """The run's m: what was asked for, or with "auto" what every scorer needs on every task (see `settled_steps`).

    What was settled is kept in the run's directory, so that a resumed run does not settle it again.
    """
    if settings.steps != "auto":
        return settings.steps
    how = [settings.quadrature, settings.engine, settings.site]
    key = content_hash([[task.key for task in plan.tasks], [identity(scorer) for scorer in plan.scorers], how])
    stored = directory.read_kept(FILE, key) if directory is not None else None
    if stored is not None:
        kept: int | str = stored["steps"]
        return kept
    steps = settled_steps(plan.model, [task.split.identify for task in plan.tasks], plan.scorers, settings)
    if directory is not None:
        directory.write_json(FILE, {"key": key, "steps": steps})
    return steps
