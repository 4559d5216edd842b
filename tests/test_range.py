"""RANGE against numpy and plain hooks: which values are edited, what they become, and what the model then answers."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import classes
import numpy as np
import plain
import pytest
import test_engines
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.plugin.manager import registry

one_thread = tiny.one_thread

EDITS = ("zero", "mean", "soft", "excite")
ALL = [(layer, unit) for layer in range(3) for unit in range(16)]
"""Units that every site has."""


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    tiny.exact_softmax(monkeypatch)


@cache
def bare() -> Any:
    """A LLaMA for plain hooks, which are gone when they have read or written."""
    return tiny.hf("llama")


@cache
def asking(n: int = 36) -> list[na.LabelQuestion]:
    return classes.questions(bare(), n)


@cache
def seen(site: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What plain hooks see on all questions."""
    return classes.seen(bare(), asking(), site)


def made(what: str = "zero", **options) -> na.Intervention:
    """`range` with that edit, or `range-excite`."""
    if what == "excite":
        return registry().make(na.Intervention, "range-excite", options)
    return registry().make(na.Intervention, "range", {"inside": what, **options})


def expected(what: str, x: np.ndarray, centre: np.ndarray, half: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """The edit, written again."""
    new = {
        "zero": 0 * x,
        "mean": usual + 0 * x,
        "soft": x * 0.125 * np.abs(x - centre) / (half + 1e-6),
        "excite": 2 * x,
    }[what]
    return np.where((centre - half <= x) & (x <= centre + half), new, x)


def edited(fitted: na.Intervention, values: torch.Tensor, layer: int, units: list[int]) -> torch.Tensor:
    return fitted.edit(values, layer, torch.tensor(units))


def some_values(dtype: torch.dtype = torch.float64, n: int = 16) -> torch.Tensor:
    return 2 * torch.randn(4, 50, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


# --- the computation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", EDITS)
@pytest.mark.parametrize("site", plain.GATED)
def test_it_equals_a_plain_computation(site, what):
    """From selection to logits: numpy and plain hooks find the same units, ranges, new values and answers."""
    module, model = bare(), tiny.shared("llama")
    asked, concept, tau = asking(), classes.LABELS[1], 1.2
    values, right, concepts = seen(site)
    own = values[right & (concepts == concept)]
    assert len(own) > 3
    centre, half, usual = own.mean(0), tau * own.std(0, ddof=0), values.mean(0)
    saliency = np.abs(own).mean(0)
    count = int(0.3 * saliency.shape[1])
    units = {layer: sorted(np.argsort(-row)[:count].tolist()) for layer, row in enumerate(saliency)}

    found = na.attribute(model, asked, "neuronlens", options={"concept": concept}, site=site, budget=5)
    neurons = found.good(3 * count)
    assert {layer: sorted(chosen.tolist()) for layer, chosen in neurons.by_layer().items()} == units
    fitted = made(what, tau=tau, concept=concept).fit(model, asked, neurons)
    assert fitted.site == site
    changed = []
    for layer, chosen in units.items():
        x = some_values(n=count)
        new = expected(what, x.numpy(), centre[layer, chosen], half[layer, chosen], usual[layer, chosen])
        assert np.allclose(edited(fitted, x, layer, chosen), new, rtol=0, atol=1e-6)
        changed.append((new != x.numpy()).mean())
    assert 0.05 < np.mean(changed) < 0.95

    def write(x, layer):
        at = layer, units[layer]
        new = x.clone()
        new[..., at[1]] = torch.from_numpy(expected(what, x[..., at[1]].numpy(), centre[at], half[at], usual[at]))
        return new

    ids = model.encode(tiny.question(12, seed=99)).ids
    with plain.writing(module, site, write):
        after = plain.logits(module, ids)
    with model.edited(na.edit(neurons, fitted, positions="all")), torch.no_grad():
        got = model.forward(torch.tensor([ids]))[0]
    assert test_engines.difference(got, after) <= 1e-5
    assert test_engines.difference(after, plain.logits(module, ids)) > 1e-3


@pytest.mark.parametrize(("what", "site"), [*zip(EDITS, [*plain.GATED, "post"], strict=True)])
def test_every_engine_edits_alike(site, what):
    """Copies side by side and full passes give the same answers, at the last position and at all."""
    model = tiny.shared("llama")
    asked = asking(12)
    neurons = na.NeuronSet.of(ALL[::3], site)
    fitted = made(what, tau=1.0, answered="all").fit(model, asked, neurons)
    edits = [None, *(na.edit(neurons, fitted, positions=p) for p in ("last", "all")), na.edit(neurons, "silence")]
    reference = na.evaluate_many(model, asked, edits, engine="reference")
    for engine in ("replay", "rows"):
        for a, b in zip(na.evaluate_many(model, asked, edits, engine=engine), reference, strict=True):
            assert torch.allclose(a.log_probabilities, b.log_probabilities, rtol=0, atol=1e-9)
    assert len({tuple(e.log_probabilities.flatten().tolist()) for e in reference}) == 4


def test_the_ends_belong_to_the_range():
    """A value at either end is edited, the next one beyond is not; tau = 0 leaves the mean alone as the range."""
    fitted = fitted_by_hand(mean=2.0, std=0.5, tau=2)
    x = torch.tensor([1.0, 3.0, math.nextafter(1, 0), math.nextafter(3, 4)], dtype=torch.float64).reshape(1, 4, 1)
    assert edited(fitted, x, 0, [0]).flatten().tolist() == [0, 0, *x.flatten().tolist()[2:]]
    fitted = fitted_by_hand(mean=2.0, std=0.5, tau=0)
    x = torch.tensor([2.0, 2.0 + 1e-15], dtype=torch.float64).reshape(1, 2, 1)
    assert edited(fitted, x, 0, [0]).flatten().tolist() == [0, 2.0 + 1e-15]


def fitted_by_hand(mean: float, std: float, **options) -> na.Intervention:
    """A fitted `range` of one unit whose two values seen lie one std either side of the mean."""

    class Statistics:
        def of(self, concept=None, answered="right"):
            moments = na.Moments()
            moments.add(torch.tensor([[[mean - std]], [[mean + std]]], dtype=torch.float64))
            return moments

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(na, "value_statistics", lambda *args, **kwargs: Statistics())
        return made(**options).fit(None, [], na.NeuronSet.of([(0, 0)]))


# --- wide, narrow and flat ranges ----------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["last", "all"])
@pytest.mark.parametrize("what", ["zero", "soft"])
@pytest.mark.parametrize("site", plain.GATED)
def test_an_infinite_range_is_the_whole_neuron(site, what, positions):
    """At tau = inf zero and soft silence and range-excite excites: equal values, and bitwise equal logits."""
    model = tiny.shared("llama")
    asked, neurons = asking(12), na.NeuronSet.of(ALL[::3], site)
    for intervention, plainly in ((made(what, tau=math.inf), "silence"), (made("excite", tau="inf"), "excite")):
        fitted = intervention.fit(model, asked, neurons)
        units, whole = neurons.by_layer()[1], registry().make(na.Intervention, plainly)
        x = 1e6 * some_values(n=len(units))
        assert torch.equal(fitted.edit(x, 1, units), whole.edit(x, 1, units))
        got, silent = na.evaluate_many(
            model, asked, [na.edit(neurons, i, positions=positions) for i in (fitted, whole)], engine="reference"
        )
        assert torch.equal(got.log_probabilities, silent.log_probabilities)
        assert torch.equal(got.confidence, silent.confidence)


@pytest.mark.parametrize("what", EDITS)
@pytest.mark.parametrize("tau", [0, 1e-12])
def test_a_range_of_no_width_edits_nothing(what, tau):
    """Values that vary are never at their mean: they stay bitwise what they were, and so do the answers."""
    model = tiny.shared("llama")
    asked, neurons = asking(12), na.NeuronSet.of(ALL)
    fitted = made(what, tau=tau, answered="all").fit(model, asked, neurons)
    assert torch.equal(edited(fitted, some_values(), 2, list(range(16))), some_values())
    before, after = na.evaluate_many(model, asked, [None, na.edit(neurons, fitted)], engine="reference")
    assert torch.allclose(before.log_probabilities, after.log_probabilities, rtol=0, atol=1e-12)


@pytest.mark.parametrize("what", EDITS)
@pytest.mark.parametrize("tau", [0, 2, math.inf])
def test_units_that_never_vary(what, tau):
    """Without a spread the range is one value, or everything at tau = inf: no NaN, and other values stay."""
    hf = tiny.hf("opt")
    with torch.no_grad():
        fc1 = hf.model.decoder.layers[1].fc1
        fc1.weight[[4, 5]] = 0
        fc1.bias[4], fc1.bias[5] = 1.3, -1.3
    model = na.load_model(hf_model=hf, tokenizer=tiny.tokenizer())
    asked = [tiny.question(n, seed=i) for i, n in enumerate((9, 14, 9, 7))]
    fitted = made(what, tau=tau, answered="all").fit(model, asked, na.NeuronSet.of([(1, 4), (1, 5)]))
    constant = float(fc1.bias[4])
    x = torch.tensor([[[constant, 0.0], [constant + 1e-9, -1e-9], [50, -50]]], dtype=torch.float64)
    new = edited(fitted, x, 1, [4, 5])
    into = {"zero": [0, 0], "mean": [constant, 0], "soft": [0, 0], "excite": [2 * constant, 0]}[what]
    assert new[0, 0].tolist() == into
    if tau == math.inf:
        assert new[0, 2].tolist() == {"mean": into, "excite": [100, -100]}.get(what, [0, 0])
    else:
        assert torch.equal(new[0, 1:], x[0, 1:])
    made_edit = na.edit(na.NeuronSet.of([(1, 4), (1, 5)]), fitted, positions="all")
    assert bool(torch.isfinite(na.evaluate(model, asked, made_edit).log_probabilities).all())


@pytest.mark.parametrize("what", EDITS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_narrow_dtypes(what, dtype):
    """Ranges are compared and values made in float32, then rounded once; the rest stays bitwise."""
    model = tiny.shared("llama", dtype)
    asked, neurons = asking(12), na.NeuronSet.of(ALL)
    fitted = made(what, tau=1.0, answered="all").fit(model, asked, neurons)
    found = na.value_statistics(model, asked).of(answered="all")
    mean, std = (t[1, :16].numpy() for t in (found.mean, found.std))
    x = some_values(dtype)
    new = edited(fitted, x, 1, list(range(16)))
    assert new.dtype == dtype
    reference = torch.from_numpy(expected(what, x.double().numpy(), mean, std, mean))
    inside = reference != x.double()
    assert torch.equal(new[~inside], x[~inside])
    assert torch.allclose(new.double(), reference, rtol=torch.finfo(dtype).eps, atol=1e-6)
    assert 0.05 < inside.double().mean() < 0.95
    edit = na.edit(neurons, fitted, positions="all")
    before, after = na.evaluate_many(model, asked, [None, edit])
    assert (before.log_probabilities - after.log_probabilities).abs().max() > 1e-3


# --- what it learns from -------------------------------------------------------------------------------------------


def learned(fitted: na.Intervention, neurons: na.NeuronSet) -> dict[tuple[int, int], tuple[float, float]]:
    """(mean, std) of each neuron that `fitted` edits, found by feeling for the ends of its range."""
    ends = {}
    for layer, unit in neurons:
        x = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
        hit = x[edited(fitted, x.reshape(1, -1, 1), layer, [unit]).flatten() != x]
        ends[layer, unit] = ((hit.max() + hit.min()).item() / 2, (hit.max() - hit.min()).item() / 2)
    return ends


@pytest.mark.parametrize("concept", ["", classes.LABELS[2]])
@pytest.mark.parametrize("answered", ["role", "right", "wrong", "all"])
def test_roles_learn_from_the_answers_they_are_for(answered, concept):
    """Positive, unknown and zero scores learn from right answers and negative ones from wrong, unless told from which.

    With a concept, from its questions alone.
    """
    model = tiny.shared("llama")
    asked = asking()
    values, right, concepts = seen("resid_post")
    scores = {(0, 1): 2.0, (2, 3): -1.0, (1, 15): math.nan, (0, 7): -1e-9, (1, 0): 0.0}
    neurons = na.NeuronSet(
        torch.tensor([layer for layer, _ in scores]),
        torch.tensor([unit for _, unit in scores]),
        torch.tensor(list(scores.values())),
        "resid_post",
    )
    fitted = made("excite", tau=1.0, answered=answered, concept=concept).fit(model, asked, neurons)
    for (layer, unit), (mean, std) in learned(fitted, neurons).items():
        which = answered if answered != "role" else "wrong" if scores[layer, unit] < 0 else "right"
        verdict = {"right": right, "wrong": ~right, "all": right | ~right}[which]
        own = values[verdict & ((concepts == concept) | (not concept)), layer, unit]
        assert len(own) > 2
        assert (mean, std) == pytest.approx((own.mean(), own.std()), abs=3e-4)  # the grid's step


def test_too_few_questions_are_counted():
    """A range needs two questions to learn from, of each role that is there: one line says how many there were."""
    model = tiny.shared("llama")
    asked = asking()
    rights = [q for i, q in enumerate(asked) if i % 3]
    good, bad = (
        na.NeuronSet(torch.tensor([0]), torch.tensor([u]), torch.tensor([s])) for u, s in ((1, 1.0), (2, -1.0))
    )
    concept = rights[0].concept
    for given, neurons, options, said in (
        (rights[:1], good, {}, "'range' was given 1 questions answered rightly"),
        (rights, good | bad, {}, "was given 0 questions answered wrongly"),
        (rights[:1], good, {"answered": "all"}, "was given 1 questions to learn"),
        (rights[:1], good, {"concept": concept}, f"1 questions of the concept '{concept}' answered rightly"),
    ):
        with pytest.raises(na.DataError, match=f"{said}.*accepted: at least 2") as caught:
            made(**options).fit(model, given, neurons)
        assert "\n" not in str(caught.value)
    assert made().fit(model, rights, good).fitted
    with pytest.raises(na.DataError, match="none of the 36 questions is of the concept 'w9'; accepted: w14"):
        made(concept="w9").fit(model, asked, good)


# --- where it may be used ------------------------------------------------------------------------------------------


def test_only_what_was_fitted_is_edited():
    """Other neurons, another site, an unfitted copy and a model that is being edited: refused in one line each."""
    model = tiny.shared("llama")
    asked, neurons = asking(12), na.NeuronSet.of([(0, 1), (1, 2)])
    fitted = made(answered="all").fit(model, asked, neurons)
    more, stream = neurons | na.NeuronSet.of([(1, 3)]), na.NeuronSet.of(list(neurons), "resid_post")
    for edit, said in (
        (na.edit(more, fitted), "'range' was not fitted on neuron 1.3; accepted: "),
        (na.edit(neurons, fitted, site="up"), "fitted at site 'post' and is used at 'up'; accepted: "),
        (na.edit(neurons.at("up"), fitted), "fitted at site 'post' and is used at 'up'; accepted: "),
        (na.edit(stream, fitted), "fitted at site 'post' and is used at 'resid_post'; accepted: "),
        (na.edit(neurons, made()), "intervention 'range' is not fitted; accepted: "),
    ):
        with pytest.raises(na.UsageError, match=said) as caught:
            na.evaluate(model, asked, edit)
        assert "\n" not in str(caught.value)
    na.evaluate(model, asked, na.edit(neurons.top(1), fitted))
    with model.edited(na.edit(neurons, fitted)), pytest.raises(na.UsageError, match=r"inside model.edited\(\)"):
        made().fit(model, asked, neurons)


def test_an_edit_is_fitted_where_it_acts():
    """Edit.fit learns at the edit's site, also where its set was chosen at the other FFN site, and for each part."""
    model = tiny.shared("llama")
    asked, neurons = asking(12), na.NeuronSet.of([(0, 1), (1, 2)])
    options = {"answered": "all"}
    for site in ("post", "up"):
        direct = na.edit(neurons.at(site), made(**options).fit(model, asked, neurons.at(site)))
        fitted = na.edit(neurons, "range", site=site, options=options).fit(model, asked)
        a, b = (na.evaluate(model, asked, edit) for edit in (direct, fitted))
        assert torch.equal(a.log_probabilities, b.log_probabilities)
    both = na.enhancer(
        neurons.top(1), neurons - neurons.top(1), budget=2, strengthen=made("excite", **options), weaken=made(**options)
    )
    assert all(part.intervention.fitted for part in both.fit(model, asked).parts)
    assert not any(part.intervention.fitted for part in both.parts)


def test_options_change_after_fitting_only_where_nothing_new_is_to_be_learned():
    """tau and inside apply to what was learned as if fitted so; another concept or answers need another fit."""
    model = tiny.shared("llama")
    asked, neurons = asking(), na.NeuronSet.of(ALL)
    fitted = made(tau=2.0).fit(model, asked, neurons)
    for options in ({"tau": 0.5}, {"tau": math.inf}, {"inside": "soft"}, {"inside": "mean", "tau": 1.0}):
        fresh = made(**{"what": "zero", "tau": 2.0} | {k.replace("inside", "what"): v for k, v in options.items()})
        units = list(range(16))
        expected_values = edited(fresh.fit(model, asked, neurons), some_values(), 1, units)
        assert torch.equal(edited(fitted.with_options(**options), some_values(), 1, units), expected_values)
    for options in ({"concept": classes.LABELS[0]}, {"answered": "wrong"}):
        with pytest.raises(na.UsageError, match="is not fitted"):
            na.evaluate(model, asked, na.edit(neurons, fitted.with_options(**options)))
    assert fitted.fitted


@pytest.mark.parametrize("what", ["zero", "excite"])
@pytest.mark.parametrize("tau", [math.nan, -1.0, -1e-300, -math.inf, None, "wide"])
def test_impossible_widths_are_refused(what, tau):
    """tau is a number from 0 to infinity: anything else is one line that says so."""
    with pytest.raises(
        na.UsageError, match=r"option range(-excite)?\.tau=.*accepted: half the range's width"
    ) as caught:
        made(what, tau=tau)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["zero", "excite"])
@pytest.mark.parametrize("tau", [0.0, 2.5, math.inf])
def test_options_survive_json(what, tau):
    """The manifest of a run holds options as JSON: every width comes back, the infinite one too."""
    intervention = made(what, tau=tau)
    stored = json.loads(intervention.options.model_dump_json(exclude_unset=True))
    assert type(intervention)(**stored).options == intervention.options
