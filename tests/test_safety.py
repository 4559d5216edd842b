"""Files are not trusted: what is read is bounded, runs no code, and leads nowhere else."""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import neuron_antagonism as na
from neuron_antagonism import demo, documents, files
from neuron_antagonism.cli.app import main
from neuron_antagonism.files import TABLE, WRITTEN, inside, read_text
from neuron_antagonism.model.adapters import named_base
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.runfile import MANIFEST, read_run_file
from neuron_antagonism.suites.directory import read_json
from neuron_antagonism.suites.spec import find_suite
from neuron_antagonism.tasks.splits import Split
from neuron_antagonism_plugins._files import LONGEST
from neuron_antagonism_plugins._files import WRITTEN as TASK_FILE

ROOT = Path(__file__).parents[1]
SMALL = {"tasks": ["sentiment"], "scorers": ["random"], "identify": 1, "select": 2, "evaluate": 2, "random_draws": 1}


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def refused(use: Callable[[], object], within: float = 5.0) -> str:
    """The one line that a reader says, after checking that it says it soon."""
    start = time.process_time()
    with pytest.raises(na.AntagonismError) as caught:
        use()
    assert time.process_time() - start < within
    line = str(caught.value)
    assert line.isprintable()
    return line


# --- no code from files --------------------------------------------------------------------------------------------

