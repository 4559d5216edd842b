import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.metrics.averages import average
from neuron_antagonism.metrics.bootstrap import (
    Resamples,
    holm,
    interval_around,
    percentile_interval,
    rank_p,
    ratio_of_sums,
    sign_flip_p,
)
from neuron_antagonism.metrics.compare import compare
from neuron_antagonism.metrics.effects import Effect
from neuron_antagonism.metrics.outcomes import Outcomes, fails, relative_change


@dataclass
class Evaluated:
    outcomes: Outcomes


def outcomes(right, proxies=3, name=""):
    right = np.array(right)
    return Outcomes(right, np.full(right.shape, proxies), np.ones(right.shape), name)


def evaluated(right, proxies=3, name=""):
    return Evaluated(outcomes(right, proxies, name))


rights = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12)


def test_acc_and_com_by_hand():
    """Acc counts proxies, Com examples with two of three right."""
    o = outcomes([3, 2, 1, 0])
    assert (o.acc, o.com) == (6 / 12, 2 / 4)
    assert (o.n_right, o.n_proxies, o.n_understood, o.n_examples) == (6, 12, 2, 4)


@pytest.mark.parametrize(("proxies", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4)])
def test_understood_needs_two_thirds_rounded_up(proxies, needed):
    """Exactly ceil(2n/3) right proxies make an example understood, one fewer doesn't."""
    assert outcomes([needed, needed - 1], proxies).understood.tolist() == [True, False]


def test_counts_do_not_overflow_small_integers():
    """uint8 counts of many examples sum beyond 255."""
    o = Outcomes(np.full(200, 3, np.uint8), np.full(200, 3, np.uint8), np.zeros(200, np.float32))
    assert (o.n_right, o.n_proxies, o.acc) == (600, 600, 1.0)


@pytest.mark.parametrize(
    ("right", "proxies", "entropy"),
    [
        ([4], [3], [0.0]),
        ([-1], [3], [0.0]),
        ([0], [0], [0.0]),
        ([1], [3], [np.nan]),
        ([1], [3], [np.inf]),
        ([1, 1], [3], [0.0]),
        ([1.0], [3], [0.0]),
        (np.zeros(0, int), np.zeros(0, int), []),
    ],
)
def test_impossible_outcomes_are_refused(right, proxies, entropy):
    """Counts out of range, NaN, unequal lengths and empty sets are one-line errors."""
    with pytest.raises(DataError, match="accepted") as caught:
        Outcomes(np.array(right), np.array(proxies), np.array(entropy, float))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "mode", "expected"),
    [
        (40, 50, "enhance", 25.0),
        (40, 50, "degrade", -25.0),
        (40, 30, "degrade", 25.0),
        (40, 30, "enhance", -25.0),
        (0, 3, "enhance", None),
        (0, 0, "degrade", None),
    ],
)
def test_relative_change_by_hand(before, after, mode, expected):
    """Signed by the mode; nothing before = n/a."""
    assert relative_change(before, after, mode) == expected


def test_no_change_is_plain_zero():
    """A degrader without effect prints 0.0, never -0.0."""
    assert str(relative_change(4, 4, "degrade")) == "0.0"


@pytest.mark.parametrize(
    ("values", "failed"),
    [
        ((1.0, -0.1), True),
        ((-0.1, 5.0), True),
        ((0.0, 0.0), False),
        ((None, 0.0), False),
        ((None, -1.0), True),
    ],
)
def test_fail_is_any_negative(values, failed):
    """Either negative fails; zero and n/a don't."""
    assert fails(*values) is failed


def test_resamples_follow_their_seed():
    """The same seed repeats the weights, another changes them."""
    strata = np.arange(30) % 2
    first = Resamples(strata, n=20, seed=3).weights
    assert np.array_equal(first, Resamples(strata, n=20, seed=3).weights)
    assert not np.array_equal(first, Resamples(strata, n=20, seed=4).weights)


