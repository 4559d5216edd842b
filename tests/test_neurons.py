"""Sets of neurons: order, operations, files."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import neuron_antagonism as na
from neuron_antagonism.neurons import check_count

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), unique=True, max_size=12)


def scored(rows: list[tuple[int, int, float]]) -> na.NeuronSet:
    return na.NeuronSet(
        torch.tensor([a for a, _, _ in rows]),
        torch.tensor([b for _, b, _ in rows]),
        torch.tensor([c for _, _, c in rows]),
    )


SET = scored([(2, 7, 3.5), (0, 1, -1.25), (1, 7, 0.0), (0, 4, 1e-30)])


def same_scores(a: na.NeuronSet, b: na.NeuronSet) -> bool:
    return torch.allclose(a.scores, b.scores, rtol=0, atol=0, equal_nan=True)


def test_order_is_kept_and_top_takes_from_the_front():
    """A set keeps the order it was given; top(k) is its first k, with their scores, or all of them."""
    assert list(SET) == [(2, 7), (0, 1), (1, 7), (0, 4)]
    assert list(SET.top(2)) == [(2, 7), (0, 1)]
    assert SET.top(2).scores.tolist() == [3.5, -1.25]
    assert SET.top(99) == SET
    assert len(SET.top(0)) == 0
    assert (0, 4) in SET
    assert (4, 0) not in SET


@given(pairs, pairs)
def test_operations_are_those_of_sets_in_the_left_ones_order(left, right):
    """Union, intersection and difference hold the right neurons, the left set's order first."""
    a, b = na.NeuronSet.of(left), na.NeuronSet.of(right)
    assert list(a | b) == left + [pair for pair in right if pair not in left]
    assert list(a & b) == [pair for pair in left if pair in right]
    assert list(a - b) == [pair for pair in left if pair not in right]


def test_operations_keep_each_neurons_own_score():
    """A neuron in both sets keeps the left score; a new one brings its own."""
    other = scored([(0, 1, 9.0), (5, 5, 8.0)])
    assert (SET | other).scores.tolist() == pytest.approx([3.5, -1.25, 0.0, 1e-30, 8.0])
    assert (SET & other).scores.tolist() == [-1.25]
    assert (other & SET).scores.tolist() == [9.0]
    assert (SET - other).scores.tolist() == pytest.approx([3.5, 0.0, 1e-30])


def test_equality_is_by_neurons_and_order():
    """Scores don't count, order does; a set is no dictionary key."""
    assert na.NeuronSet.of([(2, 7), (0, 1), (1, 7), (0, 4)]) == SET
    assert na.NeuronSet.of([(0, 1), (2, 7), (1, 7), (0, 4)]) != SET
    with pytest.raises(TypeError, match="unhashable"):
        hash(SET)


def test_by_layer_groups_in_order():
    """Neurons of each layer, layers ascending, within a layer as in the set."""
    found = {layer: neurons.tolist() for layer, neurons in SET.by_layer().items()}
    assert found == {0: [1, 4], 1: [7], 2: [7]}
    assert list(found) == [0, 1, 2]
    assert na.NeuronSet.of([]).by_layer() == {}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (([0, 1], [1], [0.0]), "columns of shapes"),
        (([[0]], [[1]], [[0.0]]), "three of one length"),
        (([0], [-1], [0.0]), "negative layer or neuron"),
        (([-1], [0], [0.0]), "negative layer or neuron"),
        (([0, 0], [3, 3], [0.0, 1.0]), "names a neuron twice"),
    ],
)
def test_impossible_sets_are_refused(columns, said):
    """Columns of unequal length, negative indices and a neuron twice are errors where the set is made."""
    with pytest.raises(na.DataError, match=said):
        na.NeuronSet(*(torch.tensor(column) for column in columns))


def test_neurons_that_a_model_lacks_are_named():
    """check() accepts the last layer and neuron and refuses the ones after them."""
    na.NeuronSet.of([(2, 7)]).check(3, 8)
    for pair in ((3, 0), (0, 8)):
        with pytest.raises(na.DataError, match=rf"neuron {pair[0]}\.{pair[1]} .*layers 0 to 2, neurons 0 to 7"):
            na.NeuronSet.of([(0, 0), pair]).check(3, 8)


@pytest.mark.parametrize("k", [0, -1, 25, True, 2.0, "3"])
def test_impossible_counts_are_refused(k):
    """K is a whole number from 1 to all neurons."""
    check_count(24, 24)
    with pytest.raises(na.UsageError, match="accepted: 1 to 24"):
        check_count(k, 24)


