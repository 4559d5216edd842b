"""Task files of lm-evaluation-harness: what they ask, and one line for what is wrong, without end, or code."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest
import tiny
import yaml

import neuron_antagonism as na
from neuron_antagonism_plugins._harness import DatasetArguments, Fewshot, Harness
from neuron_antagonism_plugins._listed import without_cue

one_thread = tiny.one_thread

ARC = """\
task: ores
dataset_path: json
dataset_kwargs: {data_files: {test: test.jsonl, train: [train.jsonl]}}
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices.text}}"
doc_to_target: "{{choices.label.index(answerKey)}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
LETTERS = """\
dataset_path: json
dataset_kwargs: {data_files: test.jsonl}
test_split: train
description: "The questions are about ores.\\n\\n"
doc_to_text: "{{question.strip()}}\\nA. {{opts[0]}}\\nB. {{opts[1]}}\\nC. {{opts[2]}}\\nD. {{opts[3]}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
"""
BOOLEAN = """\
dataset_path: json
dataset_kwargs: {data_files: {validation: test.jsonl}}
validation_split: validation
test_split: null
doc_to_text: "{{passage}}\\nQuestion: {{question}}?\\nAnswer:"
doc_to_choice: ["no", "yes"]
doc_to_target: label
"""
PAIRS = """\
dataset_path: json
dataset_kwargs: {data_files: {train: test.jsonl}}
validation_split: train
doc_to_text: ""
doc_to_choice: "{{[good, bad]}}"
doc_to_target: 0
num_fewshot: 0
"""
COLUMNS = """\
dataset_path: json
dataset_kwargs: {data_files: {validation: test.jsonl}}
validation_split: validation
doc_to_text: stem
doc_to_choice: endings
doc_to_target: "{{label}}"
"""
ROWS = {
    "arc": [
        {
            "question": f"Which ore gives metal {n}?",
            "choices": {"text": [f"a{n}", f"b{n}", f"c{n}", f"d{n}"], "label": ["1", "2", "3", "4"]},
            "answerKey": str(1 + n % 4),
        }
        for n in range(6)
    ],
    "letters": [
        {"question": f" Which ore is {n}? ", "opts": [f"a{n}", f"b's{n}", f"c{n}", f"d{n}"], "answer": n % 4}
        for n in range(6)
    ],
    "boolean": [{"passage": f"Ore {n} is red.", "question": f"is ore {n} red", "label": n % 2} for n in range(6)],
    "pairs": [{"good": f"the ores {n} are", "bad": f"the ores {n} is"} for n in range(6)],
    "columns": [
        {"stem": f"He lifts ore {n} and", "endings": [f"w{n}", f"x{n}", f"y{n}", f"z{n}"], "label": str(n % 4)}
        for n in range(6)
    ],
}
FILES = {"arc": ARC, "letters": LETTERS, "boolean": BOOLEAN, "pairs": PAIRS, "columns": COLUMNS}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def write(tmp_path):
    """Writes a task file and its rows, and returns the file's path."""

    def made(text, rows, name="t.yaml", data="test.jsonl"):
        (tmp_path / data).write_text(rows if isinstance(rows, str) else lines(rows), encoding="utf-8")
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return made


@pytest.fixture
def stated(write, tmp_path):
    """The task file of a name above, with its rows."""

    def made(name, text=None, rows=None):
        (tmp_path / "train.jsonl").write_text(lines(ROWS["arc"][4:]), encoding="utf-8")
        return write(text or FILES[name], rows or ROWS[name])

    return made


def items(path, source=None):
    return list(na.load_task(path).task.examples(source, 0))


def refusal(action, *, of=na.DataError):
    with pytest.raises(of) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    assert "accepted: " in line
    return line


