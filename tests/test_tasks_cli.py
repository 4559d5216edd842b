"""The command `tasks`: what it shows is what is asked, and what it says of a model is measured by `doctor` too."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.plugin import folder
from neuron_antagonism.suites.forms import form_checks, form_level

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `tasks` in this process, in an empty directory: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neuron-antagonism", "tasks", *map(str, words)])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
        return (code, *capsys.readouterr())

    return run


def document(call: Call, *words: str | Path) -> Any:
    code, out, _ = call(*words, "--json")
    assert code == 0
    return json.loads(out)


def test_the_list(call):
    """Every task with one line, its forms and where its data come from; no line is wider than a terminal."""
    rows = {row["name"]: row for row in document(call)}
    assert {"chunking", "commonsense", "file", "ner", "sentiment"} <= set(rows)
    assert rows["chunking"]["forms"] == ["letters"]
    assert rows["ner"]["forms"] == ["letters", "words"]
    test, train = na.load_task("ner").items()
    assert rows["ner"]["data"] == f"own sample, {len(test) + len(train)} rows"
    assert ".yaml" in rows["file"]["data"]
    code, out, _ = call()
    assert code == 0
    assert set(rows) <= set(out.split())
    assert max(map(len, out.splitlines())) <= 80


OTHERS = """
import neuron_antagonism as na


class Needy(na.Task):
    \"\"\"Comes without a sample.\"\"\"

    name, role, rule, stems = "needy", "You answer.", "Reply with one letter only.", ("{text}",)
    error = na.DataError("needs a file")

    def examples(self, source, seed):
        raise self.error


class Faulty(Needy):
    \"\"\"Has a mistake in it.\"\"\"

    name, error = "faulty", ValueError("no such thing")


class Remote(Needy):
    \"\"\"Is elsewhere.\"\"\"

    name, origin, error = "remote", "hub:some/where", MemoryError("must not be read")


@na.hookimpl
def neuron_antagonism_tasks():
    return [Needy, Faulty, Remote]
"""


def test_tasks_of_others(call, tmp_path, monkeypatch):
    """Of a task without a sample the list says where or how to give it data, of a broken one why; the rest is there."""
    points = "[project.entry-points.neuron_antagonism]\nothers = 'others_of_a_test'\n"
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'others'\nversion = '1'\n{points}")
    (tmp_path / "others_of_a_test.py").write_text(OTHERS)
    monkeypatch.setenv(folder.VARIABLE, str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    rows = {row["name"]: row for row in document(call)}
    monkeypatch.delitem(sys.modules, "others_of_a_test")
    assert rows["needy"]["data"] == "--data needy=EVAL[,TRAIN]"
    assert rows["needy"]["summary"] == "Comes without a sample."
    assert rows["faulty"]["data"] == "broken: task 'faulty' failed in examples(): ValueError: no such thing"
    assert rows["remote"]["data"] == "hub:some/where"
    assert "ner" in rows


@pytest.mark.parametrize("form", ["letters", "words"])
def test_a_task_is_shown_as_it_is_asked(call, form):
    """Prompt, options, right answer and baselines are those of the evaluation set that a run draws."""
    (shown,) = document(call, "ner", "--form", form, "--seed", "3")["forms"]
    split = na.load_task("ner").split(0, 0, 1, seed=3, form=form)
    question = split.evaluate[0].proxies[0]
    assert shown["prompt"] == question.prompt
    assert (tuple(shown["options"]), shown["answer"]) == (question.options, question.answer)
    assert shown["baselines"] == {"guess": 1 / len(question.options), **split.natural.blind}
    assert shown["chance"] == max(shown["baselines"].values())
    assert "answers" not in shown
    out = call("ner", "--form", form, "--seed", "3")[1]
    assert f"\n{question.prompt}\n" in out
    assert all(name in out for name in ("guess", "medoid", "longest", "frequent"))


def test_each_form_a_task_has(call):
    """Without `--form` every form is shown; `--shots` is of words, and shows these alone."""
    assert [one["form"] for one in document(call, "sentiment")["forms"]] == ["letters", "words"]
    assert [one["form"] for one in document(call, "chunking")["forms"]] == ["letters"]
    (words,) = document(call, "sentiment", "--shots", "1")["forms"]
    assert (words["form"], words["shown"]) == ("words", 3)


def test_a_task_file(call, tmp_path):
    """A file's path works where a name does, and `--data` gives it other data under its own name."""
    file = tiny.labelled(tmp_path)
    shown = document(call, file)
    assert (shown["name"], shown["data"]) == (na.load_task(file).name, "mine.csv")
    other = next(tmp_path.glob("*.csv"))
    assert document(call, file, "--data", f"{shown['name']}={other}")["data"] == str(other)


def test_what_a_model_answers(call):
    """Accuracy as examples come, with its interval and beside chance: the figures that `doctor` prints."""
    model, task = na.load_model("demo"), na.load_task("sentiment")
    (shown,) = document(call, "sentiment", "--form", "letters", "--model", "demo")["forms"]
    level = form_level(model, task, "letters")
    assert {**vars(level), "interval": list(level.interval)}.items() <= shown["answers"].items()
    answers = na.evaluate(model, task.split(0, 0, 12, fits=model).evaluate)
    assert (level.acc, level.questions) == (answers.acc, 36)
    assert level.interval[0] <= level.acc <= level.interval[1]
    line = {name: detail for name, _, detail in form_checks(model, "sentiment")}["form letters"]
    assert level.line(" of sentiment") == line
    assert level.line() in call("sentiment", "--model", "demo")[1]


def test_a_form_that_a_model_can_not_answer(call, monkeypatch):
    """The reason stands in its place, and the other form is asked."""

    def refuse(*_: Any, **__: Any) -> None:
        raise na.ModelError("no letters here")

    monkeypatch.setattr("neuron_antagonism.suites.forms.form_level", refuse)
    code, out, _ = call("sentiment", "--model", "demo")
    assert (code, out.count("not asked: no letters here")) == (0, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nre",), "unknown task 'nre'; did you mean 'ner'?"),
        (("file",), "task 'file' needs a file that states it"),
        (("--form", "words"), "--form was given without a task's name"),
        (("--model", "demo"), "--model was given without a task's name"),
        (("ner", "--device-map", "auto"), "--device-map was given without --model"),
        (("chunking", "--shots", "2"), "task 'chunking' does not suit the form 'words'"),
        (("ner", "--form", "letters", "--shots", "2"), "shots is 2 of the form 'letters'"),
        (("ner", "--form", "word"), "unknown form 'word'; did you mean 'words'?"),
        (("ner", "--seed", "-1"), "seed is -1; accepted"),
        (("ner", "--data", "nre=x.txt"), "data was given for unknown task 'nre'; did you mean 'ner'?"),
        (("ner", "--data", "ner=nowhere.txt"), "nowhere.txt"),
    ],
)
def test_what_is_wrong_is_one_line(call, words, said):
    """Exit code 2, nothing printed, and what is accepted."""
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
