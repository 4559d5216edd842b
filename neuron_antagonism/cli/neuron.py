"""The commands under `neuron`: what single neurons do."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuron_antagonism.cli.common import Debug, Json, Quiet, print_json, quiet_libraries
from neuron_antagonism.cli.options import takes
from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.progress import note

if TYPE_CHECKING:
    from neuron_antagonism.method.describe import Description, Standing

neuron = typer.Typer(name="neuron", help="What single neurons do.")


@neuron.callback(invoke_without_command=True)
def _group(ctx: typer.Context) -> None:
    """What single neurons do."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


@neuron.command("show")
@takes("dtype", "device", "trust_remote_code")
def show(
    which: Annotated[str, typer.Argument(metavar="L.N", help="Layer and neuron, such as 3.117.")],
    run: Annotated[Path | None, typer.Argument(help="A run, for its model, its questions and its scores.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Without a run: 'demo', a directory, a GGUF file, or a Hub id.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="A task; repeatable. Default: the run's, or the four shipped.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to list on each side.")] = 8,
    *,
    asked: dict[str, Any],
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show one neuron: scores and ranks, values by right answer, exact ablation effect, tokens it writes towards."""
    match = re.fullmatch(r"([0-9]{1,99})\.([0-9]{1,99})", which)
    if match is None:
        raise UsageError(f"{which!r} names no neuron; accepted: layer and neuron, such as 3.117")
    if run is not None and model is not None:
        raise UsageError(f"--model {model} was given beside a run, which has its own; accepted: one of them")
    if not quiet:
        note("loading …")
    from neuron_antagonism.method.describe import check_neuron, describe, standing
    from neuron_antagonism.model.load import load_model
    from neuron_antagonism.runs.config import DEFAULT_TASKS, RunConfig
    from neuron_antagonism.suites.result import load_run
    from neuron_antagonism.tasks.load import load_task

    quiet_libraries()
    layer, index = int(match[1]), int(match[2])
    result = load_run(run) if run is not None else None
    config = RunConfig.of(
        **(result.manifest["config"] if result is not None else {"model": "demo" if model is None else model})
    )
    hooked = load_model(config.model, **config.loading_again(**asked))
    check_neuron(layer, index, hooked.n_layers, hooked.n_neurons)
    if result is not None:
        for name in task or ():
            if name not in result.splits:
                raise UsageError(unknown("task of this run", name, result.splits))
        examples_of = {name: split.evaluate for name, split in result.splits.items() if not task or name in task}
    else:
        examples_of = {name: load_task(name).split(0, 0, 48, fits=hooked).evaluate for name in task or DEFAULT_TASKS}
    found: dict[str, Any] = {}
    for name, examples in examples_of.items():
        attributions = result.attributions[name] if result is not None else {}
        scores = {scorer: standing(a, layer, index) for scorer, a in attributions.items()}
        found[name] = (scores, describe(hooked, layer, index, examples, tokens=tokens))
    if json:
        tasks = {
            name: {"scores": {scorer: asdict(s) for scorer, s in scores.items()}, **asdict(description)}
            for name, (scores, description) in found.items()
        }
        print_json({"model": hooked.name, "layer": layer, "neuron": index, "tasks": tasks})
        return
    _print(which, hooked.name, found)


def _print(which: str, model: str, found: dict[str, tuple[dict[str, Standing], Description]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from neuron_antagonism.report.run_table import WIDTH

    # names of models and tasks, and tokens, may hold what rich would take for markup
    console = Console(width=WIDTH, markup=False, highlight=False)
    described = next(iter(found.values()))[1]
    console.print(f"neuron {which} of {model}")
    for title, tokens in (("writes towards", described.promoted), ("writes against", described.suppressed)):
        shown = ", ".join(f"{text!r} {logit:+.2f}" for text, logit in tokens)
        console.print(f"{title}: {shown}")
    if any(scores for scores, _ in found.values()):
        table = Table("Task", "Scorer", "Score", "Rank", box=None, title="Scores", title_justify="left")
        for task, (scores, _) in found.items():
            for scorer, s in scores.items():
                table.add_row(task, scorer, f"{s.score:+.3g}", f"{s.rank:,} of {s.neurons:,}")
        console.print(table)
    table = Table(
        "Task", "Right", "n", "Mean", "SD", "Min", "Max", "Effect on p(right)", box=None, title_justify="left"
    )
    table.title = "Values at the last position, and exact effect (p(right) - p(right, silenced))"
    for task, (_, description) in found.items():
        for v in description.values:
            numbers = (f"{number:+.3f}" for number in (v.mean, v.std, v.smallest, v.largest, v.effect))
            table.add_row(task, v.letter, str(v.questions), *numbers)
    console.print(table)
