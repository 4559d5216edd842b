"""Evaluation: what the model answers under each edit (NeuronLLM §4.2)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange, repeat

from neuron_antagonism.engine.base import by_length, longest_first
from neuron_antagonism.engine.choose import choose
from neuron_antagonism.engine.copies import Copies, batches, own_tokens
from neuron_antagonism.engine.memory import TokenLimit
from neuron_antagonism.errors import ModelError, UsageError
from neuron_antagonism.functional import option_log_probabilities
from neuron_antagonism.method.edits import Edit
from neuron_antagonism.metrics.outcomes import Outcomes
from neuron_antagonism.model.exact import exact_letters
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.model.prefix import Prefix
from neuron_antagonism.progress import Progress
from neuron_antagonism.types import Example, Question, as_examples

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.model.letters import Encoded

UNEDITED = Edit(())

BESIDE = 32
"""The copies of a prompt for which prompts are divided among forwards: that must not depend on how many there are."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The answers to a list of examples under one edit.

    Attributes:
        examples: what was asked.
        edit: the edit, or None.
        log_probabilities: log-softmax over the letters (in words: the options' first tokens), in the order of
            the questions; −inf where a question has fewer options than another.
        confidence: probability of the right letter in the whole vocabulary.
        ties: questions whose highest letters tied exactly; broken by a seeded order of the letters.
    """

    examples: tuple[Example, ...]
    edit: Edit | None
    log_probabilities: Float[Tensor, "question option"]
    confidence: Float[Tensor, " question"]
    chosen: Int[Tensor, " question"]
    ties: int

    @property
    def option_probabilities(self) -> Float[Tensor, "question option"]:
        """Softmax over the letters, or the labels' first tokens; 0 where a question has no such option."""
        return self.log_probabilities.exp()

    @cached_property
    def answers(self) -> Int[Tensor, " question"]:
        """Index of the right letter of each question."""
        return torch.tensor([q.answer for e in self.examples for q in e.proxies])

    @property
    def right(self) -> Bool[Tensor, " question"]:
        """Whether each question was answered rightly."""
        return self.chosen == self.answers

    @property
    def letter_mass(self) -> Float[Tensor, " question"]:
        """Probability of all of a question's letters together, in the whole vocabulary, where the answer is read."""
        right = self.log_probabilities.gather(1, self.answers[:, None])[:, 0]
        return (self.confidence.log() - right).exp().clamp_max(1.0)

    @property
    def cross_entropy(self) -> Float[Tensor, " question"]:
        """Letter cross-entropy of each question, in nats."""
        return -self.log_probabilities.gather(1, self.answers[:, None])[:, 0]

    @cached_property
    def outcomes(self) -> Outcomes:
        """Right answers and cross-entropy by example, with its text and the stratum that it was drawn from."""
        known = [e.understood for e in self.examples]
        proxies = np.array([len(e.proxies) for e in self.examples])
        edges = np.concatenate([[0], np.cumsum(proxies)[:-1]])
        return Outcomes(
            right=np.add.reduceat(self.right.numpy().astype(np.int64), edges),
            proxies=proxies,
            cross_entropy=np.add.reduceat(self.cross_entropy.double().numpy(), edges) / proxies,
            examples=fingerprint(self.examples),
            strata=None if any(one is None for one in known) else np.array(known, dtype=bool),
            units=np.unique([e.unit for e in self.examples], return_inverse=True)[1],
        )

    @property
    def acc(self) -> float:
        """Share of questions answered rightly."""
        return self.outcomes.acc

    @property
    def com(self) -> float:
        """Share of examples with at least two thirds of their proxies right."""
        return self.outcomes.com

    def __repr__(self) -> str:
        """The two metrics."""
        return f"Evaluation(acc={self.acc:.3f}, com={self.com:.3f}, examples={len(self.examples)})"


def evaluate(
    model: HookedModel,
    examples: Sequence[Example | Question],
    edit: Edit | None = None,
    *,
    seed: int = 0,
    engine: str = "auto",
    max_tokens: int | None = None,
) -> Evaluation:
    """What the model answers under one edit, or unedited.

    Args:
        model: the model; restored afterwards.
        examples: examples or plain questions.
        edit: the edit; None = unedited.
        seed: breaks exact ties.
        engine, max_tokens: how edits are evaluated, see `evaluate_many`.
    """
    return evaluate_many(model, examples, [edit], seed=seed, engine=engine, max_tokens=max_tokens)[0]


def evaluate_many(
    model: HookedModel,
    examples: Sequence[Example | Question],
    edits: Sequence[Edit | None],
    *,
    seed: int = 0,
    engine: str = "auto",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """What the model answers under each of many edits.

    What all prompts begin with is run once. Edits at `last` share each prompt's prefix too and are run as copies of
    its last token; edits at `all` need a pass each.

    Args:
        model: the model; restored afterwards.
        examples: examples or plain questions.
        edits: edits; None = unedited.
        seed: breaks exact ties.
        engine: "auto", "replay", "rows" (copies, see `engine.choose`) or "reference" (a full pass for each edit).
        max_tokens: tokens in one forward; None = planned from the free memory. Halved and retried where memory runs
            out; results do not depend on it beyond rounding.
        progress: called with what is being done, how much is done and how much there is.

    Raises:
        DataError: no examples, or a question longer than the model's context.
        ModelError: logits that are not finite.
    """
    if isinstance(edits, Edit):
        raise UsageError("evaluate_many was given one edit; accepted: a list of edits, or evaluate() for one")
    how: dict[str, Any] = {"seed": seed, "engine": engine, "max_tokens": max_tokens, "progress": progress}
    return evaluate_sets(model, examples, [edits], **how)[0]


def evaluate_sets(
    model: HookedModel,
    examples: Sequence[Example | Question],
    sets: Sequence[Sequence[Edit | None]],
    *,
    seed: int = 0,
    engine: str = "auto",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[list[Evaluation]]:
    """What the model answers under sets of edits: to the last bit what `evaluate_many` gives for each set alone.

    Sets share what prompts begin with; only edits of one set are run side by side, for rounding depends on what is.

    Args:
        sets: sets of edits.

    The other arguments and the errors are those of `evaluate_many`.
    """
    check_model(model)
    asked = as_examples(examples)
    edits = [edit for each in sets for edit in each]
    for edit in edits:
        if edit is not None and not isinstance(edit, Edit):
            raise UsageError(
                f"{edit!r:.80} is no edit; accepted: None, or what enhancer(), degrader() or edit() return"
            )
        if edit is not None:
            edit.check(model)
    questions = [q for example in asked for q in example.proxies]
    encoded = model.encode_all(questions)
    options = max(len(question.letters) for question in questions)
    # of every option, and of the right one in the whole vocabulary
    table = torch.zeros(len(edits), len(questions), options + 1, dtype=torch.float64)
    choice = choose(model, [e.ids for e in encoded], engine)
    edges = [0, *accumulate(map(len, sets))]
    beside = [_beside(edits, range(a, b)) if choice.name != "reference" else [] for a, b in pairwise(edges)]
    passes = _Passes(model, questions, encoded, edits, choice.name, max_tokens, table, progress)
    with exact_letters(model, (letter for one in encoded for letter in one.letters)):
        passes.copies([each for each in beside if each])
        done = {i for each in beside for i in each}
        passes.whole([i for i in range(len(edits)) if i not in done])
    orders = tie_orders(questions, seed)
    found = []
    for edit, (log_p, right) in zip(edits, (t.split([options, 1], dim=-1) for t in table), strict=True):
        chosen, ties = chosen_options(log_p, orders)
        found.append(Evaluation(tuple(asked), edit, log_p, right[:, 0].exp(), chosen, ties))
    return [found[a:b] for a, b in pairwise(edges)]


def _beside(edits: Sequence[Edit | None], own: range) -> list[int]:
    """Of a set's edits those that are run side by side, as copies of each prompt's last token."""
    # alone, an unedited model is cheapest in one padded pass
    if all(edit is None or not edit.parts or edit.positions != "last" for edit in edits[own.start : own.stop]):
        return []
    return [i for i in own if (edit := edits[i]) is None or edit.positions == "last" or not edit.parts]


def chosen_options(
    log_p: Float[Tensor, "question option"], orders: Int[Tensor, "question option"]
) -> tuple[Int[Tensor, " question"], int]:
    """The likeliest option of each question, exact ties broken by its order; and how many ties there were."""
    shuffled = log_p.gather(1, orders)
    # the first maximum in each question's own order of letters
    best = (shuffled == shuffled.max(1, keepdim=True).values).int()
    return orders.gather(1, best.argmax(1, keepdim=True))[:, 0], int((best.sum(1) > 1).sum())


def fingerprint(examples: Sequence[Example]) -> str:
    """A hash of what is asked; equal for equal examples in equal order."""
    digest = hashlib.sha256()
    for question in (q for example in examples for q in example.proxies):
        digest.update(repr((question.prompt, question.letters, question.answer)).encode())
    return digest.hexdigest()


def letters_of(
    encoded: Sequence[Encoded], part: Sequence[int], options: int, device: torch.device
) -> tuple[Int[Tensor, "question option"], Bool[Tensor, "question option"]]:
    """Letter ids of some questions, and where a question has no such option: there its first letter stands again."""
    rows = [encoded[i].letters for i in part]
    letters = [row + row[:1] * (options - len(row)) for row in rows]
    absent = [[place >= len(row) for place in range(options)] for row in rows]
    return torch.tensor(letters, device=device), torch.tensor(absent, device=device)


def check_letters(
    model: HookedModel, logits: Float[Tensor, "*batch vocab"], letters: Int[Tensor, "*batch option"]
) -> None:
    """Raise ModelError where the model gives a letter no logit, as to entries of the vocabulary that it masks."""
    masked = torch.isneginf(torch.gather(logits, -1, letters))
    if bool(masked.any()):
        token = int(letters[masked][0])
        raise ModelError(
            f"{model.name} gives the letter {model.tokenizer.decode([token])!r} (token {token}) the logit -inf; "
            "accepted: letters that the model can write"
        )


class _Passes:
    """Fills the table [edit, question, letter] of log-probabilities, and the right letter's in the vocabulary."""

    def __init__(
        self,
        model: HookedModel,
        questions: Sequence[Question],
        encoded: Sequence[Encoded],
        edits: Sequence[Edit | None],
        engine: str,
        max_tokens: int | None,
        table: Tensor,
        progress: Progress | None,
    ) -> None:
        self.model, self.questions, self.encoded, self.engine = model, questions, encoded, engine
        self.edits = [edit or UNEDITED for edit in edits]
        self.prompts = [e.ids for e in encoded]
        self.limit = TokenLimit(model, max(map(len, self.prompts)), engine, given=max_tokens)
        self.table, self.progress = table, progress
        self._sides: dict[tuple[int, ...], _Side] = {}

    def copies(self, sets: Sequence[Sequence[int]]) -> None:
        """Sets of edits at `last`, those of each side by side as copies of the last token."""
        if not sets:
            return
        self._told("answers", 0, len(self.prompts))
        done = 0
        for group, shared in batches(self.model, self.prompts, self.engine):
            own = partial(own_tokens, self.prompts, shared)

            def tokens(i: int, own: Callable[[int], int] = own) -> int:
                return max(self.limit.copies(BESIDE), own(i))

            def work(part: list[int], shared: Prefix | None = shared) -> None:
                nonlocal done
                self._side_by_side(part, sets, shared)
                done += len(part)
                self._told("answers", done, len(self.prompts))

            self.limit.in_batches(group, tokens, work)

    def _told(self, what: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(what, done, total)

    def _side_by_side(self, part: Sequence[int], sets: Sequence[Sequence[int]], shared: Prefix | None) -> None:
        copies = Copies(self.model, [self.prompts[i] for i in part], self.engine, shared)
        for chosen, site in ((each, site) for each in sets for site in sorted({self.edits[i].site for i in each})):
            here = [i for i in chosen if self.edits[i].site == site]
            for side in _chunks(here, self.limit.copies(len(here), len(part))):
                own = self._side(side, part)
                with torch.no_grad():
                    logits = copies.logits(len(side), own.write, site)
                self._store(side, part, rearrange(logits, "question edit vocab -> edit question vocab"))

    def _side(self, side: Sequence[int], part: Sequence[int]) -> _Side:
        """Some edits side by side, on some questions; made once for all where it does not matter which."""
        edits = [self.edits[i] for i in side]
        if any(edit.asks for edit in edits):
            return _Side([self._on(edit, part) for edit in edits])
        if tuple(side) not in self._sides:
            self._sides[tuple(side)] = _Side(edits)
        return self._sides[tuple(side)]

    def _on(self, edit: Edit, part: Sequence[int]) -> Edit:
        return edit.on(self.model, [self.questions[i] for i in part]) if edit.asks else edit

    def whole(self, chosen: Sequence[int]) -> None:
        """Edits at any position, one after the other, each by passes over all prompts."""
        for done, index in enumerate(chosen):
            self._told("full passes", done, len(chosen))
            self._pass(index)
        if chosen:
            self._told("full passes", len(chosen), len(chosen))

    def _pass(self, index: int) -> None:
        edit, prompts = self.edits[index], self.prompts
        at_last = bool(edit.parts) and edit.positions == "last"
        # an edit at `last` needs each prompt's end at the batch's end: equal lengths only
        if edit.asks:
            for part in by_length(prompts) if at_last else [longest_first(prompts)]:
                self.limit.in_batches(part, lambda i: len(prompts[i]), lambda rows: self._asked(index, rows))
            return
        with torch.no_grad(), self.model.under(edit):
            # the reference engine is there for models that can't continue from a cache
            if self.engine != "reference" and not at_last:
                groups = batches(self.model, prompts, "replay")
            else:
                alone = by_length(prompts) if at_last else [longest_first(prompts)]
                groups = ((group, None) for group in alone)
            for group, shared in groups:

                def work(part: list[int], shared: Prefix | None = shared) -> None:
                    self._store([index], part, self.model.last_logits([prompts[i] for i in part], shared)[None])

                self.limit.in_batches(group, partial(own_tokens, prompts, shared), work)

    def _asked(self, index: int, part: Sequence[int]) -> None:
        """An edit that depends on the questions, on some of them."""
        edit = self._on(self.edits[index], part)
        with torch.no_grad(), self.model.under(edit):
            logits = self.model.last_logits([self.prompts[i] for i in part])
        self._store([index], part, logits[None])

    def _store(self, edits: Sequence[int], part: Sequence[int], logits: Float[Tensor, "edit question vocab"]) -> None:
        options = letters_of(self.encoded, part, self.table.shape[-1] - 1, logits.device)
        letters, absent = (repeat(t, "question option -> edit question option", edit=len(edits)) for t in options)
        check_letters(self.model, logits, letters)
        answers = torch.tensor([self.questions[i].answer for i in part], device=logits.device)
        answer = repeat(answers, "question -> edit question 1", edit=len(edits))
        right = logits.gather(-1, letters.gather(-1, answer)) - logits.logsumexp(-1, keepdim=True)
        log_p = torch.cat([option_log_probabilities(logits, letters, absent), right], dim=-1)
        self.table[torch.tensor(edits)[:, None], torch.tensor(part)] = log_p.double().cpu()


class _Side:
    """Edits that act side by side, one copy each."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._scaled: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        rows: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}
        for copy, edit in enumerate(edits):
            for part in edit.parts if _is_constant(edit) else ():
                for layer, neurons in part.by_layer.items():
                    factor = torch.full((len(neurons),), float(part.intervention.scale or 0.0))
                    rows.setdefault(layer, []).append((torch.full_like(neurons, copy), neurons, factor))
        for layer, found in rows.items():
            at, which, factors = (torch.cat(column) for column in zip(*found, strict=True))
            self._scaled[layer] = (at, which, factors)
        self._other = [(i, edit) for i, edit in enumerate(edits) if edit.parts and not _is_constant(edit)]

    def write(self, values: Tensor, layer: int) -> Tensor:
        """Edit copy i of every prompt by edit i."""
        here = [(copy, edit) for copy, edit in self._other if layer in edit.layers]
        if layer not in self._scaled and not here:
            return values
        values = values.clone()
        if layer in self._scaled:
            at, which, factors = (column.to(values.device) for column in self._scaled[layer])
            values[:, at, which] = values[:, at, which] * factors.to(values.dtype)
        for copy, edit in here:
            values[:, copy : copy + 1] = edit.apply(values[:, copy : copy + 1], layer)
        return values


def _is_constant(edit: Edit) -> bool:
    return all(part.intervention.scale is not None for part in edit.parts)


def _chunks(items: Sequence[int], size: int) -> list[list[int]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def tie_orders(questions: Sequence[Question], seed: int) -> Int[Tensor, "question option"]:
    """By question, the seeded order in which options that tie are preferred; options that it lacks come last."""
    options = max(len(question.letters) for question in questions)
    orders = []
    for question in questions:
        order = list(range(len(question.letters)))
        random.Random(f"{seed}|tie|{question.prompt}").shuffle(order)
        orders.append(order + list(range(len(order), options)))
    return torch.tensor(orders)
