"""The paper's tables and figures: shared and task-specific neurons, every protocol, and what is printed of them."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

import neuron_antagonism as na
from neuron_antagonism import tensors
from neuron_antagonism.method.evaluate import fingerprint
from neuron_antagonism.method.shared import common, specific
from neuron_antagonism.metrics.outcomes import MODES
from neuron_antagonism.parts import cross
from neuron_antagonism.parts.sharing import Sharing
from neuron_antagonism.report.grids import FORMS, Grid, Section
from neuron_antagonism.report.paper.cells import average
from neuron_antagonism.report.paper.companions import comparisons, intervals
from neuron_antagonism.report.paper.figures import FIGURES, drawn
from neuron_antagonism.report.paper.published import beside, of_model
from neuron_antagonism.report.paper.tables import LAYOUTS, TABLES
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.suites.spec import Suite, find_suite, joined
from neuron_antagonism.units import answers
from neuron_antagonism.units.examples import Prepared
from neuron_antagonism.units.neurons import Candidate, candidates_of

one_thread = tiny.one_thread

TASKS = ["ner", "sentiment"]
SIZES = {"identify": 2, "select": 3, "evaluate": 5}
SUITE = {
    "name": "paper",
    "tasks": TASKS,
    "parts": [
        {
            "part": "effects",
            "name": "effects",
            "tables": [1, 2, 3, 4, 6],
            "scorers": ["ace", "kn", "act", "random"],
            "protocols": ["held-out", "matched", "paper"],
            "options": {"random_draws": 2, "budget": 30},
            **SIZES,
        },
        {"part": "common", "name": "common", "tables": [5], "count": 30, "budget": 30, "matched": 3, **SIZES},
        {"part": "budgets", "name": "budgets", "tables": [7], "scorers": ["ace", "kn"], "budgets": [8, 30], **SIZES},
        {"part": "cross", "name": "cross", "figures": [2, 4], "budget": 30, **SIZES},
        {"part": "cross", "name": "counted", "tables": [8], "counts": {"ner": [7, 12]}, "matched": 3, **SIZES},
        {"part": "layers", "name": "layers", "figures": [5, 6, 7], "count": 30, "identify": 2},
        {
            "part": "probabilities",
            "name": "shown",
            "figures": [10],
            "scorers": ["ace", "kn"],
            "budget": 30,
            **SIZES,
        },
    ],
}


@pytest.fixture(scope="module")
def asked() -> list[tuple[str, Any]]:
    """What was asked while the suite was measured: a set of questions, and the edits that were made side by side."""
    return []


@pytest.fixture(scope="module")
def measured(tmp_path_factory, asked) -> Iterator[na.BenchResult]:
    out = tmp_path_factory.mktemp("paper")
    real = answers.evaluate_sets

    def heard(model: Any, examples: Any, sets: Any, **how: Any) -> Any:
        asked.extend((fingerprint(examples), tuple(map(answers._content, own))) for own in sets)
        return real(model, examples, sets, **how)

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "evaluate_sets", heard)
        warnings.simplefilter("ignore", na.AntagonismWarning)
        yield na.bench(Suite.of(SUITE, "paper"), "demo", out=out / "out", cache=out / "cache")


def rows(found: na.BenchResult, part: str, **fields: Any) -> list[dict[str, Any]]:
    return [row for row in found.parts[part] if all(row[name] == value for name, value in fields.items())]


def one(found: na.BenchResult, part: str, **fields: Any) -> dict[str, Any]:
    (row,) = rows(found, part, **fields)
    return row


rankings = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), unique=True, max_size=12),
    min_size=2,
)


def sets(plain: dict[str, list[tuple[int, int]]]) -> dict[str, na.NeuronSet]:
    return {task: na.NeuronSet.of(pairs) for task, pairs in plain.items()}


def shared_at(plain: dict[str, list[tuple[int, int]]], depth: int) -> dict[tuple[int, int], list[int]]:
    """By definition: neurons that at least two lists have among their first."""
    places: dict[tuple[int, int], list[int]] = {}
    for pairs in plain.values():
        for place, pair in enumerate(pairs[:depth]):
            places.setdefault(pair, []).append(place)
    return {pair: own for pair, own in places.items() if len(own) > 1}


@settings(max_examples=200, deadline=None)
@given(rankings, st.integers(1, 6), st.integers(1, 6))
def test_common_neurons_by_definition(plain, count, depth):
    """The smallest depth, from the first on, with enough shared neurons; most tasks first, then the best mean place."""
    found = common(sets(plain), count, depth)
    deepest = max(map(len, plain.values()))
    wanted = min(depth, deepest)
    while wanted < deepest and len(shared_at(plain, wanted)) < count:
        wanted += 1
    assert found.depth == wanted
    there = shared_at(plain, wanted)
    order = sorted(there, key=lambda pair: (-len(there[pair]), np.mean(there[pair]), pair))
    assert list(found.neurons) == order[:count]


@settings(max_examples=200, deadline=None)
@given(rankings, st.integers(1, 6))
def test_specific_neurons_by_definition(plain, depth):
    """No neuron is two tasks' own; each keeps its order; who was left out was in two lists at some step."""
    found = specific(sets(plain), depth)
    chosen = [pair for neurons in found.values() for pair in neurons]
    assert len(set(chosen)) == len(chosen)
    for task, neurons in found.items():
        own = list(neurons)
        assert own == [pair for pair in plain[task] if pair in set(own)]
        assert len(own) <= depth
        passed = plain[task][: plain[task].index(own[-1])] if own else []
        others = {pair for other, pairs in plain.items() if other != task for pair in pairs}
        assert all(pair in others for pair in passed if pair not in own)
        if len(own) < depth:
            assert all(pair in own or pair in others for pair in plain[task])


