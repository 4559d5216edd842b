"""What the parts of a suite measure, as their specs say it; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.plugin.base import Configurable, Intervention, Scorer, Target
from neuron_antagonism.plugin.manager import as_target, registry
from neuron_antagonism.plugin.scorers import own_target
from neuron_antagonism.runs.config import RunConfig

Share = Annotated[float, Field(gt=0, le=1)]
Tau = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]


@dataclass(frozen=True)
class Classes:
    """How a suite asks, and how a task's examples are drawn by class, for parts about classes.

    Args:
        form: "letters", "words" or "label".
        identify, evaluate: examples of each class to learn from, and to report on.
        least: rightly answered questions that a class must have to be learned.
        shots: but by letters, answered examples at the head of a prompt; None = as the task says.
        site: where units are.
    """

    form: Literal["letters", "words", "label"]
    identify: int
    evaluate: int
    least: int
    shots: int | None
    site: str

    @property
    def task_form(self) -> str:
        """The form for parts on tasks: label is for classes alone, and such parts ask by letters then."""
        return "words" if self.form == "words" else "letters"

    @property
    def task_shots(self) -> int | None:
        """Answered examples at the head of a prompt, for parts on tasks."""
        return self.shots if self.form == "words" else None


class Spec(BaseModel):
    """A piece of a suite; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PartSpec(Spec):
    """What a part of a suite measures."""

    name: str

    def plugins(self) -> list[Configurable]:
        """The scorers and interventions whose code the rows depend on.

        Raises:
            PluginError, UsageError: an unknown name or option, or a plugin that fails.
        """
        return []

    def targets(self) -> list[Target]:
        """The targets that are named, whose code the rows depend on.

        Raises:
            UsageError, PluginError: an unknown one.
        """
        return []

    def check_tasks(self, names: Sequence[str]) -> None:
        """Raise UsageError where the spec does not go with the tasks that are measured."""


class Masking(PartSpec):
    """By class: unedited, range-masked and whole-masked accuracy and confidence on the class and on the others."""

    part: Literal["masking"]
    shares: tuple[Share, ...] = Field(default=(0.3,), min_length=1, description="shares of each layer's units")
    taus: tuple[Tau, ...] = Field(default=(2.0,), min_length=1, description="half the range's width, in σ")
    inside: Literal["zero", "mean", "soft"] = Field(default="zero", description="'zero', 'mean' or 'soft'")
    mask: str = Field(default="range", description="an intervention with options concept, answered, tau and inside")
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), description="blocks; unset: all")
    perplexity: bool = Field(default=False, description="whether plain text is read under each edit")

    def plugins(self) -> list[Configurable]:
        """The mask."""
        return [registry().make(Intervention, self.mask, {"answered": "right", "inside": self.inside})]


class Distributions(PartSpec):
    """How values are distributed by class: how Gaussian, how much they overlap; values and plots of some units."""

    part: Literal["distributions"]
    share: Share = Field(default=0.3, description="share of each layer's units that is looked at")
    tau: Tau = Field(default=2.0, description="half the range's width in the plots, in σ")
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), description="blocks; unset: all")


class OfTasks(PartSpec):
    """A part on good and bad neurons of tasks, whose answers need not be classes."""

    tasks: tuple[str, ...] = Field(default=(), description="tasks; unset: the suite's")
    scorers: tuple[str, ...] = Field(default=("ace",), min_length=1, description="scorers of good and bad neurons")

    @field_validator("scorers")
    @classmethod
    def _once(cls, scorers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(scorers)) != len(scorers):
            raise ValueError(f"scorers are named twice: {', '.join(scorers)}; accepted: each once")
        return scorers

    identify: Count = Field(default=5, description="examples to learn from, at least 1")
    evaluate: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=48, description="examples that are reported on, at least 2"
    )

    def plugins(self) -> list[Configurable]:
        """The scorers."""
        return [registry().make(Scorer, name) for name in self.scorers]


class Gating(OfTasks):
    """Good and bad neurons edited as a whole, and only within the ranges where they help and hinder."""

    part: Literal["gating"]
    taus: tuple[Tau, ...] = Field(default=(2.0,), min_length=1, description="half the ranges' width, in σ")
    budget: Count = Field(default=100, description="neurons touched by an edit, at least 1")
    ratio: float = Field(default=0.5, ge=0, le=1, description="share of good neurons, 0 to 1")
    strengthen: str = Field(default="range-excite", description="an intervention with an option tau")
    weaken: str = Field(default="range", description="an intervention with an option tau")

    def plugins(self) -> list[Configurable]:
        """The scorers, and what is done to neurons within ranges."""
        acts = self.strengthen, self.weaken
        return [*super().plugins(), *(registry().make(Intervention, name, {"tau": self.taus[0]}) for name in acts)]


