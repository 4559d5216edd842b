"""Runs that edit neurons within their ranges: fitted by role, repeated, resumed, exported; runs at other sites."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_cli
import tiny
import torch
from directories import made, same_results, units
from test_cli import refused

import neuron_antagonism as na
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.keys import identity

one_thread = tiny.one_thread
call = test_cli.call

TAU = 1.5
SIZES: dict[str, Any] = {"identify": 6, "select": 4, "evaluate": 4, "budget": 20, "steps": 2}
GATED: dict[str, Any] = {
    **SIZES,
    "strengthen": "range-excite",
    "weaken": "range",
    "options": {"range": {"tau": TAU}, "range-excite": {"tau": TAU}},
}
BOTH: dict[str, Any] = {**GATED, "options": {**GATED["options"], "ace": {"ambiguous": "keep"}}}
"""Where ACE is among the scorers: with enough neurons that are good, and that are bad."""

MODES = {"enhance": na.enhancer, "degrade": na.degrader}
WORDS = (
    *("--task", "sentiment", "--scorer", "act", "--identify", "6", "--select", "4", "--evaluate", "4"),
    *("--budget", "20", "--strengthen", "range-excite", "--weaken", "range", "--quiet"),
)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    return na.load_model(str(checkpoint))


@pytest.fixture(scope="module")
def words(checkpoint: Path) -> tuple[str, ...]:
    """A gated run of the same model from the command line."""
    return (*WORDS, "--model", str(checkpoint))


@pytest.fixture(scope="module")
def finished(model: Any, tmp_path_factory: pytest.TempPathFactory) -> na.RunResult:
    """A run with good and bad neurons, gated, in a directory."""
    out = tmp_path_factory.mktemp("gated") / "run"
    return na.run(model, ["sentiment"], ["ace", "act"], out=out, **BOTH)


def where(result: na.RunResult) -> Path:
    assert result.path is not None
    return result.path


def gate(name: str) -> na.Intervention:
    return registry().make(na.Intervention, name, {"tau": TAU})


def by_hand(result: na.RunResult, model: Any, scorer: str, mode: str, ratio: float) -> na.Edit:
    """The edit of that ratio from the run's attribution, fitted on what the run learned from."""
    a = result.attributions["sentiment"][scorer]
    sets = a.good(20), a.bad(20) if "bad" in a.roles else None
    gates = {"strengthen": gate("range-excite"), "weaken": gate("range")}
    return MODES[mode](*sets, budget=20, ratio=ratio, **gates).fit(model, result.splits["sentiment"].identify)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scorer", ["ace", "act"])
def test_stored_edits_are_those_made_by_hand(scorer, mode, finished, model):
    """A run's edit answers as the one that is made and fitted from its attribution; loaded, it does at once."""
    evaluate = finished.splits["sentiment"].evaluate
    stored = finished.edits["sentiment"][scorer][mode]
    loaded = na.load_run(where(finished)).edits["sentiment"][scorer][mode]
    expected = by_hand(finished, model, scorer, mode, stored.ratio)
    before, *answers = na.evaluate_many(model, evaluate, [None, expected, stored, loaded], engine="reference")
    for found in answers[1:]:
        assert torch.equal(found.log_probabilities, answers[0].log_probabilities)
    assert not torch.equal(before.log_probabilities, answers[0].log_probabilities)
    (cell,) = (c for c in finished.table.rows if (c["scorer"], c["mode"]) == (scorer, mode))
    assert cell["acc_after"] == pytest.approx(answers[0].acc)


@pytest.mark.parametrize("mode", MODES)
def test_every_ratio_is_gated(mode, finished, model):
    """What the sweep counted at each ratio is what edits made by hand at that ratio do."""
    rows = [
        row
        for row in finished.results["tasks"]["sentiment"]["sweep"]
        if (row["scorer"], row["mode"], row["set"]) == ("ace", mode, "select")
    ]
    assert [row["tenths"] for row in rows] == list(range(11))
    rows = [rows[tenths] for tenths in (0, 3, 10)]
    edits = [by_hand(finished, model, "ace", mode, row["tenths"] / 10) for row in rows]
    answers = na.evaluate_many(model, finished.splits["sentiment"].select, edits)
    assert [row["right"] for row in rows] == [int(found.right.sum()) for found in answers]
    assert [row["cross_entropy"] for row in rows] == pytest.approx(
        [float(found.cross_entropy.mean()) for found in answers], abs=2e-6
    )
    assert len({row["cross_entropy"] for row in rows}) == 3


