"""Sites: the residual stream against plain hooks on every architecture, and sets that know where they were chosen."""

from __future__ import annotations

import json

import plain
import pytest
import test_engines
import tiny
import torch

import neuron_antagonism as na

one_thread = tiny.one_thread

PROMPTS = [tiny.question(n, seed=i) for i, n in enumerate((9, 14, 9, 7))]
FEW = ("llama", "gpt2", "gpt_neox", "gemma2", "bloom")
"""Both kinds of block (FFN after attention, or beside it), norms after blocks, and one for `rows` alone."""


def engines(name: str) -> tuple[str, ...]:
    return ("rows",) if name in test_engines.NO_REPLAY else ("replay", "rows")


# --- the residual stream -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_resid_post_is_the_blocks_output(name, monkeypatch):
    """On every architecture the site is what a plain block returns, read in a padded batch, and written for all."""
    tiny.exact_softmax(monkeypatch)
    exact = 1e-6 if name in ("gpt_neo", "mpt") else 1e-12  # both take attention in float32 whatever their dtype
    module, model = tiny.hf(name), tiny.shared(name)
    prompts = [model.encode(q).ids for q in PROMPTS]
    assert model.units("resid_post") == 16
    logits, values = model.last_values(prompts, site="resid_post")
    for i, ids in enumerate(prompts):
        assert test_engines.difference(values[i], plain.values(module, ids, "resid_post")) <= exact
        assert test_engines.difference(logits[i], plain.logits(module, ids)[-1]) <= exact
    silenced = na.NeuronSet.of([(0, 3), (1, 15), (1, 0)], "resid_post")
    with plain.writing(module, "resid_post", silence(silenced)):
        expected = plain.logits(module, prompts[0])
    with model.edited(na.edit(silenced, "silence", positions="all")), torch.no_grad():
        got = model.forward(torch.tensor([prompts[0]]))[0]
    assert test_engines.difference(got, expected) <= exact
    assert test_engines.difference(got[-1], logits[0]) > 1e-3


def silence(neurons: na.NeuronSet):
    """A plain write that sets these units to zero."""

    def f(values, layer):
        values = values.clone()
        values[..., [unit for there, unit in neurons if there == layer]] = 0
        return values

    return f


@pytest.mark.parametrize("name", FEW)
def test_engines_agree_at_resid_post(name):
    """Values, integrated gradients and exact ablation of every engine are the reference's, whatever a forward holds."""
    model = tiny.shared(name)
    expected = test_engines.gradients(model, "reference", PROMPTS[:2], steps=4, site="resid_post")
    effects = na.ablate(model, PROMPTS[:2], engine="reference", site="resid_post").effects
    assert effects.shape == (len(PROMPTS[:2]), 3, 16)
    for engine in engines(name):
        for max_tokens in (None, 7):
            got = test_engines.gradients(
                model,
                engine,
                PROMPTS[:2],
                steps=4,
                site="resid_post",
                max_tokens=max_tokens,
                targets=test_engines.TARGETS,
            )
            assert test_engines.worst(got, expected) <= 1e-5
            found = na.ablate(model, PROMPTS[:2], engine=engine, site="resid_post", max_tokens=max_tokens).effects
            assert test_engines.difference(found, effects) <= 1e-5


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_ablation_at_resid_post_is_the_plain_modules(name, monkeypatch):
    """The effect of a unit is the loss of p(right) when a plain hook zeroes it at the last position."""
    tiny.exact_softmax(monkeypatch)
    module, model = tiny.hf(name), tiny.shared(name)
    effects = na.ablate(model, PROMPTS[:2], "ace", site="resid_post").effects
    for i, question in enumerate(PROMPTS[:2]):
        ids, letters = model.encode(question)
        clean = plain.logits(module, ids)[-1][list(letters)].softmax(0)
        for layer, unit in ((0, 0), (0, 15), (1, 7), (2, 4)):
            zero = silence(na.NeuronSet.of([(layer, unit)]))

            def at_last(values, where, zero=zero):
                return torch.cat([values[:, :-1], zero(values[:, -1:], where)], dim=1)

            with plain.writing(module, "resid_post", at_last):
                after = plain.logits(module, ids)[-1][list(letters)].softmax(0)
            change = (clean - after)[question.answer]
            assert effects[i, layer, unit].item() == pytest.approx(change.item(), abs=1e-12)