def test_shared_neurons_by_hand():
    """The example of the text: 1 is common at once, 2 becomes so when it is refilled."""
    a, b = [(0, 1), (0, 3), (0, 2)], [(0, 1), (0, 2), (0, 4)]
    found = specific(sets({"a": a, "b": b}), 2)
    assert list(found["a"]) == [(0, 3)]
    assert list(found["b"]) == [(0, 4)]
    assert list(common(sets({"a": a, "b": b}), 2, 1).neurons) == [(0, 1), (0, 2)]
    assert common(sets({"a": a, "b": b}), 2, 1).depth == 3
    with pytest.raises(na.UsageError, match="accepted: rankings of at least two tasks"):
        common(sets({"a": a}), 1, 1)


def test_protocols_stand_side_by_side(measured):
    """Each ratio is evaluated: matched is never worse than held-out, paper has the others good only."""
    for task in TASKS:
        for mode in MODES:
            for scorer in ("ace", "kn"):
                held, matched, good, bad = (
                    one(measured, "effects", task=task, mode=mode, scorer=scorer, protocol=name)
                    for name in ("held-out", "matched", "good", "bad")
                )
                best = max(row["rcc"] for row in (held, good, bad))
                assert matched["rcc"] >= best
                assert matched["rac_interval"] is None
                assert good["n_bad"] == 0
                assert bad["n_good"] == 0
                paper = one(measured, "effects", task=task, mode=mode, scorer=scorer, protocol="paper")
                same = matched if scorer == "ace" else good
                assert paper["rac"] == same["rac"]
            assert not rows(measured, "effects", task=task, mode=mode, scorer="act", protocol="bad")


def test_held_out_is_what_a_run_shows(measured, tmp_path):
    """The rows of the protocol that a run shows are its cells."""
    how = {"tasks": TASKS, "scorers": ["ace", "kn", "act", "random"], "budget": 30, "random_draws": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.AntagonismWarning)
        run = na.run("demo", **how, **SIZES, cache=measured.path.parent / "cache", out=tmp_path)
    for task in TASKS:
        for told in run.results["tasks"][task]["cells"]["held-out"]:
            row = one(measured, "effects", task=task, mode=told["mode"], scorer=told["scorer"], protocol="held-out")
            assert all(row[name] == told[name] for name in ("ratio", "rac", "rac_interval", "rcc", "population_acc"))


def test_a_task_on_itself_is_its_own_effect(measured):
    """A task's own neurons on its own questions: what the parts `effects` and `budgets` measured too."""
    for task in TASKS:
        for mode in MODES:
            mine = one(measured, "cross", task=task, asked=task, mode=mode, neurons="all")
            held = one(measured, "effects", task=task, mode=mode, scorer="ace", protocol="held-out")
            budget = one(measured, "budgets", task=task, mode=mode, scorer="ace", protocol="held-out", budget=30)
            for name in ("n_good", "n_bad", "rac", "rcc", "rac_interval", "population_acc", "above_chance"):
                assert mine[name] == held[name] == budget[name], name


def test_what_several_parts_need_is_asked_once(measured, asked):
    """Five parts edit neurons of the same tasks: no set is asked twice without an edit, or under the same sweep."""
    assert len(set(asked)) == len(asked)
    kept = [file.name.split(".")[:3] for file in (measured.path / "answers").iterdir()]
    for task in TASKS:
        # selection and evaluation
        assert sum(name[:2] == [task, "unedited"] for name in kept) == 2
        # `effects`, `budgets`, `cross` and `probabilities` choose a ratio of the same thirty; `budgets` of eight more
        assert sum(name == [task, "ace", "select"] for name in kept) == 2


