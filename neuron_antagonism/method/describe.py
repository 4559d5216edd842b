"""What one neuron does: the values it takes, what silencing it changes, and the tokens that it writes towards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.engine.base import wide
from neuron_antagonism.errors import DataError, ModelError, UsageError
from neuron_antagonism.functional import ranked
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.edits import edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.method.observe import Observation, observe
from neuron_antagonism.model.hooked import place_of
from neuron_antagonism.neurons import FFN_SITES, NeuronSet
from neuron_antagonism.types import Example, Question, as_examples, has_own_words

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.progress import Progress

AT_ONCE = 64
"""Neurons whose logits are held at once: each takes two rows of the vocabulary's size."""

UNREADABLE = "\N{REPLACEMENT CHARACTER}"

Tokens = list[tuple[str, float]]
"""Tokens and their logits, strongest first."""


@dataclass(frozen=True)
class Values:
    """A neuron's values at the last position of the questions whose right answer is one letter, and its effect there.

    Attributes:
        letter: the right answer's.
        questions: how many.
        mean, std, smallest, largest: of the values; std is that of the questions themselves (ddof 0).
        effect: mean of p(right) − p(right, this neuron at zero), p over the four letters.
    """

    letter: str
    questions: int
    mean: float
    std: float
    smallest: float
    largest: float
    effect: float


@dataclass(frozen=True)
class Description:
    """What one neuron does.

    Attributes:
        layer, neuron: which.
        promoted, suppressed: tokens and their logits along the neuron's output direction, strongest first.
        values: by right letter, and under "all" for every question.
    """

    layer: int
    neuron: int
    promoted: list[tuple[str, float]]
    suppressed: list[tuple[str, float]]
    values: list[Values]


@dataclass(frozen=True)
class Standing:
    """A neuron's score in an attribution and its place among all neurons, 1 = highest score."""

    score: float
    rank: int
    neurons: int


def describe(
    model: HookedModel, layer: int, neuron: int, examples: Sequence[Example | Question], *, tokens: int = 10
) -> Description:
    """Describe a neuron by the questions of some examples.

    Args:
        model: the model; restored afterwards.
        layer, neuron: which neuron.
        examples: examples or plain questions.
        tokens: how many tokens to list on each side.

    Raises:
        DataError: no such neuron.
        UsageError: the model is being edited.
    """
    if tokens < 1:
        raise UsageError(f"tokens is {tokens!r}; accepted: a whole number from 1")
    check_neuron(layer, neuron, model.n_layers, model.n_neurons)
    alone = NeuronSet.of([(layer, neuron)])
    asked = as_examples(examples)
    questions = [q for example in asked for q in example.proxies]
    found = last_values(model, asked, [(layer, neuron)])[:, 0]
    before, after = evaluate_many(model, asked, [None, edit(alone, "silence")])
    answers = before.answers[:, None]
    effect = (before.option_probabilities - after.option_probabilities).gather(1, answers)[:, 0]
    rows = [_values("all", found, effect)]
    for letter, here in by_letter(questions).items():
        rows.append(_values(letter, found[here], effect[here]))
    ((promoted, suppressed),) = output_tokens(model, [(layer, neuron)], tokens)
    return Description(layer, neuron, promoted, suppressed, rows)


def last_values(
    model: HookedModel,
    examples: Sequence[Example | Question],
    units: Sequence[tuple[int, int]],
    *,
    site: str = "post",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "question unit"]:
    """Values of some units at the last position of every question, in float64, in one pass.

    Args:
        model: the unedited model.
        examples: examples or plain questions.
        units: layer and index of each.
        site, max_tokens, progress: see `observe`.
    """
    asked = as_examples(examples)
    layers, places = ([unit[i] for unit in units] for i in (0, 1))
    found = torch.zeros(sum(len(example.proxies) for example in asked), len(units), dtype=torch.float64)

    def see(seen: Observation) -> None:
        found[list(seen.questions)] = seen.values[:, layers, places].double()

    observe(model, asked, see, site=site, max_tokens=max_tokens, progress=progress)
    return found


