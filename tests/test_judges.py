"""Judges of a scorer: each against a plain computation, and what must hold whatever the numbers are."""

import json
import subprocess
import sys
from functools import partial
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats

from neuron_antagonism.errors import UsageError
from neuron_antagonism.functional import ranked
from neuron_antagonism.metrics.judges import (
    FIGURES,
    KS,
    SCALES,
    SHARES,
    agreement,
    agreement_over_texts,
    agreements,
    areas,
    auroc,
    cmd,
    completeness,
    comprehensiveness,
    covered,
    cpr,
    detectable,
    faithfulness,
    jaccard,
    kept_masks,
    matched_random,
    monotonicity,
    over_texts,
    precision,
    role_changes,
    slope,
    spearman_brown,
    split_half,
    text_weights,
    variance_split,
)
from neuron_antagonism.metrics.judges.means import weighted_means
from neuron_antagonism.neurons import NeuronSet

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)
few = st.integers(-3, 3).map(float)


def columns(n=7, shares=10, seed=0):
    """m with the top k kept at each share, with nothing kept, and clean; the last share keeps everything."""
    rng = np.random.default_rng(seed)
    empty, clean = rng.normal(-1, 1, n), rng.normal(4, 1, n)
    kept = empty + (clean - empty) * np.linspace(0.1, 1.2, shares)[:, None] + rng.normal(0, 0.3, (shares, n))
    kept[-1] = clean
    return kept, empty, clean


# --- faithfulness --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranking", ["signed", "absolute"])
def test_kept_neurons_by_hand(ranking):
    """Highest first, or farthest from 0 first; ties to the lower layer, then the lower index."""
    scores = np.array([[1.0, -5.0, 3.0], [3.0, -0.0, 0.0]])
    order = {"signed": [2, 3, 0, 4, 5, 1], "absolute": [1, 2, 3, 0, 4, 5]}[ranking]
    masks = kept_masks(scores, [k / 6 for k in range(1, 7)], ranking)
    assert (masks.shape, masks.dtype) == ((6, 2, 3), bool)
    for k in range(6):
        assert set(np.flatnonzero(masks[k])) == set(order[: k + 1])


def test_kept_counts_round_half_up():
    """.1 % of 500 is one neuron, of 100 still one; 14.5 and 2.5 neurons are 15 and 3."""
    assert kept_masks(np.zeros((5, 100)), SHARES).sum((1, 2)).tolist() == [1, 1, 3, 5, 10, 25, 50, 100, 250, 500]
    assert kept_masks(np.zeros((1, 100)), [0.001, 0.004, 0.145]).sum((1, 2)).tolist() == [1, 1, 15]


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=few))
@settings(max_examples=30)
def test_kept_neurons_are_those_of_the_ranking(scores):
    """The first of `functional.ranked`, whose ties are resolved alike; more at each share, all at the last."""
    import torch

    masks = kept_masks(scores)
    order = ranked(torch.tensor(scores)).tolist()
    for mask in masks:
        assert set(np.flatnonzero(mask)) == set(order[: mask.sum()])
    assert masks[-1].all()
    assert (masks[1:] >= masks[:-1]).all()
    assert (kept_masks(scores, ranking="absolute") == kept_masks(np.abs(scores))).all()


def test_faithfulness_is_a_ratio_of_means():
    """Not a mean of ratios: plain sums over questions, share by share; completeness is that of the complement."""
    kept, empty, clean = columns()
    base, whole = sum(empty) / 7, sum(clean) / 7
    expected = [(sum(row) / 7 - base) / (whole - base) for row in kept]
    assert faithfulness(kept, empty, clean) == pytest.approx(expected)
    assert completeness(kept, empty, clean) == pytest.approx(expected)
    assert comprehensiveness(clean, kept) == pytest.approx([whole - sum(row) / 7 for row in kept])
    assert faithfulness(kept, empty, clean) != pytest.approx(((kept - empty) / (clean - empty)).mean(1))
    assert faithfulness(kept[0], empty, clean) == pytest.approx(expected[0])


