"""What the four shipped tasks share: unreadable files, the embedded sample, nothing heavy on import."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

import neuron_antagonism as na
import neuron_antagonism_plugins._samples as samples
from neuron_antagonism_plugins.chunking import Chunking
from neuron_antagonism_plugins.commonsense import Commonsense
from neuron_antagonism_plugins.ner import TYPES, Ner
from neuron_antagonism_plugins.sentiment import OPTIONS, Sentiment

TASKS = (Ner, Chunking, Sentiment, Commonsense)
GOOD = {
    "ner": "Paris\tlocation-city\n",
    "chunking": "the DT B-NP\nold JJ I-NP\ndog NN I-NP\nran VBD B-VP\n",
    "sentiment": "(3 (2 so) (4 good))\n",
    "commonsense": '{"answerKey": "A", "question": {"stem": "Why?", "choices": ['
    + ", ".join(f'{{"label": "{label}", "text": "because {label}"}}' for label in "ABCDE")
    + "]}}\n",
}


def read(task: type[na.Task], path: object) -> list[na.Item]:
    return list(task().examples(str(path), 0))


def error_of(task: type[na.Task], path: object) -> str:
    with pytest.raises(na.DataError) as caught:
        read(task, path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert "accepted: " in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("task", TASKS)
class TestAnyTask:
    def test_good_file_has_one_item_of_no_part(self, task, tmp_path):
        (tmp_path / "good").write_text(GOOD[task.name], encoding="utf-8")
        (item,) = read(task, tmp_path / "good")
        assert item.part == ""
        assert len(set(item.distractors) - {item.answer}) >= 3

    def test_missing_file(self, task, tmp_path):
        assert "no such file" in error_of(task, tmp_path / "nothing.txt")

    def test_directory(self, task, tmp_path):
        assert f"hub:{tmp_path}" in error_of(task, tmp_path)

    @pytest.mark.parametrize("content", ["", "\n \n\n"])
    def test_empty_data_set(self, task, tmp_path, content):
        (tmp_path / "empty").write_text(content)
        assert "an empty data set" in error_of(task, tmp_path / "empty")

    def test_undecodable_bytes_name_their_line(self, task, tmp_path):
        (tmp_path / "latin").write_bytes(GOOD[task.name].encode() + b"\ncaf\xe9 O\n")
        number = GOOD[task.name].count("\n") + 2
        message = error_of(task, tmp_path / "latin")
        assert f"line {number}: found b'\\xe9'" in message
        assert "UTF-8" in message

    def test_byte_order_mark_and_windows_line_ends(self, task, tmp_path):
        (tmp_path / "plain").write_text(GOOD[task.name], encoding="utf-8")
        (tmp_path / "windows").write_bytes(b"\xef\xbb\xbf" + GOOD[task.name].replace("\n", "\r\n").encode())
        assert read(task, tmp_path / "windows") == read(task, tmp_path / "plain")

    def test_no_final_newline(self, task, tmp_path):
        (tmp_path / "plain").write_text(GOOD[task.name], encoding="utf-8")
        (tmp_path / "cut").write_text(GOOD[task.name].rstrip("\n"), encoding="utf-8")
        assert read(task, tmp_path / "cut") == read(task, tmp_path / "plain")

    def test_home_directory(self, task, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "good").write_text(GOOD[task.name], encoding="utf-8")
        assert len(read(task, "~/good")) == 1

    def test_reads_lazily(self, task, tmp_path):
        (tmp_path / "late").write_text(GOOD[task.name] + "\n" + "((( not a line\n" * 9, encoding="utf-8")
        items = iter(task().examples(str(tmp_path / "late"), 0))
        assert isinstance(next(items), na.Item)
        with pytest.raises(na.DataError):
            list(items)

    def test_none_is_the_embedded_sample(self, task, monkeypatch):
        item = na.Item("text", "yes", ("no", "maybe", "never"))
        sentence = ("train", (("NP", ("the", "old", "dog")), ("VP", ("ran",))))
        fake = SimpleNamespace(items=lambda: iter([item]), sentences=lambda: iter([sentence]))
        monkeypatch.setattr(samples, task.name, fake, raising=False)
        (found,) = task().examples(None, 0)
        # chunking draws its wrong options itself
        assert (found.text, found.part) == ("the old dog ran", "train") if task.name == "chunking" else found == item

    def test_concepts_are_the_answers_that_items_share(self, task, tmp_path):
        """Where a task has classes, an item's right and wrong answers are these; elsewhere they are the item's own."""
        (tmp_path / "good").write_text(GOOD[task.name], encoding="utf-8")
        (item,) = read(task, tmp_path / "good")
        assert task.concepts == {"ner": TYPES, "sentiment": OPTIONS}.get(task.name, ())
        assert not task.concepts or {item.answer, *item.distractors} == set(task.concepts)

    def test_stems_fit_the_items(self, task, tmp_path):
        (tmp_path / "good").write_text(GOOD[task.name], encoding="utf-8")
        made = task()
        items = read(task, tmp_path / "good")
        (example,) = na.build_examples(
            items, role=made.role, rule=made.rule, stems=made.stems, distractors=made.distractors
        )
        assert len({question.answer for question in example.proxies}) == 3
        assert all(items[0].text in question.prompt for question in example.proxies)


def test_import_is_light():
    """The plugins are imported for their names alone, in every command."""
    code = (
        "import sys\n"
        "from neuron_antagonism_plugins import chunking, commonsense, ner, sentiment\n"
        "print(sorted({'torch', 'datasets', 'transformer_lens', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
