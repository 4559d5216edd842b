"""`na.export`: an edit, or a run's edit, as files that other programs load."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.exports import verify as verifying
from neuron_antagonism.exports.checkpoint import check_shard_size, write_checkpoint
from neuron_antagonism.exports.choose import Chosen, base_model, check_foldable, choose
from neuron_antagonism.exports.gguf import ADAPTER, write_gguf
from neuron_antagonism.exports.harness import write_task
from neuron_antagonism.exports.ia3 import write_ia3
from neuron_antagonism.exports.lora import ranks, write_lora
from neuron_antagonism.exports.neurons import PROVENANCE, provenance, write_csv, write_provenance
from neuron_antagonism.exports.place import check_free, placed, sizes
from neuron_antagonism.exports.recipe import base_name, loading_of
from neuron_antagonism.files import expanded
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.plain import is_whole
from neuron_antagonism.progress import Progress
from neuron_antagonism.suites.result import RunResult, load_run

LLAMA = "gguf"
WEIGHTS = (*verifying.ADAPTERS, "checkpoint", LLAMA)
HARNESS = "lm-eval"
FORMATS = (*WEIGHTS, "json", "csv", HARNESS)


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        path: the directory.
        format: "ia3", "lora", "gguf", "checkpoint", "json", "csv" or "lm-eval".
        files: bytes of each file, by its path inside the directory.
        edit: what was exported: of a run, the chosen edit at all positions; None for questions.
        difference: the largest difference between logits of the export, loaded in a fresh process, and of the live
            edit, as a share of the largest logit; None where that was not compared.
        unverified: why it was not compared and how to do it; empty where it was, and for neurons without weights.
        effect: what the edit was measured to do in this form (`Comparison.to_json`), or None where it was not.
        base: the model that it is for, as Hugging Face's loaders know it; empty where none was given.
        names: task, scorer and mode of a run's edit.
        ranks: of a LoRA by layer, before zeros fill it up for llama.cpp; None for other formats.
        loading: the options that the base was loaded with, beside its name; None where there was none.
        questions: of lm-eval: how many, the run's own accuracies on them, and the command that measures them.
    """

    path: Path
    format: str
    files: dict[str, int]
    edit: Edit | None
    difference: float | None = None
    unverified: str = ""
    effect: dict[str, Any] | None = None
    base: str = ""
    names: dict[str, str] | None = None
    ranks: dict[int, int] | None = None
    questions: dict[str, Any] | None = None
    loading: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        shown = {name: value for name, value in vars(self).items() if name not in ("edit", "names")}
        neurons = {} if self.edit is None else {"neurons": count(self.edit)}
        return {**shown, "path": str(self.path), **(self.names or {}), **neurons}


def count(edit: Edit) -> int:
    """How many neurons an edit touches."""
    return sum(len(part.neurons) for part in edit.parts)


