"""Faithfulness of a ranking: what the model still does when only its first neurons are left (MIB, 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neuron_antagonism.engine.base import asked_of, by_options, rows_of
from neuron_antagonism.engine.choose import choose
from neuron_antagonism.engine.kept import kept_outputs
from neuron_antagonism.errors import UsageError
from neuron_antagonism.method.attribution import Attribution
from neuron_antagonism.method.baselines import baseline_values
from neuron_antagonism.metrics import judges
from neuron_antagonism.model.hooked import check_model
from neuron_antagonism.model.turn import without_autocast
from neuron_antagonism.plugin.base import Target
from neuron_antagonism.plugin.manager import as_target
from neuron_antagonism.types import Example, Question, as_examples

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.progress import Progress


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """What F comes to when only some neurons of a ranking are left, or are left out.

    Attributes:
        shares: of all neurons, ascending.
        kept: F with the first neurons kept and the rest at baseline, in float64.
        removed: F with the first neurons at baseline and the rest kept.
        empty, clean: F with every neuron at baseline, and with none.
        units: which text each question is about.
        ranking: "signed" (highest scores first) or "absolute".
        baseline, target, engine: what the others were set to, the name of F, and how it was computed.
    """

    shares: tuple[float, ...]
    kept: Float[np.ndarray, "share question"]
    removed: Float[np.ndarray, "share question"]
    empty: Float[np.ndarray, " question"]
    clean: Float[np.ndarray, " question"]
    units: Int[np.ndarray, " question"]
    ranking: str
    baseline: str
    target: str
    engine: str

    @cached_property
    def f(self) -> Float[np.ndarray, " share"]:
        """f(k), see `metrics.judges.faithfulness`."""
        return judges.faithfulness(self.kept, self.empty, self.clean)

    @property
    def cpr(self) -> float:
        """∫ f dk over the covered range; higher is better."""
        return float(judges.cpr(self.shares, self.f))

    @property
    def cmd(self) -> float:
        """∫ |1 − f| dk; lower is better."""
        return float(judges.cmd(self.shares, self.f))

    @property
    def completeness(self) -> Float[np.ndarray, " share"]:
        """Faithfulness of the rest, with the first neurons at baseline."""
        return judges.completeness(self.removed, self.empty, self.clean)

    @property
    def comprehensiveness(self) -> Float[np.ndarray, " share"]:
        """What F loses without the first neurons, in its own units."""
        return judges.comprehensiveness(self.clean, self.removed)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a share: share kept, f, completeness, comprehensiveness, and the mean F kept and removed."""
        import pandas as pd

        return pd.DataFrame(
            {
                "share": self.shares,
                "f": self.f,
                "completeness": self.completeness,
                "comprehensiveness": self.comprehensiveness,
                "kept": self.kept.mean(1),
                "removed": self.removed.mean(1),
            }
        )

    def __repr__(self) -> str:
        """The two areas."""
        return f"Faithfulness({self.ranking}, cpr={self.cpr:.3f}, cmd={self.cmd:.3f}, questions={len(self.clean)})"


