"""What is scheduled: a model, a task and a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import ModelError, UsageError
from neuron_antagonism.model.source import source_identity
from neuron_antagonism.plugin.base import Task
from neuron_antagonism.runs.keys import content_hash, identity
from neuron_antagonism.tasks.load import LoadedTask, load_task

if TYPE_CHECKING:
    from neuron_antagonism.model.hooked import HookedModel


@dataclass(frozen=True)
class ModelSource:
    """A model that a job uses.

    Args:
        name: as it was given; for people.
        id: a hash of what is loaded and how.
        loading: arguments of `load_model` beside the name.
        loaded: a model that was given loaded: it stays in this process.
    """

    name: str
    id: str
    loading: Mapping[str, Any] = field(default_factory=dict, compare=False)
    loaded: HookedModel | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, given: str | Path | HookedModel, loading: Mapping[str, Any]) -> ModelSource:
        """A model of a name, or one that is loaded; only where a name's files are nowhere near, it is loaded here.

        Raises:
            AntagonismError: a model that can't be loaded, or one that is being edited.
        """
        if not isinstance(given, str | Path):
            if given.is_edited:
                raise UsageError(
                    "a run was started inside model.edited(); accepted: outside, a run makes its own edits"
                )
            return cls(given.name, content_hash(["loaded", _held(given)]), {}, given)
        name = str(given)
        where = {"revision": loading.get("revision"), "adapter": loading.get("adapter")}
        files = source_identity(name, **where)
        loaded = None
        if files is None:
            from neuron_antagonism.model.load import load_model

            loaded = load_model(name, **loading)
            files = source_identity(name, **where)
        how = {option: value for option, value in loading.items() if value not in (None, False)}
        if files is None:
            # where it comes from can't be read: its weights say what it is
            assert loaded is not None
            return cls(name, content_hash(["loaded", _held(loaded)]), loading, loaded)
        how = {option: value for option, value in how.items() if option not in ("revision", "adapter")}
        return cls(name, content_hash(["files", files, how]), loading, loaded)

    def load(self) -> HookedModel:
        """The model itself.

        Raises:
            ModelError: its files are no longer those that the job was made for.
        """
        if self.loaded is not None:
            return self.loaded
        from neuron_antagonism.model.load import load_model

        model = load_model(self.name, **self.loading)
        if ModelSource.of(self.name, self.loading).id != self.id:
            raise ModelError(
                f"the files of {self.name} are not those that the run began with; accepted: the same files wherever "
                "it runs"
            )
        return model

    def apart(self) -> ModelSource:
        """The same for another process.

        Raises:
            UsageError: a model that was given loaded.
        """
        if self.loaded is not None and not self.loading:
            raise UsageError(
                f"the model {self.name!r} was given loaded, which stays in its process; accepted by other back ends "
                "than 'serial': a model's name"
            )
        return replace(self, loaded=None)


def _held(model: HookedModel) -> list[str]:
    """What identifies a model in memory: weights, configuration, tokenizer."""
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    tokens = backend.to_str() if backend is not None else repr(sorted(model.tokenizer.get_vocab().items()))
    config = model.bridge.original_model.config.to_json_string()
    return [model.fingerprint(), content_hash(config), content_hash(tokens)]


@dataclass(frozen=True)
class TaskSource:
    """A task and its data.

    Args:
        name: the task's.
        id: a hash of its wording, its code and its items.
        data: a hash of its items alone.
        loaded: the task, and where its data comes from.
    """

    name: str
    id: str
    data: str = field(compare=False)
    loaded: LoadedTask = field(compare=False, repr=False)

    @classmethod
    def of(
        cls, thing: str | Path | Task | LoadedTask, seed: int, source: str | None = None, train: str | None = None
    ) -> TaskSource:
        """A task with its items read.

        Raises:
            AntagonismError: an unknown task, or data that can't be read.
        """
        loaded = thing if isinstance(thing, LoadedTask) else load_task(thing, source=source, train=train)
        task = loaded.task
        data = content_hash([[repr(item) for item in part] for part in loaded.items(seed)])
        wording = [task.role, task.rule, list(task.stems), repr(task.demonstration), identity(task)]
        return cls(loaded.name, content_hash([loaded.name, wording, data]), data, loaded)


@dataclass(frozen=True)
class Job:
    """A model, a task and a seed: plain data that can be sent anywhere.

    Args:
        model: the model.
        task: the task.
        seed: of every draw.
        reference: the model whose understanding stratifies sets; None = the model itself.
    """

    model: ModelSource
    task: TaskSource
    seed: int = 0
    reference: ModelSource | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.task.name

    def apart(self) -> Job:
        """The same for another process; errors as in `ModelSource.apart`."""
        reference = None if self.reference is None else self.reference.apart()
        return replace(self, model=self.model.apart(), reference=reference)
