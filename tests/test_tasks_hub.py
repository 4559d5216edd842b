"""`hub:` sources of the shipped tasks, on local directories in the layouts of the well-known data sets."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import neuron_antagonism as na
from neuron_antagonism_plugins._hub import splits
from neuron_antagonism_plugins.chunking import Chunking
from neuron_antagonism_plugins.commonsense import Commonsense
from neuron_antagonism_plugins.ner import Ner
from neuron_antagonism_plugins.sentiment import Sentiment

TASKS = (Ner, Chunking, Sentiment, Commonsense)
COARSE = ["O", "art", "building", "event", "location", "organization", "other", "person", "product"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """`hub:` source of a directory of parquet files, written from columns by split."""
    datasets = pytest.importorskip("datasets", reason="hub: sources need the optional package datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()

    def write(features=None, **by_split):
        for split, columns in by_split.items():
            made = datasets.Dataset.from_dict(columns, features=features and datasets.Features(features))
            made.to_parquet(str(tmp_path / "data" / f"{split}.parquet"))
        return f"hub:{tmp_path / 'data'}"

    return write


@pytest.fixture
def features():
    return pytest.importorskip("datasets", reason="hub: sources need the optional package datasets")


def read(task, source, seed=0):
    return list(task().examples(source, seed))


def few_nerd(features, fine=True):
    strings = features.Features({"tokens": features.Sequence(features.Value("string"))})
    columns = {**strings, "ner_tags": features.Sequence(features.ClassLabel(names=COARSE))}
    if fine:
        names = ["O", "location-GPE", "location-bodiesofwater", "organization-government/governmentagency"]
        columns["fine_ner_tags"] = features.Sequence(features.ClassLabel(names=names))
    return columns


class TestNer:
    def test_few_nerd(self, hub, features):
        train = {"tokens": [["In", "Rome"]], "ner_tags": [[0, 4]], "fine_ner_tags": [[0, 1]]}
        test = {
            "tokens": [["The", "Navy"], ["He"]],
            "ner_tags": [[0, 5], [0]],
            "fine_ner_tags": [[0, 3], [0]],
        }
        items = read(Ner, hub(few_nerd(features), train=train, validation=train, test=test))
        assert [(item.text, item.meta["mention"], item.answer, item.part) for item in items] == [
            ("In Rome", "Rome", "location", "train"),
            ("The Navy", "Navy", "organization", "test"),
        ]

    def test_fine_labels_tell_neighbours_apart(self, hub, features):
        columns = {"tokens": [["Rome", "Tiber"]], "ner_tags": [[4, 4]], "fine_ner_tags": [[1, 2]]}
        found = {read(Ner, hub(few_nerd(features), train=columns), seed)[0].meta["mention"] for seed in range(12)}
        assert found == {"Rome", "Tiber"}

    def test_coarse_labels_alone(self, hub, features):
        columns = {"tokens": [["New", "York", "won"]], "ner_tags": [[4, 4, 0]]}
        (item,) = read(Ner, hub(few_nerd(features, fine=False), test=columns))
        assert (item.meta["mention"], item.answer) == ("New York", "location")

    def test_labels_as_strings(self, hub):
        (item,) = read(Ner, hub(test={"tokens": [["Oslo"]], "ner_tags": [["location"]]}))
        assert item.answer == "location"

    def test_numbers_without_names(self, hub):
        source = hub(test={"tokens": [["Oslo"]], "ner_tags": [[4]]})
        with pytest.raises(na.DataError, match=r"row 0: found 4; accepted: .*named class labels"):
            read(Ner, source)

    def test_label_for_each_token(self, hub):
        source = hub(test={"tokens": [["a"], ["Oslo", "won"]], "ner_tags": [["O"], ["location"]]})
        with pytest.raises(na.DataError, match="row 1: found '2 tokens, 1 labels'"):
            read(Ner, source)


class TestChunking:
    def test_conll2000(self, hub, features):
        names = ["O", "B-NP", "I-NP", "B-VP"]
        layout = {
            "tokens": features.Sequence(features.Value("string")),
            "chunk_tags": features.Sequence(features.ClassLabel(names=names)),
        }
        row = {"tokens": [["the", "old", "dog", "ran", "."]], "chunk_tags": [[1, 2, 2, 3, 0]]}
        items = read(Chunking, hub(layout, train=row, test=row))
        assert [(item.answer, item.part) for item in items] == [
            ("[NP the old dog] [VP ran]", "train"),
            ("[NP the old dog] [VP ran]", "test"),
        ]

    def test_bad_tag_names_its_token(self, hub):
        source = hub(test={"tokens": [["a", "b"]], "chunk_tags": [["O", "I-NP"]]})
        with pytest.raises(na.DataError, match="row 0, token 1: found 'I-NP'"):
            read(Chunking, source)


class TestSentiment:
    def test_label_text_of_sst5(self, hub):
        names = ["very negative", "negative", "neutral", "positive", "very positive"]
        rows = {"text": [f"film {i}" for i in range(5)], "label": list(range(5)), "label_text": names}
        items = read(Sentiment, hub(test=rows))
        assert [item.answer for item in items] == ["negative", "negative", "neutral", "positive", "positive"]
        assert items[0].text == "film 0"

    def test_five_numbers_without_names(self, hub):
        train = {"text": list("abc"), "label": [0, 1, 4]}
        items = read(Sentiment, hub(train=train, test={"text": ["d"], "label": [2]}))
        assert [(item.answer, item.part) for item in items] == [
            ("negative", "train"),
            ("negative", "train"),
            ("positive", "train"),
            ("neutral", "test"),
        ]

    def test_numbers_of_an_unknown_scale(self, hub):
        source = hub(test={"text": ["bad", "good"], "label": [0, 1]})
        with pytest.raises(na.DataError, match=r"row 0: found 0; accepted: .*the scale is unknown"):
            read(Sentiment, source)

    def test_named_classes_of_two(self, hub, features):
        layout = {
            "text": features.Value("string"),
            "label": features.ClassLabel(names=["negative", "positive"]),
        }
        items = read(Sentiment, hub(layout, test={"text": ["bad", "good"], "label": [0, 1]}))
        assert [item.answer for item in items] == ["negative", "positive"]

    def test_floats_of_sst(self, hub):
        values = [0.0, 0.2, 0.4, 0.41, 0.5, 0.6, 0.61, 1.0]
        rows = {
            "sentence": [str(value) for value in values],
            "label": values,
            "tree": ["3|3|0"] * len(values),
        }
        answers = [item.answer for item in read(Sentiment, hub(test=rows))]
        assert answers == ["negative"] * 3 + ["neutral"] * 3 + ["positive"] * 2

    @pytest.mark.parametrize("label", [-0.1, 1.5])
    def test_float_outside_the_scale(self, hub, label):
        source = hub(test={"sentence": ["x"], "label": [label]})
        with pytest.raises(na.DataError, match="row 0: found"):
            read(Sentiment, source)

    @pytest.mark.parametrize(
        ("texts", "labels", "reason"),
        [
            (["x", "y"], [3, -1], "unlabelled (-1)"),
            (["x", "y"], [3, None], "empty column 'label'"),
            (["x", " "], [3, 3], "empty column 'text'"),
            (["x", None], [3, 3], "empty column 'text'"),
        ],
    )
    def test_rows_without_text_or_label(self, hub, texts, labels, reason):
        """They are left out and counted."""
        task = Sentiment()
        (item,) = task.examples(hub(test={"text": texts, "label": labels}), 0)
        assert (item.text, item.answer) == ("x", "positive")
        assert task.left_out == {reason: 1}

    def test_missing_label_of_named_classes(self, hub, features):
        layout = {
            "text": features.Value("string"),
            "label": features.ClassLabel(names=["negative", "positive"]),
        }
        source = hub(layout, test={"text": ["x"], "label": [-1]})
        with pytest.raises(na.DataError, match="row 0: found -1"):
            read(Sentiment, source)

    def test_empty_texts_alone(self, hub):
        """No row is left: the first one's error."""
        source = hub(test={"text": ["", " "], "label_text": ["neutral", "neutral"]})
        with pytest.raises(na.DataError, match=r"row 0, column 'text': found ''; .*no row is left \(2 of \"empty"):
            read(Sentiment, source)

    @pytest.mark.parametrize("column", ["ptb_tree", "text"])
    def test_trees(self, hub, column):
        (item,) = read(Sentiment, hub(test={column: ["(4 (2 so) (4 good))"]}))
        assert (item.text, item.answer) == ("so good", "positive")

    def test_official_files_in_a_directory(self, hub, tmp_path):
        source = hub()
        (tmp_path / "data" / "train.txt").write_text("(4 good)\n(0 bad)\n")
        (tmp_path / "data" / "test.txt").write_text("(2 well)\n")
        items = read(Sentiment, source)
        assert [(item.text, item.answer, item.part) for item in items] == [
            ("good", "positive", "train"),
            ("bad", "negative", "train"),
            ("well", "neutral", "test"),
        ]


