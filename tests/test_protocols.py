import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.metrics.bootstrap import Resamples, holm
from neuron_antagonism.metrics.compare import compare
from neuron_antagonism.metrics.differences import corrected, differences, gains, net_effects
from neuron_antagonism.metrics.outcomes import MODES, Outcomes
from neuron_antagonism.metrics.protocols import PROTOCOLS, Cell, averages, cells, cells_at
from neuron_antagonism.metrics.sweeps import Sweep, Swept, best_ratio

ALL = list(range(11))


@dataclass
class Evaluated:
    outcomes: Outcomes


GOOD_ONLY = np.zeros((2, 11), bool)
GOOD_ONLY[:, 10] = True


def outcomes(right, strata=None):
    right = np.array(right, np.uint8)
    strata = right >= 2 if strata is None else np.array(strata, bool)
    return Outcomes(right, np.full(right.shape, 3), np.ones(right.shape, np.float32), "", strata)


def swept(before, edits=None, entropies=None, strata=None):
    """`edits`: right by (mode, tenths) or by tenths; all others equal the unedited examples."""
    base = outcomes(before, strata)
    right = np.tile(base.right, (2, 11, 1))
    entropy = np.ones(right.shape)
    for key, value in (edits or {}).items():
        right[key if isinstance(key, tuple) else (slice(None), key)] = value
    for key, value in (entropies or {}).items():
        entropy[:, key] = value
    return Swept(right, entropy, base)


def random_swept(rng, n, base=None):
    """Few distinct values, so that ties abound; cross-entropies on eighths, so that plain sums are exact."""
    right = rng.integers(0, 4, (2, 11, n)).astype(np.uint8)
    right[:, rng.integers(11)] = right[:, 3]
    entropy = (rng.integers(0, 3, (2, 11, n)) / 8).astype(np.float32)
    base = outcomes(rng.integers(0, 4, n)) if base is None else base
    return Swept(right, entropy, base)


def plain_best(swept, mode, ratios, chosen):
    """The rule once more in plain Python, on the examples `chosen` (with repeats)."""
    row, s = MODES.index(mode), 1 if mode == "enhance" else -1
    base = swept.baseline.right
    com0, acc0 = sum(int(base[i] >= 2) for i in chosen), sum(int(base[i]) for i in chosen)

    def key(tenths):
        right = [int(swept.right[row, tenths, i]) for i in chosen]
        com = s * sum(r >= 2 for r in right) if com0 else 0
        acc = s * sum(right) if acc0 else 0
        entropy = s * sum(float(swept.cross_entropy[row, tenths, i]) for i in chosen)
        return (-com, -acc, entropy, abs(tenths - 5), tenths)

    return min(ratios, key=key)


def by_scorer(found, mode="enhance"):
    return {cell.scorer: cell for cell in found if cell.mode == mode}


def test_best_takes_comprehension_first():
    """Ratio 8 gains more proxies, ratio 2 more understood examples: 2 wins, for both metrics."""
    s = swept([3, 1, 1, 0, 0], {8: [3, 1, 1, 3, 3], 2: [2, 2, 2, 2, 2], 5: [3, 3, 1, 1, 1]})
    assert s.outcomes("enhance", 8).n_right > s.outcomes("enhance", 2).n_right
    assert best_ratio(s, "enhance", ALL) == 2


def test_best_takes_accuracy_second():
    """Equal comprehension: more right proxies win to enhance, fewer to degrade."""
    s = swept([3, 1, 0], {7: [3, 1, 1], 1: [3, 0, 0]})
    assert best_ratio(s, "enhance", ALL) == 7
    assert best_ratio(s, "degrade", ALL) == 1


def test_best_takes_cross_entropy_third():
    """Equal counts: lower cross-entropy wins to enhance, higher to degrade."""
    s = swept([3, 0], entropies={9: 0.5, 0: 2.0})
    assert best_ratio(s, "enhance", ALL) == 9
    assert best_ratio(s, "degrade", ALL) == 0