def test_weights_are_repetitions():
    """A question of weight 3 counts as three questions, one of weight 0 not at all; one row a draw."""
    kept, empty, clean = columns(3)
    weights = np.array([[3.0, 1.0, 0.0], [0.5, 0.5, 2.0]])
    times = [[0, 0, 0, 1], [0, 1, 2, 2, 2, 2]]
    for statistic, given_columns in (
        (faithfulness, (kept, empty, clean)),
        (completeness, (kept, empty, clean)),
        (areas, (kept, empty, clean)),
        (comprehensiveness, (clean, kept)),
        (partial(slope, SCALES), (kept[:6],)),
        (partial(monotonicity, SCALES), (kept[:6],)),
    ):
        found = statistic(*given_columns, weights=weights)
        for row, questions in zip(found, times, strict=True):
            repeated = statistic(*(np.ascontiguousarray(column[..., questions]) for column in given_columns))
            assert row == pytest.approx(repeated)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 10**6), st.booleans())
@settings(max_examples=50)
def test_all_kept_is_exactly_one_and_none_exactly_zero(n, shares, seed, weighted):
    """Not nearly: the same answers give the same mean, in whichever row they stand and whatever the weights."""
    rng = np.random.default_rng(seed)
    empty = rng.normal(0, 1, n)
    clean = empty + rng.random(n) + 0.01
    kept = rng.normal(0, 1, (shares, n))
    kept[rng.integers(shares)] = clean
    at = rng.integers(shares)
    weights = rng.random((5, n)) if weighted else None
    kept[at] = clean
    assert (faithfulness(kept, empty, clean, weights)[..., at] == 1).all()
    kept[at] = empty
    assert (faithfulness(kept, empty, clean, weights)[..., at] == 0).all()


@pytest.mark.parametrize("clean", [[1.0, -1.0], [-3.0, 1.0]])
def test_a_model_no_better_than_its_baseline_has_no_faithfulness(clean):
    """As good or worse: nan at every share, and so are the areas; no warning."""
    kept, empty = np.ones((3, 2)), np.array([0.5, -0.5])
    assert np.isnan(faithfulness(kept, empty, np.array(clean))).all()
    assert np.isnan(areas(kept, empty, np.array(clean), shares=SHARES[:3])).all()
    assert np.isfinite(faithfulness(kept, empty, np.array([1.0, -0.9]))).all()


def test_areas_by_hand():
    """Trapezoids of f, and of |1 − f| at the shares, on k itself."""
    shares, f = (0.1, 0.2, 0.5, 1.0), np.array([0.0, 0.6, 1.4, 1.0])
    assert cpr(shares, f) == pytest.approx(0.1 * 0.3 + 0.3 * 1.0 + 0.5 * 1.2)
    assert cmd(shares, f) == pytest.approx(0.1 * 0.7 + 0.3 * 0.4 + 0.5 * 0.2)
    assert covered(shares) == pytest.approx(0.9)
    assert cpr(shares, np.stack([f, 2 * f])) == pytest.approx(cpr(shares, f) * np.array([1, 2]))
    kept, empty, clean = columns()
    expected = [area(SHARES, faithfulness(kept, empty, clean)) for area in (cpr, cmd)]
    assert areas(kept, empty, clean).tolist() == expected
    assert cpr(SHARES, np.ones(10)) == pytest.approx(0.999)


@given(st.lists(st.tuples(st.floats(0.001, 1), st.floats(-3, 3)), min_size=2, max_size=10, unique_by=lambda p: p[0]))
def test_the_areas_add_up(points):
    """CPR + CMD is at least the covered range: exactly that where f is nowhere above 1, more where it is."""
    shares, f = zip(*sorted(points), strict=True)
    total = cpr(shares, np.array(f)) + cmd(shares, np.array(f))
    assert total >= covered(shares) - 1e-9
    beyond = sum(max(0, y - 1) * w for y, w in zip(f, _widths(shares), strict=True))
    assert total - covered(shares) == pytest.approx(2 * beyond, abs=1e-9)


def _widths(shares):
    """What each share weighs in a trapezoid."""
    gaps = [b - a for a, b in pairwise(shares)]
    return [(a + b) / 2 for a, b in zip([0, *gaps], [*gaps, 0], strict=True)]


@given(st.floats(0.1, 10), numbers)
@settings(max_examples=20)
def test_faithfulness_has_no_unit(factor, offset):
    """Another unit and another zero of m change nothing."""
    kept, empty, clean = columns()
    moved = faithfulness(*(factor * column + offset for column in (kept, empty, clean)))
    assert moved == pytest.approx(faithfulness(kept, empty, clean), rel=1e-6, abs=1e-6)


# --- agreement -----------------------------------------------------------------------------------------------------


