"""NEURONLENS against numpy on values read by plain hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from statistics import NormalDist
from typing import Any

import classes
import numpy as np
import plain
import pytest
import tiny
import torch
from scipy import stats

import neuron_antagonism as na

one_thread = tiny.one_thread

Seen = Callable[[str], tuple[np.ndarray, np.ndarray, np.ndarray]]


@pytest.fixture(scope="module", autouse=True)
def _exact() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny.exact_softmax(monkeypatch)
        yield


@pytest.fixture(scope="module")
def module() -> Any:
    return tiny.hf("llama")


@pytest.fixture(scope="module")
def model() -> na.HookedModel:
    return tiny.shared("llama")


@pytest.fixture(scope="module")
def asked(module: Any) -> list[na.LabelQuestion]:
    return classes.questions(module)


@pytest.fixture(scope="module")
def seen(module: Any, asked: list[na.LabelQuestion]) -> Seen:
    """By site, what plain hooks see on the questions; computed once."""
    return cache(lambda site: classes.seen(module, asked, site))


def lens(model, asked, site="post", budget=5, max_tokens=None, **options) -> na.Attribution:
    return na.attribute(
        model, asked, "neuronlens", options=options, site=site, budget=budget, max_tokens=max_tokens, steps=1
    )


@pytest.mark.parametrize(("concept", "max_tokens"), [(classes.LABELS[0], None), (classes.LABELS[1], 25), ("", None)])
@pytest.mark.parametrize("site", plain.GATED)
def test_it_equals_numpy(seen, model, asked, site, concept, max_tokens):
    """Scores, selected units, mean, std and shape are numpy's over the questions of the concept answered rightly."""
    values, right, concepts = seen(site)
    own = values[right & ((concepts == concept) | (not concept))]
    assert 3 < len(own) < right.sum() or not concept
    got = lens(model, asked, site, max_tokens=max_tokens, **({"concept": concept} if concept else {}))
    saliency = np.abs(own).mean(0)
    count = int(0.3 * saliency.shape[1])
    expected = np.zeros_like(saliency)
    for layer, row in enumerate(saliency):
        top = sorted(range(len(row)), key=lambda unit: -row[unit])[:count]
        expected[layer, top] = row[top]
    assert np.allclose(got.scores, expected, rtol=0, atol=1e-6)
    assert np.array_equal(got.scores.numpy() > 0, expected > 0)
    chosen = got.good(3 * count)
    assert sorted(chosen) == [(layer, unit) for layer, unit in np.argwhere(expected > 0).tolist()]
    assert chosen.site == got.site == site
    for name, value in (
        ("mean", own.mean(0)),
        ("std", own.std(0)),
        ("skewness", stats.skew(own)),
        ("kurtosis", stats.kurtosis(own)),
        ("normality", stats.jarque_bera(own, axis=0).pvalue),
    ):
        assert np.allclose(got.extras[name], value, rtol=0, atol=1e-6)


def test_overlaps_are_those_of_the_gaussians(seen, model, asked):
    """For each other concept an extra holds, unit by unit, the overlap of the two concepts' Gaussians."""
    values, right, concepts = seen("post")
    own, *others = classes.LABELS
    got = lens(model, asked, concept=own)
    assert {name for name in got.extras if name.startswith("overlap.")} == {f"overlap.{name}" for name in others}
    for other in others:
        mine, theirs = (values[right & (concepts == name)] for name in (own, other))
        for layer in range(3):
            for unit in range(24):
                a, b = (NormalDist(v[:, layer, unit].mean(), v[:, layer, unit].std()) for v in (mine, theirs))
                assert got.extras[f"overlap.{other}"][layer, unit].item() == pytest.approx(a.overlap(b), abs=1e-6)
    assert not any(name.startswith("overlap.") for name in lens(model, asked).extras)


def test_example_scores_are_means_over_an_examples_right_answers(seen, model, asked):
    """Proxies that the model fails, or of another concept, don't count; an example without any scores zero."""
    values, right, concepts = seen("post")
    examples = [na.Example(None, tuple(asked[i : i + 4])) for i in range(0, len(asked), 4)]
    concept = classes.LABELS[0]
    got = lens(model, examples, concept=concept).example_scores.numpy()
    counted = (right & (concepts == concept)).reshape(-1, 4)
    assert counted.sum(1).min() == 0
    assert counted.sum(1).max() > 1
    for i, chosen in enumerate(counted):
        rows = np.abs(values[4 * i : 4 * i + 4][chosen])
        assert np.allclose(got[i], rows.mean(0) if len(rows) else 0, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("share", "count"), [(0.25, 6), (0.3, 7), (1, 24), (0.001, 1), (0.29, 6), (7 / 24, 7)])
