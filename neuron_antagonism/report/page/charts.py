"""Charts by what they show, as Vega-Lite without data: of one panel, as wide as the place where it is drawn.

The same marks everywhere: enhance and good are blue and point up, degrade and bad are orange and point down; a bar
through a point is its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import altair as alt

from neuron_antagonism.report.page.palette import CONFIG, DASHES, DIVERGING, RISING, SERIES, SHAPES, cycled

ROWS = "rows"
STEP = 26
HEIGHT = 220

Chart = Any
"""A chart of Altair's, single or layered: its own types tell them apart, its methods don't."""

INK, SOFT, LINE = "var(--ink)", "var(--soft)", "var(--line)"


def document(chart: Chart) -> dict[str, Any]:
    """A chart as the page draws it: without data, and without what all charts have in common."""
    found = cast(dict[str, Any], chart.to_dict(validate=False))
    found.pop("config", None)
    found.pop("datasets", None)
    return found


def _base() -> Chart:
    return alt.Chart(alt.NamedData(ROWS))


def _sized(chart: Chart, height: Any = HEIGHT) -> Chart:
    return chart.properties(width="container", height=height)


def _zero(axis: str = "x") -> Chart:
    at = {axis: alt.datum(0)}
    return _base().mark_rule(color=SOFT, strokeWidth=1, clip=True).encode(**at)


def _shared(**rest: Any) -> alt.Scale:
    """A scale whose ends the page sets, the same in all panels."""
    return alt.Scale(domainMin=alt.ExprRef("share_low"), domainMax=alt.ExprRef("share_high"), nice=False, **rest)


def _with_ends(chart: Chart) -> Chart:
    """A chart whose shared axis has ends before the page sets them."""
    return chart.add_params(alt.param(name="share_low", value=-1), alt.param(name="share_high", value=1))


def _roles(field: str, names: Sequence[str], title: str | None = None) -> dict[str, Any]:
    """Colour and shape of what helps and what hinders."""
    domain = list(names)
    return {
        "color": alt.Color(
            f"{field}:N", title=title, scale=alt.Scale(domain=domain, range=["var(--good)", "var(--bad)"])
        ),
        "shape": alt.Shape(
            f"{field}:N", title=title, scale=alt.Scale(domain=domain, range=["triangle-up", "triangle-down"])
        ),
    }


def _series(names: Sequence[str], *, dash: bool = False, field: str = "scorer") -> dict[str, Any]:
    """Colour and shape (or dash) of each scorer, the same in every chart of a page."""
    domain, n = list(names), len(names)
    found = {"color": alt.Color(f"{field}:N", title=None, scale=alt.Scale(domain=domain, range=cycled(SERIES, n)))}
    if dash:
        scale = alt.Scale(domain=domain, range=cycled(DASHES, n))
        return found | {"strokeDash": alt.StrokeDash(f"{field}:N", title=None, scale=scale)}
    scale = alt.Scale(domain=domain, range=cycled(SHAPES, n))
    return found | {"shape": alt.Shape(f"{field}:N", title=None, scale=scale)}


def _ordered(field: str, title: str | None = None, **rest: Any) -> alt.Y:
    return alt.Y(f"{field}:N", sort=None, title=title, **rest)


def levels() -> Chart:
    """By task, accuracy unedited, enhanced and degraded, beside chance."""
    states = ["degraded", "unedited", "enhanced"]
    colour = alt.Scale(domain=states, range=["var(--bad)", "var(--none)", "var(--good)"])
    shape = alt.Scale(domain=states, range=["triangle-down", "circle", "triangle-up"])
    axis = alt.Axis(values=list(range(0, 101, 20)))
    x = alt.X("acc:Q", title="accuracy, %; the black tick is chance", axis=axis, scale=alt.Scale(domain=[0, 100]))
    y = _ordered("task")
    tips = ["task:N", "scorer:N", "state:N", alt.Tooltip("acc:Q", format=".1f"), alt.Tooltip("chance:Q", format=".1f")]
    span = _base().mark_rule(color=LINE, strokeWidth=6).encode(x="min(acc):Q", x2="max(acc):Q", y=y)
    ends = _base().mark_rule(strokeWidth=2, opacity=0.75).encode(x="low:Q", x2="high:Q", y=y)
    ends = ends.encode(color=alt.Color("state:N", title=None, scale=colour))
    chance = _base().mark_tick(color=INK, thickness=2.5, size=20).encode(x="mean(chance):Q", y=y)
    points = _base().mark_point(filled=True, size=130, opacity=1)
    points = points.encode(
        x=x,
        y=y,
        color=alt.Color("state:N", title=None, scale=colour),
        shape=alt.Shape("state:N", title=None, scale=shape),
        tooltip=tips,
    )
    return _sized(alt.layer(span, chance, ends, points), alt.Step(40))


def effects() -> Chart:
    """By scorer, an effect with its interval; where the direction is wrong, a cross."""
    verdicts = ["as meant", "Fail", "no verdict"]
    x = alt.X("value:Q", title=None, scale=_shared())
    y = _ordered("scorer")
    ends = _base().mark_rule(strokeWidth=2, clip=True).encode(x="low:Q", x2="high:Q", y=y)
    points = _base().mark_point(size=110, filled=True, opacity=1, clip=True).encode(x=x, y=y)
    scale = alt.Scale(domain=verdicts, range=["var(--good)", "var(--bad)", "var(--none)"])
    colour = alt.Color("verdict:N", title=None, scale=scale)
    shape = alt.Shape("verdict:N", title=None, scale=alt.Scale(domain=verdicts, range=["circle", "cross", "square"]))
    tips = ["scorer:N", "verdict:N", *(alt.Tooltip(f"{f}:Q", format="+.1f") for f in ("value", "low", "high"))]
    ends = ends.encode(color=alt.Color("verdict:N", title=None, scale=scale))
    points = points.encode(color=colour, shape=shape, tooltip=tips)
    return _sized(_with_ends(alt.layer(_zero(), ends, points)), alt.Step(STEP))


def sweep(names: Sequence[str]) -> Chart:
    """Accuracy by the share of good neurons among those that are touched; the ratio that was chosen is filled."""
    series = _series(names)
    x = alt.X(
        "share:Q", title="good neurons among those touched", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])
    )
    y = alt.Y("acc:Q", title="accuracy, %", scale=alt.Scale(domain=[0, 100]))
    line = _base().mark_line(strokeWidth=2).encode(x=x, y=y, **_series(names, dash=True))
    tips = ["scorer:N", alt.Tooltip("share:Q", format=".0%"), alt.Tooltip("acc:Q", format=".1f"), "chosen:N", "draws:Q"]
    asked = _base().mark_point(size=30, filled=True).encode(x=x, y=y, tooltip=tips, **series)
    chosen = _base().mark_point(size=170, strokeWidth=2.5).encode(x=x, y=y, tooltip=tips, **series)
    return _sized(alt.layer(line, asked, chosen.transform_filter(alt.datum.chosen == "chosen")), 260)


def layers() -> Chart:
    """By layer, how many good neurons (up) and bad ones (down)."""
    limits = alt.Axis(labelExpr="abs(datum.value)", format="d")
    bars = (
        _base()
        .mark_bar()
        .encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("side:Q", title="good up, bad down", axis=limits, scale=_shared()),
            color=alt.Color(
                "role:N", title=None, scale=alt.Scale(domain=["good", "bad"], range=["var(--good)", "var(--bad)"])
            ),
            tooltip=["layer:O", "role:N", "count:Q"],
        )
    )
    return _sized(_with_ends(alt.layer(bars, _zero("y"))), 160)


def common(names: Sequence[str]) -> Chart:
    """By layer, neurons that serve one task, and those that serve several."""
    bars = (
        _base()
        .mark_bar()
        .encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("count:Q", title="neurons"),
            color=alt.Color("tasks:N", title="chosen for", scale=_depth(names), sort=list(names)),
            order=alt.Order("order:Q", sort="descending"),
            tooltip=["layer:O", "tasks:N", "count:Q"],
        )
    )
    return _sized(bars, 200)


def _depth(names: Sequence[str]) -> alt.Scale:
    """Paler for one task, darker for more."""
    n = len(names)
    steps = [RISING[1 + round(3 * i / max(1, n - 1))] for i in range(n)]
    return alt.Scale(domain=list(names), range=steps)


def _heat(x: str, y: str, value: str, titles: tuple[str, str], colour: alt.Scale, strong: str, form: str) -> Chart:
    """A matrix whose cells say their figure; `strong`: where the cell is so dark that the figure must be light."""
    names = alt.Axis(labelAngle=-30, labelLimit=90, labelOverlap=False)
    place = {
        "x": alt.X(f"{x}:N", sort=None, title=titles[0], axis=names),
        "y": _ordered(y, titles[1]),
    }
    tips = [f"{y}:N", f"{x}:N", alt.Tooltip(f"{value}:Q", format=form)]
    cells = _base().mark_rect(stroke="var(--paper)", strokeWidth=2)
    cells = cells.encode(color=alt.Color(f"{value}:Q", scale=colour, legend=None), tooltip=tips, **place)
    ink = alt.condition(strong, alt.value("var(--paper)"), alt.value(INK))
    said = _base().mark_text().encode(text=alt.Text(f"{value}:Q", format=form), color=ink, **place)
    return _sized(alt.layer(cells, said), alt.Step(34))


def cross() -> Chart:
    """The task an edit was chosen for against the task that was asked: change of accuracy in points."""
    colour = alt.Scale(type="threshold", domain=[-30, -15, -3, 3, 15, 30], range=DIVERGING)
    titles = ("task that was asked", "edit chosen for")
    return _heat("asked", "task", "points", titles, colour, "abs(datum.points) >= 30", "+.0f")


def overlap() -> Chart:
    """Of each task's neurons, the share that another task has as well."""
    colour = alt.Scale(type="threshold", domain=[0.1, 0.3, 0.5, 0.75], range=RISING)
    return _heat("other", "task", "shared", ("are also chosen for", "of"), colour, "datum.shared >= 0.5", ".0%")


