"""What an edit does besides its purpose, against the bare module and sums by hand."""

from __future__ import annotations

import json
import math

import plain
import pytest
import tiny
import torch
from test_perplexity import TEXTS, doubled
from test_proofs import LONG_ROPE, Masked
from tokenizers import processors

import neuron_antagonism as na
from neuron_antagonism import tensors
from neuron_antagonism.demo import plain_text
from neuron_antagonism.method import perplexity as measured
from neuron_antagonism.method import side_effects as effects

one_thread = tiny.one_thread

UNITS = [(0, 2), (2, 5), (2, 2), (0, 5)]
"""What `doubled` doubles."""


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    tiny.exact_softmax(monkeypatch)


def excited(positions: str = "last", site: str = "post") -> na.Edit:
    return na.edit(na.NeuronSet.of(UNITS, site), "excite", positions=positions)


def by_hand(module, window: int = 512, site: str = "post", head: tuple[int, ...] = ()) -> tuple[float, float]:
    """KL and perplexity ratio of `doubled`, a window and a token at a time, from plain forwards."""
    kl, lost, count = 0.0, 0.0, 0
    for text in TEXTS:
        own = tiny.tokenizer()(text)["input_ids"]
        room = window - len(head)
        for start in range(0, len(own), room):
            ids = [*head, *own[start : start + room]]
            before = plain.logits(module, ids)
            with plain.writing(module, site, doubled):
                after = plain.logits(module, ids)
            for i in range(max(1, len(head)), len(ids)):
                p, q = (x[i - 1].double().softmax(-1) for x in (before, after))
                kl += float(torch.nn.functional.kl_div(q.log(), p, reduction="sum"))
                lost += math.log(float(p[ids[i]]) / float(q[ids[i]]))
                count += 1
    return kl / count, math.exp(lost / count)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_divergence_and_perplexity_are_those_of_plain_forwards(name, dtype):
    """Texts of many lengths padded into one batch give what each gives alone, whatever the edit's own positions."""
    kl, ratio = by_hand(tiny.hf(name, dtype))
    model = tiny.shared(name, dtype)
    for found in effects.plain_text_effects(model, TEXTS, [excited(), excited("all")]):
        assert found.kl == pytest.approx(kl, rel=1e-5, abs=1e-6)
        assert found.perplexity_ratio == pytest.approx(ratio, rel=1e-5)
        expected = na.perplexity(model, TEXTS, excited("all")) / na.perplexity(model, TEXTS)
        assert found.perplexity_ratio == pytest.approx(expected, rel=1e-6)
    assert kl > 1e-3
    assert not model.is_edited


@pytest.mark.parametrize("site", plain.GATED)
def test_it_acts_at_its_site(site):
    """At the other sites too the edit is the one of plain hooks."""
    kl, ratio = by_hand(tiny.hf("llama"), site=site)
    (found,) = effects.plain_text_effects(tiny.shared("llama"), TEXTS, [excited(site=site)])
    assert (found.kl, found.perplexity_ratio) == (pytest.approx(kl, rel=1e-6), pytest.approx(ratio, rel=1e-6))


@pytest.mark.parametrize("window", [2, 7])
def test_windows_are_those_of_perplexity(window, monkeypatch):
    """A long text is cut into windows; of each, what is given and not predicted counts nothing."""
    monkeypatch.setattr(measured, "WINDOW", window)
    kl, ratio = by_hand(tiny.hf("llama"), window)
    (found,) = effects.plain_text_effects(tiny.shared("llama"), TEXTS, [excited()])
    assert (found.kl, found.perplexity_ratio) == (pytest.approx(kl, rel=1e-6), pytest.approx(ratio, rel=1e-6))


