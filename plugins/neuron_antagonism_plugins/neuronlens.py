"""NEURONLENS: which units are large for a concept, and how their values are distributed by concept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._concepts import MOST_CONCEPTS, check_concept, concepts_of

if TYPE_CHECKING:
    from torch import Tensor


class NeuronLens(na.Scorer):
    """Mean |value| at the last position over the questions of a concept that the model answers rightly; no bad set.

    Of each layer the largest share scores, the rest scores 0. Layers differ in the scale of their values: `top_share`
    takes each layer's own largest, `good` the largest anywhere.

    `extras` hold each unit's μ (`mean`), σ (`std`, ddof 0), `skewness`, excess `kurtosis` and `normality` (p-value of
    Jarque and Bera's test) over these questions; with a concept also the overlap coefficient of its Gaussian with each
    other concept's (`overlap.NAME`).
    """

    name = "neuronlens"
    target = None
    roles = ("good",)
    reference = "NeuronLens (Neurons Speak in Ranges, 2025)"

    class Options(na.Options):
        """Whose values count, and which units may score."""

        concept: str = Field(
            default="", description="the class (an answer's text) that is asked for; unset: every question's"
        )
        share: float = Field(default=0.3, gt=0, le=1, description="share of each layer's units that score, up to 1")
        layers: tuple[int, ...] = Field(default=(), description="blocks whose units may score; unset: all")

    def check(self, model: na.HookedModel, examples: Sequence[na.Example], site: str) -> None:
        """Blocks must exist, and some question must be of the concept."""
        options = self.options
        if not all(0 <= layer < model.n_layers for layer in options.layers):
            raise na.UsageError(
                f"option {self.name}.layers={list(options.layers)} names a block that is not there; accepted: 0 to "
                f"{model.n_layers - 1}"
            )
        if options.concept:
            check_concept(f"{self.name}.concept", options.concept, examples)
            if len(concepts_of(examples)) > MOST_CONCEPTS:
                raise na.UsageError(
                    f"option {self.name}.concept={options.concept!r:.80}: {len(concepts_of(examples))} different "
                    "answers are no classes; accepted: a task whose answers are, or no concept"
                )

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """One pass over the examples."""
        import torch

        options = self.options
        concepts = concepts_of(examples) if options.concept else [""]
        owners = [(e, q.concept) for e, example in enumerate(examples) for q in example.proxies]
        per_example = torch.zeros(len(examples), model.n_layers, model.units(settings.site))
        counted = torch.zeros(len(examples))
        groups: dict[str, na.Moments] = {concept: na.Moments() for concept in concepts}

        def see(seen: na.Observation) -> None:
            for row, i in enumerate(seen.questions):
                example, concept = owners[i]
                if seen.right[row] and concept in (options.concept or concept,):
                    per_example[example] += seen.values[row].abs().float()
                    counted[example] += 1
            for concept in concepts:
                theirs = [concept in ("", owners[i][1]) for i in seen.questions]
                groups[concept].add(seen.values[seen.right & torch.tensor(theirs)])

        na.observe(
            model,
            examples,
            see,
            site=settings.site,
            seed=settings.seed,
            max_tokens=settings.max_tokens,
            progress=settings.progress,
        )
        own = groups[options.concept]
        if not own.count:
            of = f" of the concept {options.concept!r}" if options.concept else ""
            raise na.DataError(
                f"scorer {self.name!r}: the model answers none of the {len(owners)} questions{of} rightly; "
                "accepted: examples of which it answers some"
            )
        saliency = na.Attribution(
            scores=own.mean_abs.float(),
            example_scores=per_example / counted.clamp_min(1)[:, None, None],
            scorer=self.name,
            options=options.model_dump(mode="json"),
            site=settings.site,
            roles=self.roles,
            extras=_shape(own) | _overlaps(own, groups, options.concept),
        )
        top = saliency.top_share(options.share, options.layers)
        scores = torch.zeros_like(saliency.scores)
        scores[top.layers, top.neurons] = top.scores
        return dataclasses.replace(saliency, scores=scores)


def _shape(own: na.Moments) -> dict[str, Tensor]:
    names = ("mean", "std", "skewness", "kurtosis", "normality")
    return {name: getattr(own, name) for name in names}


def _overlaps(own: na.Moments, groups: Mapping[str, na.Moments], concept: str) -> dict[str, Tensor]:
    return {
        f"overlap.{other}": na.gaussian_overlap(own.mean, own.std, moments.mean, moments.std)
        for other, moments in groups.items()
        if other != concept and moments.count
    }


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [NeuronLens]