def by_letter(questions: Sequence[Question]) -> dict[str, list[int]]:
    """The places of the questions whose right answer is each letter, in its order; none where answers are words."""
    if has_own_words(questions):
        return {}
    found: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        found.setdefault(question.letters[question.answer], []).append(place)
    return dict(sorted(found.items()))


def output_tokens(model: HookedModel, neurons: Sequence[tuple[int, int]], n: int) -> list[tuple[Tokens, Tokens]]:
    """The tokens that each neuron's output vector raises and lowers most, with their logits.

    The vector goes through the model's own final norm and unembedding as if it stood alone in the residual
    stream (the logit lens); half the difference from its opposite removes what biases add.

    Args:
        model: the model.
        neurons: layer and index of each FFN neuron.
        n: how many tokens on each side.

    Raises:
        ModelError: output projection, final norm or unembedding can't be found, or don't fit each other.
    """
    found: dict[tuple[int, int], tuple[Tokens, Tokens]] = {}
    for layer in sorted({layer for layer, _ in neurons}):
        own, vectors = sorted({neuron for other, neuron in neurons if other == layer}), model.output_weights(layer)
        for start in range(0, len(own), AT_ONCE):
            part = own[start : start + AT_ONCE]
            lens = _lens(model, vectors[part])
            k = min(n, lens.shape[1])
            sides = [lens.topk(k, largest=largest) for largest in (True, False)]
            for row, neuron in enumerate(part):
                up, down = (_named(model, side.indices[row], side.values[row]) for side in sides)
                found[layer, neuron] = (up, down)
    return [found[layer, neuron] for layer, neuron in neurons]


def _lens(model: HookedModel, vectors: Float[Tensor, "neuron width"]) -> Float[Tensor, "neuron token"]:
    """Logits along output vectors."""
    head, norm = model.bridge.original_model.get_output_embeddings(), getattr(model.bridge, "ln_final", None)
    if head is None or norm is None or head.weight.shape[-1] != vectors.shape[-1]:
        raise ModelError(
            f"{model.name} ({model.architecture}): what neurons write can't be told in tokens; accepted: a model with "
            "a final norm and an unembedding of the width of its residual stream"
        )
    with model.computing(), torch.no_grad():
        both = torch.cat([vectors, -vectors])[:, None].to(place_of(norm, model.device), model.dtype)
        up, down = wide(head(norm(both).to(place_of(head, model.device))))[:, 0].chunk(2)
    return (up - down) / 2


def _named(model: HookedModel, ids: Tensor, logits: Tensor) -> Tokens:
    return [(_text(model, index), logit) for index, logit in zip(ids.tolist(), logits.tolist(), strict=True)]


def _text(model: HookedModel, index: int) -> str:
    """A token as text; a piece of a character, which is none by itself, by its number."""
    text = str(model.tokenizer.decode([index]))
    return f"{text} (token {index})" if UNREADABLE in text else text


def check_neuron(layer: int, neuron: int, n_layers: int, n_neurons: int) -> None:
    """Raise DataError unless the neuron exists in a model of this shape."""
    if not (0 <= layer < n_layers and 0 <= neuron < n_neurons):
        raise DataError(
            f"neuron {layer}.{neuron} does not exist in this model; "
            f"accepted: layers 0 to {n_layers - 1}, neurons 0 to {n_neurons - 1}"
        )


def standing(attribution: Attribution, layer: int, neuron: int) -> Standing:
    """Where a neuron stands in an attribution.

    Raises:
        UsageError: one of other units.
        DataError: no such neuron.
    """
    if attribution.site not in FFN_SITES:
        raise UsageError(f"the scores are those of site {attribution.site!r}; accepted: of FFN neurons, 'post' or 'up'")
    n = attribution.scores.shape[1]
    check_neuron(layer, neuron, len(attribution.scores), n)
    place = int((ranked(attribution.scores) == layer * n + neuron).nonzero())
    return Standing(float(attribution.scores[layer, neuron]), place + 1, attribution.scores.numel())


def _values(letter: str, values: torch.Tensor, effect: torch.Tensor) -> Values:
    numbers = (values.mean(), values.std(correction=0), values.min(), values.max(), effect.mean())
    return Values(letter, len(values), *(float(number) for number in numbers))
