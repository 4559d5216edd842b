"""Options of a run as arguments of commands; their types and defaults are those of `RunConfig`, stated nowhere else."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from neuron_antagonism.cli import panels
from neuron_antagonism.errors import UsageError
from neuron_antagonism.runs.config import RunConfig

Command = Callable[..., None]


@dataclass(frozen=True)
class Shown:
    """How the command line shows an option of a run.

    Args:
        panel: makes a `typer.Option` in its panel of the help.
        help: what it is.
        flag: its name there, where it differs.
        metavar: what stands for its value.
        read: makes the value from its text.
    """

    panel: Callable[..., Any]
    help: str
    flag: str | None = None
    metavar: str | None = None
    read: Callable[[Any], Any] | None = None


def _steps(text: str) -> int | str:
    # of more digits Python makes no number at all
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text


def _map(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'--device-map {text!r}: {error}; accepted: auto, … or JSON such as {{"": 0}}') from None


SHOWN = {
    "model": Shown(panels.model, "'demo' (embedded), a local directory, a GGUF file, or a Hub id."),
    "reference": Shown(panels.model, "The model that half of the examples are understood by. Default: --model."),
    "dtype": Shown(panels.model, "float32, float16, bfloat16 or float64."),
    "device": Shown(panels.model, "cpu, cuda, cuda:1, …"),
    "device_map": Shown(
        panels.model, "Spread the blocks over several devices: auto, balanced, … or JSON by module.", read=_map
    ),
    "quantize": Shown(panels.model, "Quantize the weights; needs bitsandbytes.", metavar="8bit|4bit"),
    "revision": Shown(panels.model, "Branch, tag or commit of a Hub id."),
    "adapter": Shown(panels.model, "A PEFT adapter (directory or Hub id) to merge into the model."),
    "trust_remote_code": Shown(panels.model, "Run the Python code that the checkpoint brings along."),
    "chat_template": Shown(panels.model, "Put prompts through the tokenizer's chat template."),
    "tasks": Shown(panels.data, "A task, or a file like task.yaml; repeatable.", flag="--task"),
    "seed": Shown(panels.data, "Seed of every draw."),
    "form": Shown(panels.data, "How questions are answered.", metavar="letters|words"),
    "shots": Shown(panels.data, "In words, answered examples of each class in a prompt. Default: as the task says."),
    "identify": Shown(panels.data, "Examples for attribution."),
    "select": Shown(panels.data, "Examples that choose the ratio."),
    "evaluate": Shown(panels.data, "Examples that are reported on."),
    "scorers": Shown(panels.measured, "A scorer; repeatable.", flag="--scorer"),
    "budget": Shown(panels.measured, "Neurons touched by an edit."),
    "steps": Shown(panels.measured, "Steps of integrated gradients, or auto.", read=_steps),
    "quadrature": Shown(panels.measured, "right, midpoint or gauss-legendre."),
    "site": Shown(panels.measured, "post, up (FFN neurons) or resid_post (residual stream)."),
    "positions": Shown(panels.measured, "Where edits act: last or all."),
    "strengthen": Shown(panels.measured, "Intervention on neurons that should act more."),
    "weaken": Shown(panels.measured, "Intervention on neurons that should act less."),
    "engine": Shown(panels.place, "auto, replay, rows or reference."),
    "max_tokens": Shown(panels.place, "Tokens in one forward. Default: planned from the free memory."),
}
"""By the name of the field in `RunConfig`."""

LOADING = (*("dtype", "device", "device_map", "quantize", "revision", "adapter", "trust_remote_code", "chat_template"),)
"""How a model is loaded."""


def takes(*names: str, **told: str) -> Callable[[Command], Command]:
    """Give a command options of a run; those that were given come in as one argument, `asked`, by their fields' names.

    Their place in the help is that of `asked`.

    Args:
        names: the fields, in the order of the help.
        told: by field, what this command's help says of it instead; of those that are not named too, at the end.
    """

    fields = tuple(dict.fromkeys((*names, *told)))

    def decorated(command: Command) -> Command:
        own = inspect.signature(command).parameters
        hints = get_type_hints(command, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for name, parameter in own.items():
            if name == "asked":
                parameters += [_parameter(field, told.get(field)) for field in fields]
            else:
                parameters.append(parameter.replace(annotation=hints[name], kind=parameter.KEYWORD_ONLY))

        @wraps(command)
        def called(**values: Any) -> None:
            asked = dict(_given({field: values.pop(field) for field in fields}))
            command(**values, asked=asked)

        signature: Any = called
        signature.__signature__ = inspect.Signature(parameters)
        signature.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorated


def _parameter(field: str, told: str | None) -> inspect.Parameter:
    shown, default = SHOWN[field], RunConfig.model_fields[field].default
    text, kind = told or shown.help, _kind(field)
    # a flag has no form that turns it off
    names = [flag_of(field)] if shown.flag or kind is bool else []
    value = " ".join(default) if isinstance(default, tuple) else default
    if value is not None and value is not False and "Default:" not in text:
        text = f"{text} Default: {value}."
    option = shown.panel(*names, help=text, metavar=shown.metavar)
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(field: str) -> Any:
    """What typer reads: whole numbers and truth values as such, several of them as a list, all else as text."""
    annotation = RunConfig.model_fields[field].annotation
    parts = {get_args(part)[0] if get_origin(part) is Annotated else part for part in get_args(annotation)}
    if get_origin(annotation) is tuple:
        return list[str]
    plain = (parts or {annotation}) - {type(None)}
    return bool if plain == {bool} else int if plain == {int} else str


def _given(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for field, value in values.items():
        read = SHOWN[field].read
        if value is not None and value != []:
            yield field, tuple(value) if isinstance(value, list) else read(value) if read else value


def flag_of(field: str) -> str:
    """The name of a field's option on the command line."""
    return SHOWN[field].flag or f"--{field.replace('_', '-')}"
