"""The command `plugins`: what is registered, from where, with which options."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuron_antagonism.cli.common import Debug, Json, Quiet, print_json

if TYPE_CHECKING:
    from neuron_antagonism.plugin.manager import Registered, Registry


def plugins(
    name: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List scorers, targets, tasks, interventions and observers, or show one in full."""
    from neuron_antagonism.plugin.manager import registry

    found = registry()
    if name is not None:
        entry = found.entry(name)
        print_json(_described(entry)) if json else _print_one(entry)
        return
    if json:
        broken = [vars(b) for b in found.broken]
        left_out = [vars(one) for one in found.left_out]
        described = [_described(entry) for entry in found]
        print_json({"plugins": described, "broken": broken, "conflicts": found.conflicts, "left_out": left_out})
        return
    _print_all(found)


def _described(entry: Registered) -> dict[str, Any]:
    cls = entry.cls
    described = {
        "kind": entry.kind,
        "name": entry.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "summary": (inspect.getdoc(cls) or "").split("\n")[0],
        "description": inspect.getdoc(cls) or "",
        "reference": getattr(cls, "reference", ""),
        "options": _options(entry),
    }
    if entry.kind == "scorer":
        described["target"] = _target(entry)
    return described


def _target(entry: Registered) -> str:
    """The name of a scorer's target; of an instance, for it may depend on the options."""
    try:
        scorer = entry.thing() if isinstance(entry.thing, type) else entry.thing
        target = scorer.target
    except Exception:  # foreign code; what is wrong with it shows where it is used
        return ""
    return "" if target is None else target.name or type(target).__name__


def _options(entry: Registered) -> list[dict[str, Any]]:
    model = getattr(entry.cls, "Options", None)
    if model is None:
        return []
    # the JSON schema states types and bounds in one vocabulary for every kind of field
    properties = model.model_json_schema()["properties"] if model.model_fields else {}
    return [
        {
            "name": f"{entry.name}.{name}",
            "default": field.default,
            "description": field.description,
            "schema": {k: v for k, v in properties[name].items() if k not in ("title", "description", "default")},
        }
        for name, field in model.model_fields.items()
    ]


def _print_all(found: Registry) -> None:
    kind = ""
    for entry in found:
        if entry.kind != kind:
            kind = entry.kind
            print(f"{kind}s")
        described = _described(entry)
        print(f"  {entry.name:18s} {described['summary']} [{entry.distribution} {entry.version}]")
        for option in described["options"]:
            print(f"  {'':18s}   -o {option['name']}={option['default']}  ({_bounds(option['schema'])})")
    for broken in found.broken:
        print(f"broken: {broken.entry_point} of {broken.distribution}: {broken.error}")
    for line in found.conflicts.values():
        print(f"refused: {line}")
    for one in found.left_out:
        print(f"left out: {one.entry_point} of {one.distribution}")


def _bounds(schema: dict[str, Any]) -> str:
    """Types and bounds of an option in words."""
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " or ".join(repr(value) for value in schema["enum"])
    inner = " or ".join(dict.fromkeys(_bounds(part) for part in schema.get("anyOf", ())))
    words = inner or {"null": "unset"}.get(schema.get("type", ""), schema.get("type", "any"))
    limits = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<=", "gt": ">", "lt": "<"}
    return " ".join([words, *(f"{sign} {schema[key]}" for key, sign in limits.items() if key in schema)])


def _print_one(entry: Registered) -> None:
    described = _described(entry)
    print(f"{entry.name}: {entry.kind} of {entry.distribution} {entry.version}")
    print()
    print(described["description"])
    for title in ("reference", "target"):
        if described.get(title):
            print(f"\n{title.capitalize()}: {described[title]}")
    for option in described["options"]:
        print(f"\n-o {option['name']}={option['default']}")
        print(f"    {_bounds(option['schema'])}: {option['description']}")
