"""The aggregations of the scorers' own authors: the t-test of TN, the inverse clusters of QRNCA, the shares of KN."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pytest
import tiny
import torch
from pydantic import Field, model_validator
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

import neuron_antagonism as na
from neuron_antagonism.functional import resolve_z
from neuron_antagonism.plugin.manager import registry

one_thread = tiny.one_thread

# one layer of six neurons; two-sided p by hand from the tables of Student's t with 4 degrees of freedom
EXAMPLES = torch.tensor(
    [
        # mean 3, s / sqrt 5 = 0.7071: t = 4.24, p = 0.013
        [1.0, -1.0, 2.0, 0.0, 0.7, -0.1],
        [2.0, -2.0, -2.0, 0.0, 0.7, 0.3],
        [3.0, -3.0, 3.0, 0.0, 0.7, 0.5],
        [4.0, -4.0, -3.0, 0.0, 0.7, 0.4],
        [5.0, -5.0, 1.0, 0.0, 0.7, -0.2],
    ]
).double()[:, None]


def made(name: str, **options: Any) -> na.Scorer:
    return registry().make(na.Scorer, name, options)


def refused(name: str, **options: Any) -> str:
    """The line that refuses these options."""
    with pytest.raises(na.UsageError) as caught:
        made(name, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def significant(scores: torch.Tensor, **options: Any) -> list[float]:
    found: list[float] = made("tn", aggregation="t-test", **options).aggregate(scores, scores)[0].tolist()
    return found


class TestTTest:
    def test_by_hand(self):
        """The mean where |t| is beyond 2.776, the two-sided 5 % of 4 degrees of freedom; elsewhere 0."""
        kept = []
        for column in EXAMPLES[:, 0].T.tolist():
            mean, spread = statistics.fmean(column), statistics.stdev(column)
            t = 0 if mean == 0 else math.inf if spread < 1e-12 else mean / (spread / math.sqrt(5))
            kept.append(mean if abs(t) > 2.776 else 0)
        assert kept == pytest.approx([3, -3, 0, 0, 0.7, 0])
        assert significant(EXAMPLES) == pytest.approx(kept)

    def test_alpha_is_the_level(self):
        """A neuron is kept from the alpha on that exceeds its p: of t = 3 / sqrt(0.5) it is 0.0132."""
        p = stats.t.sf(3 / math.sqrt(0.5), 4) * 2
        assert p == pytest.approx(0.0132, abs=5e-5)
        assert significant(EXAMPLES, alpha=p * 1.001)[0] == 3
        assert significant(EXAMPLES, alpha=p * 0.999)[0] == 0

    @pytest.mark.parametrize(
        ("alternative", "expected"),
        [("two-sided", [3, -3, 0, 0, 0.7, 0]), ("greater", [3, 0, 0, 0, 0.7, 0]), ("less", [0, -3, 0, 0, 0, 0])],
    )
    def test_alternatives(self, alternative, expected):
        """One-sided alternatives keep the means of one sign."""
        assert significant(EXAMPLES, alternative=alternative) == pytest.approx(expected)

    @pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
    @pytest.mark.parametrize("n", [2, 5, 30])
    def test_against_scipy(self, n, alternative):
        """Of 2000 random neurons the same are significant as in scipy's own one-sample t-test."""
        values = torch.randn(n, 40, 50, generator=torch.Generator().manual_seed(n)).double() + 0.3
        p = stats.ttest_1samp(values.numpy(), 0, alternative=alternative).pvalue
        scores = made("tn", aggregation="t-test", alpha=0.1, alternative=alternative).aggregate(values, values)
        kept = torch.from_numpy(p) < 0.1
        assert 0 < int(kept.sum()) < kept.numel()
        assert torch.equal(scores != 0, kept)
        assert torch.allclose(scores, values.mean(0) * kept)

    @pytest.mark.parametrize("n", [2, 5])
    def test_equal_scores_of_one_neuron(self, n):
        """No variance: significant unless it is 0, at any alpha; never NaN, no warning."""
        scores = torch.tensor([0.1, 0.0, -0.3]).double().repeat(n, 1, 1)
        scores = torch.cat([scores, torch.arange(n).double()[:, None, None] - (n - 1) / 2], dim=2)
        assert significant(scores, alpha=1e-6) == pytest.approx([0.1, 0, -0.3, 0])

    @pytest.mark.parametrize(("n", "said"), [(1, "one example"), (3, "3 examples of equal scores")])
    def test_too_little_to_test(self, n, said):
        """One example, or one several times over, has no variance: one line."""
        scores = torch.tensor([[[0.1, -0.2]]]).repeat(n, 1, 1)
        line = f"^tn.aggregation='t-test' with {said}; accepted: at least two examples that differ$"
        with pytest.raises(na.UsageError, match=line):
            significant(scores)

    def test_on_a_model(self):
        """Scores of a whole attribution are the significant means of its own example scores."""
        model = tiny.shared("llama")
        questions = [tiny.question(n, seed=n) for n in (9, 14, 9, 7, 11)]
        a = na.attribute(model, questions, "tn", options={"aggregation": "t-test", "alpha": 0.2}, steps=4, budget=5)
        values = a.example_scores.double()
        kept = torch.from_numpy(stats.ttest_1samp(values.numpy(), 0).pvalue) < 0.2
        assert kept.any()
        assert torch.allclose(a.scores.double(), values.mean(0) * kept, atol=1e-9)
        set_or_not = {"aggregation": "t-test", "alpha": 0.2, "alternative": "two-sided"}
        assert a.options == {"z": None, "ambiguous": "drop", **set_or_not}
        with pytest.raises(na.UsageError, match="with one example"):
            na.attribute(model, questions[:1], "tn", options={"aggregation": "t-test"}, steps=4, budget=5)


