"""The sections of runs, in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neuron_antagonism.report.answer import MODES, Answer, Turn, answers, measured, touched
from neuron_antagonism.report.page import charts, neurons, run_rows
from neuron_antagonism.report.page.blocks import (
    Block,
    Column,
    Control,
    Figure,
    Page,
    Row,
    Section,
    Table,
    told,
    with_run,
)
from neuron_antagonism.report.page.explorer_sections import add_explorers
from neuron_antagonism.report.page.sources import RunSource

TASK, SCORER, RUN = Control("task", "Task"), Control("scorer", "Scorer"), Control("run", "Run")
TASK_ANY = Control("task", "Task", True)

CELLS = (
    *(Column("task", "Task"), Column("mode", "Edit"), Column("scorer", "Scorer"), Column("verdict", "Verdict")),
    Column("acc", "Acc", "percent", about="accuracy under the edit, on the evaluation set"),
    Column("rac", "RAC %", "signed", ("rac_low", "rac_high"), "relative change of accuracy, + is what the edit is for"),
    Column("rcc", "RCC %", "signed", ("rcc_low", "rcc_high"), "relative change of comprehension, signed as RAC"),
    Column(
        "population",
        "As it comes",
        "signed",
        ("population_low", "population_high"),
        "change of accuracy in points where understood examples are as frequent as in the data",
    ),
    Column("net", "Net", "signed", ("net_low", "net_high"), "points beyond the mean of RANDOM's draws, + as meant"),
    Column("p_rank", "p (rank)", "number", about="rank among RANDOM's draws; twenty draws give 1/21 at least"),
    Column("touched", "Good : bad", about="neurons touched"),
    Column("at_all", "At all", "percent", about="accuracy with the edit at all positions"),
    Column("differs", "Differs", about="from the first scorer, p < 0.05 after Holm's correction over the table"),
)

SIDE = (
    *(Column("task", "Task"), Column("mode", "Edit"), Column("scorer", "Scorer")),
    Column("purpose", "As meant", "signed", about="change of accuracy in points, + is what the edit is for"),
    Column("changed", "Changed", "percent", about="share of the answers that are other ones"),
    Column("others", "Other tasks", "signed", about="mean change of accuracy on the run's other tasks, in points"),
    Column("kl", "KL", "number", about="KL(unedited || edited) on plain text, in nats a token"),
    Column("perplexity", "Perplexity ×", "number", about="as a multiple of the unedited one"),
    Column("front", "On the front", about="no other scorer does more at a smaller KL"),
)

PARETO = (
    "Up is more of what the edit is for, left is less damage to plain text (KL of the model's next tokens, edit at all "
    "positions): the best trade lies top left, on the dashed line."
)


def add_runs(page: Page, runs: Sequence[RunSource]) -> None:
    """Add every section that these runs have something for."""
    several = len(runs) > 1

    def rows(of: Callable[[Mapping[str, Any]], list[dict[str, Any]]]) -> list[Row]:
        return told([(run.name, of(run.results)) for run in runs], several)

    def own(of: Callable[[RunSource], list[dict[str, Any]]]) -> list[Row]:
        return told([(run.name, of(run)) for run in runs], several)

    names = list(dict.fromkeys(name for run in runs for name in run_rows.scorers(run.results)))
    first = (RUN,) if several else ()
    _answer(page, runs, rows(run_rows.levels), first)
    if several:
        _beside(page, runs)
    _effects(page, rows, names, first)
    _layers(page, rows, own, first)
    _elsewhere(page, rows, names, first)
    _judges(page, rows, own, first)
    add_explorers(page, runs)


def _answer(page: Page, runs: Sequence[RunSource], levels: list[Row], first: tuple[Control, ...]) -> None:
    cards = [_card(run, one) for run in runs for one in answers(run.results)]
    figure = Figure(
        "levels",
        "Accuracy: degraded, unedited, enhanced",
        "For each task a line from the accuracy under the degrader, by the unedited model's, to that under the "
        "enhancer, with 95 % intervals; a tick marks chance. The cards below say the same in words.",
        charts.document(charts.levels()),
        "levels",
    )
    lead = (
        "For each task, whether editing some neurons turns it up (enhance) or down (degrade): “yes” needs an interval "
        "apart from 0 and more than random neurons do; of a model that is not above chance nothing is claimed."
    )
    section = Section("answer", "The answer", lead, [figure], (*first, SCORER), "cards", cards)
    page.add(section, levels=levels)


def _card(run: RunSource, one: Answer) -> dict[str, Any]:
    found = run.results["tasks"][one.task]
    natural = found["natural"]
    known = natural["acc"] is not None
    ends = natural["acc_interval"]
    return {
        "run": run.name,
        "task": one.task,
        "headline": one.headline,
        "judged": one.judged,
        "scorer": one.scorer,
        "natural": (
            f"{100 * natural['acc']:.1f} % [{100 * ends[0]:.0f}, {100 * ends[1]:.0f}]"
            if known
            else f"{100 * found['before']['acc']:.1f} % on the evaluation set; as examples come: not known"
        ),
        "chance": f"{100 * natural['chance_acc']:.1f} %",
        "read": natural["read"],
        "evaluated": f"{found['before']['examples']} examples, {found['before']['questions']} questions",
        "turns": [_turn(turn) for turn in one.turns],
        "where": one.where,
        "cost": one.cost,
    }


def _turn(turn: Turn) -> dict[str, str]:
    return {
        "side": MODES[turn.mode],
        "verdict": turn.verdict,
        "points": measured(turn),
        "says": turn.says,
        "touched": touched(turn.cell),
    }


def _beside(page: Page, runs: Sequence[RunSource]) -> None:
    """Models and seeds of several runs beside each other."""
    found = []
    for run in runs:
        config, model = run.manifest["config"], run.manifest["model"]
        about = {"run": run.name, "model": model["name"], "seed": config["seed"], "budget": config["budget"]}
        for one in answers(run.results):
            natural = run.results["tasks"][one.task]["natural"]
            for turn in one.turns:
                low, high = turn.interval or (None, None)
                found.append(
                    about
                    | {"task": one.task, "scorer": one.scorer, "mode": turn.mode, "verdict": turn.verdict}
                    | {"natural": natural["acc"], "value": turn.points, "low": low, "high": high}
                )
    figure = Figure(
        "runs",
        "Change of accuracy by run",
        "For each run the change of accuracy in points with its 95 % interval; the table holds the same figures.",
        *(
            charts.document(charts.forest("run", "change of accuracy, points")),
            "runs",
            "mode",
            ("value", "low", "high"),
        ),
    )
    columns = (
        *(Column("run", "Run"), Column("model", "Model"), Column("seed", "Seed", "whole")),
        *(Column("budget", "Budget", "whole"), Column("task", "Task"), Column("mode", "Edit")),
        *(Column("scorer", "Scorer"), Column("verdict", "Verdict"), Column("natural", "Natural acc", "percent")),
        Column("value", "Change, points", "signed", ("low", "high")),
    )
    lead = (
        "The first scorer's edits in every run, one line a run: intervals that lie apart differ; those of one seed "
        "don't say what another draw of examples would give."
    )
    blocks: list[Block] = [figure, Table("runs-table", "Runs", "runs", columns)]
    page.add(Section("runs", "Runs beside each other", lead, blocks, (TASK,)), runs=run_rows.rounded(found))


def _effects(page: Page, rows: Any, names: Sequence[str], first: tuple[Control, ...]) -> None:
    effects, cells, sweep, differences = (
        rows(of) for of in (run_rows.effects, run_rows.cells, run_rows.sweep, run_rows.differences)
    )
    figure = Figure(
        "effects",
        "Effects",
        "For each scorer the effect of its enhancer and of its degrader, with 95 % intervals; wrong directions are "
        "crosses. The table below holds the same figures.",
        charts.document(charts.effects()),
        "effects",
        "mode",
        ("value", "low", "high"),
    )
    table = Table("cells", "Every figure", "cells", with_run(CELLS, bool(first)))
    compared = Table(
        "differences",
        "Differences from the first scorer",
        "differences",
        with_run(
            (
                *(Column("task", "Task"), Column("mode", "Edit"), Column("metric", "Metric")),
                *(Column("method", "Scorer"), Column("baseline", "Against")),
                Column("difference", "Difference", "signed", ("low", "high")),
                *(Column("p_value", "p", "number"), Column("p_holm", "p, corrected", "number")),
            ),
            bool(first),
        ),
        folded=True,
    )
    lead = (
        "Every scorer went through the same choice of ratio: to the right of 0 an edit does what it is for; a bar is a "
        "95 % interval over texts (of random: over its draws), and only what lies beyond random's is due to the scorer."
    )
    controls = (*first, TASK, Control("protocol", "Protocol"), Control("metric", "Effect"))
    page.add(
        Section("scorers", "Scorers side by side", lead, [figure, table, compared], controls),
        effects=effects,
        cells=cells,
        differences=differences,
    )
    curve = Figure(
        "sweep",
        "Accuracy by ratio",
        "For each scorer a curve of accuracy over the share of good neurons among those that are touched, one panel "
        "for the enhancer and one for the degrader; rings mark the ratio that was chosen.",
        charts.document(charts.sweep(names)),
        "sweep",
        "mode",
    )
    lead = (
        "The budget is divided between good and bad neurons in eleven ways; the ring is the ratio that was best on "
        "the selection set, which is why that set's own curve is optimistic there."
    )
    if all(row["share"] in (0, 1) for row in sweep):
        # nothing was chosen between
        sweep = []
    page.add(Section("ratios", "Good against bad", lead, [curve], (*first, TASK, Control("set", "Set"))), sweep=sweep)


def _layers(page: Page, rows: Any, own: Any, first: tuple[Control, ...]) -> None:
    shared, together = own(lambda run: run_rows.overlaps(run.neurons)), own(lambda run: run_rows.common(run.neurons))
    depths = [row["tasks"] for row in sorted(together, key=lambda row: row["order"])]
    figures = [
        Figure(
            "layers",
            "Neurons by layer",
            "For each task the number of good neurons (upwards) and bad neurons (downwards) in every layer.",
            charts.document(charts.layers()),
            "layers",
            "task",
            ("side",),
        ),
        Figure(
            "common",
            "Common and specific neurons",
            "For every layer how many neurons are chosen for one task, and how many for several or for all.",
            charts.document(charts.common(list(dict.fromkeys(depths)))),
            "common",
            "role",
        ),
        Figure(
            "overlap",
            "Neurons that tasks share",
            "A matrix of tasks by tasks: the share of the row's neurons that are chosen for the column's task too.",
            charts.document(charts.overlap()),
            "overlap",
            "role",
        ),
    ]
    lead = "Layer 0 is the first; bars up are good neurons, bars down bad ones."
    if shared:
        lead += (
            " Neurons that several tasks choose are common, those of one task specific: a common one can't be edited "
            "for one task alone."
        )
    page.add(
        Section("layers", "Where they sit", lead, figures, (*first, SCORER)),
        layers=rows(run_rows.layers),
        common=together,
        overlap=shared,
    )


def _elsewhere(page: Page, rows: Any, names: Sequence[str], first: tuple[Control, ...]) -> None:
    cross = Figure(
        "cross",
        "Across tasks",
        "A matrix: the task that an edit was chosen for by the task that was asked; cells are changes of accuracy in "
        "points.",
        charts.document(charts.cross()),
        "cross",
        "mode",
    )
    lead = (
        "Rows are the task that the edit was chosen for, columns the task that was asked: strong colours off the "
        "diagonal are damage (or help) elsewhere."
    )
    page.add(Section("across", "Across tasks", lead, [cross], (*first, SCORER)), cross=rows(run_rows.cross))
    side = rows(run_rows.side_effects)
    plotted = [name for name in names if any(row["scorer"] == name for row in side)]
    figures: list[Block] = [
        Figure(
            "pareto",
            "Purpose against side effect",
            "Each point is a scorer's edit: what it does as meant against the divergence that it causes on plain text. "
            "A dashed line joins the edits that no other beats in both.",
            charts.document(charts.pareto(plotted)),
            "side",
            "mode",
        ),
        Table("side-table", "Side effects", "side", with_run(SIDE, bool(first))),
    ]
    if len(plotted) < 2:
        # there is nothing to weigh one point against
        figures, lead = (
            figures[1:],
            "What the edit does besides its purpose: to answers, other tasks and plain text.",
        )
    else:
        lead = PARETO
    page.add(Section("side-effects", "What else an edit does", lead, figures, (*first, TASK)), side=side)
    figure = Figure(
        "letters",
        "Accuracy by right answer",
        "For each answer that can be right, accuracy before and after the edit.",
        charts.document(charts.letters()),
        "letters",
        "mode",
    )
    lead = (
        "Accuracy by the letter (in words, the option) that is right, before and after: an edit that only pushes one "
        "answer lifts that one and drops the others."
    )
    page.add(
        Section("letters", "By right answer", lead, [figure], (*first, TASK, SCORER)), letters=rows(run_rows.letters)
    )


def _judges(page: Page, rows: Any, own: Any, first: tuple[Control, ...]) -> None:
    planted = Figure(
        "planted",
        "Planted neurons found",
        "For each scorer the share of planted good and bad neurons among as many of its strongest.",
        charts.document(charts.planted()),
        "planted",
        "task",
    )
    lead = (
        "This model was trained with neurons whose role is known: to the right, more of them are among a scorer's "
        "strongest; exact ablation is the ceiling."
    )
    page.add(Section("planted", "Planted truth", lead, [planted]), planted=rows(run_rows.planted))
    agreement = Figure(
        "exact",
        "Score against exact effect",
        "Each point is a neuron that the scorer chose: its score against the exact effect of silencing it alone.",
        charts.document(charts.exact()),
        "exact",
    )
    lead = (
        "Each point is a chosen neuron; where a scorer is right, good neurons lie right of 0 (to silence one costs), "
        "bad ones left, and higher scores further out. Effects are of the identification examples that were scored."
    )
    page.add(
        Section("agreement", "Agreement with exact ablation", lead, [agreement], (*first, TASK, SCORER)),
        exact=own(neurons.exact_rows),
    )