def pareto(names: Sequence[str]) -> Chart:
    """What an edit does for its purpose against what it does to plain text; the line joins those nothing beats."""
    room = alt.Scale(zero=True, padding=14)
    x = alt.X("kl:Q", title="KL on plain text, nats a token", scale=room)
    y = alt.Y("purpose:Q", title="accuracy as meant, points", scale=room)
    front = _base().transform_filter(alt.datum.front == "yes")
    line = front.mark_line(interpolate="step-after", color=SOFT, strokeDash=[4, 3]).encode(
        x=alt.X("kl:Q"), y="purpose:Q", order="kl:Q"
    )
    tips = [
        *("task:N", "scorer:N", alt.Tooltip("purpose:Q", format="+.1f"), alt.Tooltip("kl:Q", format=".3f")),
        *(alt.Tooltip("perplexity:Q", format=".3f"), alt.Tooltip("others:Q", format="+.1f")),
    ]
    points = _base().mark_point(size=110, filled=True, opacity=0.9).encode(x=x, y=y, tooltip=tips, **_series(names))
    return _sized(alt.layer(_zero("y"), line, points), 260)


def letters() -> Chart:
    """By right answer, accuracy before and after."""
    when = ["before", "after"]
    scale = alt.Scale(domain=when, range=["var(--s1)", "var(--s3)"])
    bars = (
        _base()
        .mark_bar()
        .encode(
            x=alt.X("letter:N", title="right answer", sort=None, axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("when:N", sort=when),
            y=alt.Y("acc:Q", title="accuracy, %", scale=alt.Scale(domain=[0, 100])),
            color=alt.Color("when:N", title=None, sort=when, scale=scale),
            tooltip=["letter:N", "when:N", alt.Tooltip("acc:Q", format=".1f"), alt.Tooltip("picked:Q", format=".1f")],
        )
    )
    return _sized(bars, 180)


def planted() -> Chart:
    """By scorer, the share of planted neurons among its strongest."""
    points = (
        _base()
        .mark_point(filled=True, size=120, opacity=1)
        .encode(
            x=alt.X(
                "found:Q", title="planted neurons found", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])
            ),
            y=_ordered("scorer"),
            tooltip=["scorer:N", "role:N", alt.Tooltip("found:Q", format=".0%"), "k:Q"],
            **_roles("role", ("good", "bad")),
        )
    )
    return _sized(points, alt.Step(STEP))


