"""The plugin door: what is registered, what is refused, and what every hook is for."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from pydantic import Field

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.plugin import chosen, hookspecs, manager
from neuron_antagonism.plugin.base import Configurable
from neuron_antagonism.plugin.manager import GROUP, KINDS, Registry, registry

SHIPPED = {
    "scorer": {
        *("ablation", "ace", "act", "auroc", "cett", "direct", "grad-x-act", "ig-inputs", "kn", "lape"),
        *("neuronlens", "neurons", "qrnca", "random", "tn"),
    },
    "target": {"contrast", "letter-probability", "log-odds", "logit-difference", "probability"},
    "task": {"chunking", "commonsense", "file", "ner", "sentiment"},
    "intervention": {"excite", "range", "set-to", "silence"},
    "observer": {"jsonl", "mlflow", "tensorboard", "wandb"},
}
HOOKS = {f"neuron_antagonism_{kind}s": base for kind, base in KINDS.items()}


class Distribution(SimpleNamespace):
    """Stands for an installed distribution: an entry point asks only for its name and version."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, version="1.2.3")


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes an entry point whose module holds the hooks given, each returning the things given."""

    def make(name: str, distribution: str = "outside", **hooks: Any) -> Any:
        module = ModuleType(f"outside_{name}_{distribution}".replace("-", "_"))
        for kind, answer in hooks.items():
            function = answer if callable(answer) and not isinstance(answer, type) else _answering(answer)
            function.__name__ = kind if kind.startswith("neuron_antagonism") else f"neuron_antagonism_{kind}"
            setattr(module, function.__name__, na.hookimpl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return point(name, module.__name__, distribution)

    return make


def _answering(answer: Any) -> Callable[[], Any]:
    def hook():
        return answer

    return hook


def point(name: str, value: str, distribution: str) -> Any:
    """An entry point of a distribution that isn't installed."""
    made = importlib.metadata.EntryPoint(name, value, GROUP)
    vars(made)["dist"] = Distribution(distribution)
    return made


def scorer(name: str, **members: Any) -> type[na.Scorer]:
    return type("Outside", (na.Scorer,), {"name": name, **members})


def only_broken(found: Registry) -> str:
    """The one line of the one broken plugin, after checking that its neighbour is usable."""
    (broken,) = found.broken
    assert broken.distribution == "outside"
    assert "\n" not in broken.error
    assert found.names("scorer") == ["fine"]
    assert found.make(na.Scorer, "fine").name == "fine"
    return broken.error


@pytest.fixture
def beside(plugin: Callable[..., Any]) -> Callable[..., str]:
    """The error of a plugin loaded between two good ones' worth of neighbours."""

    def load(**hooks: Any) -> str:
        fine = plugin("fine", "neighbour", scorers=[scorer("fine")])
        return only_broken(Registry([plugin("bad", **hooks), fine]))

    return load


class TestShipped:
    def test_shipped_plugins_come_through_the_entry_points(self):
        """The registry is filled from the entry-point group alone, and every shipped plugin is there."""
        points = importlib.metadata.entry_points(group=GROUP)
        ours = {p.name for p in points if p.dist is not None and p.dist.name == "neuron-antagonism"}
        # one entry point a file, named as it is; targets share one
        names = set.union(*(own for kind, own in SHIPPED.items() if kind != "target"))
        assert {name.replace("-", "_") for name in names} | {"targets"} <= ours
        assert list(Registry([])) == []
        for kind, names in SHIPPED.items():
            assert names <= set(registry().names(kind))
        assert not registry().broken
        assert not registry().conflicts

    def test_sorted_whatever_the_order_of_loading(self):
        """Things come sorted by kind and name, not in the order of entry points or hooks."""
        points = list(importlib.metadata.entry_points(group=GROUP))
        there, back = list(Registry(points)), list(Registry(reversed(points)))
        assert [(e.kind, e.name) for e in there] == [(e.kind, e.name) for e in back]
        order = [(list(KINDS).index(e.kind), e.name) for e in there]
        assert order == sorted(order)

    def test_every_shipped_thing_names_its_source(self):
        """A distribution, a version, a docstring and a paper stand behind each shipped name."""
        without_paper = SHIPPED["intervention"] | SHIPPED["observer"]
        for entry in (e for e in registry() if e.distribution == "neuron-antagonism"):
            assert entry.version == na.__version__
            assert (entry.cls.__doc__ or "").strip()
            assert entry.name in without_paper or entry.cls.reference

    def test_registries_are_independent(self, plugin):
        """A registry made for a test leaves the process's own alone."""
        assert Registry([plugin("one", scorers=[scorer("mine")])]).names("scorer") == ["mine"]
        assert "mine" not in registry().names("scorer")


