"""CETT: a sparse probe of right answers on what share of its FFN's output each neuron makes (H-Neurons)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism_plugins._answered import answered, by_example

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

TINY = 1e-8
"""Added to the norm of an FFN's output, as in the authors' code."""
ROUNDS = 10_000
TOLERANCE = 1e-6
SEED = 42
"""The solver's own, as in the authors' code; with it, it gives the same again."""


class Cett(na.Scorer):
    """Coefficient of a neuron in an L1-regularised logistic regression of right answers on CETT, at the last position.

    CETT_i = |a_i| · ‖W_out[i]‖ / (‖FFN output‖ + 1e-8), the FFN's output with its bias, before any norm behind it: the
    size of what the neuron writes beside that of what its whole FFN writes. The probe sees all neurons of all layers at
    once; above 0: the larger its share, the likelier a right answer (in H-Neurons the classes are the other way round:
    its neurons are those below 0 here). Most coefficients are exactly 0.

    As in the authors' code: the features are not standardised, solver liblinear, which regularises the intercept as
    well, C = 1 by default. CETT is small: of few questions C = 1 may leave no neuron at all, and needs to be raised. A
    correlation: nothing is silenced.

    An example score is coefficient · CETT, summed over the example's questions: the neuron's part of their log-odds.
    One forward a question, no gradient. Needs the extra `probes` (scikit-learn).
    """

    name = "cett"
    target = None
    reference = (
        "H-Neurons (Gao et al. 2025, arXiv 2512.01797), as in the authors' extract_activations.py and classifier.py; "
        "CETT: Zhang et al. 2024 (ReLU² Wins, arXiv 2402.03804)"
    )

    class Options(na.Options):
        """Options of the probe."""

        C: float = Field(
            default=1.0,
            gt=0,
            le=1e9,
            description="inverse strength of the L1 penalty, above 0, at most 1e9: the larger, the more neurons score",
        )

    def check(self, model: na.HookedModel, examples: Sequence[na.Example], site: str) -> None:
        """Only FFN neurons have an output; scikit-learn must be there."""
        if site != "post":
            raise na.UsageError(
                f"scorer {self.name!r} at site {site!r}; accepted: 'post', whose units write to the FFN"
            )
        _logistic_regression()

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """One pass over the examples, and the probe."""
        import torch

        values, right = answered(model, examples, settings, self.name)
        shares = values.abs()
        for layer in range(model.n_layers):
            weights = model.output_weights(layer).norm(dim=-1).to(shares)
            whole = model.ffn_output(layer, values[:, layer]).norm(dim=-1).to(shares)
            shares[:, layer] *= weights / (whole[:, None] + TINY)
        coefficients = self._probe(shares.flatten(1), right).reshape(shares.shape[1:])
        per_question = coefficients * shares.double()
        return na.Attribution(
            scores=coefficients.float(),
            example_scores=by_example(per_question, examples).float(),
            scorer=self.name,
            options=self.options.model_dump(mode="json"),
            site=settings.site,
            extras={"mean": shares.mean(0, dtype=torch.float64)},
        )

    def _probe(self, shares: Float[Tensor, "question neuron"], right: Bool[Tensor, " question"]) -> Tensor:
        import torch
        from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]  # it ships no types

        fitted = _logistic_regression()(
            C=self.options.C, solver="liblinear", tol=TOLERANCE, max_iter=ROUNDS, random_state=SEED, **_penalty()
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                fitted.fit(shares.double().numpy(), right.numpy())
            except ConvergenceWarning:
                raise na.DataError(
                    f"scorer {self.name!r}: the probe with C={self.options.C} has not converged after {ROUNDS} rounds; "
                    "accepted: a smaller C"
                ) from None
        return torch.from_numpy(fitted.coef_[0])


def _logistic_regression() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]  # it ships no types
    except ImportError:
        raise na.UsageError(
            "scorer 'cett' needs scikit-learn, which is not installed; accepted: pip install "
            "'neuron-antagonism[probes]'"
        ) from None
    return LogisticRegression


def _penalty() -> dict[str, Any]:
    """L1, in the words of the release: from 1.8 on a penalty is named by its ratio."""
    before = _logistic_regression()().get_params().get("penalty") == "l2"
    return {"penalty": "l1"} if before else {"l1_ratio": 1.0}


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Cett]