class Antagonism(OfTasks):
    """Whether good and bad neurons do together what they do one by one, against other pairs of sets of their size."""

    part: Literal["antagonism"]
    n: Count = Field(default=20, description="neurons of each set, at least 1")
    draws: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=20, description="pairs of random sets to compare with, at least 2"
    )
    positions: Literal["last", "all"] = Field(default="last", description="'last' or 'all'")
    strengthen: str = Field(default="excite", description="an intervention")
    weaken: str = Field(default="silence", description="an intervention")

    def plugins(self) -> list[Configurable]:
        """The scorers, and what is done to neurons."""
        return [*super().plugins(), *(registry().make(Intervention, name) for name in (self.strengthen, self.weaken))]


def usual_acts() -> list[Intervention]:
    """What is done to neurons that should act more and to those that should act less, where nothing else is asked."""
    return [registry().make(Intervention, RunConfig.model_fields[name].default) for name in ("strengthen", "weaken")]


JUDGES = ("agreement", "faithfulness", "control", "dose", "interaction", "stability", "planted", "cost")
"""By what scorers can be judged."""


class Judging(OfTasks):
    """Scorers side by side, by every judge."""

    part: Literal["judging"]
    scorers: tuple[str, ...] = Field(
        default=("ace", "tn", "qrnca", "kn", "act", "random", "grad-x-act", "ablation"),
        min_length=1,
        description="scorers",
    )
    judges: tuple[str, ...] = Field(default=JUDGES, min_length=1, description=f"judges: {', '.join(JUDGES)}")
    options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="options by scorer")
    target: str = Field(default="log-odds", description="what agreement and faithfulness measure: a target's name")
    baseline: Literal["zero", "mean", "counterfactual"] = Field(
        default="zero", description="of agreement: what an ablated neuron is set to: 'zero', 'mean' or 'counterfactual'"
    )
    rest: Literal["zero", "mean", "counterfactual"] | None = Field(
        default=None,
        description="of faithfulness: what the others are set to: 'zero', 'mean' or 'counterfactual'; unset: "
        "'counterfactual', in words 'mean'",
    )
    budget: Count = Field(default=100, description="neurons touched by an edit, at least 1")
    n: Count = Field(default=20, description="of interaction: neurons of each set, at least 1")
    truth: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=8, description="of agreement: held-out examples on which every neuron is ablated, at least 2"
    )
    wordings: Count | None = Field(
        default=None,
        description="of agreement: wordings of each of these examples, at least 1, in turn; unset: all that it has",
    )
    steps: Annotated[int, Field(strict=True, ge=1, le=4096)] = Field(
        default=16, description="m, steps of integrated gradients, 1 to 4096"
    )
    matched: Count = Field(default=10, description="of control: matched random sets, at least 1")
    draws: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=10, description="of stability: draws of the identification examples, at least 2"
    )

    @field_validator("judges")
    @classmethod
    def _known(cls, judges: tuple[str, ...]) -> tuple[str, ...]:
        for name in judges:
            if name not in JUDGES:
                raise ValueError(unknown("judge", name, JUDGES))
        return judges

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.truth > self.evaluate:
            raise ValueError(f"truth is {self.truth} of {self.evaluate} held-out examples; accepted: at most as many")
        for name in self.options:
            if name not in self.scorers:
                raise ValueError(f"options are given for {unknown('scorer', name, self.scorers)}")
        return self

    def chosen(self) -> tuple[Scorer, ...]:
        """The scorers."""
        return tuple(registry().make(Scorer, name, self.options.get(name)) for name in self.scorers)

    def plugins(self) -> list[Configurable]:
        """The scorers."""
        chosen = self.chosen()
        for scorer in chosen:
            # a target may depend on the options, and refuse them
            own_target(scorer)
        return list(chosen)

    def targets(self) -> list[Target]:
        """What agreement and faithfulness measure."""
        return [as_target(self.target)]


class Published(Spec):
    """A part whose rows make tables and figures of the paper."""

    gives_tables: ClassVar[tuple[int, ...]] = ()
    gives_figures: ClassVar[tuple[int, ...]] = ()

    tables: tuple[int, ...] = Field(default=(), description="numbers of the paper's tables")
    figures: tuple[int, ...] = Field(default=(), description="numbers of the paper's figures")

    @model_validator(mode="after")
    def _has_them(self) -> Self:
        for name, given in (("tables", self.gives_tables), ("figures", self.gives_figures)):
            for number in getattr(self, name):
                if number not in given:
                    accepted = ", ".join(map(str, given)) or "none"
                    raise ValueError(f"{name} name {number}; accepted of such a part: {accepted}")
        return self


