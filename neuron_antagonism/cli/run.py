"""The command `run`: from a task's examples to a table of RAC and RCC."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuron_antagonism.cli import panels
from neuron_antagonism.cli.common import (
    BackendOption,
    Cache,
    Data,
    Debug,
    DryRun,
    Json,
    Quiet,
    Report,
    Workers,
    pairs,
    print_json,
    quiet_libraries,
    task_data,
)
from neuron_antagonism.cli.interrupt import Terminated, interruptible
from neuron_antagonism.cli.options import LOADING, takes
from neuron_antagonism.cli.report import report_at
from neuron_antagonism.errors import AntagonismError, UsageError
from neuron_antagonism.files import expanded
from neuron_antagonism.progress import note

if TYPE_CHECKING:
    from neuron_antagonism.runs.config import RunConfig
    from neuron_antagonism.suites.cost import Estimate
    from neuron_antagonism.suites.plan import Plan
    from neuron_antagonism.suites.result import RunResult


@takes(
    *("scorers", "budget", "steps", "quadrature", "site", "positions", "strengthen", "weaken", "model", "reference"),
    *LOADING,
    *("tasks", "form", "shots", "seed", "identify", "select", "evaluate", "engine", "max_tokens"),
    tasks="A task, or a file like task.yaml; repeatable. Default: the four shipped.",
)
def run(
    asked: dict[str, Any],
    config: Annotated[
        Path | None,
        panels.measured(help="A run file (YAML, TOML, JSON) or an earlier manifest; options given go before."),
    ] = None,
    neurons: Annotated[
        Path | None,
        panels.measured(
            help="Evaluate a file of good and bad neurons, such as a run's neurons.csv, without attribution."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        panels.measured("-o", "--option", metavar="NAME.OPTION=VALUE", help="A plugin's option; repeatable."),
    ] = None,
    protocols: Annotated[
        list[str] | None,
        panels.measured("--protocols", help="held-out; also paper, matched, or all: every ratio is evaluated then."),
    ] = None,
    data: Data = None,
    full: Annotated[bool, panels.data("--full", help="The paper's sizes: 5, 50 and 100 examples.")] = False,
    unstratified: Annotated[
        bool, panels.data("--unstratified", help="Examples as they come, not half of them understood.")
    ] = False,
    out: Annotated[Path | None, panels.place(help="The run's directory. Default: runs/<date>-<time>.")] = None,
    resume: Annotated[bool, panels.place("--resume", help="Complete the run in --out, with its options.")] = False,
    cache: Cache = None,
    backend: BackendOption = "serial",
    workers: Workers = 1,
    dry_run: DryRun = False,
    report: Report = True,
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
    asked |= {"options": _options(option or []), "data": task_data(data or [])}
    asked |= {"stratified": False} if unstratified else {}
    asked |= {"protocols": _protocols(protocols)} if protocols else {}
    chosen = _config(asked, config=config, neurons=neurons, full=full, out=out, resume=resume)
    from neuron_antagonism.suites.plan import make_plan

    start = time.monotonic()
    directory = out or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    quiet_libraries()
    plan = make_plan(chosen)
    if dry_run:
        _dry_run(plan, directory, cache, json=json, quiet=quiet)
        return
    from neuron_antagonism.report.progress import reporter
    from neuron_antagonism.suites.result import finished
    from neuron_antagonism.suites.run import carry

    there = finished(directory, plan.key)
    # torch and TransformerLens take seconds to import
    if there is None and not quiet and sys.stderr.isatty():
        note("loading …")
    other = _changed(chosen, directory)
    if there is None and other:
        note(f"{directory} was run with other {', '.join(other)}: its tables are replaced, what still fits is used")
    with reporter(quiet) as progress, interruptible():
        try:
            result = there or carry(plan, directory, cache=cache, backend=backend, workers=workers, progress=progress)
        except KeyboardInterrupt as interrupt:
            note(f"interrupted; what was finished is kept: the same command with --out {directory} goes on from there")
            raise typer.Exit(143 if isinstance(interrupt, Terminated) else 130) from None
    page = report_at(directory, plan.key) if report else None
    if json:
        print_json({"path": str(directory), "manifest": result.manifest, "results": result.results})
    else:
        _print_result(result, None if there is not None else time.monotonic() - start, page)


def _config(
    asked: dict[str, Any], *, config: Path | None, neurons: Path | None, full: bool, out: Path | None, resume: bool
) -> RunConfig:
    """The run's options: those of the command line, then those of a run file, then the defaults."""
    from neuron_antagonism.runs.config import FULL, RunConfig
    from neuron_antagonism.runs.runfile import check_resumable, merged, read_run_file, resumed, stored_options

    earlier: dict[str, Any] = {}
    if resume:
        assert out is not None
        named = neurons is not None or bool(asked.keys() & {"model", "tasks", "scorers"})
        check_resumable(out, asked=config is not None or named)
        earlier = stored_options(out)
    file = earlier if config is None else read_run_file(config)
    if neurons is not None:
        # a scorer like any other, beside the baseline that needs no attribution either
        asked["options"].setdefault("neurons", {})["file"] = str(neurons)
        beside = asked.get("scorers") or file.get("scorers") or ["random"]
        asked["scorers"] = (*(name for name in beside if name != "neurons"), "neurons")
    join = resumed if config is None else merged
    return RunConfig.of(**join(file, {**(FULL if full else {}), **asked}))


