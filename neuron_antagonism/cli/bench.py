"""The command `bench`: a paper's tables and figures on any model."""

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
    print_json,
    quiet_libraries,
    task_data,
)
from neuron_antagonism.cli.interrupt import Terminated, interruptible
from neuron_antagonism.cli.options import LOADING, takes
from neuron_antagonism.cli.report import report_at
from neuron_antagonism.errors import RunError
from neuron_antagonism.progress import note

if TYPE_CHECKING:
    from neuron_antagonism.progress import Progress
    from neuron_antagonism.suites.bench import BenchPlan, BenchResult
    from neuron_antagonism.suites.spec import Suite


@takes(*LOADING, "form", "shots")
def bench(
    *,
    suite: Annotated[
        list[str] | None,
        panels.measured(
            "--suite",
            help="A suite's name, a YAML file that states one (repeatable), or an earlier directory. Left out: lists.",
        ),
    ] = None,
    show: Annotated[
        bool, panels.measured("--show", help="Print the suite's spec, to start a file of your own from.")
    ] = False,
    model: Annotated[
        list[str] | None,
        panels.model(
            "--model", help="'demo' (embedded), a local directory, a GGUF file, or a Hub id; repeatable. Default: demo."
        ),
    ] = None,
    asked: dict[str, Any],
    task: Annotated[
        list[str] | None,
        panels.data("--task", help="A task, or a file like task.yaml, instead of the suite's; repeatable."),
    ] = None,
    data: Data = None,
    text: Annotated[
        Path | None,
        panels.data(help="Plain text for perplexity, a text on each line. Default: the examples' own texts."),
    ] = None,
    seed: Annotated[
        list[int] | None, panels.data("--seed", help="Seed of every draw; repeatable. Default: the suite's, or 0.")
    ] = None,
    out: Annotated[
        Path | None, panels.place(help="The results' directory. Default: runs/<suite>-<date>-<time>.")
    ] = None,
    cache: Cache = None,
    backend: BackendOption = "serial",
    workers: Workers = 1,
    dry_run: DryRun = False,
    report: Report = True,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure a suite: a paper's tables and figures, on any model."""
    from neuron_antagonism.suites.again import asked_in, names_manifest
    from neuron_antagonism.suites.spec import find_suite, joined, shipped, suite_file

    if not suite:
        _list(list(shipped()), json)
        return
    spec: Suite | str
    if len(suite) == 1 and names_manifest(suite[0]):
        spec, name = suite[0], asked_in(suite[0])[0].name
    else:
        spec = joined([find_suite(name) for name in suite])
        name = spec.name
    if show:
        if isinstance(spec, str):
            spec = asked_in(spec)[0]
            print_json(spec.model_dump(mode="json"))
            return
        shown = [] if json else [suite_file(name).read_text("utf-8") for name in suite]
        print_json(spec.model_dump(mode="json")) if json else print("".join(shown), end="")
        return
    sources = task_data(data or [])
    start = time.monotonic()
    from neuron_antagonism.files import expanded
    from neuron_antagonism.report.progress import reporter
    from neuron_antagonism.runs.config import RunConfig
    from neuron_antagonism.suites.bench import carry_bench, finished, plan_bench

    quiet_libraries()
    questions = {name: asked.pop(name, None) for name in ("form", "shots")}
    loading = RunConfig.of(**asked).loading()
    directory = expanded(out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    what: dict[str, Any] = {"tasks": task or (), "data": sources, "seed": seed or (), **questions}
    plan = plan_bench(spec, model or (), **what, text=text, loading=loading)
    there = None if dry_run else finished(directory, plan.key)
    # torch and TransformerLens take seconds to import
    if there is None and not quiet and sys.stderr.isatty():
        note("loading …")
    failure: RunError | None = None
    with reporter(quiet) as progress, interruptible():
        if dry_run:
            _dry_run(plan, directory, cache, json=json, progress=progress)
            return
        how: dict[str, Any] = {"cache": cache, "backend": backend, "workers": workers, "progress": progress}
        try:
            result = there or carry_bench(plan, directory, **how)
        except KeyboardInterrupt as interrupt:
            note(f"interrupted; what was finished is kept: the same command with --out {directory} goes on from there")
            raise typer.Exit(143 if isinstance(interrupt, Terminated) else 130) from None
        except RunError as error:
            if error.result is None:
                raise
            failure, result = error, error.result
    page = report_at(directory, plan.key) if report else None
    if json:
        print_json({"path": str(directory), "manifest": result.manifest, **result.to_json()})
    else:
        _print(result, None if there is not None else time.monotonic() - start, page)
    if failure is not None:
        raise failure


def _dry_run(plan: BenchPlan, out: Path, cache: Path | None, *, json: bool, progress: Progress | None) -> None:
    """What is there and what is missing of every part; nothing is written."""
    from neuron_antagonism.suites.cost import missing_of

    found = missing_of(plan, out, cache, progress)
    if json:
        print_json(found)
        return
    print(f"{'part':16}{'model':28}{'task':16}{'seed':>5}  {'there':>6}{'missing':>9}")
    for row in found["jobs"]:
        about = f"{row['part']:16}{row['model']:28.27}{row['task']:16}{row['seed']:5}"
        print(f"{about}  {row['failed']}" if "failed" in row else f"{about}  {row['there']:6}{row['missing']:9}")
    print(f"units there {found['there']}, missing {found['missing']} and what they lead to")


def _list(suites: list[Suite], json: bool) -> None:
    if json:
        print_json([{"name": suite.name, "about": suite.about} for suite in suites])
        return
    for suite in suites:
        print(f"{suite.name:16}{suite.about}")
    print("\nneuron-antagonism bench --suite NAME measures one; --show prints its spec.")


def _print(result: BenchResult, seconds: float | None, page: Path | None) -> None:
    from rich.console import Console
    from rich.text import Text

    from neuron_antagonism.report.run_table import WIDTH
    from neuron_antagonism.report.suite_tables import tables

    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for task, classes in result.left_out.items():
        if classes:
            shown = ", ".join(f"{name} ({count})" for name, count in classes.items())
            console.print(Text(f"{task}: too few questions answered rightly to learn a range from: {shown}"))
    for line in (*result.notes, *(f"{job}: failed: {reason}" for job, reason in result.failed.items())):
        console.print(Text(line))
    for table in tables(result.manifest["suite"], result.parts, result.manifest["models"]):
        console.print(table)
    took = "" if seconds is None else f" ({seconds:.0f} s)"
    console.print(Text(f"{result.path} holds every figure with its interval{took}"))
    if page is not None:
        console.print(Text(f"report: {page}"))
