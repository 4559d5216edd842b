"""Tasks that a file states: every format, both shapes, and one line for whatever is wrong."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
from directories import units
from hypothesis import given
from hypothesis import strategies as st

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.plugin.manager import GROUP, Registry
from neuron_antagonism.runs.config import DEFAULT_TASKS
from neuron_antagonism_plugins._schema import Columns, Data, Demonstration, Spec
from neuron_antagonism_plugins._tables import rows
from neuron_antagonism_plugins.file import FileTask

HEADER = ("question", "a", "b", "c", "d", "key")
READY = "data: {data}\ncolumns: {{text: question, options: [a, b, c, d], answer: key}}\n"
LABELS = """\
data: data.csv
columns: {text: text, answer: label}
labels: [world, sports, business, other]
stems: "{text} Topic?"
"""
LABELLED = "text,label\nball game,sports\nstocks,business\n"

NEWS = """\
data: {test: test.csv, train: train.csv}
header: [class, title, text]
columns: {text: text, answer: class, meta: {title: title}}
labels: {1: world, 2: sports, 3: business, 4: technology}
stems: "{title}: {text} Topic?"
"""
FEELINGS = """\
data: train.txt
format: csv
delimiter: ;
header: [text, feeling]
columns: {text: text, answer: feeling}
labels: [joy, anger, fear, love]
stems: "{text} Feeling?"
"""


def ready(number, key=None):
    """One ready question: the right option is `right<number>`, in a place that varies."""
    options = [f"x{number}", f"y{number}", f"z{number}"]
    options.insert(number % 4, f"right{number}")
    return dict(zip(HEADER, [f"What is {number}?", *options, key or "ABCD"[number % 4]], strict=True))


def write_rows(path, rows, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def write(tmp_path):
    """Writes files by name and returns the first one's path."""

    def made(**files):
        paths = [tmp_path / name.replace("__", ".") for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return paths[0]

    return made


@pytest.fixture
def questions(tmp_path, write):
    """A task file over forty ready questions."""
    write_rows(tmp_path / "data.csv", [ready(number) for number in range(40)])
    return write(my_task__yaml=READY.format(data="data.csv"))


def items(path, source=None):
    return list(na.load_task(path).task.examples(source, 0))


def refusal(action, *, of=na.DataError):
    """The one line with which something is refused."""
    with pytest.raises(of) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    assert "accepted: " in line
    return line


def right(row, number):
    wrong = {f"{letter}{number}" for letter in "xyz"}
    return row.text == f"What is {number}?" and row.answer == f"right{number}" and set(row.distractors) == wrong


class TestFormats:
    ROWS = tuple(ready(number) for number in range(3))

    @pytest.mark.parametrize(("name", "delimiter"), [("csv", ","), ("tsv", "\t")])
    def test_separated(self, tmp_path, write, name, delimiter):
        """Cells by the header's names."""
        write_rows(tmp_path / f"data.{name}", self.ROWS, delimiter)
        found = items(write(t__yaml=READY.format(data=f"data.{name}")))
        assert [right(item, number) for number, item in enumerate(found)] == [True] * 3

    def test_quoted_cells(self, write):
        """A cell may hold delimiters, quotes and line ends; a byte order mark and blank lines are no cells."""
        text = '\ufeff question ,a,b,c,d,key\r\n\r\n"one, ""two""\r\nthree",w,x,y,z,B\r\n'
        (item,) = items(write(t__yaml=READY.format(data="data.csv"), data__csv=text))
        assert (item.text, item.answer) == ('one, "two"\nthree', "x")

    def test_json_lines(self, write):
        """Objects, a line each, keys in any order; blank lines are skipped; a separator of Unicode ends no line."""
        lines = [json.dumps(dict(reversed(row.items()))) + "\n\n" for row in self.ROWS]
        odd = json.dumps(ready(3) | {"question": "a\u2028b"}, ensure_ascii=False)
        for name in ("data.jsonl", "data.json"):
            path = write(t__yaml=READY.format(data=name), **{name.replace(".", "__"): "".join(lines) + odd})
            found = items(path)
            assert [right(item, number) for number, item in enumerate(found[:3])] == [True] * 3
            assert found[3].text == "a\u2028b"

    def test_a_json_array(self, write):
        """A `.json` file may be one array of objects."""
        found = items(write(t__yaml=READY.format(data="data.json"), data__json=json.dumps(self.ROWS, indent=1)))
        assert [right(item, number) for number, item in enumerate(found)] == [True] * 3

    def test_parquet(self, tmp_path, write):
        """Columns of a Parquet file, lists and integers among them."""
        pyarrow = pytest.importorskip("pyarrow", reason="Parquet files need the optional package pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        table = {"q": ["Which?", "What?"], "choices": [["w", "x", "y", "z"], ["1", "2", "3", "4"]], "key": [3, 0]}
        parquet.write_table(pyarrow.table(table), tmp_path / "data.parquet")
        spec = "data: data.parquet\ncolumns: {text: q, options: choices, answer: key}\nanswers: index\n"
        assert [item.answer for item in items(write(t__yaml=spec))] == ["z", "1"]

    def test_a_format_that_the_ending_does_not_say(self, tmp_path, write):
        """`format` says what a file is; an ending in capitals does as well."""
        write_rows(tmp_path / "data.txt", self.ROWS, "\t")
        write_rows(tmp_path / "DATA.CSV", self.ROWS)
        assert len(items(write(t__yaml=READY.format(data="data.txt") + "format: tsv"))) == 3
        assert len(items(write(t__yaml=READY.format(data="DATA.CSV")))) == 3

    def test_the_hub(self, tmp_path, write, monkeypatch):
        """A data set's splits are the parts, class labels their names; `split` takes another one for the test part."""
        datasets = pytest.importorskip("datasets", reason="hub: sources need the optional package datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
        (tmp_path / "set").mkdir()
        names = ["world", "sports", "business", "other"]
        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
        for split, label in (("train", 0), ("validation", 1), ("test", 2)):
            rows = datasets.Dataset.from_dict({"text": [f"of {split}"], "label": [label]}, features=features)
            rows.to_parquet(str(tmp_path / "set" / f"{split}.parquet"))
        path = write(t__yaml=LABELS.replace("data.csv", "hub:set"))
        assert [(i.text, i.answer, i.part) for i in items(path)] == [
            ("of train", "world", "train"),
            ("of test", "business", "test"),
        ]
        path = write(t__yaml=LABELS.replace("data.csv", "{test: hub:set, split: validation}"))
        assert [(i.answer, i.part) for i in items(path)] == [("world", "train"), ("sports", "test")]

    def test_toml(self, tmp_path, write):
        """The same fields in TOML."""
        write_rows(tmp_path / "data.csv", self.ROWS)
        text = 'data = "data.csv"\n[columns]\ntext = "question"\nanswer = "key"\noptions = ["a", "b", "c", "d"]\n'
        path = write(my_task__toml=text)
        assert repr(na.load_task(path)) == "LoadedTask('my_task', source='its own')"
        assert [right(item, number) for number, item in enumerate(items(path))] == [True] * 3


class TestShapes:
    @pytest.mark.parametrize(
        ("key", "answers", "meant"),
        [
            *(("C", None, "z"), ("c", None, "z"), ("0", None, "x"), ("z", None, "z"), ("D", "letter", "w")),
            *(("2", "index", "z"), ("1", "number", "x"), ("4", None, "w"), ("y", "text", "y")),
        ],
    )
    def test_what_an_answer_means(self, write, key, answers, meant):
        """A letter, an option's text, and what counts from 0 or from 1 where the rows show it, or the file says it."""
        text = READY.format(data="data.csv") + (f"answers: {answers}\n" if answers else "")
        (item,) = items(write(t__yaml=text, data__csv=f"question,a,b,c,d,key\nQ,x,y,z,w,{key}\n"))
        assert item.answer == meant
        assert set(item.distractors) == {"x", "y", "z", "w"} - {meant}

    def test_an_answer_of_two_meanings(self, write):
        """A digit that is an index and another option's text is refused, until the file says which it is."""
        files = {"data__csv": "question,a,b,c,d,key\n1+1,1,2,3,4,2\n"}
        path = write(t__yaml=READY.format(data="data.csv"), **files)
        assert "line 2, column 'key': found '2'; accepted: one meaning" in refusal(lambda: items(path))
        for answers, meant in (("index", "3"), ("text", "2"), ("number", "2")):
            (item,) = items(write(t__yaml=READY.format(data="data.csv") + f"answers: {answers}", **files))
            assert item.answer == meant

    def test_ready_questions_need_their_columns_only(self, questions):
        """Role, rule and stems have defaults; each example asks three different ways, each right option once more."""
        split = na.load_task(questions).split(identify=2, select=4, evaluate=4)
        for example in (*split.identify, *split.select, *split.evaluate):
            assert len({question.prompt for question in example.proxies}) == 3
            for question in example.proxies:
                assert re.fullmatch(r"right\d+", question.options[question.answer])

    def test_options_inside_an_object(self, write):
        """A dot reaches into an object; a fifth option is one more distractor."""
        row = {"q": "Q", "choices": {"text": ["1st", "2nd", "3rd", "4th", "5th"]}, "key": "E"}
        spec = "data: d.jsonl\ncolumns: {text: q, options: choices.text, answer: key}\n"
        (item,) = items(write(t__yaml=spec, d__jsonl=json.dumps(row)))
        assert (item.answer, len(item.distractors)) == ("5th", 4)

    @pytest.mark.parametrize(
        ("columns", "rows"),
        [
            ("[w1, w2, w3]", "text,answer,w1,w2,w3\nQ,right,x,y,z\n"),
            ("wrong", 'text,answer,wrong\nQ,right,"[""x"", ""y"", ""z"", ""right"", """"]"\n'),
        ],
    )
    def test_distractors(self, write, columns, rows):
        """Three columns or one list; the answer and empty ones are no distractors."""
        spec = f"data: d.csv\ncolumns: {{text: text, answer: answer, distractors: {columns}}}\n"
        (item,) = items(write(t__yaml=spec, d__csv=rows))
        assert (item.answer, item.distractors) == ("right", ("x", "y", "z"))

    def test_a_label_set(self, write):
        """Every other label is a distractor."""
        first, second = items(write(t__yaml=LABELS, data__csv=LABELLED))
        assert (first.text, first.answer, set(first.distractors)) == (
            "ball game",
            "sports",
            {"world", "business", "other"},
        )
        assert second.answer == "business"

    def test_a_mapping_and_fillers(self, write):
        """Raw values become label texts, `yes` and numbers as they are written; fillers are never right."""
        spec = LABELS.replace("[world, sports, business, other]", "{0: no, 1: yes, -1: no}\nfillers: [maybe, 'n/a']")
        found = items(write(t__yaml=spec, data__csv="text,label\na,1\nb,-1\n"))
        assert [item.answer for item in found] == ["yes", "no"]
        assert set(found[0].distractors) == {"no", "maybe", "n/a"}

    def test_values_that_are_no_texts(self, write):
        """Numbers and booleans of JSON count as the text they are written as."""
        spec = LABELS.replace("[world, sports, business, other]", "{true: yes, 3: no, 1.5: maybe, x: other}")
        rows = "".join(json.dumps({"text": 7, "label": value}) + "\n" for value in (True, 3, 1.5))
        found = items(write(t__yaml=spec.replace("data.csv", "d.jsonl"), d__jsonl=rows))
        assert [(item.text, item.answer) for item in found] == [("7", "yes"), ("7", "no"), ("7", "maybe")]

    def test_meta_role_rule_and_stems(self, write):
        """Further columns fill the stems' names; role and rule head every prompt."""
        spec = (
            "name: nli\nrole: You judge.\nrule: One letter.\n"
            + LABELS.replace("answer: label}", "answer: label, meta: {claim: hypothesis}}")
            + "demonstration: {text: Sun, answer: world, meta: {claim: Day}}"
        ).replace('"{text} Topic?"', '["{text}: {claim}?", "{claim}; {text}?", "{{{text}}} {claim}?"]')
        rows = "text,hypothesis,label\n" + "".join(f"t{i},h{i},sports\n" for i in range(3))
        split = na.load_task(write(t__yaml=spec, data__csv=rows)).split(identify=1, select=0, evaluate=2)
        prompts = [question.prompt for question in split.identify[0].proxies]
        number = split.identify[0].item.text[1:]
        for prompt, asked in zip(prompts, ("t#: h#?", "h#; t#?", "{t#} h#?"), strict=True):
            assert prompt.startswith("You judge.\nOne letter.\n\nSun: Day?\n")
            assert f"\n\n{asked.replace('#', number)}\n" in prompt

    def test_a_demonstration_is_not_asked_as_well(self, write):
        """A row that the file uses as its demonstration is left out, and counted."""
        spec = LABELS + "demonstration: {text: ball game, answer: sports}"
        split = na.load_task(write(t__yaml=spec, data__csv=LABELLED)).split(identify=1, select=0, evaluate=0)
        assert split.identify[0].item.text == "stocks"
        assert "\n\nball game Topic?\n" in split.identify[0].proxies[0].prompt
        assert split.report.duplicates == 1

    def test_rows_with_fewer_than_four_options(self, write):
        """They are left out and counted, as in any other task."""
        rows = (
            "question,a,b,c,d,key\n" + "".join(f"Q{i},x,y,z,w,A\n" for i in range(4)) + "Few,x,y,,,A\nTwo,x,y,y,z,A\n"
        )
        split = na.load_task(write(t__yaml=READY.format(data="data.csv"), data__csv=rows)).split(1, 1, 1)
        assert split.report.too_few_options == 2


class TestFilesWithoutColumnNames:
    def test_quoted_news(self, write):
        """Class, title and text of AG News: every cell quoted, quotes doubled, commas and apostrophes inside."""
        path = write(
            t__yaml=NEWS,
            test__csv='"3","Mill, idle","The baker\'s mill, ""out of grain"", is still."\n"2","Oars","We rowed."',
            train__csv='"4","Lamp","A lamp that reads its own switch."\r\n',
        )
        first, second, third = items(path)
        assert (first.answer, first.meta) == ("business", {"title": "Mill, idle"})
        assert first.text == 'The baker\'s mill, "out of grain", is still.'
        assert [(item.answer, item.part) for item in (second, third)] == [("sports", "test"), ("technology", "train")]
        assert set(third.distractors) == {"world", "sports", "business"}

    def test_fourteen_classes(self, write):
        """Class, title and content of DBpedia: the class bare, each of the others a distractor."""
        labels = {number: f"kind {number}" for number in range(1, 15)}
        spec = f"data: d.csv\nheader: [class, title, content]\nlabels: {labels}\nstems: '{{text}}?'\n"
        rows = "".join(f'{number},"Name {number}"," Thing number {number}, described."\n' for number in labels)
        found = items(write(t__yaml=spec + "columns: {text: content, answer: class}", d__csv=rows))
        assert [item.answer for item in found] == list(labels.values())
        assert found[13].text == "Thing number 14, described."
        assert all(len(item.distractors) == 13 for item in found)

    def test_feelings_after_a_semicolon(self, write):
        """Text and feeling of emotion: nothing quoted; commas, apostrophes and quotes are text."""
        rows = 'the sea, my friend\'s "sea", is back;joy\n\nwho took the boat;anger\n'
        first, second = items(write(t__yaml=FEELINGS, train__txt=rows))
        assert (first.text, first.answer) == ('the sea, my friend\'s "sea", is back', "joy")
        assert (second.text, second.answer) == ("who took the boat", "anger")

    def test_header_and_delimiter_alone(self, write):
        """A TSV file keeps its tabs, a line of column names is kept with another delimiter."""
        spec = LABELS.replace("data.csv", "d.tsv") + "header: [text, label]\n"
        (item,) = items(write(t__yaml=spec, d__tsv="ball; game, set\tsports\n"))
        assert (item.text, item.answer) == ("ball; game, set", "sports")
        (item,) = items(write(t__yaml=LABELS + "delimiter: '|'\n", data__csv="label|text\nsports|ball, game\n"))
        assert (item.text, item.answer) == ("ball, game", "sports")

    def test_toml(self, write):
        """The same fields in TOML; a tab is one character."""
        spec = 'data = "d.txt"\nformat = "csv"\nheader = ["q", "o", "k"]\ndelimiter = "\\t"\n'
        spec += '[columns]\ntext = "q"\noptions = "o"\nanswer = "k"\n'
        (item,) = items(write(t__toml=spec, d__txt='Q, q\t"[""w"", ""x"", ""y"", ""z""]"\tB\n'))
        assert (item.text, item.answer) == ("Q, q", "x")

    @given(
        st.lists(
            st.tuples(st.just("x"), *[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"))] * 2)
        ),
        st.characters(exclude_categories=["Cs"], exclude_characters='"\r\n\0'),
    )
    def test_whatever_the_cells_hold(self, tmp_path_factory, cells, delimiter):
        """Quoted rows come back as they are, whatever separates them."""
        path = tmp_path_factory.mktemp("rows") / "d.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("x", "first", "row"), *cells])
        found = list(rows(str(path), None, "a, b, c", header=("a", "b", "c"), delimiter=delimiter))
        assert [tuple(row.values.values()) for row in found[1:]] == cells

    @given(st.integers(0, 5), st.integers(1, 9).filter(lambda count: count != 3))
    def test_whatever_the_number_of_cells(self, tmp_path_factory, before, count):
        """A row with another number than the header's is refused, by its line."""
        path = tmp_path_factory.mktemp("rows") / "d.csv"
        path.write_text("1;2;3\n" * before + ";".join("x" * count))
        line = refusal(lambda: list(rows(str(path), "csv", "a, b, c", header=("a", "b", "c"), delimiter=";")))
        assert line.startswith(
            f"{path}, line {before + 1}: found {['x'] * count}; accepted: 3 cells, one for each column"
        )


class TestConcepts:
    def test_labels(self, write):
        """The different labels in order, without fillers: only what can be right is a class."""
        spec = LABELS.replace("[world, sports, business, other]", "{0: no, 1: yes, -1: no}\nfillers: [maybe, never]")
        assert na.load_task(write(t__yaml=spec)).task.concepts == ("no", "yes")
        assert na.load_task(write(t__yaml=LABELS)).task.concepts == ("world", "sports", "business", "other")

    @pytest.mark.parametrize("wrong", ["distractors: [a, b, c]", "distractors: w", "options: [a, b, c, d]"])
    def test_answers_of_each_item(self, write, wrong):
        """Wrong answers in columns differ from item to item."""
        path = write(t__yaml=f"data: d.csv\ncolumns: {{text: q, answer: k, {wrong}}}\n")
        assert na.load_task(path).task.concepts == ()


class TestSources:
    def test_paths_are_relative_to_the_task_file(self, tmp_path, write, monkeypatch):
        """Wherever the command runs, and however the task file was named."""
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "task.yml").write_text(READY.format(data="../data.csv"))
        write_rows(tmp_path / "data.csv", [ready(0)])
        monkeypatch.chdir(tmp_path)
        for path in (tmp_path / "sub" / "task.yml", "sub/task.yml", str(tmp_path / "sub" / "task.yml")):
            assert len(items(path)) == 1
        monkeypatch.setenv("HOME", str(tmp_path))
        assert len(items("~/sub/task.yml")) == 1

    def test_parts(self, tmp_path, write):
        """Identification examples come from the training file, evaluation ones from the test file."""
        write_rows(tmp_path / "test.csv", [ready(number) for number in range(4)])
        write_rows(tmp_path / "train.csv", [ready(number) for number in range(10, 16)])
        path = write(t__yaml=READY.format(data="{test: test.csv, train: train.csv}"))
        split = na.load_task(path).split(identify=2, select=2, evaluate=4)
        assert {example.item.part for example in (*split.identify, *split.select)} == {"train"}
        assert {example.item.text for example in split.evaluate} == {f"What is {number}?" for number in range(4)}

    def test_other_data_with_the_same_columns(self, tmp_path, questions):
        """`source` and `train` stand for what the file names."""
        write_rows(tmp_path / "other.csv", [ready(number) for number in range(50, 60)])
        write_rows(tmp_path / "more.csv", [ready(number) for number in range(60, 70)])
        task = na.load_task(questions, source=tmp_path / "other.csv", train=tmp_path / "more.csv")
        test, train = task.items()
        assert [item.text for item in test] == [f"What is {number}?" for number in range(50, 60)]
        assert [item.text for item in train] == [f"What is {number}?" for number in range(60, 70)]

    def test_parquet_that_unfolds_without_bounds(self, write, tmp_path, monkeypatch):
        """What a row group takes once it is unpacked is known before it is."""
        import neuron_antagonism_plugins._tables as tables

        pyarrow = pytest.importorskip("pyarrow", reason="Parquet files need the optional package pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"q": [f"{number:0100}" for number in range(1000)]}), tmp_path / "d.parquet")
        path = write(t__yaml=READY.format(data="d.parquet"))
        monkeypatch.setattr(tables, "_ARRAY", 50_000)
        said = refusal(lambda: items(path))
        assert re.search(r"d.parquet: a row group of it unfolds to \d+ bytes; accepted: at most 50000", said)

    def test_parquet_without_pyarrow(self, write, monkeypatch):
        """The line names the extra that brings it."""
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        path = write(t__yaml=READY.format(data="d.parquet"))
        with pytest.raises(na.UsageError, match=r"needs the package pyarrow.* install neuron-antagonism\[data\]$"):
            items(path)


COLUMNS = "columns: {text: q, answer: k, "
OPTIONS = COLUMNS + "options: [a, b, c, d]}\n"


class TestWrongTaskFiles:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", ": an empty file; accepted: a task file in YAML or TOML"),
            ("data: d.csv\ncolumns: [\n", r", line 2: no YAML: .*; accepted: a task file"),
            ("data: d.csv\n\tcolumns: x\n", r", line 2: no YAML: "),
            ("data: \x01\n", ": no YAML: "),
            ("a: 1\n---\nb: 2\n", ", line 2: no YAML: "),
            ("just text", ": found 'just text'; accepted: a task file"),
            ("- a\n- b\n", r": found \['a', 'b'\]; accepted: a task file"),
            ("data: d.csv\ndata: e.csv\n", ", line 2: found 'data twice'; accepted: each field once"),
            ("? [a]\n: b\n", ", line 1: found 'a field without a plain name'; accepted: "),
            ("data: {test: {a: {b: {c: {d: e}}}}}", ", line 1, field data.test.a.b.c.*: found 'deeper nesting'"),
            (OPTIONS, ", field data: is missing; accepted: a file or hub:dataset-id, or test, train and split"),
            ("data: d.csv\n", ", field columns: is missing; accepted: text, answer, and distractors or options"),
            (
                "data: d.csv\ncolums: {}\n",
                ", line 2, field colums: unknown; accepted: name, data, format, header, delimiter, columns, ",
            ),
            (
                "data: d.csv\ncolumns:\n  txt: q\n  answer: k\n",
                ", line 3, field columns.txt: unknown; accepted: text, answer, distractors, options, labels, meta",
            ),
            (
                "data: d.csv\ncolumns: {answer: k}\n",
                ", line 2, field columns.text: is missing; accepted: the column of",
            ),
            ("data: {tset: d.csv}\n", ", line 1, field data.tset: unknown; accepted: test, train, split"),
            ("data: ''\n" + OPTIONS, ", line 1, field data.test: found ''; accepted: a file"),
            ("data: d.csv\nformat: xlsx\n" + OPTIONS, ", line 2, field format: found 'xlsx'; accepted: csv, tsv, "),
            (
                "data: d.csv\ncolumns:\n  text: [q]\n  answer: k\n",
                r", line 3, field columns.text: found \['q'\]; accepted: the column of the text",
            ),
            (
                "data: d.csv\n" + COLUMNS + "}",
                ", line 2, field columns: found 'no wrong answers'; accepted: one of col",
            ),
            (
                "data: d.csv\nlabels: [a, b, c, d]\n" + OPTIONS,
                ", line 3, field columns: found 'columns.options and labels'; accepted: one of ",
            ),
            (
                "data: d.csv\nn_options: 4\n" + COLUMNS + "options: [a, b, c]}",
                ", line 2, field n_options: found 4; accepted: at most as many as there are: 3",
            ),
            (
                "data: d.csv\nn_options: 4\n" + COLUMNS + "distractors: [a, b]}",
                ", line 2, field n_options: found 4; accepted: at most as many as there are: 3",
            ),
            (
                "data: d.csv\n" + COLUMNS + "options: [a, b, c, a]}",
                ", field columns: found 'a twice'; accepted: a diff",
            ),
            (
                "data: d.csv\n" + COLUMNS + "distractors: [a, b, k]}",
                ", field columns: found 'k twice'; accepted: a diff",
            ),
            ("data: d.csv\n" + COLUMNS + "options: [a, '', c, d]}", r", line 2, field columns.options\[1\]: found ''"),
            (
                "data: d.csv\n" + COLUMNS + "options: o, meta: {a-b: c}}",
                ", line 2, field columns.meta.a-b: found 'a-b'; accepted: a plain name other than text",
            ),
            (
                LABELS.replace(", sports, business, other", ""),
                r", line 3, field labels: found \['world'\]; accepted: at least 2 different",
            ),
            (LABELS.replace("other", "world"), r", line 3, field labels: found \[.*\]; accepted: a list of different"),
            (LABELS + "fillers: [world, x]\n", ", line 5, field fillers: found 'world'; accepted: texts that are no"),
            (
                "data: d.csv\nfillers: [x]\n" + OPTIONS,
                r", line 2, field fillers: found \['x'\]; accepted: .*with labels",
            ),
            (LABELS + "answers: index\n", ", line 5, field answers: found 'index'; accepted: .*columns.options"),
            (
                LABELS + "header: [text, label, text]\n",
                ", line 5, field header: found 'text twice'; accepted: a different name for each column",
            ),
            (
                LABELS + "header: [text, '']\n",
                r", line 5, field header\[1\]: found ''; accepted: the column names of a",
            ),
            (
                LABELS.replace("data.csv", "d.jsonl") + "header: [text, label]\n",
                ", line 5, field header: found 'data in d.jsonl'; accepted: header only with a CSV or TSV file, by its",
            ),
            (
                LABELS.replace("data.csv", "hub:set") + "delimiter: ;\n",
                ", line 5, field delimiter: found 'data in hub:set'; accepted: delimiter only with a CSV or TSV file",
            ),
            (
                LABELS.replace("data.csv", "{test: d.csv, train: hub:set}") + "header: [text, label]\n",
                ", line 5, field header: found 'data in hub:set'; accepted: header only",
            ),
            (
                LABELS + "format: json\ndelimiter: ;\n",
                ", line 6, field delimiter: found 'data in data.csv'; accepted: ",
            ),
            (
                FEELINGS.replace("format: csv\n", ""),
                ", line 3, field header: found 'data in train.txt'; accepted: .*by its ending or the field format",
            ),
            *(
                (LABELS + f"delimiter: {wrong}\n", ", line 5, field delimiter: found .*; accepted: the one character")
                for wrong in ("''", ";;", "'\"'", '"\\n"', '"\\r"', "[;]")
            ),
            (LABELS.replace("stems", "# "), ", field stems: is missing; accepted: three templates"),
            (LABELS.replace('"{text} Topic?"', '["{text}", "{text}?"]'), ", line 4, field stems: found '2 stems'"),
            (
                LABELS.replace("{text} Topic", "{text} {topic}"),
                r", field stems\[0\]: found '{topic}'; accepted: {text}, ",
            ),
            (LABELS.replace("{text} Topic", "{text!r}"), r", field stems\[0\]: found '{text!r}\?'; .*plain names only"),
            (LABELS.replace("{text} Topic", "{text"), r", line 4, field stems\[0\]: found '{text\?'; accepted: {text}"),
            (LABELS.replace("{text} Topic", "Topic"), r", field stems\[0\]: found 'Topic\?'; accepted: .*holds {text}"),
            (LABELS + "role: ''\n", ", line 5, field role: found ''; accepted: the first line of every prompt"),
            (
                LABELS + "demonstration:\n  text: x\n  answer: wrld\n",
                ", line 7, field demonstration.answer: found 'wrld'; accepted: a label: world, sports, business, other",
            ),
            (
                LABELS + "demonstration: {text: x, answer: world, meta: {a: b}}",
                r", line 5, field demonstration.meta: found \['a'\]; accepted: the names in columns.meta: none",
            ),
            (
                "data: d.csv\ndemonstration: {text: x, answer: y, distractors: [y, z, w]}\n" + OPTIONS,
                ", line 2, field demonstration.distractors: found .*; accepted: at least 3 wrong answers",
            ),
            (LABELS + '"a\\nb": x', ", line 5, field a b: unknown; accepted: name, data, "),
            (LABELS + "name: My Task\n", ": its task is named 'My Task'; accepted: a lowercase name .* field name"),
            (
                LABELS + "name: ace\n",
                "named 'ace', as a scorer of neuron-antagonism is; accepted: a name that no plugin",
            ),
        ],
    )
    def test_one_line_names_it(self, write, text, said):
        """File, line, field, and what is accepted."""
        path = write(t__yaml=text)
        line = refusal(lambda: na.load_task(path))
        assert re.match(re.escape(str(path)) + ".*" + said, line), line

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('data = "d.csv"\ncolumns = {]\n', ", line 2: no TOML: "),
            ('\ndata = "d.csv', ", line 2: no TOML: "),
            ('data = "d.csv"\n[columns]\ntext = 5\n', ", line 3, field columns.text: found 5; accepted: the column of"),
            ('data = "d.csv"\ncolumns.txt = "q"\n', ", line 2, field columns.txt: unknown; accepted: text, answer, "),
            (
                'data = "d.csv"\nstems = [1, 2]\n[columns]\ntext = "q"\nanswer = "k"\noptions = "o"\n',
                r", line 2, field stems\[0\]: found 1; accepted: three",
            ),
        ],
    )
    def test_toml(self, write, text, said):
        """The same in TOML."""
        path = write(t__toml=text)
        line = refusal(lambda: na.load_task(path))
        assert re.match(re.escape(str(path)) + said, line), line

    def test_bytes_that_are_no_text(self, write):
        """The line of the first bad byte is named."""
        path = write(t__yaml=b"data: d.csv\nname: \xff\n")
        assert refusal(lambda: na.load_task(path)).startswith(f"{path}, line 2: found b'\\xff'; accepted: UTF-8 text")

    def test_a_missing_file_and_a_directory(self, tmp_path):
        """Both say what is accepted, and no Hub source is."""
        (tmp_path / "t.yaml").mkdir()
        for name, said in (("no.yaml", "no such file"), ("t.yaml", "a directory")):
            line = refusal(lambda name=name: na.load_task(tmp_path / name))
            assert line.startswith(f"{tmp_path / name}: {said}; accepted: ")
            assert "hub" not in line

    def test_a_stem_of_the_file_that_is_no_name(self, tmp_path, write):
        """The task is named after its file unless it says otherwise: names of plugins are taken."""
        path = write(sentiment__yaml=LABELS)
        line = refusal(lambda: na.load_task(path))
        assert line.startswith(f"{path}: its task is named 'sentiment', as a task of neuron-antagonism is; accepted: ")
        assert na.load_task(write(sentiment__yaml=LABELS + "name: mine\n")).name == "mine"
        assert na.load_task(write(piqa__yaml=LABELS)).source is None, "a shipped task file does not reserve its name"

    def test_aliases_that_unfold_without_end(self, write):
        """Refused at the schema's depth, not unfolded."""
        path = write(t__yaml="data: &a [*a, *a]\n")
        assert "found 'deeper nesting'" in refusal(lambda: na.load_task(path))


class TestWrongData:
    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ("", ": an empty data set; accepted: "),
            ("question,a,b,c,d,key\n", ": holds no rows; accepted: the columns question, key, a, b, c, d"),
            (
                "q,a,b,c,d,key\nQ,x,y,z,w,A\n",
                ", line 2: has no column 'question', which columns.text names; accepted: q, a, b, c, d, key",
            ),
            ("question,a,a,c,d,key\nQ,x,y,z,w,A\n", ", line 1: two columns are named 'a'; accepted: different names"),
            ("question,a,b,c,d,key\nQ,x,y,z,A\n", r", line 2: found \['Q', .*; accepted: 6 cells, one for each column"),
            (
                'question,a,b,c,d,key\n"Q\n2",x,y,z,w,A\n"Q',
                ", line 4: unexpected end of data; accepted: a table with a line of column names",
            ),
            ('question,a,b,c,d,key\n\n"Q"2,x,y,z,w,A\n', r", line 3: .* expected after .*; accepted: a table"),
            (
                "question,a,b,c,d,key\n ,x,y,z,w,A\n",
                ", line 2, column 'question': found ' '; accepted: a text or number",
            ),
            (
                "question,a,b,c,d,key\nQ,x,y,z,w,A\nQ,x,y,z,w,E\n",
                ", line 3, column 'key': found 'E'; accepted: a letter A to D, an index 0 to 3, a number 1 to 4, the",
            ),
            (
                "question,a,b,c,d,key\nQ,x,y,z,w,2\n",
                r", line 2, column 'key': found '2'; .* answers: index or answers: number in the task",
            ),
            (f"question,a,b,c,d,key\nQ,x,y,z,w,{'1' * 5000}\n", r", line 2, column 'key': found '1+\.\.\.; accepted: "),
            ("question,a,b,c,d,key\nQ,x,y,z,w,-1\n", ", line 2, column 'key': found '-1'; accepted: "),
            ("question,a,b,c,d,key\nQ,x,y,z,,D\n", ", line 2, column 'key': found 'D'; accepted: .*not empty"),
            (b"question,a,b,c,d,key\nQ,\xff,y,z,w,A\n", r", line 2: found b'\\xff'; accepted: UTF-8 text, a table"),
        ],
    )
    def test_ready_questions(self, write, tmp_path, rows, said):
        """The data file's line and column, and what is accepted."""
        path = write(t__yaml=READY.format(data="data.csv"), data__csv=rows)
        line = refusal(lambda: items(path))
        assert re.match(re.escape(str(tmp_path / "data.csv")) + said, line), line

    @pytest.mark.parametrize(
        ("name", "rows", "said"),
        [
            (
                "d.jsonl",
                '{"text": "a", "label": "world"}\n{"text": 1,\n',
                ", line 2: found '{\"text\": 1,'; accepted: ",
            ),
            (
                "d.jsonl",
                '[{"text": "a", "label": "world"}]',
                r", line 1: found \[.*\]; accepted: a JSON object on each",
            ),
            (
                "d.jsonl",
                '{"text": "a"}\n',
                ", line 1: has no column 'label', which columns.answer names; accepted: text",
            ),
            ("d.jsonl", '{"text": ["a"], "label": "world"}\n', r", line 1, column 'text': found \['a'\]; accepted: "),
            ("d.jsonl", '{"text": null, "label": "world"}\n', ", line 1, column 'text': found None; accepted: "),
            (
                "d.json",
                '[\n{"text": "a"},\n{"label" "world"}]',
                ", line 3: .*; accepted: a JSON object on each line, or",
            ),
            ("d.json", '[{"text": "a", "label": "world"}, 3]', ", row 1: found 3; accepted: "),
            ("d.json", "[]", ": holds no rows; accepted: the columns text, label"),
            (
                "d.jsonl",
                '{"text": "a", "label": "World"}\n',
                r", line 1, column 'label': found 'World'; accepted: world, sports, business, other \(labels of",
            ),
            ("d.xlsx", "x", ": an unknown ending; accepted: .csv, .tsv, .jsonl, .json, .parquet, hub:dataset-id, or"),
        ],
    )
    def test_labelled_rows(self, write, tmp_path, name, rows, said):
        """The same in JSON: its line or row."""
        path = write(t__yaml=LABELS.replace("data.csv", name), **{name.replace(".", "__"): rows})
        line = refusal(lambda: items(path))
        assert re.match(re.escape(str(tmp_path / name)) + said, line), line

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            (
                "calm sea;joy\ncalm;sea;joy\n",
                r", line 2: found \['calm', 'sea', 'joy'\]; accepted: 2 cells, one for each",
            ),
            ("calm sea\n", r", line 1: found \['calm sea'\]; accepted: 2 cells, one for each column: text, feeling"),
            ('calm;joy\n"calm" sea;joy\n', ", line 2: .* expected after .*; accepted: a table"),
            ('"calm sea;joy\ncalm;joy\n', ", line 1: unexpected end of data; accepted: a table"),
            (
                "text;feeling\ncalm;joy\n",
                ", line 1, column 'feeling': found 'feeling'; accepted: joy, anger, fear, love",
            ),
            ("\n \n", ": an empty data set; accepted: a table"),
        ],
    )
    def test_rows_without_column_names(self, write, tmp_path, rows, said):
        """The first line is a row; quotes are as strict as anywhere, with every delimiter."""
        path = write(t__yaml=FEELINGS, train__txt=rows)
        line = refusal(lambda: items(path))
        assert re.match(re.escape(str(tmp_path / "train.txt")) + said, line), line

    @pytest.mark.parametrize(("field", "stated"), [("header", "header: [text, label]"), ("delimiter", "delimiter: ;")])
    def test_other_data_that_is_no_table(self, write, field, stated):
        """What stands for the task file's data must be a table as well, where it says how one is written."""
        path = write(t__yaml=LABELS + stated)
        for source in ("other.jsonl", "other.parquet", "other.txt", "hub:other"):
            line = refusal(lambda source=source: items(path, source))
            assert line == (
                f"{source}: can't be read with the task file's field {field}; "
                "accepted: a CSV or TSV file, by its ending or the field format"
            )

    def test_many_labels_are_not_all_listed(self, write):
        """The first twenty, and how many there are."""
        spec = LABELS.replace("world, sports, business, other", ", ".join(f"l{i}" for i in range(300)))
        line = refusal(lambda: items(write(t__yaml=spec, data__csv=LABELLED)))
        assert line.endswith("l18, l19, … (300 in all) (labels of the task file)")

    @pytest.mark.parametrize("value", ['"a, b, c"', "7", '{"a": 1}', '[["a"], "b"]'])
    def test_distractors_that_are_no_list(self, write, value):
        """A column that should hold a list of texts."""
        spec = "data: d.jsonl\ncolumns: {text: q, answer: k, distractors: w}\n"
        path = write(t__yaml=spec, d__jsonl=f'{{"q": "Q", "k": "A", "w": {value}}}\n')
        assert "d.jsonl, line 1, col" in refusal(lambda: items(path))

    def test_a_dot_into_what_is_no_object(self, write):
        """The line says that there is nothing to reach into."""
        spec = "data: d.csv\ncolumns: {text: text, answer: label.name, options: o}\n"
        path = write(t__yaml=spec, d__csv='text,label,o\nball,A,"[""x""]"\n')
        assert "has no column 'label.name', which columns.answer names" in refusal(lambda: items(path))

    def test_missing_data(self, write, tmp_path):
        """A file that is not there, in every format."""
        for name in ("d.csv", "d.tsv", "d.json", "d.jsonl", "d.parquet"):
            if name == "d.parquet":
                pytest.importorskip("pyarrow", reason="Parquet files need the optional package pyarrow")
            path = write(t__yaml=READY.format(data=name))
            line = refusal(lambda path=path: items(path))
            assert line.startswith(f"{tmp_path / name}: no such file; accepted: ")

    def test_parquet_that_is_none(self, write):
        """pyarrow's reason, in a line."""
        pytest.importorskip("pyarrow", reason="Parquet files need the optional package pyarrow")
        path = write(t__yaml=READY.format(data="d.parquet"), d__parquet="text")
        assert "d.parquet: can't be read: " in refusal(lambda: items(path))


