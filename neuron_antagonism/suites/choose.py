"""Choosing one edit of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.suites.result import RunResult

if TYPE_CHECKING:
    from neuron_antagonism.method.edits import Edit


def chosen_edit(
    result: RunResult, task: str | None, scorer: str | None, mode: str | None
) -> tuple[Edit, dict[str, str]]:
    """The edit of a run that is meant, and its task, scorer and mode; what there is one of need not be named.

    Raises:
        UsageError: a choice that is open, or one that the run does not have; lists what there is.
    """
    task = chosen_task(result, task)
    scorer = _one("scorer", scorer, result.edits[task])
    mode = _one("mode", mode, result.edits[task][scorer])
    return result.edits[task][scorer][mode], {"task": task, "scorer": scorer, "mode": mode}


def chosen_task(result: RunResult, task: str | None) -> str:
    """The task of a run that is meant; the only one need not be named.

    Raises:
        UsageError: an open choice, or a task that the run does not have.
    """
    return _one("task", task, result.edits)


def _one(kind: str, asked: str | None, names: Iterable[str]) -> str:
    found = list(names)
    if asked is not None:
        if asked not in found:
            raise UsageError(unknown(f"{kind} of this run", asked, found))
        return asked
    if len(found) != 1:
        raise UsageError(f"the run has {len(found)} {kind}s and none was chosen; accepted: {', '.join(found)}")
    return found[0]