def test_equal_sweeps_are_run_once(tmp_path, monkeypatch):
    """Scorers that agree in every edit of a sweep share its answers: to the last bit those of each alone."""
    real, asked, found = answers.evaluate_sets, [], []

    def heard(model: Any, examples: Any, sets: Any, **how: Any) -> Any:
        asked[-1] += len(sets)
        return real(model, examples, sets, **how)

    monkeypatch.setattr(answers, "evaluate_sets", heard)
    for scorers in (["ace", "tn"], ["tn"]):
        part = {"part": "budgets", "name": "budgets", "scorers": scorers, "budgets": [10], **SIZES}
        asked.append(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", na.AntagonismWarning)
            suite = Suite.of({"name": "s", "tasks": ["sentiment"], "parts": [part]}, "s")
            found.append(na.bench(suite, "demo", out=tmp_path / scorers[0]))
    both, alone = (sorted((one.path / "answers").glob("sentiment.tn.*")) for one in found)
    assert [(file.name, file.read_bytes()) for file in both] == [(file.name, file.read_bytes()) for file in alone]
    same = [row | {"scorer": "tn"} for row in rows(found[0], "budgets", scorer="ace", protocol="matched")]
    assert same == rows(found[0], "budgets", scorer="tn", protocol="matched")
    assert asked[0] == asked[1] == 4


def test_edits_that_do_the_same():
    """Known by factors and neurons, whatever their order; one of an intervention of its own is like itself alone."""
    pairs = [(0, 1), (1, 2), (2, 0)]
    neurons, turned = na.NeuronSet.of(pairs), na.NeuronSet.of(pairs[::-1])
    usual = na.edit(neurons, "silence")
    assert answers._content(usual) == answers._content(na.edit(turned, "silence"))
    others = [
        na.edit(neurons, "excite"),
        na.edit(neurons.top(2), "silence"),
        na.edit(neurons, "silence", positions="all"),
    ]
    others += [na.edit(neurons, "silence", site="up"), na.edit(neurons, "range"), na.edit(neurons, "range"), None]
    assert len({answers._content(one) for one in [usual, *others]}) == 8


def test_counts_are_taken_as_they_are_stated(measured):
    """Of counted neurons only enhancers are made, of the tasks that are named; their share is told."""
    found = rows(measured, "counted")
    assert {(row["task"], row["mode"]) for row in found} == {("ner", "enhance")}
    whole = [row for row in found if row["neurons"] == "all"]
    assert {(row["n_good"], row["n_bad"]) for row in whole} == {(7, 12)}
    assert whole[0]["share"] == pytest.approx(19 / 2304)


def test_layers_count_the_chosen_neurons(measured):
    """As many as were chosen; without the shared ones never more of a task's own than there were."""
    for task in TASKS:
        for role in ("good", "bad"):
            count = {
                kind: [row["count"] for row in rows(measured, "layers", task=task, role=role, neurons=kind)]
                for kind in ("all", "specific", "common")
            }
            assert [len(values) for values in count.values()] == [6, 6, 6]
            assert sum(count["all"]) == 30
            assert sum(count["specific"]) <= 30
    told = one(measured, "common", task="ner", mode="enhance", protocol="held-out")
    good = rows(measured, "layers", task="ner", role="good", neurons="common")
    assert told["common_good"] == sum(row["count"] for row in good)
    assert {row["depth"] for row in good} == {told["depth_good"]}


def test_probabilities_are_of_questions_chosen_before(measured):
    """Enhancers are shown a question that is answered wrongly without them, degraders one that is answered rightly."""
    found = rows(measured, "shown")
    assert found
    for row in (r for r in found if r["edit"] == "original" and r["right"]):
        others = rows(measured, "shown", task=row["task"], mode=row["mode"], edit="original")
        best = max(others, key=lambda r: r["probability"])
        assert best["right"] == (row["mode"] == "degrade")
        assert sum(r["probability"] for r in others) == pytest.approx(1)
        assert row["cross_entropy"] == pytest.approx(-np.log(row["probability"]), abs=1e-5)
    edited = [r for r in found if r["edit"] != "original" and r["right"]]
    assert {r["edit"] for r in edited} == {"kn", "ace, good", "ace, bad", "ace, both"}
    for row in edited:
        same = {name: row[name] for name in ("task", "mode", "edit")}
        best = max(rows(measured, "shown", **same), key=lambda r: r["probability"])
        assert row["success"] == (best["right"] == (row["mode"] == "enhance"))


def test_every_table_in_every_form(measured):
    """Markdown, CSV, LaTeX and JSON of each table, and of what stands beside it, hold the same cells."""
    beside_it = [f"table{number}-intervals" for number in LAYOUTS]
    beside_it += [f"table{number}-differences" for number in (1, 2, 3, 5, 6, 8)]
    there = {file.stem for file in (measured.path / "tables").iterdir()}
    assert there == {*(f"table{number}" for number in TABLES), *beside_it}
    for name in there:
        file = measured.path / "tables" / name
        told = json.loads(file.with_suffix(".json").read_text())
        cells = [row for section in told["sections"] for row in section["rows"]]
        assert cells
        with file.with_suffix(".csv").open(newline="") as lines:
            assert [row[1:] for row in csv.reader(lines)][1:] == cells
        markdown = [line for line in file.with_suffix(".md").read_text().split("\n") if line.startswith("| ")]
        texts = [line[2:-2].split(" | ") for line in markdown[2:] if "**" not in line]
        assert [[cell.replace("\\", "") for cell in row] for row in texts] == cells
        latex = file.with_suffix(".tex").read_text()
        assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1
        body = [line for line in latex.split("\n") if line.endswith(r" \\") and " & " in line]
        assert len(body) == len(cells) + 1
        assert all(line.count(" & ") == len(told["columns"]) - 1 for line in body)


def test_cells_say_what_rows_say(measured):
    """Table 1's cell is the row's RAC/RCC, or Fail where either is negative; Table 4 has the unedited levels."""
    table = json.loads((measured.path / "tables" / "table1.json").read_text())
    sections = {
        section["name"]: [dict(zip(table["columns"], row, strict=True)) for row in section["rows"]]
        for section in table["sections"]
    }
    assert list(sections) == [f"{s}, {p}" for p in ("paper", "matched", "held-out") for s in ("Deg", "Enh")]
    for name, mode in (("Deg, held-out", "degrade"), ("Enh, held-out", "enhance")):
        for line in sections[name]:
            row = one(measured, "effects", task="ner", mode=mode, scorer=line["Scorer"], protocol="held-out")
            shown = f"{row['rac']:.1f}/{row['rcc']:.1f}"
            if not row["above_chance"]:
                assert line["ner"].endswith("°")
            else:
                assert line["ner"] == ("Fail" if row["failed"] else shown.replace("-0.0", "0.0"))
    levels = json.loads((measured.path / "tables" / "table4.json").read_text())
    first = rows(measured, "effects", task="ner")[0]
    at = levels["columns"].index("ner")
    assert levels["sections"][0]["rows"][0][at] == f"{100 * first['acc_before']:.1f}"


def row_of(rac: float | None, rcc: float | None, *, above: bool = True) -> dict[str, Any]:
    return {"rac": rac, "rcc": rcc, "above_chance": above}


def test_cells_by_hand():
    """Fail where either is negative, zero is none; n/a spreads; at chance there is a figure and no verdict."""
    assert average([[row_of(1.26, 0.0)]]) == "1.3/0.0"
    assert average([[row_of(1.0, -0.1)]]) == "Fail"
    assert average([[row_of(None, 3.0)]]) == "n/a/3.0"
    assert average([[row_of(-4.0, -0.04, above=False)]]) == "-4.0/0.0°"
    assert average([[row_of(-2.0, 4.0), row_of(4.0, 4.0)]]) == "1.0/4.0"
    assert average([[]]) == "-"
    # failed cells count with their values, as in the paper's averages
    assert average([[row_of(-2.0, -2.0)], [row_of(6.0, 4.0)]]) == "2.0/1.0"
    assert average([[row_of(-6.0, -2.0)], [row_of(2.0, 4.0)]]) == "Fail"
    assert average([[row_of(1.0, 2.0)], []]) == "-"


def test_hostile_names_stay_text():
    """Whatever a task or scorer is called, a cell stays one cell in each form."""
    names = ["a|b & 50%_{x}", "<script>alert(1)</script>", "line\nbreak", "\\input{x}$^~#"]
    grid = Grid("t | & <b>", ["S", *names], [Section("s*|&", [["r|&", *("1.0/2.0" for _ in names)]])], ["n_%"])
    lines = grid.markdown().split("\n")
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in lines if line.startswith("|"))
    assert not re.search(r"(?<!\\)<", grid.markdown())
    body = [line for line in grid.latex().split("\n") if line.endswith(r"\\")]
    assert all(len(re.findall(r"(?<!\\)&", line)) == 4 for line in body if "multicolumn" not in line)
    assert not re.search(r"(?<!\\)[%#]|\\input|(?<!\\)_", grid.latex())
    assert next(iter(csv.reader(grid.csv().splitlines(keepends=True)))) == ["section", "S", *names]
    assert set(FORMS) == {"md", "csv", "tex", "json"}