def test_good_neurons_learn_from_right_answers_and_bad_ones_from_wrong(finished, model):
    """In either direction a part's ranges are those of its own neurons, by the answers of their role."""
    values = na.value_statistics(model, finished.splits["sentiment"].identify)
    a = finished.attributions["sentiment"]["ace"]
    roles = {"right": set(a.good(20)), "wrong": set(a.bad(20))}
    seen = set()
    for mode in MODES:
        for part in finished.edits["sentiment"]["ace"][mode].parts:
            (answered,) = (answered for answered, pairs in roles.items() if set(part.neurons) <= pairs)
            moments = values.of(answered=answered)
            at = part.neurons.layers, part.neurons.neurons
            fitted: Any = part.intervention
            assert torch.equal(fitted.mean[at], moments.mean[at])
            assert torch.equal(fitted.std[at], moments.std[at])
            assert part.intervention.name == (
                "range-excite" if (answered == "right") == (mode == "enhance") else "range"
            )
            seen.add((mode, answered))
    assert {answered for _, answered in seen} == {"right", "wrong"}


def test_what_was_learned_is_stored(finished, model, tmp_path, monkeypatch):
    """One unit a scorer; neither going on with the run nor loading it learns or asks anything again."""
    path = shutil.copytree(where(finished), tmp_path / "copy")
    (path / "results.json").unlink()
    before = units(path)
    assert {name.rsplit(".", 2)[0] for name in before if name.startswith("fits/")} == {
        *("fits/sentiment.ace", "fits/sentiment.act")
    }

    def busy(*_: Any, **__: Any) -> None:
        raise AssertionError("something is computed")

    monkeypatch.setattr(HookedModel, "forward", busy)
    na.run(model, ["sentiment"], ["ace", "act"], out=path, **BOTH)
    assert not made(path, before)
    assert same_results(path, where(finished))
    for part in na.load_run(path).edits["sentiment"]["ace"]["enhance"].parts:
        assert part.intervention.fitted


def test_another_width_is_computed_anew(finished, model, tmp_path):
    """What one tau did is not taken for what another does; what was learned of values does not hang on it."""
    path = shutil.copytree(where(finished), tmp_path / "copy")
    before = units(path)
    how = {**BOTH, "options": {**BOTH["options"], "range": {"tau": 0.1}, "range-excite": {"tau": 0.1}}}
    for out in (path, tmp_path / "fresh"):
        na.run(model, ["sentiment"], ["ace", "act"], out=out, **how)
    assert {name.partition("/")[0] for name in made(path, before)} == {"fits", "answers", "text"}
    assert same_results(path, tmp_path / "fresh")
    assert not same_results(path, where(finished))


def test_infinite_ranges_from_the_command_line(call, words, model, tmp_path):
    """`-o range.tau=inf` is the whole neuron: the results of a plain run; its manifest repeats it."""
    whole = ("-o", "range.tau=inf", "-o", "range-excite.tau=inf")
    for out, given in {"inf": (*words, *whole), "again": ("--quiet", "--config", "inf/manifest.json")}.items():
        done = call("run", *given, "--out", out)
        assert (done.code, done.err) == (0, "")
    na.run(model, ["sentiment"], ["act"], out=tmp_path / "plain", **{**SIZES, "steps": 16})
    inf, again, plainly = ((tmp_path / out / "results.json").read_bytes() for out in ("inf", "again", "plain"))
    assert inf == again == plainly
    config, repeated = (
        json.loads((tmp_path / out / "manifest.json").read_text("utf-8"), parse_constant=pytest.fail)["config"]
        for out in ("inf", "again")
    )
    assert config == repeated
    assert (config["strengthen"], config["weaken"]) == ("range-excite", "range")
    assert {float(options["tau"]) for options in config["options"].values()} == {float("inf")}


def test_resuming_keeps_the_options(call, words, tmp_path):
    """`--resume --out` alone completes the run that is there: nothing of it is replaced by defaults."""
    call("run", *words, "-o", "range.tau=1.5", "--out", "x")
    files = ("manifest.json", "results.json", "neurons.csv")
    before = [(tmp_path / "x" / name).read_bytes() for name in files[1:]]
    done = call("run", "--quiet", "--resume", "--out", "x")
    assert (done.code, done.err) == (0, "")
    assert [(tmp_path / "x" / name).read_bytes() for name in files[1:]] == before
    other = call("run", "--quiet", "--resume", "--out", "x", "--weaken", "silence", "--strengthen", "excite")
    said = "x was run with other options, strengthen, weaken: its tables are replaced, what still fits is used\n"
    assert other.err == said