def export(
    what: RunResult | Edit | str | Path,
    *,
    format: str,  # noqa: A002  # the name of the public contract
    out: str | Path,
    model: HookedModel | str | None = None,
    task: str | None = None,
    scorer: str | None = None,
    mode: str | None = None,
    verify: bool = True,
    max_shard_size: str | int = "5GB",
    device: str | None = None,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Export:
    """Write an edit into a new directory.

    Args:
        what: a run's result or directory, or an edit. A run's edit is exported as it is at all positions.
        format: "ia3" or "lora", a PEFT adapter; "gguf", llama.cpp's form of the second; "checkpoint", a whole model
            with its tokenizer; "json" or "csv", its neurons; "lm-eval", no edit but the questions that a run evaluated
            a task with.
        out: a new or empty directory; it appears whole or not at all.
        model: the model of an edit; of a run, where its own can't be loaded by name.
        task, scorer, mode: which of a run's edits; needed where it has several.
        verify: whether an adapter or checkpoint is loaded in a fresh process and compared with the live edit.
        max_shard_size: of a checkpoint's files.
        device: where a run's model is loaded.
        trust_remote_code: run the Python code that a run's model brings along, whatever the run itself was allowed.
        progress: called with what is being done, how much is done and how much there is.

    Raises:
        UsageError: an open choice, an edit that weights can't stand for, or a directory that can't be written.
        ExportError: the export failed or does not do what the live edit does; nothing of it is left.
    """
    if format not in FORMATS:
        raise UsageError(unknown("format", str(format), FORMATS))
    check_shard_size(max_shard_size)
    out = expanded(out)
    check_free(out)
    if format == HARNESS:
        choices = [name for name, value in (("scorer", scorer), ("mode", mode)) if value is not None]
        return _questions(what, out, task, choices, trust_remote_code)
    chosen = choose(what, task, scorer, mode)
    base: HookedModel | None = None
    if format in WEIGHTS:
        check_foldable(chosen.edit, format)
        base = base_model(chosen, model, device, trust_remote_code)
    elif model is not None:
        base = base_model(chosen, model, device, trust_remote_code)
    if base is not None:
        chosen.edit.check(base)
    stages = _Stages(progress, 2 if verify and format in (*verifying.ADAPTERS, "checkpoint") else 1)
    difference, unverified = None, ""
    with placed(out) as folder:
        _write(folder, chosen, base, format, max_shard_size)
        stages.done()
        if base is not None and format in WEIGHTS:
            unverified = _obstacle(out, base, format, verify)
            if not unverified:
                difference = verifying.verify(folder, base, chosen.edit)
                stages.done()
    source = base_name(base) if base is not None else ""
    loading = loading_of(base) if base is not None else None
    files = sizes(out)
    names = chosen.names or None
    by_layer = ranks(chosen.edit, base.n_neurons) if base is not None and format in ("lora", LLAMA) else None
    return Export(
        out, format, files, chosen.edit, difference, unverified, chosen.effect, source, names, by_layer, loading=loading
    )


def _questions(what: object, out: Path, task: str | None, choices: list[str], trust: bool) -> Export:
    if choices:
        raise UsageError(f"{', '.join(choices)}: choices among edits; accepted by {HARNESS}: none of them, and a task")
    result = load_run(what) if isinstance(what, str | Path) else what
    if not isinstance(result, RunResult):
        raise UsageError(f"{what!r:.80} holds no questions; accepted by {HARNESS}: a run's result or directory")
    with placed(out) as folder:
        found = write_task(folder, result, task, trust_remote_code=trust)
    names = {"task": found.pop("task")}
    return Export(out, HARNESS, sizes(out), None, names=names, questions=found)


def _write(folder: Path, chosen: Chosen, base: HookedModel | None, form: str, max_shard_size: str | int) -> None:
    if form == "csv":
        write_csv(folder, chosen.edit)
        return
    if base is not None and form == "ia3":
        write_ia3(folder, base, chosen.edit)
    elif base is not None and form == "lora":
        write_lora(folder, base, chosen.edit)
    elif base is not None and form == LLAMA:
        write_gguf(folder, base, chosen.edit)
    elif base is not None and form == "checkpoint":
        write_checkpoint(folder, base, chosen.edit, max_shard_size)
    name = PROVENANCE if form in WEIGHTS else "neurons.json"
    write_provenance(folder, name, provenance(chosen, base, form))


def _obstacle(out: Path, base: HookedModel, form: str, verify: bool) -> str:
    """Why an export is not verified, and how it can be; empty where it is going to be."""
    if form == LLAMA:
        return (
            "llama.cpp is not run here; the file was read back and holds the edit's change of the weights. On the base "
            f"in the same format: llama-cli -m BASE.gguf --lora {out / ADAPTER}"
        )
    command = f"python -m {verifying.__name__} {out}"
    if base.source is None:
        command += " --base (the model's directory)"
    if not verify:
        return f"not asked for; {command} does it"
    if form in verifying.ADAPTERS and base.source is None and not is_whole(base):
        return f"its base, quantized or spread in memory, can't be loaded again; {command} does it on another"
    if form in verifying.ADAPTERS and importlib.util.find_spec("peft") is None:
        return f"peft is not installed; pip install 'neuron-antagonism[export]', then {command}"
    return ""


class _Stages:
    """Reports finished stages."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.finished = progress, total, 0

    def done(self) -> None:
        self.finished += 1
        if self.progress is not None:
            self.progress("export", self.finished, self.total)