def test_figures_are_drawn(measured):
    """PNG, SVG and the rows of each; the same rows give the same bytes; an SVG is well formed and has no date."""
    for number in FIGURES:
        file = measured.path / "figures" / f"figure{number}"
        assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        svg = file.with_suffix(".svg").read_text()
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert "dc:date" not in svg
        part = next(p["name"] for p in SUITE["parts"] if number in p.get("figures", ()))
        assert drawn(number, measured.parts[part])["svg"].decode() == svg
        with file.with_suffix(".csv").open(newline="") as lines:
            assert len(list(csv.reader(lines))) == 1 + len(measured.parts[part])


def test_published_figures_stand_beside(measured):
    """Of the paper's models what it prints stands below, in the columns of its own; of any other nothing does."""
    for name, layers, neurons, model in (
        ("meta-llama/Llama-2-7b-hf", 32, 11008, "LLaMA 2-7B"),
        ("/models/Llama-2-13b-chat-hf/", 40, 13824, "LLaMA 2-13B"),
        ("baichuan-inc/Baichuan2-7B-Base", 32, 11008, "Baichuan 2-7B"),
        ("demo", 32, 11008, None),
        ("someone/llama-2-7b-tuned", 32, 11008, None),
        # a name is not enough
        ("random/llama-2-7b", 2, 64, None),
    ):
        assert of_model({"name": name, "layers": layers, "neurons_per_layer": neurons}) == model
    plain = TABLES[1](measured.parts["effects"])
    assert beside(plain, 1, None) is plain
    grid = beside(plain, 1, "LLaMA 2-7B")
    added = grid.sections[len(plain.sections) :]
    assert [section.name for section in added] == ["Deg, published (LLaMA 2-7B)", "Enh, published (LLaMA 2-7B)"]
    # tasks by their names, wherever they stand
    assert list(added[0].rows[0]) == ["ace", "53.3/64.0", "66.9/80.0", "51.4/66.5"]
    for number in TABLES:
        part = next(p["name"] for p in SUITE["parts"] if number in p.get("tables", ()))
        shown = beside(TABLES[number](measured.parts[part]), number, "LLaMA 2-7B")
        assert any("published" in section.name for section in shown.sections)
        assert all(len(row) == len(shown.columns) for section in shown.sections for row in section.rows)


