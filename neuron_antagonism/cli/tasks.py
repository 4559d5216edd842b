"""The command `tasks`: which tasks there are, and what one's questions look like."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuron_antagonism.cli import panels
from neuron_antagonism.cli.common import Data, Debug, Json, Quiet, print_json, quiet_libraries, task_data
from neuron_antagonism.cli.options import LOADING, takes
from neuron_antagonism.errors import AntagonismError, PluginError, UsageError
from neuron_antagonism.progress import note

if TYPE_CHECKING:
    from neuron_antagonism.plugin.manager import Registered
    from neuron_antagonism.suites.forms import FormLevel
    from neuron_antagonism.tasks.load import LoadedTask
    from neuron_antagonism.tasks.preview import Preview


@takes(*LOADING, "form", "shots", "seed", form="Show this form alone. Default: each that the task suits.")
def tasks(
    *,
    name: Annotated[
        str | None, typer.Argument(help="Show this one, or the one that a file like task.yaml states.")
    ] = None,
    model: Annotated[
        str | None,
        panels.model(
            "--model", help="Ask it a few dozen questions too: 'demo', a directory, a GGUF file, or a Hub id."
        ),
    ] = None,
    asked: dict[str, Any],
    data: Data = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the tasks, or show what one's questions look like, what chance reaches, and what a model does."""
    loading = {field: asked[field] for field in LOADING if field in asked}
    form, shots, seed = asked.get("form"), asked.get("shots"), asked.get("seed", 0)
    _check_needed("a task's name", name, {"model": model, "data": data, "form": form, "shots": shots, **loading})
    _check_needed("--model", model, loading)
    if name is None:
        _list(json)
        return
    from neuron_antagonism.suites.plan import loaded_tasks
    from neuron_antagonism.tasks.preview import preview

    (task,) = loaded_tasks([name], task_data(data or []))
    # shots are of questions in words alone
    forms = (form,) if form else ("words",) if shots is not None else task.task.forms
    seen = {one: preview(task, one, shots=shots, seed=seed) for one in forms}
    levels: dict[str, FormLevel | str] = {}
    if model is not None:
        levels = _levels(task, forms, model, loading, shots=shots, seed=seed, quiet=quiet)
    if json:
        print_json(_described(task, seen, model, levels))
    else:
        _print(task, seen, model, levels)


def _check_needed(what: str, there: str | None, options: dict[str, Any]) -> None:
    """Raise UsageError for the first option that is given without what it is about."""
    given = [name for name, value in options.items() if value not in (None, False)]
    if given and there is None:
        raise UsageError(f"--{given[0].replace('_', '-')} was given without {what}; accepted: both, or neither")


def _levels(
    task: LoadedTask,
    forms: tuple[str, ...],
    model: str,
    loading: dict[str, Any],
    *,
    shots: int | None,
    seed: int,
    quiet: bool,
) -> dict[str, FormLevel | str]:
    """How a model answers in each form, or why it can't."""
    # torch and TransformerLens take seconds to import
    if not quiet and sys.stderr.isatty():
        note("loading …")
    from neuron_antagonism.model.load import load_model
    from neuron_antagonism.runs.config import RunConfig
    from neuron_antagonism.suites.forms import form_level

    quiet_libraries()
    config = RunConfig.of(model=model, **loading)
    hooked = load_model(config.model, **config.loading())
    levels: dict[str, FormLevel | str] = {}
    for form in forms:
        try:
            levels[form] = form_level(hooked, task, form, shots=shots, seed=seed)
        except AntagonismError as error:
            # a model that can't answer with letters may well answer in words
            levels[form] = str(error)
    return levels


def _list(json: bool) -> None:
    from neuron_antagonism.plugin.manager import registry

    rows = [_row(entry) for entry in registry() if entry.kind == "task"]
    if json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("Task", "What it asks", "Forms", box=None, pad_edge=False)
    table.add_column("Data", overflow="fold")
    for row in rows:
        table.add_row(row["name"], row["summary"], ", ".join(row["forms"]), row["data"])
    Console(highlight=False, markup=False).print(table)
    print("\nneuron-antagonism tasks NAME shows a task's questions; --model asks a model.")


