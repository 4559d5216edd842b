"""Checks of an installation and of a model, each an answer and a line."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version

import torch

from neuron_antagonism.engine.choose import choose
from neuron_antagonism.method.edits import edit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.load import load_model, load_pair
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.types import Question

Checked = tuple[bool, str]

QUESTION = Question(
    "Reply with one letter only: A, B, C or D.\n\nQuestion: what is it ?\nA. one\nB. two\nC. three\nD. four\nAnswer:",
    ("one", "two", "three", "four"),
    0,
)


def installation() -> Iterator[tuple[str, bool, str]]:
    """Versions and plugins."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "transformer-lens"))
    yield "packages", True, f"Python {platform.python_version()}, {packages}"
    found = registry()
    counts = ", ".join(f"{len(found.names(kind))} {kind}s" for kind in ("scorer", "task", "intervention"))
    yield "plugins", bool(found.names("scorer")), counts
    for broken in found.broken:
        yield "plugin", False, f"{broken.entry_point} of {broken.distribution} is broken: {broken.error}"
    for line in found.conflicts.values():
        yield "plugin", False, line


def model_checks() -> list[tuple[str, Callable[[HookedModel], Checked]]]:
    """Names and functions of the checks of a model."""
    return [
        ("padding changes nothing", _padding),
        ("letters", _letters),
        ("engine", _engine),
        ("hooks act and are restored", _restored),
    ]


def loaded_with_proof(name: str, dtype: str | None = None, device: str | None = None) -> tuple[HookedModel, Checked]:
    """A loaded model, and whether its logits equal those of the Hugging Face module before it was hooked."""
    hf_model, tokenizer = load_pair(name, dtype=dtype, device=device)
    ids = torch.tensor([tokenizer(QUESTION.prompt)["input_ids"]], device=hf_model.device)
    hf_model.eval()
    with torch.no_grad():
        theirs = hf_model(ids).logits
        model = load_model(hf_model=hf_model, tokenizer=tokenizer)
        ours = model.forward(ids)
    return model, _near(ours, theirs)


def _padding(model: HookedModel) -> Checked:
    ids = model.encode(QUESTION).ids
    with torch.no_grad():
        padded = model.last_logits([ids[: len(ids) // 2], ids])
        alone = torch.cat([model.last_logits([ids[: len(ids) // 2]]), model.last_logits([ids])])
    return _near(padded, alone)


def _letters(model: HookedModel) -> Checked:
    encoded = model.encode(QUESTION)
    form = next(iter(model.letters.chosen.values()))
    return True, f"single tokens {list(encoded.letters)} as {form.form.format('A')!r} after the suffix {form.suffix!r}"


def _engine(model: HookedModel) -> Checked:
    choice = choose(model, [model.encode(QUESTION).ids])
    return True, f"{choice.name}: {choice.reason}"


def _restored(model: HookedModel) -> Checked:
    ids = [model.encode(QUESTION).ids]
    everything = NeuronSet.of([(layer, neuron) for layer in range(model.n_layers) for neuron in range(model.n_neurons)])
    with torch.no_grad():
        before = model.last_logits(ids)
        with model.edited(edit(everything, "silence")):
            during = model.last_logits(ids)
        after = model.last_logits(ids)
    moved = float((during - before).abs().max())
    return bool(torch.equal(before, after)) and moved > 0, f"logits moved by {moved:.2g} and came back exactly"


def _near(ours: torch.Tensor, theirs: torch.Tensor) -> Checked:
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    limit = 1e-4 if ours.dtype in (torch.float32, torch.float64) else 5e-2
    return difference <= limit, f"largest relative difference {difference:.1e} (accepted: {limit:.0e})"
