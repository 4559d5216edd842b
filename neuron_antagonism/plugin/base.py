"""What plugins subclass. Importing this module imports neither torch nor transformer_lens."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_antagonism.errors import PluginError, UsageError, unknown
from neuron_antagonism.types import FORMS, Item, same

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from neuron_antagonism.method.attribution import Attribution
    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.neurons import NeuronSet
    from neuron_antagonism.settings import Settings
    from neuron_antagonism.types import Example, Question


class Options(BaseModel):
    """Options of a plugin: a pydantic model that refuses unknown names; describe and bound every field."""

    # JSON has no infinity: it is written as a text, which is read as a number again
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Configurable:
    """Anything with a `name` and validated `options`.

    Args:
        options: values by option name, checked against the class's `Options`.

    Raises:
        UsageError: an unknown option, or a value outside its bounds; names plugin, option and what is accepted.
    """

    name: ClassVar[str] = ""

    class Options(Options):
        """No options."""

    def __init__(self, **options: Any) -> None:
        """Validate `options`."""
        self.options: Any = self._validated(options)

    @classmethod
    def _validated(cls, values: Mapping[str, Any]) -> Options:
        try:
            return cls.Options(**values)
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:  # a plugin's own check of its options together
                reason = str(first.get("ctx", {}).get("error", first["msg"]))
                raise UsageError(f"options of {cls.name}: {' '.join(reason.split())}") from None
            option = ".".join(str(part) for part in first["loc"][:1])
            if first["type"] == "extra_forbidden":
                accepted_names = [f"{cls.name}.{known}" for known in cls.Options.model_fields]
                raise UsageError(unknown("option", f"{cls.name}.{option}", accepted_names)) from None
            accepted = cls.Options.model_fields[option].description or "see `plugins`"
            raise UsageError(
                f"option {cls.name}.{option}={values.get(option)!r}: {first['msg'].lower()}; accepted: {accepted}"
            ) from None

    def with_options(self, **changes: Any) -> Self:
        """A copy with some options changed, validated again."""
        import copy

        other = copy.copy(self)
        other.options = self._validated({**self.options.model_dump(exclude_unset=True), **changes})
        return other

    def check(self, model: HookedModel, examples: Sequence[Example], site: str) -> None:
        """Raise where the options don't fit the model or the examples; called before anything is computed.

        Args:
            model: the model; nothing should be run on it here.
            examples: the identification examples.
            site: where the units are.
        """

    def __repr__(self) -> str:
        """Name and the options that were set."""
        values = self.options.model_dump(exclude_unset=True)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"


class Target:
    """A differentiable function F of the last position's logits, which integrated gradients explain.

    Two targets are equal when their class and attributes are; an equal target is computed once and shared.

    Class attributes:
        name: under which it is registered (`neuron_antagonism_targets`), and which results name.
        reference: the paper and equation.
    """

    name: ClassVar[str] = ""
    reference: ClassVar[str] = ""

    def __call__(
        self,
        logits: Float[Tensor, "*batch vocab"],
        letters: Int[Tensor, "*batch option"],
        answer: Int[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """F for each question.

        Args:
            logits: the last position's logits, float32 or wider.
            letters: token ids of the option letters, of two to ten; in words, of all options' first tokens.
            answer: index of the right letter.
        """
        raise PluginError(f"{type(self).__name__} is a target without __call__; accepted: one that overrides it")

    def __eq__(self, other: object) -> bool:
        """Equal class and attributes."""
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash((type(self), repr(sorted(vars(self).items()))))


class Scorer(Configurable):
    """Turns the gradients (or values) of a few questions into one score per neuron; high = good, low = bad.

    Class attributes:
        target: the function whose integrated gradients are aggregated; None = no gradient: `aggregate` then
            gets the neuron values at the last position instead.
        roles: ("good", "bad"), or ("good",) where low scores mean nothing: such a scorer has no bad set.
        draws: whether scores are drawn by the option `seed`; a run repeats such a scorer with several seeds.
        reference: the paper and equation.
    """

    target: Target | None = None
    roles: ClassVar[tuple[str, ...]] = ("good", "bad")
    draws: ClassVar[bool] = False
    reference: ClassVar[str] = ""

    class Options(Options):
        """Options of additive reordering (NeuronLLM §3.4, Eq. 5)."""

        z: int | float | None = Field(
            default=None,
            gt=0,
            description="neurons per example that may score: a count, or a fraction of all (0 < z < 1 as a float); "
            "unset: 5000, capped at 1.42 % of all, at least the largest K used, at most half of all",
        )
        ambiguous: Literal["drop", "keep"] = Field(
            default="drop",
            description="what a neuron that is good for one example and bad for another scores: "
            "'drop' (the paper): 0; 'keep': the sum",
        )

        @property
        def reorders(self) -> bool:
            """Whether scores come from additive reordering, so that `z` is to be fixed; override where not always."""
            return True

    def aggregate(
        self,
        example_scores: Float[Tensor, "example layer neuron"],
        question_scores: Float[Tensor, "question layer neuron"],
    ) -> Float[Tensor, "layer neuron"]:
        """Task-level scores. Default: additive reordering of the example scores (NeuronLLM Eq. 5)."""
        from neuron_antagonism.functional import additive_reordering, resolve_z

        z = resolve_z(self.options.z, example_scores[0].numel())
        return additive_reordering(example_scores, z=z, ambiguous=self.options.ambiguous)

    def attribute(self, model: HookedModel, examples: Sequence[Example], settings: Settings) -> Attribution:
        """Override only where a scorer needs passes of its own; the core calls this instead of `aggregate`."""
        raise PluginError(f"scorer {self.name!r} has no attribute() of its own; accepted: one that overrides it")


class Task:
    """Where a task's examples come from and how they are asked (NeuronLLM §3.3, QATT).

    Class attributes:
        role, rule: the first two lines of every prompt.
        stems: three templates with `{text}` and any meta key of the items, plain names only.
        demonstration: the item of the one-shot demonstration; None = one more example, used nowhere else.
        n_options: options of a question, 2 to 10.
        concepts: the classes, where an answer is one of a few that many items share; () = answers differ from item
            to item.
        forms: in which its questions can be answered: "letters", and "words" unless the options' first words say too
            little to tell them apart.
        words_stems: of the form words, three templates as `stems` that end where the answer begins; () = `stems`, with
            "Answer:" on a line of its own after each.
        words_role: of the form words, what stands before the answered examples; "" = nothing.
        words_options: of the form words, the options of every question, where answers are classes; () = `concepts`.
        words_shots: of the form words, answered examples at the head of a prompt where nobody says how many: of each
            class, or in all where answers are no classes.
        hub: how to read this task from the Hub; the description shown in `plugins`.
        origin: where the examples come from where nobody names a source, such as "hub:dataset-id"; "" = a sample that
            comes with the task.
        left_out: an instance's own: rows that `examples` leaves out, by reason; emptied before each reading.
        suffixes: endings of the files that `from_file` reads; such a file's path works wherever a task's name does.
    """

    name: str = ""
    role: str = ""
    rule: str = ""
    stems: tuple[str, ...] = ()
    demonstration: Item | None = None
    n_options: int = 4
    concepts: tuple[str, ...] = ()
    forms: tuple[str, ...] = FORMS
    words_stems: tuple[str, ...] = ()
    words_role: str = ""
    words_options: tuple[str, ...] = ()
    words_shots: int = 4
    origin: str = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    reference: ClassVar[str] = ""

    @cached_property
    def left_out(self) -> Counter[str]:
        """Rows that this instance's last reading left out, by reason."""
        return Counter()

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """A task that a file states; its `name` is the file's own, or the file's stem.

        Raises:
            DataError: an unreadable or malformed file; names file, line and field.
        """
        raise PluginError(f"task {cls.name!r} is not read from files; accepted: one that overrides from_file()")

    def examples(self, source: str | None, seed: int) -> Iterable[Item]:
        """Yield the items of a source.

        Args:
            source: a file's path, `hub:dataset-id`, or None for the embedded sample.
            seed: for what is generated or sampled; the same seed gives the same items.

        Raises:
            DataError: a malformed line; names file and line number.
        """
        raise PluginError(f"task {self.name!r} has no examples(); accepted: one that overrides it")

    def distractors(self, item: Item, rng: random.Random) -> Sequence[str]:
        """Wrong answers for `item`, one less than `n_options`, all different from the right one.

        Default: drawn from the item's own.
        """
        wrong = self.n_options - 1
        different: dict[str, str] = {}
        for text in item.distractors:
            if same(text) != same(item.answer):
                different.setdefault(same(text), text)
        pool = sorted(different.values())
        return rng.sample(pool, wrong) if len(pool) > wrong else pool


