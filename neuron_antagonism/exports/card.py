"""The model card of what is pushed, written from what a run or an export states of itself."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import neuron_antagonism
from neuron_antagonism.exports.recipe import recipe
from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.runs.config import RunConfig

UNKNOWN = "not known"
RUN_FILE = "run.yaml"

TITLES = {
    "ia3": "(IA)³ adapter",
    "lora": "LoRA",
    "gguf": "LoRA for llama.cpp",
    "checkpoint": "Checkpoint",
    "neurons": "Neurons",
    "results": "Results",
}
"""What each kind is called."""


@dataclass(frozen=True)
class Base:
    """The model that something was made of.

    Args:
        name: for people; "" = not known.
        repo: its id on the Hub; None where it is from elsewhere.
        licence: of its weights; None = not known.
    """

    name: str = ""
    repo: str | None = None
    licence: str | None = None


def head(kind: str, base: Base) -> dict[str, Any]:
    """What stands in the card for machines."""
    adapter = kind in ("ia3", "lora", "gguf")
    library = {"ia3": "peft", "lora": "peft", "gguf": "gguf", "checkpoint": "transformers"}.get(kind)
    relation = {"base_model_relation": "adapter" if adapter else "finetune"} if library and base.repo else {}
    stated = {
        "license": base.licence,
        "library_name": library,
        "base_model": base.repo,
        "tags": ["neuron_antagonism", "interpretability", kind],
        **relation,
    }
    return {name: value for name, value in stated.items() if value is not None}


def card_of_edit(kind: str, repo: str, stated: Mapping[str, Any], base: Base) -> str:
    """The card of an exported edit, from its provenance (`exports.neurons.provenance`)."""
    edit, run = stated["edit"], stated.get("run")
    neurons = stated["neurons"]
    aim = f"{edit['mode']}s the task {run['task']}" if run and edit["mode"] else "edits a language model"
    lines = [
        f"# {TITLES[kind]} that {aim}",
        "",
        f"Base: {_base(base)}. {_what(neurons)} At {_positions(edit['positions'])}, site `{edit['site']}`.",
        "",
        "## What it does",
        "",
        *_effect(stated.get("effect")),
        *([] if stated.get("above_chance") is not False else [NO_VERDICT]),
        "",
        *_side_effects([stated["side_effects"]] if stated.get("side_effects") else []),
        "## Use",
        "",
        *_use(kind, repo, base, (stated["base"] or {}).get("loading")),
        "",
        *_made(run, kind, stated["version"]),
    ]
    return "\n".join(lines) + "\n"


def card_of_neurons(repo: str, neurons: Sequence[Mapping[str, Any]]) -> str:
    """The card of a set of neurons of which nothing more is known."""
    lines = ["# Neurons", "", _what(neurons), "", "## Use", "", *_use("neurons", repo, Base())]
    return "\n".join([*lines, "", f"Written by neuron_antagonism {neuron_antagonism.__version__}."]) + "\n"


def card_of_run(repo: str, manifest: Mapping[str, Any], results: Mapping[str, Any], base: Base) -> str:
    """The card of a run's results."""
    tasks = results["tasks"]
    lines = [
        f"# Neurons of {base.name} at {', '.join(tasks)}",
        "",
        f"Base: {_base(base)}. What editing good and bad FFN neurons of each scorer does; protocol `{SHOWN}`: the "
        "good:bad ratio was chosen on other examples.",
        "",
    ]
    for task, found in tasks.items():
        natural = found["natural"]
        lines += [
            f"## {task}",
            "",
            f"As examples come: accuracy {natural['acc']:.1%} {_interval(natural['acc_interval'], 100)}, by chance "
            f"{natural['chance_acc']:.1%}; {found['cells'][SHOWN][0]['examples']} examples evaluated.",
            *([] if natural["above_chance"] else ["", NO_VERDICT]),
            "",
            *_table(
                ("scorer", "mode", "neurons", "Acc", "RAC %", "RCC %"),
                (
                    (
                        cell["scorer"],
                        cell["mode"],
                        "drawn" if cell["draws"] else f"{cell['n_good']} good, {cell['n_bad']} bad",
                        f"{cell['acc_before']:.1%} → {cell['acc_after']:.1%}",
                        _change(cell, "rac"),
                        _change(cell, "rcc"),
                    )
                    for cell in found["cells"][SHOWN]
                ),
            ),
            *_side_effects(found["side_effects"]["rows"]),
        ]
    lines += [*_made({"config": manifest["config"]}, "", manifest["version"]), "", "Intervals: 95 %, over texts."]
    lines += ["`neurons.csv` holds the strongest neurons of every scorer, `results.json` every figure."]
    return "\n".join(lines) + "\n"