def test_best_ends_nearest_the_middle_then_lower():
    """All equal: 0.5; without it, 0.4 before 0.6."""
    s = swept([3, 0])
    assert best_ratio(s, "enhance", ALL) == 5
    assert best_ratio(s, "degrade", [6, 10, 4]) == 4
    assert best_ratio(s, "degrade", [6, 10, 3]) == 6


def test_equal_cross_entropies_tie_exactly():
    """The same numbers in another order sum to the same: the middle wins, not rounding."""
    rng = np.random.default_rng(0)
    entropy = rng.random(97)
    entropies = {tenths: rng.permutation(entropy) for tenths in ALL}
    s = swept([3] * 97, entropies=entropies)
    assert best_ratio(s, "enhance", ALL) == best_ratio(s, "degrade", ALL) == 5


def test_nothing_understood_before_falls_back_to_accuracy():
    """RCC n/a: ratio 8 wins by RAC though 2 has more understood; RAC n/a too: cross-entropy decides."""
    edits = {8: [1, 1, 1, 1], 2: [3, 0, 0, 0]}
    assert best_ratio(swept([1, 0, 0, 0], edits), "enhance", ALL) == 8
    assert best_ratio(swept([0, 0, 0, 0], edits, {7: 0.5}), "enhance", ALL) == 7


def test_no_ratio_is_refused():
    """Nothing to choose from is an error, not ratio 0."""
    with pytest.raises(UsageError, match="no ratio"):
        best_ratio(swept([1]), "enhance", [])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 7), st.sampled_from(MODES), st.sets(st.integers(0, 10), min_size=1))
def test_choice_equals_a_plain_rule(seed, n, mode, ratios):
    """The chosen ratio is that of a rule written once more in plain Python."""
    s = random_swept(np.random.default_rng(seed), n)
    assert best_ratio(s, mode, sorted(ratios)) == plain_best(s, mode, ratios, range(n))


def test_paper_fixes_the_baselines_and_lets_the_method_choose():
    """ACE and the enabled at their best on the evaluation set, others good only."""
    s = swept([3, 3, 0, 0], {(0, 3): [3, 3, 3, 0], (0, 10): [3, 3, 1, 0]})
    sweeps = [Sweep(name, s) for name in ("ace", "tn", "kn")]
    found = by_scorer(cells(sweeps, "paper", enabled=["kn"]))
    assert {name: cell.tenths for name, cell in found.items()} == {"ace": 3, "tn": 10, "kn": 3}
    assert (found["ace"].rac, found["ace"].rcc, found["ace"].ratio) == (50.0, 50.0, 0.3)
    assert (found["tn"].rac, found["tn"].rcc) == (pytest.approx(100 / 6), 0.0)
    assert by_scorer(cells(sweeps, "paper", method="tn"))["ace"].tenths == 10


def test_matched_lets_everyone_choose_from_what_they_have():
    """A good-only scorer has one ratio; what its missing entries hold doesn't matter."""
    edits = {(0, 3): [3, 3, 3, 3], (0, 10): [3, 3, 2, 0]}
    s = swept([3, 3, 0, 0], edits)
    hollow = swept([3, 3, 0, 0], edits, dict.fromkeys(range(10), np.nan))
    found = by_scorer(cells([Sweep("ace", s), Sweep("tn", s), Sweep("act", hollow, available=GOOD_ONLY)], "matched"))
    assert {name: cell.tenths for name, cell in found.items()} == {"ace": 3, "tn": 3, "act": 10}
    assert (found["act"].rcc, found["tn"].rcc) == (50.0, 100.0)


