"""Which module may import which, and what importing costs."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import neuron_antagonism as na

ROOT = Path(__file__).parents[1]
CORE, PLUGINS = "neuron_antagonism", "neuron_antagonism_plugins"
SOURCES = {CORE: ROOT / CORE, PLUGINS: ROOT / "plugins" / PLUGINS}

LAYERS = (
    (
        *("allocator", "csvs", "errors", "types", "files", "documents", "functional", "neurons", "neuron_files"),
        *("demo", "progress", "hub", "notebook", "settings", "tensors"),
    ),
    ("metrics",),
    ("report",),
    ("plugin",),
    ("model",),
    ("engine",),
    ("method",),
    ("tasks",),
    ("testing",),
    ("runs",),
    ("units",),
    ("parts",),
    ("suites",),
    ("exports",),
    ("scaffold", "cli", "__main__"),
)
"""From left to right: a module may import what stands to its left or beside it."""

HEAVY = ("torch", "transformer_lens", "transformers")
LIGHT = (
    *("errors", "types", "demo", "notebook", "neuron_files", "plugin", "metrics", "report", "tasks", "tensors"),
    *("cli", "__main__"),
    *("runs.config", "runs.runfile", "runs.job", "runs.keys", "runs.store", "runs.unit", "runs.work", "runs.execute"),
    *("parts.specs", "suites.spec", "suites.plan", "suites.pages", "suites.result", "suites.run", "suites.bench"),
)
"""What may be imported where torch must not be: planning, and reading what is finished, among it."""


def files(package: str) -> dict[str, Path]:
    """Every source file of a package by its module name."""
    top = SOURCES[package]
    found = {}
    for file in sorted(top.rglob("*.py")):
        parts = [package, *file.relative_to(top).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = {package: files(package) for package in SOURCES}


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imports(package: str, module: str, *, local: bool = True, hints: bool = False) -> Iterator[tuple[int, str]]:
    """Line and module of each import; `local`: those inside functions too; `hints`: under `if TYPE_CHECKING` too."""
    tree = ast.parse(MODULES[package][module].read_text(encoding="utf-8"))
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if not hints and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not local:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                # `from package import module` means the module, not the package
                yield node.lineno, inner if inner in MODULES.get(package, {}) else str(node.module)
        pending += ast.iter_child_nodes(node)


def layer(module: str) -> int:
    """The number of a core module's layer."""
    name = module.removeprefix(f"{CORE}.")
    for number, members in enumerate(LAYERS):
        if any(name == member or name.startswith(f"{member}.") for member in members):
            return number
    raise AssertionError(f"{module} is in no layer: add it to LAYERS, at its place in the direction of imports")


@pytest.mark.parametrize("module", [m for m in MODULES[CORE] if m not in (CORE, f"{CORE}.plugin")])
def test_imports_point_to_the_left(module):
    """Each module of the core imports only its own layer and those before it, in functions too."""
    for line, found in imports(CORE, module):
        # the package itself holds the version and resolves everything else when it is used
        if inside(found, CORE) and found != CORE:
            assert layer(found) <= layer(module), f"{module}, line {line}, imports {found}"


def test_only_runs_and_cli_import_the_package_itself():
    """`import neuron_antagonism` inside the core is for its version: elsewhere it would be a way round the layers."""
    users = {module for module in MODULES[CORE] for _, found in imports(CORE, module) if found == CORE}
    assert users
    assert all(layer(module) >= layer(f"{CORE}.runs") for module in users), users


def test_no_import_cycles():
    """Modules can be put in an order in which each knows only earlier ones, in functions and in annotations too.

    The package's own `__init__`, which gives out all public names, is no part of it.
    """
    left = {
        module: {found for _, found in imports(CORE, module, hints=True) if found in MODULES[CORE]} - {CORE, module}
        for module in MODULES[CORE]
        if module != CORE
    }
    while left:
        free = [module for module, needs in left.items() if not needs & left.keys()]
        assert free, f"a cycle among {sorted(left)}"
        for module in free:
            del left[module]


@pytest.mark.parametrize(
    "module", [m for m in MODULES[CORE] if inside(m, f"{CORE}.metrics") or inside(m, f"{CORE}.report")]
)
def test_figures_and_tables_need_no_model(module):
    """Metrics are plain numpy, reports plain data: no torch, not even late, and hardly anything of the core."""
    found = {name for _, name in imports(CORE, module)}
    assert not {name.split(".")[0] for name in found} & set(HEAVY)
    allowed = ("csvs", "errors", "files", "progress", "settings", "metrics", "report")
    own = {name for name in found if inside(name, CORE)}
    assert all(any(inside(name, f"{CORE}.{one}") for one in allowed) for name in own), own


WRITERS = {
    *("files", "tensors", "neurons", "tasks.splits", "runs.lock", "suites.run", "suites.directory", "report.rows"),
    *("report.grids", "report.written"),
    *("parts.distributions", "suites.pages", "exports", "scaffold", "model.gguf"),
}
"""What writes files: of a run the store (by `tensors`) and the entry points; what users ask to be saved; what is kept
of a model that takes minutes to read."""