def csqa(key, stem="Why?"):
    return {
        "question": [stem],
        "choices": [{"label": list("ABCDE"), "text": ["v", "w", "x", "y", "z"]}],
        "answerKey": [key],
    }


class TestCommonsense:
    def test_validation_is_the_test_part(self, hub):
        items = read(Commonsense, hub(train=csqa("A"), validation=csqa("E", "How?"), test=csqa("", "Who?")))
        assert [(item.text, item.answer, item.part) for item in items] == [
            ("Why?", "v", "train"),
            ("How?", "z", "test"),
        ]
        assert items[1].distractors == ("v", "w", "x", "y")

    def test_answered_test_split_without_validation(self, hub):
        items = read(Commonsense, hub(train=csqa("A"), test=csqa("B")))
        assert [item.part for item in items] == ["train", "test"]

    def test_unanswered_split(self, hub):
        source = hub(test=csqa(""))
        with pytest.raises(na.DataError, match="split 'test', row 0: found ''; accepted: answerKey A to E"):
            read(Commonsense, source)

    def test_official_file_in_a_directory(self, hub, tmp_path):
        source = hub()
        choices = ", ".join(f'{{"label": "{label}", "text": "t{label}"}}' for label in "ABCDE")
        line = f'{{"answerKey": "C", "id": "1", "question": {{"stem": "Why?", "choices": [{choices}]}}}}\n'
        (tmp_path / "data" / "train.jsonl").write_text(line)
        (item,) = read(Commonsense, source)
        assert (item.text, item.answer, item.distractors) == ("Why?", "tC", ("tA", "tB", "tD", "tE"))


