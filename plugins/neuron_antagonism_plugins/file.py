"""A task without code: one YAML or TOML file states where the data is and how it is asked."""

from __future__ import annotations

import neuron_antagonism as na
from neuron_antagonism_plugins._file_task import FileTask


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register the task."""
    return [FileTask]
