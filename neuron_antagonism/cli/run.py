"""The command `run`: from a task's examples to a table of RAC and RCC."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuron_antagonism.cli.common import (
    Adapter,
    ChatTemplate,
    Data,
    Debug,
    Device,
    DeviceMap,
    Dtype,
    Json,
    Model,
    Quantize,
    Quiet,
    Revision,
    TrustRemoteCode,
    note,
    pairs,
    parsed_map,
    print_json,
    quiet_libraries,
    task_data,
)
from neuron_antagonism.errors import UsageError
from neuron_antagonism.files import expanded

if TYPE_CHECKING:
    from neuron_antagonism.runs.config import RunConfig
    from neuron_antagonism.runs.plan import Plan
    from neuron_antagonism.runs.store import RunResult


def run(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="A run file (YAML, TOML, JSON) or an earlier manifest; options given go before.")
    ] = None,
    model: Model = "demo",
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="A task, or a file like task.yaml; repeatable. Default: the four shipped."),
    ] = None,
    data: Data = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option("--scorer", help="A scorer; repeatable. Default: ace tn qrnca kn act random."),
    ] = None,
    neurons: Annotated[
        Path | None,
        typer.Option(help="Evaluate a file of good and bad neurons, such as a run's neurons.csv, without attribution."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", metavar="NAME.OPTION=VALUE", help="A plugin's option; repeatable."),
    ] = None,
    budget: Annotated[int, typer.Option(help="Neurons touched by an edit.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The run's directory. Default: runs/<date>-<time>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Complete the run in --out, with its options.")] = False,
    full: Annotated[bool, typer.Option("--full", help="The paper's sizes: 5, 50 and 100 examples.")] = False,
    identify: Annotated[int | None, typer.Option(help="Examples for attribution.")] = None,
    select: Annotated[int | None, typer.Option(help="Examples that choose the ratio.")] = None,
    evaluate: Annotated[int | None, typer.Option(help="Examples that are reported on.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="The model that half of the examples are understood by. Default: --model."),
    ] = None,
    unstratified: Annotated[
        bool, typer.Option("--unstratified", help="Examples as they come, not half of them understood.")
    ] = False,
    engine: Annotated[str, typer.Option(help="auto, replay, rows or reference.")] = "auto",
    max_tokens: Annotated[
        int | None, typer.Option(help="Tokens in one forward. Default: planned from the free memory.")
    ] = None,
    steps: Annotated[str, typer.Option(help="Steps of integrated gradients, or auto.")] = "16",
    quadrature: Annotated[str, typer.Option(help="right, midpoint or gauss-legendre.")] = "right",
    site: Annotated[str, typer.Option(help="post, up (FFN neurons) or resid_post (residual stream).")] = "post",
    positions: Annotated[str, typer.Option(help="Where edits act: last or all.")] = "last",
    strengthen: Annotated[str, typer.Option(help="Intervention on neurons that should act more.")] = "excite",
    weaken: Annotated[str, typer.Option(help="Intervention on neurons that should act less.")] = "silence",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show three prompts, the sizes and the cost; run nothing.")
    ] = False,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    quantize: Quantize = None,
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: TrustRemoteCode = False,
    chat_template: ChatTemplate = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find good and bad neurons, edit them, and measure the effect.

    With no arguments: the embedded demonstration model, its four tasks, ACE against five baselines.
    """
    if resume and out is None:
        raise UsageError("--resume needs --out; accepted: the directory of the run to complete")
    out = None if out is None else expanded(out)
    asked = _config({**ctx.params, "out": out}, {name for name in ctx.params if _was_given(ctx, name)})
    start = time.monotonic()
    # torch and TransformerLens take seconds to import: only once the arguments can be right
    if not quiet and sys.stderr.isatty():
        note("loading …")
    from neuron_antagonism.cli.progress import reporter
    from neuron_antagonism.runs.claim import claimed
    from neuron_antagonism.runs.plan import make_out, make_plan
    from neuron_antagonism.runs.run import execute
    from neuron_antagonism.runs.store import RunDirectory

    quiet_libraries()
    directory = RunDirectory(out or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))
    # a dry run writes nothing, beside whoever does
    claim = nullcontext() if dry_run else claimed(directory.path, resume=resume)
    with claim, reporter(quiet) as progress:
        plan = make_plan(asked, stored=directory.read_splits() if resume else None, progress=progress)
        if dry_run:
            cost = _cost(plan)
            print_json(cost) if json else _print_dry(plan, cost)
            return
        other = _changed(asked, directory.path) if resume else []
        if other:
            changed = ", ".join(other)
            note(f"{out} was run with other {changed}: what depends on them is computed anew, and replaced")
        make_out(directory.path)
        try:
            result = execute(plan, directory, progress)
        except KeyboardInterrupt:
            note(f"interrupted; what was finished is kept: --resume --out {directory.path} goes on from there")
            raise typer.Exit(130) from None
    if json:
        print_json({"path": str(directory.path), "manifest": result.manifest, "results": result.results})
    else:
        _print_result(result, time.monotonic() - start)


