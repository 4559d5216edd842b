"""The command `export`: an edit of a run as files that other programs load."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuron_antagonism.cli.common import Debug, Json, Quiet, print_json, quiet_libraries
from neuron_antagonism.cli.options import takes
from neuron_antagonism.progress import note

if TYPE_CHECKING:
    from neuron_antagonism.exports.export import Export


@takes("device", "trust_remote_code")
def export(
    run: Annotated[Path, typer.Argument(help="A run's directory.")],
    form: Annotated[
        str,
        typer.Option(
            "--format", help="ia3, lora (PEFT), gguf (llama.cpp), checkpoint, json, csv; lm-eval (the questions)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new or empty directory.")],
    task: Annotated[str | None, typer.Option(help="Whose edit; needed where the run has several tasks.")] = None,
    scorer: Annotated[str | None, typer.Option(help="Whose neurons; needed where it has several scorers.")] = None,
    mode: Annotated[str | None, typer.Option(help="enhance or degrade.")] = None,
    model: Annotated[str | None, typer.Option(help="Where the run's model is now. Default: where it was.")] = None,
    *,
    asked: dict[str, Any],
    max_shard_size: Annotated[str, typer.Option(help="Of a checkpoint's files.")] = "5GB",
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Load it in a fresh process and compare it with the live edit.")
    ] = True,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a run's edit, at all positions, as an adapter, a checkpoint or a list of neurons; or its questions."""
    if not quiet and sys.stderr.isatty():
        note("loading …")
    from neuron_antagonism.exports.export import export as write
    from neuron_antagonism.report.progress import reporter

    quiet_libraries()
    with reporter(quiet) as progress:
        done = write(
            run,
            format=form,
            out=out,
            model=model,
            task=task,
            scorer=scorer,
            mode=mode,
            verify=verify,
            max_shard_size=max_shard_size,
            **asked,
            progress=progress,
        )
    if json:
        print_json(done.to_json())
    else:
        _print(done)


def _print(done: Export) -> None:
    edit, what = done.edit, f"{done.format} of {', '.join((done.names or {}).values())}: "
    if edit is not None:
        neurons = f"{edit.n_good or 0} good and {edit.n_bad or 0} bad neurons in {len(edit.layers)} layers"
        print(f"{what}{neurons}, at all positions")
    elif done.questions is not None:
        print(f"{what}{done.questions['questions']} questions of the evaluation set")
    width = max(map(len, done.files))
    for name, size in done.files.items():
        print(f"  {name:{width}s}  {_size(size):>10s}")
    if done.questions is not None:
        _print_questions(done.path, done.questions)
    if edit is not None:
        print(_effect(done.effect))
    if done.difference is not None:
        print(
            f"verified: loaded in a fresh process, its logits differ from the live edit's by {done.difference:.1e} of "
            "the largest"
        )
    elif done.unverified:
        print(f"NOT VERIFIED: {done.unverified}")
    if done.ranks:
        _print_ranks(done.ranks, done.format)
    if done.format in ("ia3", "lora", "checkpoint") and done.loading is not None:
        from neuron_antagonism.exports.recipe import recipe

        print("use:")
        for line in recipe(done.format, done.base, str(done.path), done.loading):
            print(f"  {line}")
        if done.format != "checkpoint":
            print(
                "  with model.disable_adapter(): ...  # the edit is off in here; model.merge_and_unload() folds it in"
            )
    print(f"written to {done.path}")


def _print_questions(path: Path, questions: dict[str, Any]) -> None:
    known = ", ".join(f"{edit} {acc:.1%}" for edit, acc in questions["accuracies"].items())
    print(f"accuracy that was measured here, edits at all positions: {known}")
    print("use:")
    print(f"  cd {path} && {questions['command']}")
    print("  # ,peft=ADAPTER at the end of the --model_args measures an exported adapter")


def _print_ranks(ranks: dict[int, int], form: str) -> None:
    from neuron_antagonism.exports.lora import limits

    print(f"rank {max(ranks.values())} at most, one a scaled column: {sum(ranks.values())} in all")
    for line in limits(ranks) if form == "lora" else ():
        print(f"  {line}")


def _effect(effect: dict[str, Any] | None) -> str:
    if effect is None:
        return "effect: not measured in this form (of scorers that draw, runs measure only the mean of the draws)"
    rac, rcc = ("n/a" if effect[name] is None else f"{effect[name]:+.1f} %" for name in ("rac", "rcc"))
    return (
        f"effect: Acc {effect['acc_before']:.1%} -> {effect['acc_after']:.1%}, RAC {rac}, RCC {rcc} "
        f"(measured at all positions on {effect['examples']} examples)"
    )


def _size(size: int) -> str:
    power = next((power for power in (3, 2, 1) if size >= 1000**power), 0)
    return f"{size / 1000**power:.1f} {('', 'kB', 'MB', 'GB')[power]}" if power else f"{size} bytes"