def test_published_averages_are_means_of_what_is_published():
    """What was typed in is consistent: the paper's averages are the means of its cells, where none is Fail."""
    for model in ("LLaMA 2-7B", "Baichuan 2-7B", "LLaMA 2-13B"):
        tasks = ["ner", "chunking", "sentiment", "commonsense"]
        grid = beside(Grid("", ["Scorer", *tasks, "Average"], []), 1, model)
        for section in grid.sections:
            for _, *cells, mean in section.rows:
                if "Fail" in (*cells, mean):
                    continue
                each = np.array([[float(v) for v in one.split("/")] for one in cells])
                assert [float(v) for v in mean.split("/")] == pytest.approx(each.mean(0), abs=0.11)


def lines_of(grid: Grid, section: str) -> list[dict[str, str]]:
    (own,) = (one for one in grid.sections if one.name == section)
    return [dict(zip(grid.columns, row, strict=True)) for row in own.rows]


def shown(row: dict[str, Any], name: str) -> str:
    """By hand: a figure, and its interval where it has one."""
    if row[name] is None:
        return "n/a"
    ends = row[f"{name}_interval"]
    text = f"{row[name]:.1f}" if ends is None else f"{row[name]:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]"
    return re.sub(r"-0\.0(?!\d)", "0.0", text)


def test_every_figure_has_its_interval_beside(measured):
    """Of every cell of Tables 1 to 3 and 5 to 8 the row's figures, intervals and neurons; averages beside them."""
    for number, layout in LAYOUTS.items():
        part = next(p["name"] for p in SUITE["parts"] if number in p.get("tables", ()))
        table = layout(measured.parts[part])
        grid = intervals(table)
        cells = [rows for lines in table.sections.values() for line in lines for c in line.cells.values() for rows in c]
        told = [dict(zip(grid.columns, line, strict=True)) for section in grid.sections for line in section.rows]
        averages = [line for line in told if not line["Edited"]]
        own = [line for line in told if line["Edited"] and not line["Edited"].endswith("× matched")]
        assert len(own) == sum(map(len, cells))
        figures = sorted((line["RAC %"], line["RCC %"], line["As it comes, points"]) for line in own)
        names = ("rac", "rcc", "population_acc")
        assert figures == sorted(tuple(shown(row, name) for name in names) for rows in cells for row in rows)
        assert bool(averages) == (table.averaged or "Task" in grid.columns[2:])
    grid = intervals(LAYOUTS[1](measured.parts["effects"]))
    for line in lines_of(grid, "Enh, held-out"):
        if line["Task"] == "average":
            continue
        row = one(measured, "effects", task=line["Task"], mode="enhance", scorer=line["Scorer"], protocol="held-out")
        assert line["RAC %"] == shown(row, "rac")
        assert line["Edited"] == ("varies" if row["n_good"] is None else f"{row['n_good']}:{row['n_bad']}")
    # what is chosen on the evaluation set itself has no interval
    assert not any("[" in line["RAC %"] for line in lines_of(grid, "Enh, paper") if line["Scorer"] == "ace")


def test_averages_over_tasks_by_hand(measured):
    """The mean over tasks; its ends are as far off as the root of the tasks' summed squares, over their number."""
    own = [one(measured, "effects", task=t, mode="enhance", scorer="ace", protocol="held-out") for t in TASKS]
    lines = lines_of(intervals(LAYOUTS[1](measured.parts["effects"])), "Enh, held-out")
    (line,) = [x for x in lines if x["Scorer"] == "ace" and x["Task"] == "average"]
    value = sum(row["rac"] for row in own) / len(own)

    def half(row):
        return (row["rac_interval"][1] - row["rac_interval"][0]) / 2

    low, high = (
        sum(max(abs(row["rac"] - row["rac_interval"][end]), half(row)) ** 2 for row in own) ** 0.5 / len(own)
        for end in (0, 1)
    )
    expected = f"{value:.1f} [{value - low:.1f}, {value + high:.1f}]"
    assert line["RAC %"] == re.sub(r"-0\.0(?!\d)", "0.0", expected)
    # of random draws the spread is no interval over texts
    for section in ("Enh, paper", "Deg, held-out", "Enh, held-out"):
        of_section = lines_of(intervals(LAYOUTS[1](measured.parts["effects"])), section)
        (drawn,) = [x for x in of_section if x["Scorer"] == "random" and x["Task"] == "average"]
        assert "[" not in drawn["RAC %"]


def test_no_average_with_an_interval_where_a_model_is_at_chance(measured):
    """A task at chance is marked, in its own line and in the average, which then has no interval."""
    some = [r | {"above_chance": r["task"] != TASKS[0]} for r in measured.parts["effects"]]
    grid = intervals(LAYOUTS[1](some))
    lines = [x for x in lines_of(grid, "Enh, held-out") if x["Scorer"] == "ace"]
    marked = {x["Task"]: "°" in x["RAC %"] for x in lines}
    assert marked == {task: task == TASKS[0] for task in TASKS} | {"average": True}
    assert "[" not in next(x["RAC %"] for x in lines if x["Task"] == "average")
    assert any(note.startswith("°: ") for note in grid.notes)