class TestDuplicates:
    def test_two_scorers_of_one_name(self, plugin):
        """Neither can be used; the line names both distributions; the rest is usable."""
        found = Registry(
            [
                plugin("a", "first", scorers=[scorer("twin"), scorer("alone")]),
                plugin("b", "second", scorers=[scorer("twin"), scorer("other")]),
            ]
        )
        with pytest.raises(na.PluginError, match=r"'twin': a scorer of first and a scorer of second; accepted: one"):
            found.make(na.Scorer, "twin")
        assert found.names("scorer") == ["alone", "other"]
        assert [e.name for e in found] == ["alone", "other"]
        assert list(found.conflicts) == ["twin"]

    def test_names_are_unique_across_kinds(self, plugin):
        """A scorer and an intervention can't share a name, since -o NAME.option=value would be ambiguous."""
        clash = type("Clash", (na.Intervention,), {"name": "twin", "scale": 0.0})
        found = Registry([plugin("a", "first", scorers=[scorer("twin")]), plugin("b", "second", interventions=[clash])])
        for kind in (na.Scorer, na.Intervention):
            with pytest.raises(na.PluginError, match="a scorer of first and a intervention of second"):
                found.make(kind, "twin")

    def test_two_distributions_may_share_an_entry_points_name(self, plugin):
        """Only what a plugin registers must be unique, not the name of its entry point."""
        found = Registry(
            [plugin("same", "first", scorers=[scorer("x")]), plugin("same", "second", scorers=[scorer("y")])]
        )
        assert found.names("scorer") == ["x", "y"]
        assert not found.broken