def test_weights_spread_like_an_unbiased_variance():
    """The weighted mean of 40 scatters by s / sqrt(40), as little as the unseen texts at the middle change."""
    rng = np.random.default_rng(0)
    values = rng.random(40)
    drawn = Resamples(np.zeros(40), n=20_000, seed=1).means(values, values.mean(), values.mean())[0]
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.002)
    assert drawn.std() == pytest.approx(values.std(ddof=1) / np.sqrt(40), rel=0.05)


def test_chunked_drawing_is_the_whole(monkeypatch):
    """Drawing in chunks changes nothing but memory; also beyond 255 examples."""
    whole = Resamples(np.arange(300) % 3, n=40, seed=5).weights
    monkeypatch.setattr("neuron_antagonism.metrics.bootstrap._CHUNK", 1000)
    assert np.array_equal(Resamples(np.arange(300) % 3, n=40, seed=5).weights, whole)


def test_means_and_sums_are_those_of_a_plain_loop():
    """Weighted means by stratum, unseen texts at either end and at the mean; sums are sizes times means."""
    strata, values = np.array([1, 0, 1, 1]), np.array([3.0, 1.0, 0.0, 2.0])
    draws = Resamples(strata, n=7, seed=2)
    means = draws.means(values, 0.0, 3.0, after=True)
    for replicate in range(7):
        for row, label in enumerate((0, 1)):
            here = strata == label
            weights = draws.weights[replicate, here].astype(float)
            low, high = draws._unseen[1, :, row, replicate]
            other = draws._unseen[0, :, row, replicate].sum()
            total = weights.sum() + low + high + other
            expected = (weights @ values[here] + 3.0 * high + other * values[here].mean()) / total
            assert means[row, replicate] == pytest.approx(expected, rel=1e-5)
    assert draws.sums(values, 0.0, 3.0, after=True) == pytest.approx(np.array([1, 3]) @ means)


def test_examples_of_a_text_are_weighted_together():
    """One weight a text; as many texts as there are spread the mean, not as many examples."""
    units = np.repeat(np.arange(20), 3)
    values = np.repeat(np.random.default_rng(0).random(20), 3)
    together = Resamples(np.zeros(60), units, 20_000, 1)
    assert all(np.ptp(together.weights[:, units == unit], axis=1).max() == 0 for unit in range(20))
    spread = [one.means(values, 0.5, 0.5)[0].std() for one in (together, Resamples(np.zeros(60), None, 20_000, 1))]
    assert spread[0] / spread[1] == pytest.approx(np.sqrt(3), rel=0.15)


@pytest.mark.parametrize("right", [[0] * 24, [3] * 24])
@pytest.mark.parametrize("n", [2, 24])
def test_no_interval_has_zero_width(right, n):
    """All answers alike: the interval starts at what was seen, and says how far the truth may be from it."""
    base = np.array([3, 0] * 12)[:n]
    found = compare(evaluated(base), evaluated(right[:n]), replicates=2000)
    for name in ("rac", "rcc", "acc_difference", "com_difference", "population_acc", "population_com"):
        low, high = getattr(found, f"{name}_interval")
        assert low < high
        assert low <= getattr(found, name) <= high
    # an exact binomial interval of 24 alike reaches to .14, of 2 alike to .84
    width = found.acc_difference_interval[1] - found.acc_difference_interval[0]
    assert width > (10 if n == 24 else 50)


def test_strata_travel_with_the_outcomes():
    """A set that was drawn by outcome is weighted within its halves; any other is one stratum."""
    right = np.array([3, 2, 0, 1])
    assert set(outcomes(right).resamples(n=5).strata.tolist()) == {False}
    drawn = Outcomes(right, np.full(4, 3), np.ones(4), "", strata=right >= 2)
    assert drawn.resamples(n=5).strata.tolist() == [True, True, False, False]
    least, most = drawn.least_and_most()
    assert (least.tolist(), most.tolist()) == ([2, 2, 0, 0], [3, 3, 1, 1])
    least, most = outcomes(right).least_and_most()
    assert (least.tolist(), most.tolist()) == ([0] * 4, [3] * 4)