# three queries of two questions, one layer of five neurons: the last two are 0.2 of the largest, and below 0
QUESTIONS = [
    [[1.0, 0.5, 0.0, 0.2, -0.9], [0.5, 0.1, 0.0, 0.0, 0.0]],
    [[2.0, 0.0, 1.0, 0.3, -5.0], [1.0, 0.0, 0.5, 0.2, 0.0]],
    [[0.8, 0.0, 0.0, 0.0, 0.0], [0.4, 0.0, 0.3, 0.0, 0.0]],
    [[-1.0, -0.5, -0.2, -0.1, -0.3], [0.0, 0.0, 0.0, 0.0, 0.0]],
]


def inverse_cluster(queries: Sequence[Any], threshold: float, common: float) -> list[float]:
    """The recipe over plain lists: [query][question][neuron] -> a score of each neuron."""
    n_neurons, clusters = len(queries[0][0]), []
    for questions in queries:
        kept: dict[int, float] = {}
        for values in questions:
            for i, value in enumerate(values):
                if value > 0 and value > threshold * max(values):
                    kept[i] = kept.get(i, 0) + value
        total = sum(kept.values())
        clusters.append({i: value / total for i, value in kept.items()})
    scores = [0.0] * n_neurons
    for i in range(n_neurons):
        occurrences = sum(i in cluster for cluster in clusters)
        inverse = math.log(len(queries) / (occurrences + 1))
        if inverse > 0 and occurrences / len(queries) <= common:
            scores[i] = sum(cluster.get(i, 0) * inverse for cluster in clusters)
    return scores


def clustered(queries: Any, **options: Any) -> list[float]:
    values = torch.tensor(queries, dtype=torch.float64)
    scorer = made("qrnca", aggregation="ica", **options)
    found: list[float] = scorer.aggregate(values.sum(1)[:, None], values.flatten(0, 1)[:, None])[0].tolist()
    return found


