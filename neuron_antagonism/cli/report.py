"""The command `report`: what runs and suites found, as one page that opens from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuron_antagonism.cli.common import Debug, Json, print_json
from neuron_antagonism.errors import AntagonismError
from neuron_antagonism.progress import note


def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories that run or bench wrote.")],
    out: Annotated[
        Path | None, typer.Option(help="The page. Default: report.html in the directory; of several it must be named.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="A directory for the page's figures, each as PNG and SVG.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make one self-contained HTML page of what runs and suites found; several stand beside each other."""
    from neuron_antagonism.suites.pages import write_figures, write_report

    file = write_report(directories, out)
    drawn = [] if figures is None else write_figures(directories, figures)
    if json:
        print_json({"report": str(file), "bytes": file.stat().st_size, "figures": [str(one) for one in drawn]})
        return
    print(f"written to {file} ({file.stat().st_size / 1e6:.1f} MB)")
    if figures is not None:
        print(f"written to {figures}: {len(drawn)} files")


def report_at(directory: Path, key: str) -> Path | None:
    """The report of what a directory holds, made where it is not there yet; None, with a note, where that fails.

    A run that has succeeded does not fail for its report.
    """
    from neuron_antagonism.suites.pages import report_there, write_report

    there = report_there(directory, key)
    if there is not None:
        return there
    try:
        return write_report([directory])
    except AntagonismError as error:
        note(f"warning: no report: {error}")
        return None
