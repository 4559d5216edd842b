"""Attribution: a score for every neuron of every layer (NeuronLLM §3.4, CNI)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import torch

from neuron_antagonism.engine.base import Asked, Gradients, Path, Progress
from neuron_antagonism.engine.choose import Choice, choose
from neuron_antagonism.errors import AntagonismWarning, DataError, ModelError, PluginError, UsageError, unknown
from neuron_antagonism.files import write_whole
from neuron_antagonism.functional import ranked, resolve_z
from neuron_antagonism.neurons import NeuronSet, check_count
from neuron_antagonism.plugin.base import Scorer, Target
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.types import Example, Question

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel

COMPLETENESS_TOLERANCE = 0.1
MAX_AUTO_STEPS = 256


@dataclass(frozen=True)
class Settings:
    """How attribution is carried out.

    Args:
        steps: number of quadrature nodes m, or "auto": doubled from 16 until the completeness error is at most
            10 %, at most 256.
        quadrature: "right" (NeuronLLM Eq. 1), "midpoint" or "gauss-legendre".
        engine: "auto", "replay", "rows" or "reference".
        site: "post" (input of the FFN's output projection) or "up".
        budget: the largest number of neurons that will be chosen from the scores; bounds the default z.
        seed: of scorers that draw, unless their own option `seed` is set.
        progress: called with what is being done, how much is done and how much there is.
    """

    steps: int | str = 16
    quadrature: str = "right"
    engine: str = "auto"
    site: str = "post"
    budget: int = 100
    seed: int = 0
    progress: Progress | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class Attribution:
    """Scores of all neurons, and what they were computed from.

    Attributes:
        scores: task-level score of each neuron, float32 on the CPU; high = good, low = bad.
        example_scores: ES of each example (NeuronLLM Eq. 4), float32.
        completeness: |Σ IG − (F(w) − F(0))| per question and layer; None where there is no gradient.
        change: F(w) − F(0) per question and layer; None likewise.
        scorer, options, target: what scored, and the function whose gradients were integrated ("" = none).
        engine, engine_reason: how the gradients were computed, and why so.
        steps, quadrature, site: of the path integral.
        roles: which ends of the scores mean something.
        extras: further tensors of the scorer, by name.
    """

    scores: Float[Tensor, "layer neuron"]
    example_scores: Float[Tensor, "example layer neuron"]
    completeness: Float[Tensor, "question layer"] | None = None
    change: Float[Tensor, "question layer"] | None = None
    scorer: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    target: str = ""
    engine: str = ""
    engine_reason: str = ""
    steps: int = 0
    quadrature: str = ""
    site: str = "post"
    roles: tuple[str, ...] = ("good", "bad")
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def completeness_error(self) -> float | None:
        """Σ gap / Σ |F(w) − F(0)| over questions and layers; None where there is no gradient."""
        if self.completeness is None or self.change is None:
            return None
        return float(self.completeness.sum() / self.change.abs().sum().clamp_min(1e-30))

    def good(self, k: int = 100) -> NeuronSet:
        """The top `k` neurons with a positive score, strongest first; fewer (with a warning) where there are fewer."""
        return self._chosen(k, "good", self.scores)

    def bad(self, k: int = 100) -> NeuronSet:
        """The bottom `k` neurons with a negative score, strongest first; fewer (with a warning) where there are fewer.

        Raises:
            UsageError: the scorer has no bad set.
        """
        if "bad" not in self.roles:
            raise UsageError(f"scorer {self.scorer!r} has no bad neurons; accepted: good() only")
        return self._chosen(k, "bad", -self.scores)

    def to_pandas(self) -> pd.DataFrame:
        """One row a neuron: layer, neuron, score, rank (1 = highest score)."""
        import pandas as pd

        n_layers, n_neurons = self.scores.shape
        rank = torch.empty(n_layers * n_neurons, dtype=torch.int64)
        rank[ranked(self.scores)] = torch.arange(1, n_layers * n_neurons + 1)
        return pd.DataFrame(
            {
                "layer": torch.arange(n_layers).repeat_interleave(n_neurons).numpy(),
                "neuron": torch.arange(n_neurons).repeat(n_layers).numpy(),
                "score": self.scores.flatten().numpy(),
                "rank": rank.numpy(),
            }
        )

    def save(self, directory: str | FilePath) -> None:
        """Write `attribution.safetensors` into a directory, which is made if needed."""
        path = FilePath(directory)
        try:
            path.mkdir(parents=True, exist_ok=True)
            self.save_as(path / "attribution.safetensors")
        except OSError as error:
            raise DataError(
                f"can't write scores to {directory}: {error.strerror}; accepted: a writable directory"
            ) from None

    def save_as(self, file: FilePath, key: str = "") -> None:
        """Write one safetensors file, atomically; everything that is no tensor goes into its metadata.

        Args:
            file: its path.
            key: what the scores were computed from, for `stored_key`.
        """
        from safetensors.torch import save

        tensors = {"scores": self.scores, "example_scores": self.example_scores}
        tensors |= {name: t for name in ("completeness", "change") if (t := getattr(self, name)) is not None}
        tensors |= {f"extras.{name}": tensor for name, tensor in self.extras.items()}
        meta = {"key": key} | {name: json.dumps(getattr(self, name)) for name in _TEXT}
        write_whole(file, save({k: v.contiguous() for k, v in tensors.items()}, metadata=meta))

    @classmethod
    def load(cls, source: str | FilePath) -> Attribution:
        """Read what `save` wrote: the directory, or the safetensors file itself.

        Raises:
            DataError: no such file, or one that is not such scores.
        """
        from safetensors import SafetensorError, safe_open

        path = FilePath(source)
        path = path / "attribution.safetensors" if path.is_dir() else path
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
                meta = file.metadata() or {}
            text = {name: json.loads(meta[name]) for name in _TEXT}
            text["roles"] = tuple(text["roles"])
            extras = {name.removeprefix("extras."): t for name, t in tensors.items() if name.startswith("extras.")}
            own = {name: t for name, t in tensors.items() if not name.startswith("extras.")}
            return cls(**own, **text, extras=extras)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"can't read scores from {path}: {error}; accepted: what Attribution.save wrote") from None

    @staticmethod
    def stored_key(file: FilePath) -> str | None:
        """The key that a file of scores was saved with; None where there is no such file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="pt") as opened:
                return (opened.metadata() or {}).get("key")
        except (OSError, SafetensorError):
            return None

    def __repr__(self) -> str:
        """Scorer and shape."""
        n_layers, n_neurons = self.scores.shape
        return f"Attribution({self.scorer!r}, {n_layers} x {n_neurons} neurons, engine={self.engine!r})"

    def _chosen(self, k: int, role: str, strength: Tensor) -> NeuronSet:
        check_count(k, self.scores.numel())
        order = ranked(strength)[:k]
        order = order[strength.flatten()[order] > 0]
        if len(order) < k:
            warnings.warn(
                f"scorer {self.scorer!r} has {len(order)} {role} neurons, {k} were asked for; the set is not filled up",
                AntagonismWarning,
                stacklevel=3,
            )
        n_neurons = self.scores.shape[1]
        return NeuronSet(order // n_neurons, order % n_neurons, self.scores.flatten()[order])


_TEXT = ("scorer", "options", "target", "engine", "engine_reason", "steps", "quadrature", "site", "roles")


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
    progress: Progress | None = None,
) -> Attribution:
    """Score every neuron of every layer with one scorer.

    Args:
        model: the model; restored afterwards.
        examples: identification examples (the paper: five), or plain questions.
        scorer: a registered name or an instance.
        options: the scorer's options.
        steps, quadrature, engine, site, budget, seed, progress: see `Settings`.

    Raises:
        AntagonismError: one line that names what was wrong and what is accepted.
    """
    made = _scorer(scorer, options)
    settings = Settings(steps, quadrature, engine, site, budget, seed, progress)
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
    settings = Settings(steps, quadrature, engine, site, budget, seed, progress)
    return dict(zip(names, attribute_each(model, examples, made, settings), strict=True))