class TestInverseClusters:
    def test_by_hand(self):
        """Neuron 1 occurs in one of four queries: NA 0.5 of the query's 2, ICA ln(4 / 2); 0 is common at 0.3."""
        assert clustered(QUESTIONS) == pytest.approx([0, 0.5 / 2.0 * math.log(2), 0, 0, 0])

    def test_common_neurons_by_hand(self):
        """With common = 0.5 neuron 2, in two of four queries, scores its two shares times ln(4 / 3)."""
        shares = 1.5 / 4.5 + 0.3 / 1.5
        assert clustered(QUESTIONS, common=0.5) == pytest.approx(
            [0, 0.25 * math.log(2), shares * math.log(4 / 3), 0, 0]
        )

    def test_threshold_by_hand(self):
        """With a threshold of 0.6 the clusters shrink: neuron 1 is in none, neuron 2 in the third only."""
        only = 0.3 / 1.5
        assert clustered(QUESTIONS, threshold=0.6) == pytest.approx([0, 0, only * math.log(2), 0, 0])

    def test_a_neuron_in_all_but_one_query(self):
        """ICA is 0 where occurrences + 1 are all queries, negative beyond: no score, whatever is common."""
        assert clustered(QUESTIONS, common=1)[0] == 0
        assert clustered([*QUESTIONS[:3], QUESTIONS[0]], common=1)[0] == 0

    @pytest.mark.parametrize(("queries", "questions"), [(3, 1), (4, 3), (10, 3), (20, 2)])
    @pytest.mark.parametrize(("threshold", "common"), [(0.2, 0.35), (0.3, 0.4), (0.7, 1.0)])
    def test_against_plain_lists(self, queries, questions, threshold, common):
        """Random scores of 200 neurons get what the recipe written out over lists gives; none is negative."""
        generator = torch.Generator().manual_seed(queries * 10 + questions)
        values = torch.randn(queries, questions, 200, generator=generator).double() ** 3
        expected = inverse_cluster(values.tolist(), threshold, common)
        found = clustered(values.tolist(), threshold=threshold, common=common)
        assert found == pytest.approx(expected)
        assert max(found) > 0
        assert min(found) == 0

    @pytest.mark.parametrize(("n", "common", "least"), [(3, 0.3, 4), (1, 1.0, 3), (2, 1.0, 3), (3, 0.25, 4)])
    def test_too_few_examples(self, n, common, least):
        """Where no neuron could score, one line says how many examples are needed; that many are enough."""
        with pytest.raises(na.UsageError) as caught:
            clustered(QUESTIONS[:n], common=common)
        assert str(caught.value) == (
            f"qrnca.aggregation='ica' with {n} examples, where every neuron would score 0; "
            f"accepted: at least {least} with common={common}"
        )
        assert max(clustered(QUESTIONS[:least], common=common)) > 0

    def test_examples_of_unequal_size(self):
        """Examples must have equally many questions, even where their number could be divided."""
        model = tiny.shared("llama")
        one, two = [tiny.question(9, seed=1)], [tiny.question(8, seed=i) for i in (2, 3)]
        three = [tiny.question(7, seed=i) for i in (4, 5, 6)]
        options = {"aggregation": "ica", "common": 0.5}
        for parts, said in (([one, two, three], "6 questions of 3"), ([one, one, two], "4 questions of 3")):
            examples = [na.Example(None, tuple(part)) for part in parts]
            with pytest.raises(na.UsageError, match=rf"with {said} examples; accepted: equally many questions"):
                na.attribute(model, examples, "qrnca", options=options, steps=4, budget=5)

    def test_on_a_model(self):
        """A whole attribution scores as the recipe does from the IG of each question; it has no bad neurons."""
        model = tiny.shared("llama")
        examples = [
            na.Example(None, tuple(tiny.question(7 + q, seed=10 * e + q, answer=e % 4) for q in range(3)))
            for e in range(6)
        ]
        questions = [question for example in examples for question in example.proxies]
        each = na.attribute(model, questions, "qrnca", steps=4, budget=5).example_scores
        shape = each.shape[1:]
        options = {"aggregation": "ica", "common": 0.5}
        a = na.attribute(model, examples, "qrnca", options=options, steps=4, budget=5)
        expected = inverse_cluster(each.double().reshape(6, 3, -1).tolist(), 0.2, 0.5)
        assert torch.allclose(a.scores, torch.tensor(expected).reshape(shape), atol=1e-5)
        assert a.scores.max() > 0
        assert a.options["z"] is None
        with pytest.warns(na.AntagonismWarning, match="has 0 bad neurons"):
            assert len(a.bad(3)) == 0

    def test_in_a_run(self):
        """A scorer without bad neurons goes through a run; its edits have good neurons only."""
        options = {"qrnca": {"aggregation": "ica", "common": 0.7}, "tn": {"aggregation": "t-test"}}
        sizes = {"identify": 4, "select": 2, "evaluate": 2, "budget": 4, "steps": 4}
        model = tiny.shared("llama", torch.float32)
        result = na.run(model, tasks=["sentiment"], scorers=["qrnca", "tn"], options=options, **sizes)
        assert result.manifest["scorers"]["qrnca"]["aggregation"] == "ica"
        assert result.results["tasks"]["sentiment"]["attribution"]["qrnca"]["n_bad"] == 0
        assert {cell["n_bad"] for cell in result.table.rows if cell["scorer"] == "qrnca"} == {0}


