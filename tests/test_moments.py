"""Streaming moments against numpy and scipy on all rows at once, and the overlap of Gaussians against Python's own."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
import tiny
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float, TypeCheckError, jaxtyped
from scipy import stats

import neuron_antagonism as na

one_thread = tiny.one_thread

CONSTANTS = (0.1, 0.0, -3e7 / 7, 1e-8 / 3)


def columns(n: int, seed: int) -> np.ndarray:
    """Rows of values of mixed scales: plain, far from zero, tiny, skewed, heavy-tailed."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            rng.normal(size=n),
            1e4 + 1e-3 * rng.normal(size=n),
            1e-8 * rng.normal(size=n),
            rng.exponential(size=n) - 7,
            1e-6 * rng.standard_t(3, size=n) + 1e-4,
            1e6 * rng.uniform(size=n),
        ],
        axis=1,
    )


def streamed(rows: torch.Tensor, cuts: list[int], joins: list[int]) -> na.Moments:
    """Rows added in the batches between cuts; at 0 to the same moments, else merged with others in that order."""
    parts = [na.Moments()]
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for i, (start, end) in enumerate(pairwise(edges)):
        if joins[i % len(joins)]:
            parts.append(na.Moments())
        parts[-1].add(rows[start:end])
    while len(parts) > 1:
        other = parts.pop(joins[len(parts) % len(joins)] % len(parts))
        parts[0] = parts[0].merged(other) if joins[0] % 2 else other.merged(parts[0])
    return parts[0]


batches = st.lists(st.integers(0, 60), max_size=6)
orders = st.lists(st.integers(0, 5), min_size=1, max_size=6)


def close(got: torch.Tensor, expected: np.ndarray, scale: np.ndarray | float) -> bool:
    return bool((np.abs(got.numpy() - expected) <= scale).all())


@settings(deadline=None)
@given(st.integers(4, 60), st.integers(0, 9999), batches, orders)
def test_any_batching_equals_all_rows_at_once(n, seed, cuts, joins):
    """Mean, std, mean |value|, skewness, kurtosis and p-value are numpy's and scipy's of all rows, in any order."""
    x = columns(n, seed)
    # its own rounding of the mean is why numpy is given the distances from a row
    shifted = x - x[0]
    m = streamed(torch.from_numpy(x), cuts, joins)
    std = shifted.std(axis=0)
    assert m.count == n
    assert close(m.mean, x[0] + shifted.mean(axis=0), 1e-11 * np.abs(x).max(axis=0))
    assert close(m.mean_abs, np.abs(x).mean(axis=0), 1e-11 * np.abs(x).max(axis=0))
    assert close(m.std, std, 1e-7 * std)
    assert close(m.skewness, stats.skew(shifted, axis=0), 1e-5)
    assert close(m.kurtosis, stats.kurtosis(shifted, axis=0), 1e-5)
    assert close(m.normality, stats.jarque_bera(shifted, axis=0).pvalue, 1e-5)


