"""Continuations before and after an edit, and what `neuron show` says."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.method.describe import standing
from neuron_antagonism.runs.config import RunConfig

one_thread = tiny.one_thread

PROMPT = "w1 w2 w3"
NEURONS = na.NeuronSet.of([(0, 3), (1, 7), (2, 11), (2, 5)])


def text(model, edit=None, **options) -> str:
    return "".join(na.generate(model, PROMPT, edit, **{"max_new_tokens": 12, **options}))


def by_hand(model, edit=None, steps=12) -> list[int]:
    """Greedy tokens by full passes; `edit` at all positions, where a cache makes no difference."""
    ids = list(model.tokenizer(PROMPT)["input_ids"])
    for _ in range(steps):
        if edit is None:
            logits = model.last_logits([ids])
        else:
            with model.edited(edit):
                logits = model.last_logits([ids])
        ids.append(int(logits[0].argmax()))
    return ids[-steps:]


@pytest.fixture(scope="module")
def model():
    return tiny.load("llama", torch.float32, seed=3)


@pytest.mark.parametrize("positions", [None, "all"])
def test_greedy_text_is_the_argmax_of_full_passes(model, positions):
    """Token by token over a cache gives what full passes give, unedited and under an edit at all positions."""
    edit = None if positions is None else na.edit(NEURONS, "excite", positions=positions)
    tokens = by_hand(model, edit)
    end = model.tokenizer.eos_token_id
    expected = tokens[: tokens.index(end)] if end in tokens else tokens
    assert text(model, edit).split() == model.tokenizer.decode(expected).split()
    assert expected


def test_an_edit_changes_the_text_and_is_gone_between_pieces(model):
    """While pieces are taken the model is itself between them, also when generation is left half-way."""
    ids = model.encode(tiny.question(9)).ids
    before = model.last_logits([ids])
    edit = na.edit(na.NeuronSet.of([(layer, n) for layer in range(3) for n in range(24)]), "silence")
    pieces = na.generate(model, PROMPT, edit, max_new_tokens=5)
    next(pieces)
    assert torch.equal(model.last_logits([ids]), before)
    del pieces
    assert not model.is_edited
    assert text(model, edit) != text(model)


def test_temperature_and_seed(model):
    """Drawn text repeats with its seed and differs with another."""
    assert text(model, temperature=1.5, seed=1) == text(model, temperature=1.5, seed=1)
    assert len({text(model, temperature=1.5, seed=seed) for seed in range(5)}) > 1


def test_generation_ends_at_the_context():
    """No more is generated than the model's context holds."""
    model = tiny.shared("llama", torch.float32, max_position_embeddings=8)
    assert len(text(model, max_new_tokens=100, temperature=3.0, seed=1).split()) <= 5


@pytest.mark.parametrize(
    ("prompt", "options", "said"),
    [
        ("", {}, "is empty; accepted: some text"),
        ("w1 " * 70, {}, "is 70 tokens long; accepted: some text, shorter than 64 tokens"),
        (PROMPT, {"temperature": -1}, "temperature is -1; accepted: 0"),
        (PROMPT, {"temperature": float("inf")}, "temperature is inf"),
        (PROMPT, {"temperature": 1e-320}, "temperature is 1e-320"),
        (PROMPT, {"temperature": float("nan")}, "temperature is nan"),
        (PROMPT, {"max_new_tokens": 0}, "max_new_tokens is 0; accepted: a whole number from 1"),
        (PROMPT, {"seed": -1}, "seed is -1; accepted: a whole number from 0"),
        (PROMPT, {"seed": 2**63}, "seed is 9223372036854775808; accepted: a whole number from 0, below 2"),
        (PROMPT, {"seed": 0.5}, "seed is 0.5; accepted: a whole number from 0"),
    ],
)
def test_what_is_refused(prompt, options, said):
    """Wrong prompts and options are one line."""
    model = tiny.shared("llama", torch.float32, max_position_embeddings=64)
    with pytest.raises(na.AntagonismError, match=said):
        na.generate(model, prompt, **options)


# --- describe ------------------------------------------------------------------------------------------------------


def test_description_by_hand(model):
    """Values, their statistics by right letter, and effects equal those of single evaluations."""
    asked = [tiny.question(n, seed=n, answer=n % 2) for n in (8, 9, 10, 11, 12)]
    d = na.describe(model, 1, 7, asked, tokens=3)
    alone = na.edit(na.NeuronSet.of([(1, 7)]), "silence")
    effects, values = [], []
    for question in asked:
        found = []
        with model.writing([1], lambda v, layer, found=found: found.append(float(v[0, -1, 7])) or v):
            model.last_logits([model.encode(question).ids])
        values += found
        p = [na.evaluate(model, [question], e).option_probabilities[0, question.answer] for e in (None, alone)]
        effects.append(float(p[0] - p[1]))
    rows = {v.letter: v for v in d.values}
    assert set(rows) == {"all", "A", "B"}
    assert rows["all"].mean == pytest.approx(sum(values) / 5, abs=1e-6)
    assert rows["all"].effect == pytest.approx(sum(effects) / 5, abs=1e-5)
    assert rows["A"].questions == 3
    assert rows["A"].smallest == pytest.approx(min(values[0], values[2], values[4]), abs=1e-6)
    assert rows["B"].effect == pytest.approx((effects[1] + effects[3]) / 2, abs=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "opt", "gpt_neox", "bloom"])
