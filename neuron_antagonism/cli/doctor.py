"""The command `doctor`: checks an installation and a model before a long run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuron_antagonism.cli import panels
from neuron_antagonism.cli.common import Debug, Json, Quiet, print_json, quiet_libraries
from neuron_antagonism.cli.options import LOADING, flag_of, takes
from neuron_antagonism.errors import AntagonismError, UsageError

if TYPE_CHECKING:
    from neuron_antagonism.runs.config import RunConfig


@dataclass(frozen=True)
class Check:
    """One check's outcome."""

    name: str
    ok: bool
    detail: str


@takes(
    *("scorers", "budget", "model", *LOADING, "tasks", "engine"),
    tasks="A task of the run to estimate; repeatable. Default: the model alone.",
    scorers="A scorer of that run; repeatable. Default: those of run.",
    budget="Neurons touched by an edit of that run.",
)
def doctor(
    *,
    full: Annotated[bool, panels.measured("--full", help="That run at the paper's sizes.")] = False,
    asked: dict[str, Any],
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check the installation, the plugins and a model, and estimate a run of it. Exits with 1 when a check fails."""
    from neuron_antagonism.runs.config import FULL, RunConfig

    of_a_run = ["--full"] if full else [flag_of(name) for name in ("scorers", "budget", "engine") if name in asked]
    if of_a_run and "tasks" not in asked:
        raise UsageError(f"{of_a_run[0]} is of a run, and no --task was given to estimate; accepted: both, or neither")
    config = RunConfig.of(**(FULL if full else {}), **asked)
    checks: list[Check] = []
    for check in _checks(config, estimated="tasks" in asked):
        checks.append(check)
        if not json:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}", flush=True)
    if json:
        print_json({"ok": all(check.ok for check in checks), "checks": [vars(check) for check in checks]})
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _checks(config: RunConfig, *, estimated: bool) -> Iterator[Check]:
    from neuron_antagonism.model.load import examine_model
    from neuron_antagonism.model.loading import Loading
    from neuron_antagonism.suites.forms import form_checks
    from neuron_antagonism.suites.health import installation, model_checks, run_checks

    quiet_libraries()
    yield from (Check(*row) for row in installation())
    try:
        asked = config.loading()
        chat = asked.pop("chat_template")
        loaded = examine_model(config.model, loading=Loading(**asked), chat_template=chat)
    except AntagonismError as error:
        yield Check("model", False, str(error))
        return
    # a diagnosis must survive whatever it diagnoses
    except Exception as error:
        yield Check("model", False, f"{type(error).__name__}: {' '.join(str(error).split())}")
        return
    yield Check("model", True, repr(loaded))
    try:
        yield from (Check(*row) for row in model_checks(loaded))
    except AntagonismError as error:
        yield Check("letters", False, str(error))
        return
    if all(proof.holds for proof in loaded.proofs.values()):
        yield from (Check(*row) for row in form_checks(loaded, config.tasks[0] if estimated else "sentiment"))
    if estimated and all(proof.holds for proof in loaded.proofs.values()):
        try:
            yield from (Check(*row) for row in run_checks(loaded, config))
        except AntagonismError as error:
            yield Check("run", False, str(error))