def plain_agreement(scores, truth):
    """Every figure by loops and scipy, over flat lists."""
    n, out = len(scores), {}
    out["spearman"] = stats.spearmanr(scores, truth).statistic
    out["pearson"] = stats.pearsonr(scores, truth).statistic
    both = [(a > 0) == (b > 0) for a, b in zip(scores, truth, strict=True) if a and b]
    out["sign"] = sum(both) / len(both)
    for role, s in (("good", -1), ("bad", 1)):
        for k in KS:
            a, b = (set(sorted(range(n), key=lambda i: (s * x[i], i))[:k]) for x in (scores, truth))
            out[f"{role}@{k}"] = len(a & b) / min(k, n)
    return out


@pytest.mark.parametrize("nonzero", [False, True])
def test_agreement_is_that_of_plain_loops(nonzero):
    """All figures, with ties in both columns and zeros among the scores, over all neurons and the non-zero ones."""
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((4, 200)).round(1)
    scores = (truth + rng.standard_normal((4, 200))).round(1) * (rng.random((4, 200)) < 0.7)
    found = agreement(scores, truth, nonzero=nonzero)
    keep = scores != 0 if nonzero else np.ones_like(scores, bool)
    assert tuple(found) == FIGURES
    assert found == pytest.approx(plain_agreement(scores[keep].tolist(), truth[keep].tolist()))
    assert 0 < found["good@20"] < 1
    assert 0 < found["bad@100"] < 1
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_agreements_are_those_of_weighted_means():
    """A row a draw: agreement with the mean of the questions as often as their weights say."""
    rng = np.random.default_rng(2)
    effects, scores = rng.standard_normal((3, 2, 60)), rng.standard_normal((2, 60))
    weights = np.array([[1.0, 1.0, 2.0], [0.0, 4.0, 1.0]])
    found = agreements(scores, effects, weights)
    for row, questions in zip(found, ([0, 1, 2, 2], [1, 1, 1, 1, 2]), strict=True):
        assert row == pytest.approx(list(agreement(scores, effects[questions].mean(0)).values()))
    assert agreements(scores, effects) == pytest.approx(list(agreement(scores, effects.mean(0)).values()))


tables = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=30), elements=numbers)


@given(tables, st.floats(0.01, 100))
@settings(max_examples=50)
def test_a_scorer_agrees_with_itself(scores, factor):
    """Every figure is 1, in any unit; upside down, correlations are −1 and no sign is right."""
    assume(np.ptp(scores) > 1e-6)
    assert list(agreement(scores, scores).values()) == pytest.approx([1.0] * len(FIGURES))
    scaled = agreement(factor * scores, scores)
    assert scaled["pearson"] == pytest.approx(1.0)
    assert scaled["sign"] == 1.0
    mirrored = agreement(-scores, scores)
    assert (mirrored["spearman"], mirrored["pearson"]) == (pytest.approx(-1.0), pytest.approx(-1.0))
    assert mirrored["sign"] == 0.0


@given(arrays(np.float64, (2, 3, 40), elements=few))
@settings(max_examples=50)
def test_agreement_is_mutual_and_of_ranks(pair):
    """Either side may be called the truth; Spearman and overlaps don't change with a growing function of scores."""
    first, second = pair
    a, b = agreement(first, second), agreement(second, first)
    assert list(a.values()) == pytest.approx(list(b.values()), nan_ok=True)
    bent = agreement(np.exp(first), second)
    assert bent["spearman"] == pytest.approx(a["spearman"], nan_ok=True)
    assert [bent[name] for name in FIGURES[3:]] == [a[name] for name in FIGURES[3:]]


def test_nothing_to_compare_is_nan():
    """Constant scores, no common sign, no neuron left; without a warning."""
    truth = np.arange(6.0).reshape(2, 3)
    constant = agreement(np.zeros((2, 3)), truth)
    assert np.isnan([constant["spearman"], constant["pearson"], constant["sign"]]).all()
    assert constant["good@20"] == 1.0
    assert np.isnan(list(agreement(np.zeros((2, 3)), truth, nonzero=True).values())).all()
    one = agreement(np.eye(2, 3) * [1, 0, 0], truth, nonzero=True)
    assert (np.isnan(one["spearman"]), one["bad@20"]) == (True, 1.0)
    # a mean of many equal numbers may differ from them by rounding
    assert np.isnan(agreement(np.full((2, 3), 0.1), truth)["pearson"])


