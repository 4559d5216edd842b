"""Reading task files: one error line that names file, line, field and what is accepted."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

import neuron_antagonism as na
from neuron_antagonism_plugins import _harness, _schema
from neuron_antagonism_plugins._files import WRITTEN, at, lines, malformed, readable
from neuron_antagonism_plugins._harness import Harness
from neuron_antagonism_plugins._schema import Spec, Where

_FILE = "a task file in YAML or TOML with the fields data and columns"
_DEPTH = 5  # the schemas nest less
_MANY = 10_000  # values, where an alias counts as often as it stands there
_DOTS = 1000  # in a line of TOML: the time for a dotted key grows with the square of its parts

_TYPED = tuple(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))

Model = TypeVar("Model", bound=na.Options)

Lines = dict[tuple[str | int, ...], int]
"""Where fields stand, by their paths."""


def read_spec(path: str | Path) -> Spec | Harness:
    """Read and check a task file, of this package's own fields or of lm-evaluation-harness.

    Raises:
        DataError: an unreadable file, a syntax error, or a wrong field; names file, line, field, what is accepted.
    """
    whole = "\n".join(text for _, text in lines(path, _FILE, hub=False, most=WRITTEN))
    values, known = _toml(path, whole) if str(path).lower().endswith(".toml") else _yaml(path, whole)
    if not isinstance(values, dict):
        raise malformed(f"{path}", values, _FILE)

    def where(*loc: str | int) -> str:
        line = next((known[loc[:size]] for size in range(len(loc), 0, -1) if loc[:size] in known), None)
        return f"{path if line is None else at(path, line)}, field {_dotted(loc)}"

    if _of_harness(values):
        for name in (name for name in _harness.CODE if name in values):
            raise na.DataError(
                f"{where(name)}: {_harness.CODE[name]}, and is not read; accepted: {', '.join(Harness.model_fields)}"
            )
        harness = _validated(Harness, values, where, _harness)
        _harness.check(harness, where)
        return harness
    spec = _validated(Spec, values, where, _schema)
    _schema.check(spec, where)
    return spec


def _of_harness(values: Mapping[str, Any]) -> bool:
    """Whether a file states a task by the fields of lm-evaluation-harness, and not by those of this package."""
    return not {"data", "columns"} & values.keys() and bool(set(_harness.MARKS) & values.keys())


def _validated(model: type[Model], values: Any, where: Where, schema: ModuleType) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # an unknown field first: it is often the cause of a missing one
        problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    loc = first["loc"]
    if first["type"] == "extra_forbidden":
        raise na.DataError(f"{where(*loc)}: unknown; accepted: {', '.join(schema.fields(loc[:-1]))}")
    if first["type"] == "missing":
        raise na.DataError(f"{where(*loc)}: is missing; accepted: {schema.accepted(loc)}")
    raise malformed(where(*loc), first["input"], schema.accepted(loc))


def _dotted(loc: Sequence[str | int]) -> str:
    shown = (f"[{part}]" if isinstance(part, int) else "." + " ".join(part.split()) for part in loc)
    return "".join(shown).removeprefix(".")


class _Bounded(yaml.SafeLoader):
    """Stops at too many values or too deep ones before it has read them all."""

    composed, depth = 0, 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One value; counted."""
        self.composed += 1
        self.depth += 1
        if self.composed > _MANY:
            raise ValueError(f"more than {_MANY:,} values")
        if self.depth > 2 * _DEPTH:  # a little more, for an error that names the field
            raise ValueError("lists or mappings nested too deeply")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _yaml(path: str | Path, whole: str) -> tuple[Any, Lines]:
    try:
        root = yaml.compose(whole, Loader=_Bounded)
    except yaml.MarkedYAMLError as error:
        number = error.problem_mark.line + 1 if error.problem_mark else 1
        raise na.DataError(
            f"{at(path, number)}: no YAML: {error.problem or error.context}; accepted: {_FILE}"
        ) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a code point that Unicode lacks
        raise na.DataError(f"{path}: no YAML: {' '.join(str(error).split())}; accepted: {_FILE}") from None
    known: Lines = {}
    keys = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    typed = _of_harness(dict.fromkeys(key for key in keys if isinstance(key, str)))
    return (None if root is None else _plain(path, root, (), known, typed=typed)), known


def _plain(path: str | Path, node: yaml.Node, loc: tuple[str | int, ...], known: Lines, *, typed: bool) -> Any:
    """A node's value with every scalar as the text that it is: `yes`, `no` and `0` are labels, not booleans.

    `typed`: numbers, truth values and nothing are what YAML takes them for, as their own program reads them.
    """
    number = node.start_mark.line + 1
    known.setdefault(loc, number)
    if len(known) > _MANY:
        raise malformed(at(path, number), f"more than {_MANY:,} values, aliases followed", _FILE)
    if node.tag.startswith("!"):
        shown = f"{node.tag} {node.value if isinstance(node, yaml.ScalarNode) else ''}".strip()
        raise malformed(f"{at(path, number)}, field {_dotted(loc)}", shown, "plain values: code is not run")
    if len(loc) > _DEPTH:
        raise malformed(f"{at(path, number)}, field {_dotted(loc)}", "deeper nesting", _FILE)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, inner, (*loc, i), known, typed=typed) for i, inner in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        if typed and node.tag in _TYPED:
            return _value_of(node)
        # a quoted text may write half a character
        return readable(f"{at(path, number)}, field {_dotted(loc)}", node.value)
    found: dict[str, Any] = {}
    for key, inner in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise malformed(at(path, line), "a field without a plain name", _FILE)
        if key.value in found:
            raise malformed(at(path, line), f"{key.value} twice", "each field once")
        readable(at(path, line), key.value)
        known[(*loc, key.value)] = line
        found[key.value] = _plain(path, inner, (*loc, key.value), known, typed=typed)
    return found


def _value_of(node: yaml.Node) -> Any:
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError):  # a number of thousands of digits
        return node.value


def _toml(path: str | Path, whole: str) -> tuple[dict[str, Any], Lines]:
    for number, line_text in enumerate(whole.split("\n"), 1):
        if line_text.count(".") > _DOTS:
            raise malformed(at(path, number), f"more than {_DOTS:,} dots", _FILE)
    try:
        values = tomllib.loads(whole)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        line = re.search(r"at line (\d+)", str(error))
        number = int(line[1]) if line else whole.count("\n") + 1
        raise na.DataError(f"{at(path, number)}: no TOML: {error!s:.300}; accepted: {_FILE}") from None
    # tomllib keeps no lines: these are where tables and keys are written in the usual way
    known: Lines = {}
    table: tuple[str, ...] = ()
    for number, line_text in enumerate(whole.split("\n"), 1):
        if header := re.match(r"\s*\[([\w.-]+)\]", line_text):
            table = tuple(header[1].split("."))
            known.setdefault(table, number)
        elif key := re.match(r"""\s*["']?([\w.-]+)["']?\s*=""", line_text):
            known.setdefault((*table, *key[1].split(".")), number)
    return values, known
