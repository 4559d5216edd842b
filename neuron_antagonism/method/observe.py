"""What units are worth while a model answers: their values at the last position, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import torch

from neuron_antagonism.engine.base import longest_first
from neuron_antagonism.engine.choose import choose
from neuron_antagonism.engine.copies import batches, own_tokens
from neuron_antagonism.engine.memory import TokenLimit, is_out_of_memory
from neuron_antagonism.errors import DataError, ModelError, UsageError, unknown
from neuron_antagonism.functional import option_log_probabilities
from neuron_antagonism.method.evaluate import check_letters, chosen_options, letters_of, tie_orders
from neuron_antagonism.method.moments import Moments
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.progress import Progress
from neuron_antagonism.types import Example, Question, as_examples

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.model.prefix import Prefix

Answered = Literal["right", "wrong", "all"]
ANSWERED: tuple[Answered, ...] = get_args(Answered)


@dataclass(frozen=True, eq=False)
class Observation:
    """Some questions, seen together.

    Attributes:
        questions: their indices in the order of the examples' questions.
        values: of every unit at the last position, on the CPU, float32 or wider.
        right: whether each was answered rightly.
    """

    questions: tuple[int, ...]
    values: Float[Tensor, "question layer unit"]
    right: Bool[Tensor, " question"]


def observe(
    model: HookedModel,
    examples: Sequence[Example | Question],
    see: Callable[[Observation], None],
    *,
    site: str = "post",
    seed: int = 0,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Hand over the unedited model's unit values and answers, each question once, in batches.

    Memory does not grow with the number of examples, unless `see` keeps what it is given.

    Args:
        model: the model.
        examples: examples or plain questions.
        see: called with each batch.
        site: where the units are: "post", "up" or "resid_post".
        seed: breaks exact ties between letters.
        max_tokens: tokens in one forward; None = planned from the free memory.
        progress: called with what is being done, how much is done and how much there is.

    Raises:
        UsageError: the model is being edited.
        ModelError: values that are not finite.
    """
    check_model(model)
    if model.is_edited:
        raise UsageError("values were to be observed inside model.edited(); accepted: outside, of the unedited model")
    questions = [question for example in as_examples(examples) for question in example.proxies]
    encoded = model.encode_all(questions)
    prompts = [e.ids for e in encoded]
    model.site(site)
    # the reference engine is there for models that can't continue from a cache
    cached = choose(model, prompts, "auto").name != "reference"
    limit = TokenLimit(model, max(map(len, prompts)), "reference", given=max_tokens)
    done = 0

    def work(part: list[int], shared: Prefix | None) -> None:
        nonlocal done
        logits, values = model.last_values([prompts[i] for i in part], shared, site)
        if not bool(torch.isfinite(values).all()):
            raise ModelError(
                f"{model.name} has unit values that are not finite (dtype {model.dtype}); accepted: finite ones"
            )
        options = max(len(encoded[i].letters) for i in part)
        letters, absent = letters_of(encoded, part, options, logits.device)
        check_letters(model, logits, letters)
        log_p = option_log_probabilities(logits, letters, absent).double().cpu()
        chosen, _ = chosen_options(log_p, tie_orders([questions[i] for i in part], seed))
        right = chosen == torch.tensor([questions[i].answer for i in part])
        values = values if values.dtype == torch.float64 else values.float()
        try:
            see(Observation(tuple(part), values.cpu(), right))
        except RuntimeError as error:
            # not for the limit to try again: what was seen must not be seen twice
            if is_out_of_memory(error):
                raise ModelError("out of memory while values were kept; accepted: to keep less of each batch") from None
            raise
        done += len(part)
        if progress is not None:
            progress("values", done, len(questions))

    for group, shared in batches(model, prompts, "replay") if cached else [(longest_first(prompts), None)]:
        limit.in_batches(group, partial(own_tokens, prompts, shared), partial(work, shared=shared))


@dataclass(frozen=True)
class ValueStatistics:
    """Statistics of every unit's value at the last position.

    Attributes:
        site: where the units are.
        concepts: those that were kept apart.
        groups: by concept ("" = all that were not kept apart) and by whether the question was answered rightly.
    """

    site: str
    concepts: tuple[str, ...]
    groups: Mapping[tuple[str, bool], Moments]

    def of(self, concept: str | None = None, answered: Answered = "right") -> Moments:
        """The moments over some of the questions.

        Args:
            concept: a concept that was kept apart; None = every question.
            answered: "right", "wrong" or "all".

        Raises:
            UsageError: a concept that was not kept apart, or something else for `answered`.
        """
        if concept is not None and concept not in self.concepts:
            raise UsageError(unknown("concept", concept, self.concepts))
        if answered not in ANSWERED:
            raise UsageError(unknown("answered", answered, ANSWERED))
        found = Moments()
        for (name, right), moments in self.groups.items():
            if concept in (None, name) and answered in ("all", "right" if right else "wrong"):
                found = found.merged(moments)
        return found


def value_statistics(
    model: HookedModel,
    examples: Sequence[Example | Question],
    concepts: Sequence[str] = (),
    *,
    site: str = "post",
    seed: int = 0,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> ValueStatistics:
    """Mean, standard deviation and shape of every unit's value at the last position, in one pass over the examples.

    Memory grows with the number of concepts kept apart, not with that of examples.

    Args:
        model: the unedited model.
        examples: examples or plain questions; a question's concept is its right option's text.
        concepts: which to keep apart; () = none.
        site, seed, max_tokens, progress: see `observe`.

    Raises:
        DataError: no example of a concept.
    """
    if isinstance(concepts, str):
        raise UsageError(f"concepts are the text {concepts!r}; accepted: a list of concepts")
    asked = as_examples(examples)
    concepts = tuple(concepts)
    known = [question.concept for example in asked for question in example.proxies]
    for concept in concepts:
        check_concept(concept, known)
    apart = set(concepts)
    names = [concept if concept in apart else "" for concept in known]
    groups: dict[tuple[str, bool], Moments] = {}

    def see(seen: Observation) -> None:
        keys = [(names[i], right) for i, right in zip(seen.questions, seen.right.tolist(), strict=True)]
        for key in dict.fromkeys(keys):
            rows = torch.tensor([k == key for k in keys])
            groups.setdefault(key, Moments()).add(seen.values[rows])

    observe(model, asked, see, site=site, seed=seed, max_tokens=max_tokens, progress=progress)
    return ValueStatistics(site, concepts, groups)


def check_concept(concept: str, known: Sequence[str]) -> None:
    """Raise DataError unless some question's concept is this one."""
    if concept not in known:
        there = sorted(set(known))
        shown = ", ".join(there[:20]) + (", …" if len(there) > 20 else "")
        raise DataError(
            f"none of the {len(known)} questions is of the concept {concept!r:.80}; accepted: {shown}, or more examples"
        )