SIZES = {"identify": 1, "select": 2, "evaluate": 2, "random_draws": 1, "budget": 10}


class TestRuns:
    def test_run_resume_and_change(self, questions, tmp_path):
        """A finished run is resumed without work, also after a move; changed wording or data is computed anew."""

        def run(path):
            out = tmp_path / "out"
            found = na.run(model="demo", tasks=[path], scorers=["ace"], out=out, resume=out.exists(), **SIZES)
            first = (tmp_path / "out" / "questions.jsonl").read_text().splitlines()[0]
            return found, json.loads(first)["key"]

        result, key = run(str(questions))
        assert list(result.attributions) == ["my_task"]
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        assert manifest["config"]["tasks"] == [str(questions)]
        assert manifest["plugins"].keys() == {"ace", "file"}
        assert na.load_run(tmp_path / "out").table

        moved = tmp_path / "moved"
        moved.mkdir()
        for name in ("my_task.yaml", "data.csv"):
            (tmp_path / name).rename(moved / name)
        before = units(tmp_path / "out")
        assert run(moved / "my_task.yaml")[1] == key
        assert units(tmp_path / "out") == before

        path = moved / "my_task.yaml"
        path.write_text(path.read_text() + "rule: Answer with one letter.\n")
        changed, other = run(path)
        assert other != key
        assert "Answer with one letter." in changed.splits["my_task"].evaluate[0].proxies[0].prompt
        write_rows(moved / "data.csv", [ready(number) for number in range(5, 45)])
        assert run(path)[1] not in (key, other)

    def test_the_command(self, questions, tmp_path, monkeypatch, capsys):
        """--task takes the file, --data the name of its task."""

        def call(*words):
            monkeypatch.setattr(sys, "argv", ["neuron-antagonism", "run", "--dry-run", *words])
            with pytest.raises(SystemExit) as left:
                main()
            return left.value.code or 0, *capsys.readouterr()

        monkeypatch.chdir(tmp_path)
        write_rows(tmp_path / "other.csv", [ready(number) for number in range(70, 90)])
        small = ("--identify", "1", "--select", "2", "--evaluate", "2", "--scorer", "act")
        code, out, _ = call("--task", "my_task.yaml", "--data", "my_task=other.csv", *small)
        assert code == 0
        assert "--- prompt 1 (my_task) ---" in out
        assert re.search(r"What is [78]\d\?", out)
        assert list(tmp_path.glob("runs")) == []

        questions.write_text(questions.read_text() + "roles: x\n")
        code, out, err = call("--task", "my_task.yaml")
        assert (code, out) == (2, "")
        assert err.startswith("error: my_task.yaml, line 3, field roles: unknown; accepted: name, data, ")

    def test_the_same_task_twice(self, questions):
        """Two files may not state tasks of one name."""
        with pytest.raises(na.UsageError, match="task 'my_task' was given twice"):
            na.run(model="demo", tasks=[questions, str(questions)], scorers=["act"], **SIZES)