# four questions, one layer of six neurons; the largest IG of each is 1
POINTS = torch.tensor(
    [
        [1.0, 0.5, 0.5, 0.0, -0.4, 0.1],
        [1.0, 0.5, 0.0, 0.0, -0.4, -0.4],
        [1.0, 0.5, 0.0, 0.5, -0.4, 0.0],
        [1.0, 0.0, 0.0, 0.0, -0.4, 0.0],
    ]
).double()[:, None]


def counted(scores: torch.Tensor, **options: Any) -> list[int]:
    """Points by KN, without the tie-break."""
    found: list[int] = made("kn", **options).aggregate(scores, scores)[0].round().int().tolist()
    return found


def with_points(points: Sequence[int], questions: int) -> torch.Tensor:
    """Scores in which each neuron has so many points, of that many questions."""
    return torch.tensor([[[float(question < n) for n in points]] for question in range(questions)])


# four questions, one layer of six neurons with good and bad points
BOTH = torch.tensor(
    [
        [1.0, 1.0, 0.5, -0.5, 0.125, -1.0],
        [1.0, -0.25, 0.5, -0.5, 0.0, -0.5],
        [-1.0, -0.25, -0.25, 0.25, 0.0, 0.0],
        [-1.0, -0.25, -0.25, 0.25, 0.0, 0.0],
    ]
).double()[:, None]


class TestRoles:
    def test_the_larger_count_decides(self):
        """Three bad points against one good are bad, though their sum is positive; at equal counts the sum decides."""
        assert BOTH.sum(0)[0].tolist() == [0, 0.25, 0.5, -0.5, 0.125, -1.5]
        assert counted(BOTH) == [0, -3, 2, -2, 0, -2]

    def test_both_roles_mirror_each_other(self):
        """Scores of −IG are minus the scores of IG: neither role is preferred."""
        assert torch.equal(made("kn").aggregate(-BOTH, -BOTH), -made("kn").aggregate(BOTH, BOTH))

    def test_within_a_role_counts_go_before_sums(self):
        """Three bad points stand before two with a lower sum; at equal counts the lower sum stands first."""
        scores = made("kn").aggregate(BOTH, BOTH)[0]
        assert scores.argsort().tolist()[:3] == [1, 5, 3]

    def test_a_share_is_of_the_points_of_its_role(self):
        """Three bad points of four meet 0.75; two good and two bad ones don't add up."""
        assert counted(BOTH, share=0.75) == [0, -3, 0, 0, 0, 0]
        assert counted(BOTH, share=0.5) == [0, -3, 2, -2, 0, -2]

    def test_adaptive_counts_good_neurons_only(self):
        """Six bad neurons, which have a good point each, are too many to be left, but don't raise the share."""
        good, bad = [1.0, 1.0, 1.0, -0.3], [1.0, -1.0, -1.0, -1.0]
        points = torch.tensor([good] * 2 + [bad] * 6).T[:, None]
        assert counted(points, share="adaptive") == [3, 3] + [-3] * 6


