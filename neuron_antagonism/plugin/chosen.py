"""Whose plugins may load: everybody's, the shipped ones alone, or these and those of some distributions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from neuron_antagonism.errors import UsageError

VARIABLE = "NEURON_ANTAGONISM_PLUGINS"
"""The environment variable that says it, for this process and those that it starts: unset or empty is everybody's."""
NONE = "none"
SHIPPED = "neuron-antagonism"


def asked_for(only: str | None, none: bool) -> str | None:
    """The variable's value for the command line's options; None where neither was given.

    Raises:
        UsageError: both were given, or no distribution was named.
    """
    if only is not None and none:
        raise UsageError("--only-plugins and --no-plugins were given; accepted: one of them")
    if only is not None and not _names(only):
        raise UsageError("--only-plugins names no distribution; accepted: DIST[,DIST...], or --no-plugins")
    return NONE if none else only


def allowed(asked: str, installed: Iterable[str]) -> frozenset[str]:
    """The distributions whose plugins may load, by their canonical names.

    Args:
        asked: what the variable holds: `none`, or names with commas between them.
        installed: names of the distributions that have plugins.

    Raises:
        UsageError: one that was named has none; lists those that have.
    """
    if asked.strip().lower() == NONE:
        return frozenset({SHIPPED})
    there = {canonical(name): name for name in installed}
    for name in _names(asked):
        if canonical(name) not in there:
            others = ", ".join(sorted(there[name] for name in there if name != SHIPPED)) or "none but the shipped ones"
            raise UsageError(f"no plugins of a distribution {name!r:.80} are installed; accepted: {others}")
    return frozenset({SHIPPED, *map(canonical, _names(asked))})


def canonical(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(asked: str) -> list[str]:
    return [name.strip() for name in asked.split(",") if name.strip()]
