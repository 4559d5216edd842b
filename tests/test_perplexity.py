"""Perplexity against the bare module: windows, contexts, edits, batches."""

from __future__ import annotations

import math
from contextlib import nullcontext

import plain
import pytest
import tiny
import torch
from tokenizers import processors

import neuron_antagonism as na
from neuron_antagonism.method import perplexity as measured

one_thread = tiny.one_thread

LENGTHS = (5, 1, 17, 2, 9, 30)
TEXTS = [" ".join(tiny.question(n, seed=n).prompt.split()[:n]) for n in LENGTHS]


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    tiny.exact_softmax(monkeypatch)


def by_hand(module, window: int, site: str = "post", write=None, texts=TEXTS) -> float:
    """exp of the mean negative log-probability of every token but the first of each window."""
    lost = []
    with plain.writing(module, site, write) if write is not None else nullcontext():
        for text in texts:
            ids = tiny.tokenizer()(text)["input_ids"]
            for start in range(0, len(ids), window):
                part = ids[start : start + window]
                log_p = plain.logits(module, part).log_softmax(-1)
                lost += [-float(log_p[i, token]) for i, token in enumerate(part[1:])]
    return math.exp(sum(lost) / len(lost))


def doubled(x: torch.Tensor, layer: int) -> torch.Tensor:
    """Units 2 and 5 of the blocks 0 and 2 doubled, at every position."""
    new = x.clone()
    if layer != 1:
        new[..., [2, 5]] *= 2
    return new


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "gemma2", "bloom", "opt", "gpt_neo"])
def test_it_is_that_of_the_bare_module(name):
    """Texts of many lengths, some of a single token, padded into one batch, give what each gives alone."""
    expected = by_hand(tiny.hf(name), measured.WINDOW)
    assert na.perplexity(tiny.shared(name), TEXTS) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("window", [2, 7, 512])
def test_long_texts_are_cut_into_windows(window, monkeypatch):
    """A text longer than a window is read in windows, of which each gives its first token for nothing."""
    monkeypatch.setattr(measured, "WINDOW", window)
    expected = by_hand(tiny.hf("llama"), window)
    assert na.perplexity(tiny.shared("llama"), TEXTS) == pytest.approx(expected, rel=1e-9)


def test_windows_fit_the_context():
    """Where the model's context is shorter than a window, the context is the window."""
    model = tiny.shared("gpt2", n_positions=8)
    expected = by_hand(tiny.hf("gpt2", n_positions=8), 8)
    assert na.perplexity(model, TEXTS) == pytest.approx(expected, rel=1e-9)
    assert expected != pytest.approx(by_hand(tiny.hf("gpt2", n_positions=8), 4), rel=1e-3)


@pytest.mark.parametrize("site", plain.GATED)
def test_an_edit_acts_at_every_position(site):
    """Under an edit at all positions the loss is the one under plain hooks that edit every position."""
    model = tiny.shared("llama")
    edit = na.edit(na.NeuronSet.of([(0, 2), (2, 5), (2, 2), (0, 5)], site), "excite", positions="all")
    expected = by_hand(tiny.hf("llama"), measured.WINDOW, site, doubled)
    assert na.perplexity(model, TEXTS, edit) == pytest.approx(expected, rel=1e-9)
    with model.edited(edit):
        assert na.perplexity(model, TEXTS) == pytest.approx(expected, rel=1e-9)
    assert not model.is_edited
    assert na.perplexity(model, TEXTS) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("max_tokens", [1, 40, 10_000])
def test_the_size_of_a_batch_does_not_matter(max_tokens):
    """One text at a time or all at once: equal up to rounding, and told as it goes."""
    model, told = tiny.shared("llama"), []
    found = na.perplexity(model, TEXTS, max_tokens=max_tokens, progress=lambda *what: told.append(what))
    assert found == pytest.approx(na.perplexity(model, TEXTS), rel=1e-12)
    assert told[-1] == ("perplexity", 5, 5)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


def test_a_hopeless_loss_is_large_and_finite():
    """Where every token is all but impossible the result is a number that JSON can hold."""
    module = tiny.hf("llama")
    with torch.no_grad():
        module.lm_head.weight *= 1e5
    found = na.perplexity(na.load_model(hf_model=module, tokenizer=tiny.tokenizer()), TEXTS)
    assert found == math.exp(700)


def test_losses_that_are_no_numbers_are_refused():
    """A model that gives NaN is an error that names its dtype."""
    module = tiny.hf("llama", torch.float32)
    model = na.load_model(hf_model=module, tokenizer=tiny.tokenizer())
    with torch.no_grad():
        module.lm_head.weight[3] = float("nan")
    with pytest.raises(na.ModelError, match=r"gives logits that are not finite \(dtype torch.float32\)"):
        na.perplexity(model, TEXTS)


@pytest.mark.parametrize("texts", [[], [""], ["w1", "w2", ""]])
def test_texts_of_nothing_are_refused(texts):
    """Without a token to predict there is no perplexity."""
    with pytest.raises(na.DataError, match="no plain text of two tokens or more; accepted: at least one"):
        na.perplexity(tiny.shared("llama"), texts)


def test_a_text_in_place_of_texts_is_refused():
    """A single text is no list of texts: its letters are not read one by one, each after a token that begins texts."""
    words = tiny.tokenizer()
    words._tokenizer.post_processor = processors.TemplateProcessing(single="<unk> $A", special_tokens=[("<unk>", 0)])
    model = na.load_model(hf_model=tiny.hf("llama"), tokenizer=words)
    assert na.perplexity(model, ["w1"]) > 1
    with pytest.raises(na.AntagonismError, match=r"text.*; accepted: "):
        na.perplexity(model, "w1 w2 w3")


def test_an_edit_at_the_last_position_is_refused():
    """A pass over whole texts has no last position to edit: given, or active around it."""
    model, edit = tiny.shared("llama"), na.edit(na.NeuronSet.of([(0, 2)]), "silence")
    said = r"perplexity under an edit at 'last' is not defined; accepted: edit.at\('all'\)"
    with pytest.raises(na.UsageError, match=said):
        na.perplexity(model, TEXTS, edit)
    with model.edited(edit), pytest.raises(na.UsageError, match=said):
        na.perplexity(model, TEXTS)


@pytest.mark.parametrize("max_tokens", [0, True, 1.5])
def test_an_impossible_batch_is_refused(max_tokens):
    """A forward takes at least one token."""
    with pytest.raises(na.UsageError, match=r"max_tokens is .*; accepted: a whole number of at least 1"):
        na.perplexity(tiny.shared("llama"), TEXTS, max_tokens=max_tokens)