def test_seeds_stand_beside_each_other(measured):
    """Of several seeds each by itself, then mean, smallest, largest and standard deviation, by hand."""
    first = rows(measured, "effects", task="ner", scorer="ace", mode="enhance", protocol="held-out")[0]
    three = [
        first | {"seed": seed, "rac": rac, "rac_interval": [rac - 1, rac + 1]} for seed, rac in enumerate((1, 2, 6))
    ]
    lines = lines_of(intervals(LAYOUTS[1](three)), "Enh, held-out")
    assert [line["Seed"] for line in lines] == ["0", "1", "2", "all"]
    assert [line["RAC %"] for line in lines] == [
        *("1.0 [0.0, 2.0]", "2.0 [1.0, 3.0]", "6.0 [5.0, 7.0]", "3.0 (1.0 to 6.0, sd 2.6)"),
    ]
    missing = [*three[:2], three[2] | {"rac": None}]
    assert lines_of(intervals(LAYOUTS[1](missing)), "Enh, held-out")[3]["RAC %"] == "n/a"


def test_differences_are_those_of_a_run(measured, tmp_path):
    """Table 1's differences, p and Holm's p are those that a run gives: a family of one table, and one computation."""
    how = {"tasks": TASKS, "scorers": ["ace", "kn", "act", "random"], "budget": 30, "random_draws": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.AntagonismWarning)
        run = na.run("demo", **how, **SIZES, cache=measured.path.parent / "cache", out=tmp_path)
    grid = comparisons(LAYOUTS[1](measured.parts["effects"]))
    assert grid is not None
    told = [d for found in run.results["tasks"].values() for d in found["differences"]]
    count = 0
    for mode, short in (("degrade", "Deg"), ("enhance", "Enh")):
        for line in lines_of(grid, f"{short}, held-out"):
            assert line["Difference"] == "ace − this"
            for metric in ("rac", "rcc"):
                about = {"task": line["Task"], "baseline": line["Scorer"], "mode": mode, "metric": metric}
                (found,) = (d for d in told if all(d[name] == value for name, value in about.items()))
                named = {"difference": found["difference"], "difference_interval": found["interval"]}
                assert line[f"{metric.upper()} %"] == shown(named, "difference")
                assert line[f"{metric.upper()}: p"] == f"{found['p_value']:.4f}"
                assert line[f"{metric.upper()}: Holm"] == f"{found['p_holm']:.4f}"
                count += 1
    assert count == len(told)
    assert any(f"over the {count} comparisons" in note for note in grid.notes)


def test_differences_by_subtraction(measured):
    """Of one baseline, a difference of relative changes is the relative changes' difference."""
    for task in TASKS:
        for mode in MODES:
            same = {"task": task, "mode": mode}
            ace = one(measured, "effects", **same, scorer="ace", protocol="held-out")
            assert "method_rac" not in ace
            for scorer in ("kn", "act", "random"):
                row = one(measured, "effects", **same, scorer=scorer, protocol="held-out")
                assert row["method"] == "ace"
                assert row["method_rac"] == pytest.approx(ace["rac"] - row["rac"])
                assert row["method_rac_interval"][0] <= row["method_rac"] <= row["method_rac_interval"][1]
            for kind in ("good", "bad"):
                row = one(measured, "effects", **same, scorer="kn", protocol=kind)
                both = one(measured, "effects", **same, scorer="kn", protocol="held-out")
                assert row["both_rcc"] == pytest.approx(both["rcc"] - row["rcc"])
                # the held-out choice may be this kind alone
                assert (row["both_rac_p"] == 1) or both["ratio"] != row["ratio"]
            row = one(measured, "common", **same, protocol="held-out")
            assert row["beyond_rac"] == pytest.approx(row["rac"] - row["matched_rac"])
            # a rank among three draws
            assert row["beyond_rac_p"] in (0.25, 0.5, 0.75, 1)
            assert one(measured, "common", **same, protocol="matched")["beyond_rac_p"] is None
    for row in rows(measured, "counted"):
        assert row["beyond_rcc"] == pytest.approx(row["rcc"] - row["matched_rcc"])
    assert not any("matched_rac" in row for row in measured.parts["cross"])


def test_matched_neurons_are_like_those_they_stand_for(measured):
    """As many of each layer, none of them, another draw each time and on each task."""

    def candidates(folder: str) -> list[Candidate]:
        files = sorted((measured.path / folder).iterdir())
        read = [tensors.read(file) for file in files if "specific" not in file.name]
        return [one for arrays, meta in read for one in candidates_of(Payload(meta, arrays))]

    (common_one,), drawn = candidates("shared"), candidates("matched")
    assert len(drawn) == 3 * len(TASKS)
    for one in drawn:
        for role in ("good", "bad"):
            own, other = getattr(common_one, role), getattr(one, role)
            assert own.layers.tolist() == other.layers.tolist()
            assert not set(other) & {*common_one.good, *common_one.bad}
    assert len({frozenset(one.good) for one in drawn}) == len(drawn)