def test_tiny_effects_count_as_much():
    """The unit may be as small as it likes."""
    truth = np.random.default_rng(0).standard_normal((2, 50))
    assert agreement(truth * 1e-200, truth)["pearson"] == pytest.approx(1.0)


def test_split_half_of_four_texts_is_the_mean_over_its_halvings():
    """Three halvings of four texts, equally often: their mean; a text's questions stay together."""
    rng, units = np.random.default_rng(3), np.array(["a", "b", "b", "c", "d", "d"])
    # what a has in common with c makes one halving better than the others
    effects = rng.standard_normal((3, 2, 30))[[0, 1, 1, 0, 2, 2]] + 0.5 * rng.standard_normal((6, 2, 30))
    expected = []
    for other in "bcd":
        half = np.isin(units, ["a", other])
        expected.append(list(agreement(effects[half].mean(0), effects[~half].mean(0)).values()))
    assert list(split_half(effects, units, 1, 3000).values()) == pytest.approx(np.mean(expected, 0).tolist(), abs=0.02)
    assert np.ptp(expected, axis=0)[0] > 0.1
    assert split_half(effects, units, 5) == split_half(effects, units, 5) != split_half(effects, units, 6)


def test_split_half_of_texts_alike_is_one():
    """Without noise the ceiling is 1; with one text there is none."""
    effects = np.repeat(np.random.default_rng(4).standard_normal((1, 2, 30)), 5, 0)
    assert list(split_half(effects, np.arange(5)).values()) == pytest.approx([1.0] * len(FIGURES))
    assert np.isnan(list(split_half(effects, np.zeros(5)).values())).all()


def test_spearman_brown():
    """What halves agree on predicts what sets of full length agree on, in a model where the answer is known."""
    assert spearman_brown(0.5) == pytest.approx(2 / 3)
    assert (spearman_brown(0.0), spearman_brown(1.0)) == (0.0, 1.0)
    assert np.isnan(spearman_brown(-0.1))
    rng = np.random.default_rng(5)
    known = rng.standard_normal((1, 4, 500))
    first, second = (known + 3 * rng.standard_normal((10, 4, 500)) for _ in range(2))
    whole = agreement(first.mean(0), second.mean(0))["pearson"]
    assert spearman_brown(split_half(first, np.arange(10))["pearson"]) == pytest.approx(whole, abs=0.05)


# --- stability -----------------------------------------------------------------------------------------------------


def test_jaccard_by_hand():
    """Mean over pairs of draws; sets may be lists of pairs, arrays or neuron sets."""
    sets = [[(0, 1), (0, 2)], np.array([[0, 2], [0, 1]]), NeuronSet.of([(0, 2), (1, 2)])]
    assert jaccard(sets) == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert jaccard([[], []]) == 1.0
    assert jaccard([[], [(0, 0)]]) == 0.0


def test_role_changes_by_hand():
    """Of five neurons chosen at all, one was good in one draw and bad in another."""
    good, bad = [[(0, 0), (0, 1)], [(0, 1), (0, 2)], [(0, 1)]], [[(1, 0)], [(0, 0)], [(1, 1)]]
    assert role_changes(good, bad) == pytest.approx(1 / 5)
    assert role_changes(bad, good) == pytest.approx(1 / 5)
    assert np.isnan(role_changes([[], []], [[], []]))


@given(st.lists(st.sets(st.tuples(st.integers(0, 1), st.integers(0, 4))), min_size=2, max_size=5))
@settings(max_examples=50)
def test_stability_is_between_0_and_1(sets):
    """Order doesn't matter, 1 means all equal; a neuron of one role can't change it."""
    found = jaccard([list(one) for one in sets])
    assert 0 <= found <= 1
    assert (found == 1) == all(a == b for a, b in combinations(sets, 2))
    assert found == pytest.approx(jaccard(sets[::-1]))
    assert role_changes(sets, [[]] * len(sets)) == 0 or not any(sets)