class Intervention(Configurable):
    """What happens to the values of chosen neurons during a forward pass.

    Class attributes:
        scale: a constant factor; makes the edit foldable into the weights (silence 0.0, excite 2.0).

    Attributes:
        fitted: whether this copy has learned what it needs.
        site: where a fitted copy has learned it, `neurons.site`; None = what it does is the same at every site.
    """

    scale: ClassVar[float | None] = None
    reference: ClassVar[str] = ""
    fitted: bool = False
    site: str | None = None

    @property
    def needs_fit(self) -> bool:
        """Whether `fit` must run before `edit`."""
        return type(self).fit is not Intervention.fit

    def fit(self, model: HookedModel, examples: Sequence[Example], neurons: NeuronSet) -> Self:
        """Learn what the edit needs and return a fitted copy with `fitted = True`. Default: nothing to learn.

        Args:
            model: the unedited model; must be left as it was.
            examples: what to learn from, with `na.observe` for instance.
            neurons: what will be edited, at `neurons.site`; of good and bad neurons the scores tell which is which.
        """
        return self

    def state(self) -> dict[str, Any]:
        """What a fitted copy has learned, by name: tensors, numbers, texts; enough for `with_state` to make it again.

        Default: every attribute beside options and what this class itself defines.

        Raises:
            PluginError: it holds something else.
        """
        own = {name: value for name, value in vars(self).items() if name not in ("options", "fitted", "site")}
        for name, value in own.items():
            if not isinstance(value, int | float | str | None) and not hasattr(value, "detach"):
                raise PluginError(
                    f"intervention {self.name!r} has learned {name!r}, a {type(value).__name__}, which can't be "
                    "stored; accepted: tensors, numbers and texts, or its own state() and with_state()"
                )
        return own

    def with_state(self, state: Mapping[str, Any], site: str | None) -> Self:
        """A fitted copy that has learned what `state` gave.

        Args:
            state: by name.
            site: where it was learned.
        """
        import copy

        other = copy.copy(self)
        vars(other).update(state)
        other.fitted, other.site = True, site
        return other

    @property
    def asks(self) -> bool:
        """Whether `edit` depends on which questions a batch holds, so that `on` must come before it."""
        return type(self).on is not Intervention.on

    def on(self, model: HookedModel, questions: Sequence[Question], site: str) -> Self:
        """A copy for batches of these questions, in their order. Default: itself, for it treats all alike.

        Args:
            model: the unedited model; must be left as it was.
            questions: one for each row of the batch that `edit` is given next.
            site: where the edit acts.
        """
        return self

    def edit(
        self,
        values: Float[Tensor, "batch position n"],
        layer: int,
        neurons: Int[Tensor, n],
    ) -> Float[Tensor, "batch position n"]:
        """New values of the chosen neurons of one layer; each position by itself.

        Args:
            values: current values in the model's dtype.
            layer: the block's index.
            neurons: the neurons' indices in that block.
        """
        if self.scale is None:
            raise PluginError(f"intervention {self.name!r} has neither `scale` nor its own edit()")
        return values * self.scale


class Observer:
    """Watches a run: every method is a no-op to override. For experiment trackers and logs."""

    name: ClassVar[str] = ""

    def before_run(self, manifest: Mapping[str, Any]) -> None:
        """Called once, when everything asked for has been checked and the examples are chosen."""

    def after_attribution(self, task: str, scorer: str, attribution: Attribution) -> None:
        """Called when a scorer's scores for a task exist."""

    def after_evaluation(self, task: str, results: Mapping[str, Any]) -> None:
        """Called when a task's sweep has been evaluated, with its part of results.json."""

    def on_error(self, error: BaseException) -> None:
        """Called when a run fails under way, before the error goes on."""