def exact() -> Chart:
    """A scorer's score against the exact effect of silencing the neuron alone."""
    points = (
        _base()
        .mark_point(filled=True, size=45, opacity=0.7)
        .encode(
            x=alt.X("effect:Q", title="exact effect (ablation)"),
            y=alt.Y("score:Q", title="score"),
            tooltip=["id:N", "role:N", "rank:Q", *(alt.Tooltip(f"{f}:Q", format=".4g") for f in ("score", "effect"))],
            **_roles("role", ("good", "bad")),
        )
    )
    return _sized(alt.layer(_zero(), _zero("y"), points), 280)


def forest(field: str, x_title: str, colours: dict[str, tuple[str, str]] | None = None, by: str = "") -> Chart:
    """Values with intervals, one line each; `colours`: of each value of `by` its colour and shape."""
    y = _ordered(field)
    ends = _base().mark_rule(strokeWidth=2, clip=True).encode(x="low:Q", x2="high:Q", y=y)
    points = _base().mark_point(size=100, filled=True, opacity=1, clip=True)
    points = points.encode(
        x=alt.X("value:Q", title=x_title, scale=_shared()),
        y=y,
        tooltip=[f"{field}:N", *(alt.Tooltip(f"{f}:Q", format=".3g") for f in ("value", "low", "high"))],
    )
    if colours:
        domain = list(colours)
        scale = alt.Scale(domain=domain, range=[colour for colour, _ in colours.values()])
        shapes = alt.Scale(domain=domain, range=[shape for _, shape in colours.values()])
        ends = ends.encode(color=alt.Color(f"{by}:N", title=None, scale=scale))
        points = points.encode(
            color=alt.Color(f"{by}:N", title=None, scale=scale), shape=alt.Shape(f"{by}:N", title=None, scale=shapes)
        )
    else:
        ends, points = ends.encode(color=alt.value("var(--c0)")), points.encode(color=alt.value("var(--c0)"))
    return _sized(_with_ends(alt.layer(_zero(), ends, points)), alt.Step(STEP))