def _scorer(scorer: str | Scorer, options: Mapping[str, Any] | None) -> Scorer:
    if isinstance(scorer, str):
        return registry().make(Scorer, scorer, options)
    if not isinstance(scorer, Scorer):
        raise UsageError(f"scorer {scorer!r} is neither a name nor an instance of na.Scorer")
    return scorer.with_options(**options) if options else scorer


def attribute_each(
    model: HookedModel, examples: Sequence[Example | Question], scorers: Sequence[Scorer], settings: Settings
) -> list[Attribution]:
    """Attributions of scorer instances in their order; names may repeat."""
    asked = [Example.of(thing) for thing in examples]
    if not asked:
        raise DataError("there are no examples to attribute; accepted: at least one (the paper: five)")
    check_count(settings.budget, model.n_layers * model.n_neurons)
    model.site(settings.site)
    scorers = [_with_settings(scorer, model, settings) for scorer in scorers]
    own = [type(scorer).attribute is not Scorer.attribute for scorer in scorers]
    shared = [scorer for scorer, mine in zip(scorers, own, strict=True) if not mine]
    questions = [Asked(model.encode(q), q.answer) for example in asked for q in example.proxies]
    found = _gradients(model, questions, shared, settings) if shared else None
    results = []
    for scorer, mine in zip(scorers, own, strict=True):
        if mine:
            result = scorer.attribute(model, asked, settings)
            _check_result(scorer, result.scores, model)
        else:
            assert found is not None
            result = _aggregated(model, scorer, asked, *found, settings)
        results.append(result)
    return results


