"""What every engine takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from neuron_antagonism.errors import ModelError, PluginError
from neuron_antagonism.functional import quadrature_rule
from neuron_antagonism.plugin.foreign import foreign
from neuron_antagonism.progress import Progress

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.model.letters import Encoded
    from neuron_antagonism.plugin.base import Target
    from neuron_antagonism.types import Question


def by_options(questions: Sequence[Asked]) -> list[list[int]]:
    """Indices of questions with equally many letters, which a target can take together; usually one group."""
    groups: dict[int, list[int]] = {}
    for index, question in enumerate(questions):
        groups.setdefault(len(question.encoded.letters), []).append(index)
    return list(groups.values())


class Asked(NamedTuple):
    """A question in tokens with its answer's index."""

    encoded: Encoded
    answer: int


def asked_of(model: HookedModel, questions: Sequence[Question]) -> list[Asked]:
    """Questions that are asked together, in tokens; errors as in `HookedModel.encode`."""
    return [Asked(encoded, q.answer) for encoded, q in zip(model.encode_all(questions), questions, strict=True)]


def in_order(parts: Sequence[Tensor], groups: Sequence[Sequence[int]]) -> Tensor:
    """What was computed of groups of questions, one after the other in the questions' order."""
    return torch.cat(list(parts))[torch.tensor([index for group in groups for index in group]).argsort()]


def rows_of(
    baseline: Float[Tensor, "question layer neuron"], part: Sequence[int]
) -> Float[Tensor, "question layer neuron"]:
    """The baseline of some questions; one row, which serves all, stays one."""
    return baseline if len(baseline) == 1 else baseline[list(part)]


@dataclass(frozen=True)
class Path:
    """The straight path from zero to the neurons' values, and how its integral is approximated.

    Args:
        nodes: multiples of the values at which gradients are taken.
        weights: their weights; they sum to 1.
        site: where neurons are read and scaled.
    """

    nodes: tuple[float, ...]
    weights: tuple[float, ...]
    site: str = "post"

    @classmethod
    def of(cls, quadrature: str, steps: int, site: str) -> Path:
        """The path of a named quadrature."""
        nodes, weights = quadrature_rule(quadrature, steps)
        return cls(tuple(nodes), tuple(weights), site)


@dataclass(frozen=True)
class Gradients:
    """Integrated gradients of a list of questions, on the CPU in the model's precision (float32 or wider).

    Attributes:
        values: w, the neuron values at the last position.
        integrated: IG by target (NeuronLLM Eq. 1), one layer scaled at a time.
        change: F(w) − F(0) by target, per question and layer: what the IG of a layer should sum to.
    """

    values: Float[Tensor, "question layer neuron"]
    integrated: Mapping[Target, Float[Tensor, "question layer neuron"]]
    change: Mapping[Target, Float[Tensor, "question layer"]]


def joined(parts: Sequence[Gradients], groups: Sequence[Sequence[int]]) -> Gradients:
    """Gradients of groups of questions as those of all of them, in the questions' order."""
    if len(parts) == 1:
        return parts[0]
    targets = list(parts[0].integrated)
    return Gradients(
        in_order([part.values for part in parts], groups),
        {target: in_order([part.integrated[target] for part in parts], groups) for target in targets},
        {target: in_order([part.change[target] for part in parts], groups) for target in targets},
    )


class Engine(Protocol):
    """Computes integrated gradients and ablation effects; all engines give the same numbers."""

    name: str

    def integrated_gradients(
        self,
        model: HookedModel,
        questions: Sequence[Asked],
        targets: Sequence[Target],
        path: Path,
        progress: Progress | None = None,
    ) -> Gradients:
        """Values of every neuron, and for each target its integrated gradients and change of F."""
        ...

    def ablation_effects(
        self,
        model: HookedModel,
        questions: Sequence[Asked],
        target: Target,
        site: str,
        baseline: Float[Tensor, "question layer neuron"] | None = None,
        progress: Progress | None = None,
    ) -> Float[Tensor, "question layer neuron"]:
        """F(w) − F(w with one neuron at its baseline) for every neuron, on the CPU, float32 or wider.

        The baseline is zero where none is given; one row serves all questions.
        """
        ...


def letter_columns(
    questions: Sequence[Asked], like: Tensor
) -> tuple[Int[Tensor, "question option"], Int[Tensor, " question"]]:
    """Letter ids and answers of some questions as tensors on the device of `like`."""
    letters = torch.tensor([q.encoded.letters for q in questions], device=like.device)
    return letters, torch.tensor([q.answer for q in questions], device=like.device)


def outputs_of(
    targets: Sequence[Target],
    logits: Float[Tensor, "*batch vocab"],
    letters: Int[Tensor, "*batch option"],
    answer: Int[Tensor, "*batch"],
) -> dict[Target, Float[Tensor, "*batch"]]:
    """F by target.

    Raises:
        PluginError: a target's result breaks its contract.
    """
    outputs = {}
    if bool(torch.isneginf(torch.gather(logits.detach(), -1, letters)).any()):
        raise ModelError("the model gives a letter the logit -inf; accepted: letters that it can write")
    for target in targets:
        name = target.name or type(target).__name__
        with foreign(f"target {name!r} failed"):
            f = target(logits, letters, answer)
        problem = _problem(f, logits)
        if problem:
            raise PluginError(
                f"target {name!r} returned {problem}; accepted: a floating tensor of "
                f"shape {tuple(answer.shape)} with finite values that depends on the logits"
            )
        outputs[target] = f
    return outputs


def leaf_gradients(
    f: Float[Tensor, "*row"], logits: Float[Tensor, "*row vocab"], leaves: Sequence[Tensor], *, retain: bool
) -> tuple[list[Tensor], Float[Tensor, "*row"]]:
    """Gradients of each row's F with respect to that row of the leaves, to be multiplied by the sizes returned.

    A probability's gradient by the logits may be far below what float16 can hold. Rows don't see each other, so each
    goes back at a size of about 1, and its own size comes back beside the gradients.

    Args:
        f, logits: of one target, with its graph.
        leaves: what the gradients are wanted for.
        retain: whether the graph from leaves to logits is needed again.
    """
    (start,) = torch.autograd.grad(f.sum(), logits)
    largest = start.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(start.dtype).tiny)
    # a power of two: then no rounding differs, wherever in the model precision is lower
    size = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent)
    found = torch.autograd.grad(logits, leaves, start / size, retain_graph=retain)
    return [wide(gradient) for gradient in found], size[..., 0]


def _problem(f: object, logits: Tensor) -> str:
    if not isinstance(f, torch.Tensor):
        return type(f).__name__
    if f.shape != logits.shape[:-1] or not f.dtype.is_floating_point:
        return f"{f.dtype} of shape {tuple(f.shape)}"
    if not bool(torch.isfinite(f).all()):
        return "values that are not finite"
    return "values without a gradient" if logits.requires_grad and not f.requires_grad else ""


def wide(values: Tensor) -> Tensor:
    """In float32 or wider."""
    return values if values.dtype == torch.float64 else values.float()


def longest_first(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Indices of prompts, longest first: what stands together needs little padding."""
    return sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))


def by_length(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of prompts of equal length, longest group first: such a group needs no padding."""
    groups: dict[int, list[int]] = {}
    for index, ids in enumerate(prompts):
        groups.setdefault(len(ids), []).append(index)
    return [groups[length] for length in sorted(groups, reverse=True)]
