"""What an answer means: by the data's own labels, in every layout of options, and never by guessing."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import neuron_antagonism as na
from neuron_antagonism_plugins._answers import chosen, stated
from neuron_antagonism_plugins._cells import Row, as_text
from neuron_antagonism_plugins._options import Choices

READY = "{text: q, options: o, answer: a}"
WORDS = ["iron", "gold", "sand", "silk"]


@pytest.fixture
def read(tmp_path):
    """The items of rows, for columns and further fields of a task file."""

    def made(rows, columns=READY, more=""):
        lines = (json.dumps({"q": f"Q{number}", **row}) + "\n" for number, row in enumerate(rows))
        (tmp_path / "d.jsonl").write_text("".join(lines), encoding="utf-8")
        (tmp_path / "t.yaml").write_text(f"data: d.jsonl\ncolumns: {columns}\n{more}\n", encoding="utf-8")
        return na.load_task(tmp_path / "t.yaml").items()[0]

    return made


@pytest.fixture
def meant(read):
    """The right texts likewise."""
    return lambda *args, **options: [item.answer for item in read(*args, **options)]


@pytest.fixture
def refused(meant):
    """The line that refuses them."""

    def line(*args, **options):
        with pytest.raises(na.DataError) as caught:
            meant(*args, **options)
        assert "\n" not in str(caught.value)
        assert "accepted: " in str(caught.value)
        return str(caught.value)

    return line


def keyed(answers, options=WORDS):
    return [{"o": options, "a": answer} for answer in answers]


class TestOwnLabels:
    ARC = "{text: q, options: o.text, answer: a}"

    def test_a_list_beside_the_options(self, meant):
        """Each row's own: letters in one, numbers in the next, whatever other rows hold."""
        rows = [
            {"o": {"text": WORDS, "label": list("ABCD")}, "a": "C"},
            {"o": {"text": WORDS, "label": list("1234")}, "a": "3"},
            {"o": {"text": WORDS, "label": [4, 3, 2, 1]}, "a": "4"},
            {"o": {"text": WORDS, "label": [1, 2, 3, 4]}, "a": 2.0},
            {"o": {"text": WORDS, "label": list("ABCD")}, "a": "(b)"},
            {"o": {"text": WORDS, "label": ["A.", "B.", "C.", "D."]}, "a": "D"},
            {"o": {"text": WORDS, "label": list("ABCD")}, "a": "gold"},
        ]
        assert meant(rows, self.ARC) == ["sand", "sand", "iron", "gold", "gold", "silk", "gold"]

    @pytest.mark.parametrize("name", ["labels", "key", "keys", "letter", "id"])
    def test_other_names(self, meant, name):
        """The list may have another of the usual names, the options likewise."""
        rows = [{"o": {"choices": WORDS, name: list("1234")}, "a": "2"}]
        assert meant(rows, "{text: q, options: o.choices, answer: a}") == ["gold"]

    def test_labels_decide_over_texts(self, meant):
        """An answer that is a label and another option's text is the label."""
        rows = [{"o": {"text": list("4321"), "label": list("1234")}, "a": "4"}]
        assert meant(rows, self.ARC) == ["1"]

    @pytest.mark.parametrize(
        ("label", "answer", "said"),
        [
            ("1234", "0", r"line 1, column 'a': found '0'; accepted: one of the row's own labels (1, 2, 3, 4), or the"),
            ("ABCD", "2", "found '2'; accepted: one of the row's own labels (A, B, C, D)"),
            ("1234", "A", "found 'A'; accepted: one of the row's own labels"),
            ("ABC", "A", "line 1, column 'o.text', its 'label': found ['A', 'B', 'C']; accepted: a list of as many"),
            ("AABC", "A", "accepted: a list of as many different labels as there are options: 4"),
            (["A", "B", None, "D"], "A", "accepted: a list of as many different labels"),
            (["A", "B", ["C"], "D"], "A", "accepted: a list of as many different labels"),
        ],
    )
    def test_what_fits_no_label(self, refused, label, answer, said):
        """Never an index where there are labels."""
        assert said in refused([{"o": {"text": WORDS, "label": list(label)}, "a": answer}], self.ARC)

    def test_a_column_of_labels(self, meant, refused):
        """`columns.labels` says where they are; in CSV as JSON."""
        rows = [{"o": WORDS, "l": list("PQRS"), "a": "R"}, {"o": WORDS, "l": '["1", "2", "3", "4"]', "a": 2}]
        columns = "{text: q, options: o, answer: a, labels: l}"
        assert meant(rows, columns) == ["sand", "gold"]
        assert "its labels" not in refused([{**rows[0], "a": "A"}], columns)
        assert "field answers: found 'index'; accepted: answers or columns.labels" in refused(
            rows, columns, "answers: index"
        )

    def test_a_way_that_is_stated(self, meant, refused):
        """It stands, but not against a label that means something else."""
        rows = [{"o": {"text": WORDS, "label": list("ABCD")}, "a": "0"}]
        assert meant(rows, self.ARC, "answers: index") == ["iron"]
        rows = [{"o": {"text": WORDS, "label": list("1234")}, "a": "1"}]
        assert meant(rows, self.ARC, "answers: number") == ["iron"]
        line = refused(rows, self.ARC, "answers: index")
        assert "accepted: one meaning, but this is as own label 'iron' and as index 'gold'" in line

    @pytest.mark.parametrize(
        ("label", "text"),
        [("label", "text"), ("key", "value"), ("option", "content"), ("label", "option"), ("id", "choice")],
    )
    def test_objects(self, meant, label, text):
        """A list of objects, an option each."""
        options = [{text: word, label: name, "more": 1} for word, name in zip(WORDS, "2341", strict=True)]
        assert meant([{"o": options, "a": "1"}, {"o": options, "a": 2}]) == ["silk", "iron"]

    def test_objects_without_labels(self, meant):
        """Read like a list of texts."""
        assert meant([{"o": [{"option": word} for word in WORDS], "a": "B"}]) == ["gold"]

    @pytest.mark.parametrize("options", [{"text": WORDS, "label": list("1234")}, dict(zip("1234", WORDS, strict=True))])
    def test_an_object(self, read, options):
        """Lists of texts and labels, or texts by label (MedQA)."""
        (item,) = read([{"o": options, "a": "3"}])
        assert (item.answer, item.distractors) == ("sand", ("iron", "gold", "silk"))

    def test_an_object_with_a_label_unused(self, read):
        """Tables give every row the same names: an empty one is no option."""
        item, _ = read(
            [{"o": {"A": "x", "B": "y", "C": None}, "a": "B"}, {"o": {"A": "x", "B": "y", "C": "z"}, "a": "C"}]
        )
        assert (item.answer, item.distractors) == ("y", ("x",))

    @pytest.mark.parametrize(
        "options",
        [
            [{"name": "iron"}, {"name": "gold"}],
            [{"label": "A"}, {"label": "B"}],
            [{"text": "iron", "label": "A"}, {"text": "gold"}],
            [{"text": "iron"}, "gold"],
            [{"text": "iron", "label": "A"}, {"text": "gold", "label": "A"}],
            [{"text": ["iron"], "label": "A"}, {"text": "gold", "label": "B"}],
            [["iron"], ["gold"]],
            {"A": ["iron"], "B": ["gold"]},
            {"A": {"t": "iron"}, "B": "gold"},
            {"iron ore": 1, "gold ore": 0},
            "iron, gold",
            7,
            True,
            [float("inf"), 1],
        ],
    )
    def test_other_layouts(self, refused, options):
        """One line names the row and what is accepted."""
        assert re.search(r"d.jsonl, line 1, column 'o'.*: found ", refused([{"o": options, "a": "A"}]))