def test_who_writes():
    """Nothing else in the core opens a file for writing."""
    calls = re.compile(r"\bwrite_whole\(|\.write_text\(|\.write_bytes\(|open\([^)]*[\"'][wax]b?[\"']|tensors\.write\(")
    found = {m.removeprefix(f"{CORE}.") for m, file in MODULES[CORE].items() if calls.search(file.read_text("utf-8"))}
    allowed = {m for m in found if any(m == one or m.startswith(f"{one}.") for one in WRITERS)}
    assert found - {"runs.store"} == allowed
    assert "runs.store" in found


@pytest.mark.parametrize("module", list(MODULES[CORE]))
def test_the_core_imports_no_plugin(module):
    """Shipped plugins come through the entry points only; nothing in the core names their package."""
    assert not [line for line, found in imports(CORE, module) if inside(found, PLUGINS)]
    assert PLUGINS not in MODULES[CORE][module].read_text(encoding="utf-8")


@pytest.mark.parametrize("module", list(MODULES[CORE]))
def test_only_model_imports_transformer_lens(module):
    """TransformerLens is behind one package."""
    if any(inside(found, "transformer_lens") for _, found in imports(CORE, module)):
        assert layer(module) == layer(f"{CORE}.model"), module


@pytest.mark.parametrize("module", list(MODULES[PLUGINS]))
def test_plugins_import_the_public_api_and_their_own_helpers(module):
    """A shipped plugin uses what anyone's could: the public names, third parties, its package's `_` helpers."""
    for line, found in imports(PLUGINS, module):
        assert not found.startswith(f"{CORE}."), f"{module}, line {line}, imports {found}"
        if inside(found, PLUGINS):
            inner = found.removeprefix(f"{PLUGINS}.").split(".")
            assert inner[0].startswith("_"), f"{module}, line {line}, imports {found}"


@pytest.mark.parametrize("module", list(MODULES[PLUGINS]))
def test_plugins_use_public_names(module):
    """Whatever a shipped plugin takes from `na` is in `__all__`."""
    tree = ast.parse(MODULES[PLUGINS][module].read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "na"
    }
    assert used <= set(na.__all__)


@pytest.mark.parametrize(
    "module",
    [*(m for m in MODULES[CORE] if m == CORE or any(inside(m, f"{CORE}.{name}") for name in LIGHT)), *MODULES[PLUGINS]],
)
def test_light_modules_import_torch_late(module):
    """Plugins, their base classes and the command line import torch inside functions, if at all."""
    package = PLUGINS if module in MODULES[PLUGINS] else CORE
    assert not [found for _, found in imports(package, module, local=False) if found.split(".")[0] in HEAVY]


def test_every_entry_point_is_a_file_of_its_own():
    """One file a plugin: each entry point names a module of the plugins' package, and each public module has one."""
    points = [p for p in importlib.metadata.entry_points(group=CORE) if inside(p.module, PLUGINS)]
    assert {p.value for p in points} == {m for m in MODULES[PLUGINS] if m != PLUGINS and "._" not in m}
    assert all(p.name == p.module.rpartition(".")[2] for p in points)


def modules_after(code: str) -> set[str]:
    """Top-level and plugin modules that a fresh interpreter holds after some code."""
    report = "; import json, sys; print(json.dumps(list(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import neuron_antagonism",
        "from neuron_antagonism import Scorer, Target, Task, Intervention, Observer, Item, Question, hookimpl",
        *(
            f"import sys; sys.argv = ['neuron-antagonism', *{words!r}]\n"
            "from neuron_antagonism.cli.app import main\n"
            "try: main()\n"
            "except SystemExit as left: assert not left.code\n"
            "None"
            for words in (
                *(["--help"], ["--version"], ["plugins", "-h"]),
                *(["run", "--help"], ["doctor", "--help"], ["export", "--help"]),
            )
        ),
    ],
)
def test_importing_and_help_are_light(code):
    """Neither `import neuron_antagonism` nor any --help imports torch or TransformerLens, or loads a plugin."""
    loaded = modules_after(code)
    assert CORE in loaded
    assert not loaded & {*HEAVY, "numpy", "datasets"}
    assert not [name for name in loaded if inside(name, PLUGINS)]


@pytest.mark.parametrize("words", [["plugins"], ["tasks"], ["tasks", "ner"]])
def test_listing_needs_no_torch(words):
    """Every shipped plugin can be imported, described and subclassed without torch; a task's questions, be made."""
    code = (
        f"import sys; sys.argv = ['neuron-antagonism', *{words!r}, '--json']\n"
        "from neuron_antagonism.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as left: assert not left.code\n"
        "None"
    )
    loaded = modules_after(code)
    assert f"{PLUGINS}.ace" in loaded
    assert not loaded & {*HEAVY}


def test_public_names_resolve():
    """Every name in `__all__` is there, sorted and listed by dir(); an unknown one is an AttributeError."""
    assert len(set(na.__all__)) == len(na.__all__)
    for name in na.__all__:
        assert getattr(na, name) is not None
    assert set(na.__all__) <= set(dir(na))
    assert set(na._LAZY) <= set(na.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = na.nonsense


def test_names_of_the_contract_are_public():
    """What the public contract lists for this version can be reached from the package."""
    promised = (
        "load_model load_task Question Item Example build_examples attribute attribute_many Attribution NeuronSet edit "
        "enhancer degrader Edit evaluate evaluate_many compare run load_run export Target Scorer Task Intervention "
        "Observer Options hookimpl AntagonismError"
    )
    assert set(promised.split()) <= set(na.__all__)