SOURCES = sorted([*(ROOT / "neuron_antagonism").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
UNPICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
LOADERS = {"load", "loads", "Unpickler", "open"}
FORBIDDEN = {
    *("torch.load", "torch.hub.load", "numpy.load", "np.load", "pandas.read_pickle", "pd.read_pickle", "os.system"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.Loader", "yaml.FullLoader"),
    *("yaml.UnsafeLoader", "eval", "exec", "compile", "__import__", "os.popen"),
}


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if isinstance(node, ast.Attribute) and inner else ""


def reads_code(source: str) -> Iterator[str]:
    """What in a module could make a file's content run."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in UNPICKLING:
            yield from (f"{node.module}.{one.name}" for one in node.names if one.name in LOADERS | {"*"})
        if isinstance(node, ast.ImportFrom):
            yield from (one.name for one in node.names if f"{node.module}.{one.name}" in FORBIDDEN)
        name = dotted(node)
        package, _, last = name.rpartition(".")
        if name in FORBIDDEN or (package in UNPICKLING and last in LOADERS):
            yield name
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant) and node.value.value is True:
            yield from (arg for arg in (node.arg,) if arg in ("allow_pickle", "shell", "trust_remote_code"))
        if isinstance(node, ast.keyword) and node.arg == "weights_only":
            yield "weights_only"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_is_unpickled_or_run(file):
    """Neither the core nor a shipped plugin unpickles, evaluates or trusts what a file holds."""
    assert list(reads_code(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        *("import torch; torch.load(f)", "import numpy as np; np.load(f)", "import pickle; pickle.load(f)"),
        *("from pickle import loads", "from torch import load", "import yaml; yaml.load(f, yaml.Loader)", "eval(f)"),
        *("read(f, allow_pickle=True)", "load_model(f, trust_remote_code=True)", "run(f, shell=True)"),
    ],
)
def test_the_search_finds_them(code):
    """Each way in is found where it is taken."""
    assert list(reads_code(code))


def test_words_that_only_look_so_are_none():
    """Methods of models and patterns of those names, and pickling what stays in memory, are fine."""
    assert list(reads_code("model.eval(); re.compile(x); pickle.dumps(x); na.Attribution.load(d); f.load(x)")) == []


# --- bounds --------------------------------------------------------------------------------------------------------

READERS: dict[str, tuple[str, int, Callable[[Path], object]]] = {
    "run file": ("x.yaml", WRITTEN, read_run_file),
    "manifest": ("manifest.json", MANIFEST, read_run_file),
    "suite": ("x.yaml", WRITTEN, find_suite),
    "task file": ("x.yaml", TASK_FILE, lambda path: registry().task(path)),
    "neurons, CSV": ("x.csv", TABLE, na.NeuronSet.load),
    "neurons, JSON": ("x.json", TABLE, na.NeuronSet.load),
    "published neurons": ("x.csv", TABLE, lambda path: registry().make(na.Scorer, "neurons", {"file": str(path)})),
    "adapter": ("adapter_config.json", WRITTEN, lambda path: named_base(path.parent)),
    "questions": ("x.jsonl", files.COMPUTED, Split.load),
    "run": ("results.json", files.COMPUTED, read_json),
    "data": ("x.txt", LONGEST, lambda path: na.load_task("ner", source=path).items()),
}


@pytest.mark.parametrize("kind", READERS)
def test_what_is_too_large_is_not_read(kind, tmp_path):
    """A file of more bytes than its kind may have is one line that says how many those are, before it is read."""
    name, most, read = READERS[kind]
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(most + 1)  # a hole: it takes no room and no time to make
    line = refused(lambda: read(path), within=1.0)
    assert name in line
    assert f"larger than {most // 1024:,} KiB; accepted: " in line


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices of POSIX")
@pytest.mark.parametrize("kind", ["run file", "manifest", "suite", "task file"])
def test_what_has_no_size_ends_as_well(kind, tmp_path):
    """Of what has no end as much is read as a file may have, and no more."""
    name, _, read = READERS[kind]
    (tmp_path / name).symlink_to("/dev/zero")
    refused(lambda: read(tmp_path / name), within=2.0)


def test_a_pipe_is_read(tmp_path):
    """What has no size but an end is a file like any other."""
    os.mkfifo(tmp_path / "run.yaml")
    if os.fork() == 0:
        (tmp_path / "run.yaml").write_text("budget: 7\n")
        os._exit(0)
    assert read_run_file(tmp_path / "run.yaml")["budget"] == 7
    os.wait()


def test_texts_are_read_as_written(tmp_path):
    """Byte order marks and ends of lines of other systems are no part of a text; other bytes are refused."""
    path = tmp_path / "x"
    path.write_bytes("\ufeffa\r\nb\rc\n".encode())
    assert read_text(path, "") == "a\nb\nc\n"
    path.write_bytes(b"\xff\xfe")
    assert "bytes that are not UTF-8; accepted: words" in refused(lambda: read_text(path, "words"))
    assert "null" in refused(lambda: read_text(Path("a\0b"), "words"))


LEVELS = "abcdefghij"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in pairwise(LEVELS)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join(['*' + old] * 9)}]}}\n" for old, new in pairwise(LEVELS)
)
WIDE = f"data: &a [{'x, ' * 1000}]\ncolumns: &b [{'*a , ' * 1000}]\nlabels: [{'*b , ' * 1000}]\n"
BOMBS = {
    "laughs.yaml": LAUGHS,
    "merges.yaml": MERGES,
    "wide.yaml": WIDE,
    "itself.yaml": "data: &a [*a]",
    "flow.yaml": "data: " + "[" * 100_000,
    "block.yaml": "- " * 100_000,
    "keys.yaml": "? " * 100_000,
    "values.yaml": "data: [" + "1," * 100_000 + "]",
    "digits.yaml": "data: " + "9" * 100_000,
    "base60.yaml": "data: 1" + ":1" * 100_000,
    "hex.yaml": "data: 0x" + "f" * 100_000,
    "tag.yaml": "data: !!python/object/apply:os.system [touch pwned]",
    "date.yaml": "data: 2024-13-41",
    "code.yaml": 'data: "\\U00110000"',
    "half.yaml": 'data: "\\ud83d"',
    "nested.toml": "data = " + "[" * 100_000,
    "dots.toml": "a" + ".a" * 100_000 + " = 1",
    "tables.toml": ("[" + "a." * 300 + "k]\n") * 300,
    "digits.toml": "data = " + "9" * 100_000,
    "hex.toml": "data = 0x" + "f" * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_do_not_unfold(name, tmp_path, monkeypatch):
    """Nesting, aliases, long numbers and foreign tags end in a line, soon, as a run file, a suite and a task file."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_text(BOMBS[name])
    refused(lambda: read_run_file(path))
    refused(lambda: registry().task(path))
    if path.suffix == ".yaml":
        refused(lambda: find_suite(path))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "text", ["[" * 10**6, '{"a": ' * 10**6, "9" * 10**6, "[" + "1," * 10**6 + "1]", '{"budget": 1, "budget": 2}', "NaN"]
)
def test_json_does_not_unfold(text, tmp_path):
    """The same for JSON, where a name that stands there twice is refused too."""
    path = tmp_path / "run.json"
    path.write_text(text)
    refused(lambda: read_run_file(path))


@pytest.mark.parametrize("text", ["[" * 10**6, '[{"layer": ' + "9" * 10**5 + "}]", '[{"layer": 0, "neuron": 1e400}]'])
def test_neurons_and_scores_do_not_unfold(text, tmp_path):
    """Neither do neurons, examples nor a run's own files."""
    for name, read in (
        ("n.json", na.NeuronSet.load),
        ("m.json", lambda path: registry().make(na.Scorer, "neurons", {"file": str(path)})),
        ("q.jsonl", Split.load),
    ):
        path = tmp_path / name
        path.write_text(text)
        refused(lambda read=read, path=path: read(path))


def test_what_a_document_may_hold():
    """Aliases, numbers and nesting of everyday size are as they were."""
    text = "a: &a [1, 2.5, true, null, text]\nb: *a\nc: {<<: {x: 1}, y: 0x1F}\n"
    plain = [1, 2.5, True, None, "text"]
    assert documents.parsed(text, ".yaml") == {"a": plain, "b": plain, "c": {"x": 1, "y": 31}}
    assert documents.parsed("a.b = 1", ".toml") == {"a": {"b": 1}}
    assert documents.parsed("", ".yaml") is None
    for wrong in ("a: 1\na: 2", "a: 2024-01-01", "a: !!binary gA==", "a: !!set {x}"):
        with pytest.raises(ValueError, match=r"."):
            documents.parsed(wrong, ".yaml")


def test_a_phrase_of_many_words(tmp_path):
    """A file without blank lines is one sentence of as many words: reading it takes time as its length."""
    path = tmp_path / "x.txt"
    path.write_text("a DT B-NP\n" + "a NN I-NP\n" * 200_000)
    start = time.process_time()
    na.load_task("chunking", source=path).items()
    assert time.process_time() - start < 10
    path.write_text("".join(f"{word} NN B-NP\n" for word in ("a" * 1001, "b", "c", "d")))
    assert na.load_task("chunking", source=path).items() == ([], [])


@pytest.mark.parametrize("name", ["a\nb\x1b[2J\u202ec", "x" * 5000])
def test_what_files_say_is_shown_as_one_plain_line(name, tmp_path):
    """Errors repeat what a file holds without its line ends, and without what would move a terminal."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps({name: 1}))
    refused(lambda: read_run_file(path))
    path = tmp_path / "task.yaml"
    path.write_text(json.dumps({"data": name, "columns": {"text": "a", "answer": "b", "distractors": ["c", "d"]}}))
    refused(lambda: na.load_task(path).items())
    suite = tmp_path / "suite.yaml"
    suite.write_text(json.dumps({"name": "x", "tasks": [f"{name}.yaml"], "parts": [{"part": "masking", "name": "m"}]}))
    assert find_suite(suite).tasks == (f"{name}.yaml",)


@pytest.mark.parametrize("source", ["a\0b.csv", "~nobody-of-that-name/x.csv", "x" * 5000, "hub:" + "x" * 5000])
def test_paths_that_are_none(source, tmp_path, monkeypatch):
    """Null bytes, folders of nobody and names too long for a file are one line, as a source and in a task file."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    columns = {"text": "a", "answer": "b", "distractors": ["c", "d"]}
    path = tmp_path / "t.yaml"
    path.write_text(json.dumps({"data": source.replace("\0", " "), "format": None, "columns": columns}))
    refused(lambda: na.load_task(path).items(), within=60)
    refused(lambda: na.load_task("ner", source=source).items())
    refused(lambda: na.NeuronSet.load(source))
    refused(lambda: registry().make(na.Scorer, "neurons", {"file": source}))


@pytest.mark.parametrize(
    "read", [na.NeuronSet.load, lambda path: registry().make(na.Scorer, "neurons", {"file": path})]
)
@pytest.mark.parametrize(
    "text", ["layer,neuron\n0," + "1" * 200_000, '"' + "x" * 200_000, "layer,neuron,score\n0," + "9" * 30 + ",1e400\n"]
)
def test_cells_that_are_too_long(text, read, tmp_path):
    """A cell that the standard library's reader refuses, or a number that fits nowhere, is one line."""
    path = tmp_path / "x.csv"
    path.write_text(text)
    refused(lambda: read(str(path)))
    refused(lambda: na.NeuronSet.of([(0, 10**30)]))


@pytest.mark.parametrize(
    "line",
    [
        *("[]", "7", "{}", '{"set": "identify", "item": null, "proxies": []}', '{"set": "identify", "item": []}'),
        '{"set": "identify", "item": null, "proxies": [{"prompt": "p", "options": ["a", "b"], "answer": 0}]}',
        '{"set": "identify", "item": {"text": "t", "answer": "a", "distractors": [], "meta": 3}, "proxies": []}',
        '{"set": "natural", "right": "x", "proxies": [], "units": [], "options": 4, "blind": {}}',
        '{"set": "natural", "right": [], "proxies": [], "units": [], "options": 4, "blind": {"x": "y"}}',
    ],
)
def test_questions_of_other_fields(line, tmp_path):
    """A stored line that lacks a field, or holds another kind of value, is named with its number."""
    path = tmp_path / "q.jsonl"
    path.write_text(line + "\n")
    assert "q.jsonl, line 1: " in refused(lambda: Split.load(path))


# --- nothing of a checkpoint runs because a file says so -----------------------------------------------------------

ASKING = "asks for trust_remote_code, .*accepted: from you alone, by --trust-remote-code"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.yaml", "trust_remote_code: true\nmodel: nothing-there\n"),
        ("run.yaml", "trust_remote_code: 'yes'\nmodel: nothing-there\n"),
        ("manifest.json", '{"schema": 1, "config": {"trust_remote_code": true, "model": "nothing-there"}}'),
    ],
)
def test_a_run_file_switches_on_no_code(name, text, tmp_path, monkeypatch, capsys):
    """A run file or manifest that asks for a checkpoint's code is one line, until the user asks for it as well."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path, out = tmp_path / name, tmp_path / "out"
    path.write_text(text)
    with pytest.raises(na.UsageError, match=ASKING):
        na.run(config=path, out=out)
    assert call(monkeypatch, "run", "--config", str(path), "--out", str(out)) == 2
    assert "by --trust-remote-code (trust_remote_code=True in Python)\n" in capsys.readouterr().err
    assert not out.exists()
    # the user's own word is enough, either way
    for trust in (True, False):
        with pytest.raises(na.ModelError, match="unknown model 'nothing-there'"):
            na.run(config=path, out=out, trust_remote_code=trust)
    assert call(monkeypatch, "run", "--config", str(path), "--trust-remote-code", "--out", str(out)) == 2
    assert "unknown model 'nothing-there'" in capsys.readouterr().err


def test_a_run_that_is_resumed_switches_on_no_code(tmp_path, monkeypatch, capsys):
    """What a run was once allowed is asked for again when it is completed: its directory may be another's."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = json.dumps({"schema": 1, "config": {"trust_remote_code": True, "model": "nothing-there"}})
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(na.UsageError, match=ASKING):
        na.run(out=tmp_path, resume=True)
    with pytest.raises(na.ModelError, match="unknown model"):
        na.run(out=tmp_path, resume=True, trust_remote_code=True)
    words = ["run", "--resume", "--out", str(tmp_path)]
    assert call(monkeypatch, *words) == 2
    assert "by --trust-remote-code" in capsys.readouterr().err
    assert call(monkeypatch, *words, "--trust-remote-code") == 2
    assert "unknown model" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert (tmp_path / "manifest.json").read_text() == text


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    na.run("demo", **SMALL, out=out)
    return out


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def changed(file: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change a JSON file in place."""
    held = json.loads(file.read_text())
    change(held)
    file.write_text(json.dumps(held))


def test_using_somebodys_run_switches_on_no_code(copy, tmp_path, monkeypatch, capsys):
    """What a finished run was allowed says nothing where it is exported, continued or looked into."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    model, ran = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(demo.directory(), model)
    (model / "config.json").write_text(
        json.dumps({"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Theirs"}})
    )
    (model / "theirs.py").write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\nraise ImportError\n")

    def trusting(manifest: dict[str, dict[str, object]]) -> None:
        manifest["config"] |= {"model": str(model), "trust_remote_code": True}

    changed(copy / "manifest.json", trusting)
    with pytest.raises(na.ModelError, match="Python code of its own"):
        na.export(copy, format="ia3", out=tmp_path / "x", mode="enhance")
    for words in (
        ["export", str(copy), "--format", "ia3", "--mode", "enhance", "--out", str(tmp_path / "x")],
        ["generate", str(copy), "words", "--mode", "enhance"],
        ["neuron", "show", "0.1", str(copy)],
    ):
        assert call(monkeypatch, *words) == 2
        assert "Python code of its own" in capsys.readouterr().err
    assert not ran.exists()
    # the user's own word is what runs it
    with pytest.raises(na.ModelError):
        na.export(copy, format="ia3", out=tmp_path / "x", mode="enhance", trust_remote_code=True)
    assert ran.exists()