@pytest.mark.parametrize("engine", ["replay", "rows"])
def test_edits_at_several_sites_stand_side_by_side(engine):
    """A sweep whose edits act at different sites gives what a full pass under each gives."""
    model = tiny.shared("llama")
    units = [(0, 3), (2, 15), (1, 1)]
    edits = [
        na.edit(na.NeuronSet.of(units, site), intervention, positions=positions)
        for site in plain.GATED
        for intervention in ("silence", "excite")
        for positions in ("last", "all")
    ]
    expected = na.evaluate_many(model, PROMPTS, [None, *edits], engine="reference")
    got = na.evaluate_many(model, PROMPTS, [None, *edits], engine=engine)
    for a, b in zip(got, expected, strict=True):
        assert torch.allclose(a.log_probabilities, b.log_probabilities, rtol=0, atol=1e-5)
    # silencing acts alike at both sites of a gated FFN
    assert len({tuple(e.log_probabilities.flatten().float().tolist()) for e in expected}) >= len(edits) + 1 - 4


def test_scores_and_sets_know_their_site():
    """Scores have the site's width, chosen sets and the edits of them its name, and K is at most its units."""
    model = tiny.shared("llama")
    a = na.attribute(model, PROMPTS, site="resid_post", steps=2, budget=48)
    assert a.scores.shape == (3, 16)
    assert a.site == a.good(2).site == a.bad(2).site == "resid_post"
    assert na.enhancer(a.good(2), a.bad(2), budget=4).site == "resid_post"
    with pytest.raises(na.UsageError, match="accepted: 1 to 48"):
        na.attribute(model, PROMPTS, site="resid_post", budget=49)


# --- sets ----------------------------------------------------------------------------------------------------------

POST, UP, RESID = (
    na.NeuronSet(torch.tensor([2, 0]), torch.tensor([7, 1]), torch.tensor([3.5, -1.25]), site) for site in plain.GATED
)
EMPTY = na.NeuronSet.of([])


@pytest.mark.parametrize("name", ["set.csv", "set.json"])
@pytest.mark.parametrize("neurons", [POST, UP, RESID, na.NeuronSet.of([(1, 2)], "up"), EMPTY])
def test_files_keep_the_site(name, neurons, tmp_path):
    """Neurons, scores and site survive CSV and JSON."""
    neurons.save(tmp_path / name)
    loaded = na.NeuronSet.load(tmp_path / name)
    assert loaded == neurons
    assert loaded.site == neurons.site
    assert torch.allclose(loaded.scores, neurons.scores, rtol=0, atol=0, equal_nan=True)


def test_files_of_ffn_neurons_say_nothing_of_a_site(tmp_path):
    """Sets at post are written as ever; others have a last column; a file without it, or with it empty, is of post."""
    for neurons, text in (
        (POST, b"layer,neuron,score\n2,7,3.5\n0,1,-1.25\n"),
        (RESID, b"layer,neuron,score,site\n2,7,3.5,resid_post\n0,1,-1.25,resid_post\n"),
    ):
        neurons.save(tmp_path / "x.csv")
        assert (tmp_path / "x.csv").read_bytes() == text
    POST.save(tmp_path / "x.json")
    assert all("site" not in row for row in json.loads((tmp_path / "x.json").read_text()))
    (tmp_path / "x.csv").write_text("layer,neuron,site\n0,1,\n0,2,post\n")
    assert na.NeuronSet.load(tmp_path / "x.csv").site == "post"


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("x.csv", "layer,neuron,site\n0,1,up\n0,2,up\n0,3,\n", "line 4: site 'post' after 'up'"),
        ("x.json", '[{"layer": 0, "neuron": 1}, {"layer": 0, "neuron": 2, "site": "up"}]', "entry 2: site 'up' after"),
    ],
)
def test_a_file_of_two_sites_is_refused(name, text, place, tmp_path):
    """The first line of another site is named, in one line."""
    (tmp_path / name).write_text(text)
    with pytest.raises(na.DataError, match=rf"{name}, {place}.*accepted: one for all$") as caught:
        na.NeuronSet.load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_operations_join_what_are_the_same_units():
    """Sets at post and up hold the same neurons, the left site wins; an empty set joins with any."""
    more = na.NeuronSet.of([(0, 1), (1, 1)], "up")
    assert (POST | more) == na.NeuronSet.of([(2, 7), (0, 1), (1, 1)])
    assert (more & POST) == na.NeuronSet.of([(0, 1)], "up")
    assert (POST - more) == na.NeuronSet.of([(2, 7)])
    for both in (EMPTY | RESID, RESID | EMPTY, RESID - EMPTY, RESID & RESID):
        assert both == RESID
    assert len(EMPTY & RESID) == len(RESID & EMPTY) == len(EMPTY - RESID) == 0
    assert POST != UP