def test_an_infinite_width_from_python(model, tmp_path):
    """An infinite number is written into the manifest as a text, and read back as the number."""
    how = {**GATED, "options": {"range": {"tau": float("inf")}}}
    na.run(model, ["sentiment"], ["act"], out=tmp_path / "x", **how)
    config = json.loads((tmp_path / "x" / "manifest.json").read_text("utf-8"), parse_constant=pytest.fail)["config"]
    assert float(config["options"]["range"]["tau"]) == float("inf")
    assert na.load_run(tmp_path / "x").edits["sentiment"]["act"]["degrade"].parts[0].intervention.options.tau > 1e300


def test_a_narrower_run_in_the_same_directory(model, tmp_path):
    """Stored options of what is no longer asked for are left out; neurons of a file are resumed like any scorer."""
    na.run(model, ["sentiment"], ["ace", "act"], out=tmp_path / "x", **{**SIZES, "options": {"ace": {"z": 50}}})
    before = units(tmp_path / "x")
    na.run(model, ["sentiment"], ["act"], out=tmp_path / "x", resume=True)
    assert not made(tmp_path / "x", before)
    assert na.load_run(tmp_path / "x").manifest["config"]["options"] == {}


def test_published_neurons_are_resumed(call, checkpoint, tmp_path):
    """The same command with --resume computes nothing anew and says nothing."""
    (tmp_path / "n.csv").write_text("layer,neuron,role\n2,1,good\n1,1,bad\n", encoding="utf-8")
    sizes = ("--identify", "3", "--select", "4", "--evaluate", "4", "--budget", "2", "--quiet")
    words = ("run", "--task", "sentiment", "--neurons", "n.csv", *sizes, "--model", str(checkpoint), "--out", "x")
    first, again = call(*words), call(*words, "--resume")
    assert (first.code, again.code, again.err) == (0, 0, "")
    assert "read from x" in again.out


def test_a_check_that_fails_names_its_plugin(model):
    """Whatever a plugin's check raises, the line says whose it is."""

    class Odd(na.Scorer):
        """A scorer whose check fails."""

        name = "odd"

        def check(self, model, examples, site):
            raise KeyError("boom")

    with pytest.raises(na.PluginError, match=r"'odd' failed in check\(\): KeyError: 'boom'"):
        na.attribute(model, na.load_task("sentiment").split(1, 0, 1).identify, Odd(), budget=6)


def test_arrays_that_differ_anywhere_have_other_identities():
    """What an intervention has learned tells its results apart, as tensors and as long arrays."""

    def one(value: Any) -> Any:
        made = registry().make(na.Intervention, "range")
        made.table = value
        return identity(made)

    for make in (torch.zeros, np.zeros):
        first, second = make(5000), make(5000)
        second[2500] = 1
        assert one(first) != one(second)
        assert one(first) == one(make(5000))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--scorer", "neuronlens", "-o", "neuronlens.layers=[99]"), "neuronlens.layers=[99] names a block"),
        (("--scorer", "neuronlens", "-o", "neuronlens.concept=zzz"), "neuronlens.concept='zzz': none of the"),
        (("-o", "range.concept=zzz"), "range.concept='zzz': none of the"),
        (("--scorer", "tn", "-o", "tn.aggregation=t-test", "--identify", "1"), "'t-test' with one example"),
        (("--scorer", "qrnca", "-o", "qrnca.aggregation=ica", "--identify", "3"), "qrnca.aggregation='ica' with "),
    ],
)
def test_options_that_do_not_fit_are_found_while_planning(given, said, call, words, tmp_path):
    """What a model or the identification examples rule out is one line before anything is created."""
    assert said in refused(call, tmp_path, "run", *words, *given, "--out", "y")


@pytest.mark.parametrize("tau", ["-1", "nan", "wide", "-inf"])
def test_impossible_widths_on_the_command_line(tau, call, tmp_path):
    """A width that is none is one line before anything is created."""
    assert "option range.tau=" in refused(call, tmp_path, "run", *WORDS, "-o", f"range.tau={tau}", "--out", "x")


