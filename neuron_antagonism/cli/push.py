"""The command `push`: an export, neurons or a run's results to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuron_antagonism.cli.common import Debug, Json, Quiet, print_json, quiet_libraries


def push(
    result: Annotated[Path, typer.Argument(help="What export or run wrote, or a file of neurons.")],
    repo: Annotated[str, typer.Option(metavar="USER/NAME", help="The repository; made where it is missing.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the folder, and send nothing.")] = False,
    out: Annotated[Path | None, typer.Option(help="Keep the folder there. Default of --dry-run: NAME.")] = None,
    private: Annotated[bool, typer.Option("--private", help="A repository that is made is private.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Push an adapter, a checkpoint, neurons or a run's results to the Hugging Face Hub, with a model card."""
    from neuron_antagonism.exports.push import push as send

    quiet_libraries()
    done = send(result, repo=repo, dry_run=dry_run, out=out, private=private)
    if json:
        print_json(done.to_json())
        return
    for name, size in done.files.items():
        print(f"  {name}  {size:,} bytes")
    if done.path is not None:
        print(f"written to {done.path}")
    print(f"pushed to {done.url}" if done.url else "nothing was sent: --dry-run")
