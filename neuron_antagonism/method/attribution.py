"""The scores of all neurons, and what they were computed from."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange, repeat

from neuron_antagonism.errors import AntagonismWarning, DataError, UsageError
from neuron_antagonism.files import expanded
from neuron_antagonism.functional import ranked
from neuron_antagonism.neurons import NeuronSet, check_count
from neuron_antagonism.notebook import html_table
from neuron_antagonism.tensors import read, write

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.types import Example

IN_NOTEBOOKS = 10
"""Neurons of each role that a notebook shows."""


@dataclass(frozen=True)
class Filtered:
    """What the ambiguity filter of additive reordering dropped: neurons good for one example and bad for another.

    Args:
        count: how many neurons.
        share: their share of Σ|score|, 0 to 1, in the scores that `ambiguous="keep"` would give.
    """

    count: int
    share: float


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
        filtered: what additive reordering dropped as ambiguous; None where nothing was filtered so, or not recorded.
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
    filtered: Filtered | None = None

    @classmethod
    def of_questions(
        cls, effects: Float[Tensor, "question layer neuron"], examples: Sequence[Example], **what: Any
    ) -> Attribution:
        """Scores that are the mean effect over the questions; an example's score is the sum over its own.

        Args:
            effects: of every neuron on every question, in the order of the examples' questions.
            examples: what was asked.
            what: further fields: scorer, options, target, engine, site, …
        """
        edges = [0, *accumulate(len(example.proxies) for example in examples)]
        per_example = torch.stack([effects[a:b].sum(0) for a, b in pairwise(edges)])
        return cls(effects.mean(0).float(), per_example.float(), **what)

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

    def top_share(self, share: float, layers: Sequence[int] = ()) -> NeuronSet:
        """The largest share of each layer's units, strongest first, at least one a layer; whatever their sign.

        Args:
            share: above 0, up to 1.
            layers: which blocks; () = all.

        Raises:
            UsageError: a share out of bounds, or a block that is not there.
        """
        n_layers, n_units = self.scores.shape
        if not isinstance(share, int | float) or not 0 < share <= 1:
            raise UsageError(f"share is {share!r}; accepted: above 0, up to 1")
        if not all(0 <= layer < n_layers for layer in layers):
            raise UsageError(f"layers are {list(layers)}; accepted: blocks 0 to {n_layers - 1} of this model")
        # 0.29 · 100 is below 29: rounding first keeps exact products where decimals put them
        count = max(1, int(round(share * n_units, 9)))
        kept = torch.full_like(self.scores, float("-inf"))
        for layer in layers or range(n_layers):
            top = torch.argsort(self.scores[layer], descending=True, stable=True)[:count]
            kept[layer, top] = self.scores[layer, top]
        order = ranked(kept)[: count * len(set(layers) or range(n_layers))]
        return NeuronSet(order // n_units, order % n_units, self.scores.flatten()[order], self.site)

    def to_pandas(self) -> pd.DataFrame:
        """One row a neuron: layer, neuron, score, rank (1 = highest score)."""
        import pandas as pd

        n_layers, n_neurons = self.scores.shape
        rank = torch.empty(n_layers * n_neurons, dtype=torch.int64)
        rank[ranked(self.scores)] = torch.arange(1, n_layers * n_neurons + 1)
        return pd.DataFrame(
            {
                "layer": repeat(torch.arange(n_layers), "layer -> (layer neuron)", neuron=n_neurons).numpy(),
                "neuron": repeat(torch.arange(n_neurons), "neuron -> (layer neuron)", layer=n_layers).numpy(),
                "score": rearrange(self.scores, "layer neuron -> (layer neuron)").numpy(),
                "rank": rank.numpy(),
            }
        )

    def save(self, directory: str | Path) -> None:
        """Write `attribution.safetensors` into a directory, which is made if needed."""
        path = expanded(directory)
        try:
            path.mkdir(parents=True, exist_ok=True)
            write(path / "attribution.safetensors", *self.packed())
        except OSError as error:
            raise DataError(
                f"can't write scores to {directory}: {error.strerror}; accepted: a writable directory"
            ) from None

    def packed(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All tensors as arrays by name, everything else as plain JSON values; `unpacked` makes the same of them."""
        tensors = {"scores": self.scores, "example_scores": self.example_scores}
        tensors |= {name: t for name in ("completeness", "change") if (t := getattr(self, name)) is not None}
        tensors |= {f"extras.{name}": tensor for name, tensor in self.extras.items()}
        # by way of JSON text: options may hold tuples and infinities, which come back as lists and texts
        text = {name: json.loads(json.dumps(getattr(self, name), default=str)) for name in _TEXT}
        text["filtered"] = None if self.filtered is None else asdict(self.filtered)
        # numpy has no bfloat16
        plain = {n: t.float() if t.dtype == torch.bfloat16 else t for n, t in tensors.items()}
        return {name: tensor.detach().cpu().numpy() for name, tensor in plain.items()}, text

    @classmethod
    def unpacked(cls, arrays: Mapping[str, Any], text: Mapping[str, Any]) -> Attribution:
        """What `packed` was given.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        # what comes from another process can't be written to, which torch wants
        own_memory = {name: array if array.flags.writeable else array.copy() for name, array in arrays.items()}
        tensors = {name: torch.from_numpy(array) for name, array in own_memory.items()}
        extras = {name.removeprefix("extras."): t for name, t in tensors.items() if name.startswith("extras.")}
        own: dict[str, Any] = {name: t for name, t in tensors.items() if not name.startswith("extras.")}
        kept: dict[str, Any] = {name: text[name] for name in _TEXT} | {"roles": tuple(text["roles"])}
        filtered = None if text["filtered"] is None else Filtered(**text["filtered"])
        return cls(**own, **kept, extras=extras, filtered=filtered)

    @classmethod
    def load(cls, source: str | Path) -> Attribution:
        """Read what `save` wrote: the directory, or the safetensors file itself.

        Raises:
            DataError: no such file, or one that is not such scores.
        """
        path = expanded(source)
        path = path / "attribution.safetensors" if path.is_dir() else path
        try:
            return cls.unpacked(*read(path))
        except (DataError, KeyError, TypeError, ValueError) as error:
            reason = f"{error}".partition("; accepted")[0].removeprefix(f"can't read {path}: ")
            raise DataError(f"can't read scores from {path}: {reason}; accepted: what Attribution.save wrote") from None

    def __repr__(self) -> str:
        """Scorer and shape, and how many neurons were dropped as ambiguous."""
        n_layers, n_neurons = self.scores.shape
        dropped = f", {self.filtered.count} dropped as ambiguous" if self.filtered is not None else ""
        return f"Attribution({self.scorer!r}, {n_layers} x {n_neurons} neurons, engine={self.engine!r}{dropped})"

    def _repr_html_(self) -> str:
        """The strongest neurons of each role, for a notebook."""
        width, rows = self.scores.shape[1], []
        for role in self.roles:
            strength = self.scores if role == "good" else -self.scores
            first = [at for at in ranked(strength)[:IN_NOTEBOOKS].tolist() if strength.flatten()[at] > 0]
            rows += [
                {"role": role, "rank": rank, "layer": at // width, "neuron": at % width}
                | {"score": float(self.scores.flatten()[at])}
                for rank, at in enumerate(first, 1)
            ]
        return html_table(("role", "rank", "layer", "neuron", "score"), rows, repr(self))

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
        return NeuronSet(order // n_neurons, order % n_neurons, self.scores.flatten()[order], self.site)


_TEXT = ("scorer", "options", "target", "engine", "engine_reason", "steps", "quadrature", "site", "roles")
