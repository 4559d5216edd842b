"""The command `bench`: suites by name and file, one document with --json, one line for everything that can be wrong."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import test_cli
import tiny
import yaml
from test_cli import refused, tree

import neuron_antagonism as na
from neuron_antagonism.suites.spec import SHIPPED, find_suite

call, _one_thread = test_cli.call, test_cli._one_thread

OWN = {
    "name": "own",
    "tasks": ["mine.yaml"],
    "identify": 8,
    "evaluate": 1,
    "least": 6,
    "parts": [{"part": "masking", "name": "one", "layers": [2], "perplexity": True}],
}


@pytest.fixture
def files(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite, its task, a model, texts and bad files, in the directory where the command is run."""
    (tmp_path / "tiny").symlink_to(checkpoint)
    tiny.labelled(tmp_path, labels=(*tiny.LABELS, "w5"), first=300, count=60)
    write(tmp_path, "own.yaml", OWN)
    write(tmp_path, "moods.yaml", {**OWN, "tasks": ["sentiment"]})
    write(tmp_path, "gates.yaml", {**OWN, "parts": [GATING]})
    for name, text in {
        "text.txt": "the cat was good\n\nthe dog was bad\n",
        "empty.txt": "\n \n",
        "list.yaml": "- a\n",
        "bad.yaml": "name: [\n",
        "bad.conll": "the DT B-NP\ndog NN\n",
        "sst.txt": "(3 (2 so) (4 good))\n" * 2,
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("schön\n".encode("latin-1"))
    (tmp_path / "latin.yaml").write_bytes("name: schön\n".encode("latin-1"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "manifest.json").write_text("{]", encoding="utf-8")
    return tmp_path


def write(where: Path, name: str, suite: object) -> None:
    (where / name).write_text(yaml.safe_dump(suite), encoding="utf-8")


SMALL = ("bench", "--suite", "own.yaml", "--model", "tiny")


# --- what it prints ------------------------------------------------------------------------------------------------


def test_without_a_suite_they_are_listed(call, tmp_path):
    """Each shipped suite on a line, what it measures beside it; as JSON one list."""
    done = call("bench")
    assert (done.code, done.err, tree(tmp_path)) == (0, "", [])
    listed = json.loads(call("bench", "--json").out)
    assert [suite["name"] for suite in listed] == sorted(file.stem for file in SHIPPED.glob("*.yaml"))
    for suite in listed:
        assert re.search(rf"^{suite['name']} +{re.escape(suite['about'])}$", done.out, re.MULTILINE)


def test_show_prints_a_spec_to_start_from(call, tmp_path):
    """--show prints the file itself, which is a suite of the same meaning; as JSON every field of it."""
    done = call("bench", "--suite", "neuronlens", "--show")
    assert (done.code, done.err) == (0, "")
    assert done.out == (SHIPPED / "neuronlens.yaml").read_text("utf-8")
    (tmp_path / "mine.yaml").write_text(done.out, encoding="utf-8")
    assert find_suite(str(tmp_path / "mine.yaml")) == find_suite("neuronlens")
    shown = json.loads(call("bench", "--suite", "mine.yaml", "--show", "--json").out)
    assert shown == find_suite("neuronlens").model_dump(mode="json")
    assert tree(tmp_path) == [tmp_path / "mine.yaml"]


def test_json(call, files):
    """--json prints exactly one document, the files' own content; progress is plain lines on stderr."""
    done = call(*SMALL, "--json", "--out", "x", "--text", "text.txt", "--seed", "3")
    document = json.loads(done.out)
    assert (done.code, document["path"]) == (0, "x")
    assert document["manifest"] == json.loads((files / "x" / "manifest.json").read_text("utf-8"))
    assert document["parts"] == json.loads((files / "x" / "results.json").read_text("utf-8"))["parts"]
    assert (document["manifest"]["finished"], document["manifest"]["seeds"]) == (True, [3])
    assert document["manifest"]["text"] == "text.txt"
    lines = done.err.splitlines()
    assert all(re.fullmatch(r"mine: .+: \d+ in \d+\.\d s", line) for line in lines)
    assert any("one" in line for line in lines)
    expected = na.perplexity(na.load_model("tiny"), ["the cat was good", "the dog was bad"])
    assert document["parts"]["one"][0]["perplexity"] == pytest.approx(expected)


def test_table(call, files):
    """Without --json a table of every class; --quiet says nothing else; the directory is named for suite and date."""
    done = call(*SMALL, "--quiet")
    assert (done.code, done.err) == (0, "")
    (path,) = (files / "runs").iterdir()
    assert re.fullmatch(r"own-\d{8}-\d{6}", path.name)
    assert "mine, one: accuracy %" in done.out
    assert f"runs/{path.name} holds every figure with its interval" in done.out
    assert done.out.splitlines()[-1] == f"report: runs/{path.name}/report.html"
    assert (path / "report.html").is_file()
    rows = json.loads((path / "results.json").read_text("utf-8"))["parts"]["one"]
    for concept in {row["concept"] for row in rows}:
        assert re.search(rf"^ {concept} +none ", done.out, re.MULTILINE)
    assert "too few questions answered rightly to learn a range from: " in done.out
    assert max(map(len, done.out.splitlines()[:-1])) <= 120
    assert "…" not in done.out


def test_tasks_and_data_of_ones_own(call, files):
    """--task puts a task in the place of the suite's, a task file too, and --data reads its files."""
    tiny.labelled(files, "mood").rename(files / "mood.txt")
    tiny.labelled(files, "gone", first=300)
    (files / "gone.csv").rename(files / "mood.csv")
    words = ("--task", "gone.yaml", "--data", "gone=mood.csv", "--out", "x", "--json", "--quiet")
    done = call(*SMALL, *words)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    told = document["manifest"]["data"]["gone"]
    assert (told["source"], told["train"]) == ("mood.csv", None)
    assert {row["task"] for row in document["parts"]["one"]} == {"gone"}


def test_interrupted(call, files, monkeypatch):
    """Ctrl-C says where what was finished is, and exits with 130."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("neuron_antagonism.parts.masking.masking", interrupt)
    done = call(*SMALL, "--out", "x", "--quiet")
    assert (done.code, done.out) == (130, "")
    assert done.err == ("interrupted; what was finished is kept: the same command with --out x goes on from there\n")
    assert json.loads((files / "x" / "manifest.json").read_text("utf-8"))["finished"] is False


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suite", "neuronlense"], "unknown suite 'neuronlense'; did you mean 'neuronlens'?"),
        (["--suite", ""], "unknown suite ''"),
        (["--suite", "gone.yaml"], "gone.yaml: No such file or directory; accepted: a YAML file that states a suite"),
        (["--suite", "gone.yaml", "--show"], "gone.yaml: No such file or directory; accepted: a YAML file"),
        (["--suite", "list.yaml"], "list.yaml holds a list; accepted: the fields of a shipped suite"),
        (["--suite", "bad.yaml"], "bad.yaml: no YAML: while parsing"),
        (["--suite", "latin.yaml"], "latin.yaml: bytes that are not UTF-8; accepted: a YAML file"),
        (["--out", "text.txt"], "can't write to text.txt: "),
        (["--out", "text.txt/x"], "can't write to text.txt/x: "),
        (["--out", "x" * 300], "can't write to xxx"),
        (["--text", "gone.txt"], "gone.txt: No such file or directory; accepted: a file of plain text"),
        (["--text", "taken"], "taken: Is a directory; accepted: a file of plain text"),
        (["--text", "empty.txt"], "empty.txt: holds no text; accepted: a file of plain text"),
        (["--text", "latin.txt"], "latin.txt: bytes that are not UTF-8; accepted: a file of plain text"),
        (["--task", "sentimant"], "unknown task 'sentimant'; did you mean 'sentiment'?"),
        (["--task", "commonsense"], "the answers of task 'commonsense' are no classes; accepted: a task with concepts"),
        (["--task", "sentiment", "--task", "sentiment"], "task 'sentiment' was given twice"),
        (["--data", "ner=text.txt"], "data was given for unknown task 'ner'; accepted: mine"),
        (["--data", "mine"], "--data 'mine' is malformed"),
        (["--suite", "moods.yaml", "--data", "sentiment=text.txt"], "text.txt, line 1: "),
        (["--suite", "moods.yaml", "--data", "sentiment=sst.txt"], "task 'sentiment' has"),
        (["--suite", "gates.yaml", "--data", "sentiment=text.txt"], "text.txt, line 1: "),
        (["--suite", "gates.yaml", "--data", "chunking=bad.conll"], "bad.conll, line 2: found 'dog NN'; accepted: "),
        (["--seed", "-1"], "seed is -1; accepted: a whole number from 0"),
        (["--seed", "x"], "Invalid value for '--seed'"),
        (["--seed", "1", "--seed", "1"], "seed '1' was given twice; accepted: each once"),
        (["--model", "demoo"], "unknown model 'demoo'; did you mean 'demo'?"),
        (["--model", "tiny"], "model 'tiny' was given twice; accepted: each once"),
        (["--model", "demo", "--model", "demoo"], "unknown model 'demoo'; did you mean 'demo'?"),
        (["--backend", "threads"], "unknown back end 'threads'; accepted: processes, ray, serial"),
        (["--workers", "0"], "workers is 0; accepted: a whole number from 1"),
        (["--workers", "2"], "back end 'serial' has 1 worker, 2 were asked for"),
        (["--cache", "text.txt"], "can't write to text.txt: "),
        (["--dtype", "float23"], "unknown dtype 'float23'"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_wrong_arguments(words, said, call, files):
    """Whatever is wrong is found before anything is created, and is one line."""
    suite = [] if "--suite" in words else ["--suite", "own.yaml"]
    assert said in refused(call, files, "bench", *suite, "--model", "tiny", *words)


def test_a_directory_that_can_not_be_written(call, files):
    """A place without permission is named before the model is loaded."""
    (files / "locked").mkdir(mode=0o500)
    if os.access(files / "locked", os.W_OK):
        (files / "locked").rmdir()
        (files / "locked").write_text("root may write anywhere but into a file")
    assert "can't write to locked/x: " in refused(call, files, *SMALL, "--out", "locked/x")


def test_too_few_right_answers(call, files):
    """Fewer rightly answered questions of two classes than `least`: one line that counts them."""
    write(files, "least.yaml", {**OWN, "least": 7})
    line = refused(call, files, "bench", "--suite", "least.yaml", "--model", "tiny", "--quiet")
    counts = ", ".join(rf"{name} \d" for name in (*tiny.LABELS, "w5"))
    assert re.search(
        rf"of task 'mine' tiny answers too few questions rightly \({counts}\); accepted: at least 7 of each of two ",
        line,
    )


@pytest.mark.parametrize("layer", [3, 99])
def test_blocks_that_are_not_there(layer, call, files):
    """A part that names a block beyond the model's is refused by its name."""
    for part in ("masking", "distributions"):
        write(files, "deep.yaml", {**OWN, "parts": [{"part": part, "name": "deep", "layers": [0, layer]}]})
        line = refused(call, files, "bench", "--suite", "deep.yaml", "--model", "tiny", "--quiet")
        assert f"part 'deep' names block {layer}; accepted: 0 to 2 of this model" in line


MASKING = {"part": "masking", "name": "m"}
EFFECTS = {"part": "effects", "name": "e"}
GATING = {"part": "gating", "name": "a", "tasks": ["sentiment", "chunking"], "scorers": ["act"], "taus": [1]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, ", name: "),
        ({"name": 5}, ", name: "),
        ({"name": "../own"}, ", name: "),
        ({"about": [1]}, ", about: "),
        ({"tasks": []}, ", tasks: "),
        ({"tasks": "sentiment"}, ", tasks: "),
        ({"tasks": None}, ", tasks: "),
        ({"form": "lettres"}, ", form: input should be 'letters', 'words' or 'label'"),
        *(
            ({name: value}, f", {name}: ")
            for name in ("identify", "evaluate")
            for value in (0, -1, 1.5, True, "5", None)
        ),
        ({"least": 1}, ", least: "),
        ({"shots": -1}, ", shots: "),
        ({"site": 3}, ", site: "),
        ({"parts": []}, ", parts: "),
        ({"parts": None}, ", parts: "),
        ({"part": []}, ", part: "),
        ({"parts": [5]}, ", parts.0: "),
        ({"parts": [{"name": "x"}]}, ", parts.0: "),
        ({"parts": [{"part": "maskin", "name": "x"}]}, ", parts.0: "),
        ({"parts": [{"part": "masking"}]}, ", parts.0.masking.name: "),
        ({"parts": [{**MASKING, "name": "../x"}]}, "accepted: different plain names"),
        ({"parts": [{**MASKING, "name": ""}]}, "accepted: different plain names"),
        ({"parts": [MASKING, MASKING]}, "accepted: different plain names"),
        *(({"parts": [{**MASKING, "shares": v}]}, ", parts.0.masking.shares") for v in ([], [0], [1.1], 0.3, ["x"])),
        ({"parts": [{**MASKING, "shares": [float("nan")]}]}, ", parts.0.masking.shares.0: "),
        *(({"parts": [{**MASKING, "taus": v}]}, ", parts.0.masking.taus") for v in ([], [-1], 2, [float("inf")])),
        (
            {"parts": [{**MASKING, "inside": "one"}]},
            ", parts.0.masking.inside: input should be 'zero', 'mean' or 'soft'",
        ),
        ({"parts": [{**MASKING, "layers": [-1]}]}, ", parts.0.masking.layers.0: "),
        ({"parts": [{**MASKING, "perplexity": "perhaps"}]}, ", parts.0.masking.perplexity: "),
        ({"parts": [{**MASKING, "tau": 2}]}, ", parts.0.masking.tau: "),
        ({"parts": [{"part": "distributions", "name": "d", "share": 0}]}, ", parts.0.distributions.share: "),
        ({"parts": [{"part": "distributions", "name": "d", "tau": -1}]}, ", parts.0.distributions.tau: "),
        ({"parts": [{**GATING, "scorers": []}]}, ", parts.0.gating.scorers: "),
        ({"parts": [{**GATING, "taus": []}]}, ", parts.0.gating.taus: "),
        ({"parts": [{**GATING, "budget": 0}]}, ", parts.0.gating.budget: "),
        ({"parts": [{**GATING, "ratio": 1.1}]}, ", parts.0.gating.ratio: "),
        ({"parts": [{**GATING, "identify": 0}]}, ", parts.0.gating.identify: "),
        ({"parts": [{**GATING, "evaluate": 1}]}, ", parts.0.gating.evaluate: "),
        ({"seeds": []}, ", seeds: "),
        ({"seeds": [0, -1]}, ", seeds.1: "),
        ({"models": "demo"}, ", models: "),
        ({"parts": [{**EFFECTS, "select": 1}]}, ", parts.0.effects.select: "),
        ({"parts": [{**EFFECTS, "options": []}]}, ", parts.0.effects.options: "),
        *(
            ({"parts": [{**EFFECTS, "options": {name: value}}]}, f"options name '{name}'; accepted: options, budget, ")
            for name, value in {"model": "demo", "reference": "demo", "site": "up", "buget": 5, "dtype": "x"}.items()
        ),
        ({"parts": [{**EFFECTS, "options": {"budget": 0}}]}, "budget=0: "),
        ({"sote": "post"}, ", sote: "),
    ],
    ids=str,
)
def test_malformed_suites(changes, said, tmp_path, monkeypatch):
    """Every field says in one line where it is wrong."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "wrong.yaml", {**OWN, **changes})
    with pytest.raises(na.DataError) as caught:
        find_suite("wrong.yaml")
    line = str(caught.value)
    assert line.startswith(("wrong.yaml, ", "wrong.yaml: "))
    assert said in line
    assert "accepted: " in line
    assert "\n" not in line


@pytest.mark.parametrize("field", ["name", "tasks", "parts"])
def test_missing_fields(field, call, files):
    """A suite needs a name, tasks and parts; --show shows no wrong suite either."""
    write(files, "wrong.yaml", {name: value for name, value in OWN.items() if name != field})
    for words in ([], ["--show"]):
        assert f"wrong.yaml, {field}: field required" in refused(call, files, "bench", "--suite", "wrong.yaml", *words)


@pytest.mark.parametrize("site", ["posts", "attn"])
def test_unknown_sites(site, call, files):
    """Units are at a site that the model has."""
    write(files, "wrong.yaml", {**OWN, "site": site})
    line = refused(call, files, "bench", "--suite", "wrong.yaml", "--model", "tiny", "--quiet")
    assert f"unknown site '{site}'" in line