class TestWhatIsAsked:
    def test_templates(self, stated):
        """Texts without the line that leads up to the answer; options and answers by Jinja; parts by splits."""
        found = items(stated("arc"))
        assert [item.part for item in found] == ["test"] * 6 + ["train"] * 2
        for n, item in enumerate(found[:6]):
            assert item.text == f"Question: Which ore gives metal {n}?"
            assert item.answer == f"{'abcd'[n % 4]}{n}"
            assert set(item.distractors) == {f"{letter}{n}" for letter in "abcd"} - {item.answer}
            assert item.meta == {"prompt": f"Question: Which ore gives metal {n}?\nAnswer:"}
        task = na.load_task(stated("arc")).task
        assert (task.name, task.forms) == ("ores", ("letters", "words"))

    def test_options_that_the_text_lists(self, stated):
        """Letters say nothing: the options are what stands after them, and are no part of the question."""
        path = stated("letters")
        found = items(path)
        assert [(item.text, item.answer) for item in found[:2]] == [
            ("Which ore is 0?", "a0"),
            ("Which ore is 1?", "b's1"),
        ]
        assert found[0].meta == {"prompt": "Which ore is 0?\nAnswer:"}
        task = na.load_task(path).task
        assert (task.role, task.words_role) == ("The questions are about ores.",) * 2
        question = na.load_task(path).split(identify=1, select=1, evaluate=1).evaluate[0].proxies[0]
        assert question.prompt.startswith(
            "The questions are about ores.\nReply with one letter only: A, B, C or D.\n\n"
        )
        assert question.prompt.count("D. ") == 2

    def test_classes(self, stated):
        """Options that are the same for every row are classes, as labels of a task file are."""
        task = na.load_task(stated("boolean"))
        found = items(stated("boolean"))
        assert [item.answer for item in found] == ["no", "yes"] * 3
        assert task.task.concepts == ("no", "yes")
        split = task.split(identify=1, select=1, evaluate=1, form="words", shots=1)
        assert split.evaluate[0].proxies[0].prompt.endswith("red?\nAnswer:")
        assert set(split.evaluate[0].proxies[0].options) == {"no", "yes"}

    def test_nothing_but_options(self, stated):
        """An empty doc_to_text: the options are all there is, by letters alone."""
        path = stated("pairs")
        found = items(path)
        assert (found[0].text, found[0].answer, found[0].distractors) == ("the ores 0 are",) * 2 + (("the ores 0 is",),)
        task = na.load_task(path).task
        assert task.forms == ("letters",)
        assert na.load_task(path).split(identify=1, select=1, evaluate=1).evaluate[0].proxies[0].options

    def test_columns(self, stated):
        """Names of columns in place of templates; digits that a template writes are an index."""
        found = items(stated("columns"))
        assert [item.answer for item in found[:4]] == ["w0", "x1", "y2", "z3"]
        assert found[0].text == "He lifts ore 0 and"

    @pytest.mark.parametrize(
        ("target", "answer"), [("1", 1), ("x", '"w1"'), ("x", "[1]"), ("x", "true"), ('"{{x}}"', '"1"'), ("x", "1.0")]
    )
    def test_what_an_answer_means(self, write, target, answer):
        """An index, an option's text, one of a list."""
        text = COLUMNS.replace('"{{label}}"', target)
        (item,) = items(write(text, f'{{"stem": "s", "endings": ["w0", "w1", "w2"], "x": {answer}}}\n'))
        assert item.answer == "w1"

    def test_options_that_are_letters(self, write):
        """Of a row, which may be about letters, they are texts unless the prompt lists others after them."""
        rows = [{"stem": "Which comes first?", "endings": ["A", "B", "C"], "label": 0}]
        rows += [
            {"stem": "Which is red?\nA. blood\nB) grass\n(C) snow\nAnswer:", "endings": ["A", "B", "C"], "label": 0}
        ]
        assert [(item.text, item.answer) for item in items(write(COLUMNS, rows))] == [
            ("Which comes first?", "A"),
            ("Which is red?", "blood"),
        ]

    def test_their_own_filter(self, write):
        """`regex_replace`, which lm-eval has beside Jinja's filters."""
        text = COLUMNS.replace("doc_to_text: stem", "doc_to_text: \"{{ stem | regex_replace('[0-9]', '#') }}\"")
        assert items(write(text, ROWS["columns"]))[0].text == "He lifts ore # and"

    def test_csv(self, write):
        """Columns of whole numbers are numbers, as `datasets` reads them; an empty cell is missing."""
        text = """\
dataset_path: csv
dataset_kwargs: {data_files: {test: t.csv}}
test_split: test
doc_to_text: q
doc_to_choice: "{{[a, b]}}"
doc_to_target: k
"""
        path = write(text, "q,a,b,k\nfirst,x,y,1\nsecond,x,y,\nthird,v,w,0\n", data="t.csv")
        task = na.load_task(path).task
        found = list(task.examples(None, 0))
        assert [item.answer for item in found] == ["y", "v"]
        assert dict(task.left_out) == {"doc_to_target: column 'k' is empty or missing": 1}

    def test_a_json_array_and_parquet(self, stated, tmp_path):
        """A `.json` file may be one array; Parquet is read too."""
        text = ARC.replace("test.jsonl", "test.json")
        path = stated("arc", text=text)
        (tmp_path / "test.json").write_text(json.dumps(ROWS["arc"]))
        assert len(items(path)) == 8
        pyarrow = pytest.importorskip("pyarrow", reason="Parquet files need the optional package pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(ROWS["columns"]), tmp_path / "test.parquet")
        text = COLUMNS.replace("dataset_path: json", "dataset_path: parquet").replace("jsonl", "parquet")
        assert [item.answer for item in items(stated("columns", text=text))][:2] == ["w0", "x1"]

    def test_a_directory_as_on_the_hub(self, tmp_path, write, monkeypatch):
        """dataset_path is what `datasets` loads; classes are numbers there; fewshot_split gives what is shown."""
        datasets = pytest.importorskip("datasets", reason="data sets need the optional package datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
        (tmp_path / "set").mkdir()
        features = datasets.Features({"t": datasets.Value("string"), "k": datasets.ClassLabel(names=["no", "yes"])})
        for split, count in (("test", 5), ("validation", 2)):
            columns = {"t": [f"{split} {n}" for n in range(count)], "k": [n % 2 for n in range(count)]}
            rows = datasets.Dataset.from_dict(columns, features=features)
            rows.to_parquet(str(tmp_path / "set" / f"{split}.parquet"))
        text = """\
dataset_path: set
test_split: test
fewshot_split: validation
doc_to_text: t
doc_to_choice: [wrong, right]
doc_to_target: k
"""
        path = write(text, "")
        task = na.load_task(path).task
        assert [item.answer for item in task.examples(None, 0)] == ["wrong", "right", "wrong", "right", "wrong"]
        assert task.demonstration == na.Item("validation 0", "wrong", ("right",), {"prompt": "validation 0"})
        path.write_text(text.replace("test_split: test", "test_split: dev"))
        line = refusal(lambda: items(path))
        assert "test (5 rows)" in line
        assert line.endswith("accepted: rows in dev, as the task file says")

    def test_what_is_shown(self, stated):
        """The first of fewshot_config's samples stands answered at the head of every prompt."""
        text = (
            COLUMNS
            + 'fewshot_config: {samples: [{stem: He shows, endings: [p, q, "3", s], label: 2}]}\nnum_fewshot: 2\n'
        )
        path = stated("columns", text=text)
        loaded = na.load_task(path)
        prompt = loaded.split(identify=1, select=1, evaluate=1).evaluate[0].proxies[0].prompt
        assert prompt.split("\n\n")[1].startswith("He shows\n")
        assert " 3\n" in prompt.split("\n\n")[1]
        assert loaded.task.words_shots == 2

    def test_other_data(self, stated, tmp_path):
        """`--data NAME=FILE` reads other rows with the same columns."""
        (tmp_path / "other.jsonl").write_text(lines(ROWS["columns"][3:5]))
        assert [item.answer for item in items(stated("columns"), str(tmp_path / "other.jsonl"))] == ["z3", "w4"]

    def test_a_run(self, stated, tmp_path, checkpoint):
        """It is a task like any: recorded, stored and read again."""
        path = stated("letters")
        sizes = {"identify": 1, "select": 2, "evaluate": 2, "random_draws": 1, "budget": 4}
        ran = na.run(model=str(checkpoint), tasks=[path], scorers=["act"], out=tmp_path / "x", **sizes)
        assert ran.manifest["plugins"].keys() == {"act", "file"}
        assert na.load_run(tmp_path / "x").splits["t"].evaluate == ran.splits["t"].evaluate

    @pytest.mark.parametrize(
        ("text", "bare"),
        [
            ("Q: x?\nA:", "Q: x?"),
            ("x?\nThe correct answer is:", "x?"),
            ("x?\n Answer", "x?"),
            ("What is an answer?", "What is an answer?"),
            ("x is A:", "x is A:"),
            ("\n" * 500_000 + "A:\nx" + "\n" * 500_000, "A:\nx"),
        ],
    )
    def test_the_line_that_leads_up_to_the_answer(self, text, bare):
        assert without_cue(text) == bare


class TestRowsThatAreLeftOut:
    def test_missing_and_unlabelled(self, write):
        """Counted by reason; the others are asked."""
        rows = [
            *ROWS["columns"],
            {"stem": "s", "endings": ["a", "b"]},
            {"stem": None, "endings": ["a", "b"], "label": 0},
        ]
        rows += [{"stem": "s", "endings": ["a", "b"], "label": -1}, {"stem": " ", "endings": ["a", "b"], "label": 0}]
        task = na.load_task(write(COLUMNS, rows)).task
        assert len(list(task.examples(None, 0))) == 6
        assert dict(task.left_out) == {
            "doc_to_target: 'label' is undefined": 1,
            "doc_to_text: column 'stem' is empty or missing": 1,
            "unlabelled (-1)": 1,
            "doc_to_text is empty": 1,
        }

    def test_alike_options(self, write):
        """Options that are the same count once; the right one's double is no wrong one."""
        rows = [{"stem": "s", "endings": ["a", "b", "a", "c"], "label": 2}, *ROWS["columns"]]
        found = items(write(COLUMNS, rows))
        assert (found[0].answer, found[0].distractors) == ("a", ("b", "c"))
        split = na.load_task(write(COLUMNS, rows)).split(identify=1, select=1, evaluate=1)
        assert split.report.too_few_options == 1


class TestRefused:
    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            (
                "doc_to_text: stem",
                "doc_to_text: !function utils.f",
                ", line 4, field doc_to_text: found '!function utils.f'",
            ),
            (
                "doc_to_text: stem",
                "doc_to_text: stem\nprocess_docs: f",
                "process_docs: is code, and is not read; accepted: ",
            ),
            ("doc_to_text: stem", "doc_to_text: stem\ninclude: x", "field include: leads to another file, and is not"),
            (
                "doc_to_text: stem",
                "doc_to_text: stem\nx: 1",
                "line 5, field x: unknown; accepted: task, dataset_path, ",
            ),
            (
                "doc_to_text: stem",
                "doc_to_text: stem\ntask: [a, b]",
                "line 5, field task: found ['a', 'b']; accepted: ",
            ),
            (
                "doc_to_text: stem\n",
                "",
                "field doc_to_text: is missing; accepted: a column's name, or a Jinja template",
            ),
            ("doc_to_text: stem", 'doc_to_text: "{{ stem"', "line 4, field doc_to_text: unexpected end of template"),
            ("doc_to_text: stem", 'doc_to_text: "{{ stem | f }}"', "no filter is named 'f'; accepted: abs, attr, "),
            ("doc_to_text: stem", 'doc_to_text: "{{ [stem] | random }}"', "no filter is named 'random'; accepted: "),
            ("doc_to_text: stem", "doc_to_text: stem\noutput_type: generate_until", "accepted: multiple_choice"),
            (
                "doc_to_text: stem",
                'doc_to_text: stem\ndescription: "{{x}}"',
                "field description: found '{{x}}'; accepted: ",
            ),
            ("doc_to_choice: endings", "doc_to_choice: [a, a]", "found ['a', 'a']; accepted: different options"),
            ("doc_to_choice: endings", "doc_to_choice: [a]", "accepted: at least 2 options"),
            ('"{{label}}"', "7\nmetadata: 1", "field doc_to_target: found 7; accepted: one index 0 to 3"),
            (
                "dataset_path: json",
                "dataset_path: org/set",
                "accepted: dataset_kwargs.data_files with dataset_path json",
            ),
            (
                "{validation: test.jsonl}",
                "{validation: 'https://x/y.json'}",
                "accepted: paths of files, without pattern",
            ),
            (
                "{data_files: {",
                "{trust_remote_code: true, data_files: {",
                "trust_remote_code: found True; accepted: fal",
            ),
            (
                "{data_files: {",
                "{delimiter: ';', data_files: {",
                "dataset_kwargs.delimiter: unknown; accepted: data_fi",
            ),
            (
                "validation_split: validation",
                "test_split: test",
                "found 'test'; accepted: a split of data_files: valid",
            ),
            (
                "validation_split: validation\n",
                "",
                "field test_split: is missing; accepted: test_split, validation_spl",
            ),
            ("validation: test.jsonl", "validation: none.jsonl", "none.jsonl: no such file; accepted: "),
        ],
    )
    def test_files(self, write, old, new, said):
        """One line that names file, line and field."""
        assert COLUMNS.replace(old, new) != COLUMNS
        path = write(COLUMNS.replace(old, new), ROWS["columns"])
        assert said in refusal(lambda: items(path))

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            (
                {"doc_to_text": "{{ nothing }}"},
                "field doc_to_text of {path}: 'nothing' is undefined; accepted: a column's",
            ),
            (
                {"doc_to_text": "{{ 1 / 0 }}"},
                "line 1, field doc_to_text of {path}: ZeroDivisionError: division by zero",
            ),
            (
                {"doc_to_text": "{{ stem.__class__.mro() }}"},
                "access to attribute '__class__' of 'str' object is unsafe",
            ),
            ({"doc_to_text": "{{ endings.append(1) }}"}, "access to attribute 'append' of 'list' object is unsafe"),
            ({"doc_to_text": "{% include 'x' %}"}, "no loader for this environment specified"),
            ({"doc_to_choice": "{{ stem }}"}, "field doc_to_choice of {path}: gives 'He lifts ore 0 and', which is no"),
            ({"doc_to_choice": "stem"}, "gives 'He lifts ore 0 and', which is no list; accepted: "),
            ({"doc_to_choice": "{{ [[1], 2] }}"}, "field doc_to_choice: found [1]; accepted: a text or number"),
            (
                {"doc_to_choice": ["A", "B", "C", "D"]},
                "accepted: a text with the options on lines of their own, such as A.",
            ),
            (
                {"doc_to_target": 4},
                "field doc_to_target: found 4; accepted: one index 0 to 3, or the text of an option",
            ),
            ({"doc_to_target": "{{ -2 }}"}, "field doc_to_target: found -2; accepted: "),
            ({"doc_to_target": "w"}, "field doc_to_target: found [1, 2]; accepted: one index"),
            ({"doc_to_target": "stem"}, "found 'He lifts ore 0 and'; accepted: one index 0 to 3, or the text of an"),
            (
                {"doc_to_target": "label"},
                "found '0'; accepted: one index 0 to 3, or the text of an option; a template th",
            ),
        ],
    )
    def test_what_templates_give(self, write, fields, said):
        """One line that names the row and the field."""
        text = yaml.safe_dump({**yaml.safe_load(COLUMNS), **fields})
        path = write(text, [{**row, "w": [1, 2]} for row in ROWS["columns"]])
        assert said.format(path=path) in refusal(lambda: items(path))

    @pytest.mark.parametrize(
        ("template", "said"),
        [
            (
                "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                "take too much time or memor",
            ),
            ("{% for a in range(99999) %}{{ stem * 99 }}{% endfor %}", "gives more than 1,048,576 characters"),
            ("{{ stem * 99999999 }}", "takes more than 512 MiB"),
            ("{{ 9 ** (9 ** 9) }}", "too much time or memory"),
            ("{{ 'x' | center(999999999) }}", "takes more than 512 MiB"),
            ("{{ '%0999999999d' | format(label | int) }}", "takes more than 512 MiB"),
            ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
            ("{{ range(999999) | list }}", "OverflowError: Range too big"),
            ("{{ ('a' * 60) | regex_replace('(a+)+b', '') }}", "too much time or memory"),
            (
                "{% set n = namespace(s=stem) %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
                "takes more",
            ),
        ],
        ids=range(10),
    )
    def test_templates_without_end(self, write, template, said):
        """Time, memory and length are bounded, within a library's single call too."""
        path = write(yaml.safe_dump({**yaml.safe_load(COLUMNS), "doc_to_text": template}), ROWS["columns"])
        started = time.perf_counter()
        assert said in refusal(lambda: items(path))
        assert time.perf_counter() - started < 20

    def test_what_a_native_file_says_of_code(self, write):
        """Tags are refused in any task file."""
        path = write("data: test.jsonl\ncolumns: !python/name:os.system {text: q}\n", "")
        assert "plain values: code is not run" in refusal(lambda: na.load_task(path))