def test_held_out_chooses_on_one_set_and_reports_on_the_other():
    """The selection set prefers 0.7, the evaluation set would prefer 0.2."""
    evaluation = swept([3, 3, 0, 0], {(0, 2): [3, 3, 3, 3], (0, 7): [3, 0, 0, 0]})
    selection = swept([3, 0], {(0, 7): [3, 3]})
    (cell,) = [c for c in cells([Sweep("ace", evaluation, selection)], "held-out") if c.mode == "enhance"]
    assert (cell.tenths, cell.rac, cell.rcc, cell.failed) == (7, -50.0, -50.0, True)
    alone = compare(Evaluated(evaluation.baseline), Evaluated(evaluation.outcomes("enhance", 7)))
    assert (cell.rac_interval, cell.rcc_interval, cell.chosen_on) == (alone.rac_interval, alone.rcc_interval, "select")


def test_a_ratio_chosen_on_the_reported_set_has_no_interval():
    """Matched, and the method under paper: a value without an interval; what was not chosen keeps its own."""
    s = random_swept(np.random.default_rng(4), 40)
    sweeps = [Sweep("ace", s, s), Sweep("tn", s, s)]
    matched, paper, held_out = (by_scorer(cells(sweeps, protocol)) for protocol in ("matched", "paper", "held-out"))
    for one in (matched["ace"], matched["tn"], paper["ace"]):
        assert one.chosen_on == "evaluate"
        assert {one.rac_interval, one.rcc_interval, one.acc_difference_interval} == {None}
    for one in (paper["tn"], *held_out.values()):
        assert one.chosen_on != "evaluate"
        assert None not in {one.rac_interval, one.rcc_interval, one.acc_difference_interval}
    for protocol in ("matched", "paper"):
        assert {(d.interval, d.points_interval, d.p_value) for d in differences(sweeps, protocol)} == {
            (None, None, None)
        }
    assert all(d.interval is not None and d.p_value is not None for d in differences(sweeps, "held-out"))


def test_draws_are_averaged_and_their_spread_shown():
    """RANDOM: mean of the draws, 2.5-97.5 % of the draws, each draw's own counts kept."""
    before = [3, 3, 0, 0]
    draws = [Sweep("random", swept(before, {(0, 10): [3, 3, extra, 0]}), draw=extra) for extra in (0, 1, 2)]
    cell = by_scorer(cells(draws, "paper"))["random"]
    assert (cell.right_after, cell.rac) == (7.0, pytest.approx(100 / 6))
    assert cell.rcc == pytest.approx(100 / 6)
    assert cell.rac_interval == pytest.approx((100 / 6 * 0.05, 100 / 6 * 1.95))
    assert [draw.right_after for draw in cell.draws] == [6, 7, 8]
    assert {draw.rac_interval for draw in cell.draws} == {None}
    assert cell.tenths == 10
    shown = cell.to_json()
    assert (shown["interval_over"], shown["draws"][2]["rcc"]) == ("draws", 50.0)


def test_draws_go_through_the_same_selection():
    """Under matched each draw takes its own best ratio; a common ratio is then not claimed."""
    before = [3, 3, 0, 0]
    draws = [Sweep("random", swept(before, {(0, t): [3, 3, 3, 0]}), draw=t) for t in (1, 9)]
    cell = by_scorer(cells(draws, "matched"))["random"]
    assert [draw.tenths for draw in cell.draws] == [1, 9]
    assert (cell.tenths, cell.ratio, cell.rcc) == (None, None, 50.0)


def test_counts_used_are_passed_on():
    """The neurons that the chosen edit really had, not the ones asked for."""
    used = np.arange(44).reshape(2, 11, 2)
    s = swept([3, 0], {(1, 2): [0, 0]})
    cell = by_scorer(cells([Sweep("ace", s, used=used)], "matched"), "degrade")["ace"]
    assert (cell.tenths, cell.n_good, cell.n_bad) == (2, 26, 27)


