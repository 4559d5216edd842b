"""What several commands share: options, quiet libraries, output."""

from __future__ import annotations

import json
import os
import sys
import warnings
from logging import ERROR, getLogger
from pathlib import Path
from typing import Annotated, Any

from neuron_antagonism.cli import panels
from neuron_antagonism.cli.streams import document, is_unicode
from neuron_antagonism.errors import AntagonismWarning, UsageError
from neuron_antagonism.progress import note

Json = Annotated[bool, panels.output("--json", help="Print one JSON document on stdout; everything else on stderr.")]
Quiet = Annotated[bool, panels.output("--quiet", "-q", help="No progress.")]
Debug = Annotated[bool, panels.output("--debug", help="Show a traceback for errors.")]
Data = Annotated[
    list[str] | None,
    panels.data("--data", metavar="TASK=EVAL[,TRAIN]", help="A task's own files, or hub:ID; repeatable."),
]
Cache = Annotated[
    Path | None,
    panels.place(help="Units that several runs share. Default: what NEURON_ANTAGONISM_CACHE names, or none."),
]
BackendOption = Annotated[
    str, panels.place("--backend", metavar="serial|processes|ray", help="Where tasks are carried out.")
]
Workers = Annotated[int, panels.place(help="Tasks at a time, for processes and ray.")]
Report = Annotated[bool, panels.output("--report/--no-report", help="Make report.html in the directory at the end.")]
DryRun = Annotated[
    bool, panels.place("--dry-run", help="Show prompts, sizes, what is there and what is missing; run nothing.")
]


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    out = document()
    print(json.dumps(value, indent=1, ensure_ascii=not is_unicode(out.encoding), allow_nan=False), file=out)


def quiet_libraries() -> None:
    """Silence the bars and notices of the libraries below; ours say what is going on."""
    # transformers takes a second to import, which commands that only read do without
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if "transformers" in sys.modules:
        from transformers.utils import logging

        theirs: Any = logging
        theirs.disable_progress_bar()
        theirs.set_verbosity_error()
    # a notice for every product
    getLogger("bitsandbytes").setLevel(ERROR)
    warnings.filterwarnings("ignore", module=r"transformer_lens|transformers|torch|huggingface_hub")
    # ours are for people: no file and line of the source
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *rest: Any, **named: Any) -> None:
        if issubclass(category, AntagonismWarning):
            note(f"warning: {message}")
        else:
            shown(message, category, *rest, **named)

    warnings.showwarning = show


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


def task_data(values: list[str]) -> dict[str, tuple[str, str | None]]:
    """Evaluation and training data by task, from `TASK=EVAL[,TRAIN]` arguments.

    Raises:
        UsageError: a malformed one, or a task twice.
    """
    data: dict[str, tuple[str, str | None]] = {}
    for name, files in pairs(values, "--data", "TASK=EVAL or TASK=EVAL,TRAIN"):
        source, _, train = files.partition(",")
        if not source or name in data:
            problem = "was given twice" if source else "names no file"
            raise UsageError(f"--data {name}={files}: {problem}; accepted: TASK=EVAL or TASK=EVAL,TRAIN, a task once")
        data[name] = (source, train or None)
    return data
