"""The command `bench`: a paper's tables and figures on any model."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    parsed_map,
    print_json,
    quiet_libraries,
    task_data,
)

if TYPE_CHECKING:
    from neuron_antagonism.suites.bench import BenchResult
    from neuron_antagonism.suites.spec import Suite


def bench(
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="A suite's name, or a YAML file that states one. Left out: lists them."),
    ] = None,
    model: Model = "demo",
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="A task, or a file like task.yaml, instead of the suite's; repeatable."),
    ] = None,
    data: Data = None,
    text: Annotated[
        Path | None,
        typer.Option(help="Plain text for perplexity, a text on each line. Default: the examples' own texts."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The results' directory. Default: runs/<suite>-<date>-<time>.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the suite's spec, to start a file of your own from.")
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
    """Measure a suite: a paper's tables and figures, on any model."""
    from neuron_antagonism.suites.spec import find_suite, shipped, suite_file

    if suite is None:
        _list(list(shipped()), json)
        return
    spec = find_suite(suite)
    if show:
        print_json(spec.model_dump(mode="json")) if json else print(suite_file(suite).read_text("utf-8"), end="")
        return
    sources = task_data(data or [])
    start = time.monotonic()
    # torch and TransformerLens take seconds to import: only once the arguments can be right
    if not quiet and sys.stderr.isatty():
        note("loading …")
    from neuron_antagonism.cli.progress import reporter
    from neuron_antagonism.files import expanded
    from neuron_antagonism.runs.config import RunConfig
    from neuron_antagonism.runs.lock import claimed
    from neuron_antagonism.suites.bench import plan_bench, run_bench

    quiet_libraries()
    loading = RunConfig.of(
        model=model,
        dtype=dtype,
        device=device,
        device_map=parsed_map(device_map),
        quantize=quantize,
        revision=revision,
        adapter=adapter,
        trust_remote_code=trust_remote_code,
        chat_template=chat_template,
    ).loading()
    directory = expanded(out or Path("runs") / f"{spec.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    with claimed(directory), reporter(quiet) as progress:
        ready = plan_bench(
            spec, model, tasks=task or (), data=sources, text=text, seed=seed, loading=loading, progress=progress
        )
        try:
            result = run_bench(ready, directory)
        except KeyboardInterrupt:
            note(f"interrupted; the parts that were finished are in {directory}")
            raise typer.Exit(130) from None
    if json:
        print_json({"path": str(directory), "manifest": result.manifest, **result.to_json()})
    else:
        _print(spec, result, time.monotonic() - start)


def _list(suites: list[Suite], json: bool) -> None:
    if json:
        print_json([{"name": suite.name, "about": suite.about} for suite in suites])
        return
    for suite in suites:
        print(f"{suite.name:16}{suite.about}")
    print("\nneuron-antagonism bench --suite NAME measures one; --show prints its spec.")


def _print(suite: Suite, result: BenchResult, seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    from neuron_antagonism.report.run_table import WIDTH
    from neuron_antagonism.suites.tables import tables

    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for task, classes in result.left_out.items():
        if classes:
            shown = ", ".join(f"{name} ({count})" for name, count in classes.items())
            console.print(Text(f"{task}: too few questions answered rightly to learn a range from: {shown}"))
    for line in result.notes:
        console.print(Text(line))
    for table in tables(suite, result):
        console.print(table)
    console.print(Text(f"{result.path} holds every figure with its interval ({seconds:.0f} s)"))