def test_tokens_are_those_along_the_output_direction(name):
    """Adding much of a neuron's output direction to the residual stream raises the promoted tokens most."""
    model = tiny.shared(name, torch.float32)
    d = na.describe(model, 2, 4, [tiny.question(9)], tokens=5)
    assert [logit for _, logit in d.promoted] == sorted((logit for _, logit in d.promoted), reverse=True)
    assert d.promoted[0][1] > 0 > d.suppressed[0][1]
    question = model.encode(tiny.question(9)).ids
    with model.writing([2], lambda v, layer: torch.cat([v[..., :4], v[..., 4:5] + 1e4, v[..., 5:]], dim=-1)):
        up = model.last_logits([question])[0]
    with model.writing([2], lambda v, layer: torch.cat([v[..., :4], v[..., 4:5] - 1e4, v[..., 5:]], dim=-1)):
        down = model.last_logits([question])[0]
    strongest = model.tokenizer.decode([int((up - down).argmax())])
    assert strongest == d.promoted[0][0]


def test_standing(model):
    """Rank 1 is the highest score."""
    a = na.attribute(model, [tiny.question(9)], steps=2, budget=5)
    (best, *_), (worst, *_) = a.good(1), a.bad(1)
    assert standing(a, *best).rank == 1
    assert standing(a, *worst).rank == standing(a, *worst).neurons == 72
    assert standing(a, *best).score == float(a.scores.max())


# --- commands ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "r"
    na.run(tasks=["ner"], scorers=["ace", "tn"], identify=1, select=2, evaluate=4, steps=4, out=path)
    return path


def call(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0), *capsys.readouterr()


def test_generate_command(finished, monkeypatch, capsys):
    """Both sides, as text and as JSON; choices left open are listed."""
    prompt = "the cat"
    words = ["generate", str(finished), prompt, "--mode", "degrade", "--tokens", "6"]
    code, out, _ = call(monkeypatch, capsys, *words, "--scorer", "ace")
    assert code == 0
    assert "unedited" in out
    assert "degraded: ace on ner, edit at last" in out
    code, out, _ = call(monkeypatch, capsys, *words, "--scorer", "ace", "--positions", "all", "--json", "--quiet")
    found = json.loads(out)
    assert (found["task"], found["scorer"], found["mode"], found["positions"]) == ("ner", "ace", "degrade", "all")
    assert found["before"] == "".join(na.generate(na.load_model("demo"), prompt, max_new_tokens=6))
    code, _, err = call(monkeypatch, capsys, *words, "--quiet")
    assert (code, err) == (2, "error: the run has 2 scorers and none was chosen; accepted: ace, tn\n")
    code, _, err = call(monkeypatch, capsys, *words[:3], "--mode", "enhanced", "--scorer", "ace", "--quiet")
    assert code == 2
    assert "unknown mode of this run 'enhanced'; did you mean 'enhance'?" in err


def test_neuron_show_command(finished, monkeypatch, capsys):
    """Scores and ranks of every scorer, values and effect by right answer, tokens; as text and as JSON."""
    result = na.load_run(finished)
    (layer, neuron), *_ = result.attributions["ner"]["ace"].good(1)
    code, out, _ = call(monkeypatch, capsys, "neuron", "show", f"{layer}.{neuron}", str(finished))
    assert code == 0
    for said in (f"neuron {layer}.{neuron} of demo", "writes towards", "1 of 2,304", "Effect"):
        assert said in out
    code, out, _ = call(monkeypatch, capsys, "neuron", "show", f"{layer}.{neuron}", str(finished), "--json", "-q")
    found = json.loads(out)["tasks"]["ner"]
    assert found["scores"]["ace"] == asdict(standing(result.attributions["ner"]["ace"], layer, neuron))
    assert found["values"][0]["questions"] == 12


def test_the_group_alone_prints_its_help(monkeypatch, capsys):
    """`neuron` without a command is no error."""
    code, out, err = call(monkeypatch, capsys, "neuron")
    assert (code, err) == (0, "")
    assert "show" in out


def test_a_neuron_that_is_not_there_is_named_beside_a_run(finished, monkeypatch, capsys):
    """With a run's scores too, one line says which neurons there are."""
    code, _, err = call(monkeypatch, capsys, "neuron", "show", "9.75", str(finished), "-q")
    assert (code, err.count("\n")) == (2, 1)
    assert "neuron 9.75 does not exist in this model" in err