def test_what_begins_a_text_stands_before_every_window(monkeypatch):
    """With a beginning-of-sequence token the first of a window's own tokens is predicted too."""
    monkeypatch.setattr(measured, "WINDOW", 8)
    words = tiny.tokenizer()
    words._tokenizer.post_processor = processors.TemplateProcessing(single="Answer $A", special_tokens=[("Answer", 1)])
    model = na.load_model(hf_model=tiny.hf("llama"), tokenizer=words)
    kl, ratio = by_hand(tiny.hf("llama"), 8, head=(1,))
    (found,) = effects.plain_text_effects(model, TEXTS, [excited()])
    assert (found.kl, found.perplexity_ratio) == (pytest.approx(kl, rel=1e-6), pytest.approx(ratio, rel=1e-6))


def test_texts_that_must_not_share_a_forward_do_not():
    """Where positions depend on a batch's length (LongRoPE), each window is read alone."""
    kl, ratio = by_hand(tiny.hf("phi3", torch.float32, **LONG_ROPE))
    (found,) = effects.plain_text_effects(tiny.load("phi3", torch.float32, **LONG_ROPE), TEXTS, [excited()])
    assert found.kl == pytest.approx(kl, rel=1e-4)
    assert found.perplexity_ratio == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("max_tokens", [1, 40, 10_000])
def test_the_size_of_a_batch_does_not_matter(max_tokens):
    """One window at a time or all at once: equal up to rounding, and told as it goes."""
    model, told = tiny.shared("llama"), []
    (found,) = effects.plain_text_effects(
        model, TEXTS, [excited()], max_tokens=max_tokens, progress=lambda *what: told.append(what)
    )
    (whole,) = effects.plain_text_effects(model, TEXTS, [excited()])
    assert found.kl == pytest.approx(whole.kl, rel=1e-12)
    assert found.perplexity_ratio == pytest.approx(whole.perplexity_ratio, rel=1e-12)
    assert told[-1] == ("plain text", 5, 5)


def test_a_batch_that_runs_out_of_memory_counts_once(monkeypatch):
    """A part that fails under an edit, its unedited half done, is divided and counted anew."""
    model = tiny.shared("llama")
    whole = effects.plain_text_effects(model, TEXTS, [excited()])
    real, sizes = model.forward, []

    def scarce(ids, **kwargs):
        if model.is_edited:
            sizes.append(len(ids))
            if len(ids) > 2:
                raise torch.OutOfMemoryError
        return real(ids, **kwargs)

    monkeypatch.setattr(model, "forward", scarce)
    (found,) = effects.plain_text_effects(model, TEXTS, [excited()])
    assert max(sizes) > 2
    assert found.kl == pytest.approx(whole[0].kl, rel=1e-12)


def test_an_edit_that_changes_nothing():
    """No divergence and no other perplexity, to the last bit: neurons times one, or no neurons."""

    class Same(na.Intervention):
        name = "same"

        def edit(self, values, layer, neurons):
            return values * 1.0

    edits = [na.edit(na.NeuronSet.of(UNITS), Same()), na.Edit(())]
    found = effects.plain_text_effects(tiny.shared("llama", torch.float32), TEXTS, edits)
    assert found == [effects.TextEffect(0.0, 1.0)] * 2
    assert effects.plain_text_effects(tiny.shared("llama"), TEXTS, []) == []


def test_masked_entries_of_the_vocabulary_count_nothing():
    """−inf before and after an edit is no divergence; the rest of the vocabulary is measured as it is."""
    module = tiny.hf("llama")
    module.lm_head.__class__ = Masked
    model = na.load_model(hf_model=module, tokenizer=tiny.tokenizer())
    texts = ["w1 w2 w3"]
    (found,) = effects.plain_text_effects(model, texts, [excited()])
    assert 0 < found.kl < math.inf
    assert found.perplexity_ratio == pytest.approx(
        na.perplexity(model, texts, excited("all")) / na.perplexity(model, texts), rel=1e-9
    )