class TestAnySource:
    def test_one_split_has_no_part(self, hub):
        (item,) = read(Commonsense, hub(train=csqa("A")))
        assert item.part == ""

    @pytest.mark.parametrize("task", TASKS)
    def test_unknown_columns_are_listed(self, hub, task):
        source = hub(train={"one": [1], "two": [2]})
        with pytest.raises(na.DataError) as caught:
            read(task, source)
        assert "has the columns one, two; accepted: " in str(caught.value)
        assert source in str(caught.value)

    @pytest.mark.parametrize(
        ("loaded", "shown"),
        [
            ({"train": [], "test": []}, r"train \(0 rows\), test \(0 rows\)"),
            ({"other": [1]}, r"other \(1 rows\)"),
        ],
    )
    def test_no_split_with_rows(self, loaded, shown, monkeypatch):
        fake = SimpleNamespace(load_dataset=lambda name, config: loaded)
        monkeypatch.setitem(sys.modules, "datasets", fake)
        with pytest.raises(na.DataError, match=f"has the splits {shown}; accepted: rows in train or test, columns"):
            splits("hub:owner/name", "columns")

    def test_directory_without_data(self, hub):
        source = hub()
        with pytest.raises(na.DataError, match="can't be loaded") as caught:
            read(Ner, source)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("task", TASKS)
    def test_datasets_not_installed(self, task, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(na.UsageError, match=r"install neuron-antagonism\[data\]$"):
            read(task, "hub:some/thing")

    @pytest.mark.parametrize("source", ["hub:", "hub: ", "hub::config"])
    def test_no_name(self, source):
        with pytest.raises(na.UsageError, match="names no data set"):
            read(Ner, source)

    @pytest.mark.parametrize(
        ("source", "asked"),
        [("hub:owner/name", ("owner/name", None)), ("hub:owner/name:inter", ("owner/name", "inter"))],
    )
    def test_name_and_config(self, source, asked, monkeypatch):
        calls = []

        def load_dataset(name, config):
            calls.append((name, config))
            raise RuntimeError("Dataset scripts are no longer supported\nsecond line")

        monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
        with pytest.raises(na.DataError) as caught:
            splits(source, "columns")
        assert calls == [asked]
        assert str(caught.value).startswith(f"{source}: can't be loaded: Dataset scripts are no longer supported; ")

    def test_directory_with_a_colon_is_a_directory(self, hub, tmp_path):
        hub(train=csqa("A"))
        (tmp_path / "data").rename(tmp_path / "a:b")
        assert len(read(Commonsense, f"hub:{tmp_path / 'a:b'}")) == 1