@pytest.mark.parametrize("operation", [na.NeuronSet.__or__, na.NeuronSet.__and__, na.NeuronSet.__sub__])
def test_units_of_the_stream_are_no_neurons(operation):
    """Operations across the FFN and the residual stream are refused in one line, in both orders."""
    for a, b in ((POST, RESID), (RESID, UP)):
        with pytest.raises(na.UsageError, match=f"units at '{b.site}' are none at '{a.site}'; accepted: ") as caught:
            operation(a, b)
        assert "\n" not in str(caught.value)


def test_at_moves_ffn_neurons_only():
    """at() names the same neurons at the other FFN site, with their scores; the stream's stay where they are."""
    assert POST.at("up") == UP
    assert torch.equal(POST.at("up").scores, POST.scores)
    assert RESID.at("resid_post") == RESID
    assert POST.top(1).at("up").site == "up"
    assert UP.top(1).site == (UP - EMPTY).site == "up"
    for neurons, site in ((POST, "resid_post"), (RESID, "post"), (POST, "pots")):
        with pytest.raises(na.UsageError, match=f"units at '{neurons.site}' are none at '{site}'"):
            neurons.at(site)


def test_the_repr_names_a_site():
    """Where it is not the usual one."""
    assert repr(POST) == "NeuronSet(2: 2.7, 0.1)"
    assert repr(RESID) == "NeuronSet(2 at resid_post: 2.7, 0.1)"


def test_an_edit_acts_where_its_set_was_chosen():
    """That is the default of every way to make one; FFN neurons may be edited at the other FFN site if asked."""
    assert na.edit(RESID, "silence").site == "resid_post"
    assert na.edit(UP, "silence").site == "up"
    assert na.edit(UP, "silence", site="post").site == "post"
    other = na.NeuronSet.of([(1, 1)], "resid_post")
    for make in (na.enhancer, na.degrader):
        assert make(RESID, other, budget=2).site == "resid_post"
        assert make(RESID, None, budget=2, ratio=1).site == "resid_post"
        assert make(EMPTY, RESID, budget=2, ratio=0).site == "resid_post"
        assert make(POST, None, budget=2, ratio=1, site="up").site == "up"


@pytest.mark.parametrize(
    "make",
    [
        lambda: na.edit(RESID, "silence", site="post"),
        lambda: na.edit(POST, "silence", site="resid_post"),
        lambda: na.enhancer(POST, RESID, budget=2),
        lambda: na.degrader(RESID, POST, budget=2),
        lambda: na.enhancer(RESID, None, budget=2, ratio=1, site="up"),
    ],
)
def test_edits_of_other_sites_are_refused(make):
    """A set of one site can't be edited at another, nor two of different sites together; one line."""
    with pytest.raises(na.UsageError, match=r"units at '\w+' are none at '\w+'; accepted: ") as caught:
        make()
    assert "\n" not in str(caught.value)


def test_units_that_a_site_lacks_are_refused():
    """The stream has 16 dimensions where the FFN has 24 neurons; a site that is none is named when it is used."""
    model = tiny.shared("llama")
    there = na.NeuronSet.of([(0, 20)])
    na.evaluate(model, PROMPTS[:1], na.edit(there, "silence"))
    with pytest.raises(na.DataError, match="neurons 0 to 15"):
        na.evaluate(model, PROMPTS[:1], na.edit(na.NeuronSet.of([(0, 20)], "resid_post"), "silence"))
    with pytest.raises(na.UsageError, match="unknown site 'resid_pots'; did you mean 'resid_post'"):
        na.evaluate(model, PROMPTS[:1], na.edit(na.NeuronSet.of([(0, 2)], "resid_pots"), "silence"))
    with pytest.raises(na.UsageError, match="has no site 'up': its FFN is not gated; accepted: 'post', 'resid_post'"):
        tiny.shared("gpt2").units("up")