class Outside(na.Task):
    """A task that reads files of its own."""

    name = "outside"
    suffixes = (".abc", ".task.yaml")
    role, rule, stems = "R", "r", ("{text}",)

    @classmethod
    def from_file(cls, path):
        if "raise" in str(path):
            raise ValueError("two\nlines")
        return None if "none" in str(path) else cls()


@pytest.fixture
def offered(monkeypatch):
    """A registry of one distribution for each class given."""

    def make(*classes):
        points = []
        for number, cls in enumerate(classes):
            module = ModuleType(f"outside_{number}")
            module.neuron_antagonism_tasks = na.hookimpl(lambda cls=cls: [cls], specname="neuron_antagonism_tasks")
            monkeypatch.setitem(sys.modules, module.__name__, module)
            point = importlib.metadata.EntryPoint(f"point{number}", module.__name__, GROUP)
            vars(point)["dist"] = SimpleNamespace(name=f"dist{number}", version="1")
            points.append(point)
        return Registry(points)

    return make


class TestRegistry:
    def test_a_path_by_its_ending(self, offered, tmp_path):
        """The longest ending that a task claims decides; other endings are listed."""
        found = offered(Outside, FileTask)
        (tmp_path / "mine.yaml").write_text(LABELS)
        assert isinstance(found.task(tmp_path / "mine.yaml"), FileTask)
        line = refusal(lambda: found.task("x.xyz"), of=na.PluginError)
        assert line.startswith("unknown task 'x.xyz'; ")
        assert line.endswith("accepted: file, outside, or a file that ends in .abc, .task.yaml, .toml, .yaml, .yml")
        with pytest.raises(na.DataError, match=r"x.task.yaml: its task is named 'outside', as a task of dist0 is"):
            found.task("x.task.yaml")

    def test_two_distributions_of_one_ending(self, offered):
        """Neither reads it, the line names both; their other endings and names are usable."""
        other = type("Other", (Outside,), {"name": "other", "suffixes": (".abc",)})
        found = offered(Outside, other)
        line = refusal(lambda: found.task("x.abc"), of=na.PluginError)
        assert line.startswith("two tasks read files that end in .abc: 'outside' of dist0 and 'other' of dist1; acc")
        assert found.conflicts == {".abc": line}
        assert found.names("task") == ["other", "outside"]

    def test_what_a_reader_gets_wrong(self, offered):
        """An error, or a result that is no task, names the task, its distribution and the file."""
        found = offered(Outside)
        line = "task 'outside' of dist0 can't read raise.abc: ValueError: two lines"
        with pytest.raises(na.PluginError, match=f"^{line}$"):
            found.task("raise.abc")
        with pytest.raises(na.PluginError, match=r"task 'outside' of dist0 made None of none.abc; accepted: a task"):
            found.task("none.abc")

    @pytest.mark.parametrize("suffixes", [".abc", ("abc",), (".ABC",), (".",), [".abc"]])
    def test_malformed_suffixes(self, offered, suffixes):
        """Refused where they are registered."""
        (broken,) = offered(type("Bad", (Outside,), {"suffixes": suffixes})).broken
        assert f"Bad.suffixes is {suffixes!r}; accepted: a tuple of lowercase endings" in broken.error

    def test_suffixes_without_a_reader(self, offered):
        """A claim alone reads nothing."""
        (broken,) = offered(type("Bad", (na.Task,), {"name": "bad", "suffixes": (".abc",)})).broken
        assert broken.error == "Bad has suffixes but no from_file(); accepted: both, or neither"
        with pytest.raises(na.PluginError, match="task '' is not read from files"):
            na.Task.from_file("x.abc")

    def test_the_bare_name(self):
        """`--task file` says what it needs."""
        assert "task 'file' needs a file" in refusal(lambda: na.load_task("file"), of=na.UsageError)
        assert "file" not in DEFAULT_TASKS


def test_every_field_is_described_and_documented():
    """`plugins file` shows each field of the schema, and every one says what it accepts."""
    for model in (Spec, Data, Columns, Demonstration):
        for name, field in model.model_fields.items():
            assert field.description
            assert name in (FileTask.__doc__ or "")
