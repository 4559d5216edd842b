"""Attribution: a score for every neuron of every layer (NeuronLLM §3.4, CNI)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.engine.base import Asked, Gradients, Path, asked_of, by_options, joined
from neuron_antagonism.engine.choose import Choice, choose
from neuron_antagonism.errors import ModelError, PluginError, UsageError, unknown
from neuron_antagonism.functional import reordered, resolve_z
from neuron_antagonism.method.attribution import Attribution, Filtered
from neuron_antagonism.method.guard import left_as_it_was
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.model.turn import without_autocast
from neuron_antagonism.neurons import check_count
from neuron_antagonism.plugin.base import Scorer, Target
from neuron_antagonism.plugin.foreign import foreign
from neuron_antagonism.plugin.manager import registry, run_check
from neuron_antagonism.plugin.scorers import own_target, passes_of_its_own
from neuron_antagonism.progress import Progress
from neuron_antagonism.settings import COMPLETENESS_TOLERANCE, Settings
from neuron_antagonism.types import Example, Question, as_examples, whole

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel

MIN_AUTO_STEPS = 16
MAX_AUTO_STEPS = 256


def attribute(
    model: HookedModel,
    examples: Sequence[Example | Question],
    scorer: str | Scorer = "ace",
    *,
    options: Mapping[str, Any] | None = None,
    steps: int | str = 16,
    quadrature: str = "right",
    engine: str = "auto",
    site: str = "post",
    budget: int = 100,
    seed: int = 0,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Attribution:
    """Score every neuron of every layer with one scorer.

    Args:
        model: the model; restored afterwards.
        examples: identification examples (the paper: five), or plain questions.
        scorer: a registered name or an instance.
        options: the scorer's options.
        steps, quadrature, engine, site, budget, seed, max_tokens, progress: see `Settings`.

    Raises:
        AntagonismError: one line that names what was wrong and what is accepted.
    """
    made = _scorer(scorer, options)
    settings = Settings(steps, quadrature, engine, site, budget, seed, max_tokens, progress)
    return attribute_each(model, examples, [made], settings)[0]


def attribute_many(
    model: HookedModel,
    examples: Sequence[Example | Question],
    scorers: Sequence[str | Scorer],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    steps: int | str = 16,
    quadrature: str = "right",
    engine: str = "auto",
    site: str = "post",
    budget: int = 100,
    seed: int = 0,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Attribution]:
    """Score every neuron with several scorers; forwards, and gradients of equal targets, are shared.

    Args:
        scorers: registered names or instances, no name twice.
        options: options by scorer name.

    The other arguments are those of `attribute`.
    """
    made = [
        _scorer(scorer, (options or {}).get(scorer if isinstance(scorer, str) else scorer.name)) for scorer in scorers
    ]
    names = [scorer.name for scorer in made]
    if len(set(names)) != len(names):
        raise UsageError(f"scorers are named twice: {names}; accepted: each once")
    for name in options or {}:
        if name not in names:
            raise UsageError(unknown("scorer in options", name, names))
    settings = Settings(steps, quadrature, engine, site, budget, seed, max_tokens, progress)
    return dict(zip(names, attribute_each(model, examples, made, settings), strict=True))


def _plain(settings: Settings) -> Settings:
    """The settings with plain whole numbers, whatever integer type they were given in."""
    numbers: dict[str, Any] = {name: whole(getattr(settings, name)) for name in ("budget", "steps", "seed")}
    return replace(settings, **{name: number for name, number in numbers.items() if number is not None})


def _scorer(scorer: str | Scorer, options: Mapping[str, Any] | None) -> Scorer:
    if isinstance(scorer, str):
        return registry().make(Scorer, scorer, options)
    if not isinstance(scorer, Scorer):
        raise UsageError(f"scorer {scorer!r} is neither a name nor an instance of na.Scorer")
    return scorer.with_options(**options) if options else scorer


@without_autocast()
def attribute_each(
    model: HookedModel, examples: Sequence[Example | Question], scorers: Sequence[Scorer], settings: Settings
) -> list[Attribution]:
    """Attributions of scorer instances in their order; names may repeat."""
    check_model(model)
    asked = as_examples(examples)
    settings = _plain(settings)
    check_count(settings.budget, model.n_layers * model.units(settings.site), "budget")
    scorers = [_with_settings(scorer, model, settings) for scorer in scorers]
    for scorer in scorers:
        run_check(scorer, model, asked, settings.site)
    own = [passes_of_its_own(scorer) for scorer in scorers]
    shared = [scorer for scorer, mine in zip(scorers, own, strict=True) if not mine]
    questions = _encoded(model, asked)
    found = _gradients(model, questions, shared, settings) if shared else None
    if found is not None and found[0].integrated:
        # one m for all, scorers with passes of their own included
        settings = replace(settings, steps=found[2])
    results = []
    for scorer, mine in zip(scorers, own, strict=True):
        if mine:
            who = f"scorer {scorer.name!r}"
            with left_as_it_was(model, who, questions[0].encoded.ids), foreign(f"{who} failed in attribute()"):
                result = scorer.attribute(model, asked, settings)
            _check_own(scorer, result, model, len(asked), settings.site)
        else:
            assert found is not None
            result = _aggregated(model, scorer, asked, *found, settings)
        results.append(result)
    return results


@without_autocast()
def settled_steps(
    model: HookedModel, sets: Sequence[Sequence[Example]], scorers: Sequence[Scorer], settings: Settings
) -> int | str:
    """The one m of all scorers on all sets of examples.

    Where the settings leave it to be found ("auto"): the smallest doubling of 16 at which every completeness error is
    within the tolerance, at most 256. Scorers with passes of their own have no say; where no other integrates
    gradients, it stays "auto", which those may settle.

    Args:
        model: the model.
        sets: the examples of each task.
        scorers: all that will score them.
        settings: how they will.
    """
    integrating = [s for s in scorers if not passes_of_its_own(s) and own_target(s) is not None]
    if settings.steps != "auto" or not integrating:
        return settings.steps

    def complete(examples: Sequence[Example], steps: int) -> bool:
        gradients, _, _ = _gradients(model, _encoded(model, examples), integrating, replace(settings, steps=steps))
        return _largest_gap(gradients) <= COMPLETENESS_TOLERANCE

    steps = MIN_AUTO_STEPS
    while steps < MAX_AUTO_STEPS and not all(complete(examples, steps) for examples in sets):
        steps *= 2
    return steps


def _encoded(model: HookedModel, examples: Sequence[Example]) -> list[Asked]:
    flat = [q for example in examples for q in example.proxies]
    return asked_of(model, flat)


def _with_settings(scorer: Scorer, model: HookedModel, settings: Settings) -> Scorer:
    """The scorer with its z as a count, and with the seed of the settings unless it has one of its own."""
    if scorer.draws and "seed" not in scorer.options.model_fields_set:
        scorer = scorer.with_options(seed=settings.seed)
    return with_fixed_z(scorer, model.n_layers * model.units(settings.site), settings.budget)


def with_fixed_z(scorer: Scorer, n_total: int, budget: int) -> Scorer:
    """The scorer with its z, where it uses one, as a count for a model of `n_total` neurons.

    Raises:
        UsageError: a z that is larger than the model.
    """
    if not isinstance(scorer.options, Scorer.Options) or not scorer.options.reorders:
        return scorer
    return scorer.with_options(z=resolve_z(scorer.options.z, n_total, budget, f"{scorer.name}.z"))


def _gradients(
    model: HookedModel, questions: Sequence[Asked], scorers: Sequence[Scorer], settings: Settings
) -> tuple[Gradients, Choice, int]:
    """Gradients for all distinct targets, the engine used, and the number of steps."""
    targets: list[Target] = list(dict.fromkeys(target for s in scorers if (target := own_target(s)) is not None))
    choice = choose(model, [q.encoded.ids for q in questions], settings.engine)
    engine = choice.engine(settings.max_tokens)
    if settings.steps != "auto" and isinstance(settings.steps, str):
        raise UsageError(f"steps is {settings.steps!r}; accepted: a whole number of at least 1, or 'auto'")
    steps = MIN_AUTO_STEPS if isinstance(settings.steps, str) else settings.steps
    groups = by_options(questions)
    while True:
        path = Path.of(settings.quadrature, steps, settings.site)
        # whatever mode the caller is in, gradients are wanted here
        with torch.inference_mode(False):
            parts = [
                engine.integrated_gradients(model, [questions[i] for i in group], targets, path, settings.progress)
                for group in groups
            ]
            gradients = joined(parts, groups)
        if not bool(torch.isfinite(gradients.values).all()):
            raise ModelError(
                f"{model.name} has neuron values that are not finite (dtype {model.dtype}); accepted: finite ones"
            )
        if settings.steps != "auto" or steps >= MAX_AUTO_STEPS or _largest_gap(gradients) <= COMPLETENESS_TOLERANCE:
            return gradients, choice, steps
        steps *= 2


def _largest_gap(gradients: Gradients) -> float:
    """The largest completeness error of any target; 0 where there is none."""
    gaps = []
    for target, change in gradients.change.items():
        gap = (gradients.integrated[target].sum(-1) - change).abs().sum()
        gaps.append(float(gap / change.abs().sum().clamp_min(1e-30)))
    return max(gaps, default=0)


def _aggregated(
    model: HookedModel,
    scorer: Scorer,
    examples: Sequence[Example],
    gradients: Gradients,
    choice: Choice,
    steps: int,
    settings: Settings,
) -> Attribution:
    target = own_target(scorer)
    per_question = gradients.values if target is None else gradients.integrated[target]
    edges = [0, *accumulate(len(example.proxies) for example in examples)]
    per_example = torch.stack([per_question[a:b].sum(0) for a, b in pairwise(edges)])
    with foreign(f"scorer {scorer.name!r} failed in aggregate()"):
        scores = scorer.aggregate(per_example, per_question)
    _check_result(scorer, scores, model, settings.site)
    change = None if target is None else gradients.change[target]
    return Attribution(
        scores=scores.detach().float().cpu(),
        example_scores=per_example.float(),
        completeness=None if change is None else (per_question.sum(-1) - change).abs().float(),
        change=None if change is None else change.float(),
        scorer=scorer.name,
        options=scorer.options.model_dump(),
        target="" if target is None else (target.name or type(target).__name__),
        engine=choice.name,
        engine_reason=choice.reason,
        steps=0 if target is None else steps,
        quadrature="" if target is None else settings.quadrature,
        site=settings.site,
        roles=tuple(scorer.roles),
        filtered=_filtered(scorer, per_example, scores),
    )


def _filtered(
    scorer: Scorer, example_scores: Float[Tensor, "example layer neuron"], scores: Float[Tensor, "layer neuron"]
) -> Filtered | None:
    """What the ambiguity filter dropped; None where the scores did not go through it."""
    options = scorer.options
    if not isinstance(options, Scorer.Options) or not options.reorders or options.ambiguous != "drop":
        return None
    kept, both = reordered(example_scores, z=resolve_z(options.z, scores.numel()))
    # the options say what was asked for; a scorer with an aggregation of its own may do something else
    if not torch.equal(kept.masked_fill(both, 0.0), scores.to(kept)):
        return None
    sizes = kept.double().abs()
    return Filtered(int(both.sum()), float(sizes[both].sum() / sizes.sum().clamp_min(1e-30)))


def _check_own(scorer: Scorer, result: object, model: HookedModel, examples: int, site: str) -> None:
    """Check what a scorer's own attribute() gave."""
    if not isinstance(result, Attribution):
        raise PluginError(
            f"scorer {scorer.name!r} returned {type(result).__name__} from attribute(); accepted: na.Attribution"
        )
    if result.site != site:
        raise PluginError(
            f"scorer {scorer.name!r} returned scores at site {result.site!r}; accepted: {site!r}, as asked"
        )
    _check_result(scorer, result.scores, model, site)
    shape = (examples, model.n_layers, model.units(site))
    if tuple(result.example_scores.shape) != shape or not bool(torch.isfinite(result.example_scores).all()):
        raise PluginError(
            f"scorer {scorer.name!r} returned example_scores of shape {tuple(result.example_scores.shape)}; "
            f"accepted: finite ones of shape {shape}"
        )


def _check_result(scorer: Scorer, scores: object, model: HookedModel, site: str) -> None:
    shape = (model.n_layers, model.units(site))
    accepted = f"accepted: a floating tensor of shape {shape} with finite values"
    if not isinstance(scores, torch.Tensor):
        raise PluginError(f"scorer {scorer.name!r} returned {type(scores).__name__}; {accepted}")
    if tuple(scores.shape) != shape or not scores.dtype.is_floating_point:
        raise PluginError(f"scorer {scorer.name!r} returned {scores.dtype} of shape {tuple(scores.shape)}; {accepted}")
    bad = int((~torch.isfinite(scores)).sum())
    if bad:
        raise PluginError(f"scorer {scorer.name!r} returned {bad} values that are not finite; {accepted}")
