"""What is stored of single neurons for a report: values by answer and tokens, against hooks on the bare module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

import neuron_antagonism as na
from neuron_antagonism.errors import ModelError
from neuron_antagonism.method.describe import output_tokens
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.suites.directory import fetched
from neuron_antagonism.suites.result import load_run
from neuron_antagonism.units import described
from neuron_antagonism.units.described import EXAMPLES, TOKENS, groups_of, spread, strongest

one_thread = tiny.one_thread

SIZES: dict[str, Any] = {"identify": 2, "select": 2, "evaluate": 6, "budget": 8, "steps": 2}


def description(path: Path, scorer: str = "act") -> Payload:
    """The unit of a scorer."""
    return fetched(path, load_run(path).manifest["units"]["sentiment"]["described"][scorer])


def bare_values(
    path: Path, checkpoint: Path, task: str, layer: int, neuron: int
) -> tuple[list[float], list[na.Question]]:
    """One neuron's values at the last position of a run's questions, read by a hook on transformers' own module."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    found: list[float] = []
    place = model.model.layers[layer].mlp.down_proj
    handle = place.register_forward_pre_hook(lambda module, args: found.append(float(args[0][0, -1, neuron])))
    questions = [q for example in spread(load_run(path).splits[task].evaluate) for q in example.proxies]
    with torch.no_grad():
        for question in questions:
            model(**tokenizer(question.prompt, return_tensors="pt"))
    handle.remove()
    return found, questions


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("described") / "run"
    na.run(str(checkpoint), ["sentiment"], ["ace", "act", "random"], out=out, **SIZES)
    return out


def test_values_by_hand(run, checkpoint):
    """Mean and standard deviation of all questions, by letter and by option, are those of hooks on the bare module."""
    payload = description(run, "ace")
    arrays, groups = payload.arrays, payload.meta["groups"]
    for row in (0, len(arrays["layers"]) - 1):
        values, questions = bare_values(
            run, checkpoint, "sentiment", int(arrays["layers"][row]), int(arrays["neurons"][row])
        )
        told = {"all": ["all"] * len(questions), "option": [q.options[q.answer] for q in questions]}
        told["letter"] = [q.letters[q.answer] for q in questions]
        assert {by for by, _, _ in groups} == set(told)
        for column, (by, name, n) in enumerate(groups):
            own = torch.tensor([v for v, one in zip(values, told[by], strict=True) if one == name], dtype=torch.float64)
            assert len(own) == n
            assert float(arrays["mean"][row, column]) == pytest.approx(float(own.mean()), abs=1e-5)
            assert float(arrays["std"][row, column]) == pytest.approx(float(own.std(correction=0)), abs=1e-5)


def test_tokens_by_hand(run, checkpoint):
    """Tokens are those of the neuron's column of the output projection through the bare module's norm and head."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    payload = description(run, "ace")
    arrays, texts = payload.arrays, payload.meta["tokens"]
    for row in range(0, len(arrays["layers"]), 5):
        column = model.model.layers[int(arrays["layers"][row])].mlp.down_proj.weight[:, int(arrays["neurons"][row])]
        logits = model.lm_head(model.model.norm(column)).detach()
        for side, largest in (("promoted", True), ("suppressed", False)):
            expected = logits.topk(TOKENS, largest=largest)
            assert arrays[f"{side}_logits"][row] == pytest.approx(expected.values.numpy(), abs=6e-4)
            assert [texts[i] for i in arrays[side][row]] == [tokenizer.decode([i]) for i in expected.indices.tolist()]


def test_which_are_described(run, monkeypatch):
    """The strongest neurons of each scorer that does not draw, in the order of their places; no more of each role."""
    result = load_run(run)
    for name in ("ace", "act"):
        arrays, own = description(run, name).arrays, result.attributions["sentiment"][name]
        roles = [own.good, own.bad] if name == "ace" else [own.good]
        pairs = list(zip(arrays["layers"].tolist(), arrays["neurons"].tolist(), strict=True))
        assert pairs == sorted({pair for chosen in roles for pair in chosen(8)})
        monkeypatch.setattr(described, "DEPTH", 3)
        chosen = strongest(fetched(run, result.manifest["units"]["sentiment"]["neurons"][name]))
        assert chosen == sorted({pair for chosen in roles for pair in chosen(3)})
        monkeypatch.undo()
    assert set(result.manifest["units"]["sentiment"]["described"]) == {"ace", "act"}


def test_another_scorer_changes_nothing(run, checkpoint, tmp_path):
    """What is told of a scorer's neurons does not hang on who was looked at beside it."""
    na.run(str(checkpoint), ["sentiment"], ["act"], out=tmp_path / "r", **SIZES)
    alone, beside = description(tmp_path / "r"), description(run, "act")
    assert alone.meta == beside.meta
    assert all((alone.arrays[name] == beside.arrays[name]).all() for name in beside.arrays)


