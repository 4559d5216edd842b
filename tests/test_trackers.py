"""Observers for experiment trackers: what they log, and what they say when they can't."""

from __future__ import annotations

import importlib.util
import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import tiny

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.plugin.manager import registry

one_thread = tiny.one_thread

VARIABLES = {name: f"NEURON_ANTAGONISM_{name.upper()}" for name in ("mlflow", "tensorboard", "wandb")}
SIZES = {"identify": 1, "select": 2, "evaluate": 2, "budget": 4, "steps": 4, "random_draws": 1}
CELL = ("acc_after", "com_after", "rac", "rcc", "population_acc", "n_good", "n_bad")


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def run(checkpoint, tmp_path):
    """Two tasks, one scorer with gradients."""
    tasks = [tiny.labelled(tmp_path), tiny.labelled(tmp_path, "other", first=50)]
    return lambda: na.run(model=str(checkpoint), tasks=tasks, scorers=["ace"], **SIZES)


def missing(name: str, package: str = "") -> bool:
    return importlib.util.find_spec(package or name) is None


class Recorder:
    """Stands for a tracker's run: what was called, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, Any]] = []
        self.info = SimpleNamespace(run_id="r", experiment_id="e")
        self.experiment_id, self.summary = "e", self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **named: Any) -> Any:
            self.calls.append((name, args, named))
            return self

        return call


@pytest.fixture
def fake(monkeypatch):
    """A recorder in place of a tracker's package."""

    def made(name: str, value: str) -> Recorder:
        recorder = Recorder()
        modules = {
            "mlflow": {"mlflow": SimpleNamespace(MlflowClient=lambda tracking_uri: recorder)},
            "wandb": {"wandb": recorder},
            "tensorboard": {
                "tensorboard": SimpleNamespace(),
                "torch.utils.tensorboard": SimpleNamespace(SummaryWriter=lambda folder: recorder),
            },
        }
        for module, stand_in in modules[name].items():
            monkeypatch.setitem(sys.modules, module, stand_in)
        monkeypatch.setenv(VARIABLES[name], value)
        return recorder

    return made


def figures(name: str, recorder: Recorder) -> dict[str, float]:
    if name == "wandb":
        return {key: value for call, args, _ in recorder.calls if call == "update" for key, value in args[0].items()}
    if name == "mlflow":
        return {args[1]: args[2] for call, args, _ in recorder.calls if call == "log_metric"}
    return {args[0]: args[1] for call, args, _ in recorder.calls if call == "add_scalar"}


LAST = {"mlflow": ("set_terminated", "FINISHED"), "tensorboard": ("close", ""), "wandb": ("finish", "0")}


def test_figures(fake, run):
    """Each figure of the table once, numbers alone; the run ends when its last task has."""
    recorders = {name: fake(name, "somewhere") for name in VARIABLES}
    result = run()
    for name, recorder in recorders.items():
        found = figures(name, recorder)
        for task in ("mine", "other"):
            of_task = result.results["tasks"][task]
            assert found[f"{task}/unedited/acc"] == of_task["before"]["acc"]
            for cell in of_task["cells"]["held-out"]:
                for figure in CELL:
                    key = f"{task}/ace/{cell['mode']}/{figure}"
                    assert (key in found) == (cell[figure] is not None)
                    assert cell[figure] is None or found[key] == cell[figure]
            assert found[f"{task}/ace/completeness_error"] >= 0
        assert all(isinstance(value, float) for value in found.values())
        call, said = LAST[name]
        assert [c for c, *_ in recorder.calls].count(call) == 1
        assert recorder.calls[-1][0] == call
        assert said in str(recorder.calls[-1])


def test_a_run_that_fails(fake, run, monkeypatch):
    """It ends as failed."""

    def failing(*_: Any, **__: Any) -> None:
        raise na.ModelError("no luck")

    recorders = {name: fake(name, "somewhere") for name in VARIABLES}
    monkeypatch.setattr("neuron_antagonism.units.answers.evaluate_sets", failing)
    with pytest.raises(na.AntagonismError, match="no luck"):
        run()
    for name, recorder in recorders.items():
        assert recorder.calls[-1][0] == LAST[name][0]
        assert {"mlflow": "FAILED", "tensorboard": "", "wandb": "1"}[name] in str(recorder.calls[-1])


def test_unset(fake, run, monkeypatch):
    """Nothing is imported, and nothing done."""
    recorders = {name: fake(name, "somewhere") for name in VARIABLES}
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable)
    run()
    assert all(recorder.calls == [] for recorder in recorders.values())