# --- names lead nowhere --------------------------------------------------------------------------------------------

OUTSIDE = ["../../x", "/etc/x", "..", "a/b", "a\\b", "C:x", "", " "]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_stay_inside(name, tmp_path):
    """A name that could lead out of a folder is refused, whoever asks for a path by it."""
    assert "can't be the name of a file" in refused(lambda: inside(tmp_path, name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["scores", "neurons"])
@pytest.mark.parametrize("lead", ["../{}", "/{}", "scores/../../{}", "..\\{}"])
def test_a_run_names_no_file_elsewhere(kind, lead, copy, tmp_path):
    """A run whose manifest names a file outside of its directory is refused: no file there is read."""
    there = next((copy / kind).iterdir())
    (tmp_path / "x.safetensors").write_bytes(there.read_bytes())

    def renamed(manifest: dict[str, dict[str, dict[str, dict[str, dict[str, object]]]]]) -> None:
        for unit in manifest["units"]["sentiment"][kind].values():
            unit["file"] = lead.format("x.safetensors")

    changed(copy / "manifest.json", renamed)
    for use in (lambda: na.load_run(copy), lambda: na.export(copy, format="csv", out=tmp_path / "out")):
        assert "accepted: one inside the directory" in refused(use)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["task", "scorer"])
def test_instances_name_no_file_elsewhere(kind, tmp_path):
    """Neither does an instance that never passed the plugin door; nothing has been created then."""

    class Sneaky(type(registry().make(na.Task, "sentiment"))):
        name = "../../x"

    class SneakyScorer(na.Scorer):
        name = "../../x"
        target = None

    given = {"tasks": [Sneaky()]} if kind == "task" else {"scorers": [SneakyScorer()]}
    assert "can't be the name of a file" in refused(
        lambda: na.run("demo", **{**SMALL, **given}, out=tmp_path / "run"), within=60
    )
    assert list(tmp_path.iterdir()) == []
