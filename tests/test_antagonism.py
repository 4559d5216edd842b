"""Good and bad neurons together against one by one: by hand on a tiny model; controls, words, and what is refused."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from rich.console import Console

import neuron_antagonism as na
from neuron_antagonism.metrics.bootstrap import Resamples
from neuron_antagonism.metrics.interaction import example_log_odds, interaction, log_odds, mean_interval, verdict
from neuron_antagonism.parts.antagonism import PAIRS, AntagonismRows, Pair, random_pairs
from neuron_antagonism.report.suite_tables import tables
from neuron_antagonism.report.together import together
from neuron_antagonism.runs.unit import Memory
from neuron_antagonism.runs.work import Desk, Order, Wanted, Workshop, work
from neuron_antagonism.suites.bench import parts_of, plan_bench
from neuron_antagonism.suites.spec import Suite

one_thread = tiny.one_thread

N, DRAWS = 3, 4
ACTS = {"enhance": {"good": "excite", "bad": "silence"}, "degrade": {"good": "silence", "bad": "excite"}}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.shared("llama")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task whose texts are words of the tiny tokenizer."""
    return tiny.labelled(tmp_path_factory.mktemp("task"))


def suite(task: Path, **changes: Any) -> Suite:
    part = {"part": "antagonism", "name": "a", "n": N, "draws": DRAWS, "identify": 3, "evaluate": 6, **changes}
    return Suite.of({"name": "own", "tasks": [str(task)], "parts": [part]}, "suite")


def chosen(task: Path, model: Any, seed: int = 0) -> tuple[Pair, ...]:
    """The pairs of sets of the suite's only scorer."""
    plan = plan_bench(suite(task), model, seed=seed)
    (part,), (job,), shelf = parts_of(plan).values(), plan.every, Memory()
    assert isinstance(part, AntagonismRows)
    workshop = Workshop()
    for _ in ("examples", "scores"):
        only = frozenset(unit.key for unit in part.units(job, (job,), shelf))
        work(Order(job, (Wanted(part, (job,)),), only), shelf, workshop, None)
    return part.chosen(Desk(job, shelf, workshop), "ace")


@pytest.fixture(scope="module")
def rows(task: Path, model: Any) -> list[dict[str, Any]]:
    return na.bench(suite(task), model).parts["a"]


@pytest.fixture(scope="module")
def sets(task: Path, model: Any) -> tuple[na.Split, na.NeuronSet, na.NeuronSet]:
    """The examples, and the 2n best and worst neurons, as anyone would get them."""
    split = na.load_task(task).split(3, 0, 6, fits=model)
    a = na.attribute(model, split.identify, "ace", budget=3 * 24)
    return split, a.good(2 * N), a.bad(2 * N)


def odds(model: Any, split: na.Split, edit: na.Edit | None) -> np.ndarray:
    """Log-odds of the right letter by example, from the probabilities."""
    answers = na.evaluate(model, split.evaluate, edit)
    p = answers.option_probabilities.gather(1, answers.answers[:, None])[:, 0].numpy()
    return np.log(p / (1 - p)).reshape(len(split.evaluate), -1).mean(1)


# --- the figures ---------------------------------------------------------------------------------------------------


def test_log_odds():
    """log p − log(1 − p), also where a question has fewer options, and where p rounds to 1 or the others to 0."""
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.75, 0.0, 0.0]], dtype=torch.float64)
    assert log_odds(p.log(), torch.tensor([2, 1])).tolist() == pytest.approx([math.log(3 / 7), math.log(3)])
    sure = torch.tensor([[60.0, 0.0, 0.0, -900.0]], dtype=torch.float64)
    log_p = sure.log_softmax(1)
    assert log_p[0, 0].exp() == 1
    assert log_odds(log_p, torch.tensor([0])).tolist() == pytest.approx([60 - math.log(2)])
    assert log_odds(log_p, torch.tensor([3])).tolist() == pytest.approx([-960.0])