def test_fixed_ratios_leave_out_who_has_none():
    """Good and Bad alone (Table 3); a good-only scorer has no Bad cell."""
    s = swept([3, 3, 0, 0], {(0, 0): [3, 3, 3, 3], (0, 10): [3, 3, 3, 0]})
    sweeps = [Sweep("ace", s), Sweep("act", s, available=GOOD_ONLY)]
    assert {n: c.rcc for n, c in by_scorer(cells_at(sweeps, 10)).items()} == {"ace": 50.0, "act": 50.0}
    assert {n: c.rcc for n, c in by_scorer(cells_at(sweeps, 0)).items()} == {"ace": 100.0}
    with pytest.raises(UsageError, match="0 to 10"):
        cells_at(sweeps, 11)


def cell(rac, rcc, task="", scorer="qrnca"):
    """A cell of given percentages: 1000 right and understood before."""
    after = [None if value is None else 1000 + round(10 * value) for value in (rac, rcc)]
    counts = [0 if value is None else 1000 for value in (rac, rcc)]
    return Cell(
        scorer=scorer,
        protocol="paper",
        mode="enhance",
        task=task,
        examples=2000,
        proxies=6000,
        right_before=counts[0],
        right_after=after[0] or 0,
        understood_before=counts[1],
        understood_after=after[1] or 0,
    )


def test_averages_take_signed_values_of_failed_cells():
    """QRNCA of Table 1 (LLaMA 2-7B, Deg): 30.3/31.5 needs the failed commonsense cell's hidden +2.5/-6.0."""
    row = [
        cell(48.9, 46.0, "ner"),
        cell(9.4, 16.0, "chunk"),
        cell(60.4, 70.0, "sst"),
        cell(2.5, -6.0, "csqa"),
    ]
    assert [c.failed for c in row] == [False, False, False, True]
    (average,) = averages(row)
    assert (average.rac, average.rcc) == (pytest.approx(30.3), pytest.approx(31.5))
    assert (average.tasks, average.failed) == (("ner", "chunk", "sst", "csqa"), False)


def test_average_fail_and_na_rules():
    """Negative by either metric fails, zero doesn't, one n/a makes it n/a; scorers stay apart."""
    assert averages([cell(4.0, -1.0), cell(4.0, -1.0)])[0].failed
    assert not averages([cell(-2.0, 3.0), cell(2.0, -3.0)])[0].failed
    (average,) = averages([cell(10.0, None), cell(20.0, 5.0)])
    assert (average.rac, average.rcc, average.failed) == (15.0, None, False)
    assert json.loads(json.dumps(average.to_json(), allow_nan=False))["rcc"] is None
    assert [a.scorer for a in averages([cell(1.0, 1.0, scorer="b"), cell(1.0, 1.0, scorer="a")])] == [
        "b",
        "a",
    ]


def test_average_points_are_always_there():
    """Percentage points, mean over tasks: +100 and +50 of 6000 proxies."""
    (average,) = averages([cell(10.0, None), cell(5.0, 5.0)])
    assert average.acc_difference == pytest.approx(100 * 75 / 6000)


@pytest.mark.parametrize("mode", MODES)
def test_differences_by_hand(mode):
    """One more of two right examples than the baseline: +50 % to enhance, the mirror image to degrade."""
    gain, row = ([3, 3, 3, 0], 0) if mode == "enhance" else ([3, 0, 0, 0], 1)
    sweeps = [Sweep("ace", swept([3, 3, 0, 0], {(row, 10): gain})), Sweep("tn", swept([3, 3, 0, 0]))]
    found = [d for d in differences(sweeps, "paper") if d.mode == mode]
    assert [(d.metric, d.baseline, d.difference) for d in found] == [("rac", "tn", 50.0), ("rcc", "tn", 50.0)]
    assert {d.test for d in found} == {""}


def fixed_ratio(name, right, before, **more):
    """A sweep of one ratio: nothing is chosen, so that everything has an interval."""
    return Sweep(name, swept(before, {10: right}), available=GOOD_ONLY, **more)


