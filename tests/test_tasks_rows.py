"""Task files: how many options, rows that are left out, and encodings."""

from __future__ import annotations

import json

import pytest

import neuron_antagonism as na
from neuron_antagonism_plugins.commonsense import Commonsense

WORDS = ["iron", "gold", "sand", "silk", "wool", "jade", "rust", "peat", "lime", "coal"]
READY = "columns: {text: q, options: o, answer: a}\n"
LABELLED = "columns: {text: q, answer: a}\nstems: '{text}?'\n"


@pytest.fixture
def task(tmp_path):
    """A loaded task of rows and a task file without its data."""

    def made(spec, rows, name="d.jsonl"):
        content = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
        (tmp_path / name).write_bytes(content)
        (tmp_path / "t.yaml").write_text(f"data: {name}\n{spec}", encoding="utf-8")
        return na.load_task(tmp_path / "t.yaml")

    return made


def refusal(action):
    with pytest.raises(na.DataError) as caught:
        action()
    assert "\n" not in str(caught.value)
    assert "accepted: " in str(caught.value)
    return str(caught.value)


def offering(*counts):
    return [{"q": f"Q{number}", "o": WORDS[:count], "a": "A"} for number, count in enumerate(counts)]


class TestNumberOfOptions:
    @pytest.mark.parametrize(
        ("counts", "n_options", "rule"),
        [
            ((2, 2), 2, "A or B."),
            ((3, 2, 3), 3, "A, B or C."),
            ((2, 4, 3), 4, "A, B, C or D."),
            ((10, 10), 4, "A, B, C or D."),
        ],
    )
    def test_what_the_rows_offer(self, task, counts, n_options, rule):
        """Four where a row offers four, else the most that one offers; the default rule follows."""
        loaded = task(READY, offering(*counts))
        assert len(loaded.items()[0]) == len(counts)
        assert (loaded.task.n_options, loaded.task.rule) == (n_options, f"Reply with one letter only: {rule}")

    def test_repeated_options_count_once(self, task):
        """What is offered is different."""
        loaded = task(READY, [{"q": "Q", "o": ["x", "x", "y", ""], "a": "A"}])
        assert loaded.items()[0][0].distractors == ("y",)
        assert loaded.task.n_options == 2

    def test_what_the_file_states(self, task):
        """2 to 10, whatever rows offer; a rule of the file's own stays."""
        loaded = task(READY + "n_options: 10\n", offering(10))
        assert loaded.task.n_options == 10
        assert loaded.task.rule == "Reply with one letter only: A, B, C, D, E, F, G, H, I or J."
        assert task(READY + "n_options: 3\nrule: One letter.\n", offering(10)).task.rule == "One letter."

    @pytest.mark.parametrize("count", ["1", "11", "four", "-2"])
    def test_other_numbers(self, task, count):
        """Refused with the field."""
        line = refusal(lambda: task(READY + f"n_options: {count}\n", []))
        assert f"line 3, field n_options: found '{count}'; accepted: options of a question, 2 to 10" in line

    @pytest.mark.parametrize(
        ("labels", "n_options"),
        [("[yes, no]", 2), ("[a, b, c]", 3), ("[a, b, c, d, e]", 4), ("[a, b]\nfillers: [c]", 3)],
    )
    def test_labels(self, task, labels, n_options):
        """As many as there are, at most four; known before any row is read."""
        loaded = task(LABELLED + f"labels: {labels}\n", [])
        assert loaded.task.n_options == n_options
        line = refusal(lambda: task(LABELLED + f"labels: {labels}\nn_options: 9\n", []))
        assert "field n_options: found 9; accepted: at most as many as there are: " in line

    def test_yes_or_no(self, task):
        """BoolQ: truth values of JSON, a passage beside the question."""
        spec = "columns: {text: q, answer: a, meta: {passage: p}}\nlabels: {true: yes, false: no}\n"
        rows = [{"q": "Is it?", "p": "It is.", "a": True}, {"q": "Was it?", "p": "It was not.", "a": False}]
        loaded = task(spec + "stems: '{passage} {text}'\n", rows)
        first, second = loaded.items()[0]
        assert (first.answer, first.distractors, second.answer) == ("yes", ("no",), "no")
        assert first.meta == {"passage": "It is."}
        assert loaded.task.concepts == ("yes", "no")
        csv = b"q,p,a\nIs it?,It is.,True\nWas it?,No.,False\n"
        assert [item.answer for item in task(spec + "stems: '{passage} {text}'\n", csv, "d.csv").items()[0]] == [
            "yes",
            "no",
        ]

    def test_ten_options(self, task):
        """MMLU-Pro: letters to J."""
        loaded = task(READY + "n_options: 10\n", [{"q": "Q", "o": WORDS, "a": "J", "answer_index": 9}])
        (item,) = loaded.items()[0]
        assert (item.answer, len(item.distractors)) == ("coal", 9)

    def test_a_demonstration_of_too_few(self, task):
        """It shows as many options as a question does."""
        spec = READY + "demonstration: {text: x, answer: y, distractors: [z]}\n"
        assert task(spec, offering(2)).items()
        line = refusal(task(spec, offering(4)).items)
        assert "t.yaml, field demonstration.distractors: found ['z']; accepted: at least 3 wrong answers" in line