class Swept(OfTasks, Published):
    """A part that edits neurons of tasks at every ratio of good and bad ones."""

    select: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=32, description="examples that choose the ratio, at least 2"
    )
    budget: Count = Field(default=100, description="neurons touched by an edit, at least 1")

    def plugins(self) -> list[Configurable]:
        """The scorers, and what is done to neurons."""
        return [*super().plugins(), *usual_acts()]


def _none_or_several(count: int) -> int:
    if count == 1:
        raise ValueError("matched is 1, which has no spread; accepted: 0, or at least 2")
    return count


Draws = Annotated[int, Field(strict=True, ge=0), AfterValidator(_none_or_several)]
MATCHED_SETS = "matched random sets to compare with, 0 or at least 2"


class Common(Swept):
    """Neurons that several tasks share, edited on each task."""

    gives_tables = (5,)

    part: Literal["common"]
    count: Count = Field(default=100, description="common neurons of each role, at least 1")
    matched: Draws = Field(default=0, description=MATCHED_SETS)


class Budgets(Swept):
    """The same scores, edited at several budgets."""

    gives_tables = (7,)

    part: Literal["budgets"]
    budgets: tuple[Count, ...] = Field(
        default=(10, 25, 50, 100, 150, 200, 250, 500), min_length=1, description="neurons touched, each at least 1"
    )


class Cross(Swept):
    """Each task's neurons edited on every task: all of them, and those that no other task shares."""

    gives_tables = (8,)
    gives_figures = (2, 4)

    part: Literal["cross"]
    counts: dict[str, tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]] = Field(
        default_factory=dict,
        description="by task, good and bad neurons, instead of the budget and a ratio; unset: budget and ratio",
    )
    matched: Draws = Field(default=0, description=MATCHED_SETS)

    @model_validator(mode="after")
    def _counted(self) -> Self:
        for name, pair in self.counts.items():
            if not sum(pair):
                raise ValueError(f"counts of {name!r} are {list(pair)}; accepted: at least one neuron")
        return self

    def check_tasks(self, names: Sequence[str]) -> None:
        """Every task that is counted must be there."""
        for name in self.counts:
            if name not in names:
                raise UsageError(f"part {self.name!r} counts neurons of {unknown('task', name, names)}")


class Layers(OfTasks, Published):
    """In which layers good and bad neurons are: the strongest, those that tasks share, and each task's own."""

    gives_figures = (5, 6, 7)

    part: Literal["layers"]
    count: Count = Field(default=100, description="neurons of each role, at least 1")


class Probabilities(Swept):
    """What the model answers to some questions, chosen before any edit, under the edits of several scorers."""

    gives_figures = (10,)

    part: Literal["probabilities"]
    questions: Count = Field(default=1, description="of each task and direction, at least 1")


CHOICES: dict[str, tuple[Any, ...]] = {
    "ambiguous": ("drop", "keep"),
    "z": (0.005, 0.0142, 0.05, 0.2),
    "aggregation": ("own", "mean"),
    "target": ("letter-probability", "contrast", "probability", "log-odds"),
    "steps": (1, 2, 4, 8, 16, 32, 64),
    "quadrature": ("right", "midpoint", "gauss-legendre"),
    "examples": (1, 2, 3, 5, 10, 20),
    "wordings": (1, 2, 3),
    "letters": ("balanced", "one"),
    "order": ("as asked", "rotated"),
    "site": ("post", "up"),
    "positions": ("last", "all"),
}
"""The method's own choices, and how each is tried."""

_NUMBERS: dict[str, Any] = {"z": int | float, "steps": int, "examples": int, "wordings": int}
"""Choices that are numbers; of the others there are those named above."""