@pytest.mark.parametrize(
    ("texts", "edits", "error", "said"),
    [
        ("w1 w2", [excited()], na.UsageError, "texts are 'w1 w2'; accepted: a list of texts"),
        (["w1"], [excited()], na.DataError, "no plain text of two tokens or more; accepted: at least one"),
        (TEXTS, excited(), na.UsageError, r"edits are .*; accepted: a list of edits"),
        (TEXTS, [None], na.UsageError, r"edits are \[None\]; accepted: a list of edits"),
        (TEXTS, [na.edit(na.NeuronSet.of([(9, 0)]), "silence")], na.AntagonismError, "accepted: "),
    ],
)
def test_what_is_refused(texts, edits, error, said):
    """One line names what was given and what is accepted."""
    with pytest.raises(error, match=said):
        effects.plain_text_effects(tiny.shared("llama"), texts, edits)


def test_an_edit_at_last_around_it_is_refused():
    """It would act on the end of a padded batch."""
    model = tiny.shared("llama")
    with model.edited(excited()), pytest.raises(na.UsageError, match=r"plain text under an edit at 'last' .*accepted"):
        effects.plain_text_effects(model, TEXTS, [excited()])


# --- which text ----------------------------------------------------------------------------------------------------


def test_the_embedded_sample():
    """Forty different plain sentences of 12 to 25 words."""
    sample = plain_text()
    assert len(set(sample)) == len(sample) == 40
    assert all(12 <= len(text.split()) <= 25 and text.endswith(".") and text.isascii() for text in sample)


@pytest.mark.parametrize(
    ("sample", "taken"), [("w1 w2 zz zz", True), ("w1 zz zz", False), ("zz", False), ("w1", True), ("", False)]
)
def test_a_text_that_the_tokenizer_does_not_know_is_not_taken(sample, taken, monkeypatch):
    """More than half unknown, or nothing at all: the run's own texts, each once, and the name of what was taken."""
    monkeypatch.setattr(effects, "plain_text", lambda: (sample,))
    expected = ((sample,), "embedded sample") if taken else (("b", "a"), "the examples' own texts")
    assert effects.chosen_text(tiny.shared("llama"), ["b", "a", "b"]) == expected


def test_the_demonstration_model_reads_its_own_texts():
    """Its closed vocabulary holds next to nothing of everyday English."""
    assert effects.chosen_text(na.load_model("demo"), ["the meal was good"])[1] == effects.OWN
    with pytest.raises(na.UsageError, match=r"texts are 'w1'; accepted: a list of texts"):
        effects.chosen_text(tiny.shared("llama"), "w1")


# --- answers and letters -------------------------------------------------------------------------------------------

QUESTIONS = [tiny.question(n, seed=n, answer=n % 4) for n in range(5, 17)]


class Held(na.Intervention):
    """A neuron at a large constant."""

    name = "held"

    def edit(self, values, layer, neurons):
        return torch.full_like(values, 1e4)


def pushed() -> tuple[na.HookedModel, na.Edit]:
    """A model of which one neuron writes C, and the edit that drives it."""
    module = tiny.hf("llama", seed=1)
    with torch.no_grad():
        module.model.layers[2].mlp.down_proj.weight[:, 7] = module.lm_head.weight[tiny.VOCABULARY.index("C")]
    return na.load_model(hf_model=module, tokenizer=tiny.tokenizer()), na.edit(na.NeuronSet.of([(2, 7)]), Held())


def test_an_edit_that_pushes_one_letter_shows():
    """Every answer becomes C: its questions turn right, all others wrong, and the counts say so."""
    model, edit = pushed()
    before, after = na.evaluate_many(model, QUESTIONS, [None, edit])
    examples, old = before.examples, before.chosen.tolist()
    found = effects.changes(examples, old, after.chosen.tolist())
    assert json.loads(json.dumps(found)) == found
    for number, letter in enumerate("ABCD"):
        right = sum(given == q.answer == number for given, q in zip(old, QUESTIONS, strict=True))
        assert found["by_letter"][letter] == {
            "questions": 3,
            "right_before": right,
            "right_after": 3 if letter == "C" else 0,
            "chosen_before": old.count(number),
            "chosen_after": 12 if letter == "C" else 0,
        }
    assert found["answers_changed"] == 1 - old.count(2) / 12
    assert 0 < found["answers_changed"] < 1


