"""The method's arithmetic by hand: quadrature, additive reordering, rankings, and the scorers that only aggregate."""

from __future__ import annotations

import pytest
import tiny
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, jaxtyped

import neuron_antagonism as na
from neuron_antagonism.functional import (
    MAX_STEPS,
    QUADRATURES,
    additive_reordering,
    option_log_probabilities,
    quadrature_rule,
    ranked,
    resolve_z,
)
from neuron_antagonism.plugin.manager import registry

one_thread = tiny.one_thread


def integral(rule: str, steps: int, power: int) -> float:
    return sum(w * x**power for x, w in zip(*quadrature_rule(rule, steps), strict=True))


def made(name: str, **options) -> na.Scorer:
    return registry().make(na.Scorer, name, options)


# --- quadrature ----------------------------------------------------------------------------------------------------


@given(st.sampled_from(QUADRATURES), st.integers(1, 64))
def test_weights_sum_to_one_and_nodes_lie_on_the_path(rule, steps):
    """Every rule has `steps` ascending nodes in (0, 1] and weights that integrate a constant exactly."""
    nodes, weights = quadrature_rule(rule, steps)
    assert len(nodes) == len(weights) == steps
    assert sum(weights) == pytest.approx(1, abs=1e-12)
    assert nodes == sorted(set(nodes))
    assert nodes[0] > 0
    assert nodes[-1] <= 1


def test_the_right_sum_is_the_papers():
    """NeuronLLM Eq. 1: nodes 1/m, 2/m … 1, all of weight 1/m; it ends at the unscaled values."""
    assert quadrature_rule("right", 4) == ([0.25, 0.5, 0.75, 1.0], [0.25] * 4)
    assert quadrature_rule("right", 16)[0][-1] == 1.0
    assert quadrature_rule("midpoint", 2) == ([0.25, 0.75], [0.5, 0.5])


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_gauss_legendre_is_exact_up_to_degree_2m_minus_1(steps):
    """m nodes integrate x^p exactly for p < 2m, and not x^2m."""
    for power in range(2 * steps):
        assert integral("gauss-legendre", steps, power) == pytest.approx(1 / (power + 1), abs=1e-13)
    assert integral("gauss-legendre", steps, 2 * steps) != pytest.approx(1 / (2 * steps + 1), abs=1e-13)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_degrees_of_the_plain_rules(steps):
    """Midpoint is exact for lines and not for squares; the right sum is off by 1/2m on a line."""
    assert integral("midpoint", steps, 1) == pytest.approx(1 / 2)
    assert integral("midpoint", steps, 2) == pytest.approx(1 / 3 - 1 / (12 * steps**2))
    assert integral("right", steps, 1) == pytest.approx(1 / 2 + 1 / (2 * steps))


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "16", MAX_STEPS + 1])
def test_impossible_steps_are_refused(steps):
    """Steps are a whole number from 1 on."""
    with pytest.raises(na.UsageError, match=r"steps is .*accepted: a whole number"):
        quadrature_rule("right", steps)


def test_unknown_rules_are_named():
    """An unknown rule gets the nearest one and the whole list."""
    with pytest.raises(na.UsageError, match=r"unknown quadrature 'rigth'; did you mean 'right'\?"):
        quadrature_rule("rigth", 4)


# --- additive reordering -------------------------------------------------------------------------------------------

# two layers of three neurons, three examples
ES = torch.tensor(
    [
        [[5.0, 3.0, 1.0], [-1.0, -2.0, -4.0]],  # z=2: good 0, 1; bad 5, 4
        [[-3.0, 4.0, 2.0], [1.0, -1.0, 0.0]],  # z=2: good 1, 2; bad 0, 4
        [[1.0, 1.0, 1.0], [0.0, 0.0, -6.0]],  # z=2: good 0, 1 (lower index first); bad 5 only: zeros are no bad ones
    ]
)


def test_additive_reordering_by_hand():
    """Sums over the sets a neuron is in; one that is good here and bad there (0.0) is dropped."""
    assert additive_reordering(ES, z=2).tolist() == [[0.0, 3 + 4 + 1, 2], [0, -2 - 1, -4 - 6]]