def test_proxies_come_first(model):
    """An example of three questions counts as much as one of a single question."""
    asked = [tiny.question(5, seed=i) for i in range(4)]
    examples = [na.Example(None, tuple(asked[:3])), na.Example(None, (asked[3],))]
    each = example_log_odds(na.evaluate(model, asked))
    expected = [each[:3].mean(), each[3]]
    assert example_log_odds(na.evaluate(model, examples)).tolist() == pytest.approx(expected)


def test_interaction_by_hand():
    """Nothing is left where effects add up; what both do beyond their sum is left, with its sign."""
    before, first, second = np.array([-1.0, 0.5]), np.array([1.0, 0.0]), np.array([-0.5, 3.0])
    both = before + (first - before) + (second - before)
    assert interaction(before, first, second, both) == pytest.approx([0, 0])
    assert interaction(before, first, second, both + np.array([0.5, -2])) == pytest.approx([0.5, -2])
    assert interaction(before, first, first, first) == pytest.approx([-2.0, 0.5])


@pytest.mark.parametrize(
    ("interval", "word"),
    [((-2.0, -0.1), "sub-additive"), ((-0.1, 0.1), "additive"), ((0.0, 0.1), "additive"), ((0.1, 2), "super-additive")],
)
def test_words(interval, word):
    """An interval that holds 0 is additive."""
    assert verdict(interval) == word


def test_the_interval_of_a_mean_is_over_texts():
    """Examples about one text are weighted together: the interval is that of weighted means by text."""
    values, units = np.array([1.0, 3.0, 10.0, -4.0, 0.5, 2.5]), np.array([1, 0, 1, 2, 3, 1])
    draws = Resamples(np.zeros(6), units, 500, seed=3)
    low, high = mean_interval(values, draws)
    assert low < values.mean() < high
    weights = draws.weights.astype(float)
    assert np.ptp(weights[:, units == 1], axis=1).max() == 0
    spread = np.percentile((weights @ values) / weights.sum(1), (2.5, 97.5))
    # unseen texts at the mean pull the interval in, and no further
    assert spread[0] <= low
    assert high <= spread[1]


# --- rows ----------------------------------------------------------------------------------------------------------


def text_draws(split):
    units = np.unique([e.unit for e in split.evaluate], return_inverse=True)[1]
    return Resamples(np.zeros(len(units)), units)


@pytest.mark.parametrize("mode", ["enhance", "degrade"])
@pytest.mark.parametrize("pair", ["G+B", "G+G", "B+B", "2G", "2B"])
def test_a_row_by_hand(rows, sets, model, mode, pair):
    """Every figure of a row follows from four evaluations of edits made by hand; + is what the mode is for."""
    split, good, bad = sets
    assert (len(good), len(bad)) == (2 * N, 2 * N)
    of = {"G": ("good", list(good)), "B": ("bad", list(bad))}
    (one, every), (two, others) = (of[letter] for letter in (pair[0] + pair[2] if "+" in pair else pair[1] * 2))
    picked = {
        "G+B": (every[:N], others[:N]),
        f"{pair[0]}+{pair[0]}": (every[::2], every[1::2]),
        f"2{pair[1]}": (every[:N], every[N:]),
    }[pair]
    first, second = (na.NeuronSet.of(pairs) for pairs in picked)
    parts = [na.edit(s, ACTS[mode][role]) for s, role in ((first, one), (second, two))]
    together = na.Edit(tuple(part for edit in parts for part in edit.parts))
    before, *levels = (odds(model, split, edit) for edit in (None, *parts, together))
    s = {"enhance": 1, "degrade": -1}[mode]
    deltas = [s * (level - before).mean() for level in levels]
    (row,) = (row for row in rows if (row["mode"], row["pair"]) == (mode, pair))
    assert [row[f"delta_{which}"] for which in ("first", "second", "both")] == pytest.approx(deltas, abs=1e-6)
    assert row["interaction"] == pytest.approx(deltas[2] - deltas[0] - deltas[1], abs=1e-6)
    assert abs(row["interaction"]) > 1e-4
    values = s * (levels[2] - levels[0] - levels[1] + before)
    assert row["interaction_interval"] == pytest.approx(mean_interval(values, text_draws(split)), abs=1e-6)
    assert row["verdict"] == verdict(row["interaction_interval"])
    assert (row["task"], row["scorer"], row["n_first"], row["n_second"], row["draws"]) == ("mine", "ace", N, N, 1)
    ours = na.Edit((*na.edit(good.top(N), ACTS[mode]["good"]).parts, *na.edit(bad.top(N), ACTS[mode]["bad"]).parts))
    if pair == "G+B":
        assert "ahead" not in row
    else:
        assert row["ahead"] == pytest.approx(s * (odds(model, split, ours) - levels[2]).mean(), abs=1e-6)
        assert row["ahead_interval"][0] <= row["ahead"] <= row["ahead_interval"][1]