@settings(deadline=None)
@given(st.integers(1, 60), batches, orders, st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_constants_stay_exactly_constant(n, cuts, joins, dtype):
    """What never changes has its value as mean and a std of exactly 0, however it was batched; its shape is none."""
    row = torch.tensor(CONSTANTS, dtype=torch.float64).to(dtype)
    m = streamed(row.expand(n, -1), cuts, joins)
    assert torch.equal(m.mean, row.double())
    assert torch.equal(m.std, torch.zeros(len(CONSTANTS), dtype=torch.float64))
    assert bool(torch.cat([m.skewness, m.kurtosis, m.normality]).isnan().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_values_are_summed_in_float64(dtype):
    """Rows of a narrower dtype give what the same numbers give in float64, as float64."""
    rows = torch.from_numpy(columns(40, 0)[:, [0, 3]]).to(dtype)
    narrow, whole = (streamed(given, [3, 17], [0, 1]) for given in (rows, rows.double()))
    for name in ("mean", "mean_abs", "std", "skewness", "kurtosis", "normality"):
        assert getattr(narrow, name).dtype == torch.float64
        assert torch.equal(getattr(narrow, name), getattr(whole, name))


def test_moments_keep_the_units_shape_and_never_grow():
    """Units may have any shape; what is kept has that shape, the same after four rows as after four thousand."""
    few, many, shape = na.Moments(), na.Moments(), (3, 5)
    generator = torch.Generator().manual_seed(0)
    for m, batches in ((few, 1), (many, 1000)):
        for _ in range(batches):
            m.add(torch.randn(4, *shape, generator=generator))
    assert (few.count, many.count) == (4, 4000)
    assert few.mean.shape == few.std.shape == few.normality.shape == shape
    assert kept(few) == kept(many) <= 5 * math.prod(shape)


def kept(moments: na.Moments) -> int:
    """Numbers in all tensors that moments hold."""
    values = [*vars(moments).values(), *vars(moments)["_sums"].values()]
    return sum(value.numel() for value in values if isinstance(value, torch.Tensor))


def test_no_rows():
    """Nothing seen is NaN, no rows change nothing, and joining with nothing gives the other in both orders."""
    empty, some = na.Moments(), na.Moments()
    assert empty.count == 0
    assert bool(torch.stack([empty.mean, empty.mean_abs, empty.std, empty.skewness]).isnan().all())
    some.add(torch.tensor([[1.0, 4.0], [3.0, 4.0]]))
    some.add(torch.empty(0, 2))
    for both in (empty.merged(some), some.merged(empty)):
        assert (both.count, both.mean.tolist(), both.std.tolist()) == (2, [2.0, 4.0], [1.0, 0.0])
    assert empty.merged(na.Moments()).count == 0


def test_merging_leaves_both_alone():
    """merged() is a third; later rows of one are not seen by the others."""
    a, b = na.Moments(), na.Moments()
    a.add(torch.tensor([[1.0], [3.0]]))
    b.add(torch.tensor([[5.0]]))
    both, copy = a.merged(b), na.Moments().merged(a)
    a.add(torch.tensor([[100.0]]))
    assert (both.count, both.mean.item(), b.count, b.mean.item()) == (3, 3.0, 1, 5.0)
    assert (copy.count, copy.mean.item(), copy.std.item()) == (2, 2.0, 1.0)


# --- the overlap of two Gaussians ----------------------------------------------------------------------------------


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    return float(na.gaussian_overlap(*(torch.tensor(x, dtype=torch.float64) for x in (*a, *b))))


means = st.floats(-50, 50)
stds = st.floats(1e-3, 20)


@given(means, stds, means, stds)
def test_overlap_equals_pythons_own(mean, std, other_mean, other_std):
    """The coefficient is NormalDist's, in both orders."""
    if std != other_std and abs(std / other_std - 1) < 1e-4:
        other_std = std  # NormalDist subtracts nearly equal variances
    expected = NormalDist(mean, std).overlap(NormalDist(other_mean, other_std))
    assert overlap((mean, std), (other_mean, other_std)) == pytest.approx(expected, abs=1e-9)
    assert overlap((other_mean, other_std), (mean, std)) == pytest.approx(expected, abs=1e-9)


@given(means, stds, st.floats(0, 3), st.floats(1e-16, 1e-5))
def test_overlap_of_nearly_equal_widths_is_smooth(mean, std, shift, epsilon):
    """Widths that differ by a rounding overlap as equal ones do: no root is lost to cancellation."""
    a, b = (mean, std), (mean + shift * std, std)
    nearly = overlap(a, (b[0], std * (1 + epsilon)))
    assert nearly == pytest.approx(overlap(a, b), abs=epsilon + 1e-12)
    assert overlap(a, b) == pytest.approx(2 * NormalDist().cdf(-(b[0] - mean) / std / 2), abs=1e-12)


@given(st.floats(-1e4, 1e4), st.one_of(st.just(0.0), st.floats(1e-12, 1e4)))
def test_a_gaussian_overlaps_itself_wholly(mean, std):
    """The same Gaussian, or the same point, overlaps by 1."""
    assert overlap((mean, std), (mean, std)) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("a", "b"),
    [((1.0, 0.0), (1.0 + 1e-12, 0.0)), ((1.0, 0.0), (1.0, 2.0)), ((0.0, 1e-20), (1.0, 1e-20)), ((0.0, 1e-9), (1e4, 1))],
)
def test_what_lies_apart_does_not_overlap(a, b):
    """Two points, a point and a Gaussian, and Gaussians far apart overlap by 0, in both orders."""
    assert overlap(a, b) == overlap(b, a) == 0


def test_overlap_goes_unit_by_unit():
    """Tensors of any one shape and float dtype give float64 of that shape; another shape is refused."""
    checked = jaxtyped(typechecker=beartype)(_overlap)
    generator = torch.Generator().manual_seed(0)
    mean, other = torch.randn(2, 3, 4, generator=generator)
    std, other_std = torch.rand(2, 3, 4, generator=generator)
    found = checked(mean, std, other, other_std)
    assert found.dtype == torch.float64
    for layer, unit in ((0, 0), (2, 3)):
        pairs = ((m[layer, unit].item(), s[layer, unit].item()) for m, s in ((mean, std), (other, other_std)))
        assert found[layer, unit].item() == pytest.approx(overlap(*pairs), abs=1e-15)
    with pytest.raises(TypeCheckError):
        checked(mean, std, other, other_std[0])


def _overlap(
    mean: Float[torch.Tensor, "*unit"],
    std: Float[torch.Tensor, "*unit"],
    other_mean: Float[torch.Tensor, "*unit"],
    other_std: Float[torch.Tensor, "*unit"],
) -> Float[torch.Tensor, "*unit"]:
    """The product's annotations, whose names are not there at run time."""
    return na.gaussian_overlap(mean, std, other_mean, other_std)