def faithfulness(
    model: HookedModel,
    examples: Sequence[Example | Question],
    scores: Attribution | Tensor,
    *,
    baseline: str = "zero",
    mean_of: Sequence[Example | Question] | None = None,
    ranking: str = "signed",
    target: str | Target = "log-odds",
    shares: Sequence[float] = judges.SHARES,
    engine: str = "auto",
    site: str = "post",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> Faithfulness:
    """Keep, and remove, the first neurons of a ranking at several sizes, and measure F.

    Args:
        model: the model; restored afterwards.
        examples: held-out examples or plain questions.
        scores: an attribution, or scores [layer, neuron].
        baseline: what the others are set to at the last position: "zero", "mean" (over these questions) or
            "counterfactual" (their values on each question's counterfactual).
        mean_of: other examples that the mean is over; None = these.
        ranking: "signed": highest scores first; "absolute": those farthest from 0.
        target: F, or a name (see `target_of`).
        shares: of all neurons, above 0, at most 1, ascending; default: MIB's ten.
        engine, site, max_tokens, progress: see `Settings`.

    Raises:
        AntagonismError: one line that names what was wrong and what is accepted.
    """
    how: dict[str, Any] = {"engine": engine, "site": site, "max_tokens": max_tokens, "progress": progress}
    found = faithfulness_many(
        model,
        examples,
        {"": scores},
        baseline=baseline,
        mean_of=mean_of,
        rankings=(ranking,),
        target=target,
        shares=shares,
        **how,
    )
    return found["", ranking]


@without_autocast()
def faithfulness_many(
    model: HookedModel,
    examples: Sequence[Example | Question],
    scores: Mapping[str, Attribution | Tensor],
    *,
    baseline: str = "zero",
    mean_of: Sequence[Example | Question] | None = None,
    rankings: Sequence[str] = judges.RANKINGS,
    target: str | Target = "log-odds",
    shares: Sequence[float] = judges.SHARES,
    engine: str = "auto",
    site: str = "post",
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> dict[tuple[str, str], Faithfulness]:
    """The same for several scorers and rankings, by name and ranking: every set is one more copy of the last token.

    The other arguments are those of `faithfulness`.
    """
    check_model(model)
    f = as_target(target)
    asked = as_examples(examples)
    shape = (model.n_layers, model.units(site))
    by_name = {name: _numbers(one, name, shape, site) for name, one in scores.items()}
    judges.covered(shares)
    masks = _Masks(shape)
    rows: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
    for (name, numbers), ranking in product(by_name.items(), rankings):
        kept = judges.kept_masks(numbers, shares, ranking)
        rows[name, ranking] = [masks.row(mask) for mask in kept], [masks.row(~mask) for mask in kept]
    flat = [question for example in asked for question in example.proxies]
    questions = asked_of(model, flat)
    choice = choose(model, [q.encoded.ids for q in questions], engine)
    at = baseline_values(model, asked, baseline, mean_of=mean_of, site=site, max_tokens=max_tokens)
    table = np.zeros((len(masks.distinct), len(questions)))
    for group in by_options(questions):
        table[:, group] = kept_outputs(
            model,
            [questions[i] for i in group],
            f,
            torch.from_numpy(np.stack(masks.distinct)),
            rows_of(at, group),
            choice,
            site=site,
            max_tokens=max_tokens,
            progress=progress,
        ).numpy()
    units = np.unique([e.unit for e in asked for _ in e.proxies], return_inverse=True)[1]
    return {
        (name, ranking): Faithfulness(
            tuple(shares),
            table[own],
            table[removed],
            # of the same forward as all others: with every neuron kept, or none, f is then exactly 1, or 0
            table[masks.none],
            table[masks.all],
            units,
            ranking,
            baseline,
            f.name or type(f).__name__,
            choice.name,
        )
        for (name, ranking), (own, removed) in rows.items()
    }


class _Masks:
    """Distinct masks: none kept, all kept, and what is asked for."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.distinct: list[Bool[np.ndarray, "layer neuron"]] = []
        self._known: dict[bytes, int] = {}
        self.none, self.all = self.row(np.zeros(shape, bool)), self.row(np.ones(shape, bool))

    def row(self, mask: Bool[np.ndarray, "layer neuron"]) -> int:
        """Where a mask stands."""
        key = np.packbits(mask).tobytes()
        if key not in self._known:
            self._known[key] = len(self.distinct)
            self.distinct.append(mask)
        return self._known[key]


def _numbers(
    scores: Attribution | Tensor, name: str, shape: tuple[int, int], site: str
) -> Float[np.ndarray, "layer neuron"]:
    if isinstance(scores, Attribution):
        if scores.site != site:
            raise UsageError(f"the scores are those of site {scores.site!r}, not of {site!r}; accepted: one site")
        scores = scores.scores
    of = f" of {name!r}" if name else ""
    if not isinstance(scores, torch.Tensor) or tuple(scores.shape) != shape:
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise UsageError(f"scores{of} are {got}; accepted: an attribution of this model, or a tensor of shape {shape}")
    return scores.detach().double().cpu().numpy()
