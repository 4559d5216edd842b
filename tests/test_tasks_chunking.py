"""Chunking from CoNLL-2000 files, and the wrong divisions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import neuron_antagonism as na
from neuron_antagonism_plugins.chunking import (
    LONGEST,
    OUTSIDE,
    PHRASES,
    SHORTEST,
    Chunk,
    Chunking,
    _merges,
    _relabels,
    _shifts,
    _splits,
    bracketed,
    sentences,
    simplified,
    words_of,
)

KINDS = (_shifts, _merges, _splits, _relabels)
DOG = "the DT B-NP\nold JJ I-NP\ndog NN I-NP\nran VBD B-VP\n. . O\n"
DOG_CHUNKS = (Chunk("NP", ("the", "old", "dog")), Chunk("VP", ("ran",)))


def write(tmp_path, text):
    path = tmp_path / "conll.txt"
    path.write_text(text, encoding="utf-8")
    return path


def items(path, seed=0):
    return list(Chunking().examples(str(path), seed))


def phrase(label, n, word="w"):
    return Chunk(label, tuple(f"{word}{i}" for i in range(n)))


def test_item_of_a_sentence(tmp_path):
    (item,) = items(write(tmp_path, DOG))
    assert item.text == "the old dog ran"
    assert item.answer == "[NP the old dog] [VP ran]"
    assert len(set(item.distractors)) == 3
    assert item.answer not in item.distractors


def edits(one, other):
    """Whether one of two divisions is the other changed in one place."""
    pairs = ((one, other), (other, one))
    return any(bracketed(b) in {bracketed(each) for kind in KINDS for each in kind(a)} for a, b in pairs)


def test_the_right_division_is_a_hub_as_often_as_a_wrong_one(tmp_path):
    """One option is near all others, and it is the right one in a quarter of the draws."""
    path = write(tmp_path, "the DT B-NP\nold JJ I-NP\ndog NN I-NP\nwill MD B-VP\nrun VB I-VP\nfast RB B-ADVP\n")
    right = bracketed(next(iter(sentences(path))))
    hubs = []
    for seed in range(400):
        (item,) = items(path, seed)
        options = [parsed(text) for text in (item.answer, *item.distractors)]
        assert len({bracketed(one) for one in options}) == 4
        near = [all(one is other or edits(one, other) for other in options) for one in options]
        assert any(near)
        hubs.append(near[0] / sum(near))
        assert bracketed(options[0]) == right
    assert 0.2 < sum(hubs) / len(hubs) < 0.3


def parsed(text):
    """The division that a text shows, all of whose words are in phrases."""
    parts = [part.split() for part in text.strip("[]").split("] [")]
    return tuple(Chunk(label, tuple(words)) for label, *words in parts)


def test_no_rule_that_does_not_read_finds_the_right_division():
    """Medoid, longest and most frequent stay near a guess on the embedded sample."""
    blind = na.load_task("chunking").split(5, 5, 20).natural.blind
    assert set(blind) == {"medoid", "longest", "frequent"}
    assert max(blind.values()) <= 0.3


def test_begin_starts_a_new_chunk_of_the_same_type(tmp_path):
    (sentence,) = sentences(write(tmp_path, "Corp. NNP B-NP\n's POS B-NP\nunit NN I-NP\nand CC O\n"))
    assert sentence == (Chunk("NP", ("Corp.",)), Chunk("NP", ("'s", "unit")), Chunk(OUTSIDE, ("and",)))


def test_sentences_are_separated_by_blank_lines(tmp_path):
    assert len(list(sentences(write(tmp_path, f"{DOG}\n{DOG}\n\n{DOG.rstrip()}")))) == 3


def test_punctuation_goes_inside_phrases_too_and_signs_that_are_read_stay():
    sentence = (
        Chunk(OUTSIDE, ("``",)),
        Chunk("NP", ("$", "5", "``", "million", "*")),
        Chunk("NP", ("7", "%")),
        Chunk("LST", ("--",)),
        Chunk("VP", ("is",)),
        Chunk(OUTSIDE, ("and",)),
        Chunk("NP", ("U.S.",)),
        Chunk(OUTSIDE, (".",)),
    )
    kept = simplified(sentence)
    assert bracketed(kept) == "[NP $ 5 million] [NP 7 %] [VP is] and [NP U.S.]"


@pytest.mark.parametrize(
    ("n", "kept"), [(SHORTEST - 1, False), (SHORTEST, True), (LONGEST, True), (LONGEST + 1, False)]
)
def test_length_counts_words_without_punctuation(n, kept):
    sentence = (phrase("NP", n), Chunk(OUTSIDE, (",",)), Chunk(OUTSIDE, (".",)))
    assert (simplified(sentence) is not None) == kept


@pytest.mark.parametrize("label", ["SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"])
def test_other_phrase_types_leave_the_sentence_out(label):
    assert simplified((phrase("NP", 4), phrase(label, 1))) is None


@pytest.mark.parametrize("label", PHRASES)
def test_five_phrase_types_are_kept(label):
    assert simplified((phrase("NP", 4), phrase(label, 1))) is not None


def test_sentence_without_a_phrase_is_left_out():
    assert simplified(tuple(Chunk(OUTSIDE, (word,)) for word in ["but", "and", "or", "nor"])) is None


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("dog NN", "'dog NN'"),
        ("dog NN B-NP extra", "extra"),
        ("dog NN NP", "'NP'"),
        ("dog NN B-", "'B-'"),
        ("dog NN E-NP", "'E-NP'"),
        ("dog NN I-VP", "'I-VP'"),
        ("dog NN o", "'o'"),
    ],
)
def test_malformed_line(tmp_path, line, found):
    path = write(tmp_path, f"{DOG}\nthe DT B-NP\n{line}\n")
    with pytest.raises(na.DataError) as caught:
        items(path)
    assert str(caught.value).startswith(f"{path}, line 8: found ")
    assert found in str(caught.value)


@pytest.mark.parametrize("before", ["", ", , O\n"])
def test_inside_tag_must_continue_a_chunk(tmp_path, before):
    with pytest.raises(na.DataError, match="found 'I-NP'"):
        items(write(tmp_path, f"{before}dog NN I-NP\n"))


def test_seed_and_content_decide_alone(tmp_path):
    lone = [items(write(tmp_path, DOG), seed)[0] for seed in range(20)]
    after = [items(write(tmp_path, DOG.replace("dog", "cat") + "\n" + DOG), seed)[1] for seed in range(20)]
    assert lone == after
    assert len({item.distractors for item in lone}) > 1


def test_alternatives_are_of_four_kinds():
    """Over seeds, each kind occurs; within one sentence that allows all, each occurs once."""
    shifts = {"[NP the old] [VP dog ran]"}
    merges = {"[NP the old dog ran]", "[VP the old dog ran]"}
    splits = {"[NP the] [NP old dog] [VP ran]", "[NP the old] [NP dog] [VP ran]"}
    for seed in range(30):
        found = {bracketed(each) for each in Chunking().alternatives(DOG_CHUNKS, random.Random(seed))}
        relabelled = found - shifts - merges - splits
        assert [len(found & kind) for kind in (shifts, merges, splits)] == [1, 1, 1]
        assert len(relabelled) == 1
        assert relabelled <= {
            *(f"[{label} the old dog] [VP ran]" for label in PHRASES),
            *(f"[NP the old dog] [{label} ran]" for label in PHRASES),
        }


class Repeating(Chunking):
    """Another generator, which repeats itself and the right division."""

    def alternatives(self, chunks, rng):
        return [chunks, *super().alternatives(chunks, rng), *super().alternatives(chunks, rng)]


class Rewording(Chunking):
    """Another generator, which changes the words."""

    def alternatives(self, chunks, rng):
        return [(Chunk("NP", ("a", "cat")),)]


def test_generator_can_be_overridden(tmp_path):
    (item,) = Repeating().examples(str(write(tmp_path, DOG)), 0)
    assert len(item.distractors) == len(set(item.distractors))
    assert item.answer not in item.distractors
    with pytest.raises(na.PluginError, match=r"alternatives\(\) gave '\[NP a cat\]'"):
        list(Rewording().examples(str(write(tmp_path, DOG)), 0))


chunk = st.one_of(
    st.builds(Chunk, st.sampled_from(PHRASES), st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(tuple)),
    st.builds(Chunk, st.just(OUTSIDE), st.sampled_from("abcd").map(lambda word: (word,))),
)
divisions = st.lists(chunk, min_size=1, max_size=10).map(tuple).filter(lambda chunks: simplified(chunks) is not None)


@given(chunks=divisions, seed=st.integers(0, 2**32))
def test_alternatives_cover_the_same_words_and_differ(chunks, seed):
    """Also where words repeat and neighbours have one type, so that different edits may look the same."""
    found = Chunking().alternatives(chunks, random.Random(seed))
    shown = [bracketed(each) for each in found]
    assert len(found) >= 3
    assert len(set(shown)) == len(shown)
    assert bracketed(chunks) not in shown
    for each in found:
        assert words_of(each) == words_of(chunks)
        assert all(label in PHRASES or (label == OUTSIDE and len(words) == 1) for label, words in each)
        assert all(words for _, words in each)


@given(chunks=divisions, seed=st.integers(0, 2**32))
def test_alternatives_depend_on_the_seed_alone(chunks, seed):
    first, second = (Chunking().alternatives(chunks, random.Random(seed)) for _ in range(2))
    assert first == second