def test_what_has_no_match_is_told(tmp_path):
    """Where a layer has too few other neurons there is no control, and a line says why."""
    part = {"part": "cross", "name": "counted", "counts": {"ner": [700, 900]}, "matched": 2, **SIZES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.AntagonismWarning)
        found = na.bench(Suite.of({"name": "s", "tasks": TASKS, "parts": [part]}, "s"), "demo", out=tmp_path / "out")
    whole = one(found, "counted", asked="ner", neurons="all")
    assert (whole["matched_draws"], whole["matched_rac"], whole["beyond_rac_p"]) == (0, None, None)
    assert any("ner: ace, all: no matched neurons: layer" in note for note in found.notes)


def test_other_tasks_are_read_where_their_own_answers_are(tmp_path, monkeypatch):
    """Before and after an edit answers are read at the same place, whoever's neurons are edited."""
    real, asked = cross.evaluate_many, []

    def heard(model: Any, examples: Any, *args: Any, **how: Any) -> Any:
        asked.append((fingerprint(examples), json.loads(json.dumps(model.letters.told()))))
        return real(model, examples, *args, **how)

    monkeypatch.setattr(cross, "evaluate_many", heard)
    part = {"part": "cross", "name": "counted", "counts": {"ner": [7, 12], "sentiment": [3, 3]}, **SIZES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.AntagonismWarning)
        na.bench(Suite.of({"name": "s", "tasks": TASKS, "parts": [part]}, "s"), "demo", out=tmp_path / "out")
    drawn = [tensors.read(file)[1] for file in (tmp_path / "out" / "examples").iterdir()]
    told = {fingerprint(Prepared(Payload(meta)).split.evaluate): meta["letters"] for meta in drawn}
    assert len(asked) == 4
    assert all(letters == told[examples] for examples, letters in asked)


def test_what_is_common_in_both_roles_is_left_out():
    """Good for two tasks and bad for two others: no edit could strengthen and weaken it at once."""
    good = {"a": [(0, 1), (0, 2)], "b": [(0, 1), (0, 2)], "c": [(1, 1)], "d": [(1, 2)]}
    bad = {"a": [(2, 1)], "b": [(2, 1)], "c": [(0, 1)], "d": [(0, 1)]}
    ranked = {
        role: {task: na.NeuronSet.of(pairs) for task, pairs in own.items()}
        for role, own in (("good", good), ("bad", bad))
    }
    part: Any = SimpleNamespace(rankings=lambda *_: ranked)
    (found,) = candidates_of(Sharing(part, (), "ace", 2, 2)._chosen(part))
    assert found.bad is not None
    assert (list(found.good), list(found.bad)) == ([(0, 2)], [(2, 1)])


def test_a_table_that_was_deleted_comes_back(measured, monkeypatch):
    """A finished directory gets again what lacks of its tables and figures, without a model."""
    monkeypatch.setattr("neuron_antagonism.runs.job.ModelSource.load", lambda self: pytest.fail("a model was loaded"))
    table, figure = measured.path / "tables" / "table5-intervals.md", measured.path / "figures" / "figure5.csv"
    before = table.read_bytes(), figure.read_bytes()
    table.unlink()
    figure.unlink()
    na.bench(Suite.of(SUITE, "paper"), "demo", out=measured.path)
    assert (table.read_bytes(), figure.read_bytes()) == before


def test_names_and_seeds_in_figures(measured):
    """Dollars in a name are text; of several seeds each question has a panel; of several scorers the first is drawn."""
    shown = [row | {"task": row["task"].replace("ner", "$x^$")} for row in measured.parts["shown"]]
    two = [row | {"seed": seed} for seed in (0, 1) for row in shown]
    assert drawn(10, two, ["svg"])["svg"].decode().count("$x^$") >= 2
    other = [row | {"scorer": "other", "count": 99} for row in measured.parts["layers"]]
    for number in (5, 6, 7):
        assert drawn(number, measured.parts["layers"] + other) == drawn(number, measured.parts["layers"])
    crossed = measured.parts["cross"] + [row | {"scorer": "other", "rac": 50.0} for row in measured.parts["cross"]]
    assert drawn(4, crossed) == drawn(4, measured.parts["cross"])
    both = TABLES[8](measured.parts["counted"] + [r | {"scorer": "other"} for r in measured.parts["counted"]])
    assert [section.name.partition(":")[0] for section in both.sections] == ["ace", "ace", "other", "other"]


def test_random_neurons_are_each_tasks_own(tmp_path):
    """A scorer that draws draws for every task by itself: nothing is common by construction."""
    part = {"part": "layers", "name": "layers", "scorers": ["random"], "count": 30, "identify": 1}
    found = na.bench(Suite.of({"name": "r", "tasks": TASKS, "parts": [part]}, "r"), "demo", out=tmp_path / "out")
    own = [row["count"] for row in found.parts["layers"] if row["neurons"] == "specific" and row["role"] == "good"]
    assert sum(own) > 50


def test_what_can_not_be_drawn_is_told(tmp_path):
    """A figure that a library fails on takes no result with it: the rows are there, and a warning."""
    part = {"part": "layers", "name": "layers", "figures": [5, 7], "count": 5, "identify": 1}
    suite = Suite.of({"name": "one", "tasks": ["ner"], "parts": [part]}, "one")
    with pytest.warns(na.AntagonismWarning, match="figure7 can't be drawn: "):
        found = na.bench(suite, "demo", out=tmp_path / "out")
    assert (found.path / "results.json").is_file()
    assert (found.path / "figures" / "figure5.svg").is_file()
    assert (found.path / "figures" / "figure7.csv").is_file()


