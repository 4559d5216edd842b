"""What the parts of a suite measure, as their specs say it; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

from neuron_antagonism.errors import UsageError

Share = Annotated[float, Field(gt=0, le=1)]
Tau = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]


@dataclass(frozen=True)
class Classes:
    """How a task's examples are drawn by class, for parts about classes.

    Args:
        form: "letters" or "label".
        identify, evaluate: examples of each class to learn from, and to report on.
        least: rightly answered questions that a class must have to be learned.
        shots: of form label, answered examples of each class at the head of a prompt.
        site: where units are.
    """

    form: Literal["letters", "label"]
    identify: int
    evaluate: int
    least: int
    shots: int
    site: str


class Spec(BaseModel):
    """A piece of a suite; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Masking(Spec):
    """By class: unedited, range-masked and whole-masked accuracy and confidence on the class and on the others."""

    part: Literal["masking"]
    name: str
    shares: tuple[Share, ...] = Field(default=(0.3,), min_length=1, description="shares of each layer's units")
    taus: tuple[Tau, ...] = Field(default=(2.0,), min_length=1, description="half the range's width, in σ")
    inside: Literal["zero", "mean", "soft"] = Field(default="zero", description="'zero', 'mean' or 'soft'")
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), description="blocks; unset: all")
    perplexity: bool = Field(default=False, description="whether plain text is read under each edit")


class Distributions(Spec):
    """How values are distributed by class: how Gaussian, how much they overlap; values and plots of some units."""

    part: Literal["distributions"]
    name: str
    share: Share = Field(default=0.3, description="share of each layer's units that is looked at")
    tau: Tau = Field(default=2.0, description="half the range's width in the plots, in σ")
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), description="blocks; unset: all")


class OfTasks(Spec):
    """A part on good and bad neurons of tasks, whose answers need not be classes."""

    name: str
    tasks: tuple[str, ...] = Field(default=(), description="tasks; unset: the suite's")
    scorers: tuple[str, ...] = Field(default=("ace",), min_length=1, description="scorers of good and bad neurons")
    identify: Count = Field(default=5, description="examples to learn from, at least 1")
    evaluate: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=48, description="examples that are reported on, at least 2"
    )


class Gating(OfTasks):
    """Good and bad neurons edited as a whole, and only within the ranges where they help and hinder."""

    part: Literal["gating"]
    taus: tuple[Tau, ...] = Field(default=(2.0,), min_length=1, description="half the ranges' width, in σ")
    budget: Count = Field(default=100, description="neurons touched by an edit, at least 1")
    ratio: float = Field(default=0.5, ge=0, le=1, description="share of good neurons, 0 to 1")


class Antagonism(OfTasks):
    """Whether good and bad neurons do together what they do one by one, against other pairs of sets of their size."""

    part: Literal["antagonism"]
    n: Count = Field(default=20, description="neurons of each set, at least 1")
    draws: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=20, description="pairs of random sets to compare with, at least 2"
    )
    positions: Literal["last", "all"] = Field(default="last", description="'last' or 'all'")


class Run(OfTasks):
    """A run: the effects of editing the neurons of several scorers."""

    part: Literal["effects"]
    scorers: tuple[str, ...] = Field(
        default=("ace", "tn", "qrnca", "kn", "act", "random"), min_length=1, description="scorers"
    )
    select: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=32, description="examples that choose the ratio, at least 2"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="further options of a run, by name")

    @field_validator("options")
    @classmethod
    def _of_a_run(cls, options: dict[str, Any]) -> dict[str, Any]:
        from neuron_antagonism.runs.config import RunConfig

        taken = {"model", "tasks", "data", "seed", "scorers", "identify", "select", "evaluate"} & set(options)
        if taken:
            raise ValueError(f"options name {min(taken)!r}; accepted: other options of a run")
        try:
            RunConfig.of(**options)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return options


Part = Annotated[Masking | Distributions | Gating | Antagonism | Run, Field(discriminator="part")]


def fields_of(part: str) -> Mapping[str, FieldInfo] | None:
    """The fields of a part's spec, by the name that its field `part` has; None where there is no such part."""
    kinds: tuple[type[Spec], ...] = (Masking, Distributions, Gating, Antagonism, Run)
    return next((kind.model_fields for kind in kinds if part in kind.model_fields["part"].annotation.__args__), None)  # type: ignore[union-attr]