def test_ambiguous_neurons_may_be_kept():
    """With "keep" an ambiguous neuron scores the sum over its sets; no other score changes."""
    assert additive_reordering(ES, z=2, ambiguous="keep").tolist() == [[5 - 3 + 1, 8, 2], [0, -3, -10]]


def test_z_bounds_each_examples_sets():
    """z=1 takes one good and one bad neuron an example, with ties to the lower index."""
    assert additive_reordering(ES, z=1).tolist() == [[0, 4, 0], [0, 0, -10]]
    assert additive_reordering(ES, z=1, ambiguous="keep").tolist() == [[5 - 3 + 1, 4, 0], [0, 0, -10]]


def test_a_z_of_all_neurons_takes_every_sign_but_zero():
    """With z = L·N every neuron whose sign never changes keeps its whole sum, also where it is not extreme."""
    assert additive_reordering(ES, z=6).tolist() == [[0, 8, 4], [0, -3, -10]]


def test_ties_go_to_lower_layers_then_lower_neurons():
    """Of equal scores at the boundary of a set, on either side, the first in order enters."""
    tied = torch.tensor([[[2.0, 2.0], [-2.0, -2.0]]])
    assert additive_reordering(tied, z=1).tolist() == [[2, 0], [-2, 0]]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(1, 6))
def test_additive_reordering_is_as_defined(rows, z):
    """Against sets built with Python's own sort, for any scores and z; negating all scores need not mirror ties."""
    goods = [[i for i in sorted(range(6), key=lambda i: (-row[i], i))[:z] if row[i] > 0] for row in rows]
    bads = [[i for i in sorted(range(6), key=lambda i: (row[i], i))[:z] if row[i] < 0] for row in rows]
    good, bad = {i for s in goods for i in s}, {i for s in bads for i in s}
    sums = [sum(row[i] for row, g, b in zip(rows, goods, bads, strict=True) if i in g or i in b) for i in range(6)]
    scores = torch.tensor(rows, dtype=torch.float32).reshape(-1, 2, 3)
    assert additive_reordering(scores, z=z, ambiguous="keep").flatten().tolist() == sums
    dropped = [0 if i in good & bad else sums[i] for i in range(6)]
    assert additive_reordering(scores, z=z).flatten().tolist() == dropped


@pytest.mark.parametrize(
    ("z", "n_total", "largest_k", "count"),
    [
        (None, 352_256, 100, 5000),  # LLaMA-2-7B: the paper's number
        (None, 1_000_000, 100, 5000),
        (None, 100_000, 100, 1420),  # 1.42 %
        (None, 100_000, 2000, 2000),  # at least the largest K
        (None, 150, 100, 75),  # at most half
        (None, 1, 100, 1),
        (7, 150, 100, 7),
        (150, 150, 100, 150),
        (0.5, 150, 100, 75),
        (0.0001, 150, 100, 1),
    ],
)
def test_z_is_resolved(z, n_total, largest_k, count):
    """A count stays, a fraction is taken of all neurons, and the default has its cap, floor and ceiling."""
    assert resolve_z(z, n_total, largest_k) == count


@pytest.mark.parametrize("z", [151, 0, -1, 2.5, float("inf")])
def test_impossible_z_is_refused(z):
    """More neurons than there are, none, or half a neuron is an error that says how many there are."""
    with pytest.raises(na.UsageError, match="from 1 to 150"):
        resolve_z(z, 150)


def test_rankings_break_ties_by_layer_then_neuron():
    """Both ends of a ranking list equal scores in the order of layer and neuron."""
    scores = torch.tensor([[1.0, 2.0, 1.0], [2.0, 0.0, 1.0]])
    assert ranked(scores).tolist() == [1, 3, 0, 2, 5, 4]
    assert ranked(scores, descending=False).tolist() == [4, 0, 2, 5, 1, 3]
    assert torch.equal(ranked(torch.zeros(50, 400)), torch.arange(20_000))