def test_variance_split_by_hand():
    """Mean squares of a 3 × 4 table by loops over its cells."""
    table = np.random.default_rng(6).normal(0, 1, (3, 4)) + np.array([[0.0], [3.0], [5.0]]) + np.array([0, 4, 1, -2.0])
    grand = table.mean()
    ms_draw = 4 * sum((row.mean() - grand) ** 2 for row in table) / 2
    ms_example = 3 * sum((column.mean() - grand) ** 2 for column in table.T) / 3
    ms_rest = (
        sum((table[i, j] - table[i].mean() - table[:, j].mean() + grand) ** 2 for i in range(3) for j in range(4)) / 6
    )
    found = variance_split(table)
    assert found.by_rest == pytest.approx(ms_rest)
    assert found.by_draw == pytest.approx((ms_draw - ms_rest) / 4)
    assert found.by_example == pytest.approx((ms_example - ms_rest) / 3)
    assert (found.draws, found.examples) == (found.by_draw / 3, found.by_example / 4)
    assert found.total == pytest.approx((ms_draw + ms_example - ms_rest) / 12)
    assert variance_split(table.T).draws == pytest.approx(found.examples)


def test_variance_split_finds_known_components():
    """Random draws of variance 4, examples of 1, rest of 9: each on average, over many tables."""
    rng, found = np.random.default_rng(7), []
    for _ in range(400):
        table = 2 * rng.standard_normal((20, 1)) + rng.standard_normal((1, 30)) + 3 * rng.standard_normal((20, 30))
        split = variance_split(table)
        found.append((split.by_draw, split.by_example, split.by_rest, table.mean() ** 2 - split.total))
    assert np.mean(found, 0) == pytest.approx([4, 1, 9, 0], abs=0.15)