def test_the_runs_own_way_of_loading_is_kept(finished, monkeypatch, capsys):
    """`generate` and `neuron show` load the model as the run did, chat template and all."""
    from neuron_antagonism.model import load
    from neuron_antagonism.suites import result

    seen = []
    real, read = load.load_model, result.load_run

    def loaded(path):
        found = read(path)
        found.manifest["config"] |= {"dtype": "float64", "revision": "main"}
        return found

    def load_model(name, **options):
        seen.append((name, options["dtype"], options["revision"]))
        return real(name, dtype=options["dtype"])

    monkeypatch.setattr(load, "load_model", load_model)
    monkeypatch.setattr(result, "load_run", loaded)
    words = [str(finished), "the cat", "--mode", "degrade", "--scorer", "ace", "--tokens", "2", "-q"]
    assert call(monkeypatch, capsys, "generate", *words)[0] == 0
    assert call(monkeypatch, capsys, "neuron", "show", "0.0", str(finished), "-q", "--json")[0] == 0
    assert seen == [("demo", "float64", "main")] * 2


def test_what_is_said_now_goes_before_what_the_run_was_asked():
    """A device before a spread over several, another place without a revision, and no trust that is not asked for."""
    stored = {"device_map": "auto", "revision": "v1", "trust_remote_code": True, "dtype": "float64"}
    config = RunConfig.of(**stored)
    assert config.loading_again().items() >= {**stored, "trust_remote_code": False}.items()
    assert config.loading_again(device="cpu").items() >= {"device": "cpu", "device_map": None}.items()
    assert config.loading_again("here")["revision"] is None
    assert config.loading_again(trust_remote_code=True)["trust_remote_code"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["3-7"], "'3-7' names no neuron; accepted: layer and neuron, such as 3.117"),
        (["9.0", "--task", "ner"], "neuron 9.0 does not exist in this model; accepted: layers 0 to 5"),
        (["0.0", "--task", "nre"], "unknown task 'nre'; did you mean 'ner'?"),
        (["0.0", "no/run"], "holds no finished run"),
        (["0.0", "no/run", "--model", "demo"], "--model demo was given beside a run"),
        (["99999999999999999999.1"], "does not exist in this model"),
        (["9" * 5000 + ".1"], "names no neuron; accepted: layer and neuron"),
        (["0.0", "--model", ""], "the model's name is empty; accepted: 'demo'"),
    ],
)
def test_neuron_show_refuses(words, said, monkeypatch, capsys):
    """A wrong neuron, task or run is one line."""
    code, _, err = call(monkeypatch, capsys, "neuron", "show", *words, "--quiet")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_names_are_no_markup(tmp_path, monkeypatch, capsys):
    """What a terminal would show in another way is shown as it stands: a model's name, a task's, a token."""
    path = tiny.saved(tmp_path / "a[" / "b]")
    task = tiny.labelled(tmp_path)
    task.write_text(task.read_text().replace("name: mine", "name: x[red]y"))
    sizes = {"identify": 2, "select": 4, "evaluate": 4, "stratified": False, "budget": 5}
    run = na.run(model=str(path), tasks=[str(task)], scorers=["act"], out=tmp_path / "run", **sizes)
    for words in (("neuron", "show", "0.0", str(run.path)), ("generate", str(run.path), "w1", "--mode", "enhance")):
        code, out, _ = call(monkeypatch, capsys, *words, "-q")
        assert code == 0
        assert "x[red]y" in out
        assert words[0] == "generate" or f"of {path}\n" in "".join(out.splitlines(keepends=True)[:2])


def test_a_chat_tuned_model_is_asked_as_it_was_trained():
    """With a chat template the prompt is a user's message, and the continuation the reply to it."""
    words = tiny.tokenizer()
    words.chat_template = "{% for m in messages %}w5 {{ m['content'] }} w6{% endfor %}"
    chat = na.load_model(hf_model=tiny.hf("llama", torch.float32, 3), tokenizer=words, chat_template=True)
    plain = na.load_model(hf_model=tiny.hf("llama", torch.float32, 3), tokenizer=tiny.tokenizer())
    expected = "".join(na.generate(plain, f"w5 {PROMPT} w6", max_new_tokens=6))
    assert text(chat, max_new_tokens=6) == expected
    assert text(plain, max_new_tokens=6) != expected


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("results.json", "{}", "holds a damaged run"),
        ("results.json", "[]", "holds a damaged run"),
        ("manifest.json", "5", "holds no finished run"),
        ("manifest.json", '{"finished": true}', "holds results of schema None, not of a run of this version"),
    ],
)
def test_a_damaged_run_is_one_line(name, content, said, finished, tmp_path, monkeypatch, capsys):
    """Files of a run that hold something else are named as damage, not as an internal error."""
    import shutil

    shutil.copytree(finished, tmp_path / "r")
    (tmp_path / "r" / name).write_text(content)
    words = [str(tmp_path / "r"), "x", "--mode", "degrade", "-q"]
    code, _, err = call(monkeypatch, capsys, "generate", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
