"""The back end of a name."""

from __future__ import annotations

from neuron_antagonism.errors import UsageError, unknown
from neuron_antagonism.runs.backends import Backend

BACKENDS = ("serial", "processes", "ray")


def backend_of(name: str, workers: int = 1) -> Backend:
    """The back end of a name.

    Args:
        name: one of `BACKENDS`.
        workers: how many jobs at a time.

    Raises:
        UsageError: an unknown name, a number of workers that it can't have, or a package that is not installed.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise UsageError(f"workers is {workers!r}; accepted: a whole number from 1")
    if name == "serial":
        from neuron_antagonism.runs.backends.serial import Serial

        if workers > 1:
            raise UsageError(f"back end 'serial' has 1 worker, {workers} were asked for; accepted: 'processes', 'ray'")
        return Serial()
    if name == "processes":
        from neuron_antagonism.runs.backends.processes import Processes

        return Processes(workers)
    if name == "ray":
        from neuron_antagonism.runs.backends.ray import Ray

        return Ray(workers)
    raise UsageError(unknown("back end", name, BACKENDS))
