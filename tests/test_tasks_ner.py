"""NER from Few-NERD files."""

from __future__ import annotations

import pytest

import neuron_antagonism as na
from neuron_antagonism_plugins.ner import TYPES, Ner, mentions, sentences


def write(tmp_path, text):
    path = tmp_path / "few.txt"
    path.write_text(text, encoding="utf-8")
    return path


def items(path, seed=0):
    return list(Ner().examples(str(path), seed))


def test_item_of_a_sentence(tmp_path):
    path = write(tmp_path, "The\tO\nSan\torganization-government/agency\nDiego\torganization-government/agency\n.\tO\n")
    (item,) = items(path)
    assert item.text == "The San Diego ."
    assert item.meta == {"mention": "San Diego"}
    assert item.answer == "organization"
    assert set(item.distractors) == set(TYPES) - {"organization"}


def test_tabs_and_runs_of_spaces_are_one(tmp_path):
    tabs = list(sentences(write(tmp_path, "Rome\tlocation-GPE\nfell\tO\n\nHe\tO\nran\tO\n")))
    spaces = list(sentences(write(tmp_path, "Rome    location-GPE\nfell O \n\nHe   O\nran  O")))
    assert tabs == spaces == [[("Rome", "location-GPE"), ("fell", "O")], [("He", "O"), ("ran", "O")]]


def test_tokens_may_hold_blanks_other_than_tab_and_space(tmp_path):
    path = write(tmp_path, "8\u00a01/2\tart-film\nwon\tO\n")
    assert next(sentences(path))[0] == ("8\u00a01/2", "art-film")


def test_several_blank_lines_separate_once(tmp_path):
    assert len(list(sentences(write(tmp_path, "\n\na\tO\n\n\t\n\nb\tO\n\n\n")))) == 2


@pytest.mark.parametrize(
    ("label", "coarse"),
    [
        ("organization-government/governmentagency", "organization"),
        ("other-a-b-c", "other"),
        ("location-road/railway/highway/transit", "location"),
    ],
)
def test_label_splits_on_the_first_hyphen(label, coarse):
    assert mentions([("X", label)]) == {"X": coarse}


def test_adjacent_tokens_of_one_label_are_one_entity():
    sentence = [("New", "location-GPE"), ("York", "location-GPE"), ("Hudson", "location-bodiesofwater")]
    assert mentions(sentence) == {"New York": "location", "Hudson": "location"}
    apart = [("Rome", "location-GPE"), ("and", "O"), ("Oslo", "location-GPE")]
    assert mentions(apart) == {"Rome": "location", "Oslo": "location"}


def test_surface_with_two_types_is_skipped():
    twice = [("Ford", "person-other"), ("drove", "O"), ("Ford", "product-car")]
    assert mentions(twice) == {}
    assert mentions([*twice, ("to", "O"), ("Rome", "location-GPE")]) == {"Rome": "location"}
    same_coarse = [("Ford", "person-other"), ("met", "O"), ("Ford", "person-actor")]
    assert mentions(same_coarse) == {"Ford": "person"}


def test_sentence_without_a_mention_gives_no_item(tmp_path):
    assert items(write(tmp_path, "He\tO\nran\tO\n")) == []


def test_one_mention_chosen_by_seed_and_content(tmp_path):
    sentence = "Rome\tlocation-GPE\nbeat\tO\nVerdi\tperson-artist/author\nin\tO\nMacbeth\tart-music\n"
    path = write(tmp_path, sentence)
    chosen = {seed: items(path, seed)[0].meta["mention"] for seed in range(40)}
    assert set(chosen.values()) == {"Rome", "Verdi", "Macbeth"}
    assert chosen == {seed: items(path, seed)[0].meta["mention"] for seed in range(40)}
    later = write(tmp_path, "Oslo\tlocation-GPE\nwon\tO\n\n" + sentence)
    assert chosen == {seed: items(later, seed)[1].meta["mention"] for seed in range(40)}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("Paris", "'Paris'"),
        ("\tO", "'\\tO'"),
        ("New York\tlocation-GPE", "New York"),
        ("Paris\tB-location", "'B-location'"),
        ("Paris\tlocation", "'location'"),
        ("Paris\tlocation-", "'location-'"),
        ("Paris\tplace-city", "'place-city'"),
        ("Paris\to", "'o'"),
        ("Paris\tO-GPE", "'O-GPE'"),
    ],
)
def test_malformed_line(tmp_path, line, found):
    path = write(tmp_path, f"He\tO\n\n{line}\n")
    with pytest.raises(na.DataError) as caught:
        items(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 3: found ")
    assert found in message
    assert "`O` or coarse-fine" in message


def test_long_lines_are_cut_in_errors(tmp_path):
    with pytest.raises(na.DataError) as caught:
        items(write(tmp_path, "x" * 5000))
    assert len(str(caught.value)) < 500