class TestMarks:
    @pytest.mark.parametrize(
        "vector", [[0, 0, 1, 0], [0.0, 0.0, 1.0, 0.0], [False, False, True, False], "[0, 0, 1, 0]"]
    )
    def test_one_hot(self, meant, vector):
        """A one among zeros."""
        assert meant(keyed([vector])) == ["sand"]

    def test_truthful_qa(self, meant, read):
        """Marks beside the options; they are no labels."""
        rows = [
            {"m": {"choices": ["yes", "no", "never"], "labels": [0, 1, 0]}},
            {"m": {"choices": ["up", "down"], "labels": [0, 1]}},
        ]
        columns = "{text: q, options: m.choices, answer: m.labels}"
        assert meant(rows, columns) == ["no", "down"]
        assert meant(rows, "{text: q, options: m.choices}", "answers: first") == ["yes", "up"]
        assert meant(rows, "{text: q, options: m, answer: m}") == ["no", "down"]

    def test_marks_by_text(self, read):
        """The layout of TruthfulQA's own files, and objects that say whether they are right."""
        same = "{text: q, options: o, answer: o}"
        (item,) = read([{"o": {"iron ore": 0, "gold": 1, "sand": 0}}], same)
        assert (item.answer, item.distractors) == ("gold", ("iron ore", "sand"))
        options = [{"text": word, "correct": word == "silk"} for word in WORDS]
        assert read([{"o": options}], same)[0].answer == "silk"

    @pytest.mark.parametrize(
        "vector",
        [[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0], [2, 0, 0, 0], [0.5, 0, 0, 0], [None, 1, 0, 0], ["1", 0, 0, 0], []],
    )
    def test_other_vectors(self, refused, vector):
        """Exactly one is accepted."""
        line = refused(keyed([vector]))
        assert "line 1, column 'a': found " in line
        assert "accepted: exactly one 1 among zeros, a number for each option (4)" in line

    def test_options_that_say_nothing(self, refused):
        """The options' own column as that of the answer."""
        line = refused([{"o": WORDS}], "{text: q, options: o, answer: o}")
        assert "accepted: options that say which are right" in line


