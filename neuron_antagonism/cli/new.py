"""The command `new`: the skeleton of a plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuron_antagonism.cli.common import Debug, Json, Quiet, print_json
from neuron_antagonism.errors import UsageError
from neuron_antagonism.files import expanded


def new(
    kind: Annotated[str, typer.Argument(help="scorer, task or intervention.")],
    name: Annotated[str, typer.Argument(help="What the plugin will be called.")],
    out: Annotated[Path | None, typer.Option(help="The directory to make. Default: neuron-antagonism-NAME.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write an installable distribution with a working plugin and its tests, to change into your own."""
    from neuron_antagonism.plugin.manager import registry
    from neuron_antagonism.scaffold import scaffold

    taken = next((entry for entry in registry() if entry.name == name), None)
    if taken is not None:
        # installed, both would be refused, and with them every run that uses the name
        raise UsageError(f"{name!r} is a {taken.kind} of {taken.distribution} already; accepted: another name")

    directory = expanded(out or f"neuron-antagonism-{name}")
    written = scaffold(kind, name, directory)
    if json:
        print_json({"directory": str(directory), "files": [str(file) for file in written]})
        return
    for file in written:
        print(file)
    print(f"\nnext: cd {directory} && pip install -e '.[test]' && pytest && neuron-antagonism plugins {name}")