NO_VERDICT = "The model is not above chance at this task: no verdict on the edit is possible."


def run_file(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was asked for beside the defaults: a run file."""
    plain = RunConfig().model_dump(mode="json")
    return {name: value for name, value in config.items() if plain.get(name) != value}


def _base(base: Base) -> str:
    name = f"[{base.repo}](https://huggingface.co/{base.repo})" if base.repo else base.name or UNKNOWN
    return f"{name} (licence: {base.licence or UNKNOWN})"


def _positions(positions: str) -> str:
    return "all positions" if positions == "all" else f"the {positions} position"


def _what(neurons: Sequence[Mapping[str, Any]]) -> str:
    """What is edited in a sentence or two."""
    acts = Counter((row.get("role") or "", row.get("intervention") or "") for row in neurons)
    parts = []
    for (role, act), count in acts.items():
        done = f", by `{act}`" if act else ""
        parts.append(f"{count} {role} FFN neurons{done}".replace("  ", " "))
    layers = sorted({int(row["layer"]) for row in neurons})
    return f"{'; '.join(parts) or 'No neurons'}, in layers {', '.join(map(str, layers))}."


def _effect(effect: Mapping[str, Any] | None) -> list[str]:
    if effect is None:
        return ["Its effect was not measured in this form."]
    rows = [
        ("accuracy", f"{effect['acc_before']:.1%}", f"{effect['acc_after']:.1%}", _points(effect, "acc")),
        ("comprehension", f"{effect['com_before']:.1%}", f"{effect['com_after']:.1%}", _points(effect, "com")),
    ]
    return [
        f"Measured on {effect['examples']} examples ({effect['proxies']} questions) in this form; 95 % intervals:",
        "",
        *_table(("", "before", "after", "change in points"), rows),
        f"Relative, in %, + where the edit does what it is for: RAC {_change(effect, 'rac')}, "
        f"RCC {_change(effect, 'rcc')}.",
    ]


def _side_effects(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    shown = [
        (
            row["scorer"],
            row["mode"],
            f"{row['answers_changed']:.0%}",
            ", ".join(f"{task} {change:+.0f}" for task, change in row["other_tasks"].items()) or "–",
            f"{row['kl']:.3f}",
            f"× {row['perplexity_ratio']:.3g}",
        )
        for row in rows
    ]
    titles = ("scorer", "mode", "answers changed", "other tasks, points", "KL on text, nats", "perplexity")
    return ["Side effects of the run's edit (on text, at all positions):", "", *_table(titles, shown)]


def _use(kind: str, repo: str, base: Base, loading: Mapping[str, Any] | None = None) -> list[str]:
    if kind == "neurons":
        return ["```python", "import neuron_antagonism as na", "", f'neurons = na.NeuronSet.load("hub:{repo}")', "```"]
    if kind == "gguf":
        return ["```bash", "llama-cli -m BASE.gguf --lora adapter.gguf", "```"]
    return ["```python", *recipe(kind, base.repo or "BASE", repo, loading or {}), "```"]


def _made(run: Mapping[str, Any] | None, form: str, version: str) -> list[str]:
    """The commands, where it comes from a run."""
    if run is None:
        return [f"Made with neuron_antagonism {version}."]
    lines = [
        "## Command",
        "",
        f"With neuron_antagonism {version}, and the `{RUN_FILE}` that stands beside this card:",
        "",
    ]
    commands = [f"neuron-antagonism run --config {RUN_FILE} --out runs/x"]
    if form:
        which = " ".join(f"--{name} {shlex.quote(run[name])}" for name in ("task", "scorer", "mode"))
        form = "json" if form == "neurons" else form
        commands.append(f"neuron-antagonism export runs/x {which} --format {form} --out x")
    return [*lines, "```bash", *commands, "```"]


def _change(figures: Mapping[str, Any], name: str) -> str:
    value, interval = figures[name], figures[f"{name}_interval"]
    return "n/a" if value is None else f"{value:+.1f} {_interval(interval, 1)}"


def _points(effect: Mapping[str, Any], name: str) -> str:
    return f"{effect[f'{name}_difference']:+.1f} {_interval(effect[f'{name}_difference_interval'], 1)}"


def _interval(interval: Sequence[float] | None, by: float) -> str:
    return "" if interval is None else f"[{by * interval[0]:.0f}, {by * interval[1]:.0f}]"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [" | ".join(row) for row in (titles, ["---"] * len(titles), *rows)]
    return [*(f"| {line} |" for line in lines), ""]