@pytest.mark.parametrize("mode", MODES)
def test_differences_have_intervals_and_sign_flips(mode):
    """Two of four texts differ: p = 1/2, and the interval holds the difference and 0."""
    sweeps = [fixed_ratio("ace", [3, 3, 3, 3], [3, 3, 0, 0]), fixed_ratio("tn", [3, 3, 0, 0], [3, 3, 0, 0])]
    for d in (d for d in differences(sweeps, "held-out") if d.mode == mode):
        s = 1 if mode == "enhance" else -1
        assert (d.test, d.difference, d.points) == ("sign flips", 100.0 * s, 50.0 * s)
        assert d.p_value == pytest.approx(0.5, abs=0.03)
        assert d.interval[0] <= d.difference <= d.interval[1]
        assert d.points_interval[0] < d.points_interval[1]


def test_differences_are_corrected_over_everything_shown():
    """Holm over all that stand together, of several tasks too, not by mode and metric."""
    rng = np.random.default_rng(1)
    before, ace = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    sweeps = [fixed_ratio("ace", ace, before)]
    sweeps += [fixed_ratio(name, rng.integers(0, 4, 30), before) for name in ("tn", "kn")]
    found = differences(sweeps, "held-out", resamples=Resamples(np.zeros(30), n=400))
    assert {d.p_holm for d in found} == {None}
    every = corrected(found + found)
    assert len(every) == 2 * 2 * 2 * 2
    assert [d.p_holm for d in every] == holm([d.p_value for d in found + found])
    assert min(d.p_holm for d in every) == pytest.approx(min(1.0, 16 * min(d.p_value for d in found)))


def test_differences_of_an_idle_baseline_are_the_methods_own_effect():
    """Against a baseline without effect, the difference is the method's own relative change."""
    rng = np.random.default_rng(2)
    before = rng.integers(0, 4, 25)
    sweeps = [fixed_ratio("ace", rng.integers(0, 4, 25), before), fixed_ratio("idle", before, before)]
    own = {c.mode: c for c in cells(sweeps, "held-out") if c.scorer == "ace"}
    for d in differences(sweeps, "held-out"):
        assert d.difference == pytest.approx(getattr(own[d.mode], d.metric))
        points = own[d.mode].acc_difference if d.metric == "rac" else own[d.mode].com_difference
        assert d.points == pytest.approx(points * (1 if d.mode == "enhance" else -1))


def test_differences_against_draws():
    """The point is against the draws' mean, p by rank among them, and their scatter is in the interval."""
    before = [2] * 8
    draws = [fixed_ratio("random", [r] * 8, before, draw=r) for r in (0, 1, 2, 3)]
    sweeps = [fixed_ratio("ace", [3] * 8, before), *draws]
    found = {(d.mode, d.metric): d for d in net_effects(sweeps, "held-out")}
    assert set(found) == {(mode, metric) for mode in MODES for metric in ("rac", "rcc")}
    d = found["enhance", "rac"]
    assert (d.difference, d.points, d.draws, d.test, d.p_value) == (75.0, 50.0, 4, "rank", 2 / 5)
    assert d.points_interval[1] - d.points_interval[0] > 20
    assert found["degrade", "rac"].p_value == 1.0
    (cell,) = [c for c in cells(sweeps, "held-out") if (c.scorer, c.mode) == ("random", "enhance")]
    assert cell.population_acc is None


def test_gains_are_of_those_that_choose():
    """Both kinds of neurons against one: nothing is told of a scorer with one ratio, against itself."""
    before = [2] * 6
    both = Sweep("ace", swept(before, {10: [1] * 6, 5: [3] * 6}), swept(before, {5: [3] * 6, 10: [1] * 6}))
    found = gains([both, fixed_ratio("act", [3] * 6, before)], 10)
    assert {d.method for d in found} == {"ace"}
    d = next(d for d in found if (d.mode, d.metric) == ("enhance", "rac"))
    assert (d.difference, d.points) == (100.0, pytest.approx(200 / 3))