class TestOneWayForAllRows:
    @pytest.mark.parametrize(
        ("answers", "right"),
        [
            (["A", "b", "(C)", "D."], WORDS),
            (["d)", " A ", "(b)", "[c]"], ["silk", "iron", "gold", "sand"]),
            (["2", "0"], ["sand", "iron"]),
            ([2, 0], ["sand", "iron"]),
            ([1.0, 0.0], ["gold", "iron"]),
            (["1.0", "0.0"], ["gold", "iron"]),
            (["4", "1"], ["silk", "iron"]),
            ([4, 1], ["silk", "iron"]),
            (["gold", "silk"], ["gold", "silk"]),
        ],
    )
    def test_what_the_rows_show(self, meant, answers, right):
        """A 0 counts from 0, the number of options from 1."""
        assert meant(keyed(answers)) == right

    def test_two_columns(self, meant):
        """WinoGrande counts from 1 (a 2 of two options), PIQA from 0."""
        rows = [{"x": "left", "y": "right", "a": answer} for answer in ("1", "2", "1")]
        assert meant(rows, "{text: q, options: [x, y], answer: a}") == ["left", "right", "left"]
        rows = [{"x": "left", "y": "right", "a": answer} for answer in (1, 0, 1)]
        assert meant(rows, "{text: q, options: [x, y], answer: a}") == ["right", "left", "right"]

    def test_nothing_tells(self, refused, meant):
        """Numbers that fit both ways in every row are refused until the file says which."""
        rows = keyed(["2", "1", 3])
        line = refused(rows)
        assert "line 1, column 'a': found '2'; accepted: one meaning, but this is as index 'sand' and as number" in line
        assert "answers: index or answers: number" in line
        assert meant(rows, more="answers: index") == ["sand", "gold", "silk"]
        assert meant(rows, more="answers: number") == ["gold", "iron", "sand"]

    def test_numbers_that_are_texts(self, meant, refused):
        """Other rows may tell them from indices; else the file must."""
        sums = {"o": list("1234"), "a": "2"}
        assert meant([sums, *keyed(["0"])]) == ["3", "iron"]
        assert meant([sums, {"o": list("5678"), "a": "7"}]) == ["2", "7"]
        assert "answers: index or answers: number or answers: text" in refused([sums])
        assert "answers: number or answers: text" in refused([{"o": list("4321"), "a": "4"}])

    def test_letters_that_are_texts(self, meant, refused):
        """The same."""
        vitamins = {"o": list("DCBA"), "a": "A"}
        assert meant([vitamins, *keyed(["B"])]) == ["D", "gold"]
        assert "as letter 'D' and as text 'A'" in refused([vitamins])
        assert meant([vitamins], more="answers: text") == ["A"]
        assert meant([{"o": list("ABCD"), "a": "C"}]) == ["C"]

    @pytest.mark.parametrize(
        ("answers", "odd", "other"),
        [(["A", "B", "3"], 3, 1), (["2", "A", "C"], 1, 2), (["0", "1", "4"], 3, 1), (["A", "gold", "C"], 2, 1)],
    )
    def test_mixed_ways(self, refused, answers, odd, other):
        """Two rows are named."""
        line = refused(keyed(answers))
        assert re.search(
            rf"line {odd}, column 'a': found '{answers[odd - 1]}', but .*line {other}, column 'a' has "
            rf"'{answers[other - 1]}'; accepted: one way of answering in all rows .*columns.labels",
            line,
        )

    @pytest.mark.parametrize("answer", ["E", 4.5, "2.5", 9, -2, "AB", "A,B", True, 10**30, "1" * 5000])
    def test_no_meaning(self, refused, answer):
        """A number or letter that no option has."""
        assert "line 2, column 'a': found " in refused(keyed(["A", answer]))

    @pytest.mark.parametrize("answer", [{"x": "A"}, float("inf")])
    def test_no_text(self, refused, answer):
        """Neither text nor number."""
        assert "line 2, column 'a': found " in refused(keyed(["A", answer]))

    def test_numbers_of_numpy(self):
        """They count as Python's."""
        offered = Choices(WORDS)
        for value in (np.int64(2), np.float64(2.0), np.float32(2), np.uint8(2), np.array([0, 0, 1, 0])):
            answer = stated(Row("", "row 0", {"a": value}), "a", offered, marked=False)
            assert chosen([answer], "index") == ["sand"]
        answer = stated(Row("", "row 0", {"a": np.float64(2.5)}), "a", offered, marked=False)
        with pytest.raises(na.DataError, match=r"found '2\.5'"):
            chosen([answer], "index")
        assert [as_text(value) for value in (np.int64(7), np.float64("nan"), np.bool_(True))] == ["7", "", "true"]