def _options(given: list[str]) -> dict[str, dict[str, Any]]:
    """Options by plugin, from `NAME.OPTION=VALUE` arguments."""
    options: dict[str, dict[str, Any]] = {}
    for name, value in pairs(given, "-o", "NAME.OPTION=VALUE"):
        plugin, dot, field = name.partition(".")
        if not dot:
            raise UsageError(f"-o {name!r} names no option; accepted: NAME.OPTION=VALUE, such as ace.z=2000")
        options.setdefault(plugin, {})[field] = _value(value)
    return options


def _changed(asked: RunConfig, out: Path) -> list[str]:
    """The options that differ from those of the run in a directory."""
    from neuron_antagonism.runs.config import RunConfig
    from neuron_antagonism.runs.runfile import stored_options

    try:
        stored = stored_options(out)
    except AntagonismError:
        # whatever is there, it is no run of this version: nothing of it is replaced but tables
        return []
    before = RunConfig.of(**stored) if stored else asked
    return [name for name in RunConfig.model_fields if getattr(asked, name) != getattr(before, name)]


def _value(text: str) -> Any:
    """Numbers, booleans and null as JSON writes them; anything else is text."""
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _protocols(asked: list[str]) -> tuple[str, ...]:
    """All of them for "all", and always the one that is shown."""
    every = ("paper", "matched", "held-out")
    chosen = every if "all" in asked else (*(name for name in every if name in asked), *set(asked) - set(every))
    return chosen if "held-out" in chosen else (*chosen, "held-out")


def _dry_run(plan: Plan, directory: Path, cache: Path | None, *, json: bool, quiet: bool) -> None:
    """Three prompts, the sizes, what is there and what the rest will cost; nothing is written."""
    if not quiet and sys.stderr.isatty():
        note("loading …")
    from neuron_antagonism.report.progress import reporter
    from neuron_antagonism.suites.cost import Estimate
    from neuron_antagonism.tasks.qatt import N_PROXIES

    with reporter(quiet) as progress:
        estimate = Estimate(plan, directory, cache, progress)
        cost = estimate.cost()
    # one a task; of fewer than three tasks further wordings of the same example
    prompts = [
        {"task": job.name, "prompt": estimate.split(job).identify[0].proxies[wording].prompt}
        for wording in range(N_PROXIES)
        for job in plan.jobs
    ]
    cost = {"prompts": prompts[:3], **cost}
    print_json(cost) if json else _print_dry(estimate, cost)


def _print_dry(estimate: Estimate, cost: dict[str, Any]) -> None:
    for number, shown in enumerate(cost["prompts"], start=1):
        print(f"--- prompt {number} ({shown['task']}) ---\n{shown['prompt']}")
    print("--- cost ---")
    print(f"model      {estimate.plan.jobs[0].model.name}")
    print(f"engine     {estimate.engine['name']} ({estimate.engine['reason']})")
    for job in estimate.plan.jobs:
        split = estimate.split(job)
        sizes = f"identify {len(split.identify)}, select {len(split.select)}, evaluate {len(split.evaluate)} examples"
        print(f"{job.name:10s} {sizes}")
        for line in split.report.notes:
            print(f"{'':10s} {line}")
    there = ", ".join(f"{count} of {kind}" for kind, count in cost["there"].items())
    print(f"there      {there or 'nothing yet'}")
    print(f"gradients  {cost['gradient_questions']} questions")
    print(f"edits      {cost['edited_answers']:,} answers from cached prefixes")
    print(f"full       {cost['full_passes']:,} full forward passes")
    print(f"estimate   about {cost['seconds']:.0f} s on this machine")


def _print_result(result: RunResult, seconds: float | None, page: Path | None) -> None:
    from rich.console import Console

    from neuron_antagonism.cli.streams import is_unicode
    from neuron_antagonism.report.answer import lines
    from neuron_antagonism.report.run_notes import notes
    from neuron_antagonism.report.run_table import WIDTH, layer_lines

    # in a pipe rich assumes 80 columns, which would cut the figures
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for line in lines(result.results):
        print(line)
    print()
    console.print(result.table)
    first = next(iter(result.results["tasks"].values()))["attribution"]
    scorer = next(iter(first))
    print(f"Neurons of {scorer} by layer (0 first)")
    for line in layer_lines(result.results, scorer, bars=is_unicode(sys.stdout.encoding)):
        print(f"  {line}")
    for line in notes(result.results):
        print(line)
    print(f"written to {result.path} in {seconds:.0f} s" if seconds is not None else f"read from {result.path}")
    if page is not None:
        print(f"report: {page}")