def board(judges: Sequence[str]) -> Chart:
    """Scorers by judges: darker is better among the scorers of one judge; the cells say the figures."""
    place = {
        "x": alt.X("judge:N", sort=list(judges), title=None, axis=alt.Axis(labelAngle=0, orient="top")),
        # by a number: names in a list would become part of an expression, which not every name may stand in
        "y": alt.Y("scorer:N", sort=alt.EncodingSortField("order", op="min"), title=None),
    }
    colour = alt.Scale(type="threshold", domain=[0.2, 0.4, 0.6, 0.8], range=RISING)
    tips = ["scorer:N", "about:N", alt.Tooltip("value:Q", format=".4g"), alt.Tooltip("place:Q", title="rank")]
    cells = _base().mark_rect(stroke="var(--paper)", strokeWidth=2)
    cells = cells.encode(color=alt.Color("strength:Q", scale=colour, legend=None), tooltip=tips, **place)
    ink = alt.condition("datum.strength >= 0.6", alt.value("var(--paper)"), alt.value(INK))
    said = _base().mark_text(fontSize=11).encode(text="shown:N", color=ink, **place)
    return _sized(alt.layer(cells, said), alt.Step(28))


def budgets(names: Sequence[str], there: Sequence[int]) -> Chart:
    """Accuracy by the number of neurons that are edited, beside that of the unedited model."""
    axis = alt.Axis(format="d", values=list(there))
    x = alt.X("x:Q", title="neurons edited", scale=alt.Scale(type="log", nice=False, padding=12), axis=axis)
    y = alt.Y("value:Q", title="accuracy, %", scale=alt.Scale(domain=[0, 100]))
    tips = ["scorer:N", alt.Tooltip("x:Q", title="neurons", format="d"), alt.Tooltip("value:Q", format=".1f")]
    before = _base().mark_rule(color=INK, strokeDash=[6, 4], strokeWidth=1.5).encode(y="mean(before):Q")
    line = _base().mark_line(strokeWidth=2).encode(x=x, y=y, **_series(names, dash=True))
    points = _base().mark_point(size=70, filled=True).encode(x=x, y=y, tooltip=tips, **_series(names))
    return _sized(alt.layer(before, line, points), 260)


