"""What an edit does besides its purpose: to plain text, to single letters, to the other tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.demo import plain_text
from neuron_antagonism.errors import UsageError
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.method.perplexity import MOST, Windows
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.progress import Progress
from neuron_antagonism.types import Example, has_own_words

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel

EMBEDDED, OWN = "embedded sample", "the examples' own texts"
"""Where a run's plain text comes from."""

COUNTS = ("questions", "right_before", "right_after", "chosen_before", "chosen_after")


@dataclass(frozen=True)
class TextEffect:
    """What an edit does to plain text.

    Args:
        kl: mean over the predicted tokens of KL(unedited || edited) of the next token's distribution, in nats.
        perplexity_ratio: edited over unedited perplexity; above 1 the edited model is worse at the text.
    """

    kl: float
    perplexity_ratio: float


def chosen_text(model: HookedModel, own: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The plain text to measure an edit's side effects on, and where it comes from.

    A closed vocabulary knows too little of everyday English for its prediction to mean anything: where more than half
    of the embedded sample's tokens are the unknown one, the run's own texts are taken.

    Args:
        model: the model, whose tokenizer decides.
        own: the texts of the run's own evaluation items, which may repeat.

    Returns:
        The texts, each once, and `EMBEDDED` or `OWN`.
    """
    check_model(model)
    if isinstance(own, str):
        raise UsageError(f"texts are {own!r:.60}; accepted: a list of texts")
    sample = plain_text()
    ids = [token for text in sample for token in model.text_tokens.own(text)]
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if ids and 2 * sum(token == unknown for token in ids) <= len(ids):
        return sample, EMBEDDED
    return tuple(dict.fromkeys(own)), OWN


def plain_text_effects(
    model: HookedModel,
    texts: Sequence[str],
    edits: Sequence[Edit],
    *,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[TextEffect]:
    """What each edit does to plain text, from one unedited pass and one pass for each edit.

    Every edit is measured at all positions, whatever its own are: a text has no position where an answer is read, and
    every token of it is predicted. An edit at the last position alone would touch one prediction a text. Windows and
    predicted tokens are those of `perplexity`.

    Args:
        model: the model; restored afterwards.
        texts: plain texts; those of a single token count nothing.
        edits: the edits.
        max_tokens: tokens in the forwards whose logits are held together, which are two; None = planned from the free
            memory.
        progress: called with what is being done, how much is done and how much there is.

    Raises:
        DataError: no text of two tokens or more.
        UsageError: one edit in place of a list, neurons that the model lacks, or an edit at the last position active.
        ModelError: logits, or a divergence, that are not finite.
    """
    check_model(model)
    if isinstance(edits, Edit) or not all(isinstance(edit, Edit) for edit in edits):
        raise UsageError(f"edits are {edits!r:.80}; accepted: a list of edits")
    everywhere = [edit.at("all") for edit in edits]
    for edit in everywhere:
        edit.check(model)
    windows = Windows(model, texts, "plain text")

    def read(part: list[int]) -> Tensor:
        before, ids = _predictions(windows, part)
        found = [torch.stack([torch.zeros_like(loss := _loss(before, ids)), loss])]
        for edit in everywhere:
            with model.under(edit):
                after, _ = _predictions(windows, part)
            found.append(torch.stack([_divergence(before, after), _loss(after, ids)]))
        return torch.stack(found).cpu()

    with torch.no_grad():
        sums = windows.summed(read, held=2, max_tokens=max_tokens, progress=progress) / windows.predicted
    loss = float(sums[0, 1])
    # rounding may leave a divergence of nothing just below zero
    return [TextEffect(max(float(kl), 0.0), math.exp(min(float(edited) - loss, MOST))) for kl, edited in sums[1:]]


def _predictions(windows: Windows, part: Sequence[int]) -> tuple[Float[Tensor, "token vocab"], Int[Tensor, " token"]]:
    """Log-probabilities in the whole vocabulary where a token is predicted, and that token."""
    logits, ids, real = windows.forward(part)
    return logits[real].log_softmax(-1), ids[real]


def _loss(log_p: Float[Tensor, "token vocab"], ids: Int[Tensor, " token"]) -> Float[Tensor, ""]:
    return -log_p.gather(-1, ids[:, None]).double().sum()


def _divergence(log_p: Float[Tensor, "token vocab"], log_q: Float[Tensor, "token vocab"]) -> Float[Tensor, ""]:
    """Σ KL(p || q) over tokens, in nats."""
    # a model may mask entries of its vocabulary: 0 · (−∞ − −∞) is 0 here
    terms = (log_p.exp() * (log_p - log_q)).masked_fill(log_p.isneginf(), 0.0)
    return terms.sum(-1).double().sum()


def changes(examples: Sequence[Example], before: Sequence[int], after: Sequence[int]) -> dict[str, Any]:
    """How many answers an edit changed, and of which letters, as plain JSON values.

    Args:
        examples: what was asked.
        before, after: index of the option that was chosen of each question, unedited and edited.

    Returns:
        `answers_changed` (share of questions whose chosen option is another one, right or wrong, 0 to 1), and
        `by_letter`: by letter (in words: class) counts: `questions` whose right letter it is, of those `right_before`
        and `right_after`, and of all questions `chosen_before` and `chosen_after`; nothing where the words are each
        question's own.
    """
    questions = [question for example in examples for question in example.proxies]
    own = has_own_words(questions)
    letters = () if own else dict.fromkeys(letter for question in questions for letter in question.letters)
    found = {letter: dict.fromkeys(COUNTS, 0) for letter in letters}
    for question, *answers in zip(questions, before, after, strict=True) if not own else ():
        found[question.letters[question.answer]]["questions"] += 1
        for when, answer in zip(("before", "after"), answers, strict=True):
            found[question.letters[answer]][f"chosen_{when}"] += 1
            found[question.letters[answer]][f"right_{when}"] += answer == question.answer
    changed = sum(old != new for old, new in zip(before, after, strict=True)) / len(questions)
    return {"answers_changed": changed, "by_letter": found}
