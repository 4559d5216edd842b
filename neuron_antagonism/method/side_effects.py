"""What an edit does besides its purpose: to plain text, to single letters, to the other tasks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.demo import plain_text
from neuron_antagonism.errors import UsageError
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.method.evaluate import Evaluation, evaluate_many
from neuron_antagonism.method.perplexity import MOST, Windows
from neuron_antagonism.metrics.compare import check_same
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.progress import Progress, prefixed
from neuron_antagonism.types import Example, Question

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel

EMBEDDED, OWN = "embedded sample", "the examples' own texts"
"""Where a run's plain text comes from."""

Key = tuple[str, str, str]
"""Task, scorer and mode of an edit."""


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


def answers_changed(before: Evaluation, after: Evaluation) -> float:
    """Share of questions whose chosen option is another one, right or wrong, 0 to 1.

    Raises:
        UsageError: evaluations of different examples.
    """
    check_same(before.outcomes, after.outcomes)
    return float((before.chosen != after.chosen).double().mean())


def accuracy_by_letter(evaluation: Evaluation) -> dict[str, tuple[int, int]]:
    """By letter: how many questions whose right letter it is were answered rightly, and how many there are."""
    asked = Counter(_named(evaluation, evaluation.answers))
    rightly = zip(_named(evaluation, evaluation.answers), evaluation.right.tolist(), strict=True)
    right = Counter(letter for letter, ok in rightly if ok)
    return {letter: (right[letter], asked[letter]) for letter in _letters(evaluation)}


def letter_shares(evaluation: Evaluation) -> dict[str, float]:
    """By letter: the share of all questions for which it is chosen, rightly or not, 0 to 1."""
    chosen = Counter(_named(evaluation, evaluation.chosen))
    return {letter: chosen[letter] / len(evaluation.chosen) for letter in _letters(evaluation)}


def _letters(evaluation: Evaluation) -> list[str]:
    """Every letter of the questions (of label questions: every label), in their order."""
    return list(dict.fromkeys(letter for e in evaluation.examples for q in e.proxies for letter in q.letters))


def _named(evaluation: Evaluation, indices: Int[Tensor, " question"]) -> list[str]:
    """The letter of each question at its index."""
    questions = (q for e in evaluation.examples for q in e.proxies)
    return [q.letters[index] for q, index in zip(questions, indices.tolist(), strict=True)]


def side_effects(
    before: Evaluation,
    after: Evaluation,
    text: TextEffect | None = None,
    others: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What one edit did besides its purpose, as plain JSON values.

    Args:
        before, after: the same examples, unedited and edited.
        text: what it does to plain text; None = not measured.
        others: by task, what it does to the accuracy on other tasks, in percentage points.

    Returns:
        `answers_changed` (share), `by_letter` (by letter, counts: `questions` whose right letter it is, of those
        `right_before` and `right_after`, and of all questions `chosen_before` and `chosen_after`), `kl` (nats),
        `perplexity_ratio` (both None where not measured), `other_tasks` (percentage points by task).

    Raises:
        UsageError: evaluations of different examples.
    """
    changed = answers_changed(before, after)
    old, new = accuracy_by_letter(before), accuracy_by_letter(after)
    chosen_before, chosen_after = (Counter(_named(one, one.chosen)) for one in (before, after))
    return {
        "answers_changed": changed,
        "by_letter": {
            letter: {
                "questions": questions,
                "right_before": right,
                "right_after": new[letter][0],
                "chosen_before": chosen_before[letter],
                "chosen_after": chosen_after[letter],
            }
            for letter, (right, questions) in old.items()
        },
        "kl": None if text is None else text.kl,
        "perplexity_ratio": None if text is None else text.perplexity_ratio,
        "other_tasks": dict(others or {}),
    }


def other_tasks(
    model: HookedModel,
    edits: Mapping[Key, Edit],
    examples: Mapping[str, Sequence[Example | Question]],
    *,
    seed: int = 0,
    engine: str = "auto",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> dict[Key, dict[str, float]]:
    """What each edit does to the accuracy on the tasks that it was not made for.

    Each task's examples are gone through once: edits at `last` stand side by side there as copies of the last token,
    the unedited model among them. Edits at `all` cost a pass each.

    Args:
        model: the model; restored afterwards.
        edits: by task, scorer and mode.
        examples: evaluation examples by task.
        seed, engine, max_tokens: as in `evaluate_many`.
        progress: called with what is being done, how much is done and how much there is.

    Returns:
        For each edit, by other task: accuracy edited − unedited in percentage points.
    """
    found: dict[Key, dict[str, float]] = {key: {} for key in edits}
    for task, asked in examples.items():
        foreign = [key for key in edits if key[0] != task]
        if not foreign:
            continue
        before, *after = evaluate_many(
            model,
            asked,
            [None, *(edits[key] for key in foreign)],
            seed=seed,
            engine=engine,
            max_tokens=max_tokens,
            progress=prefixed(progress, f"other tasks' edits on {task}: "),
        )
        for key, answers in zip(foreign, after, strict=True):
            found[key][task] = 100.0 * (answers.outcomes.n_right - before.outcomes.n_right) / before.outcomes.n_proxies
    return found