HARNESS = """
import json, os, sys
from lm_eval.tasks import TaskManager

os.chdir(sys.argv[1])
found = {}
for name in sys.argv[2:]:
    task = TaskManager(include_path=".", include_defaults=False).load([name])["tasks"][name]
    docs = list(task.test_docs() if task.has_test_docs() else task.validation_docs())
    found[name] = [[task.doc_to_text(doc), task.doc_to_choice(doc), task.doc_to_target(doc)] for doc in docs]
print(json.dumps(found))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed: pip install -e '.[lm-eval]'"
)
def test_the_same_as_their_own_program(tmp_path):
    """Texts, options and answers are those that lm-eval itself makes of the same files."""
    for name, text in FILES.items():
        own = yaml.safe_load(text.replace("test.jsonl", f"{name}.jsonl"))
        own |= {"task": f"{name}_here", "output_type": "multiple_choice"}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(own))
        (tmp_path / f"{name}.jsonl").write_text(lines(ROWS[name]))
    (tmp_path / "train.jsonl").write_text(lines(ROWS["arc"]))
    command = [sys.executable, "-W", "ignore", "-c", HARNESS, str(tmp_path), *(f"{name}_here" for name in FILES)]
    env = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    for name in FILES:
        ours = [item for item in items(tmp_path / f"{name}.yaml") if item.part != "train"]
        assert len(ours) == len(theirs[f"{name}_here"]) == 6
        for item, (text, choices, target) in zip(ours, theirs[f"{name}_here"], strict=True):
            right = item.answer if choices != list("ABCD") else text.split("\n")[1 + int(target)][3:]
            assert item.answer == right
            if choices != list("ABCD"):
                assert item.answer == choices[int(target)]
                assert {item.answer, *item.distractors} == set(choices)
                assert item.meta.get("prompt", "") == text


def test_every_field_is_described():
    for model in (Harness, DatasetArguments, Fewshot):
        assert all(field.description for field in model.model_fields.values())
