"""What is stored: one unit, one key, one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from neuron_antagonism.files import file_name
from neuron_antagonism.tensors import Arrays


@dataclass(frozen=True)
class Unit:
    """One thing that a job computes.

    Args:
        kind: what it is, and the folder that it is kept in.
        label: what people call it; no part of what it is.
        key: a hash of everything that determines it (see `runs.keys`).
        recipe: how it is computed.
        needs: units, of this job or others, that it is computed from; all of them are there.
    """

    kind: str
    label: str = field(compare=False)
    key: str
    recipe: Recipe = field(compare=False, repr=False)
    needs: tuple[Unit, ...] = field(default=(), compare=False, repr=False)

    @property
    def file(self) -> str:
        """Its file's path in a store."""
        return f"{self.kind}/{file_name(self.label)}.{self.key[:20]}.safetensors"


class Recipe(Protocol):
    """How units of one kind are computed: plain data that can be sent anywhere."""

    @classmethod
    def make(cls, desk: Any, units: Sequence[Unit]) -> None:
        """Compute units together, and put each on the desk's shelf as soon as it is there.

        Args:
            desk: what there is to work with, a `runs.work.Desk`.
            units: missing ones, all of this kind and of the desk's job.
        """
        ...


@dataclass(frozen=True)
class Payload:
    """What a unit holds.

    Args:
        meta: plain JSON values.
        arrays: by name.
    """

    meta: Mapping[str, Any]
    arrays: Arrays = field(default_factory=dict)


class Shelf(Protocol):
    """Where units are put and looked for."""

    def get(self, unit: Unit) -> Payload | None:
        """What a unit holds; None where it is not there."""
        ...

    def has(self, unit: Unit) -> bool:
        """Whether a unit is there."""
        ...

    def put(self, unit: Unit, payload: Payload) -> None:
        """Keep what a unit holds."""
        ...


def held(shelf: Shelf, unit: Unit | None) -> Payload:
    """What a unit holds that must be there by now."""
    payload = None if unit is None else shelf.get(unit)
    assert payload is not None, unit
    return payload


class Memory:
    """A shelf that ends with the process.

    Args:
        there: payloads by key to begin with.
    """

    def __init__(self, there: Mapping[str, Payload] | None = None) -> None:
        """Nothing else is there."""
        self.there: dict[str, Payload] = dict(there or {})

    def get(self, unit: Unit) -> Payload | None:
        """What a unit holds; None where it is not there."""
        return self.there.get(unit.key)

    def has(self, unit: Unit) -> bool:
        """Whether a unit is there."""
        return unit.key in self.there

    def put(self, unit: Unit, payload: Payload) -> None:
        """Keep what a unit holds."""
        self.there[unit.key] = payload
