"""Whether an export does what the live edit does: `python -m neuron_antagonism.exports.verify DIR`.

The export is loaded in a fresh process by the plain libraries that its users load it with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.documents import parsed_json
from neuron_antagonism.errors import AntagonismError, DataError, ExportError
from neuron_antagonism.exports.adapter import load_adapter
from neuron_antagonism.exports.checkpoint import write_checkpoint
from neuron_antagonism.exports.neurons import PROVENANCE
from neuron_antagonism.files import COMPUTED, read_text
from neuron_antagonism.model.load import load_model, load_pair
from neuron_antagonism.model.loading import checked_dtype

if TYPE_CHECKING:
    from neuron_antagonism.method.edits import Edit
    from neuron_antagonism.model.hooked import HookedModel

ADAPTERS = ("ia3", "lora")
"""Formats that are loaded on their base."""

N_TOKENS = 16
TEXT = "Which of these is right?\nA: one\nB: two 22\nAnswer: A"
"""Tokenised by both tokenizers of a checkpoint: they must agree."""


def verify(folder: Path, model: HookedModel, edit: Edit) -> float:
    """Load an export in a fresh process and compare its logits with the live edit's.

    Returns:
        The largest difference, as a share of the largest logit.

    Raises:
        ExportError: it can't be loaded, or differs by more than rounding does.
    """
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory(prefix=".verify-", dir=folder.parent) as scratch:
        ids = _ids(model)
        with torch.no_grad(), model.edited(edit):
            logits = model.checked(model.forward(ids)).cpu().contiguous()
        live = Path(scratch) / "live.safetensors"
        tokens = json.dumps(list(model.tokenizer(TEXT)["input_ids"]))
        meta = {"loading": json.dumps(_loading(model)), "tokens": tokens}
        save_file({"ids": ids.cpu(), "logits": logits}, live, metadata=meta)
        words = [str(folder), "--live", str(live)]
        if not (folder / "config.json").is_file():
            # an adapter is loaded on its base, which a pair given in memory has nowhere else
            base = model.source or scratch + "/base"
            if model.source is None:
                write_checkpoint(Path(base), model, None, "5GB")
            words += ["--base", base]
        found = _fresh(words)
    if not found["same"]:
        raise ExportError(
            f"the export does not do what the live edit does: logits differ by {found['difference']:.1e} of the "
            f"largest; accepted: up to {found['tolerance']:.0e}; nothing is left of it"
        )
    return float(found["difference"])


def _loading(model: HookedModel) -> dict[str, Any]:
    """How the fresh process loads what this one loaded."""
    asked = {"dtype": str(model.dtype).removeprefix("torch."), "device": str(model.device)}
    if model.source is None:
        return asked
    rest = ("device_map", "load_in_8bit", "load_in_4bit", "revision", "trust_remote_code")
    spread = {"device": None} if model.loading.device_map is not None else {}
    return {**asked, **{name: getattr(model.loading, name) for name in rest}, **spread}


def _ids(model: HookedModel) -> torch.Tensor:
    length = min(N_TOKENS, model.max_context or N_TOKENS)
    drawn = torch.randint(model.vocabulary, (2, length), generator=torch.Generator().manual_seed(0))
    return drawn.to(model.device)


def _fresh(words: list[str]) -> dict[str, Any]:
    # as many threads as here: sums then go the same way
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "OMP_WAIT_POLICY": "PASSIVE"}
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", __name__, *words],
        env={**os.environ, **quiet, **threads},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    if lines and lines[-1].startswith("{"):
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    reason = (done.stderr.splitlines() or [f"it ended with {done.returncode}"])[-1].removeprefix("error: ")
    raise ExportError(f"the export can't be loaded in a fresh process: {reason}; nothing is left of it")


def tolerance(dtype: torch.dtype, neurons: list[dict[str, Any]]) -> float:
    """The accepted difference: what rounding explains, as a share of the largest logit."""
    if dtype.itemsize >= 4:
        return 1e-4
    # powers of two scale exactly; anything else is rounded, once in a weight and once in a live value
    exact = all(n["scale"] == 0 or torch.frexp(torch.tensor(abs(float(n["scale"]))))[0] == 0.5 for n in neurons)
    return 1e-3 if exact else 4 * torch.finfo(dtype).eps


def compare(folder: Path, base: str | None, live: Path | None, *, trust: bool = False) -> dict[str, Any]:
    """In the fresh process: difference, tolerance, and whether it is within.

    Args:
        folder: the export.
        base: of an adapter; default: the one that it names.
        live: logits of the live edit; default: they are computed here, on the base.
        trust: whether Python code that the base brings along may be run, where it is loaded here.
    """
    stated = _provenance(folder)
    dtype = checked_dtype(stated["base"]["dtype"]) or torch.float32
    if live is not None:
        expected = _read(live)
    else:
        revision = stated["base"]["revision"] if base is None else None
        asked = {"dtype": dtype, "revision": revision, "trust_remote_code": trust}
        expected = _live(base or stated["base"]["name"], asked, stated["neurons"])
    loading = expected["loading"]
    if stated["format"] in ADAPTERS:
        model, _ = load_pair(base or stated["base"]["name"], **loading)
        model = load_adapter(model, folder)
        if stated["format"] == "lora" and dtype.itemsize < 4:
            # beside its base a LoRA's output is one more sum that half precision rounds; merged it is exact
            model = model.merge_and_unload()
    else:
        model, tokenizer = load_pair(str(folder), **{**loading, "revision": None})
        if list(tokenizer(TEXT)["input_ids"]) != expected["tokens"]:
            raise ExportError(
                "the tokenizer that was saved gives other tokens than the model's own; accepted: the same"
            )
    with torch.no_grad():
        logits = model.eval()(expected["ids"].to(model.device)).logits.cpu()
    gap = (logits.double() - expected["logits"].double()).abs().max() / expected["logits"].double().abs().max()
    accepted = tolerance(dtype, stated["neurons"])
    return {"difference": float(gap), "tolerance": accepted, "same": bool(gap <= accepted)}


def _provenance(folder: Path) -> dict[str, Any]:
    try:
        stated: dict[str, Any] = parsed_json(read_text(folder / PROVENANCE, "an export's", COMPUTED))
        if stated["format"] not in (*ADAPTERS, "checkpoint") or not stated["base"]["dtype"]:
            raise KeyError("format")
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} is no export: {PROVENANCE}: {error}; accepted: an exported adapter or checkpoint"
        ) from None
    return stated


def _read(live: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(live, framework="pt") as file:
        meta = file.metadata()
        tensors = {name: file.get_tensor(name) for name in ("ids", "logits")}
    return {**tensors, "loading": json.loads(meta["loading"]), "tokens": json.loads(meta["tokens"])}


def _live(base: str, loading: dict[str, Any], neurons: list[dict[str, Any]]) -> dict[str, Any]:
    model = load_model(base, **loading)
    factors = {row["layer"]: torch.ones(model.n_neurons, dtype=model.dtype) for row in neurons}
    for row in neurons:
        factors[row["layer"]][row["neuron"]] = row["scale"]
    ids = _ids(model)
    with torch.no_grad(), model.writing(sorted(factors), lambda values, i: values * factors[i].to(values.device)):
        logits = model.checked(model.forward(ids)).cpu()
    tokens = list(model.tokenizer(TEXT)["input_ids"])
    return {"ids": ids.cpu(), "logits": logits, "loading": _loading(model), "tokens": tokens}


def main() -> int:
    """The command: one JSON document on stdout, or one line on stderr."""
    parser = argparse.ArgumentParser(description="Compares an exported edit with the live one.")
    parser.add_argument("directory", type=Path, help="the export")
    parser.add_argument("--base", help="the model the edit is for; default: the one that the export names")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the code that the model brings along")
    parser.add_argument("--live", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        found = compare(given.directory, given.base, given.live, trust=given.trust_remote_code)
    except AntagonismError as error:
        print("error:", error, file=sys.stderr)
        return error.exit_code
    print(json.dumps(found))
    return 0 if found["same"] else 1


if __name__ == "__main__":
    sys.exit(main())