def test_negative_variance_is_zero():
    """Draws whose means differ less than noise lets them."""
    found = variance_split(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    assert (found.by_draw, found.by_example, found.by_rest, found.total) == (0.0, 0.0, 4.0, 1.0)


# --- planted truth -------------------------------------------------------------------------------------------------


def test_precision_by_hand():
    """One of three chosen neurons was planted; of none chosen nothing is said."""
    assert precision([(0, 1), (1, 1), (1, 0)], [(1, 1), (0, 0)]) == pytest.approx(1 / 3)
    assert precision(NeuronSet.of([(1, 1)]), np.array([[1, 1]])) == 1.0
    assert np.isnan(precision([], [(0, 0)]))


@given(arrays(np.float64, (3, 4), elements=few), st.sets(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1))
@settings(max_examples=50)
def test_auroc_counts_pairs(scores, planted):
    """Pairs of a planted and another neuron in the right order, ties one half; mirrored scores give 1 − it."""
    assume(len(planted) < scores.size)
    ours = [scores[pair] for pair in planted]
    others = [scores[i, j] for i in range(3) for j in range(4) if (i, j) not in planted]
    expected = np.mean([(a > b) + (a == b) / 2 for a in ours for b in others])
    assert auroc(scores, planted) == pytest.approx(expected)
    assert auroc(scores, planted) == pytest.approx(stats.mannwhitneyu(ours, others).statistic / len(ours) / len(others))
    assert auroc(-scores, planted) == pytest.approx(1 - expected)


def test_auroc_needs_both_kinds():
    """With no other neuron, or none planted, there is no pair."""
    assert np.isnan(auroc(np.ones((1, 2)), []))
    assert np.isnan(auroc(np.ones((1, 2)), [(0, 0), (0, 1)]))


# --- matched neurons -----------------------------------------------------------------------------------------------


def some_sets(rng, layers=4, neurons=200, k=60):
    flat = rng.choice(layers * neurons, 2 * k, replace=False)
    pairs = np.stack(np.divmod(flat, neurons), 1)
    return pairs[:k], pairs[k:]


@given(st.integers(0, 10**6))
@settings(max_examples=15)
def test_matched_neurons_match(seed):
    """As many in each layer, all new and distinct, each among the 20 nearest that were left when it was drawn."""
    rng = np.random.default_rng(seed)
    mean_abs = rng.lognormal(0, 1, (4, 200)).round(1)
    sets = some_sets(rng)
    found = matched_random(sets, mean_abs, np.random.default_rng(seed))
    taken = {tuple(pair) for pair in np.concatenate(sets).tolist()}
    for one, other in zip(sets, found, strict=True):
        assert other.shape == one.shape
        for (layer, neuron), (its_layer, its) in zip(one.tolist(), other.tolist(), strict=True):
            assert its_layer == layer
            left = [i for i in range(200) if (layer, i) not in taken]
            left.sort(key=lambda i: (abs(mean_abs[layer, i] - mean_abs[layer, neuron]), i))
            assert its in left[:20]
            taken.add((layer, its))
    again = matched_random(sets, mean_abs, np.random.default_rng(seed))
    assert all((a == b).all() for a, b in zip(found, again, strict=True))


def test_matched_neurons_are_drawn_evenly():
    """Of the 20 nearest each is drawn as often; none farther away ever is."""
    mean_abs, rng = np.abs(np.arange(60.0) - 30)[None], np.random.default_rng(0)
    drawn = [int(matched_random([[(0, 30)]], mean_abs, rng)[0][0, 1]) for _ in range(4000)]
    expected = [i for i in range(20, 41) if i != 30]
    assert sorted(set(drawn)) == expected
    assert stats.chisquare([drawn.count(i) for i in expected]).pvalue > 1e-3


def test_matched_neurons_have_the_same_activity():
    """Active neurons: matched ones come near in mean |a|, unless the chosen are simply the most active ones."""
    mean_abs = np.random.default_rng(1).lognormal(0, 1, (2, 3000))
    ordered = np.stack(np.divmod(np.argsort(-mean_abs.ravel()), 3000), 1)

    def means(chosen):
        (found,) = matched_random([chosen], mean_abs, np.random.default_rng(2))
        return [mean_abs[tuple(pairs.T)].mean() for pairs in (chosen, found)]

    ours, theirs = means(ordered[100:600:5])
    assert ours > 2 * mean_abs.mean()
    assert theirs == pytest.approx(ours, rel=0.02)
    ours, theirs = means(ordered[:100])
    assert theirs < 0.8 * ours


# --- dose ----------------------------------------------------------------------------------------------------------


def test_slope_is_the_least_squares_line_through_one():
    """numpy's solution for the means; a line's own slope, whatever stands at scale 1."""
    effects = np.random.default_rng(8).standard_normal((6, 5))
    design = np.array(SCALES)[:, None] - 1
    assert slope(SCALES, effects) == pytest.approx(np.linalg.lstsq(design, effects.mean(1), rcond=None)[0][0])
    assert slope(SCALES, -0.7 * design * np.ones((6, 5))) == pytest.approx(-0.7)


def test_monotonicity_is_a_rank_correlation():
    """scipy's, of scales and mean effects; 1 and −1 for anything that only grows or falls."""
    effects = np.random.default_rng(9).standard_normal((6, 5))
    assert monotonicity(SCALES, effects) == pytest.approx(stats.spearmanr(SCALES, effects.mean(1)).statistic)
    growing = np.exp(np.array(SCALES))[:, None] * np.ones((6, 3))
    assert monotonicity(SCALES, growing) == pytest.approx(1.0)
    assert monotonicity(SCALES, -growing) == pytest.approx(-1.0)
    assert np.isnan(monotonicity(SCALES, np.ones((6, 3))))


def test_what_is_detectable_is_detected():
    """2.8 standard errors at the usual levels; a z test of such an effect finds it in 80 % of samples."""
    assert detectable(1.0, 100) == pytest.approx((1.959964 + 0.841621) / 10, rel=1e-5)
    assert detectable(3.0, 25, 0.01, 0.9) == pytest.approx((2.575829 + 1.281552) * 3 / 5, rel=1e-5)
    rng = np.random.default_rng(10)
    z = rng.normal(detectable(2.0, 50), 2.0, (4000, 50)).mean(1) / (2 / np.sqrt(50))
    assert np.mean(np.abs(z) > 1.959964) == pytest.approx(0.8, abs=0.02)


# --- intervals -----------------------------------------------------------------------------------------------------


def mean(values, weights=None):
    return weighted_means(values, weights)


def test_weights_hold_texts_together_and_strata_constant():
    """One weight a text; every draw holds as many questions of each stratum as there are."""
    units = np.array(["b", "a", "a", "c", "b", "d"])
    strata = np.array([0, 1, 1, 0, 0, 1])
    weights = text_weights(units, strata, 50, 1)
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 4]).all()
    assert weights[:, strata == 1].sum(1) == pytest.approx(np.full(50, 3.0))
    assert weights[:, strata == 0].sum(1) == pytest.approx(np.full(50, 3.0))
    assert text_weights(units, draws=50).sum(1) == pytest.approx(np.full(50, 6.0))
    assert np.ptp(text_weights(units, draws=50)[:, strata == 1].sum(1)) > 0.1