class Choices(OfTasks):
    """What the method's own choices do: each changed by itself, the others as they are by default."""

    part: Literal["choices"]
    scorers: tuple[str, ...] = Field(default=("ace",), min_length=1, description="scorers with these choices")
    choices: dict[str, tuple[Any, ...]] = Field(
        default_factory=lambda: dict(CHOICES), min_length=1, description=f"settings by choice: {', '.join(CHOICES)}"
    )
    budget: Count = Field(default=100, description="neurons touched by an edit, at least 1")
    truth: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=8, description="held-out examples on which every neuron is ablated, at least 2; 0: no exact ablation"
    )
    wordings: Count | None = Field(
        default=None,
        description="of exact ablation: wordings of each of these examples, at least 1, in turn; unset: all",
    )
    target: str = Field(default="log-odds", description="what exact ablation measures: a target's name")

    @model_validator(mode="after")
    def _tried(self) -> Self:
        if self.truth > self.evaluate:
            raise ValueError(f"truth is {self.truth} of {self.evaluate} held-out examples; accepted: at most as many")
        if self.truth == 1:
            raise ValueError("truth is 1; accepted: at least 2 held-out examples, or 0 for no exact ablation")
        for name, values in self.choices.items():
            if name not in CHOICES:
                raise ValueError(unknown("choice", name, CHOICES))
            kind = _NUMBERS.get(name)
            for value in values:
                if name == "target":
                    # of any plugin: which there are, `targets` says
                    if not isinstance(value, str):
                        raise ValueError(f"choices of target name {value!r}; accepted: names of targets")
                elif kind is None and value not in CHOICES[name]:
                    raise ValueError(f"choices of {name} name {value!r}; accepted: {', '.join(CHOICES[name])}")
                if kind is not None and (not isinstance(value, kind) or isinstance(value, bool) or not value > 0):
                    raise ValueError(f"choices of {name} name {value!r}; accepted: numbers above 0")
        return self

    @property
    def most(self) -> int:
        """The most identification examples that any setting takes."""
        return max([self.identify, *map(int, self.choices.get("examples", ()))])

    def targets(self) -> list[Target]:
        """What exact ablation measures, and what settings explain."""
        return [as_target(name) for name in (self.target, *self.choices.get("target", ()))]


OF_A_RUN = (
    *("options", "budget", "stratified", "random_draws", "engine", "steps", "quadrature", "max_tokens", "positions"),
    *("strengthen", "weaken"),
)
"""The options of a run that neither the suite nor the command line says."""


class Run(OfTasks, Published):
    """A run: the effects of editing the neurons of several scorers."""

    gives_tables = (1, 2, 3, 4, 6)

    part: Literal["effects"]
    scorers: tuple[str, ...] = Field(
        default=("ace", "tn", "qrnca", "kn", "act", "random"), min_length=1, description="scorers"
    )
    select: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=32, description="examples that choose the ratio, at least 2"
    )
    protocols: tuple[Literal["held-out", "matched", "paper"], ...] = Field(
        default=("held-out",),
        min_length=1,
        description="'held-out', and 'matched' or 'paper', for which every ratio is evaluated",
    )
    options: dict[str, Any] = Field(default_factory=dict, description=f"options of a run: {', '.join(OF_A_RUN)}")

    @model_validator(mode="after")
    def _swept(self) -> Self:
        wanted = {"held-out", "matched", "paper"}
        if {2, 3, 6} & set(self.tables) and set(self.protocols) != wanted:
            raise ValueError(f"tables 2, 3 and 6 need every ratio; accepted: protocols {', '.join(sorted(wanted))}")
        return self

    @field_validator("options")
    @classmethod
    def _of_a_run(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name in options:
            if name not in OF_A_RUN:
                raise ValueError(f"options name {name!r}; accepted: {', '.join(OF_A_RUN)}")
        try:
            RunConfig.of(**options)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return options

    def config(self, **of_suite: Any) -> RunConfig:
        """The run's options; the suite says where units are, and how questions are answered."""
        sizes = {"identify": self.identify, "select": self.select, "evaluate": self.evaluate}
        asked = {"scorers": self.scorers, "protocols": self.protocols}
        return RunConfig.of(**self.options, **sizes, **asked, **of_suite)

    def acts(self) -> tuple[Intervention, Intervention]:
        """What strengthens neurons, and what weakens them."""
        c = self.config()
        one, other = (registry().make(Intervention, name, c.options.get(name)) for name in (c.strengthen, c.weaken))
        return one, other

    def chosen(self) -> tuple[Scorer, ...]:
        """The scorers."""
        c = self.config()
        return tuple(registry().make(Scorer, name, c.options.get(name)) for name in self.scorers)

    def plugins(self) -> list[Configurable]:
        """The scorers, and what is done to neurons."""
        return [*self.chosen(), *self.acts()]


PARTS: dict[str, type[PartSpec]] = {
    "masking": Masking,
    "distributions": Distributions,
    "gating": Gating,
    "antagonism": Antagonism,
    "effects": Run,
    "judging": Judging,
    "common": Common,
    "budgets": Budgets,
    "cross": Cross,
    "layers": Layers,
    "probabilities": Probabilities,
    "choices": Choices,
}
"""By the name that the field `part` has, what states a part."""

Part = Annotated[
    Masking
    | Distributions
    | Gating
    | Antagonism
    | Run
    | Judging
    | Common
    | Budgets
    | Cross
    | Layers
    | Probabilities
    | Choices,
    Field(discriminator="part"),
]
