"""Checks of an installation and of a model, each an answer and a line."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version

import torch

from neuron_antagonism.engine.choose import choose
from neuron_antagonism.method.edits import edit
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.load import load_model, load_pair
from neuron_antagonism.neurons import NeuronSet
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.cost import estimate, memory
from neuron_antagonism.runs.plan import make_plan
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
        ("finite", _finite),
        ("padding changes nothing", _padding),
        ("letters", _letters),
        ("engine", _engine),
        ("hooks act and are restored", _restored),
        ("memory", _memory),
    ]


def run_checks(model: HookedModel, config: RunConfig) -> Iterator[tuple[str, bool, str]]:
    """What a run with this model would take: its examples, memory and time.

    Raises:
        AntagonismError: the run can't be made.
    """
    plan = make_plan(config, model=model)
    for task in plan.tasks:
        sizes = ", ".join(f"{len(getattr(task.split, part))} to {part}" for part in ("identify", "select", "evaluate"))
        yield f"task {task.name}", True, "; ".join([f"examples: {sizes}", *task.split.report.notes])
    cost = estimate(plan)
    yield "engine of the run", True, f"{plan.engine.name}: {plan.engine.reason}"
    yield "memory of the run", *_fits(cost)
    yield "time of the run", True, f"about {cost['seconds']:.0f} s on this machine, examples already chosen"


def loaded_with_proof(config: RunConfig) -> tuple[HookedModel, Checked]:
    """A loaded model, and whether its logits equal those of the Hugging Face module before it was hooked."""
    loading = config.loading()
    chat = loading.pop("chat_template")
    hf_model, tokenizer = load_pair(config.model, **loading)
    hf_model.eval()
    ids = torch.tensor([tokenizer(QUESTION.prompt)["input_ids"]], device=hf_model.device)
    with torch.no_grad():
        theirs = hf_model(ids, use_cache=False).logits
        model = load_model(hf_model=hf_model, tokenizer=tokenizer, chat_template=chat)
        ours = model.forward(ids)
    return model, _near(ours, theirs, model.dtype)


def _finite(model: HookedModel) -> Checked:
    seen: list[torch.Tensor] = []

    def read(values: torch.Tensor, layer: int) -> torch.Tensor:
        seen.append(values.detach().abs().amax().float().cpu())
        return values

    ids = torch.tensor([model.encode(QUESTION).ids], device=model.device)
    with torch.no_grad(), model.writing(range(model.n_layers), read):
        logits = model.forward(ids)
    # a maximum over values one of which is NaN is NaN
    largest, limit = float(torch.stack(seen).max()), torch.finfo(model.dtype).max
    ok = bool(torch.isfinite(logits).all()) and all(bool(torch.isfinite(value)) for value in seen)
    dtype = str(model.dtype).removeprefix("torch.")
    return ok, f"{'no' if ok else 'some'} NaN or inf in {dtype}; largest neuron value {largest:.3g} of {limit:.3g}"


def _padding(model: HookedModel) -> Checked:
    ids = model.encode(QUESTION).ids
    with torch.no_grad():
        padded = model.last_logits([ids[: len(ids) // 2], ids])
        alone = torch.cat([model.last_logits([ids[: len(ids) // 2]]), model.last_logits([ids])])
    return _near(padded, alone, model.dtype)


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


def _memory(model: HookedModel) -> Checked:
    ids = model.encode(QUESTION).ids
    return _fits(memory(model, len(ids), choose(model, [ids]).name))


def _fits(found: Mapping[str, int]) -> Checked:
    size = {name: _size(count) for name, count in found.items() if name.endswith("_bytes")}
    line = f"weights {size['weight_bytes']}; a forward is planned at {size['forward_bytes']}, one prompt takes about "
    line += f"{size['smallest_forward_bytes']}; {size['free_bytes']} are free"
    return found["smallest_forward_bytes"] <= found["free_bytes"], line


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def _near(ours: torch.Tensor, theirs: torch.Tensor, dtype: torch.dtype) -> Checked:
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    limit = 1e-4 if dtype in (torch.float32, torch.float64) else 5e-2
    return difference <= limit, f"largest relative difference {difference:.1e} (accepted: {limit:.0e})"