class TestBroken:
    def test_an_import_that_raises(self, plugin, tmp_path, monkeypatch):
        """A plugin that raises at import is reported with its error; its neighbour is usable."""
        (tmp_path / "outside_raises.py").write_text("raise RuntimeError('no\\nlicence')\n")
        monkeypatch.syspath_prepend(tmp_path)
        fine = plugin("fine", "neighbour", scorers=[scorer("fine")])
        found = Registry([point("bad", "outside_raises", "outside"), fine])
        assert only_broken(found) == "RuntimeError: no licence"

    @pytest.mark.parametrize(
        ("body", "said"), [("import nowhere_at_all", "nowhere_at_all"), ("exit(3)", "SystemExit: 3")]
    )
    def test_an_import_that_fails_otherwise(self, plugin, tmp_path, monkeypatch, body, said):
        """A missing dependency and an exit at import break that plugin only."""
        (tmp_path / "outside_fails.py").write_text(body + "\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "outside_fails", raising=False)
        fine = plugin("fine", "neighbour", scorers=[scorer("fine")])
        assert said in only_broken(Registry([point("bad", "outside_fails", "outside"), fine]))

    def test_a_missing_module(self, plugin):
        """An entry point that points nowhere is reported."""
        fine = plugin("fine", "neighbour", scorers=[scorer("fine")])
        assert "outside_gone" in only_broken(Registry([point("bad", "outside_gone", "outside"), fine]))

    def test_a_misspelt_hook(self, beside):
        """A hook that no specification knows is an error that names it, not silence."""
        assert "neuron_antagonism_scorrers" in beside(neuron_antagonism_scorrers=[scorer("x")])

    def test_no_hook(self, beside):
        """A module without hooks is told which there are."""
        error = beside()
        assert "implements no hook" in error
        assert all(hook in error for hook in HOOKS)

    @pytest.mark.parametrize("answer", [None, scorer("x"), "x", 3, {"x": 1}])
    def test_an_answer_that_is_no_list(self, beside, answer):
        """A hook must return a list; a forgotten return is one of the ways to get it wrong."""
        error = beside(scorers=_answering(answer))
        assert "neuron_antagonism_scorers returned" in error
        assert "accepted: a list of classes" in error

    def test_a_class_of_another_kind(self, beside):
        """What a hook returns must subclass that kind's base class."""
        error = beside(scorers=[type("Odd", (), {"name": "odd"})])
        assert error == "Odd is registered as a scorer but does not subclass na.Scorer"
        assert "does not subclass na.Task" in beside(tasks=[scorer("x")])

    @pytest.mark.parametrize("name", ["", "Upper", "two words", "a.b", "a=b", "a/b", None])
    def test_a_name_that_options_could_not_address(self, beside, name):
        """Names are lowercase, without what -o, --data and file names give a meaning."""
        assert "accepted: a lowercase name" in beside(scorers=[scorer(name)])

    def test_an_option_without_description(self, beside):
        """Every option says what it is for."""

        class Options(na.Scorer.Options):
            speed: int = 3

        assert "option x.speed has no description" in beside(scorers=[scorer("x", Options=Options)])

    def test_the_default_aggregate_needs_its_options(self, beside):
        """A scorer with the default aggregate must have z and ambiguous; one with its own need not."""
        bare = type("Options", (na.Options,), {})
        assert "must subclass na.Scorer.Options" in beside(scorers=[scorer("x", Options=bare)])
        assert na.Scorer.Options.model_fields.keys() == {"z", "ambiguous"}

    @pytest.mark.parametrize("roles", [(), ("bad",), ("bad", "good"), ("good", "evil"), "good"])
    def test_roles(self, beside, roles):
        """A scorer has good neurons, or good and bad ones."""
        assert "accepted: ('good', 'bad') or ('good',)" in beside(scorers=[scorer("x", roles=roles)])

    def test_draws_need_a_seed(self, beside):
        """A scorer that draws is repeated with other seeds, so it needs the option."""
        assert "must have the field seed" in beside(scorers=[scorer("x", draws=True)])

    def test_one_bad_thing_spoils_its_plugin_only(self, plugin):
        """Nothing of a broken plugin is registered, and nothing of another one is lost."""
        found = Registry(
            [plugin("bad", scorers=[scorer("good-one"), object]), plugin("fine", "neighbour", scorers=[scorer("fine")])]
        )
        only_broken(found)
        with pytest.raises(na.PluginError, match="unknown scorer 'good-one'"):
            found.entry("good-one", "scorer")

    def test_asking_for_a_broken_plugin_says_so(self, plugin):
        """The error for an unknown name points at the installed plugin that failed."""
        found = Registry([plugin("margin", scorers=[object])])
        with pytest.raises(na.PluginError, match="'margin' is installed but broken"):
            found.make(na.Scorer, "margin")

    def test_a_constructor_that_raises(self, plugin):
        """A plugin that can't be made is named, with its distribution."""

        def fails(self, **options):
            raise ValueError("no\nbackend")

        found = Registry([plugin("one", scorers=[scorer("x", __init__=fails)])])
        with pytest.raises(na.PluginError, match=r"^scorer 'x' of outside can't be made: ValueError: no backend$"):
            found.make(na.Scorer, "x")


class TestWhosePlugins:
    @pytest.fixture
    def points(self, plugin):
        """Those of the shipped distribution, and of two others."""
        shipped = plugin("mine", "neuron-antagonism", scorers=[scorer("mine")])
        return [shipped, plugin("a", "Some_Lab", scorers=[scorer("a")]), plugin("b", "other", scorers=[scorer("b")])]

    @pytest.mark.parametrize(
        ("only", "names", "left_out"),
        [
            (None, ["a", "b", "mine"], []),
            ("none", ["mine"], ["Some_Lab", "other"]),
            ("some.lab", ["a", "mine"], ["other"]),
            (" OTHER , some-lab,", ["a", "b", "mine"], []),
            ("neuron-antagonism", ["mine"], ["Some_Lab", "other"]),
        ],
    )
    def test_only_those_that_may_load(self, points, only, names, left_out):
        """Without a choice all load; else the shipped ones and those of the distributions named, however written."""
        found = Registry(points, only)
        assert found.names("scorer") == names
        assert [one.distribution for one in found.left_out] == left_out
        assert not found.broken

    def test_what_may_not_load_is_not_imported(self, monkeypatch):
        """Leaving a plugin out means that none of its code runs."""
        found = Registry([point("evil", "no_such_module_at_all", "evil")], "none")
        assert not found.broken
        assert [vars(one) for one in found.left_out] == [{"entry_point": "evil", "distribution": "evil"}]

    def test_an_unknown_distribution(self, points):
        """A distribution without plugins is one line that lists those that have some."""
        with pytest.raises(na.UsageError, match=r"distribution 'outher' are installed; accepted: Some_Lab, other$"):
            Registry(points, "some-lab,outher")
        with pytest.raises(na.UsageError, match=r"accepted: none but the shipped ones$"):
            Registry(points[:1], "x")

    def test_a_name_that_is_left_out(self, points):
        """Asking for what was left out says whose plugins were."""
        with pytest.raises(na.PluginError, match=r"unknown scorer 'a'.*; plugins of Some_Lab, other are left out \("):
            Registry(points, "none").make(na.Scorer, "a")

    def test_a_shipped_name_is_not_taken(self, plugin):
        """A name that two distributions claim is usable again where the other one is left out."""
        points = [plugin("x", "neuron-antagonism", scorers=[scorer("x")]), plugin("x", "other", scorers=[scorer("x")])]
        assert Registry(points).names("scorer") == []
        assert Registry(points, "none").names("scorer") == ["x"]

    @pytest.fixture
    def call(self, monkeypatch, capsys, points):
        """Runs the command line where those distributions are installed: exit code, stdout, stderr."""
        monkeypatch.setenv(chosen.VARIABLE, "")
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
        manager._loaded.cache_clear()

        def run(*words: str) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *words])
            with pytest.raises(SystemExit) as left:
                main()
            return (int(left.value.code or 0), *capsys.readouterr())

        yield run
        manager._loaded.cache_clear()

    def test_the_command_line(self, call):
        """--no-plugins and --only-plugins stand before any command; `plugins` shows what they leave out."""
        assert "left out" not in call("plugins")[1]
        code, shown, _ = call("--no-plugins", "plugins")
        assert code == 0
        assert "left out: a of Some_Lab\nleft out: b of other\n" in shown
        assert os.environ[chosen.VARIABLE] == "none"
        code, shown, _ = call("--only-plugins", "other", "plugins", "--json")
        assert json.loads(shown)["left_out"] == [{"entry_point": "a", "distribution": "Some_Lab"}]
        assert {entry["name"] for entry in json.loads(shown)["plugins"]} == {"mine", "b"}

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--only-plugins", "x", "plugins"], "no plugins of a distribution 'x' are installed; accepted: Some_Lab"),
            (["--only-plugins", "x", "run", "--dry-run"], "no plugins of a distribution 'x' are installed; accepted"),
            (["--only-plugins", ",", "plugins"], "--only-plugins names no distribution; accepted: DIST[,DIST...]"),
            (["--only-plugins", "x", "--no-plugins", "plugins"], "accepted: one of them"),
            (["--no-plugins", "plugins", "b"], "plugins of Some_Lab, other are left out"),
        ],
    )
    def test_what_is_refused(self, call, words, said, tmp_path, monkeypatch):
        """One line, exit code 2, and nothing is created."""
        monkeypatch.chdir(tmp_path)
        code, _, err = call(*words)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1
        assert not list(tmp_path.iterdir())

    def test_processes_that_are_started_inherit_it(self):
        """The choice is an environment variable, which Python reads too; it holds whenever it is set."""
        code = (
            "import os; os.environ['NEURON_ANTAGONISM_PLUGINS'] = 'none'\n"
            "import subprocess, sys\n"
            "inner = 'from neuron_antagonism.plugin.manager import registry; "
            'print({e.distribution for e in registry()}, registry().names("task")[:1])\'\n'
            "subprocess.run([sys.executable, '-c', inner], check=True)\n"
            "from neuron_antagonism.plugin.manager import registry\n"
            "assert {e.distribution for e in registry()} == {'neuron-antagonism'}\n"
            "os.environ['NEURON_ANTAGONISM_PLUGINS'] = 'nobody'\n"
            "try: registry()\n"
            "except Exception as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        inner, error = done.stdout.splitlines()
        assert inner == "{'neuron-antagonism'} ['arc-challenge']"
        assert error.startswith("no plugins of a distribution 'nobody' are installed; accepted: ")


class TestNames:
    @pytest.mark.parametrize(
        ("kind", "name", "near"),
        [(na.Scorer, "acee", "ace"), (na.Task, "sentimant", "sentiment"), (na.Intervention, "silense", "silence")],
    )
    def test_unknown_names(self, kind, name, near):
        """An unknown name gets the nearest one of its kind, and all of them."""
        with pytest.raises(na.PluginError) as caught:
            registry().make(kind, name)
        assert f"{name!r}; did you mean {near!r}? accepted: " in str(caught.value)

    def test_a_name_of_another_kind(self):
        """A scorer's name is unknown where a task is asked for."""
        with pytest.raises(na.PluginError, match="unknown task 'ace'"):
            registry().make(na.Task, "ace")


class Bounded(na.Scorer):
    """A scorer with one option of each sort."""

    name = "bounded"

    class Options(na.Scorer.Options):
        """Three sorts."""

        share: float = Field(default=0.5, gt=0, lt=1, description="a share, 0 to 1")
        count: int = Field(default=2, ge=1, description="a whole number from 1")
        way: str = Field(default="up", pattern="^(up|down)$", description="up or down")


class TestOptions:
    @pytest.mark.parametrize(
        ("option", "value", "accepted"),
        [
            ("share", 1.5, "a share, 0 to 1"),
            ("share", "much", "a share, 0 to 1"),
            ("share", float("nan"), "a share, 0 to 1"),
            ("count", 0, "a whole number from 1"),
            ("count", 1.5, "a whole number from 1"),
            ("count", None, "a whole number from 1"),
            ("way", "left", "up or down"),
            ("ambiguous", "maybe", "'drop' (the paper): 0"),
        ],
    )
    def test_a_wrong_value(self, option, value, accepted):
        """Out of bounds or of a wrong type: one line with plugin, option, value and what is accepted."""
        with pytest.raises(na.UsageError) as caught:
            Bounded(**{option: value})
        line = str(caught.value)
        assert line.startswith(f"option bounded.{option}={value!r}: ")
        assert accepted in line.partition("accepted: ")[2]
        assert "\n" not in line

    def test_an_unknown_option(self):
        """An unknown option gets the nearest one of its plugin, and all of them."""
        with pytest.raises(na.UsageError) as caught:
            registry().make(na.Scorer, "kn", {"treshold": 0.1})
        line = "unknown option 'kn.treshold'; did you mean 'kn.threshold'? accepted: kn.share, kn.threshold"
        assert str(caught.value) == line

    def test_options_are_set_and_kept(self, plugin):
        """A class is made with its options; a registered instance keeps its own under the ones given."""
        found = Registry([plugin("one", scorers=[Bounded(share=0.25)])])
        made = found.make(na.Scorer, "bounded", {"count": 7})
        assert (made.options.share, made.options.count) == (0.25, 7)
        assert found.make(na.Scorer, "bounded").options.count == 2
        with pytest.raises(na.UsageError, match=r"bounded\.count=0"):
            found.make(na.Scorer, "bounded", {"count": 0})

    def test_options_are_frozen_and_shown(self):
        """A scorer's options can't change under a run; its repr shows what was set."""
        made = Bounded(share=0.25)
        with pytest.raises(ValueError, match="frozen"):
            made.options.share = 0.5
        assert repr(made) == "Bounded(share=0.25)"
        assert repr(made.with_options(count=3)) == "Bounded(share=0.25, count=3)"

    @pytest.mark.parametrize("z", [0.5, 10, None])
    def test_z_is_a_count_a_fraction_or_unset(self, z):
        """The three ways of giving z are told apart by their type."""
        assert na.Scorer.Options(z=z).z == z
        assert type(na.Scorer.Options(z=z).z) is type(z)

    def test_every_shipped_option_is_described_and_bounded(self):
        """Each option of each shipped plugin has a description and something that it refuses."""
        described = 0
        for entry in registry():
            if issubclass(entry.cls, Configurable):
                for name, field in entry.cls.Options.model_fields.items():
                    assert field.description, f"{entry.name}.{name}"
                    with pytest.raises(na.UsageError):
                        entry.cls(**{name: object()})
                    described += 1
        assert described >= 8


def attributed(returned: Any) -> str:
    """The error line of a scorer whose aggregate returns that, on a model of 2 x 3 neurons."""
    from neuron_antagonism.method.attribute import _check_result

    model: Any = SimpleNamespace(n_layers=2, units={"post": 3}.__getitem__)
    with pytest.raises(na.PluginError) as caught:
        _check_result(Bounded(), returned, model, "post")
    line = str(caught.value)
    assert "\n" not in line
    assert "scorer 'bounded'" in line
    assert line.endswith("accepted: a floating tensor of shape (2, 3) with finite values")
    return line


class TestResults:
    @pytest.mark.parametrize(
        ("returned", "said"),
        [
            (torch.tensor([[0.0, float("nan"), 1.0], [0.0, float("inf"), 1.0]]), "2 values that are not finite"),
            (torch.zeros(3, 2), "shape (3, 2)"),
            (torch.zeros(6), "shape (6,)"),
            (torch.zeros(2, 3, dtype=torch.int64), "torch.int64"),
            (torch.zeros(2, 3, dtype=torch.bool), "torch.bool"),
            ([[0.0] * 3] * 2, "list"),
            (None, "NoneType"),
        ],
    )
    def test_what_the_core_refuses(self, returned, said):
        """Values that aren't finite, a wrong shape, integers, no tensor: one line that names the scorer."""
        assert said in attributed(returned)

    def test_the_core_checks_scorers_in_earnest(self, model, split):
        """The check runs on what attribute() gets from a plugin, with and without passes of its own."""

        def aggregate(self, example_scores, question_scores):
            return question_scores[0] * float("nan")

        def attribute(self, model, examples, settings):
            return na.Attribution(torch.zeros(1, 1), torch.zeros(1, 1, 1))

        with pytest.raises(na.PluginError, match="not finite"):
            na.attribute(model, split.identify, scorer("x", aggregate=aggregate)(), budget=5)
        with pytest.raises(na.PluginError, match=r"scorer 'own' returned torch.float32 of shape \(1, 1\)"):
            na.attribute(model, split.identify, scorer("own", attribute=attribute)(), budget=5)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.load("llama", torch.float32)


@pytest.fixture(scope="module")
def split() -> Any:
    return na.load_task("sentiment").split(identify=1, select=2, evaluate=2)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    # the tensors here are too small to be worth dividing
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Recorder(na.Observer):
    """Writes down what it is called with."""

    name = "recorder"
    calls: list[tuple[str, ...]]

    def before_run(self, manifest):
        self.calls.append((self.name, "before_run", manifest["model"]["name"]))

    def after_attribution(self, task, scorer, attribution):
        self.calls.append((self.name, "after_attribution", task, scorer, attribution.scorer))

    def after_evaluation(self, task, results):
        self.calls.append((self.name, "after_evaluation", task, *sorted(results["attribution"])))

    def on_error(self, error):
        self.calls.append((self.name, "on_error", type(error).__name__))


class Margin(na.Target):
    """A target that isn't shipped."""

    name = "margin"

    def __call__(self, logits, letters, answer):
        return logits.gather(-1, letters).gather(-1, answer[..., None])[..., 0]


class Hinted(na.Task):
    """A task of four made-up questions a part."""

    name = "hinted"
    role, rule = "You answer.", "Reply with one letter only: A, B, C or D."
    stems = ("Text: {text}\nWhat is it?",)

    def examples(self, source, seed):
        for number in range(16):
            yield na.Item(f"number {number}", "one", ("two", "three", "four"), part=("train", "test")[number % 2])


class Mute(na.Intervention):
    """Scales by a half."""

    name = "mute"
    scale = 0.5


class TestEveryHook:
    """One test a hook: what is registered through it is used by a run."""

    @pytest.fixture
    def use(self, plugin, monkeypatch):
        """Makes a registry of shipped and outside plugins the one that runs use."""

        def install(**hooks: Any) -> None:
            shipped = importlib.metadata.entry_points(group=GROUP)
            found = Registry([*shipped, plugin("outside", **hooks)])
            assert not found.broken
            for module in list(sys.modules.values()):
                if getattr(module, "__name__", "").startswith("neuron_antagonism.") and hasattr(module, "registry"):
                    monkeypatch.setattr(module, "registry", lambda: found)

        return install

    def go(self, model: Any, **changes: Any) -> Any:
        given = {"tasks": ["sentiment"], "scorers": ["act"], "identify": 1, "select": 2, "evaluate": 2, "budget": 4}
        return na.run(model, **{**given, **changes})

    def test_neuron_antagonism_scorers(self, use, model):
        """A scorer from outside scores by its own target."""
        use(scorers=[scorer("margin", target=Margin())])
        result = self.go(model, scorers=["margin"])
        assert result.attributions["sentiment"]["margin"].target == "margin"
        assert result.manifest["plugins"]["margin"] == "outside 1.2.3"

    def test_neuron_antagonism_targets(self, use, model):
        """A target from outside is what a scorer's option names; a scorer may have the same name."""
        margin = type("Named", (Margin,), {"name": "margin"})
        use(targets=[margin], scorers=[scorer("margin", target=Margin())])
        result = self.go(model, scorers=["grad-x-act"], options={"grad-x-act": {"target": "margin"}})
        assert result.attributions["sentiment"]["grad-x-act"].target == "margin"
        assert na.target_of("margin") == margin()

    def test_targets_of_one_name(self, use, model):
        """Refused, with both named; the others go on."""
        use(targets=[type("Named", (Margin,), {"name": "log-odds"})])
        with pytest.raises(na.PluginError, match=r"two plugins are named 'log-odds': a target of .* and a target of"):
            na.target_of("log-odds")
        assert na.target_of("contrast").name == "contrast"

    def test_neuron_antagonism_tasks(self, use, model):
        """A task from outside is asked; a class or an instance."""
        for thing in (Hinted, Hinted()):
            use(tasks=[thing])
            result = self.go(model, tasks=["hinted"])
            assert sorted(result.splits["hinted"].identify[0].proxies[0].options) == ["four", "one", "three", "two"]

    def test_neuron_antagonism_interventions(self, use, model):
        """An intervention from outside is what edits are made of."""
        use(interventions=[Mute])
        edit = self.go(model, weaken="mute").edits["sentiment"]["act"]["degrade"]
        assert [part.intervention.name for part in edit.parts] == ["mute"]

    def test_neuron_antagonism_observers(self, use, model):
        """Observers are called in the order of their names, at each of the four moments."""
        first = type("First", (Recorder,), {"name": "a-first", "calls": []})
        second = type("Second", (Recorder,), {"name": "b-second", "calls": first.calls})
        use(observers=[second, first()])
        self.go(model, scorers=["act", "random"], random_draws=2)
        assert first.calls == [
            (name, *call)
            for call in (
                ("before_run", "LlamaForCausalLM"),
                ("after_attribution", "sentiment", "act", "act"),
                ("after_attribution", "sentiment", "random", "random"),
                ("after_evaluation", "sentiment", "act", "random"),
            )
            for name in ("a-first", "b-second")
        ]

    def test_observers_hear_of_a_failure(self, use, model, monkeypatch):
        """on_error is called with the exception, which then goes on as a RunError with the same line."""
        seen = type("Seen", (Recorder,), {"calls": []})
        use(observers=[seen])

        def fail(*_, **__):
            raise na.ModelError("out of luck")

        monkeypatch.setattr("neuron_antagonism.units.answers.evaluate_sets", fail)
        with pytest.raises(na.RunError, match=r"^out of luck$"):
            self.go(model)
        assert [call[1] for call in seen.calls] == ["before_run", "after_attribution", "on_error"]
        assert seen.calls[-1][2] == "ModelError"

    @pytest.mark.parametrize("event", ["before_run", "after_attribution", "after_evaluation"])
    def test_an_observer_that_fails(self, use, model, event):
        """An observer's own mistake names it and the method, and is told to on_error."""

        def fail(self, *_):
            raise ValueError("no\nnetwork")

        clumsy = type("Clumsy", (Recorder,), {"name": "clumsy", "calls": [], event: fail})
        use(observers=[clumsy])
        with pytest.raises(na.RunError, match=rf"^observer 'clumsy' failed in {event}\(\): ValueError: no network$"):
            self.go(model)
        assert clumsy.calls[-1] == ("clumsy", "on_error", "PluginError")

    def test_an_observer_whose_on_error_fails_hides_nothing(self, use, model, monkeypatch):
        """The first error is the one that is raised."""

        def fail(*_, **__):
            raise na.ModelError("the first")

        use(observers=[type("Clumsy", (na.Observer,), {"name": "clumsy", "on_error": fail})])
        monkeypatch.setattr("neuron_antagonism.units.answers.evaluate_sets", fail)
        with pytest.raises(na.RunError, match=r"^the first\b"):
            self.go(model)

    def test_an_observer_that_cannot_be_made_stops_a_run_before_it_starts(self, use, model, tmp_path):
        """A constructor that raises is found while planning: nothing is created."""

        def fail(self):
            raise ValueError("no account")

        use(observers=[type("Clumsy", (na.Observer,), {"name": "clumsy", "__init__": fail})])
        with pytest.raises(na.PluginError, match="observer 'clumsy' of outside can't be made"):
            self.go(model, out=tmp_path / "run")
        assert not list(tmp_path.iterdir())

    def test_options_of_a_registered_instance_reach_a_run(self, use, model):
        """-o NAME.option=value works on an instance as on a class."""
        use(scorers=[Bounded(share=0.25)])
        result = self.go(model, scorers=["bounded"], options={"bounded": {"count": 5}})
        assert result.manifest["scorers"]["bounded"]["share"] == 0.25
        assert result.manifest["scorers"]["bounded"]["count"] == 5


def specifications() -> dict[str, Callable[..., Any]]:
    """Every hook specification there is."""
    marked = f"{hookspecs.PROJECT}_spec"
    return {name: f for name, f in vars(hookspecs).items() if inspect.isfunction(f) and hasattr(f, marked)}


def test_every_hook_is_documented():
    """A specification says what it is for, what it returns, and the module says when hooks are called."""
    assert set(specifications()) == set(HOOKS)
    assert "is called once" in " ".join((hookspecs.__doc__ or "").split())
    for name, specification in specifications().items():
        documented = specification.__doc__ or ""
        assert "Returns: classes" in documented, name
        assert inspect.signature(specification).return_annotation, name


def test_every_hook_is_exercised():
    """Each specification has a test of its own name in `TestEveryHook`."""
    for name in specifications():
        assert callable(getattr(TestEveryHook, f"test_{name}", None)), name


def test_observer_methods_say_when_they_are_called():
    """Each method of an observer is documented, a no-op, and recorded by the tests above."""
    methods = {name: f for name, f in vars(na.Observer).items() if inspect.isfunction(f)}
    assert set(methods) == {"before_run", "after_attribution", "after_evaluation", "on_error"}
    for name, method in methods.items():
        assert (method.__doc__ or "").startswith("Called"), name
        assert name in vars(Recorder)
