"""Runs the notebooks and writes their outputs anew: `python tests/notebooks.py`."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from traitlets.config import Config

FOLDER = Path(__file__).parents[1] / "benchmarks" / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""Of a committed notebook: what does not change with the machine."""

BAR = re.compile(r"(\s|.*TqdmWarning: IProgress.*\n.*\n|\r?Loading weights: .*)*")


def executed(path: Path, where: Path) -> Any:
    """The notebook with the outputs of a fresh kernel that works in a directory.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(where)}}
    # files instead of ports, which any program of this machine could talk to; their paths must be short
    with tempfile.TemporaryDirectory() as sockets:
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        nbclient.NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources=resources, config=config
        ).execute()
    return notebook


def is_bar(output: Any) -> bool:
    """Whether an output is a library's progress, or its advice on how to show it."""
    return output.output_type == "stream" and output.name == "stderr" and bool(BAR.fullmatch(output.text))


def stripped(notebook: Any) -> Any:
    """Without times, bars, and whatever else differs from one run to the next."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = {}
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not is_bar(output)]
        for output in cell.get("outputs", ()):
            if "metadata" in output:
                output.metadata = {}
            if "data" in output and "text/html" in output.data:
                # pandas' own style sheet, in every table
                output.data["text/html"] = re.sub(r"<style.*?</style>\s*", "", output.data["text/html"], flags=re.S)
    return notebook


def main() -> None:
    """Write all of them."""
    for path in ALL:
        nbformat.write(stripped(executed(path, path.parent)), path)
        print(path.name, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