def test_intervals_are_percentiles_of_the_draws():
    """Of every share at once, widened to hold the value; the same whatever is computed at a time."""
    kept, empty, clean = columns(12)
    units = np.repeat(np.arange(6), 2)
    found = over_texts(faithfulness, kept, empty, clean, units=units, draws=300, seed=4)
    weights = text_weights(units, None, 300, 4)
    base, whole = weights @ empty, weights @ clean
    each = (weights @ kept.T - base[:, None]) / (whole - base)[:, None]
    low, high = np.percentile(each, (2.5, 97.5), axis=0)
    value = faithfulness(kept, empty, clean)
    assert found.value.tolist() == value.tolist()
    assert found.low == pytest.approx(np.minimum(low, value))
    assert found.high == pytest.approx(np.maximum(high, value))
    assert (found.low[-1], found.high[-1]) == (1.0, 1.0)
    assert (found.low[:-1] < found.high[:-1]).all()


def test_chunks_change_nothing(monkeypatch):
    """Memory decides how many draws are computed at a time, never what comes out."""
    rng = np.random.default_rng(11)
    scores, effects = rng.standard_normal((2, 40)), rng.standard_normal((6, 2, 40))
    whole = agreement_over_texts(scores, effects, np.arange(6), draws=30)
    monkeypatch.setattr("neuron_antagonism.metrics.judges.intervals._CHUNK", 200)
    parts = agreement_over_texts(scores, effects, np.arange(6), draws=30)
    for name in FIGURES:
        assert parts[name] == (pytest.approx(whole[name][0]), pytest.approx(whole[name][1]))


def test_intervals_of_single_figures():
    """A figure without axes, and one with its options bound."""
    effects = np.array(SCALES)[:, None] - 1 + np.random.default_rng(12).normal(0, 0.5, (6, 9))
    found = over_texts(partial(slope, SCALES), effects, units=np.arange(9), draws=200)
    assert found.value.shape == found.low.shape == found.high.shape == ()
    assert found.low < found.value < found.high
    assert found.low < 1 < found.high


def test_no_interval_where_none_can_be_given():
    """One text; a denominator that is 0 or less in many draws."""
    values = np.array([1.0, 2.0, 4.0])
    one = over_texts(mean, values, units=np.zeros(3), draws=50)
    assert (one.value, np.isnan(one.low), np.isnan(one.high)) == (pytest.approx(7 / 3), True, True)
    unsure = over_texts(
        faithfulness, values[None], np.zeros(3), np.array([1.0, 1.0, -1.5]), units=np.arange(3), draws=200
    )
    assert np.isfinite(unsure.value).all()
    assert np.isnan(unsure.low).all()
    never = over_texts(faithfulness, values[None], np.zeros(3), -values, units=np.arange(3), draws=200)
    assert np.isnan([never.value, never.low, never.high]).all()


@pytest.mark.parametrize("n", [8, 24])
def test_intervals_of_means_cover(n):
    """The mean of few texts of three questions each lies inside in about 95 % of samples."""
    rng, hits, units = np.random.default_rng(13), 0, np.repeat(np.arange(n), 3)
    for seed in range(300):
        values = (rng.normal(1, 1, n)[:, None] + rng.normal(0, 0.5, (n, 3))).ravel()
        found = over_texts(mean, values, units=units, draws=200, seed=seed)
        hits += found.low <= 1 <= found.high
    assert 0.88 <= hits / 300 <= 0.98


def test_intervals_of_agreement_cover_what_is_seen_on_average():
    """Resampling adds noise to a noisy truth: plain percentiles lie too low, centred ones cover."""
    rng = np.random.default_rng(14)
    known, n = rng.standard_t(3, (2, 100)), 16
    scores = known + 0.3 * rng.standard_normal((2, 100))

    def sample():
        return known + 3 * rng.standard_normal((n, 2, 100))

    target = np.mean([agreements(scores, sample())[0] for _ in range(500)])
    hits = np.zeros(2)
    for seed in range(100):
        effects = sample()
        low, high = agreement_over_texts(scores, effects, np.arange(n), draws=60, seed=seed)["spearman"][1]
        plain = over_texts(partial(agreements, scores), effects, units=np.arange(n), draws=60, seed=seed)
        hits += low <= target <= high, plain.low[0] <= target <= plain.high[0]
    assert hits[0] >= 88 > hits[1]


