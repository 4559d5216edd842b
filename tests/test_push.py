"""What is pushed: a folder with a card that says what was measured; no texts of others, no path of this machine."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.exports.push import public
from neuron_antagonism.runs.runfile import read_run_file

one_thread = tiny.one_thread

SIZES = {"identify": 2, "select": 4, "evaluate": 4, "budget": 10, "steps": 4, "random_draws": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose card states a licence."""
    folder = tiny.saved(tmp_path_factory.mktemp("private-place") / "little-llama")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, base: Path) -> na.RunResult:
    out = tmp_path_factory.mktemp("run")
    task = tiny.labelled(out)
    return na.run(model=str(base), tasks=[task], scorers=["ace", "random"], out=out / "x", **SIZES)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stands for the Hub: repositories are folders below it."""
    top = tmp_path / "hub"

    class Api:
        def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> None:
            assert exist_ok
            (top / repo).mkdir(parents=True, exist_ok=True)
            (top / repo / ".private").write_text(str(private))

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> str:
            shutil.copytree(folder_path, top / repo_id, dirs_exist_ok=True)
            return f"https://hub.invalid/{repo_id}"

    def download(repo: str, file: str) -> str:
        if not (top / repo / file).is_file():
            raise FileNotFoundError(f"404: no {file} in {repo}\nmore words")
        return str(top / repo / file)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return top


def card(folder: Path) -> tuple[dict[str, Any], str]:
    """What stands there for machines, and the text."""
    _, stated, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(stated), text


def everything(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("form", ["lora", "ia3", "gguf", "checkpoint", "json"])
def test_an_export(ran, hub, base, tmp_path, form):
    """The files, a card of what was edited, measured and run, and neurons that others load from there."""
    made = na.export(ran, scorer="ace", mode="degrade", format=form, out=tmp_path / "x", verify=False)
    pushed = na.push(tmp_path / "x", repo="me/mine")
    kind = "neurons" if form == "json" else form
    assert (pushed.kind, pushed.url, pushed.path) == (kind, "https://hub.invalid/me/mine", None)
    there = hub / "me" / "mine"
    assert {*made.files, "README.md", "neurons.csv", "run.yaml"} <= {path.name for path in there.iterdir()}
    stated, text = card(there)
    assert stated["license"] == "apache-2.0"
    assert "base_model" not in stated
    assert stated.get("library_name") == {"checkpoint": "transformers", "gguf": "gguf", "neurons": None}.get(
        kind, "peft"
    )
    assert stated["tags"] == ["neuron_antagonism", "interpretability", kind]
    effect = made.effect or ran.results["tasks"]["mine"]["at_all"][1]
    assert f"| accuracy | {effect['acc_before']:.1%} | {effect['acc_after']:.1%} | " in text
    low, high = effect["acc_difference_interval"]
    assert f"[{low:.0f}, {high:.0f}]" in text
    assert "| ace | degrade | " in text
    assert "Base: little-llama (licence: apache-2.0)." in text
    assert f"--task mine --scorer ace --mode degrade --format {form} --out x" in text
    assert ("no verdict" in text) == (not ran.results["tasks"]["mine"]["natural"]["above_chance"])
    edit = ran.edits["mine"]["ace"]["degrade"]
    assert set(na.NeuronSet.load("hub:me/mine")) == {pair for part in edit.parts for pair in part.neurons}
    if form != "checkpoint":
        assert str(base.parent) not in everything(there)
    assert read_run_file(there / "run.yaml")["budget"] == 10


def test_a_run(ran, hub, base, tmp_path):
    """Figures, neurons and the command; no texts of the data, no scores, no path."""
    pushed = na.push(ran, repo="me/run", private=True)
    there = hub / "me" / "run"
    assert set(pushed.files) == {"README.md", "manifest.json", "results.json", "neurons.csv", "run.yaml"}
    assert (there / ".private").read_text() == "True"
    _, text = card(there)
    for cell in ran.results["tasks"]["mine"]["cells"]["held-out"]:
        assert f"| {cell['scorer']} | {cell['mode']} | " in text
    assert "| random | enhance | drawn | " in text
    written = everything(there)
    assert str(base.parent) not in written
    assert ran.splits["mine"].evaluate[0].item.text not in written
    figures = json.loads((there / "results.json").read_text())["tasks"]["mine"]["cells"]
    assert figures == ran.results["tasks"]["mine"]["cells"]
    assert na.push(str(ran.path), repo="me/again").kind == "results"


def test_neurons(hub, tmp_path):
    """A set, or a file of one, goes there and comes back."""
    neurons = na.NeuronSet.of([(0, 3), (2, 1)])
    assert na.push(neurons, repo="me/set").kind == "neurons"
    assert list(na.NeuronSet.load("hub:me/set")) == [(0, 3), (2, 1)]
    assert "2 FFN neurons, in layers 0, 2." in card(hub / "me" / "set")[1]
    neurons.save(tmp_path / "n.csv")
    na.push(tmp_path / "n.csv", repo="me/file")
    assert list(na.NeuronSet.load("hub:me/file")) == [(0, 3), (2, 1)]
    na.export(na.edit(neurons, "silence"), format="csv", out=tmp_path / "csv")
    na.push(tmp_path / "csv", repo="me/csv")
    assert list(na.NeuronSet.load("hub:me/csv")) == [(0, 3), (2, 1)]


def test_an_edit_without_a_run(hub, base, tmp_path):
    """Its card says that nothing was measured."""
    edit = na.edit(na.NeuronSet.of([(0, 3)]), "silence", positions="all")
    na.export(edit, model=na.load_model(base), format="lora", out=tmp_path / "x", verify=False)
    na.push(tmp_path / "x", repo="me/x")
    _, text = card(hub / "me" / "x")
    assert "# LoRA that edits a language model" in text
    assert "Its effect was not measured in this form." in text
    assert not (hub / "me" / "x" / "run.yaml").exists()


class TestCommand:
    @pytest.fixture
    def call(self, monkeypatch, capsys, tmp_path):
        monkeypatch.chdir(tmp_path)

        def run(*words):
            monkeypatch.setattr(sys, "argv", ["neuron-antagonism", "push", *map(str, words)])
            with pytest.raises(SystemExit) as end:
                main()
            return end.value.code or 0, *capsys.readouterr()

        return run

    def test_a_dry_run(self, call, ran, hub, tmp_path):
        """The folder alone, named as the repository unless it is said otherwise."""
        code, out, _ = call(ran.path, "--repo", "me/dry", "--dry-run")
        assert code == 0
        assert "written to dry\nnothing was sent: --dry-run\n" in out
        assert card(tmp_path / "dry")[1].startswith("\n# Neurons of little-llama at mine")
        code, out, _ = call(ran.path, "--repo", "me/dry", "--dry-run", "--out", "y", "--json")
        assert json.loads(out)["path"] == "y"
        assert not hub.exists()

    def test_kept_and_sent(self, call, ran, hub):
        code, out, _ = call(ran.path, "--repo", "me/x", "--out", "kept")
        assert code == 0
        assert out.endswith("written to kept\npushed to https://hub.invalid/me/x\n")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["x"], "Missing option '--repo'"),
            (["RUN", "--repo", "me"], "'me' is no repository on the Hub; accepted: user/name"),
            (["RUN", "--repo", "me/a b"], "'me/a b' is no repository on the Hub; accepted: user/name"),
            (["nowhere", "--repo", "me/x"], "nowhere: No such file or directory; accepted: "),
            ([".", "--repo", "me/x"], "holds no finished run; accepted: "),
            (
                ["bad", "--repo", "me/x"],
                "bad/neuron_antagonism.json: KeyError: 'format'; accepted: a directory that export",
            ),
            (["RUN", "--repo", "me/x", "--out", "bad"], "bad is not empty; accepted: a new or empty directory"),
        ],
    )
    def test_refused(self, call, ran, hub, tmp_path, words, said):
        """One line, and nothing is made or sent."""
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "neuron_antagonism.json").write_text("{}")
        code, out, err = call(*(ran.path if word == "RUN" else word for word in words))
        assert (code, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["bad"]

    def test_a_hub_that_refuses(self, call, ran, monkeypatch):
        """The reason in a line, exit code 1."""

        def refuse(*args, **named):
            raise RuntimeError("401: no token\nmany more lines")

        monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
        code, out, err = call(ran.path, "--repo", "me/x")
        assert (code, out) == (1, "")
        assert err == (
            "error: can't push to me/x: 401: no token; accepted: a repository that you may write to (hf auth login)\n"
        )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hub:nobody", "'nobody' is no repository on the Hub; accepted: user/name"),
        ("hub:me/none", "hub:me/none: can't read neurons.csv: 404: no neurons.csv in me/none; accepted: a repository"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_neurons_that_are_not_there(source, said):
    with pytest.raises(na.AntagonismError) as caught:
        na.NeuronSet.load(source)
    assert str(caught.value).startswith(said)


def test_what_can_not_be_pushed():
    with pytest.raises(na.UsageError, match="can't push 3; accepted: a directory that export or run wrote"):
        na.push(3, repo="me/x", out="never")


def test_paths_of_this_machine():
    """Their last names alone; ids, templates and texts stay."""
    given = {"a": ["/home/me/model", "~/x", "org/model", "a / b", "/"], "b": {"c": "../y/z", "d": 3}}
    given["c"] = "what /home/me/model understands"
    assert public(given) == {
        "a": ["model", "x", "org/model", "a / b", "/"],
        "b": {"c": "z", "d": 3},
        "c": "what model understands",
    }
