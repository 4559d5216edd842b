"""Edits of a run, made again from what it stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.plugin.base import Intervention
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.settings import Settings
from neuron_antagonism.units.examples import Sizes
from neuron_antagonism.units.neurons import Acting, Choosing, Editor
from neuron_antagonism.units.scores import Scoring

if TYPE_CHECKING:
    from neuron_antagonism.method.edits import Edit
    from neuron_antagonism.suites.result import RunResult


def editor_of(manifest: Mapping[str, Any], neurons: Payload, fits: Payload | None) -> Editor:
    """What makes a run's edits of one scorer's neurons; nothing is fitted again.

    Args:
        manifest: the run's.
        neurons: the unit of the scorer's neurons.
        fits: what interventions learned of them.
    """
    c = RunConfig.of(**manifest["config"])
    strengthen, weaken = (registry().make(Intervention, name, c.options.get(name)) for name in (c.strengthen, c.weaken))
    sizes = Sizes(c.identify, c.select, c.evaluate, c.stratified, c.engine)
    choosing = Choosing(Scoring(sizes, Settings()), c.budget)
    return Acting(choosing, strengthen, weaken, c.positions, c.site).editor(neurons, fits)


def chosen_edit(
    result: RunResult, task: str | None, scorer: str | None, mode: str | None
) -> tuple[Edit, dict[str, str]]:
    """The edit of a run that is meant, and its task, scorer and mode; what there is one of need not be named.

    Raises:
        UsageError: a choice that is open, or one that the run does not have; lists what there is.
    """
    task = _one("task", task, result.edits)
    scorer = _one("scorer", scorer, result.edits[task])
    mode = _one("mode", mode, result.edits[task][scorer])
    return result.edits[task][scorer][mode], {"task": task, "scorer": scorer, "mode": mode}


def _one(kind: str, asked: str | None, names: Iterable[str]) -> str:
    found = list(names)
    if asked is not None:
        if asked not in found:
            raise UsageError(unknown(f"{kind} of this run", asked, found))
        return asked
    if len(found) != 1:
        raise UsageError(f"the run has {len(found)} {kind}s and none was chosen; accepted: {', '.join(found)}")
    return found[0]
