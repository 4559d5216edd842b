"""What a task file's templates give for the rows of its data, rendered in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateSyntaxError, meta, nodes

import neuron_antagonism as na
from neuron_antagonism_plugins import _render
from neuron_antagonism_plugins._cells import LeftOut, Row
from neuron_antagonism_plugins._files import listed

ACCEPTED = "a column's name, or a Jinja template over the columns"
STARTING, EACH = 60, 0.05
"""Seconds in all: to begin with, and for each row."""


class Asked(NamedTuple):
    """What the fields give for a row.

    Args:
        text: what is asked.
        choices: the options, as the data has them.
        target: an index, an option's text, or anything else that the data holds.
    """

    text: Any
    choices: list[Any]
    target: Any


def check_template(where: str, stated: str) -> None:
    """Check what can be checked without running a template.

    Raises:
        DataError: a syntax error, or a filter or test that there is not.
    """
    env = _render.environment()
    try:
        found = env.parse(stated)
    except TemplateSyntaxError as error:
        reason = f"{error.message} (line {error.lineno} of it)"
        raise na.DataError(f"{where}: {reason}; accepted: {ACCEPTED}") from None
    except RecursionError:
        raise na.DataError(f"{where}: nested too deeply; accepted: {ACCEPTED}") from None
    for kind, known in ((nodes.Filter, env.filters), (nodes.Test, env.tests)):
        for one in found.find_all(kind):
            if one.name not in known:
                raise na.DataError(
                    f"{where}: no {kind.__name__.lower()} is named {one.name!r}; accepted: {listed(sorted(known))}"
                )


def is_constant(stated: object) -> bool:
    """Whether a field gives the same for every row: no text, or a template that names nothing."""
    if not isinstance(stated, str):
        return True
    env = _render.environment()
    return "{{" in stated and not meta.find_undeclared_variables(env.parse(stated))


def rendered(path: str | Path, fields: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[Asked | LeftOut]:
    """What each row asks, or why it is left out: a value that it lacks.

    Args:
        path: the task file, for errors.
        fields: `doc_to_text`, `doc_to_choice` and `doc_to_target` as the file states them.
        rows: the data's.

    Raises:
        DataError: a template that fails, takes too much time or memory, or gives something that can't be used;
            names the row and the field.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    accepted = f"{ACCEPTED}: {listed(columns)}"
    asked = {"fields": dict(fields), "columns": columns, "rows": len(rows), "seconds": _seconds(rows)}
    lines = [json.dumps(asked), *(json.dumps(row.values, default=str) for row in rows)]
    first, *answers = _run("\n".join(lines) + "\n", _seconds(rows)) or [{"broken": "takes too much time or memory"}]
    if "broken" in first:
        raise na.DataError(f"{path}: a template {first['broken']}; accepted: {accepted}")
    for row, answer in zip(rows, answers, strict=False):
        where = f"{row.where}, field {answer.get('field')} of {path}"
        if answer.get("missing"):
            message = f"{where}: {answer['error']}; accepted: {accepted}"
            yield LeftOut(message, f"{answer['field']}: {answer['error']}")
        elif "error" in answer:
            raise na.DataError(f"{where}: {answer['error']}; accepted: {accepted}")
        else:
            yield Asked(*(answer[f"doc_to_{name}"] for name in ("text", "choice", "target")))
    if len(answers) < len(rows):
        most = f"{_render.SECONDS} s and {_render.MEMORY // 2**20} MiB a row"
        raise na.DataError(
            f"{rows[len(answers)].where}: the templates of {path} take too much time or memory; accepted: up to {most}"
        )


def _seconds(rows: Sequence[Row]) -> int:
    return STARTING + int(EACH * len(rows))


def _run(text: str, seconds: int) -> list[dict[str, Any]]:
    """The answers that were given, of a process that may have been stopped under way."""
    # -P: the folder of this package, in which a module is named random, must not come first
    command = [sys.executable, "-P", str(Path(_render.__file__))]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, encoding="utf-8", timeout=seconds, check=False
        )
        out = done.stdout
    except subprocess.TimeoutExpired as error:
        out = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
    whole = out[: out.rfind("\n") + 1]
    return [json.loads(line) for line in whole.split("\n") if line]
