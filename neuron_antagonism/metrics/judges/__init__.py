"""What judges a scorer, as pure functions on numpy arrays: one file a judge, under the names that papers use."""

from neuron_antagonism.metrics.judges.agreement import (
    FIGURES,
    KS,
    agreement,
    agreements,
    spearman_brown,
    split_half,
)
from neuron_antagonism.metrics.judges.dose import SCALES, detectable, monotonicity, slope
from neuron_antagonism.metrics.judges.faithfulness import (
    RANKINGS,
    SHARES,
    areas,
    cmd,
    completeness,
    comprehensiveness,
    covered,
    cpr,
    faithfulness,
    kept_masks,
)
from neuron_antagonism.metrics.judges.intervals import Estimate, agreement_over_texts, over_texts, text_weights
from neuron_antagonism.metrics.judges.matched import matched_random
from neuron_antagonism.metrics.judges.planted import auroc, precision
from neuron_antagonism.metrics.judges.stability import VarianceSplit, jaccard, role_changes, variance_split

__all__ = [
    "FIGURES",
    "KS",
    "RANKINGS",
    "SCALES",
    "SHARES",
    "Estimate",
    "VarianceSplit",
    "agreement",
    "agreement_over_texts",
    "agreements",
    "areas",
    "auroc",
    "cmd",
    "completeness",
    "comprehensiveness",
    "covered",
    "cpr",
    "detectable",
    "faithfulness",
    "jaccard",
    "kept_masks",
    "matched_random",
    "monotonicity",
    "over_texts",
    "precision",
    "role_changes",
    "slope",
    "spearman_brown",
    "split_half",
    "text_weights",
    "variance_split",
]
