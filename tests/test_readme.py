"""The README's and the guide's code and commands run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import public_names
import pytest

import neuron_antagonism as na
from neuron_antagonism.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "neuron_antagonism" / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", f"{README}\n{GUIDE}", re.S)


def test_the_readme_is_short_and_its_links_lead_somewhere():
    """Under two hundred lines; every link in it, the guide and the results is a file, every anchor a heading there."""
    assert len(README.splitlines()) < 200
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    for where, text in ((ROOT, README), (ROOT / "neuron_antagonism", GUIDE), (ROOT / "benchmarks", results)):
        targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
        for target in (one for one in targets if "://" not in one):
            path, _, anchor = target.partition("#")
            own = "RESULTS.md" if where.name == "benchmarks" else "README.md"
            file = where / (path or own)
            assert file.exists(), target
            if anchor:
                headings = re.findall(r"(?m)^#+ (.*)$", file.read_text(encoding="utf-8"))
                made = [re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings]
                assert anchor in made, target


def test_python_blocks_run_in_order():
    """Every Python block runs, and the plugin block gives a scorer that finds neurons."""
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    scorer = names["MarginScorer"]
    assert isinstance(scorer, type)
    result = na.attribute(na.load_model("demo"), names["split"].identify[:1], scorer=scorer())  # type: ignore[attr-defined]
    assert len(result.good(20)) == 20


def test_the_plugin_fits_twenty_lines():
    """The plugin that is promised to be short is short: lines that are neither blank nor docstrings."""
    plugin = next(block for block in blocks("python") if "hookimpl" in block)
    code = [line for line in plugin.splitlines() if line.strip() and '"""' not in line]
    assert len(code) <= 20


def test_the_second_command_is_what_ci_runs():
    """The README's test command stands in .ci/run to the letter: ruff's rules, its format, strict mypy, the tests."""
    second = blocks("bash")[1].strip()
    steps = [step.removeprefix(".venv/bin/") for step in second.split(" && ")]
    assert steps[2:5] == ["ruff check", "ruff format --check", "mypy"]
    assert steps[5].startswith("python -m pytest")
    assert len(steps) == 6
    assert second in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_test_file_stands_beside_a_promise():
    """The tests' own README names every test file, and no other."""
    tests = ROOT / "tests"
    named = set(re.findall(r"`(test_\w+\.py)`", (tests / "README.md").read_text(encoding="utf-8")))
    assert named == {file.name for file in tests.glob("test_*.py")}


def test_first_command_ends_with_the_table(default_run):
    """`neuron-antagonism run`, the first command after its installation, prints the tables that the README shows."""
    assert blocks("bash")[0].strip().endswith("neuron-antagonism run")
    for task in ("ner", "chunking", "sentiment", "commonsense"):
        assert f"{task}: unedited accuracy" in default_run.stdout
    shown = re.search(r"```text\n(.*?)```", README, re.S)
    assert shown is not None
    header = next(line for line in shown[1].splitlines() if "RAC %" in line)
    assert header.split() in [line.split() for line in default_run.stdout.splitlines()]


def test_commands_exist():
    """Every `neuron-antagonism` command and long option that the README shows is known to the command line."""
    groups = {group.typer_instance.info.name for group in app.registered_groups if group.typer_instance}
    known = {command.name for command in app.registered_commands} | groups
    used = set(re.findall(r"neuron-antagonism ([a-z]+)", "\n".join(blocks("bash"))))
    assert {"run", "new"} <= used <= known
    shown = "\n".join(blocks("bash")).replace("\\\n", " ")
    for command in ("run", "bench", "report"):
        lines = re.findall(rf"neuron-antagonism {command} ([^#\n]*)", shown)
        assert lines
        help_text = subprocess.run(
            [sys.executable, "-m", "neuron_antagonism", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={"COLUMNS": "200", "PATH": ""},
        ).stdout
        for option in set(re.findall(r"--[a-z-]+", " ".join(lines))):
            assert option in help_text, (command, option)


def test_the_table_of_public_names():
    """The guide names every public name once, with what its docstring says first."""
    named = [name for names in public_names.GROUPS.values() for name in names]
    assert sorted(named) == sorted(na.__all__)
    assert all(re.search(r"[.]$", public_names.line(name)) for name in named)
    assert public_names.written(GUIDE) == GUIDE, "python tests/public_names.py writes it anew"


def test_every_dependency_says_why():
    """Constraints pin every direct dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    for requirement in [*project["dependencies"], *extras]:
        assert re.split(r"[><=]", requirement)[0].lower() in pinned, requirement


def test_the_task_file_for_labelled_texts(tmp_path):
    """The guide's second task file reads labelled texts without a line of column names, and their classes."""
    _, block = blocks("yaml")
    (tmp_path / "news.yaml").write_text(block, encoding="utf-8")
    for part in ("train", "test"):
        rows = [f'"{n % 4 + 1}","Title {n}","{part} text number {n}"' for n in range(24)]
        (tmp_path / f"{part}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for form in ("letters", "label"):
        split = na.concept_split(tmp_path / "news.yaml", form=form, identify=2, evaluate=3)
        assert split.concepts == ("world", "sports", "business", "science")
        assert [example.proxies[0].concept for example in split.evaluate] == [
            c for c in split.concepts for _ in range(3)
        ]
        assert "test text number" in split.evaluate[0].proxies[0].prompt.rsplit("Title", 1)[-1]


def test_the_shortest_task_file(tmp_path):
    """The guide's first: a CSV file with a line of column names; a label that is not listed is refused."""
    first, _ = blocks("yaml")
    (tmp_path / "task.yaml").write_text(first, encoding="utf-8")
    labels = ("positive", "negative", "neutral")
    rows = ["text,label", *(f"text number {n},{labels[n % 3]}" for n in range(24))]
    (tmp_path / "reviews.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    split = na.load_task(tmp_path / "task.yaml").split(identify=2, select=3, evaluate=6)
    assert {option for example in split.evaluate for option in example.proxies[0].options} == set(labels)
    assert "Text: text number" in split.evaluate[0].proxies[0].prompt
    (tmp_path / "reviews.csv").write_text("\n".join([*rows, "another text,not sure"]) + "\n", encoding="utf-8")
    with pytest.raises(na.DataError, match=r"line 26.*'not sure'.*positive"):
        na.load_task(tmp_path / "task.yaml").split(identify=2, select=3, evaluate=6)