def _row(entry: Registered) -> dict[str, Any]:
    """What the list says of a task; of its data nothing but an own sample is read, nothing from the network."""
    from neuron_antagonism.tasks.load import load_task

    thing: Any = entry.thing
    forms: tuple[str, ...] = thing.forms
    try:
        if thing.suffixes:
            data = f"a file that states it ({', '.join(thing.suffixes)})"
        else:
            # a task's own say goes before its class's
            task = load_task(entry.name)
            forms, data = task.task.forms, task.task.origin
            data = data or f"own sample, {sum(map(len, task.items()))} rows"
    except PluginError as error:
        data = f"broken: {error}"
    except AntagonismError:
        # what it has none of, or can't read here, is to be given
        data = f"--data {entry.name}=EVAL[,TRAIN]"
    summary = (inspect.getdoc(entry.cls) or "").split("\n")[0]
    return {
        "name": entry.name,
        "summary": summary,
        "forms": list(forms),
        "data": data,
        "distribution": entry.distribution,
    }


def _described(
    task: LoadedTask, seen: dict[str, Preview], model: str | None, levels: dict[str, FormLevel | str]
) -> dict[str, Any]:
    forms = []
    for form, one in seen.items():
        question, level = one.question, levels.get(form)
        answers: dict[str, Any] = {}
        if isinstance(level, str):
            answers = {"model": model, "not_asked": level}
        elif level is not None:
            answers = {"model": model, **vars(level), "above_chance": level.above_chance}
        forms.append(
            {
                "form": form,
                "prompt": question.prompt,
                "options": list(question.options),
                "letters": list(question.letters),
                "answer": question.answer,
                "shown": one.report.shown,
                "baselines": one.baselines,
                "chance": one.natural.chance,
                "notes": one.report.notes,
                **({"answers": answers} if answers else {}),
            }
        )
    first = next(iter(seen.values()))
    about = {"name": task.name, "summary": _summary(task), "reference": task.task.reference}
    return {**about, "data": _data(task), "rows": first.report.rows, "forms": forms}


def _summary(task: LoadedTask) -> str:
    # what a task file states is its own, not that of the class that reads it
    return "" if task.task.suffixes else (inspect.getdoc(type(task.task)) or "").split("\n")[0]


def _data(task: LoadedTask) -> str:
    given = ", ".join(one for one in (task.source, task.train) if one is not None)
    return given or task.task.origin or "own sample"


def _print(task: LoadedTask, seen: dict[str, Preview], model: str | None, levels: dict[str, FormLevel | str]) -> None:
    first = next(iter(seen.values()))
    about = {"task": task.name, "about": _summary(task), "reference": task.task.reference}
    for name, text in {**about, "data": f"{_data(task)}, {first.report.rows} rows"}.items():
        if text:
            print(f"{name:10s} {text}")
    for form, one in seen.items():
        question = one.question
        print(f"\n--- {'with letters' if form == 'letters' else 'in words'}: a whole prompt ---\n{question.prompt}")
        print("--- what is asked and answered ---")
        right = question.options[question.answer]
        print(f"right      {right if question.in_words else f'{question.letters[question.answer]}, {right}'}")
        print(f"options    {len(question.options)}: {', '.join(question.options)}")
        print(f"shown      {one.report.shown} answered before it")
        print(f"by chance  {one.natural.chance:.1%}, the best of:")
        print(f"{'':10s} {', '.join(f'{name} {level:.1%}' for name, level in one.baselines.items())}")
        for line in one.report.notes:
            print(f"note       {line}")
        level = levels.get(form)
        if level is not None:
            print(f"{'model':10s} {model}")
            print(f"{'':10s} {f'not asked: {level}' if isinstance(level, str) else level.line()}")