LABELS = LABELLED.replace("answer: a", "answer: a, meta: {m: m}") + "labels: [yes, no]\n"


class TestLeftOut:
    GOOD = ({"q": "Q1", "m": "M", "a": "yes"}, {"q": "Q2", "m": "M", "a": "no"})

    @pytest.mark.parametrize(
        ("odd", "reason"),
        [
            ({"q": "", "m": "M", "a": "yes"}, "empty column 'q'"),
            ({"q": None, "m": "M", "a": "yes"}, "empty column 'q'"),
            ({"q": "Q", "m": " ", "a": "yes"}, "empty column 'm'"),
            ({"q": "Q", "m": float("nan"), "a": "yes"}, "empty column 'm'"),
            ({"q": "Q", "a": "yes"}, "no column 'm'"),
            ({"q": "Q", "m": "M"}, "no column 'a'"),
            ({"q": "Q", "m": "M", "a": None}, "empty column 'a'"),
            ({"q": "Q", "m": "M", "a": -1}, "unlabelled (-1)"),
            ({"q": "Q", "m": "M", "a": "-1.0"}, "unlabelled (-1)"),
        ],
    )
    def test_one_row(self, task, odd, reason):
        """It is left out and counted with its reason; the others are read."""
        loaded = task(LABELS, [self.GOOD[0], odd, self.GOOD[1]])
        assert [item.text for item in loaded.items()[0]] == ["Q1", "Q2"]
        assert loaded.task.left_out == {reason: 1}

    @pytest.mark.parametrize(
        ("odd", "reason"),
        [
            ({"q": "Q", "o": None, "a": "A"}, "empty column 'o'"),
            ({"q": "Q", "o": [], "a": "A"}, "empty column 'o'"),
            ({"q": "Q", "o": ["", None], "a": "A"}, "empty column 'o'"),
            ({"q": "Q", "o": {}, "a": "A"}, "empty column 'o'"),
            ({"q": "Q", "o": WORDS, "a": ""}, "empty column 'a'"),
            ({"q": "Q", "o": WORDS, "a": -1}, "unlabelled (-1)"),
            ({"q": "Q", "o": WORDS}, "no column 'a'"),
            ({"q": "Q", "o": ["x", "", "z"], "a": "B"}, "empty right option"),
            ({"q": "Q", "o": ["A) x", "B)", "C) z"], "a": "B"}, "empty right option"),
            ({"q": "Q", "o": {"text": ["x", ""], "label": ["1", "2"]}, "a": "2"}, "empty right option"),
            ({"q": "Q", "o": ["x", "", "z"], "a": [0, 1, 0]}, "empty right option"),
        ],
    )
    def test_one_row_of_options(self, task, odd, reason):
        """The same."""
        loaded = task(READY, [*offering(4), odd])
        assert [item.answer for item in loaded.items()[0]] == ["iron"]
        assert loaded.task.left_out == {reason: 1}

    def test_minus_one_that_is_an_option(self, task):
        """It is an answer like any other, and so is a label."""
        (item,) = task(READY, [{"q": "Q", "o": ["-1", "0", "1", "5"], "a": -1}]).items()[0]
        assert item.answer == "-1"
        (item,) = task(LABELLED + "labels: {-1: no, 1: yes}\n", [{"q": "Q", "a": -1}]).items()[0]
        assert item.answer == "no"

    def test_no_row_is_left(self, task):
        """The error names the first row, and all reasons."""
        rows = [{"q": "Q", "m": "", "a": "yes"}, {"q": "Q", "m": "M", "a": -1}]
        line = refusal(task(LABELS, rows).items)
        assert "d.jsonl, line 1, column 'm': found ''; accepted: a text or number that isn't empty; no row" in line
        assert "1 of \"empty column 'm'\", 1 of 'unlabelled (-1)'" in line

    def test_no_row_has_the_column(self, task):
        """An error, whatever else is empty."""
        line = refusal(task(LABELS, [{"q": "", "a": "yes"}, {"q": "Q", "a": "yes"}]).items)
        assert "line 2: has no column 'm', which columns.meta.m names; accepted: q, a" in line

    def test_floats_of_a_column_with_gaps(self, task):
        """A missing value makes whole numbers floats in many programs."""
        spec = LABELLED + "labels: {0: no, 1: yes}\n"
        loaded = task(spec, b"q,a\nQ1,1.0\nQ2,\nQ3,0.0\n", "d.csv")
        assert [item.answer for item in loaded.items()[0]] == ["yes", "no"]
        assert loaded.task.left_out == {"empty column 'a'": 1}


