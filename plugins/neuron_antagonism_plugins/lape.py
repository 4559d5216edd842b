"""LAPE: which neurons fire for one class of questions and hardly for the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._concepts import MOST_CONCEPTS, concepts_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

SHARE = 0.95
"""The percentile of all shares that one of a neuron's must exceed."""


class Lape(na.Scorer):
    """Activation probability entropy over the classes of the questions (their right options' texts); no bad set.

    P_k = share of the tokens of class k at which the neuron fires, act(gate) > 0 (in an FFN without a gate: its value
    > 0). With p = P / Σ_k P_k and H = −Σ_k p_k ln p_k, the score is ln(number of classes) − H: the lower the entropy,
    the higher. Only neurons score of which some P_k exceeds the 95th percentile of all P (of all neurons and classes);
    where that percentile is the largest P there is, as it is of few tokens, those with a P_k that reaches it. All
    others score 0. The score says how specific a neuron is to some class, not to which one, and not whether it helps:
    `extras` hold P by class (`share.NAME`).

    act(gate) > 0 is read from the neuron itself: its value is act(gate) · up, so the two factors' signs agree where the
    values of the sites `post` and `up` have one sign. That holds for any activation function, and loading proves it
    (proof `up`).

    An example score is the share of the example's own tokens at which the neuron fires. One forward a question, no
    gradient.
    """

    name = "lape"
    target = None
    roles = ("good",)
    reference = (
        "LAPE (Tang et al. 2024, Language-Specific Neurons, arXiv 2402.16438), computed as in the authors' identify.py"
    )

    class Options(na.Options):
        """Which tokens count."""

        positions: Literal["last", "all"] = Field(
            default="last",
            description="tokens that count: 'last': each prompt's last one; 'all' (as Tang et al.): every token of the "
            "prompts, what all prompts share included",
        )

    def check(self, model: na.HookedModel, examples: Sequence[na.Example], site: str) -> None:
        """Units must be FFN neurons whose gates can be read; there must be two classes or more, but not too many."""
        if site not in ("post", "up"):
            raise na.UsageError(f"scorer {self.name!r} at site {site!r}; accepted: 'post' or 'up', FFN neurons")
        _gated(model)
        classes = concepts_of(examples)
        if not 2 <= len(classes) <= MOST_CONCEPTS:
            raise na.DataError(
                f"scorer {self.name!r}: the right answers of the {len(examples)} examples are {len(classes)} different "
                f"texts; accepted: 2 to {MOST_CONCEPTS}, a task whose answers are classes"
            )

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """One pass over the examples, a prompt at a time."""
        import torch

        if model.is_edited:
            raise na.UsageError(f"scorer {self.name!r} inside model.edited(); accepted: outside, of the unedited model")
        asked = [(e, question) for e, example in enumerate(examples) for question in example.proxies]
        prompts = [encoded.ids for encoded in model.encode_all([question for _, question in asked])]
        classes = concepts_of(examples)
        shape = (model.n_layers, model.n_neurons)
        fired = torch.zeros(len(classes), *shape, dtype=torch.int64)
        tokens = torch.zeros(len(classes), dtype=torch.int64)
        per_example = torch.zeros(len(examples), *shape, dtype=torch.int64)
        counted = torch.zeros(len(examples), dtype=torch.int64)
        for done, ((e, question), ids) in enumerate(zip(asked, prompts, strict=True), start=1):
            found, count = self._fired(model, ids)
            place = classes.index(question.concept)
            fired[place] += found
            tokens[place] += count
            per_example[e] += found
            counted[e] += count
            if settings.progress is not None:
                settings.progress("values", done, len(asked))
        shares = fired.double() / tokens[:, None, None]
        return na.Attribution(
            scores=_specificity(shares).float(),
            example_scores=(per_example.double() / counted[:, None, None]).float(),
            scorer=self.name,
            options=self.options.model_dump(mode="json"),
            site=settings.site,
            roles=self.roles,
            extras={f"share.{name}": share for name, share in zip(classes, shares, strict=True)},
        )

    def _fired(self, model: na.HookedModel, ids: Sequence[int]) -> tuple[Int[Tensor, "layer neuron"], int]:
        """At how many of a prompt's tokens that count each neuron fires, and how many tokens those are."""
        import torch

        first = 0 if self.options.positions == "all" else len(ids) - 1
        sites = ("post", "up") if _gated(model) else ("post",)
        signs: dict[tuple[str, int], Tensor] = {}

        def seen(values: Tensor, layer: int, site: str) -> Tensor:
            signs[site, layer] = values[0, first:].sign().to(torch.int8)
            return values

        layers = range(model.n_layers)
        with torch.no_grad(), model.writing(layers, lambda v, layer: seen(v, layer, sites[-1]), sites[-1]):
            if len(sites) == 1:
                model.last_logits([ids])
            else:
                with model.writing(layers, lambda v, layer: seen(v, layer, "post")):
                    model.last_logits([ids])
        found = []
        for layer in layers:
            sign = signs["post", layer]
            if len(sites) > 1:
                sign = sign * signs["up", layer].to(sign.device)
            found.append((sign > 0).sum(0).cpu())
        return torch.stack(found), len(ids) - first


def _gated(model: na.HookedModel) -> bool:
    """Whether a model's FFN has a gate.

    Raises:
        UsageError: it has one that can't be read.
    """
    if model.has_site("up"):
        model.site("up")
        return True
    if getattr(model.bridge.cfg, "gated_mlp", False):
        raise na.UsageError(
            f"{model.name} ({model.architecture}) has a gate in its FFN that can't be read apart from the values; "
            "accepted for scorer 'lape': models with the site 'up', or without a gate"
        )
    return False


def _specificity(shares: Float[Tensor, "k layer neuron"]) -> Float[Tensor, "layer neuron"]:
    """ln(number of classes) − H of the neurons that fire often enough for some class, else 0."""
    import torch

    flat = shares.flatten()
    bar = flat.kthvalue(max(1, round(SHARE * len(flat)))).values
    largest = shares.amax(0)
    often = (largest > bar) | ((largest == bar) & (bar == flat.max()) & (bar > 0))
    p = shares / shares.sum(0).clamp_min(torch.finfo(shares.dtype).tiny)
    entropy = -torch.xlogy(p, p).sum(0)
    score: Tensor = (torch.tensor(len(shares)).double().log() - entropy).clamp_min(0) * often
    # rounding is no specificity
    return score.where(score > 1e-12, 0.0)


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Lape]
