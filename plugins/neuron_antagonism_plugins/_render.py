"""Renders templates over rows in a process of its own, which may take a bounded time and memory.

Run as a script: a line of JSON on stdin says what to do, each further line is a row; a line of JSON on stdout answers
each. Templates are other people's: a sandbox keeps them from Python's objects, but neither from looping for ever nor
from building texts without end, which only the system can stop.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 2
"""Of processor time for a row, at least; at most one more."""
MEMORY = 2**29
"""Bytes of the process."""
LONGEST, IN_ALL = 2**20, 2**27
"""Characters of what a template gives for a row, and for all rows."""

FORBIDDEN = ("lipsum", "random")
"""What would give another text each time."""


def environment() -> ImmutableSandboxedEnvironment:
    """Where templates are read: as in lm-evaluation-harness, undefined names and missing values are errors."""
    env = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_there)
    for name in FORBIDDEN:
        env.filters.pop(name, None)
        env.globals.pop(name, None)
    env.filters["regex_replace"] = regex_replace
    return env


def regex_replace(text: str, pattern: str, repl: str, count: int = 0) -> str:
    """The filter that lm-evaluation-harness has beside Jinja's own."""
    return re.sub(pattern, repl, text, count=count)


def _there(value: Any) -> Any:
    if value is None:
        raise UndefinedError("a value is empty (null)")
    return value


class _UnusableError(Exception):
    """What a template gives can't be used."""


def _renderer(
    env: ImmutableSandboxedEnvironment, stated: Any, columns: list[str]
) -> Callable[[Mapping[str, Any]], Any]:
    """What a field gives for a row: a column's value, a template's text, or a value that is always the same."""
    if not isinstance(stated, str):
        return lambda row: stated
    if stated in columns:
        return lambda row: _column(row, stated)
    template = env.from_string(stated)

    def rendered(row: Mapping[str, Any]) -> str:
        found, size = [], 0
        # piece by piece: a loop that writes is stopped before it has filled the memory
        for piece in template.generate(**row):
            size += len(piece)
            if size > LONGEST:
                raise _UnusableError(f"gives more than {LONGEST:,} characters")
            found.append(piece)
        return "".join(found)

    return rendered


def _column(row: Mapping[str, Any], name: str) -> Any:
    if row.get(name) is None:
        raise UndefinedError(f"column {name!r} is empty or missing")
    return row[name]


def _choices(found: Any) -> list[Any]:
    """A list of options: as a column holds it, or written by a template as Python writes one."""
    if isinstance(found, str):
        try:
            found = ast.literal_eval(found.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise _UnusableError(f"gives {found[:60]!r}, which is no list") from None
    if isinstance(found, Mapping):
        found = list(found.values())
    if not isinstance(found, list | tuple):
        raise _UnusableError(f"gives {str(found)[:60]!r}, which is no list")
    return list(found)


def _target(found: Any, stated: Any, columns: list[str]) -> Any:
    """An index, or the text of an option; what a template writes in digits is an index, in brackets a list."""
    written = isinstance(stated, str) and stated not in columns
    if written and isinstance(found, str) and found.strip().lstrip("-").isdecimal():
        return int(found)
    if written and isinstance(found, str) and found.strip().startswith("["):
        try:
            return ast.literal_eval(found.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return found
    return found


def main() -> None:
    """Answer every row: the fields' values, or what is wrong with one of them."""
    asked = json.loads(sys.stdin.readline())
    fields, columns = asked["fields"], asked["columns"]
    allow = _limited(asked["seconds"])
    env = environment()
    try:
        allow()
        renderers = {name: _renderer(env, stated, columns) for name, stated in fields.items()}
    # what is the same for every row is computed here, and may fail in as many ways
    except Exception as error:
        print(json.dumps({"broken": f"fails: {_line(error)}"}), flush=True)
        return
    print(json.dumps({}), flush=True)
    written = 0
    for line in islice(sys.stdin, asked["rows"]):
        row = json.loads(line)
        found: dict[str, Any] = {}
        name = ""
        try:
            for name, render in renderers.items():
                allow()
                found[name] = render(row)
                if name == "doc_to_choice":
                    found[name] = _choices(found[name])
                if name == "doc_to_target":
                    found[name] = _target(found[name], fields[name], columns)
            answer = json.dumps(found)
            written += len(answer)
            if written > IN_ALL:
                raise _UnusableError(f"gives more than {IN_ALL:,} characters with the rows before it")
            print(answer, flush=True)
        # whatever a template makes of a row: an operation that its values don't have, numbers that are too large, …
        except Exception as error:
            missing = isinstance(error, UndefinedError)
            print(json.dumps({"field": name, "error": _line(error), "missing": missing}), flush=True)


def _line(error: BaseException) -> str:
    said = " ".join(str(error).split())[:200]
    if isinstance(error, TemplateError | _UnusableError):
        return said
    if isinstance(error, MemoryError):
        return f"takes more than {MEMORY // 2**20} MiB"
    return f"{type(error).__name__}: {said}"


def _limited(seconds: int) -> Callable[[], None]:
    """Bounds memory and all time from here on; returns what gives the next step its own time."""
    try:
        import resource
    except ImportError:  # where the system has no such limits, the caller's clock is left
        return lambda: None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    used = resource.getrusage(resource.RUSAGE_SELF)
    last = int(used.ru_utime + used.ru_stime) + seconds

    def allow() -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        # the system kills what goes on, inside a single call of a library too
        resource.setrlimit(resource.RLIMIT_CPU, (min(int(used.ru_utime + used.ru_stime) + SECONDS, last), last))

    return allow


if __name__ == "__main__":
    main()