def test_population_effect_by_hand():
    """π = 3/4: 3/4 of the change of understood examples and 1/4 of the others'; unknown without π."""
    before = Outcomes(
        np.array([3, 3, 0, 0]), np.full(4, 3), np.ones(4), "", strata=np.array([True, True, False, False])
    )
    after = outcomes([3, 0, 3, 3])
    found = compare(Evaluated(before), Evaluated(after), read=(30, 40), replicates=500)
    assert found.acc_difference == pytest.approx(25.0)
    assert found.population_acc == pytest.approx(0.75 * -50 + 0.25 * 100)
    assert found.population_com == pytest.approx(-12.5)
    low, high = found.population_acc_interval
    assert low < -12.5 < high
    unknown = compare(Evaluated(before), Evaluated(after), replicates=50)
    assert (unknown.population_acc, unknown.population_acc_interval) == (None, None)
    plain = compare(evaluated([3, 3, 0, 0]), evaluated([3, 0, 3, 3]), replicates=50)
    assert plain.population_acc == plain.acc_difference


def test_an_edit_that_only_flips_answers_cancels_in_the_population():
    """Answers drawn anew: understood examples lose, the others gain, the population effect holds 0 nearly always."""
    rng, stratified, population = np.random.default_rng(0), [], []
    for _ in range(100):
        chance = rng.beta(1.2, 1.2, 400)
        first, second = rng.binomial(3, chance), rng.binomial(3, chance)
        known = first >= 2
        halves = np.concatenate([np.flatnonzero(known)[:50], np.flatnonzero(~known)[:50]])
        before = Outcomes(first[halves], np.full(100, 3), np.ones(100), "", strata=known[halves])
        read = (int(known.sum()), 400)
        found = compare(Evaluated(before), Evaluated(outcomes(second[halves])), read=read, replicates=400)
        stratified.append(found.com_difference)
        low, high = found.population_com_interval
        population.append(low <= 0 <= high)
    assert np.mean(population) >= 0.9
    # half and half of a population with as many of each: the stratified figure is right on average only here
    assert abs(np.mean(stratified)) < 3


def test_few_zero_denominators_are_dropped_and_many_forbid_an_interval():
    """1 % may be dropped, more may not."""
    denominator = np.full(200, 2.0)
    denominator[:2] = 0
    values, dropped = ratio_of_sums(np.ones(200), denominator)
    assert dropped == 2
    assert values.tolist() == [50.0] * 198
    denominator[2] = 0
    assert ratio_of_sums(np.ones(200), denominator) == (None, 3)


def test_interval_covers_its_nominal_share():
    """95 % intervals of a known effect hold the truth in about 95 % of repetitions."""
    rng, hits = np.random.default_rng(0), 0
    truth = 100 * (0.7 - 0.5) / 0.5
    for seed in range(150):
        before, after = rng.binomial(1, 0.5, 120), rng.binomial(1, 0.7, 120)
        found = compare(evaluated(before, 1), evaluated(after, 1), seed=seed, replicates=400)
        hits += found.rac_interval[0] <= truth <= found.rac_interval[1]
    assert 0.88 <= hits / 150 <= 0.99


def test_percentiles_by_hand():
    """Linear percentiles, widened to hold the value itself; nothing of nothing."""
    assert percentile_interval(np.arange(41.0)) == (1.0, 39.0)
    assert interval_around(5.0, np.arange(41.0)) == (1.0, 39.0)
    assert interval_around(0.0, np.arange(41.0)) == (0.0, 39.0)
    assert interval_around(None, np.arange(41.0)) is None
    assert interval_around(1.0, None) is None