def test_options_of_ranges_that_are_not_used(call, tmp_path):
    """Options of an intervention that the run does not use are refused."""
    words = [word for word in WORDS if word not in ("--weaken", "range")]
    line = refused(call, tmp_path, "run", *words, "-o", "range.tau=1", "--out", "x")
    assert "options were given for 'range', which this run does not use" in line


def test_generation_uses_what_was_learned(finished, model, call):
    """`generate RUN` prints what a fitted edit generates."""
    words = ("--scorer", "ace", "--mode", "degrade", "--tokens", "5")
    done = call("generate", str(where(finished)), "the cat was", *words, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    stored = finished.edits["sentiment"]["ace"]["degrade"]
    expected = "".join(na.generate(model, "the cat was", stored, max_new_tokens=5))
    assert json.loads(done.out)["after"] == expected
    assert expected


@pytest.mark.parametrize("form", ["ia3", "checkpoint"])
def test_weights_can_not_be_gated(form, finished, call, tmp_path):
    """An export to weights of a gated edit is refused in one line; its neurons can be listed."""
    words = ("--scorer", "act", "--mode", "degrade", "--format", form, "--out", "x", "--quiet")
    line = refused(call, tmp_path, "export", str(where(finished)), *words)
    assert "intervention 'range' has no constant scale, which weights need" in line
    exported = na.export(finished, format="csv", out=tmp_path / "csv", scorer="act", mode="degrade")
    with (tmp_path / "csv" / "neurons.csv").open(encoding="utf-8", newline="") as file:
        assert {row["intervention"] for row in csv.DictReader(file)} == {"range"}
    assert (
        exported.effect
        == na.export(finished, format="json", out=tmp_path / "json", scorer="act", mode="degrade").effect
    )


def test_nothing_to_learn_from(model, tmp_path):
    """Where too few identification questions were answered rightly, good neurons have no range: one line says so."""
    said = "was given 1 questions answered rightly to learn ranges from; accepted: at least 2"
    with pytest.raises(na.RunError, match=said) as caught:
        na.run(model, ["sentiment"], ["act"], out=tmp_path / "x", **{**GATED, "identify": 2})
    assert "\n" not in str(caught.value)


# --- other sites ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("site", "gated"), [("up", True), ("resid_post", False), ("resid_post", True)])
def test_runs_at_other_sites(site, gated, model, tmp_path):
    """A run at another site scores, edits and stores the units of that site; its table is that of its stored edits."""
    how = {**(GATED if gated else SIZES), "site": site}
    result = na.run(model, ["sentiment"], ["ace"], out=tmp_path / "x", **how)
    loaded = na.load_run(tmp_path / "x")
    split = loaded.splits["sentiment"]
    for cell in loaded.table.rows:
        edit = loaded.edits["sentiment"][cell["scorer"]][cell["mode"]].fit(model, split.identify)
        assert edit.site == site
        assert na.evaluate(model, split.evaluate, edit).acc == pytest.approx(cell["acc_after"])
    with (tmp_path / "x" / "neurons.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["site"] for row in rows} == {site}
    assert str(result.table) == str(loaded.table)


@pytest.mark.parametrize("site", ["up", "resid_post"])
def test_other_sites_of_a_model_without_planted_neurons(site, tmp_path):
    """A tiny model's run at another site is refused as weights in one line, and exported as units of that site."""
    tiny_model = tiny.load("llama", torch.float32)
    how = {**SIZES, "budget": 6, "site": site}
    result = na.run(tiny_model, ["sentiment"], ["act"], out=tmp_path / "run", **how)
    chosen = {"scorer": "act", "mode": "enhance", "model": tiny_model}
    for form in ("ia3", "checkpoint"):
        with pytest.raises(na.UsageError, match=f"an edit at site '{site}' scales no input") as caught:
            na.export(result, format=form, out=tmp_path / "x", **chosen)
        assert "\n" not in str(caught.value)
    na.export(result, format="csv", out=tmp_path / "csv", **chosen)
    units = na.NeuronSet.load(tmp_path / "csv" / "neurons.csv")
    assert units.site == site
    assert units == result.attributions["sentiment"]["act"].good(6)


def test_an_unknown_site(call, tmp_path):
    """A site that the model lacks is one line before anything is created."""
    line = refused(call, tmp_path, "run", *WORDS, "--site", "posts", "--out", "x")
    assert "unknown site 'posts'; did you mean 'post'?" in line