def test_the_share_is_of_each_layer(model, asked, share, count):
    """As many units of every layer score as the share holds, rounded down, at least one."""
    got = lens(model, asked, share=share, budget=3)
    assert (got.scores > 0).sum(1).tolist() == [count] * 3


def test_layers_bound_the_choice(model, asked):
    """Only units of the blocks named score, the same as among all; the extras are of every unit all the same."""
    everywhere, some = lens(model, asked), lens(model, asked, layers=(2, 0))
    assert torch.equal(some.scores[[0, 2]], everywhere.scores[[0, 2]])
    assert not some.scores[1].any()
    assert torch.equal(some.extras["mean"], everywhere.extras["mean"])


def test_there_is_no_bad_set(model, asked):
    """A large value says nothing of harm: the bad set is refused."""
    got = lens(model, asked)
    assert got.roles == ("good",)
    with pytest.raises(na.UsageError, match=r"'neuronlens'.*bad|bad.*'neuronlens'"):
        got.bad(3)


def test_what_it_found_can_be_stored(model, asked, tmp_path):
    """Scores, options, site and extras come back from a file."""
    got = lens(model, asked, "resid_post", concept="w14", layers=(1,))
    got.save(tmp_path)
    back = na.Attribution.load(tmp_path)
    assert (back.site, back.good(3)) == ("resid_post", got.good(3))
    assert set(back.extras) == set(got.extras) >= {"mean", "std", "overlap.w31"}
    assert all(torch.equal(back.extras[name], value) for name, value in got.extras.items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"concept": "w9"},
            "neuronlens.concept='w9': none of the 36 identification examples has it; accepted: w14, w26 w3",
        ),
        ({"layers": (0, 3)}, r"neuronlens.layers=\[0, 3\] names a block that is not there; accepted: 0 to 2"),
        ({"layers": (-1,)}, r"neuronlens.layers=\[-1\] names a block that is not there; accepted: 0 to 2"),
        ({"share": 0}, "option neuronlens.share=0: .*accepted: "),
        ({"share": 1.01}, "option neuronlens.share=1.01: .*accepted: "),
        ({"share": float("nan")}, "option neuronlens.share=nan: .*accepted: "),
    ],
)
def test_impossible_options_are_named(model, asked, options, said):
    """One line names the option and what is accepted."""
    with pytest.raises(na.AntagonismError, match=said) as caught:
        lens(model, asked, **options)
    assert "\n" not in str(caught.value)


def test_answers_that_are_no_classes_are_refused(model):
    """A concept among more than a hundred different answers is one line, as long as any."""
    asked = [na.Question("w1 w2 Answer:", (f"a{i}", "b", "c", "d"), 0) for i in range(101)]
    with pytest.raises(na.UsageError, match="concept='a7': 101 different answers are no classes; ") as caught:
        lens(model, asked, concept="a7")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_concept_that_is_never_answered_is_named(model, asked):
    """Without a right answer there is nothing to learn: one line, with the concept where one was asked for."""
    wrong = asked[::3]
    for options, of in (({}, ""), ({"concept": wrong[0].concept}, f" of the concept '{wrong[0].concept}'")):
        with pytest.raises(na.DataError, match=f"answers none of the 12 questions{of} rightly; accepted: ") as caught:
            lens(model, wrong, **options)
        assert "\n" not in str(caught.value)


def test_the_top_share_takes_the_largest_of_each_layer_whatever_their_sign():
    """As many of every layer asked for, strongest first over all, also where all scores are negative."""
    scores = torch.tensor([[-4.0, -1.0, -3.0, -2.0], [8.0, 5.0, 6.0, 7.0], [0.0, 0.0, 0.0, -1.0]])
    a = na.Attribution(scores, scores[None], site="resid_post")
    assert list(a.top_share(0.5)) == [(1, 0), (1, 3), (2, 0), (2, 1), (0, 1), (0, 3)]
    assert a.top_share(0.5).scores.tolist() == [8, 7, 0, 0, -1, -2]
    assert a.top_share(0.5).site == "resid_post"
    assert list(a.top_share(0.1, [2, 0])) == [(2, 0), (0, 1)]
    assert len(a.top_share(1)) == 12
    for share, layers, said in ((0, (), "share is 0"), (1.1, (), "share is 1.1"), (0.5, (3,), r"layers are \[3\]")):
        with pytest.raises(na.UsageError, match=f"{said}; accepted: "):
            a.top_share(share, layers)
