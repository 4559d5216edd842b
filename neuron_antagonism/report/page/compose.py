"""A page of several runs and suites, in the order of its sections."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_antagonism.report.page.blocks import Page
from neuron_antagonism.report.page.provenance_section import add_provenance
from neuron_antagonism.report.page.run_sections import add_runs
from neuron_antagonism.report.page.sources import BenchSource, RunSource, Source
from neuron_antagonism.report.page.suite_sections import add_suite

MOST_NAMED = 4


def compose(sources: Sequence[Source]) -> Page:
    """The page of what was read; sections that nothing was measured for are not there."""
    runs = [one for one in sources if isinstance(one, RunSource)]
    suites = [one for one in sources if isinstance(one, BenchSource)]
    page = Page(_title(runs, suites), _subtitle(sources), "+".join(str(one.manifest["key"]) for one in sources))
    if runs:
        add_runs(page, runs)
    for number, suite in enumerate(suites):
        add_suite(page, suite, "" if len(sources) == 1 else f"s{number}-")
    add_provenance(page, sources)
    return page


def _title(runs: Sequence[RunSource], suites: Sequence[BenchSource]) -> str:
    if runs and not suites:
        tasks = list(dict.fromkeys(task for run in runs for task in run.results["tasks"]))
        models = list(dict.fromkeys(run.manifest["model"]["name"] for run in runs))
        return f"{_named(tasks)}: good and bad neurons of {_named(models)}"
    if suites and not runs:
        return f"{_named([one.manifest['suite']['name'] for one in suites])}: {_named(_models(suites))}"
    return f"{len(runs)} runs and {len(suites)} suites"


def _subtitle(sources: Sequence[Source]) -> str:
    if len(sources) > 1:
        return f"{_named([one.name for one in sources])}; neuron-antagonism {sources[0].manifest['version']}"
    (one,) = sources
    if isinstance(one, RunSource):
        config, n = one.manifest["config"], len(one.manifest["scorers"])
        about = f"seed {config['seed']}, budget {config['budget']}, {n} scorer{'s' if n > 1 else ''}"
    else:
        about = one.manifest["suite"]["about"]
    return f"{one.name}: {about}; neuron-antagonism {one.manifest['version']}"


def _models(suites: Sequence[BenchSource]) -> list[str]:
    return list(dict.fromkeys(model["name"] for one in suites for model in one.manifest["models"]))


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