def test_letters_of_questions_of_many_sizes():
    """A letter that only some questions have, or that is never right, is listed; no change is no change."""
    two = na.Question("w1 w2 Answer:", ("a", "b"), 0)
    five = na.Question("w3 w4 Answer:", tuple("abcde"), 1)
    found = effects.changes([na.Example(None, (two, five))], [0, 4], [0, 4])
    assert found["answers_changed"] == 0
    rows = {
        letter: (row["right_after"], row["questions"], row["chosen_after"])
        for letter, row in found["by_letter"].items()
    }
    assert rows == {"A": (1, 1, 1), "B": (0, 1, 0), "C": (0, 0, 0), "D": (0, 0, 0), "E": (0, 0, 1)}


def test_every_question_is_compared():
    """Answers to fewer questions, or to more, are a mistake of the caller's."""
    examples = [na.Example(None, tuple(QUESTIONS[:3]))]
    for before, after in (([0, 1], [0, 1]), ([0, 1, 2], [0, 1]), ([0] * 4, [0] * 4)):
        with pytest.raises(ValueError, match="zip"):
            effects.changes(examples, before, after)


# --- what the ambiguity filter dropped -----------------------------------------------------------------------------


@pytest.mark.parametrize("scorer", ["ace", "tn"])
def test_what_was_dropped_as_ambiguous(scorer):
    """As many neurons as have a score only if they are kept, and their part of all absolute scores."""
    model = tiny.shared("llama")
    dropped, kept = (
        na.attribute(model, QUESTIONS[:4], scorer, options={"z": 15, "ambiguous": ambiguous}, budget=5)
        for ambiguous in ("drop", "keep")
    )
    gone = (dropped.scores == 0) & (kept.scores != 0)
    assert dropped.filtered is not None
    assert dropped.filtered.count == int(gone.sum()) > 0
    share = float(kept.scores[gone].abs().sum() / kept.scores.abs().sum())
    assert dropped.filtered.share == pytest.approx(share, rel=1e-5)
    assert kept.filtered is None
    assert f", {dropped.filtered.count} dropped as ambiguous)" in repr(dropped)
    assert "ambiguous" not in repr(kept)


def test_one_example_is_never_ambiguous():
    """The filter ran and dropped nothing, which is not the same as no filter."""
    found = na.attribute(tiny.shared("llama"), QUESTIONS[:1], "ace", options={"z": 15}, budget=5).filtered
    assert (found.count, found.share) == (0, 0.0)


class Summed(na.Scorer):
    """Has the options of additive reordering and does something else."""

    name = "summed"
    target = na.target_of("ace")

    def aggregate(self, example_scores, question_scores):
        return example_scores.double().sum(0)


@pytest.mark.parametrize(
    ("scorer", "options"),
    [("kn", {}), ("act", {}), ("random", {}), ("ablation", {}), ("tn", {"aggregation": "t-test"}), (Summed(), {})],
)
def test_other_aggregations_drop_nothing(scorer, options):
    """What was not additively reordered was not filtered."""
    assert na.attribute(tiny.shared("llama"), QUESTIONS[:4], scorer, options=options, budget=5).filtered is None


def test_what_was_dropped_is_saved_and_loaded(tmp_path):
    """It comes back, and so does that nothing was filtered; a file that holds something else is refused."""
    a = na.attribute(tiny.shared("llama"), QUESTIONS[:4], "ace", options={"z": 15}, budget=5)
    a.save(tmp_path)
    file = tmp_path / "attribution.safetensors"
    assert na.Attribution.load(file).filtered == a.filtered
    arrays, document = tensors.read(file)
    tensors.write(file, arrays, document | {"filtered": None})
    assert na.Attribution.load(file).filtered is None
    tensors.write(file, arrays, document | {"filtered": {"count": 1}})
    with pytest.raises(na.DataError, match="can't read scores"):
        na.Attribution.load(file)