@pytest.mark.parametrize("mode", ["enhance", "degrade"])
def test_random_pairs_by_hand(rows, sets, model, mode):
    """The random row holds means over the draws, and the middle 95 % of their interactions."""
    split, _, _ = sets
    s = {"enhance": 1, "degrade": -1}[mode]
    before, deltas = odds(model, split, None), []
    for pair in random_pairs(N, N, DRAWS, 3, 24):
        parts = [na.edit(pair.first, ACTS[mode]["good"]), na.edit(pair.second, ACTS[mode]["bad"])]
        edits = [*parts, na.Edit((*parts[0].parts, *parts[1].parts))]
        deltas.append([s * (odds(model, split, edit) - before).mean() for edit in edits])
    (row,) = (row for row in rows if (row["mode"], row["pair"]) == (mode, "random"))
    means = np.mean(deltas, axis=0)
    assert [row[f"delta_{which}"] for which in ("first", "second", "both")] == pytest.approx(means, abs=1e-6)
    each = [both - first - second for first, second, both in deltas]
    assert row["interaction"] == pytest.approx(np.mean(each), abs=1e-6)
    assert row["interaction_interval"] == pytest.approx(tuple(np.percentile(each, (2.5, 97.5))), abs=1e-6)
    (ours,) = (row for row in rows if (row["mode"], row["pair"]) == (mode, "G+B"))
    assert row["ahead"] == pytest.approx(ours["delta_both"] - means[2], abs=1e-6)
    assert (row["draws"], row["n_first"], row["n_second"]) == (DRAWS, N, N)


def test_order_of_rows(rows):
    """Both modes, in each every pair once."""
    assert [(row["mode"], row["pair"]) for row in rows] == [(m, p) for m in ("enhance", "degrade") for p in PAIRS]


def test_positions(task, sets, model):
    """`positions` reaches the edits."""
    split, good, _ = sets
    (row,) = (
        row
        for row in na.bench(suite(task, positions="all", draws=2), model).parts["a"]
        if (row["mode"], row["pair"]) == ("enhance", "2G")
    )
    change = [odds(model, split, e) for e in (None, na.edit(good, "excite", positions="all"), na.edit(good, "excite"))]
    assert row["delta_both"] == pytest.approx((change[1] - change[0]).mean(), abs=1e-6)
    assert row["delta_both"] != pytest.approx((change[2] - change[0]).mean(), abs=1e-3)


