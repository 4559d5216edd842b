"""Logs the settings and figures of runs with MLflow, when the environment asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import neuron_antagonism as na
from neuron_antagonism_plugins._tracked import Tracked, asked_for, module

VARIABLE = "NEURON_ANTAGONISM_MLFLOW"
EXPERIMENT = "neuron_antagonism"
LONGEST = 500
"""Characters of a parameter that every tracking server takes."""


class Mlflow(Tracked):
    """Logs every run to the tracking URI that NEURON_ANTAGONISM_MLFLOW names; unset: does nothing.

    Such as `sqlite:///runs.db` or a server's address. Runs are in the experiment neuron_antagonism: settings are its
    parameters, figures its metrics, `task/scorer/mode/figure`. Needs the extra `mlflow`.
    """

    name = "mlflow"

    def __init__(self) -> None:
        """Read the variable; a missing package is named here, before a run creates anything."""
        super().__init__()
        self._uri = asked_for(VARIABLE, "a tracking URI")
        self._client: Any = None
        self._run = ""
        if self._uri is not None:
            module("mlflow", VARIABLE, "mlflow")

    @property
    def on(self) -> bool:
        """Whether a place is named."""
        return self._uri is not None

    def begin(self, name: str, settings: Mapping[str, str]) -> None:
        """A run of the experiment, apart from any that the caller's own code has active."""
        client = self._client = module("mlflow", VARIABLE, "mlflow").MlflowClient(tracking_uri=self._uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found is not None else client.create_experiment(EXPERIMENT)
        self._run = client.create_run(experiment, run_name=name).info.run_id
        for key, value in settings.items():
            client.log_param(self._run, key, value[:LONGEST])

    def log(self, figures: Mapping[str, float]) -> None:
        """A metric each."""
        for name, value in figures.items():
            self._client.log_metric(self._run, name, value)

    def end(self, *, failed: bool) -> None:
        """Finished or failed."""
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")


@na.hookimpl
def neuron_antagonism_observers() -> list[type[na.Observer]]:
    """Register the observer."""
    return [Mlflow]