def _was_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _config(given: dict[str, Any], named: set[str]) -> RunConfig:
    """The run's options: those named on the command line, then those of a run file, then the defaults."""
    from neuron_antagonism.runs.config import FULL, SMALL, RunConfig
    from neuron_antagonism.runs.runfile import check_resumable, merged, read_run_file, resumed, stored_options

    if given["resume"]:
        check_resumable(given["out"], asked=bool(named & {"config", "model", "task", "scorer", "neurons"}))
    earlier = stored_options(given["out"]) if given["resume"] else {}
    file = read_run_file(given["config"]) if given["config"] is not None else earlier
    sizes = dict(FULL if given["full"] else SMALL)
    sizes |= {name: given[name] for name in SMALL if given[name] is not None}
    if not given["full"]:
        sizes = {name: size for name, size in sizes.items() if name not in file or name in named}
    data = task_data(given["data"] or [])
    options: dict[str, dict[str, Any]] = {}
    for name, value in pairs(given["option"] or [], "-o", "NAME.OPTION=VALUE"):
        plugin, dot, field = name.partition(".")
        if not dot:
            raise UsageError(f"-o {name!r} names no option; accepted: NAME.OPTION=VALUE, such as ace.z=2000")
        options.setdefault(plugin, {})[field] = _value(value)
    steps = given["steps"]
    chosen = {"tasks": given["task"], "scorers": given["scorer"]}
    if given["neurons"] is not None:
        # a scorer like any other, beside the baseline that needs no attribution either
        options.setdefault("neurons", {})["file"] = str(given["neurons"])
        beside = given["scorer"] or file.get("scorers") or ["random"]
        chosen["scorers"] = [*(name for name in beside if name != "neurons"), "neurons"]
    names = (
        *("model", "reference", "budget", "seed", "engine", "max_tokens", "steps", "quadrature", "site", "positions"),
        *("strengthen", "weaken", "dtype", "device", "device_map", "quantize", "revision", "adapter"),
        *("trust_remote_code", "chat_template"),
    )
    given["device_map"] = parsed_map(given["device_map"])
    given["steps"] = int(steps) if steps.removeprefix("-").isdecimal() else steps
    asked = {
        **{name: given[name] for name in names if name in named or name not in file},
        **sizes,
        **{name: tuple(value) for name, value in chosen.items() if value},
        "data": data,
        "options": options,
        **({"stratified": False} if given["unstratified"] else {}),
    }
    join = resumed if given["config"] is None else merged
    return RunConfig.of(**join(file, asked))


def _changed(asked: RunConfig, out: Path) -> list[str]:
    """The options that differ from those of the run in a directory."""
    from neuron_antagonism.runs.config import RunConfig
    from neuron_antagonism.runs.runfile import stored_options

    stored = stored_options(out)
    before = RunConfig.of(**stored) if stored else asked
    return [name for name in RunConfig.model_fields if getattr(asked, name) != getattr(before, name)]


def _value(text: str) -> Any:
    """Numbers, booleans and null as JSON writes them; anything else is text."""
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _cost(plan: Plan) -> dict[str, Any]:
    from neuron_antagonism.runs.cost import estimate
    from neuron_antagonism.tasks.qatt import N_PROXIES

    # one a task; of fewer than three tasks further wordings of the same example
    prompts = [
        {"task": task.name, "prompt": task.split.identify[0].proxies[wording].prompt}
        for wording in range(N_PROXIES)
        for task in plan.tasks
    ]
    return {"prompts": prompts[:3], **estimate(plan)}


def _print_dry(plan: Plan, cost: dict[str, Any]) -> None:
    for number, shown in enumerate(cost["prompts"], start=1):
        print(f"--- prompt {number} ({shown['task']}) ---\n{shown['prompt']}")
    print("--- cost ---")
    print(f"model      {plan.model!r}")
    print(f"engine     {plan.engine.name} ({plan.engine.reason})")
    for task in plan.tasks:
        split = task.split
        sizes = f"identify {len(split.identify)}, select {len(split.select)}, evaluate {len(split.evaluate)} examples"
        print(f"{task.name:10s} {sizes}")
        for line in split.report.notes:
            print(f"{'':10s} {line}")
    print(f"gradients  {cost['gradient_questions']} questions, {cost['gradient_passes']:,} layer-steps")
    print(f"edits      {cost['edits_per_task']} per task, {cost['edited_answers']:,} answers from cached prefixes")
    print(f"full       {cost['full_passes']:,} full forward passes")
    print(f"estimate   about {cost['seconds']:.0f} s on this machine")


def _print_result(result: RunResult, seconds: float) -> None:
    from rich.console import Console

    from neuron_antagonism.report.run_notes import notes
    from neuron_antagonism.report.run_table import WIDTH, layer_lines

    # in a pipe rich assumes 80 columns, which would cut the figures
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(result.table)
    first = next(iter(result.results["tasks"].values()))["attribution"]
    scorer = "ace" if "ace" in first else next(iter(first))
    print(f"Neurons of {scorer} by layer (0 first)")
    for line in layer_lines(result.results, scorer):
        print(f"  {line}")
    for line in notes(result.results):
        print(line)
    print(f"written to {result.path} in {seconds:.0f} s")