class TestConstantAnswers:
    def test_first_and_last(self, read):
        """No column says which is right."""
        for answers, right in (("first", "iron"), ("last", "silk")):
            (item,) = read([{"o": WORDS}], "{text: q, options: o}", f"answers: {answers}")
            assert (item.answer, len(item.distractors)) == (right, 3)

    @pytest.mark.parametrize("stated", ["A", 0, 1, "iron", [1, 0, 0, 0]])
    def test_a_column_that_agrees(self, meant, refused, stated):
        """It may be named, but must not mean another option."""
        assert meant(keyed([stated]), more="answers: first") == ["iron"]
        assert "accepted: the last option, as the task file's field" in refused(keyed([stated]), more="answers: last")

    def test_two_sentences(self, read, tmp_path):
        """BLiMP: the options are all there is, and the first one is right."""
        rows = [{"good": "Cats sleep.", "bad": "Cats sleeps."}, {"good": "A cat sleeps.", "bad": "A cat sleep."}]
        columns = "{options: [good, bad]}"
        more = 'answers: first\nstems: ["Which sentence is right?", "Choose one.", "Which one?"]'
        first, second = read(rows, columns, more)
        assert (first.answer, first.distractors, first.text) == ("Cats sleep.", ("Cats sleeps.",), "Cats sleep.")
        assert second.answer == "A cat sleeps."
        task = na.load_task(tmp_path / "t.yaml").task
        assert (task.n_options, task.rule) == (2, "Reply with one letter only: A or B.")

    def test_stems_without_text(self, refused):
        """Only where no column holds one, and then they must be given."""
        line = refused([], "{options: [x, y]}", "answers: first")
        assert "field columns.text: is missing" in line
        line = refused([], "{options: [x, y]}", "answers: first\nstems: 'Of {text}?'")
        assert "field stems[0]: found '{text}'; accepted: no names without columns.text and columns.meta" in line
        assert "field columns.answer: is missing" in refused([], "{text: q, options: o}")


