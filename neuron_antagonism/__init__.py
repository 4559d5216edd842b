"""Find the FFN neurons that help and hinder a language model at a task, edit them, and prove the effect.

Importing this package imports neither torch nor transformer_lens, nor what plugins are built on: names are resolved
when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import (
    AntagonismError,
    AntagonismWarning,
    DataError,
    ExportError,
    ModelError,
    PluginError,
    RunError,
    UsageError,
)

if TYPE_CHECKING:
    from neuron_antagonism.exports.export import Export, export
    from neuron_antagonism.exports.push import Pushed, push
    from neuron_antagonism.method.ablate import Ablation, ablate
    from neuron_antagonism.method.attribute import attribute, attribute_many
    from neuron_antagonism.method.attribution import Attribution
    from neuron_antagonism.method.baselines import baseline_values
    from neuron_antagonism.method.describe import Description, describe
    from neuron_antagonism.method.edits import Edit, degrader, edit, enhancer
    from neuron_antagonism.method.evaluate import Evaluation, evaluate, evaluate_many
    from neuron_antagonism.method.faithfulness import Faithfulness, faithfulness, faithfulness_many
    from neuron_antagonism.method.generate import generate
    from neuron_antagonism.method.linear import LinearEffects, linear_effects
    from neuron_antagonism.method.moments import Moments, gaussian_overlap
    from neuron_antagonism.method.observe import Observation, ValueStatistics, observe, value_statistics
    from neuron_antagonism.method.perplexity import perplexity
    from neuron_antagonism.metrics.compare import Comparison, compare
    from neuron_antagonism.model.hooked import HookedModel
    from neuron_antagonism.model.load import load_model
    from neuron_antagonism.neuron_files import NeuronRow, neuron_rows
    from neuron_antagonism.neurons import NeuronSet
    from neuron_antagonism.plugin.base import Intervention, Observer, Options, Scorer, Target, Task
    from neuron_antagonism.plugin.hookspecs import hookimpl
    from neuron_antagonism.plugin.manager import target_of
    from neuron_antagonism.settings import Settings
    from neuron_antagonism.suites.bench import BenchResult, bench
    from neuron_antagonism.suites.leaderboard import Leaderboard, leaderboard
    from neuron_antagonism.suites.result import RunResult, load_run
    from neuron_antagonism.suites.run import run
    from neuron_antagonism.suites.spec import Suite
    from neuron_antagonism.tasks.concepts import ConceptSplit, concept_split
    from neuron_antagonism.tasks.load import LoadedTask, load_task
    from neuron_antagonism.tasks.qatt import build_examples
    from neuron_antagonism.tasks.splits import Split
    from neuron_antagonism.types import Example, Item, LabelQuestion, Question

__version__ = "0.1.0"

_LAZY = {
    **dict.fromkeys(("Intervention", "Observer", "Options", "Scorer", "Target", "Task"), "plugin.base"),
    **dict.fromkeys(("Example", "Item", "LabelQuestion", "Question"), "types"),
    "hookimpl": "plugin.hookspecs",
    "Ablation": "method.ablate",
    "Attribution": "method.attribution",
    "BenchResult": "suites.bench",
    "Comparison": "metrics.compare",
    "ConceptSplit": "tasks.concepts",
    "Edit": "method.edits",
    "Evaluation": "method.evaluate",
    "Export": "exports.export",
    "Faithfulness": "method.faithfulness",
    "HookedModel": "model.hooked",
    "Leaderboard": "suites.leaderboard",
    "LinearEffects": "method.linear",
    "LoadedTask": "tasks.load",
    "Moments": "method.moments",
    "NeuronRow": "neuron_files",
    "NeuronSet": "neurons",
    "Observation": "method.observe",
    "Pushed": "exports.push",
    "RunResult": "suites.result",
    "Settings": "settings",
    "Split": "tasks.splits",
    "Suite": "suites.spec",
    "ValueStatistics": "method.observe",
    "ablate": "method.ablate",
    "attribute": "method.attribute",
    "attribute_many": "method.attribute",
    "baseline_values": "method.baselines",
    "faithfulness": "method.faithfulness",
    "faithfulness_many": "method.faithfulness",
    "leaderboard": "suites.leaderboard",
    "linear_effects": "method.linear",
    "bench": "suites.bench",
    "build_examples": "tasks.qatt",
    "compare": "metrics.compare",
    "concept_split": "tasks.concepts",
    "degrader": "method.edits",
    "Description": "method.describe",
    "describe": "method.describe",
    "generate": "method.generate",
    "edit": "method.edits",
    "enhancer": "method.edits",
    "evaluate": "method.evaluate",
    "evaluate_many": "method.evaluate",
    "export": "exports.export",
    "gaussian_overlap": "method.moments",
    "load_model": "model.load",
    "load_run": "suites.result",
    "load_task": "tasks.load",
    "neuron_rows": "neuron_files",
    "observe": "method.observe",
    "perplexity": "method.perplexity",
    "push": "exports.push",
    "run": "suites.run",
    "target_of": "plugin.manager",
    "value_statistics": "method.observe",
}

__all__ = [
    "Ablation",
    "AntagonismError",
    "AntagonismWarning",
    "Attribution",
    "BenchResult",
    "Comparison",
    "ConceptSplit",
    "DataError",
    "Description",
    "Edit",
    "Evaluation",
    "Example",
    "Export",
    "ExportError",
    "Faithfulness",
    "HookedModel",
    "Intervention",
    "Item",
    "LabelQuestion",
    "Leaderboard",
    "LinearEffects",
    "LoadedTask",
    "ModelError",
    "Moments",
    "NeuronRow",
    "NeuronSet",
    "Observation",
    "Observer",
    "Options",
    "PluginError",
    "Pushed",
    "Question",
    "RunError",
    "RunResult",
    "Scorer",
    "Settings",
    "Split",
    "Suite",
    "Target",
    "Task",
    "UsageError",
    "ValueStatistics",
    "__version__",
    "ablate",
    "attribute",
    "attribute_many",
    "baseline_values",
    "bench",
    "build_examples",
    "compare",
    "concept_split",
    "degrader",
    "describe",
    "edit",
    "enhancer",
    "evaluate",
    "evaluate_many",
    "export",
    "faithfulness",
    "faithfulness_many",
    "gaussian_overlap",
    "generate",
    "hookimpl",
    "leaderboard",
    "linear_effects",
    "load_model",
    "load_run",
    "load_task",
    "neuron_rows",
    "observe",
    "perplexity",
    "push",
    "run",
    "target_of",
    "value_statistics",
]


def __getattr__(name: str) -> Any:
    """Resolve the names that need torch when they are first used."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Everything public, resolved or not."""
    return sorted({*globals(), *__all__})