def test_differences_with_nothing_before_are_na():
    """A zero denominator: no figure, no p, but an entry that says so."""
    sweeps = [Sweep("ace", swept([0, 0])), Sweep("tn", swept([0, 0]))]
    for d in differences(sweeps, "matched"):
        assert (d.difference, d.interval, d.p_value, d.p_holm) == (None, None, None, None)
        assert json.loads(json.dumps(d.to_json(), allow_nan=False))["p_holm"] is None


def test_cells_are_plain_json_and_deterministic():
    """Everything survives JSON without NaN; equal sweeps give equal cells."""
    rng = np.random.default_rng(3)
    base, chosen_on = outcomes(rng.integers(0, 4, 12)), outcomes(rng.integers(0, 4, 6))
    sweeps = [
        Sweep(
            name,
            random_swept(rng, 12, base=base),
            random_swept(rng, 6, base=chosen_on),
            draw=draw,
            task="toy",
            used=np.ones((2, 11, 2), int),
        )
        for name, draw in (("ace", 0), ("random", 0), ("random", 1))
    ]
    for protocol in PROTOCOLS:
        once, twice = ([c.to_json() for c in cells(sweeps, protocol)] for _ in range(2))
        assert json.loads(json.dumps(once, allow_nan=False)) == once == twice
        assert [(c["scorer"], c["mode"], c["protocol"], c["task"]) for c in once] == [
            (name, mode, protocol, "toy") for name in ("ace", "random") for mode in MODES
        ]


def test_a_mode_that_was_not_swept_has_no_cell():
    """Nothing is made up for it."""
    only_enhance = np.array([[True] * 11, [False] * 11])
    sweeps = [Sweep("ace", swept([3, 0]), available=only_enhance)]
    for protocol in ("paper", "matched"):
        assert [c.mode for c in cells(sweeps, protocol)] == ["enhance"]


def test_what_cannot_be_derived_is_refused_in_one_line():
    """Unknown names, other examples, repeated draws, missing edits or sets."""
    s = swept([3, 0])
    ace = Sweep("ace", s)
    no_good = np.ones((2, 11), bool)
    no_good[:, 10] = False
    wrong = [
        ("no sweeps", [], "paper", {}),
        ("did you mean 'matched'", [ace], "match", {}),
        ("unknown scorer 'tm'; accepted: ace, tn", [ace, Sweep("tn", s)], "paper", {"enabled": ["tm"]}),
        ("other examples", [ace, Sweep("tn", swept([3, 1]))], "matched", {}),
        ("other examples", [ace, Sweep("tn", swept([3, 0], strata=[1, 1]))], "matched", {}),
        ("same scorer and draw", [ace, ace], "matched", {}),
        ("no good-only edit", [Sweep("tn", s, available=no_good)], "paper", {}),
        ("no selection set", [ace], "held-out", {}),
        ("other examples", [ace], "matched", {"resamples": Resamples(np.zeros(3), n=5)}),
    ]
    for message, sweeps, protocol, arguments in wrong:
        with pytest.raises(UsageError, match=message) as caught:
            cells(sweeps, protocol, **arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="unknown scorer 'ace'"):
        differences([Sweep("tn", s)], "matched")


def test_impossible_sweeps_are_refused():
    """Shapes that don't fit, counts out of range, NaN in an edit that was made."""
    s = swept([3, 0])
    entropy = s.cross_entropy.copy()
    entropy[1, 4, 0] = math.nan
    wrong = [
        lambda: replace(s, right=s.right[:, :10]),
        lambda: replace(s, baseline=replace(s.baseline, strata=np.zeros(3, bool))),
        lambda: replace(s, right=s.right + 1),
        lambda: replace(s, right=s.right.astype(float)),
        lambda: Sweep("ace", replace(s, cross_entropy=entropy)),
        lambda: Sweep("ace", s, available=np.ones((2, 10), bool)),
        lambda: Sweep("ace", s, used=np.ones((2, 11), int)),
    ]
    for make in wrong:
        with pytest.raises(DataError, match="accepted"):
            make()
