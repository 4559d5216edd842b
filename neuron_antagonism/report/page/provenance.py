"""Where the figures of a page come from: the command, versions, seeds, hashes, proofs, timings, every warning."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from neuron_antagonism.report.page.sources import BenchSource, RunSource, Source
from neuron_antagonism.report.run_notes import notes


def facts(source: Source) -> dict[str, Any]:
    """What the section of provenance shows of one run or suite."""
    said = list(warnings(source))
    return {
        "name": source.name,
        "command": command(source),
        "pairs": list(_run_pairs(source) if isinstance(source, RunSource) else _bench_pairs(source)),
        "warnings": [line for line in said if line.startswith(("note:", "warning:"))],
        "legend": [line for line in said if not line.startswith(("note:", "warning:"))],
    }


def command(source: Source) -> str:
    """The command that does it again."""
    if isinstance(source, RunSource):
        return f"neuron-antagonism run --config {shlex.quote(f'{source.name}/manifest.json')} --out AGAIN"
    manifest = source.manifest
    words = ["neuron-antagonism", "bench", "--suite", manifest["suite"]["name"]]
    words += [word for model in manifest["models"] for word in ("--model", model["name"])]
    words += [word for task in manifest["data"] for word in ("--task", task)]
    words += [word for seed in manifest["seeds"] for word in ("--seed", str(seed))]
    return f"{shlex.join(words)} --out AGAIN"


def warnings(source: Source) -> Iterator[str]:
    """Every note and warning, a line each; of a run then what the columns of its tables mean."""
    if isinstance(source, RunSource):
        yield from notes(source.results)
        yield from (f"warning: {task} failed: {why}" for task, why in source.results.get("failed", {}).items())
        return
    yield from (f"note: {line}" for line in source.results["notes"])
    for job, classes in source.results["left_out"].items():
        if classes:
            shown = ", ".join(f"{name} ({count})" for name, count in classes.items())
            yield f"note: {job}: too few questions answered rightly to learn a range from: {shown}"
    yield from (f"warning: {job} failed: {why}" for job, why in source.results.get("failed", {}).items())


def proofs(source: Source) -> list[dict[str, Any]]:
    """What loading proved of each model, a row each."""
    models = [source.manifest["model"]] if isinstance(source, RunSource) else source.manifest["models"]
    return [
        {"model": model["name"], "proof": one["name"], "holds": "yes" if one["holds"] else "no"}
        | {"figure": one["figure"], "bound": one["bound"], "detail": one["detail"]}
        for model in models
        for one in (model.get("proofs") or {}).values()
    ]


def attributions(source: RunSource) -> list[dict[str, Any]]:
    """How each scorer's scores came about: engine, steps, and what its integrated gradients miss."""
    return [
        {
            "task": task,
            "scorer": scorer,
            "target": one["target"],
            "engine": one["engine"],
            "steps": one["steps"] or None,
        }
        | {"quadrature": one["quadrature"], "missed": one["completeness_error"]}
        | {"good": one["n_good"], "bad": one["n_bad"]}
        | {"dropped": None if one["filtered"] is None else one["filtered"]["count"]}
        for task, found in source.results["tasks"].items()
        for scorer, one in found["attribution"].items()
    ]


def timings(source: Source) -> list[dict[str, Any]]:
    """Seconds by what they were spent on."""
    return [{"what": what, "seconds": seconds} for what, seconds in source.manifest["timings"].items()]


def _software(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "neuron-antagonism", str(manifest["version"])
    yield "packages", ", ".join(f"{name} {version}" for name, version in manifest["packages"].items())
    yield "machine", ", ".join(f"{name} {value}" for name, value in manifest["machine"].items())


def _model_pairs(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = {name: model.get(name) for name in ("architecture", "layers", "neurons_per_layer", "dtype", "adapter")}
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in known.items() if value is not None)
    yield f"model {model['name']}", said
    if model.get("fingerprint"):
        yield "hash of its weights", str(model["fingerprint"])


def _data(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for task, one in data.items():
        hashes = [one["sha256"]] if isinstance(one["sha256"], str) else one["sha256"]
        yield f"data of {task}", f"{one['source'] or 'the embedded sample'}, sha256 {', '.join(hashes)}"


def _run_pairs(source: RunSource) -> Iterator[tuple[str, str]]:
    manifest, config = source.manifest, source.manifest["config"]
    yield from _model_pairs(manifest["model"])
    yield "seed", str(config["seed"])
    sizes = ", ".join(f"{config[name]} to {name}" for name in ("identify", "select", "evaluate"))
    yield "examples", f"{sizes}, {'half of them understood' if config['stratified'] else 'as they come'}"
    where = f"budget {config['budget']}, positions: {config['positions']}"
    yield "edits", f"{config['strengthen']} and {config['weaken']}, {where}"
    yield "engine", f"{manifest['engine']['name']}: {manifest['engine']['reason']}"
    yield "scorers", "; ".join(f"{name} {_options(options)}".strip() for name, options in manifest["scorers"].items())
    read = [
        f"{' '.join(map(str, one['letters']))} after {one['ending']!r}, written {one['form']!r}"
        for one in manifest["letters"]
    ]
    yield "answers are read as", "; ".join(dict.fromkeys(read))
    yield from _data(manifest["data"])
    yield "plugins", ", ".join(f"{name} ({dist})" for name, dist in manifest["plugins"].items())
    yield from _software(manifest)
    yield "key of the run", str(manifest["key"])


def _bench_pairs(source: BenchSource) -> Iterator[tuple[str, str]]:
    manifest = source.manifest
    yield "suite", f"{manifest['suite']['name']}: {manifest['suite']['about']}"
    for model in manifest["models"]:
        yield from _model_pairs(model)
    yield "seeds", ", ".join(map(str, manifest["seeds"]))
    yield from _data(manifest["data"])
    yield from _software(manifest)
    yield "key of the suite", str(manifest["key"])


def _options(options: Mapping[str, Any]) -> str:
    return f"({', '.join(f'{name}={value}' for name, value in options.items())})" if options else ""