def test_sign_flips_by_hand():
    """Three texts that all gain: 2 of 8 sign patterns are as extreme; a text's examples flip together."""
    assert sign_flip_p(np.array([1.0, 1.0, 1.0, 0.0]), np.arange(4), 40_000) == pytest.approx(0.25, abs=0.01)
    assert sign_flip_p(np.array([1.0, 1.0, 1.0]), np.zeros(3, int), 1000) == 1.0
    assert sign_flip_p(np.zeros(5), np.arange(5), 100) == 1.0
    assert sign_flip_p(np.ones(40), np.arange(40), 999) == pytest.approx(1 / 1000)


def test_rank_among_draws_by_hand():
    """The method counts as one of the draws: 19 of them can't show less than .05."""
    assert rank_p(5.0, [1.0, 2.0, 3.0]) == 1 / 4
    assert rank_p(2.0, [1.0, 2.0, 3.0]) == 3 / 4
    assert rank_p(9.0, list(range(9))) == 1 / 10


def test_holm_by_hand():
    """Step-down: 3 x .01, then 2 x .02 -> .04, then .03 raised to .04; n/a takes no part."""
    assert holm([0.03, None, 0.01, 0.02]) == [
        pytest.approx(0.04),
        None,
        pytest.approx(0.03),
        pytest.approx(0.04),
    ]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_compare_by_hand():
    """Before 6 of 12 right and 2 of 4 understood, after 9 and 4."""
    found = compare(evaluated([3, 3, 0, 0]), evaluated([3, 2, 2, 2]), replicates=200)
    assert (found.rac, found.rcc) == (50.0, 100.0)
    assert (found.acc_difference, found.com_difference) == (25.0, 50.0)
    assert (found.acc_before, found.acc_after, found.com_before, found.com_after) == (0.5, 0.75, 0.5, 1.0)
    assert found.rcc_interval[0] < 100 < found.rcc_interval[1]
    assert found.rac_interval[0] < 50 < found.rac_interval[1]
    assert not found.failed
    assert compare(evaluated([3, 3, 0, 0]), evaluated([3, 2, 2, 2]), "degrade", replicates=9).failed


def test_compare_without_anything_right_before():
    """n/a with no interval, but a difference in points and no Fail."""
    found = compare(evaluated([0, 0]), evaluated([3, 0]), replicates=50)
    assert (found.rac, found.rcc, found.rac_interval, found.rcc_interval) == (None, None, None, None)
    assert (found.acc_difference, found.com_difference, found.failed) == (50.0, 50.0, False)


def test_compare_takes_given_strata():
    """What is understood before is then no question of chance, and comprehension before is one half."""
    before, after = evaluated([3, 3, 0, 0]), evaluated([3, 0, 3, 0])
    loose, fixed = (
        compare(before, after, strata=strata, replicates=2000) for strata in (None, [True, True, False, False])
    )
    assert loose.rcc == fixed.rcc == 0.0
    assert np.ptp(fixed.rcc_interval) < np.ptp(loose.rcc_interval)


@pytest.mark.parametrize(
    ("after", "arguments", "message"),
    [
        (evaluated([1, 1, 1]), {}, "2 and 3 examples"),
        (evaluated([1, 1], 2), {}, "different example sets"),
        (evaluated([1, 1], name="b"), {}, "different example sets"),
        (evaluated([1, 1]), {"mode": "enhanc"}, "did you mean 'enhance'.* accepted: degrade, enhance"),
        (evaluated([1, 1]), {"strata": np.zeros(3)}, "accepted: True or False for each of 2"),
        (evaluated([1, 1]), {"replicates": 0}, "at least 1"),
    ],
)
def test_compare_refuses_in_one_line(after, arguments, message):
    """Different examples, unknown modes and strata that don't fit."""
    with pytest.raises(UsageError, match=message) as caught:
        compare(evaluated([1, 1], name="a"), after, **arguments)
    assert "\n" not in str(caught.value)