def test_other_interventions(task, rows, model):
    """`strengthen` and `weaken` reach the edits: the other way round, an enhancer is a degrader; ranges are learned."""
    swapped = na.bench(suite(task, strengthen="silence", weaken="excite", draws=2), model).parts["a"]
    for mode, other in (("enhance", "degrade"), ("degrade", "enhance")):
        for pair in PAIRS[:-1]:
            (one,) = (row for row in swapped if (row["mode"], row["pair"]) == (mode, pair))
            (same,) = (row for row in rows if (row["mode"], row["pair"]) == (other, pair))
            assert one["delta_both"] == pytest.approx(-same["delta_both"], abs=1e-6)
    gated = na.bench(suite(task, weaken="range", draws=2), model).parts["a"]
    assert [row["delta_both"] for row in gated[:5]] != pytest.approx([row["delta_both"] for row in rows[:5]], abs=1e-3)


# --- pairs ---------------------------------------------------------------------------------------------------------


def test_controls_are_disjoint_and_of_one_size(task, model):
    """Every pair is of twice n neurons, none in both sets; the doubled kinds are one another's neurons dealt anew."""
    pairs = chosen(task, model)
    assert [pair.name for pair in pairs] == ["G+B", "G+G", "2G", "B+B", "2B", *["random"] * DRAWS]
    for pair in pairs:
        assert (len(pair.first), len(pair.second)) == (N, N)
        assert not set(pair.first) & set(pair.second)
    named = {pair.name: pair for pair in pairs}
    for kind in "GB":
        dealt, ranked = named[f"{kind}+{kind}"], named[f"2{kind}"]
        assert set(dealt.first | dealt.second) == set(ranked.first | ranked.second)
    assert named["2G"].first == named["G+B"].first
    assert named["2B"].first == named["G+B"].second


def drawn(pairs: Sequence[Pair]) -> list[tuple[Any, ...]]:
    return [(*pair.first, *pair.second) for pair in pairs]


def test_random_draws():
    """Draws differ, follow from the seed, and cover all neurons of the model, no others."""
    pairs = random_pairs(5, 3, 40, 3, 24, seed=1)
    assert drawn(pairs) == drawn(random_pairs(5, 3, 40, 3, 24, seed=1))
    assert drawn(pairs) != drawn(random_pairs(5, 3, 40, 3, 24, seed=2))
    assert len(set(drawn(pairs))) == 40
    assert all((len(pair.first), len(pair.second), len(set(drawn([pair])[0]))) == (5, 3, 8) for pair in pairs)
    assert {unit for draw in drawn(pairs) for unit in draw} == {
        (layer, unit) for layer in range(3) for unit in range(24)
    }


def test_the_seed_draws_the_pairs(task, model):
    """A bench's seed is that of the random sets."""
    for seed in (0, 5):
        pairs = [pair for pair in chosen(task, model, seed) if pair.name == "random"]
        assert drawn(pairs) == drawn(random_pairs(N, N, DRAWS, 3, 24, seed=seed))


def test_scorers_that_run_short(task, model):
    """Without bad neurons, or with too few for a second set, a row holds the reason alone; the table says it too."""
    asked = suite(task, scorers=["act", "kn"], n=36)
    result = na.bench(asked, model)
    rows = {(row["scorer"], row["pair"]): row for row in result.parts["a"] if row["mode"] == "degrade"}
    for pair in ("G+B", "B+B", "2B"):
        assert "act has " in rows["act", pair]["reason"]
        assert "interaction" not in rows["act", pair]
    assert rows["act", "G+B"]["reason"] == "act has no bad neurons"
    assert rows["act", "2B"]["reason"] == "act has no bad neurons, none for a second set"
    assert "ahead" not in rows["act", "2G"]
    assert (rows["act", "random"]["n_first"], rows["act", "random"]["n_second"]) == (
        rows["act", "G+B"]["n_first"],
        36,
    )
    kn = rows["kn", "G+B"]
    assert 0 < kn["n_first"] < 36
    assert rows["kn", "random"]["n_first"] == kn["n_first"]
    assert rows["kn", "2G"]["reason"] == f"kn has {kn['n_first']} good neurons, none for a second set"
    assert rows["kn", "G+G"]["n_first"] + rows["kn", "G+G"]["n_second"] == kn["n_first"]
    text = printed(result.manifest["suite"], result.parts)
    assert "2B: act has no bad neurons, none for a second set" in text
    assert f"G+B: {kn['n_first']} and {kn['n_second']} neurons" in text


