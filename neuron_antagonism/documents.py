"""Documents that people write, in YAML, TOML or JSON: plain values, bounded in size, depth and what they unfold to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaml import SafeLoader

MANY = 10_000
"""Values in a document, at most; what an alias stands for counts each time."""
DEEPEST = 32
"""Lists and mappings within one another, at most."""
LONGEST_NUMBER = 100
"""Characters of a number, at most: converting long ones takes time that grows faster than they do."""
DOTS = 1000
"""Dots in a line of TOML, at most: the time that a dotted key takes grows with the square of its parts."""


def parsed(text: str, ending: str) -> Any:
    """The values that a text states: texts, whole numbers of 64 bits, floats, truth values, None, lists, mappings.

    Args:
        text: the document.
        ending: of its file: .toml or .json; anything else is YAML.

    Raises:
        ValueError: a line that says what is wrong with it; nothing else, whatever the text.
    """
    parse = {".toml": _toml, ".json": _json}.get(ending, _yaml)
    try:
        value = parse(text)
    except RecursionError:
        raise ValueError("lists or mappings nested too deeply") from None
    # YAML's tags are converted by Python's own functions, which raise whatever they do
    except Exception as error:
        raise ValueError(" ".join(str(error).split())[:500] or type(error).__name__) from None
    _check(value)
    return value


def parsed_json(text: str) -> Any:
    """The values of a JSON text of any size.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("lists or mappings nested too deeply") from None


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = _twice(name for name, _ in pairs)
    if twice is not None:
        raise ValueError(f"{twice!r:.80} stands there twice")
    return dict(pairs)


def _twice(names: Iterable[str]) -> str | None:
    """The first name that was there before."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _toml(text: str) -> Any:
    import tomllib

    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > DOTS:
            raise ValueError(f"line {number} has more than {DOTS:,} dots")
    return tomllib.loads(text)


def _yaml(text: str) -> Any:
    loader = _bounded()(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _unfolded(root, {})
        return loader.construct_document(root)
    finally:
        loader.dispose()


@cache
def _bounded() -> type[SafeLoader]:
    """YAML's safe loader, which stops at too many values or too deep ones before it has read them all."""
    import yaml

    class Bounded(yaml.SafeLoader):
        composed, depth = 0, 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.composed += 1
            self.depth += 1
            if self.composed > MANY:
                raise ValueError(f"more than {MANY:,} values")
            if self.depth > DEEPEST + 1:
                raise ValueError(f"lists or mappings nested more than {DEEPEST} deep")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    return Bounded


def _unfolded(node: Any, sizes: dict[int, int]) -> int:
    """How many values a YAML node stands for once its aliases are followed; `sizes` holds those that are known.

    Construction shares what aliases stand for, but whatever prints, merges or copies the values does not.
    """
    known = sizes.setdefault(id(node), 0)
    if known:
        return known
    size = 1
    if isinstance(node.value, str):
        if len(node.value) > LONGEST_NUMBER and node.tag.rpartition(":")[2] in ("int", "float", "timestamp"):
            raise ValueError(f"line {node.start_mark.line + 1}: a number of more than {LONGEST_NUMBER} characters")
    else:
        pairs = [pair if isinstance(pair, tuple) else (pair,) for pair in node.value]
        twice = _twice(pair[0].value for pair in pairs if len(pair) == 2 and isinstance(pair[0].value, str))
        if twice is not None:
            raise ValueError(f"line {node.start_mark.line + 1}: {twice!r:.80} stands there twice")
        for pair in pairs:
            for one in pair:
                if sizes.get(id(one)) == 0:
                    raise ValueError(f"line {node.start_mark.line + 1}: an alias within what it stands for")
                size += _unfolded(one, sizes)
                if size > MANY:
                    raise ValueError(f"more than {MANY:,} values, aliases followed")
    sizes[id(node)] = size
    return size


def _check(value: Any) -> None:
    """Raise ValueError for what no option can be, and what printing or storing would fail on."""
    pending = [(value, 0)]
    seen = 0
    while pending:
        one, depth = pending.pop()
        seen += 1
        if seen > MANY:
            raise ValueError(f"more than {MANY:,} values")
        if depth > DEEPEST:
            raise ValueError(f"lists or mappings nested more than {DEEPEST} deep")
        if isinstance(one, dict):
            pending += [(inner, depth + 1) for pair in one.items() for inner in pair]
        elif isinstance(one, list):
            pending += [(inner, depth + 1) for inner in one]
        elif isinstance(one, str):
            if not one.isascii() and any("\ud800" <= character <= "\udfff" for character in one):
                raise ValueError("half of a character (a lone surrogate)")
        elif isinstance(one, int):
            if one.bit_length() > 64:
                raise ValueError("a whole number of more than 64 bits")
        elif not isinstance(one, float | None):
            raise ValueError(f"a {type(one).__name__}, which no option is: write it in quotes")
