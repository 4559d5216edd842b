"""What several commands share: options, quiet libraries, output."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Annotated, Any

import typer

from neuron_antagonism.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; everything else on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback for errors.")]
Model = Annotated[str, typer.Option("--model", help="'demo' (embedded), a local directory, or a Hub id.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float16, bfloat16 or float64.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …")]


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def quiet_libraries() -> None:
    """Silence the bars and notices of the libraries below; ours say what is going on."""
    from transformers.utils import logging

    theirs: Any = logging
    theirs.disable_progress_bar()
    theirs.set_verbosity_error()
    warnings.filterwarnings("ignore", module=r"transformer_lens|transformers|torch|huggingface_hub")


def pairs(values: list[str], what: str, form: str) -> list[tuple[str, str]]:
    """Split `NAME=VALUE` arguments.

    Raises:
        UsageError: one without an equals sign.
    """
    found = []
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not name or not rest:
            raise UsageError(f"{what} {value!r} is malformed; accepted: {form}")
        found.append((name, rest))
    return found


def note(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)