def test_a_scorer_without_neurons(checkpoint, tmp_path):
    """Where a scorer gave no neuron a score, there is nothing to describe."""

    class Silent(na.Scorer):
        name = "silent"
        target = None

        def aggregate(self, example_scores, question_scores):
            return torch.zeros_like(example_scores[0])

    na.run(str(checkpoint), ["sentiment"], [Silent()], out=tmp_path / "r", **SIZES)
    found = description(tmp_path / "r", "silent")
    assert (found.meta["groups"], dict(found.arrays)) == ([], {})


def test_the_same_neurons_are_told_the_same_as_by_show(run, checkpoint):
    """What is stored equals what `describe` says of one neuron on the same questions."""
    payload = description(run, "ace")
    examples = spread(load_run(run).splits["sentiment"].evaluate)
    pair = (int(payload.arrays["layers"][3]), int(payload.arrays["neurons"][3]))
    found = na.describe(na.load_model(str(checkpoint)), *pair, examples, tokens=TOKENS)
    rows = {name: i for i, (by, name, _) in enumerate(payload.meta["groups"]) if by != "option"}
    assert {one.letter for one in found.values} == set(rows)
    for one in found.values:
        assert one.mean == pytest.approx(float(payload.arrays["mean"][3, rows[one.letter]]), abs=1e-6)
    assert [text for text, _ in found.promoted] == [payload.meta["tokens"][i] for i in payload.arrays["promoted"][3]]


def test_units_of_the_residual_stream(checkpoint, tmp_path):
    """They have values and no tokens, and the reason is kept."""
    na.run(str(checkpoint), ["sentiment"], ["act"], out=tmp_path / "r", site="resid_post", **SIZES)
    payload = description(tmp_path / "r")
    assert "no output vector" in payload.meta["reason"]
    assert "promoted" not in payload.arrays
    assert payload.arrays["mean"].shape == (len(payload.arrays["layers"]), len(payload.meta["groups"]))


def test_in_memory_nothing_is_described(checkpoint, monkeypatch):
    """A run without a directory, of which no report can be made, does not look at neurons."""
    monkeypatch.setattr(described.Describing, "make", lambda *_: pytest.fail("described"))
    na.run(str(checkpoint), ["sentiment"], ["act"], **SIZES)


def test_a_model_that_can_not_be_told_in_tokens(checkpoint, tmp_path, monkeypatch):
    """A run of it goes on, and the reason is kept."""

    def fails(*_: Any) -> None:
        raise ModelError("no unembedding; accepted: one")

    monkeypatch.setattr(described, "output_tokens", fails)
    na.run(str(checkpoint), ["sentiment"], ["act"], out=tmp_path / "r", **SIZES)
    assert description(tmp_path / "r").meta["reason"] == "no unembedding; accepted: one"


def test_a_head_of_another_width_is_refused(monkeypatch):
    """An unembedding that does not take what neurons write is named."""
    model = tiny.load("llama", torch.float32)
    head = torch.nn.Linear(model.bridge.original_model.config.hidden_size + 1, 7)
    monkeypatch.setattr(model.bridge.original_model, "get_output_embeddings", lambda: head)
    with pytest.raises(
        ModelError, match="what neurons write can't be told in tokens; accepted: a model with a final norm"
    ):
        output_tokens(model, [(0, 1)], 3)


def test_a_piece_of_a_character_is_named_by_its_number(monkeypatch):
    """A token that is no text by itself can be told from another one."""
    model = tiny.load("llama", torch.float32)
    monkeypatch.setattr(type(model.tokenizer), "decode", lambda self, ids: "\N{REPLACEMENT CHARACTER}")
    ((promoted, _),) = output_tokens(model, [(0, 1)], 3)
    assert len({text for text, _ in promoted}) == 3
    assert all(text.startswith("\N{REPLACEMENT CHARACTER} (token ") for text, _ in promoted)


def test_spread_over_a_set():
    """No more than asked for, from the first on in equal steps; all of a small set."""
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]  # type: ignore[arg-type]
    assert spread(list(range(3)), 4) == [0, 1, 2]  # type: ignore[arg-type]
    assert len(spread(list(range(1000)))) == EXAMPLES  # type: ignore[arg-type]


def test_groups():
    """By letter always, by option where they are few and not each question's own; of words by option alone."""
    asked = [na.Question(f"{i}?", ("yes", "no"), i % 2) for i in range(6)]
    assert groups_of(asked) == [
        *(("all", "all", [0, 1, 2, 3, 4, 5]), ("letter", "A", [0, 2, 4]), ("letter", "B", [1, 3, 5])),
        *(("option", "no", [1, 3, 5]), ("option", "yes", [0, 2, 4])),
    ]
    own = [na.Question(f"{i}?", (f"yes {i}", "no"), 0) for i in range(6)]
    assert [by for by, _, _ in groups_of(own)] == ["all", "letter"]
    words = [na.Question(f"{i}?", ("yes", "no"), 0, form="words") for i in range(2)]
    assert [by for by, _, _ in groups_of(words)] == ["all", "option"]