# --- the table, and what is refused --------------------------------------------------------------------------------


def printed(asked: Any, parts: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(*tables(asked, parts))
    return out.getvalue()


def test_the_table_fits_eighty_columns(task, rows):
    """Each row's figures and word stand on a line of at most 80 columns, nothing cut off."""
    lines = printed(suite(task).model_dump(mode="json"), {"a": rows}).splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]
    assert f"a: {rows[0]['task']}, ace, 3 + 3 neurons, at the last position" in lines[0]
    shown = [line.split() for line in lines if line.strip().startswith(PAIRS) and "." in line and "[" in line]
    assert len(shown) == len(rows)
    for words, row in zip(shown, rows, strict=True):
        assert words[0] == row["pair"]
        names = ["delta_first", "delta_second", "delta_both", "interaction"]
        told = [*words[1:5], *(word.strip("[,]") for word in words[5:7])]
        expected = [*(row[name] for name in names), *row["interaction_interval"]]
        if "ahead" in row:
            told += [words[7], *(word.strip("[,]") for word in words[8:10])]
            expected += [row["ahead"], *row["ahead_interval"]]
        assert [float(word) for word in told] == pytest.approx(expected, abs=0.00501)


def test_several_seeds_in_one_table(task, rows):
    """Means, the smallest, the largest, and on how many seeds the interval lies on which side of 0; 80 columns."""
    part = suite(task).model_dump(mode="json")["parts"][0]
    (pair, *_) = (row for row in rows if row["pair"] == "2B" and row["mode"] == "degrade")
    ahead = {"ahead": -1.25, "ahead_interval": [-1.5, -1.0], "reason": ""}
    three = [
        pair | ahead | {"seed": seed, "interaction": value, "interaction_interval": [value - 1, value + 1]}
        for seed, value in enumerate((-2.0, -0.5, -0.5))
    ]
    grid = together(part, "ner", three)
    ((line,),) = (section.rows for section in grid.sections)
    assert line[4:] == ["-1.00 [-2.00, -0.50] 0/1", "-1.25 0/3"]
    out = io.StringIO()
    Console(file=out, width=80).print(grid.rich())
    assert "0/3" in out.getvalue()
    assert "…" not in out.getvalue()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 0}, "parts.0.antagonism.n: .*; accepted: neurons of each set, at least 1"),
        ({"n": 2.5}, "parts.0.antagonism.n: .*; accepted: neurons of each set"),
        ({"draws": 1}, "parts.0.antagonism.draws: .*; accepted: pairs of random sets to compare with, at least 2"),
        ({"positions": "first"}, "parts.0.antagonism.positions: .*; accepted: 'last' or 'all'"),
        ({"scorers": []}, "parts.0.antagonism.scorers: .*; accepted: scorers of good and bad neurons"),
        ({"evaluate": 1}, "parts.0.antagonism.evaluate: .*; accepted: examples that are reported on, at least 2"),
        ({"budget": 5}, "parts.0.antagonism.budget: .*; accepted: the fields of a shipped suite"),
        ({"n": 37}, "part 'a' asks for two sets of 37 neurons; accepted: 1 to 36 of the 72 of this model"),
        ({"scorers": ["acee"]}, "unknown scorer 'acee'; did you mean 'ace'?"),
        ({"weaken": "silent"}, "unknown intervention 'silent'; did you mean 'silence'?"),
    ],
)
def test_what_is_refused(changes, said, task, model):
    """A part that can't be measured is one line that says what is accepted."""
    with pytest.raises(na.AntagonismError, match=said) as caught:
        na.bench(suite(task, **changes), model)
    assert not isinstance(caught.value, na.RunError)
    assert "\n" not in str(caught.value)
