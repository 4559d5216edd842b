"""What a suite measures: small declarative specs in YAML, shipped ones by name, anyone's by path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from neuron_antagonism.documents import parsed
from neuron_antagonism.errors import DataError, UsageError, unknown
from neuron_antagonism.files import expanded, read_text
from neuron_antagonism.parts.specs import PARTS, Count, OfTasks, Part, Spec

SHIPPED = Path(__file__).parent / "specs"
ENDINGS = (".yaml", ".yml")


class Suite(Spec):
    """What a suite measures, on what."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="lowercase letters, digits, - and _")
    about: str = Field(default="", description="one line on what it measures")
    tasks: tuple[str, ...] = Field(
        min_length=1,
        description="tasks: names, or task files; for masking and distributions those whose answers are classes",
    )
    models: tuple[str, ...] = Field(default=(), description="models; unset: the one that is asked for")
    seeds: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field(
        default=(0,), min_length=1, description="seeds, whole numbers from 0"
    )
    form: Literal["letters", "words", "label"] = Field(
        default="letters", description="'letters', 'words', or for parts on classes 'label'"
    )
    identify: Count = Field(default=20, description="examples of each class to learn from, at least 1")
    evaluate: Count = Field(default=20, description="examples of each class to report on, at least 1")
    least: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=10, description="rightly answered questions that a class must have to be learned, at least 2"
    )
    shots: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None,
        description="but by letters: answered examples of each class at the head of a prompt, or in all where answers "
        "are no classes, from 0; unset: as the task says, of form label 1",
    )
    site: str = Field(default="post", description="'post', 'up' or 'resid_post'")
    parts: tuple[Part, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
            raise ValueError(f"parts are named {names}; accepted: different plain names")
        for kind in ("tables", "figures"):
            numbers = [number for part in self.parts for number in getattr(part, kind, ())]
            if len(set(numbers)) != len(numbers):
                raise ValueError(f"two parts give the same of {kind} {sorted(numbers)}; accepted: each number once")
        return self

    @classmethod
    def of(cls, values: Any, where: str) -> Self:
        """Validate; a wrong value gives one line that names where it stands."""
        if not isinstance(values, dict):
            held = "nothing" if values is None else f"a {type(values).__name__}"
            raise DataError(f"{where} holds {held}; accepted: {_FIELDS}")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            # an unknown field first: it is often the cause of a missing one
            first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
            if first["type"] == "value_error":  # of fields together; it says what is accepted
                raise DataError(f"{where}: {first['ctx']['error']}") from None
            field = ".".join(str(step) for step in first["loc"]) or "parts"
            raise DataError(f"{where}, {field}: {first['msg'].lower()}; accepted: {_accepted(first['loc'])}") from None


def shipped() -> Iterator[Suite]:
    """The suites that come along, by name."""
    for file in sorted(SHIPPED.glob("*.yaml")):
        yield read_suite(file)


SAME = ("models", "seeds", "form", "shots", "site")
"""What suites that are measured together must agree in."""


def joined(suites: Sequence[Suite]) -> Suite:
    """Several suites as one, which shares all that they have in common.

    Raises:
        UsageError: they don't go together.
    """
    first, *others = suites
    if not others:
        return first
    name = "-".join(suite.name for suite in suites)
    by_class = any(not isinstance(part, OfTasks) for suite in suites for part in suite.parts)
    for field in (*SAME, *(("tasks", "identify", "evaluate", "least") if by_class else ())):
        values = {json.dumps(suite.model_dump(mode="json")[field]) for suite in suites}
        if len(values) > 1:
            raise UsageError(f"the suites {name} differ in {field}; accepted together: suites that agree in it")
    parts = [
        part.model_copy(update={"tasks": part.tasks or suite.tasks}) if isinstance(part, OfTasks) else part
        for suite in suites
        for part in suite.parts
    ]
    tasks = list(dict.fromkeys(task for suite in suites for task in suite.tasks))
    about = "; ".join(suite.about for suite in suites)
    own = [part.model_dump(mode="json") for part in parts]
    return Suite.of(first.model_dump(mode="json") | {"name": name, "about": about, "tasks": tasks, "parts": own}, name)


def shipped_names() -> list[str]:
    """The names of the suites that come along."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def _accepted(steps: Sequence[str | int]) -> str:
    """What the field accepts to which the steps of an error lead."""
    part = PARTS.get(str(steps[2])) if len(steps) > 2 else None
    fields = (part or Suite).model_fields
    described = (fields[str(step)].description for step in reversed(steps) if str(step) in fields)
    return next(filter(None, described), _FIELDS)


_FIELDS = "the fields of a shipped suite, which bench --suite NAME --show prints"


def find_suite(name: str | Path) -> Suite:
    """The suite of a name, or of a file that states one.

    Raises:
        UsageError: an unknown name.
        DataError: an unreadable or malformed file; names file and field.
    """
    return read_suite(suite_file(str(name)))


def suite_file(name: str) -> Path:
    """The file that states the suite of a name, or the one that was named itself.

    Raises:
        UsageError: an unknown name.
    """
    if name.lower().endswith(ENDINGS):
        return expanded(name)
    there = {file.stem: file for file in SHIPPED.glob("*.yaml")}
    if name not in there:
        raise UsageError(f"{unknown('suite', name, sorted(there))}, or a YAML file that states one")
    return there[name]


def read_suite(file: Path) -> Suite:
    """The suite that a file states."""
    accepted = "a YAML file that states a suite"
    try:
        values = parsed(read_text(file, accepted), ".yaml")
    except ValueError as error:
        reason = str(error).replace('"<unicode string>", ', "")
        raise DataError(f"{file}: no YAML: {reason}; accepted: {accepted}") from None
    suite = Suite.of(values, str(file))
    parts = tuple(
        part.model_copy(update={"tasks": _beside(file, part.tasks)}) if isinstance(part, OfTasks) else part
        for part in suite.parts
    )
    return suite.model_copy(update={"tasks": _beside(file, suite.tasks), "parts": parts})


def _beside(file: Path, tasks: Sequence[str]) -> tuple[str, ...]:
    """Tasks whose files stand relative to the suite's own, as a task file's data does."""
    files = {name: file.parent / name for name in tasks if Path(name).suffix}
    return tuple(str(files[name]) if name in files and _is_file(files[name]) else name for name in tasks)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for one
        return False