def _with_settings(scorer: Scorer, model: HookedModel, settings: Settings) -> Scorer:
    """The scorer with its z as a count, and with the seed of the settings unless it has one of its own."""
    if scorer.draws and "seed" not in scorer.options.model_fields_set:
        scorer = scorer.with_options(seed=settings.seed)
    if not isinstance(scorer.options, Scorer.Options):
        return scorer
    n_total = model.n_layers * model.n_neurons
    return scorer.with_options(z=resolve_z(scorer.options.z, n_total, settings.budget, f"{scorer.name}.z"))


def _gradients(
    model: HookedModel, questions: Sequence[Asked], scorers: Sequence[Scorer], settings: Settings
) -> tuple[Gradients, Choice, int]:
    """Gradients for all distinct targets, the engine used, and the number of steps."""
    targets: list[Target] = list(dict.fromkeys(s.target for s in scorers if s.target is not None))
    choice = choose(model, [q.encoded.ids for q in questions], settings.engine)
    if settings.steps != "auto" and isinstance(settings.steps, str):
        raise UsageError(f"steps is {settings.steps!r}; accepted: a whole number of at least 1, or 'auto'")
    steps = 16 if isinstance(settings.steps, str) else settings.steps
    while True:
        path = Path.of(settings.quadrature, steps, settings.site)
        gradients = choice.engine().integrated_gradients(model, questions, targets, path, settings.progress)
        if not bool(torch.isfinite(gradients.values).all()):
            raise ModelError(
                f"{model.name} has neuron values that are not finite (dtype {model.dtype}); accepted: finite ones"
            )
        errors = [_relative_gap(gradients, target) for target in targets]
        if settings.steps != "auto" or steps >= MAX_AUTO_STEPS or max(errors, default=0) <= COMPLETENESS_TOLERANCE:
            return gradients, choice, steps
        steps *= 2


def _relative_gap(gradients: Gradients, target: Target) -> float:
    change = gradients.change[target]
    return float((gradients.integrated[target].sum(-1) - change).abs().sum() / change.abs().sum().clamp_min(1e-30))


def _aggregated(
    model: HookedModel,
    scorer: Scorer,
    examples: Sequence[Example],
    gradients: Gradients,
    choice: Choice,
    steps: int,
    settings: Settings,
) -> Attribution:
    target = scorer.target
    per_question = gradients.values if target is None else gradients.integrated[target]
    edges = [0, *accumulate(len(example.proxies) for example in examples)]
    per_example = torch.stack([per_question[a:b].sum(0) for a, b in pairwise(edges)])
    scores = scorer.aggregate(per_example, per_question)
    _check_result(scorer, scores, model)
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
    )


def _check_result(scorer: Scorer, scores: object, model: HookedModel) -> None:
    shape = (model.n_layers, model.n_neurons)
    accepted = f"accepted: a floating tensor of shape {shape} with finite values"
    if not isinstance(scores, torch.Tensor):
        raise PluginError(f"scorer {scorer.name!r} returned {type(scores).__name__}; {accepted}")
    if tuple(scores.shape) != shape or not scores.dtype.is_floating_point:
        raise PluginError(f"scorer {scorer.name!r} returned {scores.dtype} of shape {tuple(scores.shape)}; {accepted}")
    bad = int((~torch.isfinite(scores)).sum())
    if bad:
        raise PluginError(f"scorer {scorer.name!r} returned {bad} values that are not finite; {accepted}")
