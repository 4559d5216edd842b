"""A set of neurons, or of other units, strongest first, that can be saved, loaded and combined."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from neuron_antagonism.csvs import csv_text
from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.files import expanded, write_whole
from neuron_antagonism.hub import PREFIX, fetched
from neuron_antagonism.neuron_files import neuron_rows
from neuron_antagonism.notebook import html_table
from neuron_antagonism.types import whole

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

FILE = "neurons.csv"
"""What a set is called in a directory or a repository."""

COLUMNS = ("layer", "neuron", "score")

FFN_SITES = ("post", "up")
"""Sites whose units are the same FFN neurons."""


@dataclass(frozen=True, eq=False)
class NeuronSet:
    """FFN neurons, or units of another site, by layer and index, strongest first; none twice.

    Args:
        layers: block index of each neuron.
        neurons: index within the block.
        scores: the score each was chosen by; NaN where none is known.
        site: where they are: "post" or "up" (FFN neurons), or "resid_post" (dimensions of the residual stream).

    Raises:
        DataError: lengths differ, an index is negative, or a neuron is there twice.
    """

    layers: Int[Tensor, " k"]
    neurons: Int[Tensor, " k"]
    scores: Float[Tensor, " k"]
    site: str = "post"

    def __post_init__(self) -> None:
        """Check the set once, where it is made."""
        shapes = {tuple(t.shape) for t in (self.layers, self.neurons, self.scores)}
        if len(shapes) != 1 or self.layers.ndim != 1:
            raise DataError(f"a neuron set has columns of shapes {sorted(shapes)}; accepted: three of one length")
        if len(self) and int(torch.minimum(self.layers, self.neurons).min()) < 0:
            raise DataError("a neuron set has a negative layer or neuron index; accepted: indices from 0")
        if len(set(self)) != len(self):
            raise DataError("a neuron set names a neuron twice; accepted: each once")

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]], site: str = "post") -> NeuronSet:
        """The set of these (layer, neuron) pairs, without scores."""
        rows = [(layer, neuron) for layer, neuron in pairs]
        try:
            layers = torch.tensor([layer for layer, _ in rows], dtype=torch.int64)
            neurons = torch.tensor([neuron for _, neuron in rows], dtype=torch.int64)
        except (RuntimeError, OverflowError, ValueError) as error:  # which of them is for the release of torch to say
            raise DataError(f"a neuron set has indices that are none ({error}); accepted: whole numbers") from None
        return cls(layers, neurons, torch.full((len(rows),), float("nan")), site)

    def __len__(self) -> int:
        """Number of neurons."""
        return int(self.layers.shape[0])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(layer, neuron) pairs, strongest first."""
        return iter(zip(self.layers.tolist(), self.neurons.tolist(), strict=True))

    def __contains__(self, pair: object) -> bool:
        """Whether a (layer, neuron) pair is in the set."""
        return pair in set(self)

    def __eq__(self, other: object) -> bool:
        """The same neurons of the same site in the same order; scores don't count."""
        return isinstance(other, NeuronSet) and self.site == other.site and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # tensors inside: compared by value, not a key

    def __repr__(self) -> str:
        """Size and the strongest few."""
        shown = ", ".join(f"{layer}.{neuron}" for layer, neuron in list(self)[:3])
        where = "" if self.site == "post" else f" at {self.site}"
        return f"NeuronSet({len(self)}{where}: {shown}{', …' if len(self) > 3 else ''})"

    def _repr_html_(self) -> str:
        """The strongest as a table, for a notebook."""
        scores = self.scores.tolist()
        rows = [
            {"rank": rank, "layer": layer, "neuron": neuron, "score": score}
            for rank, ((layer, neuron), score) in enumerate(zip(self, scores, strict=True), 1)
        ]
        return html_table(("rank", *COLUMNS), rows, f"{len(self)} neurons, site {self.site}")

    def top(self, k: int) -> NeuronSet:
        """The strongest `k`, or all where there are fewer."""
        return replace(self, layers=self.layers[:k], neurons=self.neurons[:k], scores=self.scores[:k])

    def at(self, site: str) -> NeuronSet:
        """The same neurons at another site; an empty set is one of any.

        Raises:
            UsageError: its units are others, as those of the residual stream are.
        """
        if len(self) and site != self.site and not {site, self.site} <= set(FFN_SITES):
            raise UsageError(
                f"units at {self.site!r} are none at {site!r}; accepted: {self.site!r}, or sets chosen there"
            )
        return replace(self, site=site)

    def __or__(self, other: NeuronSet) -> NeuronSet:
        """Union: this set's neurons first, then the other's new ones."""
        return _joined(self, self._here(other) - self)

    def __and__(self, other: NeuronSet) -> NeuronSet:
        """Intersection in this set's order, with this set's scores."""
        theirs = set(self._here(other))
        return self._where([pair in theirs for pair in self])

    def __sub__(self, other: NeuronSet) -> NeuronSet:
        """Difference in this set's order."""
        theirs = set(self._here(other))
        return self._where([pair not in theirs for pair in self])

    def by_layer(self) -> dict[int, Int[Tensor, " n"]]:
        """Neuron indices by layer, in the set's order."""
        return {layer: self.neurons[self.layers == layer] for layer in sorted(set(self.layers.tolist()))}

    def check(self, n_layers: int, n_neurons: int) -> None:
        """Raise DataError unless every neuron exists in a model of this shape."""
        for layer, neuron in self:
            if layer >= n_layers or neuron >= n_neurons:
                raise DataError(
                    f"neuron {layer}.{neuron} does not exist in this model; "
                    f"accepted: layers 0 to {n_layers - 1}, neurons 0 to {n_neurons - 1}"
                )

    def save(self, path: str | Path) -> None:
        """Write `layer,neuron,score` as CSV, or as JSON where the path ends in .json; of another site also `site`.

        Raises:
            DataError: it can't be written there.
        """
        # FFN neurons are what everybody's files hold: theirs need not say so
        columns, site = (COLUMNS, ()) if self.site == "post" else ((*COLUMNS, "site"), (self.site,))
        rows = [
            dict(zip(columns, (*pair, score, *site), strict=True))
            for pair, score in zip(self, self.scores.tolist(), strict=True)
        ]
        path = expanded(path)
        if path.suffix == ".json":
            text = json.dumps([{k: v for k, v in row.items() if v == v} for row in rows], indent=1)
        else:
            text = csv_text(columns, rows)
        try:
            write_whole(path, text.encode())
        except OSError as error:
            raise DataError(f"can't write neurons to {path}: {error.strerror}; accepted: a writable path") from None

    @classmethod
    def load(cls, path: str | Path) -> NeuronSet:
        """Read a set from CSV or JSON with the fields layer and neuron, and score and site where they are known.

        Args:
            path: a file, or `hub:user/name`, a repository whose neurons.csv is read.

        Raises:
            DataError: no such file, a missing field, a value that is no number, a neuron that is there twice, or two
                sites; names the line.
        """
        path = fetched(path, FILE) if isinstance(path, str) and path.startswith(PREFIX) else expanded(path)
        rows = neuron_rows(path)
        seen: set[tuple[int, int]] = set()
        for row in rows:
            if (row.layer, row.neuron) in seen:
                raise DataError(f"{row.place}: neuron {row.layer}.{row.neuron} is there twice; accepted: once")
            seen.add((row.layer, row.neuron))
            if row.site != rows[0].site:
                raise DataError(f"{row.place}: site {row.site!r} after {rows[0].site!r}; accepted: one for all")
        return cls(
            torch.tensor([row.layer for row in rows], dtype=torch.int64),
            torch.tensor([row.neuron for row in rows], dtype=torch.int64),
            torch.tensor([math.nan if row.score is None else row.score for row in rows], dtype=torch.float32),
            rows[0].site if rows else "post",
        )

    def _where(self, keep: list[bool]) -> NeuronSet:
        mask = torch.tensor(keep, dtype=torch.bool)
        return replace(self, layers=self.layers[mask], neurons=self.neurons[mask], scores=self.scores[mask])

    def _here(self, other: NeuronSet) -> NeuronSet:
        """Another set as one of this site; an empty one may come from anywhere."""
        return other.at(self.site) if len(self) else other


def check_count(k: int, n_total: int, name: str = "K") -> None:
    """Raise UsageError unless `k` neurons can be chosen out of `n_total`; `name` stands in the error."""
    count = whole(k)
    if count is None or not 1 <= count <= n_total:
        raise UsageError(f"{name}={k!r} neurons; accepted: 1 to {n_total}, all neurons of this model")


def _joined(first: NeuronSet, second: NeuronSet) -> NeuronSet:
    return NeuronSet(
        torch.cat([first.layers, second.layers]),
        torch.cat([first.neurons, second.neurons]),
        torch.cat([first.scores, second.scores]),
        first.site if len(first) else second.site,
    )