@pytest.mark.parametrize("name", VARIABLES)
class TestRefused:
    def test_a_package_that_is_missing(self, name, monkeypatch):
        """One line names the variable and the extra, before a run creates anything."""
        monkeypatch.setenv(VARIABLES[name], "somewhere")
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(
            na.UsageError, match=rf"{VARIABLES[name]} is set, which needs .*neuron-antagonism\[{name}\]"
        ):
            registry().make(na.Observer, name)

    def test_an_empty_variable(self, name, monkeypatch):
        monkeypatch.setenv(VARIABLES[name], " ")
        with pytest.raises(na.UsageError, match=f"{VARIABLES[name]} is empty; accepted: a"):
            registry().make(na.Observer, name)


@pytest.mark.filterwarnings("ignore")
class TestForReal:
    @pytest.mark.skipif(missing("tensorboard"), reason="tensorboard is not installed: pip install -e '.[tensorboard]'")
    def test_tensorboard(self, run, tmp_path, monkeypatch):
        """TensorBoard's own reader finds the figures on the disk."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        monkeypatch.setenv(VARIABLES["tensorboard"], str(tmp_path / "tb"))
        result = run()
        (folder,) = (tmp_path / "tb").iterdir()
        read = EventAccumulator(str(folder))
        read.Reload()
        cell = result.results["tasks"]["mine"]["cells"]["held-out"][0]
        (found,) = read.Scalars(f"mine/ace/{cell['mode']}/acc_after")
        assert found.value == pytest.approx(cell["acc_after"])
        assert "settings/text_summary" in read.Tags()["tensors"]

    @pytest.mark.skipif(
        missing("mlflow") or missing("sqlalchemy"),
        reason="mlflow with its data base is not installed: pip install mlflow",
    )
    def test_mlflow(self, run, tmp_path, monkeypatch):
        """MLflow's own client finds them in its data base."""
        import mlflow

        uri = f"sqlite:///{tmp_path / 'runs.db'}"
        monkeypatch.setenv(VARIABLES["mlflow"], uri)
        result = run()
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("neuron_antagonism")
        (found,) = client.search_runs([experiment.experiment_id])
        cell = result.results["tasks"]["other"]["cells"]["held-out"][1]
        assert found.data.metrics[f"other/ace/{cell['mode']}/acc_after"] == cell["acc_after"]
        assert found.data.params["budget"] == "4"
        assert found.info.status == "FINISHED"

    @pytest.mark.skipif(missing("wandb"), reason="wandb is not installed: pip install -e '.[wandb]'")
    def test_wandb(self, run, tmp_path, monkeypatch):
        """Offline, its own files hold the run."""
        import wandb

        if not hasattr(wandb, "init"):
            pytest.skip("a stand-in for wandb is loaded")
        for name, value in {"MODE": "offline", "DIR": str(tmp_path), "SILENT": "true"}.items():
            monkeypatch.setenv(f"WANDB_{name}", value)
        monkeypatch.setenv(VARIABLES["wandb"], "mine")
        run()
        (written,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
        assert b"mine/ace/enhance/acc_after" in written.read_bytes()


class Loud(na.Observer):
    """Prints."""

    name = "loud"

    def __init__(self) -> None:
        print("made")

    def before_run(self, manifest: Any) -> None:
        print("{")

    def after_evaluation(self, task: str, results: Any) -> None:
        print("done", task)


@pytest.mark.parametrize("command", ["run", "bench"])
def test_an_observer_that_prints(command, checkpoint, tmp_path, monkeypatch, capsys):
    """With --json stdout is one document; what is printed goes to stderr."""
    real = registry().names
    monkeypatch.setattr(registry(), "names", lambda kind: [*real(kind), "loud"] if kind == "observer" else real(kind))
    make = registry().make
    monkeypatch.setattr(
        registry(), "make", lambda kind, name, *rest: Loud() if name == "loud" else make(kind, name, *rest)
    )
    words = ["--model", str(checkpoint), "--task", str(tiny.labelled(tmp_path)), "--out", str(tmp_path / "x")]
    if command == "run":
        words += ["--scorer", "act", "--identify", "1", "--select", "2", "--evaluate", "2", "--budget", "4"]
    else:
        words = ["--suite", "neuronlens", "--show"]
    monkeypatch.setattr(sys, "argv", ["neuron-antagonism", command, *words, "--json", "--quiet"])
    before = sys.stdout
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert not end.value.code, err
    assert json.loads(out)
    assert sys.stdout is before
    if command == "run":
        assert err.startswith("made\n{\ndone mine\n")
