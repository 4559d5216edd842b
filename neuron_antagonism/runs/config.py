"""What a run was asked to do: validated options, the same from Python, the command line and a manifest."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.types import whole

DEFAULT_SCORERS = ("ace", "tn", "qrnca", "kn", "act", "random")
DEFAULT_TASKS = ("ner", "chunking", "sentiment", "commonsense")
SMALL = {"identify": 5, "select": 32, "evaluate": 48}
FULL = {"identify": 5, "select": 50, "evaluate": 100}


Count = Annotated[int, Field(strict=True)]  # yes and true are no numbers, though pydantic takes them for 1


class RunConfig(BaseModel):
    """Every option of a run except where it goes."""

    # JSON has no infinity: it is written as a text, which plugins read as a number again
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    model: str = "demo"
    tasks: tuple[str, ...] = Field(default=DEFAULT_TASKS, min_length=1)
    data: dict[str, tuple[str, str | None]] = Field(default_factory=dict, description="task: (evaluation, training)")
    scorers: tuple[str, ...] = Field(default=DEFAULT_SCORERS, min_length=1)
    options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="options by plugin name")
    budget: Count = Field(default=100, ge=1, description="neurons touched by an edit, at least 1")
    seed: Count = Field(default=0, ge=0, description="a whole number from 0")
    form: Literal["letters", "words"] = Field(default="letters", description="'letters' or 'words'")
    shots: Count | None = Field(
        default=None,
        ge=0,
        description="in words, answered examples at the head of a prompt: of each class, or in all where answers are "
        "no classes, at least 0; unset: as the task says",
    )
    identify: Count = Field(default=SMALL["identify"], ge=1, description="identification examples, at least 1")
    select: Count = Field(default=SMALL["select"], ge=2, description="examples that choose the ratio, at least 2")
    evaluate: Count = Field(default=SMALL["evaluate"], ge=2, description="examples that are reported on, at least 2")
    reference: str | None = Field(
        default=None,
        description="the model whose understanding stratifies; unset: the model itself",
    )
    stratified: bool = Field(default=True, description="whether half of each set is understood, half not")
    protocols: tuple[Literal["paper", "matched", "held-out"], ...] = Field(
        default=("held-out",),
        min_length=1,
        description="'held-out', and 'paper' or 'matched', for which every ratio is evaluated",
    )
    random_draws: Count = Field(default=20, ge=1, description="draws of RANDOM, at least 1")
    engine: str = "auto"
    steps: Count | Literal["auto"] = Field(default=16, description="a whole number of at least 1, or 'auto'")
    quadrature: str = "right"
    site: str = "post"
    max_tokens: Count | None = Field(
        strict=True,
        default=None,
        ge=1,
        description="tokens in one forward, at least 1, or nothing to plan it from the free memory",
    )
    positions: Literal["last", "all"] = Field(default="last", description="'last' or 'all'")
    strengthen: str = "excite"
    weaken: str = "silence"
    dtype: str | None = None
    device: str | None = None
    device_map: str | dict[str, int | str] | None = Field(
        default=None, description="'auto', 'balanced', 'balanced_low_0', 'sequential', or devices by module"
    )
    quantize: Literal["8bit", "4bit"] | None = Field(default=None, description="'8bit', '4bit', or nothing")
    revision: str | None = None
    adapter: str | None = None
    trust_remote_code: bool = False
    chat_template: bool = False

    def loading(self, **given: str | bool | None) -> dict[str, Any]:
        """The keyword arguments of `load_model` beside the name; what is given, and not None, goes before."""
        same = ("dtype", "device", "device_map", "revision", "adapter", "trust_remote_code", "chat_template")
        bits = {f"load_in_{bits}": self.quantize == bits for bits in ("8bit", "4bit")}
        chosen = {name: value for name, value in given.items() if value is not None}
        return {**{name: getattr(self, name) for name in same}, **bits, **chosen}

    def loading_again(self, model: str | None = None, **given: str | bool | None) -> dict[str, Any]:
        """As `loading`, for the model of a finished run, which may be somebody else's: that it trusted says nothing.

        Args:
            model: where the model is now, which has no revision of its own; None = where it was.
            given: what is asked for now; a device goes before a spread over several.
        """
        found = self.loading(**{"trust_remote_code": False, **given})
        if given.get("device") is not None:
            found["device_map"] = None
        if model is not None:
            found["revision"] = None
        return found

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Validate; a wrong value gives one line.

        Raises:
            UsageError: names the option, the value and what is accepted.
        """
        # whole numbers of any integer type, as arrays give them
        values = {name: value if (number := whole(value)) is None else number for name, value in values.items()}
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                raise UsageError(unknown("option", name, cls.model_fields)) from None
            accepted = cls.model_fields[name].description
            line = f"{name}={values.get(name)!r:.200}: {first['msg'].lower()}"
            raise UsageError(f"{line}; accepted: {accepted}" if accepted else line) from None