def test_several_seeds_are_means(measured):
    """Rows of two seeds give the mean of both, and the table says so."""
    own = measured.parts["effects"]
    other = [row | {"seed": 1, "rac": None if row["rac"] is None else row["rac"] + 10} for row in own]
    rows_of_both = [row | {"seed": 0} for row in own] + other
    grid = TABLES[1](rows_of_both)
    assert any("several seeds" in note for note in grid.notes)
    first = one(measured, "effects", task="ner", mode="degrade", scorer="ace", protocol="paper")
    shown = grid.sections[0].rows[0][1]
    assert shown == "Fail" or shown.split("/")[0] == f"{first['rac'] + 5:.1f}"


def test_asked_again_from_a_cache(measured, tmp_path, monkeypatch):
    """Another directory with the same cache: no unit is made again, every byte of tables and figures is the same."""
    monkeypatch.setattr("neuron_antagonism.runs.job.ModelSource.load", lambda self: pytest.fail("a model was loaded"))
    again = na.bench(Suite.of(SUITE, "paper"), "demo", out=tmp_path / "b", cache=measured.path.parent / "cache")
    assert again.parts == measured.parts
    for folder in ("tables", "figures"):
        for file in sorted((measured.path / folder).iterdir()):
            assert (again.path / folder / file.name).read_bytes() == file.read_bytes(), file.name


def test_tasks_alone_share_nothing(tmp_path):
    """Of one task there are no common neurons: no row, and a line that says so."""
    suite = {**SUITE, "tasks": ["ner"], "parts": [SUITE["parts"][1], SUITE["parts"][3]]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.AntagonismWarning)
        found = na.bench(Suite.of(suite, "alone"), "demo", out=tmp_path / "out")
    assert found.parts == {"common": [], "cross": []}
    assert "ner: of one task alone there are no common neurons" in found.notes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"part": "effects", "name": "e", "tables": [5]}, "tables name 5; accepted of such a part: 1, 2, 3, 4, 6"),
        ({"part": "layers", "name": "l", "figures": [1]}, "figures name 1; accepted of such a part: 5, 6, 7"),
        ({"part": "budgets", "name": "b", "figures": [2]}, "figures name 2; accepted of such a part: none"),
        ({"part": "common", "name": "c", "matched": 1}, "matched is 1, which has no spread; accepted: 0, or at least"),
        (
            {"part": "cross", "name": "c", "counts": {"ner": [0, 0]}},
            "counts of 'ner' are [0, 0]; accepted: at least one",
        ),
        ({"part": "effects", "name": "e", "protocols": ["best"]}, "accepted: 'held-out', and 'matched' or 'paper'"),
        ({"part": "effects", "name": "e", "tables": [2]}, "tables 2, 3 and 6 need every ratio; accepted: protocols"),
        ({"part": "budgets", "name": "b", "scorers": ["ace", "ace"]}, "named twice: ace, ace; accepted: each once"),
    ],
)
def test_what_a_part_can_not_give(change, said):
    """A table or figure that a part has no rows for is refused in one line."""
    with pytest.raises(na.DataError) as error:
        Suite.of({"name": "s", "tasks": ["ner"], "parts": [change]}, "s")
    assert said in str(error.value)


def test_suites_together_are_one():
    """Suites that agree are measured as one; each part keeps its own suite's tasks; what differs is named."""
    tables, figures = find_suite("tables"), find_suite("figures")
    both = joined([tables, figures])
    assert both.name == "tables-figures"
    assert [part.name for part in both.parts] == [part.name for part in (*tables.parts, *figures.parts)]
    assert all(part.tasks for part in both.parts)
    assert joined([tables]) is tables
    with pytest.raises(na.UsageError, match="differ in seeds; accepted together: suites that agree in it"):
        joined([tables, find_suite("seeds")])
    with pytest.raises(na.DataError, match="accepted: different plain names"):
        joined([tables, tables])
    twice = [{"part": "layers", "name": name, "figures": [5]} for name in "ab"]
    with pytest.raises(na.DataError, match="two parts give the same of figures"):
        Suite.of({"name": "s", "tasks": ["ner"], "parts": twice}, "s")
    counted = {"part": "cross", "name": "c", "counts": {"sentimnt": [1, 1]}}
    with pytest.raises(na.UsageError, match="did you mean 'sentiment'"):
        na.bench(Suite.of({"name": "s", "tasks": TASKS, "parts": [counted]}, "s"), "demo")
    with pytest.raises(na.UsageError, match="differ in tasks"):
        joined([tables, find_suite("neuronlens")])


def test_one_wording_each():
    """Where not all wordings are ablated, each example's are the next in turn."""
    from neuron_antagonism.parts.judging.agreement import in_turn

    asked = [tiny.question(i) for i in range(3)]
    examples = [na.Example(None, tuple(replace(q, prompt=f"{n} {q.prompt}") for q in asked)) for n in range(4)]
    found = in_turn(examples, 1)
    assert [one.proxies for one in found] == [(examples[n].proxies[n % 3],) for n in range(4)]
    assert in_turn(examples, None) == examples