def _banded(names: Sequence[str], x: Any, y: Any, ends: tuple[str, str], tips: Sequence[Any]) -> list[Any]:
    """Lines of scorers with points, and bands of their intervals."""
    # not `opacity`, which the legend's symbols would take on
    area = _base().mark_area(fillOpacity=0.13, clip=True, aria=False).encode(x=x, y=f"{ends[0]}:Q", y2=f"{ends[1]}:Q")
    area = area.encode(color=_series(names)["color"])
    line = _base().mark_line(strokeWidth=2, clip=True).encode(x=x, y=y, **_series(names, dash=True))
    told = ["scorer:N", *tips, *(alt.Tooltip(f"{f}:Q", format=".3g") for f in ("value", "low", "high"))]
    points = _base().mark_point(size=55, filled=True, clip=True).encode(x=x, y=y, tooltip=told, **_series(names))
    return [area, line, points]


def dose(names: Sequence[str]) -> Chart:
    """The change of log-odds by the factor of the neurons; 1 leaves them alone."""
    scales = alt.Axis(values=[0, 0.5, 1, 1.5, 2, 4], format="~g", labelExpr="'×' + datum.label")
    x = alt.X(
        "x:Q", title="factor of the neurons' values", axis=scales, scale=alt.Scale(domain=[-0.1, 4.1], nice=False)
    )
    y = alt.Y("value:Q", title="change of log-odds, nats", scale=_shared())
    alone = _base().mark_rule(color=SOFT, strokeDash=[2, 3]).encode(x=alt.datum(1))
    lines = _banded(names, x, y, ("low", "high"), [alt.Tooltip("x:Q", title="factor")])
    return _sized(_with_ends(alt.layer(_zero("y"), alone, *lines)), 260)


def faithfulness(names: Sequence[str]) -> Chart:
    """Measures over the share of neurons, on a logarithmic axis, and the ideal."""
    axis = alt.Axis(values=[0.001, 0.01, 0.1, 1], format="~%")
    x = alt.X("x:Q", title="share of all neurons", axis=axis, scale=alt.Scale(type="log", nice=False, padding=8))
    y = alt.Y("value:Q", title=None)
    # of a measure without an ideal there is no line
    ideal = _base().transform_filter("isValid(datum.ideal)").mark_rule(color=INK, strokeDash=[6, 4], strokeWidth=1.5)
    lines = _banded(names, x, y, ("from", "to"), [alt.Tooltip("x:Q", title="share", format="~%")])
    return _sized(alt.layer(*lines, ideal.encode(y="mean(ideal):Q")), 260)


def options() -> Chart:
    """The probability of each option of a question."""
    kinds = ["right", "wrong"]
    scale = alt.Scale(domain=kinds, range=["var(--good)", "var(--none)"])
    bars = (
        _base()
        .mark_bar()
        .encode(
            x=alt.X("option:N", title="option", sort=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("probability:Q", title="probability", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("what:N", title=None, scale=scale),
            tooltip=["option:N", "what:N", alt.Tooltip("probability:Q", format=".1%")],
        )
    )
    return _sized(bars, 150)


def scatter(names: Sequence[str], field: str, titles: tuple[str, str], tips: Sequence[str] = ()) -> Chart:
    """Two figures of the same things against each other."""
    points = (
        _base()
        .mark_point(size=100, filled=True, opacity=0.9)
        .encode(
            x=alt.X("x:Q", title=titles[0], scale=alt.Scale(zero=False, padding=14)),
            y=alt.Y("y:Q", title=titles[1], scale=alt.Scale(zero=False, padding=14)),
            tooltip=[f"{field}:N", *tips, alt.Tooltip("x:Q", format=".3g"), alt.Tooltip("y:Q", format=".3g")],
            **_series(names, field=field),
        )
    )
    return _sized(points, 260)


def strip(field: str, x_title: str) -> Chart:
    """Several values of each thing, as ticks, and their median as a point."""
    y = _ordered(field)
    each = _base().mark_tick(thickness=2, size=16, opacity=0.8, clip=True)
    x = alt.X("value:Q", title=x_title, scale=_shared())
    each = each.encode(x=x, y=y, tooltip=[f"{field}:N", "seed:N", "value:Q"])
    middle = _base().mark_point(filled=True, size=90, opacity=1, clip=True).encode(x="median(value):Q", y=y)
    paint = alt.value("var(--c0)")
    return _sized(_with_ends(alt.layer(_zero(), each.encode(color=paint), middle.encode(color=paint))), alt.Step(STEP))


def styled(chart: Chart) -> Chart:
    """A chart with the look that all have, for where the page doesn't give it."""
    return chart.configure(**CONFIG)