def test_letter_probabilities_ignore_the_rest_of_the_vocabulary():
    """Log-softmax over the four letters' logits alone, in their order."""
    logits = torch.tensor([[9.0, 0.0, 1.0, 2.0, 99.0]]).double()
    got = option_log_probabilities(logits, torch.tensor([[3, 1, 2, 0]])).exp()[0]
    weights = torch.tensor([2.0, 0.0, 1.0, 9.0]).double().exp()
    assert torch.allclose(got, weights / weights.sum())


def test_targets_by_hand():
    """ACE is a softmax over the letters; QRNCA and TN use the whole vocabulary."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.05, 0.35]).double()
    letters, answer = torch.tensor([2, 0, 1, 3]), torch.tensor(1)
    values = {name: made(name).target(p.log(), letters, answer).item() for name in ("ace", "qrnca", "kn", "tn")}
    assert values["ace"] == pytest.approx(0.1 / 0.65)
    assert values["qrnca"] == values["kn"] == pytest.approx(0.1)
    assert values["tn"] == pytest.approx(0.1 - (0.3 + 0.2 + 0.05) / 3)


# --- scorers that only aggregate -----------------------------------------------------------------------------------

# two questions, one layer of six neurons; the largest IG is 1.0 in both, the largest -IG 0.5 and 0.4
IG = torch.tensor(
    [
        [[1.0, 0.2, 0.21, -0.5, -0.05, 0.3]],  # points: 0, 2, 5 (0.2 does not exceed 0.2); mirrored: 3
        [[0.1, -0.3, 1.0, -0.4, 0.0, -0.2]],  # points: 2; mirrored: 1, 3, 5
    ]
)
TIE = (IG.sum(0) / IG.sum(0).abs().max() * 0.49)[0].tolist()


def test_kn_counts_and_mirrors_by_hand():
    """Points of IG make the score; without any, minus the points of -IG; ties follow the summed IG below 1/2."""
    scores = made("kn").aggregate(IG, IG)[0].tolist()
    assert scores == pytest.approx([1 + TIE[0], -1 + TIE[1], 2 + TIE[2], -2 + TIE[3], 0, 1 + TIE[5]], abs=1e-6)
    assert ranked(torch.tensor([scores])).tolist() == [2, 0, 5, 4, 1, 3]


def test_kn_takes_the_threshold_of_each_question():
    """A higher threshold leaves only each question's largest neurons, on both sides."""
    scores = made("kn", threshold=0.9).aggregate(IG, IG)[0]
    assert scores.round().tolist() == [1, 0, 1, -2, 0, 0]


def test_kn_gives_no_points_where_all_is_negative():
    """A question without a positive IG has no good points, only mirrored ones."""
    negative = torch.tensor([[[-1.0, -0.5, -0.1]]])
    assert (made("kn").aggregate(negative, negative)[0] > 0).sum() == 0
    assert made("kn").aggregate(negative, negative)[0].round().tolist() == [-1, -1, 0]


def test_act_is_the_mean_value_over_questions():
    """ACT's scores are the mean FFN values of the last position; it has no gradient and no bad set."""
    model, questions = tiny.shared("llama"), [tiny.question(n, seed=n) for n in (9, 14, 9)]
    a = na.attribute(model, questions, "act", budget=10)
    module, seen = tiny.hf("llama"), []
    for block in module.model.layers:
        block.mlp.down_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, -1].detach()))
    for question in questions:
        module(torch.tensor([model.encode(question).ids]))
    expected = torch.stack(seen).unflatten(0, (3, -1)).mean(0)
    assert torch.allclose(a.scores, expected.float(), atol=1e-6)
    assert (a.completeness, a.completeness_error, a.target, a.steps) == (None, None, "", 0)
    with pytest.raises(na.UsageError, match="'act' has no bad neurons"):
        a.bad(3)