class TestShares:
    @pytest.mark.parametrize(
        ("share", "expected"),
        [
            (None, [4, 3, 1, 1, -4, -1]),
            (0.25, [4, 3, 1, 1, -4, -1]),
            (0.26, [4, 3, 0, 0, -4, 0]),
            (0.75, [4, 3, 0, 0, -4, 0]),
            (0.76, [4, 0, 0, 0, -4, 0]),
            (1, [4, 0, 0, 0, -4, 0]),
        ],
    )
    def test_by_hand(self, share, expected):
        """Neurons with a point in fewer than that share of the questions score 0, on both sides."""
        assert counted(POINTS, share=share) == expected

    def test_what_is_kept_scores_as_without_a_share(self):
        """The share chooses; it changes no score."""
        plain = made("kn").aggregate(POINTS, POINTS)
        shared = made("kn", share=0.7).aggregate(POINTS, POINTS)
        assert torch.equal(shared, torch.where(shared != 0, plain, 0.0))

    @pytest.mark.parametrize("questions", [10, 15, 20, 30])
    def test_a_share_that_is_met_exactly(self, questions):
        """n of m questions meet the share n / m, however that is rounded."""
        for n in range(1, questions + 1):
            assert counted(with_points([n, questions], questions), share=n / questions) == [n, questions]

    @pytest.mark.parametrize(
        ("points", "left"),
        [
            ({20: 3, 14: 1, 13: 9}, 4),  # 0.7 leaves 2 to 5 already
            ({20: 2, 13: 1}, 2),
            ({20: 2, 17: 3, 15: 1, 14: 4}, 5),  # raised to 0.8: two at 20 and three at 17
            ({20: 1, 9: 2, 3: 8}, 3),  # lowered to 0.45
            ({20: 8}, 8),  # no share leaves fewer
            ({20: 1, 15: 6}, 7),  # none leaves 2 to 5: rather more than fewer
            ({20: 1}, 1),  # there is no second one
        ],
    )
    def test_adaptive_by_hand(self, points, left):
        """From 0.7, raised until at most 5 neurons are left, then lowered until at least 2 are."""
        each = [n for n, neurons in points.items() for _ in range(neurons)]
        found = counted(with_points(each, 20), share="adaptive")
        assert sum(score > 0 for score in found) == left

    def test_on_a_model(self):
        """The share of a whole attribution is of its questions, not of its examples."""
        model = tiny.shared("llama")
        examples = [na.Example(None, tuple(tiny.question(9, seed=3 * e + q) for q in range(3))) for e in range(2)]
        plain = na.attribute(model, examples, "kn", steps=4, budget=5).scores
        shared = na.attribute(model, examples, "kn", options={"share": 0.5}, steps=4, budget=5).scores
        assert torch.equal(shared != 0, plain.round().abs() >= 3)
        assert (shared != 0).any()
        assert ((plain != 0) & (shared == 0)).any()


