"""The command `neuron-antagonism`. Only this package is imported for `--help`: no torch, no plugin."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from neuron_antagonism.allocator import keep_memory
from neuron_antagonism.cli import (
    bench,
    doctor,
    export,
    generate,
    neuron,
    new,
    plugins,
    push,
    report,
    run,
    streams,
    tasks,
)
from neuron_antagonism.errors import AntagonismError
from neuron_antagonism.plugin import chosen, folder

HELP = ["-h", "--help"]

app = typer.Typer(
    name="neuron-antagonism",
    help="Find the neurons that help and hinder a language model at a task, edit them, and prove the effect.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP},
)
app.command("run")(run.run)
app.command("bench")(bench.bench)
app.command("report")(report.report)
app.command("tasks")(tasks.tasks)
app.command("plugins")(plugins.plugins)
app.command("generate")(generate.generate)
app.add_typer(neuron.neuron)
app.command("new")(new.new)
app.command("doctor")(doctor.doctor)
app.command("export")(export.export)
app.command("push")(push.push)


def _version(value: bool) -> None:
    if value:
        from neuron_antagonism import __version__

        print(__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _common(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    only_plugins: Annotated[
        str | None,
        typer.Option(metavar="DIST[,DIST...]", help="Load the shipped plugins and those of these distributions alone."),
    ] = None,
    no_plugins: Annotated[bool, typer.Option("--no-plugins", help="Load the shipped plugins alone.")] = False,
    plugins_from: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Load the plugins of a directory that is not installed too; repeatable."),
    ] = None,
) -> None:
    """Find the neurons that help and hinder a language model at a task, edit them, and prove the effect."""
    asked = chosen.asked_for(only_plugins, no_plugins)
    if asked is not None:
        # in the environment, so that processes that a command starts load the same
        os.environ[chosen.VARIABLE] = asked
    if plugins_from:
        os.environ[folder.VARIABLE] = folder.listed(plugins_from)
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def _asked(words: list[str]) -> Callable[..., Any]:
    """The program; where only a command's help is asked for, that command alone.

    On the way to a command typer reads the program's own options, for which it imports pydantic: half of the time that
    a page of help takes.
    """
    name = words[0] if words else ""
    if not set(HELP) & set(words[1:]):
        return app
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    if name not in commands:
        return app
    alone: Callable[..., Any] = commands[name].main
    return partial(alone, args=words[1:], prog_name=f"{app.info.name} {name}", help_option_names=HELP)


def main() -> None:
    """Run the command line: one line on stderr for a deliberate error; a traceback only with `--debug`.

    Exit codes: 0 done, 1 a run that failed under way, 2 something asked for is wrong, 130 interrupted.
    """
    # libraries below draw bars and print warnings of their own; this program reports progress itself
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "OMP_WAIT_POLICY" not in os.environ:
        # idle threads that spin for each other make small models up to thirty times slower on a busy machine; for some
        # microseconds they may, for to wake them takes longer: a sixth of a small model's time on a quiet one
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    keep_memory()
    streams.settle()
    try:
        # not standalone: a wrong flag then gets one line too, in place of a box
        words = set(sys.argv[1:])
        with streams.for_one_document("--json" in words and not words & set(HELP)):
            code = _asked(sys.argv[1:])(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except BrokenPipeError:
        # whoever read the output has enough, as `head` does
        streams.abandon()
        sys.exit(141)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        # the rest is what nobody foresaw: a full disk, no memory left, a plugin's or our own mistake
        code, line = 1, f"{type(error).__name__}: {error}; --debug shows where"
        if isinstance(error, AntagonismError):
            code, line = error.exit_code, str(error)
        elif hasattr(error, "format_message"):
            # typer carries its own copy of click and does not export the class of its usage errors
            code, line = 2, error.format_message()
        elif isinstance(error, OSError) and error.strerror:
            line = f"can't read or write {error.filename or 'the output'}: {error.strerror}"
            if error.filename is None:
                streams.abandon()
        print("error:", " ".join(line.split()), file=sys.stderr)
        sys.exit(code)
