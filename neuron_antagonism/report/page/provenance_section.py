"""The section of where a page's figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuron_antagonism.report.page import provenance
from neuron_antagonism.report.page.blocks import Column, Page, Row, Section, Table, told, with_run
from neuron_antagonism.report.page.sources import RunSource, Source


def add_provenance(page: Page, sources: Sequence[Source]) -> None:
    """Where it all comes from."""
    several = len(sources) > 1

    def rows(of: Any) -> list[Row]:
        return told([(one.name, of(one)) for one in sources], several)

    scored = [one for one in sources if isinstance(one, RunSource)]
    tables = [
        Table(
            "attributions",
            "How the scores came about",
            "attributions",
            with_run(
                (
                    *(Column("task", "Task"), Column("scorer", "Scorer"), Column("target", "Target")),
                    *(
                        Column("engine", "Engine"),
                        Column("steps", "Steps", "whole"),
                        Column("quadrature", "Quadrature"),
                    ),
                    Column("missed", "Missed", "percent", about="completeness error of the integrated gradients"),
                    *(Column("good", "Good", "whole"), Column("bad", "Bad", "whole")),
                    Column("dropped", "Dropped", "whole", about="neurons dropped as ambiguous"),
                ),
                several,
            ),
            folded=True,
        ),
        Table(
            "proofs",
            "What loading proved",
            "proofs",
            with_run(
                (
                    *(Column("model", "Model"), Column("proof", "Proof"), Column("holds", "Holds")),
                    *(Column("figure", "Figure", "number"), Column("bound", "Bound", "number")),
                    Column("detail", "Detail"),
                ),
                several,
            ),
            folded=True,
        ),
        Table(
            "timings",
            "Seconds",
            "timings",
            with_run((Column("what", "What"), Column("seconds", "Seconds", "number")), several),
            folded=True,
        ),
    ]
    lead = "What it takes to get these figures again, and every warning that came with them."
    content = [provenance.facts(one) for one in sources]
    attributed = told([(one.name, provenance.attributions(one)) for one in scored], several)
    page.add(
        Section("provenance", "Where it comes from", lead, tables, (), "provenance", content),
        attributions=attributed,
        proofs=rows(provenance.proofs),
        timings=rows(provenance.timings),
    )
