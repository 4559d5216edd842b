import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.method.bootstrap import (
    Resamples,
    holm,
    percentile_interval,
    ratio_of_sums,
    two_sided_p,
)
from neuron_antagonism.method.compare import compare
from neuron_antagonism.method.statistics import Effect, Outcomes, fails, relative_change


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


@given(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.integers(0, 5))
def test_resamples_keep_the_strata_sizes(labels, seed):
    """Each replicate draws as many examples of each stratum as there are."""
    strata = np.array(labels)
    counts = Resamples(strata, 50, seed).counts.astype(int)
    for label in set(labels):
        assert (counts[:, strata == label].sum(1) == labels.count(label)).all()


def test_resamples_follow_their_seed():
    """The same seed repeats the draws, another changes them."""
    strata = np.arange(30) % 2
    first = Resamples(strata, 20, 3).counts
    assert np.array_equal(first, Resamples(strata, 20, 3).counts)
    assert not np.array_equal(first, Resamples(strata, 20, 4).counts)


def test_resamples_draw_uniformly_and_independently():
    """Multiplicities have a binomial's mean and variance: 4 draws of 4, mean 1, variance 3/4."""
    counts = Resamples(np.zeros(4), 20_000, 1).counts.astype(float)
    assert counts.mean(0) == pytest.approx([1] * 4, abs=0.03)
    assert counts.var(0) == pytest.approx([0.75] * 4, abs=0.04)


def test_chunked_sums_are_the_whole_sums(monkeypatch):
    """Drawing and summing in chunks changes nothing but memory; also beyond 255 examples."""
    values = np.arange(600).reshape(2, 300)
    whole = Resamples(np.arange(300) % 3, 40, 5)
    expected = whole.sums(values)
    assert np.array_equal(expected, values.astype(float) @ whole.counts.T.astype(float))
    monkeypatch.setattr("neuron_antagonism.method.bootstrap._CHUNK", 1000)
    assert np.array_equal(Resamples(np.arange(300) % 3, 40, 5).sums(values), expected)
    assert np.array_equal(whole.sums(values, slice(1, None, 7)), expected[:, 1::7])


@settings(max_examples=30, deadline=None)
@given(rights, st.sampled_from(["enhance", "degrade"]), st.integers(0, 3))
def test_vectorised_bootstrap_equals_a_plain_loop(pairs, mode, seed):
    """The intervals and dropped counts are those of a loop over the same draws, example by example."""
    before, after = ([p[i] for p in pairs] for i in (0, 1))
    found = compare(evaluated(before), evaluated(after), mode, seed=seed, replicates=60)
    draws = Resamples(np.array([r >= 2 for r in before]), 60, seed).counts
    for name, value in (("rac", lambda r: r), ("rcc", lambda r: int(r >= 2))):
        expected, dropped = [], 0
        for counts in draws:
            chosen = [i for i, times in enumerate(counts) for _ in range(times)]
            old, new = sum(value(before[i]) for i in chosen), sum(value(after[i]) for i in chosen)
            if old == 0:
                dropped += 1
            else:
                expected.append((1 if mode == "enhance" else -1) * 100 * (new - old) / old)
        assert getattr(found, f"{name}_dropped") == dropped
        interval = getattr(found, f"{name}_interval")
        if dropped > 0.6:
            assert interval is None
        else:
            assert interval == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))


@given(st.integers(1, 3), st.integers(0, 3), st.integers(1, 20))
def test_interval_of_a_constant_effect_is_a_point(old, new, n):
    """When every example changes alike, resampling can't change the ratio."""
    found = compare(evaluated([old] * n), evaluated([new] * n), replicates=40)
    assert found.rac_interval == (pytest.approx(found.rac), pytest.approx(found.rac))


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
        one_stratum = np.zeros(120)
        found = compare(evaluated(before, 1), evaluated(after, 1), strata=one_stratum, seed=seed, replicates=400)
        hits += found.rac_interval[0] <= truth <= found.rac_interval[1]
    assert 0.88 <= hits / 150 <= 0.99


def test_percentiles_and_p_by_hand():
    """Linear percentiles; a two-sided p counts ties on both sides and is at most 1."""
    assert percentile_interval(np.arange(41.0)) == (1.0, 39.0)
    assert percentile_interval(None) is None
    assert two_sided_p(np.array([1.0] * 99)) == pytest.approx(2 / 100)
    assert two_sided_p(np.array([-1.0] * 95 + [1.0] * 4)) == pytest.approx(2 * 5 / 100)
    assert two_sided_p(np.zeros(10)) == 1.0


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
    assert found.rcc_interval == (100.0, 100.0)  # strata by understanding: each replicate has two of each
    assert found.rac_interval[0] < 50 < found.rac_interval[1]
    assert not found.failed
    assert compare(evaluated([3, 3, 0, 0]), evaluated([3, 2, 2, 2]), "degrade", replicates=9).failed


def test_compare_without_anything_right_before():
    """n/a with no interval, but a difference in points and no Fail."""
    found = compare(evaluated([0, 0]), evaluated([3, 0]), replicates=50)
    assert (found.rac, found.rcc, found.rac_interval, found.rcc_interval) == (None, None, None, None)
    assert (found.rac_dropped, found.rcc_dropped) == (50, 50)
    assert (found.acc_difference, found.com_difference, found.failed) == (50.0, 50.0, False)


def test_compare_takes_given_strata():
    """Each example its own stratum: nothing is left to resample."""
    found = compare(evaluated([3, 1]), evaluated([1, 2]), strata=np.array([0, 1]), replicates=30)
    assert found.rac_interval == (-25.0, -25.0) == (found.rac, found.rac)


@pytest.mark.parametrize(
    ("after", "arguments", "message"),
    [
        (evaluated([1, 1, 1]), {}, "2 and 3 examples"),
        (evaluated([1, 1], 2), {}, "different example sets"),
        (evaluated([1, 1], name="b"), {}, "different example sets"),
        (evaluated([1, 1]), {"mode": "enhanc"}, "did you mean 'enhance'.* accepted: degrade, enhance"),
        (evaluated([1, 1]), {"strata": np.zeros(3)}, "accepted: one for each of 2"),
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
    code = "import sys, neuron_antagonism.method.differences, neuron_antagonism.method.compare; "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