@pytest.mark.parametrize("name", ["set.csv", "set.json"])
def test_files_give_back_what_was_saved(name, tmp_path):
    """Neurons, order and scores, an exact 0 and an unknown one included, survive CSV and JSON."""
    for neurons in (SET, na.NeuronSet.of([(1, 2), (0, 3)]), na.NeuronSet.of([])):
        neurons.save(tmp_path / name)
        loaded = na.NeuronSet.load(str(tmp_path / name))
        assert loaded == neurons
        assert same_scores(loaded, neurons)
        assert loaded.layers.dtype == loaded.neurons.dtype == torch.int64


def test_files_are_plain(tmp_path):
    """The CSV has the header layer,neuron,score and an empty score where none is known; JSON lacks it there."""
    neurons = scored([(1, 2, 0.5), (0, 3, math.nan)])
    neurons.save(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "layer,neuron,score\n1,2,0.5\n0,3,\n"
    neurons.save(tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == [
        {"layer": 1, "neuron": 2, "score": 0.5},
        {"layer": 0, "neuron": 3},
    ]


def test_somebody_elses_csv_loads(tmp_path):
    """Other columns, another order, no scores and spaces after commas are fine."""
    file = tmp_path / "theirs.csv"
    file.write_text("rank, neuron, layer\n1, 5, 0\n\n2, 6, 1\n")
    assert list(na.NeuronSet.load(file)) == [(0, 5), (1, 6)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "layer,neuron\n0,1\n0,x\n", "a.csv, line 3: "),
        ("a.csv", "layer,neuron\n0,1\n\n0,1.5\n", "a.csv, line 4: "),
        ("a.csv", "layer,neuron\n0\n", "a.csv, line 2: "),
        ("a.csv", "layer,neuron\n0,1\n0,-1\n", "a.csv, line 3: "),
        ("a.csv", "layer,neuron\n0,99999999999999999999\n", "a.csv, line 2: "),
        ("a.csv", "layer,neuron\n0,1\n0,2\n0,1\n", r"a.csv, line 4: neuron 0\.1 is there twice"),
        ("a.csv", "layer,neuron,score\n0,1,high\n", "a.csv, line 2: "),
        ("a.csv", "3,5\n4,6\n", "a.csv, line 1: .*a header with layer and neuron"),
        ("a.csv", "", "a.csv, line 1: "),
        ("a.json", '[{"layer": 0, "neuron": 1},\n{"layer": 0]', "a.json, line 2: "),
        ("a.json", '[{"layer": 0, "neuron": 1}, {"layer": 0}]', "a.json, entry 2: 'neuron'"),
        ("a.json", '[{"layer": 0, "neuron": 1.7}]', r"a.json, entry 1: 1\.7"),
        ("a.json", "[[0, 1]]", r"a.json, entry 1: \[0, 1\] is no neuron; accepted: the fields layer and neuron"),
        ("a.json", "[null]", "a.json, entry 1: None is no neuron"),
        ("a.json", '[{"layer": 0, "neuron": 1, "score": true}]', "a.json, entry 1: True is missing or no number"),
        ("a.json", '[{"layer": 0, "neuron": 1, "site": []}]', r"a.json, entry 1: the site \[\] is no name; accepted"),
        ("a.json", '[{"layer": 0, "neuron": 1, "site": 7}]', "a.json, entry 1: the site 7 is no name; accepted"),
        ("a.json", "7", "a.json holds a JSON int"),
        ("a.json", '{"layer": 0, "neuron": 1}', "a.json holds a JSON dict"),
    ],
)
def test_malformed_files_name_the_line(name, text, said, tmp_path):
    """An error names file and line (or entry), and is one line."""
    (tmp_path / name).write_text(text)
    with pytest.raises(na.DataError, match=said) as caught:
        na.NeuronSet.load(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_unreadable_files_are_named(content, tmp_path):
    """A missing file and one that is no text are errors that name the path."""
    if content is not None:
        (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(na.DataError, match=r"x\.csv: .*; accepted: a CSV or JSON file of neurons"):
        na.NeuronSet.load(tmp_path / "x.csv")


def test_rows_of_a_file_are_read_one_way(tmp_path):
    """CSV, a JSON list and a JSON list under `neurons` hold the same rows; what else they say is kept."""
    rows = [{"layer": 1, "neuron": 2, "role": "good"}, {"layer": 0, "neuron": 3, "score": -0.5, "site": "up"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.json").write_text(json.dumps({"task": "ner", "neurons": rows}))
    (tmp_path / "c.csv").write_text("layer,neuron,role,score,site\n1,2,good,,\n0,3,,-0.5,up\n")
    for name, place in (("a.json", "entry 1"), ("b.json", "entry 1"), ("c.csv", "line 2")):
        first, second = na.neuron_rows(tmp_path / name)
        assert (first.layer, first.neuron, first.score, first.site) == (1, 2, None, "post")
        assert (first.columns["role"], first.place) == ("good", f"{tmp_path / name}, {place}")
        assert (second.layer, second.neuron, second.score, second.site) == (0, 3, -0.5, "up")
