"""The command `generate`: a prompt's continuation before and after an edit, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from neuron_antagonism.cli.common import Debug, Json, Quiet, print_json, quiet_libraries
from neuron_antagonism.cli.options import takes
from neuron_antagonism.errors import UsageError
from neuron_antagonism.progress import note


@takes("dtype", "device", "trust_remote_code")
def generate(
    run: Annotated[Path, typer.Argument(help="A run's directory.")],
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    mode: Annotated[str, typer.Option(help="enhance or degrade.")],
    task: Annotated[str | None, typer.Option(help="Whose edit; left out where the run has one task.")] = None,
    scorer: Annotated[str | None, typer.Option(help="Whose edit; left out where the run has one scorer.")] = None,
    positions: Annotated[str | None, typer.Option(help="last or all. Default: the run's.")] = None,
    tokens: Annotated[int, typer.Option(help="New tokens at most.")] = 50,
    temperature: Annotated[float, typer.Option(help="0: the likeliest token; above: drawn.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    model: Annotated[str | None, typer.Option(help="Where the run's model is now. Default: where it was.")] = None,
    *,
    asked: dict[str, Any],
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Continue a prompt unedited and under a run's edit, side by side.

    An edit at `last` acts on the last position of every forward: on the prompt's last token and on each new one.
    """
    try:
        text = sys.stdin.buffer.read().decode() if prompt == "-" else prompt.encode().decode()
    except UnicodeError:
        raise UsageError("the prompt holds bytes that are not UTF-8; accepted: UTF-8 text") from None
    if not quiet:
        note("loading …")
    from neuron_antagonism.method.generate import generate as pieces
    from neuron_antagonism.model.load import load_model
    from neuron_antagonism.runs.config import RunConfig
    from neuron_antagonism.suites.choose import chosen_edit
    from neuron_antagonism.suites.result import load_run

    quiet_libraries()
    result = load_run(run)
    edit, names = chosen_edit(result, task, scorer, mode)
    if positions is not None:
        edit = edit.at(positions)
    config = RunConfig.of(**result.manifest["config"])
    hooked = load_model(config.model if model is None else model, **config.loading_again(model, **asked))
    how: dict[str, Any] = {"max_new_tokens": tokens, "temperature": temperature, "seed": seed}
    sides = (pieces(hooked, text, None, **how), pieces(hooked, text, edit, **how))
    if json:
        before, after = ("".join(side) for side in sides)
        print_json({"prompt": text, **names, "positions": edit.positions, **how, "before": before, "after": after})
        return
    title = f"{names['mode']}d: {names['scorer']} on {names['task']}, edit at {edit.positions}"
    _show(text, sides, ("unedited", title))


def _show(prompt: str, sides: tuple[object, ...], titles: tuple[str, str]) -> None:
    """Both continuations side by side, growing on a terminal, once whole in a pipe."""
    from itertools import zip_longest

    from rich.columns import Columns
    from rich.console import Console
    from rich.live import Live
    from rich.panel import Panel
    from rich.text import Text

    from neuron_antagonism.report.run_table import WIDTH

    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    texts = ["", ""]

    def view() -> Columns:
        width = console.width // 2 - 2
        panels = [Panel(Text(t), title=Text(title), width=width) for t, title in zip(texts, titles, strict=True)]
        return Columns(panels, equal=True)

    console.print(Text(prompt, style="dim"))
    # token by token in turn, so that both grow together
    with Live(view(), console=console, transient=False, auto_refresh=False) as live:
        for pair in zip_longest(*sides, fillvalue=""):  # type: ignore[call-overload]
            for i, piece in enumerate(pair):
                texts[i] += piece
            if console.is_terminal:
                live.update(view(), refresh=True)
        live.update(view(), refresh=True)