class TestEncodings:
    ROW = '{"q": "Q1", "o": ["iron", "gold"], "a": "A"}\n'

    @pytest.mark.parametrize("broken", ["q", "o", "a"])
    def test_half_a_character(self, task, broken):
        """JSON can write it; file and line are named, in text that can be printed."""
        row = {"q": "Q", "o": ["iron", "gold"], "a": "A"}
        row[broken] = ["iron", "x\ud83dy"] if broken == "o" else "x\ud83dy"
        loaded = task(READY, [*offering(2), row])
        line = refusal(loaded.items)
        assert "d.jsonl, line 2, column " in line
        assert "accepted: Unicode text, without a lone surrogate" in line
        assert line.encode()

    def test_half_a_character_elsewhere(self, task):
        """In a column that isn't read it does no harm, in another one's name it can be printed."""
        assert len(task(READY, [{**offering(2)[0], "x\ud83d": "\ud83d"}]).items()[0]) == 1
        assert refusal(task(READY, [{"x\ud83d": "y"}]).items).encode()

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
    @pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv"])
    def test_wide_encodings(self, task, encoding, name):
        """Refused by file and line, with or without a mark."""
        content = self.ROW if name != "d.csv" else "q,o,a\nQ,x,A\n"
        line = refusal(task(READY, content.encode(encoding), name).items)
        assert f"{name}, line 1: found b" in line
        assert "accepted: UTF-8 text" in line

    def test_latin(self, task):
        """Refused by file and line."""
        line = refusal(task(READY, (self.ROW + self.ROW.replace("gold", "caf\u00e9")).encode("latin-1")).items)
        assert "d.jsonl, line 2: found b'\\xe9'; accepted: UTF-8 text" in line

    def test_a_mark_of_utf_8(self, task):
        """It is no text."""
        assert len(task(READY, b"\xef\xbb\xbf" + self.ROW.encode()).items()[0]) == 1

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
    def test_task_files(self, tmp_path, encoding):
        """The same."""
        for name in ("t.yaml", "t.toml"):
            (tmp_path / name).write_bytes("data: d.csv\n".encode(encoding))
            line = refusal(lambda name=name: na.load_task(tmp_path / name))
            assert f"{name}, line 1: found b" in line

    def test_half_a_character_in_a_task_file(self, tmp_path):
        """A quoted text of YAML can write it."""
        (tmp_path / "t.yaml").write_text('data: d.csv\nrole: "x\\ud83d"\n')
        line = refusal(lambda: na.load_task(tmp_path / "t.yaml"))
        assert "t.yaml, line 2, field role: found 'x\\ud83d'; accepted: Unicode text" in line

    def test_parquet(self, tmp_path):
        """Bytes that are no text are named by their row."""
        pyarrow = pytest.importorskip("pyarrow", reason="Parquet files need the optional package pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        ends = pyarrow.array([0, 2, 3], pyarrow.int32()).buffers()[1]
        column = pyarrow.StringArray.from_buffers(2, ends, pyarrow.py_buffer(b"ok\xff"))
        parquet.write_table(pyarrow.table({"q": column, "a": ["yes", "no"]}), tmp_path / "d.parquet")
        (tmp_path / "t.yaml").write_text("data: d.parquet\n" + LABELLED + "labels: [yes, no]\n")
        line = refusal(na.load_task(tmp_path / "t.yaml").items)
        assert "d.parquet, row 1: found b'\\xff'; accepted: a Parquet file whose texts are UTF-8" in line

    def test_official_files(self, tmp_path):
        """Other tasks read their files in the same way."""
        (tmp_path / "c.jsonl").write_bytes("{}\n".encode("utf-16"))
        line = refusal(lambda: list(Commonsense().examples(str(tmp_path / "c.jsonl"), 0)))
        assert "c.jsonl, line 1: found b" in line

    def test_numbers_of_thousands_of_digits(self, task):
        """Python reads none; a line says so."""
        digits = "1" * 5000
        assert "d.json" in refusal(task(READY, f'[{{"q": {digits}}}]'.encode(), "d.json").items)
        assert "d.jsonl, line 1" in refusal(task(READY, f'{{"q": {digits}}}'.encode()).items)
