"""Checks of an installation and of a model, each an answer and a line."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from neuron_antagonism.engine.choose import choose
from neuron_antagonism.model import proofs
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.suites.cost import Estimate, memory
from neuron_antagonism.suites.plan import make_plan
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
    left_out = ", ".join(dict.fromkeys(one.distribution for one in found.left_out))
    yield "plugins", bool(found.names("scorer")), counts + (f"; left out: those of {left_out}" if left_out else "")
    for broken in found.broken:
        yield "plugin", False, f"{broken.entry_point} of {broken.distribution} is broken: {broken.error}"
    for line in found.conflicts.values():
        yield "plugin", False, line


def model_checks(model: HookedModel) -> Iterator[tuple[str, bool, str]]:
    """What loading proved of a model, and what a run would find out about a question of its own."""
    yield from proofs.lines(model)
    if not all(proof.holds for proof in model.proofs.values()):
        # what is refused is not run
        return
    encoded = model.encode_all([QUESTION])[0]
    form = next(iter(model.letters.chosen.values()))
    mass = "" if form.mass is None else f"; the model gives them {form.mass:.1%} of its probability there"
    shown = f"single tokens {list(encoded.letters)} as {form.form.format('A')!r} after the suffix {form.suffix!r}{mass}"
    yield "letters", True, shown
    choice = choose(model, [encoded.ids])
    yield "engine", True, f"{choice.name}: {choice.reason}"
    yield "memory", *_fits(memory(model, len(encoded.ids), choice.name))


def run_checks(model: HookedModel, config: RunConfig) -> Iterator[tuple[str, bool, str]]:
    """What a run with this model would take: its examples, memory and time.

    Raises:
        AntagonismError: the run can't be made.
    """
    estimate = Estimate(make_plan(config, model=model))
    for job in estimate.plan.jobs:
        split = estimate.split(job)
        sizes = ", ".join(f"{len(getattr(split, part))} to {part}" for part in ("identify", "select", "evaluate"))
        yield f"task {job.name}", True, "; ".join([f"examples: {sizes}", *split.report.notes])
    cost = estimate.cost()
    yield "engine of the run", True, f"{estimate.engine['name']}: {estimate.engine['reason']}"
    yield "memory of the run", *_fits(cost)
    yield "time of the run", True, f"about {cost['seconds']:.0f} s on this machine, examples already chosen"


def _fits(found: Mapping[str, int]) -> Checked:
    size = {name: _size(count) for name, count in found.items() if name.endswith("_bytes")}
    line = f"weights {size['weight_bytes']}; a forward is planned at {size['forward_bytes']}, one prompt takes about "
    line += f"{size['smallest_forward_bytes']}; {size['free_bytes']} are free"
    return found["smallest_forward_bytes"] <= found["free_bytes"], line


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
