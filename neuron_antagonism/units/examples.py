"""The examples of a job, the engine that its prompts allow, and what there is to know of its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from neuron_antagonism.errors import DataError, UsageError
from neuron_antagonism.progress import stage
from neuron_antagonism.runs.environment import described
from neuron_antagonism.runs.job import Job, TaskSource
from neuron_antagonism.runs.keys import content_hash, key_of
from neuron_antagonism.runs.unit import Payload, Shelf, Unit
from neuron_antagonism.tasks.splits import SETS, Split

if TYPE_CHECKING:
    from neuron_antagonism.runs.work import Desk

KIND = "examples"


@dataclass(frozen=True)
class Sizes:
    """How many examples each set has, and how they are drawn.

    Args:
        identify, select, evaluate: examples of each set.
        stratified: whether half of the last two is understood by the job's reference.
        engine: the engine that is asked for; what it comes to is settled with the examples.
        form: how questions are answered, "letters" or "words".
        shots: in words, how many answered examples a prompt shows; None = as the task says.
    """

    identify: int
    select: int
    evaluate: int
    stratified: bool = True
    engine: str = "auto"
    form: str = "letters"
    shots: int | None = None

    def unit(self, job: Job) -> Unit:
        """A job's examples."""
        reference = (job.reference or job.model).id if self.stratified else None
        key = key_of(KIND, job.model.id, reference, job.task.id, job.seed, asdict(self))
        return Unit(KIND, job.name, key, self)

    @classmethod
    def make(cls, desk: Desk, units: Sequence[Unit]) -> None:
        """Draw them."""
        for unit in units:
            recipe = unit.recipe
            assert isinstance(recipe, Sizes)
            desk.shelf.put(unit, recipe._drawn(desk))

    def of(self, job: Job, shelf: Shelf) -> Prepared | None:
        """What is known of a job's examples; None where they are not drawn yet."""
        payload = shelf.get(self.unit(job))
        return None if payload is None else Prepared(payload)

    def at(self, desk: Desk) -> Prepared:
        """The examples of the job at hand, its model ready to be asked them."""
        unit = self.unit(desk.job)
        if unit.key not in desk.notes:
            payload = desk.shelf.get(unit)
            assert payload is not None
            prepared = desk.notes[unit.key] = Prepared(payload)
            # where the answers are read was chosen with the examples, whatever this process has asked before
            desk.model.letters.recall(prepared.payload.meta["letters"])
        found: Prepared = desk.notes[unit.key]
        return found

    def _drawn(self, desk: Desk) -> Payload:
        from neuron_antagonism.engine.choose import choose
        from neuron_antagonism.engine.memory import check_fits

        job, model = desk.job, desk.model
        task = job.task.loaded.read(job.seed)
        if TaskSource.of(task, job.seed).id != job.task.id:
            raise DataError(f"the data of task {job.name!r} is not what the run began with; accepted: the same data")
        for one in {id(one): one for one in (model, desk.reference)}.values():
            one.letters.recall([])
        split = task.split(
            self.identify,
            self.select,
            self.evaluate,
            seed=job.seed,
            form=self.form,
            shots=self.shots,
            reference=desk.reference if self.stratified else None,
            fits=model,
            progress=desk.progress,
        )
        asked = [q for example in (split.identify or split.evaluate) for q in example.proxies]
        prompts = [encoded.ids for encoded in model.encode_all(asked)]
        with stage(desk.progress, "engine"):
            engine = choose(model, prompts, self.engine)
        check_fits(model, max(map(len, prompts)), engine.name)
        rows = list(split.rows())
        sets = {name: [[row["item"], row["proxies"]] for row in rows if row["set"] == name] for name in SETS}
        return Payload(
            {
                "rows": rows,
                # of items and questions, and of nothing else
                "hashes": {name: content_hash(own) for name, own in sets.items()},
                "report": asdict(split.report),
                "engine": {"name": engine.name, "reason": engine.reason},
                "longest": max(map(len, prompts)),
                "model": described(model),
                "letters": model.letters.told(),
            }
        )


class Prepared:
    """A job's examples and what is known of its model.

    Args:
        payload: what `Sizes.make` put on the shelf.
    """

    def __init__(self, payload: Payload) -> None:
        """Nothing is read yet."""
        self.payload = payload

    @cached_property
    def split(self) -> Split:
        """The sets of examples."""
        split = Split.of_rows(self.payload.meta["rows"])
        for name, value in self.payload.meta["report"].items():
            setattr(split.report, name, value)
        return split

    @property
    def engine(self) -> Mapping[str, str]:
        """Name of the engine that the job's prompts allow, and the reason."""
        found: Mapping[str, str] = self.payload.meta["engine"]
        return found

    @property
    def model(self) -> Mapping[str, Any]:
        """The model as `runs.environment.described` describes it."""
        found: Mapping[str, Any] = self.payload.meta["model"]
        return found

    def units(self, site: str) -> int:
        """How many units the model has at a site, in all blocks.

        Raises:
            UsageError: it lacks the site.
        """
        there = self.model["units"]
        if site not in there:
            raise UsageError(f"{self.model['name']} has no site {site!r}; accepted: {', '.join(map(repr, there))}")
        return int(there[site] * self.model["layers"])

    def strata(self, name: str) -> list[bool | None]:
        """Of each example of a set, whether the reference understands it; None where there is no reference."""
        return [row["understood"] for row in self.payload.meta["rows"] if row["set"] == name]

    def set_hash(self, name: str, first: int | None = None) -> str:
        """A hash of a set, or of its first examples: of their items and questions, and of nothing else."""
        if first is None:
            return str(self.payload.meta["hashes"][name])
        rows = [row for row in self.payload.meta["rows"] if row["set"] == name][:first]
        return content_hash([[row["item"], row["proxies"]] for row in rows])
