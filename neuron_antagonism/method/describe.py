"""What one neuron does: the values it takes, what silencing it changes, and the tokens that it writes towards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.engine.base import wide
from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.functional import ranked
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.edits import edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.method.observe import Observation, observe
from neuron_antagonism.model.plain import projection
from neuron_antagonism.neurons import FFN_SITES, NeuronSet
from neuron_antagonism.types import Example, Question, as_examples, has_own_words

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel


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
    found = torch.zeros(len(questions), dtype=torch.float64)

    def see(seen: Observation) -> None:
        found[list(seen.questions)] = seen.values[:, layer, neuron].double()

    observe(model, asked, see)
    before, after = evaluate_many(model, asked, [None, edit(alone, "silence")])
    answers = before.answers[:, None]
    effect = (before.option_probabilities - after.option_probabilities).gather(1, answers)[:, 0]
    letters = [] if has_own_words(questions) else [question.letters[question.answer] for question in questions]
    rows = [_values("all", found, effect)]
    for letter in sorted(set(letters)):
        here = torch.tensor([other == letter for other in letters])
        rows.append(_values(letter, found[here], effect[here]))
    promoted, suppressed = output_tokens(model, layer, neuron, tokens)
    return Description(layer, neuron, promoted, suppressed, rows)


def output_tokens(
    model: HookedModel, layer: int, neuron: int, n: int
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The tokens that a neuron's output direction raises and lowers most, with their logits.

    The direction goes through the model's own final norm and unembedding as if it stood alone in the residual
    stream (the logit lens); half the difference from its opposite removes what biases add.
    """
    place = projection(model, layer)
    column = place.weight[neuron] if place.fan_in_fan_out else place.weight[:, neuron]
    head = model.bridge.original_model.get_output_embeddings()
    with model.computing(), torch.no_grad():
        both = torch.stack([column, -column])[:, None].to(head.weight.device)
        logits = wide(head(model.bridge.ln_final(both)))[:, 0]
    lens = (logits[0] - logits[1]) / 2
    order = lens.argsort(descending=True)
    n = min(n, len(order))

    def named(indices: torch.Tensor) -> list[tuple[str, float]]:
        return [(str(model.tokenizer.decode([index])), float(lens[index])) for index in indices.tolist()]

    return named(order[:n]), named(order.flip(0)[:n])


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