class TestCarriedLetters:
    @pytest.mark.parametrize(
        ("written", "answer"),
        [
            ("A){}|B){}|C){}|D){}", "C"),
            ("(A) {}|(B) {}|(C) {}|(D) {}", "(C)"),
            ("A. {}|B. {}|C. {}|D. {}", "c"),
            ("a) {}|b) {}|c) {}|d) {}", "c"),
            ("[A] {}|[B] {}|[C] {}|[D] {}", "C"),
            ("A: {}|B: {}|C: {}|D: {}", "C"),
            ("( A ) {}|( B ) {}|( C ) {}|( D ) {}", "C"),
            ("A）{}|B）{}|C）{}|D）{}", "C"),
            ("1. {}|2. {}|3. {}|4. {}", "3"),
            ("1){}|2){}|3){}|4){}", 3),
            ("(1) {}|(2) {}|(3) {}|(4) {}", "(3)"),
            ("0. {}|1. {}|2. {}|3. {}", "2"),
            ("A) {}|B) {}|C) {}|D) {}", "sand"),
            ("A) {}|B) {}|C) {}|D) {}", "C) sand"),
        ],
    )
    def test_they_are_taken_off(self, read, written, answer):
        """Where every option carries its own in order; the answer means the carried one."""
        options = written.format(*WORDS).split("|")
        (item,) = read(keyed([answer], options))
        assert (item.answer, item.distractors) == ("sand", ("iron", "gold", "silk"))

    def test_rows_with_and_without(self, meant):
        """Each row by itself."""
        rows = [*keyed(["B"], [f"{letter}){word}" for letter, word in zip("ABCD", WORDS, strict=True)]), *keyed(["B"])]
        assert meant(rows) == ["gold", "gold"]

    def test_with_labels_beside_them(self, read, refused):
        """Carried ones that are the row's own labels go too, in any order; others in order as well."""
        options = ["B) iron", "A) gold"]
        assert read([{"o": {"text": options, "label": ["B", "A"]}, "a": "A"}])[0].answer == "gold"
        assert read([{"o": {"B": "B) iron", "A": "A) gold"}, "a": "B"}])[0].answer == "iron"
        assert read([{"o": {"text": ["A) iron", "B) gold"], "label": ["1", "2"]}, "a": "2"}])[0].answer == "gold"
        line = refused([{"o": {"text": ["A) iron", "B) gold"], "label": ["B", "A"]}, "a": "A"}])
        assert "accepted: letters in order before every option, or before none" in line

    @pytest.mark.parametrize(
        "options",
        [
            ["A. Lincoln", "B. Obama", "J. Adams", "G. Bush"],
            ["A. Lincoln", "Obama", "Adams", "Bush"],
            ["1.5", "2.5", "3.5", "4.5"],
            ["1:30", "2:30", "3:30", "4:30"],
            ["1 - 5", "2 - 6", "3 - 7", "4 - 8"],
            ["A.", "B.", "C.", "D."],
            ["(x) iron", "gold", "sand", "silk"],
        ],
    )
    def test_what_is_no_letter(self, read, options):
        """Initials, numbers, times and options that are letters stay as they are."""
        (item,) = read(keyed(["A"], options))
        assert [item.answer, *item.distractors] == options

    @pytest.mark.parametrize(
        "options",
        [
            ["A) iron", "B) gold", "C) sand", "silk"],
            ["A) iron", "B) gold", "sand", "silk"],
            ["A. iron", "B. gold", "C. sand", "silk"],
            ["B) iron", "A) gold", "D) sand", "C) silk"],
            ["B. iron", "A. gold", "C. sand"],
            ["1. iron", "2. gold", "sand"],
        ],
    )
    def test_some_or_another_order(self, refused, options):
        """Refused, with file and line."""
        line = refused([*keyed(["A"]), *keyed(["A"], options)])
        assert re.search(r"d.jsonl, line 2, column 'o': found .*; accepted: letters in order before every", line)


class TestEqualTexts:
    COMPOSED, APART = "caf\u00e9", "cafe\u0301"

    def test_one_character_or_two(self, read):
        """Canonically equivalent texts are equal: as answers, and as options; each stays as it is written."""
        (item,) = read(keyed([self.COMPOSED], [self.APART, "tea", "milk", "beer"]))
        assert (item.answer, item.distractors) == (self.APART, ("tea", "milk", "beer"))
        (item,) = read(keyed(["A"], [self.APART, "tea", self.COMPOSED, "beer"]))
        assert item.distractors == ("tea", "beer")

    def test_labels(self, read):
        """Keys of labels too."""
        spec = f"labels: {{{self.COMPOSED}: drink, x: y}}\nstems: '{{text}}?'"
        (item,) = read([{"a": self.APART}], "{text: q, answer: a}", spec)
        assert item.answer == "drink"

    def test_values_in_options(self, read):
        """Numbers and truth values count as the text they are written as; missing ones are none."""
        (item,) = read(keyed(["A"], [10**40, True, 1.5, None, float("nan")]))
        assert (item.answer, item.distractors) == ("1" + "0" * 40, ("true", "1.5"))