@given(rights, st.sampled_from(["enhance", "degrade"]))
@settings(max_examples=20, deadline=None)
def test_an_effect_is_plain_json(pairs, mode):
    """No NaN, no infinity, no numpy numbers; n/a is null."""
    before, after = ([p[i] for p in pairs] for i in (0, 1))
    found = compare(evaluated(before), evaluated(after), mode, replicates=20)
    back = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (back["rac"], back["failed"]) == (found.rac, found.failed)
    assert back["rcc_interval"] == (None if found.rcc_interval is None else list(found.rcc_interval))


def test_opposite_modes_mirror_each_other():
    """What enhances by x degrades by -x, intervals included."""
    pair = evaluated([3, 2, 1, 0, 2]), evaluated([3, 3, 0, 2, 0])
    up, down = (compare(*pair, mode, replicates=300) for mode in ("enhance", "degrade"))
    assert up.rac == -down.rac
    assert up.rac_interval == pytest.approx((-down.rac_interval[1], -down.rac_interval[0]))


def test_an_effect_of_mean_counts():
    """Fractional counts after the edit are means over draws."""
    effect = Effect(
        mode="enhance",
        examples=10,
        proxies=30,
        right_before=10,
        right_after=12.5,
        understood_before=5,
        understood_after=4.5,
    )
    assert (effect.rac, effect.rcc, effect.failed) == (25.0, -10.0, True)


def test_statistics_import_without_torch():
    """The derivation runs where torch isn't there."""
    code = "import sys, neuron_antagonism.metrics.differences, neuron_antagonism.metrics.compare; "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_interval_of_an_average_covers():
    """Of four independent binomial shares, one of them near 1, with Wilson's intervals: about 95 % hold the mean."""
    from scipy.stats import binomtest

    rng, truth = np.random.default_rng(0), np.array([0.3, 0.5, 0.8, 0.97])
    held = 0
    for _ in range(400):
        right = rng.binomial(40, truth)
        found = [binomtest(int(k), 40).proportion_ci(method="wilson") for k in right]
        value, (low, high) = average(
            list(right / 40), [(min(c.low, k / 40), max(c.high, k / 40)) for c, k in zip(found, right, strict=True)]
        )
        assert low <= value <= high
        held += low <= truth.mean() <= high
    assert 0.93 <= held / 400 <= 0.99


@pytest.mark.parametrize("share", [0.98, 0.03])
def test_the_interval_of_an_average_near_the_ends(share):
    """Of shares near 0 or 1 the bootstrap's intervals fall short on one side: their average's must not add that up."""
    from neuron_antagonism.metrics.interaction import mean_interval

    rng, draws = np.random.default_rng(1), Resamples(np.zeros(48), np.arange(48), 400, 0)
    held, alone = 0, 0.0
    for _ in range(300):
        right = (rng.random((4, 48)) < share).astype(float)
        found = [mean_interval(one, draws) for one in right]
        _, (low, high) = average([float(one.mean()) for one in right], found)
        held += low <= share <= high
        alone += sum(a <= share <= b for a, b in found) / 4
    assert held / 300 >= max(0.9, alone / 300)


def test_the_average_of_one_is_itself_and_of_none_refused():
    """One keeps symmetric ends, and none nearer than half its width; equal ones shrink by their number's root."""
    assert average([2.0], [(1.5, 2.5)]) == (2.0, (1.5, 2.5))
    assert average([2.0], [(1.5, 4.0)]) == (2.0, (0.75, 4.0))
    value, ends = average([1.0, 3.0, 5.0, 7.0], [(v - 1, v + 1) for v in (1.0, 3.0, 5.0, 7.0)])
    assert (value, *ends) == pytest.approx((4.0, 3.5, 4.5))
    with pytest.raises(UsageError, match="0 values have 0 intervals; accepted: one each"):
        average([], [])