def test_random_is_seeded_and_uniform():
    """RANDOM on [-1, 1] depends on the seed alone: not on the questions, nor on the global generator."""
    model = tiny.shared("llama")
    one, other = [tiny.question(9)], [tiny.question(12)]
    a = na.attribute(model, one, "random", budget=10)
    torch.rand(3)
    assert torch.equal(na.attribute(model, other, "random", seed=0, budget=10).scores, a.scores)
    b = na.attribute(model, one, "random", seed=7, budget=10)
    assert not torch.equal(b.scores, a.scores)
    assert torch.equal(na.attribute(model, one, "random", options={"seed": 7}, budget=10).scores, b.scores)
    assert torch.equal(na.attribute(model, one, "random", options={"seed": 7}, seed=3, budget=10).scores, b.scores)
    many = made("random").aggregate(torch.zeros(1, 100, 1000), torch.zeros(1, 100, 1000))
    assert float(many.min()) < -0.999
    assert float(many.max()) > 0.999
    assert abs(float(many.mean())) < 0.01
    assert float(many.var()) == pytest.approx(1 / 3, abs=0.01)


# --- from scores to sets -------------------------------------------------------------------------------------------


def scores_of(values) -> na.Attribution:
    scores = torch.tensor(values)
    return na.Attribution(scores, scores[None], scorer="x")


def test_good_and_bad_are_the_two_ends():
    """good(k): the highest positive ones; bad(k): the lowest negative ones; strongest first, ties in order."""
    a = scores_of([[0.5, -2.0, 1.0], [0.0, 1.0, -2.0]])
    assert list(a.good(2)) == [(0, 2), (1, 1)]
    assert list(a.bad(2)) == [(0, 1), (1, 2)]
    assert a.bad(1).scores.tolist() == [-2.0]


def test_short_sets_are_not_filled_up():
    """Fewer than k with the right sign: fewer are returned, and a warning says how many."""
    a = scores_of([[0.5, -2.0, 1.0], [0.0, 0.0, 0.0]])
    with pytest.warns(na.errors.AntagonismWarning, match="has 2 good neurons, 3 were asked for"):
        assert list(a.good(3)) == [(0, 2), (0, 0)]
    with pytest.warns(na.errors.AntagonismWarning, match="has 1 bad neurons, 6 were asked for"):
        assert list(a.bad(6)) == [(0, 1)]
    with pytest.raises(na.UsageError, match="accepted: 1 to 6"):
        a.good(7)


def test_a_table_has_a_row_a_neuron():
    """to_pandas ranks every neuron once, 1 for the highest."""
    table = scores_of([[0.5, -2.0], [1.0, 0.5]]).to_pandas()
    assert table[["layer", "neuron"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert table["rank"].tolist() == [2, 4, 1, 3]
    assert table["score"].tolist() == [0.5, -2.0, 1.0, 0.5]


def test_saved_scores_come_back(tmp_path):
    """Attribution.save and load keep every tensor, option and figure."""
    model = tiny.shared("gpt2")
    a = na.attribute(model, [tiny.question(9)], "ace", options={"z": 20, "ambiguous": "keep"}, steps=2, budget=10)
    a.save(tmp_path / "new" / "scores")
    b = na.Attribution.load(tmp_path / "new" / "scores")
    for name in ("scores", "example_scores", "completeness", "change"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    for name in ("scorer", "options", "target", "engine", "engine_reason", "steps", "quadrature", "site", "roles"):
        assert getattr(a, name) == getattr(b, name)
    assert b.options == {"z": 20, "ambiguous": "keep"}
    (tmp_path / "attribution.safetensors").write_bytes(b"nothing")
    with pytest.raises(na.DataError, match="can't read scores from"):
        na.Attribution.load(tmp_path)


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (
            additive_reordering,
            {"example_scores": torch.ones(2, 3, 4), "z": 1},
            {"example_scores": torch.ones(3, 4), "z": 1},
        ),
        (ranked, {"scores": torch.ones(3, 4)}, {"scores": torch.ones(4)}),
        (
            option_log_probabilities,
            {"logits": torch.ones(2, 9), "letters": torch.ones(2, 4, dtype=torch.int64)},
            {"logits": torch.ones(2, 9), "letters": torch.ones(3, 4, dtype=torch.int64)},
        ),
    ],
)
def test_annotated_shapes_hold(function, right, wrong):
    """What the annotations promise, shapes included, is what goes in and comes out; another shape is refused."""
    checked = jaxtyped(typechecker=beartype)(function)
    checked(**right)
    with pytest.raises(TypeCheckError):
        checked(**wrong)