class TestOptions:
    @pytest.mark.parametrize(
        ("name", "options", "said"),
        [
            ("tn", {"alpha": 0.01}, "alpha=0.01 does nothing with aggregation='additive'; accepted: alpha with"),
            ("tn", {"alpha": 0.05}, "alpha=0.05 does nothing with aggregation='additive'"),
            ("tn", {"alternative": "less", "aggregation": "additive"}, "alternative='less' does nothing"),
            ("tn", {"aggregation": "t-test", "z": 10}, "z=10 does nothing with aggregation='t-test'"),
            ("tn", {"aggregation": "t-test", "ambiguous": "keep"}, "accepted: ambiguous with aggregation='additive'"),
            ("qrnca", {"common": 0.5}, "common=0.5 does nothing with aggregation='additive'"),
            ("qrnca", {"threshold": 0.2}, "accepted: threshold with aggregation='ica'"),
            ("qrnca", {"aggregation": "ica", "z": 0.5}, "z=0.5 does nothing with aggregation='ica'"),
        ],
    )
    def test_an_option_of_the_other_aggregation(self, name, options, said):
        """What the chosen aggregation would ignore is refused, even at its default."""
        line = refused(name, **options)
        assert line.startswith(f"options of {name}: ")
        assert said in line

    @pytest.mark.parametrize(
        ("name", "option", "value"),
        [
            *(("tn", "alpha", value) for value in (0, 0.51, float("nan"), "small")),
            *(("qrnca", "common", value) for value in (0, 1.01, float("nan"))),
            *(("qrnca", "threshold", value) for value in (0, 1)),
            *(("kn", "share", value) for value in (0, 1.01, -1, "half", float("nan"))),
            ("tn", "alternative", "bigger"),
            ("tn", "aggregation", "ica"),
            ("qrnca", "aggregation", "t-test"),
        ],
    )
    def test_bounds(self, name, option, value):
        """A value outside its bounds names plugin, option, value and what is accepted."""
        line = refused(name, **{option: value})
        assert line.startswith(f"option {name}.{option}={value!r}: ")
        assert "accepted: " in line

    @pytest.mark.parametrize(
        ("name", "options"),
        [("tn", {}), ("tn", {"aggregation": "t-test"}), ("qrnca", {}), ("qrnca", {"aggregation": "ica"}), ("kn", {})],
    )
    def test_stored_options_can_be_used_again(self, name, options):
        """All options as results hold them, defaults included, make the same scorer."""
        once = made(name, **options)
        assert made(name, **once.options.model_dump()).options == once.options

    def test_aggregations_can_be_changed_on_a_copy(self):
        """with_options checks the options together, too."""
        scorer = made("tn", aggregation="t-test", alpha=0.1)
        assert scorer.with_options(alternative="less").options.alpha == 0.1
        with pytest.raises(na.UsageError, match=r"alpha=0\.1 does nothing"):
            scorer.with_options(aggregation="additive")

    @pytest.mark.parametrize("scorer", ["tn", "qrnca"])
    def test_additive_is_the_default(self, scorer):
        """Without options both score by additive reordering, with z fixed for the model, as before."""
        model, questions = tiny.shared("llama"), [tiny.question(9, seed=i) for i in range(3)]
        a = na.attribute(model, questions, scorer, steps=4, budget=5)
        assert a.options["aggregation"] == "additive"
        assert a.options["z"] == resolve_z(None, model.n_layers * model.n_neurons, 5)
        plain = type("Plain", (na.Scorer,), {"name": "plain", "target": made(scorer).target})()
        assert torch.equal(a.scores, na.attribute(model, questions, plain, steps=4, budget=5).scores)

    def test_a_check_by_assert(self):
        """A plugin's check of its options together is one line, whichever way and however long it says it."""

        class Pair(na.Scorer):
            name = "pair"

            class Options(na.Scorer.Options):
                low: int = Field(default=0, description="any")

                @model_validator(mode="after")
                def check(self) -> Any:
                    assert self.low != 1, "low\nis one"
                    if self.low == 2:
                        raise ValueError("low is two")
                    return self

        for low, said in ((1, "low is one"), (2, "low is two")):
            with pytest.raises(na.UsageError, match=f"^options of pair: {said}"):
                Pair(low=low)
