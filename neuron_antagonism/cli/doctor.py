"""The command `doctor`: checks an installation and a model before a long run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from neuron_antagonism.cli.common import (
    Debug,
    Device,
    Dtype,
    Json,
    Model,
    Quiet,
    print_json,
    quiet_libraries,
)
from neuron_antagonism.errors import AntagonismError

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel


@dataclass(frozen=True)
class Check:
    """One check's outcome."""

    name: str
    ok: bool
    detail: str


def doctor(
    model: Model = "demo",
    dtype: Dtype = None,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check the installation, the plugins and a model. Exits with 1 when a check fails."""
    checks: list[Check] = []
    for check in _checks(model, dtype, device):
        checks.append(check)
        if not json:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}", flush=True)
    if json:
        print_json({"ok": all(check.ok for check in checks), "checks": [vars(check) for check in checks]})
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _checks(name: str, dtype: str | None, device: str | None) -> Iterator[Check]:
    from neuron_antagonism.runs.health import installation, loaded_with_proof, model_checks

    quiet_libraries()
    yield from (Check(*row) for row in installation())
    try:
        loaded, same = loaded_with_proof(name, dtype, device)
    except AntagonismError as error:
        yield Check("model", False, str(error))
        return
    yield Check("model", True, repr(loaded))
    yield Check("logits equal Hugging Face's", *same)
    for label, check in model_checks():
        yield _tried(label, check, loaded)


def _tried(label: str, check: Callable[[HookedModel], tuple[bool, str]], model: HookedModel) -> Check:
    try:
        return Check(label, *check(model))
    # a diagnosis must survive whatever it diagnoses
    except Exception as error:
        return Check(label, False, f"{type(error).__name__}: {' '.join(str(error).split())}")