def test_intervals_of_agreement_stay_within_the_figure():
    """A shifted draw can't say more than 1, of an overlap not less than 0; values are those of `agreement`."""
    rng = np.random.default_rng(15)
    scores = rng.standard_normal((2, 80))
    effects = scores + 0.3 * rng.standard_normal((5, 2, 80))
    found = agreement_over_texts(scores, effects, np.arange(5), draws=100)
    for name, value in agreement(scores, effects.mean(0)).items():
        low, high = found[name][1]
        assert found[name][0] == pytest.approx(value)
        assert (-1 if name in FIGURES[:2] else 0) <= low <= found[name][0] <= high <= 1
    assert found["spearman"][1][0] < found["spearman"][1][1]
    none = agreement_over_texts(np.zeros((2, 80)), effects, np.arange(5), nonzero=True, draws=10)
    assert np.isnan(none["sign"][1]).all()


# --- what is refused -----------------------------------------------------------------------------------------------

TABLE = np.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kept_masks(TABLE, ranking="sined"), "did you mean 'signed'"),
        (lambda: kept_masks(TABLE, [0.0]), "above 0, at most 1"),
        (lambda: kept_masks(TABLE * np.nan), "finite numbers"),
        (lambda: faithfulness(TABLE, np.ones(3), np.ones(2)), r"\(2, 3\), \(3,\), \(2,\)"),
        (lambda: faithfulness(TABLE, np.ones(3), np.ones(3), np.ones((4, 2))), r"\[draw, question\]"),
        (lambda: faithfulness(TABLE[:, :0], np.ones(0), np.ones(0)), "means of values"),
        (lambda: comprehensiveness(np.ones(2), TABLE), r"\[share, question\]"),
        (lambda: cpr((0.1, 0.1), np.ones(2)), "increasing"),
        (lambda: cpr((0.1,), np.ones(1)), "at least two"),
        (lambda: cmd((0.1, 0.2), np.ones(3)), r"\(3,\) at 2 shares"),
        (lambda: agreement(TABLE, TABLE.T), r"\[layer, neuron\] twice"),
        (lambda: agreement(TABLE, TABLE * np.inf), "NaN or infinite"),
        (lambda: agreements(TABLE, TABLE[None], np.ones((5, 2))), r"\(5, 2\)"),
        (lambda: agreements(TABLE, TABLE), r"\[question, layer, neuron\]"),
        (lambda: split_half(TABLE[None], np.zeros(2)), r"\(2,\) units"),
        (lambda: split_half(TABLE[None], np.zeros(1), draws=0), "at least 1"),
        (lambda: jaccard([[(0, 0)]]), "at least 2"),
        (lambda: jaccard([[(0, 0), (0, 0)], []]), "each neuron once"),
        (lambda: role_changes([[], []], [[], [], []]), "one of each a draw"),
        (lambda: role_changes([[(0, 0)], []], [[(0, 0)], []]), "one role a draw"),
        (lambda: variance_split(TABLE[:1]), "at least 2 of each"),
        (lambda: auroc(TABLE, [(2, 0)]), r"planted neuron 2\.0"),
        (lambda: auroc(TABLE * np.nan, []), r"numbers \[layer, neuron\]"),
        (lambda: matched_random([[(0, 0)], [(0, 1)]], TABLE, np.random.default_rng(0)), "layer 0 has 1 .* match 2"),
        (lambda: matched_random([[(0, 3)]], TABLE, np.random.default_rng(0)), r"neuron 0\.3 .* neurons 0 to 2"),
        (lambda: matched_random([], TABLE * np.nan, np.random.default_rng(0)), "finite numbers"),
        (lambda: slope((1.0, 1.0), TABLE), "not 1"),
        (lambda: slope(SCALES, TABLE), "at 6 scales"),
        (lambda: detectable(-1.0, 5), "sd from 0"),
        (lambda: detectable(1.0, 5, power=1.0), "between 0 and 1"),
        (lambda: over_texts(mean, np.ones(3), units=np.arange(3), draws=0), "at least 1"),
        (lambda: over_texts(mean, np.ones(3), units=np.arange(4)), r"\[draw, question\]"),
        (lambda: text_weights(np.arange(3), np.arange(2)), "equally many"),
        (lambda: agreement_over_texts(TABLE, TABLE[None], np.arange(2)), "one a question"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(call, message):
    """Shapes that don't fit and options out of range."""
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert "accepted" in str(caught.value)


def test_judges_import_neither_torch_nor_scipy():
    """Planning a benchmark imports them: scipy comes with the first ranks."""
    code = "import sys, neuron_antagonism.metrics.judges; sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
