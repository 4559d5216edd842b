"""Suites against the same figures by hand: masks of classes, distributions, gates; and what they write."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tiny
import torch
from rich.console import Console

import neuron_antagonism as na
from neuron_antagonism.demo import directory
from neuron_antagonism.metrics.bootstrap import Resamples
from neuron_antagonism.parts import masking
from neuron_antagonism.parts.distributions import DistributionRows
from neuron_antagonism.parts.masking import MaskingRows
from neuron_antagonism.parts.subject import Subject
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.report.suite_tables import tables
from neuron_antagonism.runs.job import Job, ModelSource, TaskSource
from neuron_antagonism.runs.unit import Payload
from neuron_antagonism.suites.bench import parts_of, plan_bench
from neuron_antagonism.suites.spec import Suite, shipped

one_thread = tiny.one_thread

SHARES, TAUS = (0.1, 0.3), (1.5,)
CLASSES = (*tiny.LABELS, "w5")
TARGET = "w30"
LEARNED = tiny.LABELS
"""The classes of which the tiny model answers enough questions rightly to learn from; 'w5' is none of them."""


PLAIN = {"part": "gating", "name": "a", "scorers": ["act"], "taus": [1], "budget": 5, "identify": 2, "evaluate": 2}
MASKING = {"part": "masking", "name": "m"}
EFFECTS = {"part": "effects", "name": "e", "scorers": ["act"], "identify": 2, "select": 2, "evaluate": 2}


def spec(tasks: tuple[str, str]) -> dict[str, Any]:
    """A suite that has a bit of everything about classes and gates."""
    gating = {"part": "gating", "scorers": ["random"], "taus": [1], "budget": 20}
    return {
        "name": "own",
        "tasks": [tasks[0]],
        "identify": 8,
        "evaluate": 4,
        "least": 6,
        "parts": [
            {"part": "masking", "name": "grid", "shares": SHARES, "taus": TAUS, "perplexity": True},
            {"part": "masking", "name": "soft", "taus": [1], "inside": "soft", "layers": [2, 1]},
            {"part": "distributions", "name": "values", "share": 0.1, "tau": 1.5},
            {**gating, "name": "gated", "tasks": list(tasks), "ratio": 0.3, "identify": 3, "evaluate": 6},
            {**gating, "name": "bare", "identify": 1, "evaluate": 2},
        ],
    }


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two task files, whose answers are classes."""
    folder = tmp_path_factory.mktemp("tasks")
    mine = tiny.labelled(folder, labels=CLASSES, first=300, count=60)
    return str(mine), str(tiny.labelled(folder, "other", labels=("w7", "w11", "w13"), first=900))


Make = Callable[..., Suite]


@pytest.fixture(scope="module")
def with_parts(tasks: tuple[str, str]) -> Make:
    """Makes suites of other parts."""
    return lambda *parts, **changes: Suite.of({**spec(tasks), "parts": list(parts), **changes}, "suite")


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.shared("llama", torch.float32)


@pytest.fixture(scope="module")
def measured(model: Any, tasks: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> na.BenchResult:
    """The suite above, measured once and written."""
    return na.bench(Suite.of(spec(tasks), "suite"), model, out=tmp_path_factory.mktemp("suite") / "out")


@pytest.fixture(scope="module")
def split(model: Any, tasks: tuple[str, str]) -> na.ConceptSplit:
    return na.concept_split(tasks[0], identify=8, evaluate=4, fits=model)


@pytest.fixture(scope="module")
def seen(model: Any, split: na.ConceptSplit) -> dict[str, np.ndarray]:
    """By class, values [question, layer, unit] on the rightly answered identification questions, in their order."""
    concepts = [question.concept for example in split.identify for question in example.proxies]
    found: dict[int, np.ndarray] = {}

    def see(observation: na.Observation) -> None:
        rows = zip(observation.questions, observation.values, observation.right, strict=True)
        found.update({i: values.double().numpy() for i, values, right in rows if right})

    na.observe(model, split.identify, see)
    return {c: np.stack([found[i] for i in sorted(found) if concepts[i] == c]) for c in LEARNED}


def where(result: na.BenchResult) -> Path:
    assert result.path is not None
    return result.path


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def largest(values: np.ndarray, share: float, layers: tuple[int, ...] = (0, 1, 2)) -> na.NeuronSet:
    """Each layer's units of the largest mean |value|."""
    mean = np.abs(values).mean(0)
    count = int(share * mean.shape[1] + 1e-9)
    return na.NeuronSet.of((layer, int(unit)) for layer in layers for unit in np.argsort(-mean[layer])[:count])


# --- masking -------------------------------------------------------------------------------------------------------


def by_hand(model: Any, split: na.ConceptSplit, edit: na.Edit) -> dict[str, float]:
    """What a mask of the class does, from two evaluations."""
    before, after = na.evaluate_many(model, split.evaluate, [None, edit])
    mine = np.array([question.concept == TARGET for example in split.evaluate for question in example.proxies])
    found = {}
    for side, chosen in (("target", mine), ("complement", ~mine)):
        for name, read in (("accuracy", lambda e: e.right.double()), ("confidence", lambda e: e.confidence)):
            old, new = (read(e).numpy()[chosen].mean() for e in (before, after))
            found |= {f"{side}_{name}": new, f"{side}_{name}_drop": old - new}
        found[f"{side}_changed"] = (before.chosen != after.chosen).numpy()[chosen].mean()
    return found


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("tau", [*TAUS, None])
def test_masks_of_a_class(measured, model, split, seen, share, tau):
    """A row is what two evaluations say of the class's largest units; masked whole, those units are silenced."""
    units = largest(seen[TARGET], share)
    options = {"tau": tau, "concept": TARGET, "answered": "right"}
    edit = na.edit(units, "silence", positions="all")
    if tau is not None:
        edit = na.edit(units, "range", positions="all", options=options).fit(model, split.identify)
    (row,) = (
        r for r in measured.parts["grid"] if (r["concept"], r["share"], r["tau"]) == (TARGET, share, tau) and r["units"]
    )
    found = by_hand(model, split, edit)
    assert {name: row[name] for name in found} == pytest.approx(found, abs=1e-6)
    texts = [example.item.text for example in split.evaluate if example.item is not None]
    assert row["perplexity"] == pytest.approx(na.perplexity(model, texts, edit), rel=1e-5)
    assert (row["mask"], row["units"]) == ("range" if tau else "whole", len(units))
    assert (row["questions"], row["target_examples"], row["complement_examples"]) == (len(seen[TARGET]), 4, 12)


def test_the_unedited_rows(measured, model, split):
    """Each class begins with the unedited model's figures, which its masks' drops are from."""
    before = na.evaluate(model, split.evaluate)
    for part in ("grid", "soft"):
        rows = measured.parts[part]
        for concept in LEARNED:
            first, *masks = (row for row in rows if row["concept"] == concept)
            mine = torch.tensor([q.concept == concept for e in split.evaluate for q in e.proxies])
            assert (first["mask"], first["units"], first["share"], first["tau"]) == ("none", 0, None, None)
            assert first["target_accuracy"] == pytest.approx(float(before.right[mine].double().mean()))
            assert first["complement_confidence"] == pytest.approx(float(before.confidence[~mine].mean()))
            for row in masks:
                for metric in ("target_accuracy", "target_confidence", "complement_accuracy", "complement_confidence"):
                    assert row[f"{metric}_drop"] == pytest.approx(first[metric] - row[metric], abs=1e-12)
    assert all(
        (row["perplexity"] is None) == (part == "soft") for part in ("grid", "soft") for row in measured.parts[part]
    )


def test_a_mask_of_some_blocks(measured, model, split, seen):
    """`layers` and `inside` reach the edit: two blocks' units, damped inside their ranges."""
    units = largest(seen[TARGET], 0.3, (1, 2))
    options = {"tau": 1.0, "inside": "soft", "concept": TARGET, "answered": "right"}
    edit = na.edit(units, "range", positions="all", options=options).fit(model, split.identify)
    _, soft, whole = (row for row in measured.parts["soft"] if row["concept"] == TARGET)
    found = by_hand(model, split, edit)
    assert {name: soft[name] for name in found} == pytest.approx(found, abs=1e-6)
    found = by_hand(model, split, na.edit(units, "silence", positions="all"))
    assert {name: whole[name] for name in found} == pytest.approx(found, abs=1e-6)


def test_intervals_hold_their_figures(measured):
    """Every interval contains the figure that it is of, ends in order, in all parts."""
    seen = 0
    for row in (row for rows in measured.parts.values() for row in rows):
        for name, ends in row.items():
            if name.endswith("_interval") and ends is not None:
                low, high = ends
                assert low - 1e-9 <= row[name.removesuffix("_interval")] <= high + 1e-9
                seen += 1
    assert seen > 50


def mask(kind: str, drop: float, changed: list[float], share: float = 0.5, concept: str = "joy") -> masking.Masked:
    row = {"task": "t", "concept": concept, "mask": kind, "share": share, "target_accuracy_drop": drop}
    return masking.Masked(row | {"complement_changed": float(np.mean(changed))}, np.array(changed))


def test_rivals_by_hand():
    """The rival is the gentlest whole mask with no smaller drop; what drops less than a tenth has none."""
    masks = [
        mask("whole", 0.2, [0.1, 0.1, 0.1, 0.1], share=0.1),
        mask("whole", 0.6, [0.5, 0.5, 0.5, 0.5], share=0.3),
        mask("whole", 0.7, [1.0, 0.0, 0.6, 0.0], share=0.5),
        mask("range", 0.5, [0.1, 0.1, 0.1, 0.1]),
        mask("range", 0.09, [0.0, 0.0, 0.0, 0.0]),
        mask("range", 0.8, [0.0, 0.0, 0.0, 0.0]),
        mask("range", 0.1, [0.3, 0.3, 0.3, 0.3]),
        mask("range", 0.7, [1.0, 0.0, 0.6, 0.0]),
        mask("whole", 0.9, [0.0, 0.0, 0.0, 0.0], concept="fear"),
    ]
    rows = [one.row for one in masks]
    masking.add_rivals([masking.Masked({"mask": "none"}), *masks], seed=0)
    assert [row.get("controls", False) for row in rows] == [False, False, False, True, False, True, True, True, False]
    assert [row.get("rival_share") for row in rows] == [None, None, None, 0.5, None, None, 0.1, 0.5, None]
    spared = [rows[i]["spared"] for i in (3, 6, 7)]
    assert spared == pytest.approx([0.3, -0.2, 0.0])
    # four examples that are all alike: no interval of zero width
    for number, value in ((6, -0.2), (7, 0.0)):
        assert rows[number]["spared_interval"][0] < value < rows[number]["spared_interval"][1]
    assert rows[3]["spared_interval"][0] < 0 < 0.3 < rows[3]["spared_interval"][1]


def test_rivals_come_from_all_parts_of_one_model_and_seed():
    """A mask's rival may stand in another part of the suite, of the same model and seed and of no other."""

    def payload(*masks: masking.Masked) -> Payload:
        arrays = {str(i): one.changed for i, one in enumerate(masks) if one.changed is not None}
        return Payload({"rows": [one.row for one in masks]}, arrays)

    task = TaskSource("t", "t", "", None)  # type: ignore[arg-type]
    first, second, other = (Job(ModelSource(m, m), task, s) for m, s in (("m", 0), ("m", 1), ("n", 0)))
    asked = payload(mask("range", 0.5, [0.1, 0.3]))
    found = {
        "one": {first: asked, second: asked, other: asked},
        "two": {
            first: payload(mask("whole", 0.5, [0.6, 0.6], share=0.3)),
            other: payload(mask("whole", 0.5, [0.3, 0.3], share=0.1)),
        },
    }
    joined = MaskingRows.joined(found)
    assert [joined["one"][job][0].get("rival_share") for job in (first, second, other)] == [0.3, None, 0.1]
    assert [joined["one"][job][0].get("spared") for job in (first, other)] == pytest.approx([0.4, 0.1])
    assert "rival_share" not in asked.meta["rows"][0]


def test_equal_drops_are_equal():
    """One answer lost of six is one lost, whichever texts it was lost on: the whole mask is the range mask's rival."""
    before = {"accuracy": np.array([0, 1, 1]), "confidence": np.ones(3)}
    target = np.array([True, True, False])
    draws = {"target": Resamples(np.zeros(2)), "complement": Resamples(np.zeros(1))}
    masks = []
    for kind, accuracy in (("range", [1 / 3, 1 / 3, 1]), ("whole", [0, 2 / 3, 1])):
        after = {"accuracy": np.array(accuracy), "confidence": np.ones(3), "changed": np.zeros(3)}
        about = {"task": "t", "concept": "joy", "mask": kind, "share": 0.3}
        masks.append(masking.Masked(about | masking._effects(before, after, target, draws), after["changed"][~target]))
    masking.add_rivals(masks, seed=0)
    assert masks[0].row["controls"] is True
    assert masks[0].row.get("rival_share") == 0.3


# --- distributions -------------------------------------------------------------------------------------------------


def overlap(mean: float, std: float, other_mean: float, other_std: float) -> float:
    """∫ min(p, q) of two Gaussians, piece by piece between the points where they cross."""
    a, b = 1 / std**2, 1 / other_std**2
    crossings = np.roots(
        [(b - a) / 2, a * mean - b * other_mean, (b * other_mean**2 - a * mean**2) / 2 + math.log(other_std / std)]
    )
    ends = [-math.inf, *sorted(crossings.real), math.inf]
    total = 0.0
    for low, high in itertools.pairwise(ends):
        total += min(
            scipy.special.ndtr((high - m) / s) - scipy.special.ndtr((low - m) / s)
            for m, s in ((mean, std), (other_mean, other_std))
        )
    return total


def test_distributions(measured, seen):
    """Normality, shape and overlap are those that scipy and numpy find in the same values."""
    for row in measured.parts["values"]:
        own = seen[row["concept"]]
        units = largest(own, 0.1)
        at = units.layers.numpy(), units.neurons.numpy()
        mine = own[:, *at]
        others = [values[:, *at] for concept, values in seen.items() if concept != row["concept"]]
        p = np.array([scipy.stats.jarque_bera(column).pvalue for column in mine.T])
        both = np.array(
            [
                np.mean([overlap(x.mean(), x.std(), y.mean(), y.std()) for y in ys])
                for x, *ys in zip(mine.T, *(other.T for other in others), strict=True)
            ]
        )
        assert (row["questions"], row["units"]) == (len(own), len(units))
        assert row["normal_share"] == pytest.approx((p >= 0.05).mean(), abs=1e-9)
        kurtosis = np.sort(scipy.stats.kurtosis(mine))
        assert row["median_kurtosis"] == pytest.approx(kurtosis[(len(kurtosis) - 1) // 2], abs=1e-4)
        assert row["overlap_selected"] == pytest.approx(both.mean(), abs=1e-4)
        assert 0 < row["overlap_all"] < 1
        shown = tuple(map(int, row["shown"].split(".")))
        assert shown in units
        number = list(units).index(shown)
        assert row["shown_overlap"] == pytest.approx(both[number], abs=1e-4)
        fits = (np.array([[scipy.stats.jarque_bera(c).pvalue for c in v.T] for v in (mine, *others)]) >= 0.05).all(0)
        assert both[number] == pytest.approx(both[fits].min(), abs=1e-4)


def test_values_and_their_plot(measured, seen):
    """The CSV holds the shown units' values on every class, from which μ and σ follow; the PNG is a picture."""
    plots = where(measured) / "plots"
    assert sorted(file.name for file in plots.iterdir()) == ["mine.values.csv", "mine.values.png"]
    with (plots / "mine.values.csv").open(encoding="utf-8", newline="") as file:
        values = list(csv.DictReader(file))
    assert {value["task"] for value in values} == {"mine"}
    for row in measured.parts["values"]:
        layer, unit = map(int, row["shown"].split("."))
        shown = [value for value in values if value["unit_of"] == row["concept"]]
        assert {(int(value["layer"]), int(value["unit"])) for value in shown} == {(layer, unit)}
        for concept, own in seen.items():
            found = [float(value["value"]) for value in shown if value["concept"] == concept]
            assert found == pytest.approx(own[:, layer, unit].tolist(), abs=1e-5)
        own = [float(value["value"]) for value in shown if value["concept"] == row["concept"]]
        assert row["shown_mean"] == pytest.approx(np.mean(own), abs=1e-6)
        assert row["shown_std"] == pytest.approx(np.std(own), abs=1e-6)
    data = (plots / "mine.values.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert (1000 < width < 2000, 500 < height < 1500) == (True, True)
    picture = matplotlib.image.imread(plots / "mine.values.png")
    assert picture[..., :3].std() > 0.05


# --- gating --------------------------------------------------------------------------------------------------------


def gate(name: str) -> na.Intervention:
    return registry().make(na.Intervention, name, {"tau": 1.0})


@pytest.mark.parametrize("task", ["mine", "other"])
def test_gated_neurons(measured, model, tasks, task):
    """Whole and gated rows are comparisons of edits made by hand; side effects are measured on the other tasks."""
    loaded = [na.load_task(file) for file in tasks]
    splits = {one.name: one.split(3, 0, 6, reference=model) for one in loaded}
    identify = splits[task].identify
    # each task has draws of its own
    a = na.attribute(model, identify, "random", budget=20, options={"seed": zlib.crc32(task.encode())})
    sets = a.good(20), a.bad(20)
    texts = [e.item.text for name in splits for e in splits[name].evaluate if e.item is not None]
    rows = [row for row in measured.parts["gated"] if row["task"] == task]
    assert [(row["mode"], row["tau"]) for row in rows] == [(m, t) for m in ("enhance", "degrade") for t in (None, 1.0)]
    for row in rows:
        maker = {"enhance": na.enhancer, "degrade": na.degrader}[row["mode"]]
        how = {} if row["tau"] is None else {"strengthen": gate("range-excite"), "weaken": gate("range")}
        edit = maker(*sets, budget=20, ratio=0.3, positions="all", **how).fit(model, identify)
        effects = {name: na.evaluate_many(model, s.evaluate, [None, edit]) for name, s in splits.items()}
        change = na.compare(*effects[task], row["mode"]).to_json()
        assert (row["good"], row["bad"]) == (6, 14)
        assert {name: row[name] for name in ("rac", "rcc", "rac_interval", "rcc_interval", "failed")} == {
            name: change[name] for name in ("rac", "rcc", "rac_interval", "rcc_interval", "failed")
        }
        assert (row["accuracy_before"], row["accuracy"]) == tuple(e.acc for e in effects[task])
        others = [after.acc - before.acc for name, (before, after) in effects.items() if name != task]
        assert row["other_tasks"] == pytest.approx(np.mean(others))
        ratio = na.perplexity(model, texts, edit) / na.perplexity(model, texts)
        assert row["perplexity_ratio"] == pytest.approx(ratio, rel=1e-6)


def test_the_gates_matter(measured):
    """A gated edit is another edit than that of whole neurons."""
    rows = measured.parts["gated"]
    assert any(
        whole["perplexity_ratio"] != pytest.approx(gated["perplexity_ratio"], rel=1e-4)
        for whole, gated in zip(rows[::2], rows[1::2], strict=True)
    )


def test_what_can_not_be_learned_is_said(measured):
    """Without a rightly answered question, good neurons have no range: the gated row holds the reason alone."""
    rows = measured.parts["bare"]
    assert [(row["mode"], row["edit"], bool(row["reason"])) for row in rows] == [
        (mode, edit, edit == "range") for mode in ("enhance", "degrade") for edit in ("whole", "range")
    ]
    for row in rows[1::2]:
        assert re.search("was given [01] questions answered rightly to learn ranges from; ", row["reason"])
        assert "accuracy" not in row
    assert [row["other_tasks"] for row in rows[::2]] == [None, None]


def test_a_scorer_that_runs_short(with_parts, model):
    """Sets smaller than the budget are what the row says; nobody is warned beside it."""
    part = {**PLAIN, "scorers": ["kn"], "budget": 60}
    rows = na.bench(with_parts(part), model).parts["a"]
    assert all(row["good"] + row["bad"] < row["budget"] == 60 for row in rows if not row["reason"])


# --- tables --------------------------------------------------------------------------------------------------------


def printed(result: na.BenchResult, parts: Any = None) -> str:
    out = io.StringIO()
    Console(file=out, width=110).print(*tables(result.manifest["suite"], parts or result.parts))
    return out.getvalue()


def test_tables_say_what_the_rows_say(measured):
    """Every part has its table, of no more than 110 columns; its figures are the rows', in points of a hundred."""
    text = printed(measured)
    lines = text.splitlines()
    for row in (row for row in measured.parts["soft"] if row["mask"] == "range"):
        drop, (low, high) = row["target_accuracy_drop"], row["target_accuracy_drop_interval"]
        shown = f"{100 * row['target_accuracy']:.0f} ({100 * row['target_confidence']:.0f})"
        assert any(shown in line and f"{100 * drop:+.0f} [{100 * low:.0f}, {100 * high:.0f}]" in line for line in lines)
    for row in (row for row in measured.parts["gated"] if not row["reason"]):
        shown = f"{100 * row['accuracy_before']:.0f} → {100 * row['accuracy']:.0f}"
        assert any(shown in line and f"× {row['perplexity_ratio']:.2f}" in line for line in lines)
    for row in measured.parts["values"]:
        assert any(row["concept"] in line and row["shown"] in line for line in lines)
    assert all(row["reason"] in " ".join(text.split()) for row in measured.parts["bare"])
    assert max(map(len, lines)) <= 110
    assert "nan" not in text.lower().split()


@pytest.mark.parametrize("name", ["[/b]", "[red]", "[np]"])
def test_classes_are_printed_as_they_are(name, measured):
    """A class's name in brackets is no markup."""
    parts = {
        part: [{**row, "concept": name} if row.get("concept") == TARGET else row for row in rows]
        for part, rows in measured.parts.items()
    }
    text = printed(measured, parts)
    assert text.count(name) == 2


# --- what is written, and what Python takes ------------------------------------------------------------------------


def test_files(measured):
    """Exactly these files: a manifest that says finished, the rows, a CSV a part with the same figures, and units."""
    out, parts = where(measured), measured.manifest["suite"]["parts"]
    files = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    units = {file for file in files if file.endswith(".safetensors")}
    assert files - units == {
        *("manifest.json", "results.json", "plots/mine.values.csv", "plots/mine.values.png"),
        *(f"{part['name']}.csv" for part in parts),
    }
    assert Counter(file.partition("/")[0] for file in units) == {
        "model": 1,
        "masking": 3,  # one a share
        "distributions": 1,
        "gating": 3,
        "examples": 3,
        "scores": 3,
    }
    manifest, results = read(out / "manifest.json"), read(out / "results.json")
    assert (manifest["finished"], manifest["schema"], manifest["seeds"]) == (True, 2, [0])
    assert parts[0]["taus"] == list(TAUS)
    assert set(manifest["timings"]) == {
        *(f"mine: {kind}" for kind in ("masking", "distributions", "gating", "scores")),
        *(f"other: {kind}" for kind in ("gating", "scores")),
    }
    assert {name: len(data["sha256"][0]) for name, data in manifest["data"].items()} == {"mine": 64, "other": 64}
    assert [model["name"] for model in manifest["models"]] == ["LlamaForCausalLM"]
    assert results["left_out"] == {"mine": {"w5": 5}}
    assert results["parts"] == plain(measured.parts)
    assert results.keys() == {"schema", "notes", "left_out", "parts"}
    for name, rows in measured.parts.items():
        with (out / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        assert len(table) == len(rows)
        for cells, row in zip(table, rows, strict=True):
            for key, value in row.items():
                if key.endswith("_interval") and value is not None:
                    assert (float(cells[f"{key}_low"]), float(cells[f"{key}_high"])) == tuple(value)
                elif not key.endswith("_interval"):
                    assert cells[key] == ("" if value is None else str(value))


def test_a_second_measurement_is_the_same(measured, with_parts, model):
    """The same suite, model and seed give identical rows, also where nothing is written."""
    _, soft, values, _, bare = measured.manifest["suite"]["parts"]
    again = na.bench(with_parts(soft, values, bare), model)

    def figures(parts):
        """Rows without what depends on other parts: a rival may come from any."""
        rivals = ("rival_share", "spared", "spared_interval")
        return {
            name: [{key: value for key, value in row.items() if key not in rivals} for row in rows]
            for name, rows in plain(parts).items()
        }

    assert figures(again.parts) == {name: figures(measured.parts)[name] for name in ("soft", "values", "bare")}
    assert again.left_out == measured.left_out
    assert again.path is None


def test_what_was_cut_short_is_told(with_parts, model):
    """Classes with fewer examples than asked for stand in the notes, also beside other examples of the same task."""
    notes = na.bench(with_parts(MASKING, PLAIN, evaluate=1000), model).notes
    assert "mine: evaluate: 7 examples of 'w30' instead of 1000" in notes


def test_another_seed_asks_others(measured, with_parts, model):
    """Another seed draws other examples."""
    part = measured.manifest["suite"]["parts"][1]
    other = na.bench(with_parts(part, least=2), model, seed=range(1, 2))
    assert plain(other.parts["soft"]) != plain(measured.parts["soft"])
    assert other.manifest["seeds"] == [1]


BEFORE_LABELS = """\
name: own
tasks: [TASK]
form: label
shots: 0
identify: 3
evaluate: 2
least: 3
site: resid_post
parts: [{part: masking, name: one, shares: [0.5], perplexity: true}]
"""


def test_a_suite_before_the_label(model, tmp_path):
    """In form label a suite in YAML masks what the model answers before the label; it reads the text that is given.

    Each text's class is what the model answers, so that it is right wherever it is not masked.
    """

    def right(text: str) -> str:
        prompt = f"w9\nReply with one of these: {', '.join(tiny.LABELS)}.\n\n{text} w10\nAnswer:"
        return tiny.LABELS[int(na.evaluate(model, [na.LabelQuestion.of(prompt, tiny.LABELS, tiny.LABELS[0])]).chosen)]

    tiny.labelled(tmp_path, count=30, right=right)
    (tmp_path / "own.yaml").write_text(BEFORE_LABELS.replace("TASK", str(tmp_path / "mine.yaml")))
    (tmp_path / "text.txt").write_text("w1 w2 w3\n\n  \nw4 w5\n")
    result = na.bench(str(tmp_path / "own.yaml"), model, text=tmp_path / "text.txt")
    assert result.left_out == {"mine": {}}
    split = na.concept_split(tmp_path / "mine.yaml", form="label", identify=3, evaluate=2, shots=0, fits=model)
    for label in tiny.LABELS:
        none, gated, whole = (row for row in result.parts["one"] if row["concept"] == label)
        assert (none["target_accuracy"], none["complement_accuracy"], none["questions"]) == (1.0, 1.0, 3)
        assert none["perplexity"] == pytest.approx(na.perplexity(model, ["w1 w2 w3", "w4 w5"]))
        lens = na.attribute(
            model, split.identify, "neuronlens", options={"concept": label, "share": 0.5}, site="resid_post", budget=5
        )
        silent = na.edit(lens.top_share(0.5), "silence", positions="all")
        found = na.evaluate(model, split.evaluate, silent)
        mine = found.answers == tiny.LABELS.index(label)
        assert whole["target_accuracy"] == pytest.approx(float(found.right[mine].double().mean()))
        assert whole["complement_confidence"] == pytest.approx(float(found.confidence[~mine].mean()), rel=1e-4)
        assert gated["units"] == whole["units"] == 3 * 8


@pytest.fixture(scope="module")
def demo() -> Any:
    return na.load_model("demo")


@pytest.mark.parametrize("name", [suite.name for suite in shipped()])
def test_shipped_suites_can_be_measured(name, demo):
    """A shipped suite has its file's name, and finds enough to learn from in the demonstration model."""
    plan = plan_bench(name)
    assert plan.suite.name == name
    parts = parts_of(plan)
    assert {job.name for job in plan.every} == {job.name for part in parts for job in plan.jobs[part]}
    about_classes = [part for part in parts.values() if isinstance(part, MaskingRows | DistributionRows)]
    assert bool(about_classes) == (name == "neuronlens")
    for part in about_classes[:1]:
        for job in plan.jobs[part.name]:
            subject = Subject(part.classes, job.task.loaded, demo)
            assert len(subject.split.concepts) - len(subject.left_out) >= 2


def test_what_fails_under_way_keeps_what_was_finished(with_parts, measured, model, tmp_path, monkeypatch):
    """A failing part is an error of the run; what was finished is on disk, and not computed again."""
    parts = measured.manifest["suite"]["parts"][1:3]

    def fail(*_: Any, **__: Any) -> None:
        raise na.ModelError("out of luck")

    with monkeypatch.context() as broken:
        broken.setattr("neuron_antagonism.parts.distributions.distributions", fail)
        with pytest.raises(na.RunError, match=r"^out of luck$") as caught:
            na.bench(with_parts(*parts), model, out=tmp_path / "x")
    assert read(tmp_path / "x" / "manifest.json")["finished"] is False
    assert read(tmp_path / "x" / "results.json")["failed"] == {"mine": "out of luck"}
    assert caught.value.result.parts == {"soft": [], "values": []}
    (unit,) = (tmp_path / "x" / "masking").iterdir()
    before = unit.stat().st_mtime_ns
    again = na.bench(with_parts(*parts), model, out=tmp_path / "x")
    assert unit.stat().st_mtime_ns == before
    assert plain(again.parts["values"]) == plain(measured.parts["values"])
    assert "failed" not in read(tmp_path / "x" / "results.json")


@pytest.mark.parametrize(
    ("part", "options", "said"),
    [
        ({**MASKING, "layers": [3]}, {}, "part 'm' names block 3; accepted: 0 to 2 of this model"),
        ({**MASKING, "mask": "rnage"}, {}, "unknown intervention 'rnage'; did you mean 'range'?"),
        ({**MASKING, "mask": "silence"}, {}, "unknown option 'silence.answered'"),
        ({**PLAIN, "budget": 73}, {}, "K=73 neurons; accepted: 1 to 72"),
        ({**PLAIN, "scorers": ["acee"]}, {}, "unknown scorer 'acee'; did you mean 'ace'?"),
        ({**PLAIN, "scorers": ["neurons"]}, {}, "scorer 'neurons' has no file"),
        ({**PLAIN, "weaken": "silence"}, {}, "unknown option 'silence.tau'"),
        ({**PLAIN, "tasks": ["nre"]}, {}, "unknown task 'nre'; did you mean 'ner'?"),
        ({**EFFECTS, "options": {"budget": 73}}, {}, "budget=73 neurons; accepted: 1 to 72"),
        ({**EFFECTS, "options": {"budget": 5, "engine": "rpelay"}}, {}, "unknown engine 'rpelay'"),
        ({**EFFECTS, "options": {"budget": 5, "quadrature": "left"}}, {}, "unknown quadrature 'left'"),
        ({**EFFECTS, "options": {"budget": 5, "weaken": "silent"}}, {}, "unknown intervention 'silent'"),
        (PLAIN, {"seed": -1}, "seed is -1; accepted: a whole number from 0"),
        (PLAIN, {"seed": True}, "seed is True; accepted: a whole number from 0"),
        (PLAIN, {"seed": "1"}, "seed is '1'; accepted: a whole number from 0"),
        (PLAIN, {"tasks": "sentiment"}, "are the text 'sentiment'; accepted: a list of names"),
        (PLAIN, {"seed": [1, 2, 1]}, "seed '1' was given twice; accepted: each once"),
        (PLAIN, {"model": ["demo", "demo"]}, "model 'demo' was given twice; accepted: each once"),
        (
            PLAIN,
            {"model": ["demo", str(directory())]},
            "the models 'demo' and .* are one and the same; accepted: each once",
        ),
        (PLAIN, {"data": {"ner": ("x", None)}}, "data was given for unknown task 'ner'; accepted: mine"),
        (PLAIN, {"data": {"mine": ("gone.csv", None)}}, "gone.csv: no such file"),
        (PLAIN, {"text": "gone.txt"}, "gone.txt: .*; accepted: a file of plain text, a text on each line"),
        (PLAIN, {"tasks": ["sentiment", "sentiment"]}, "sentiment.* twice"),
        (MASKING, {"tasks": ["sentiment", "sentiment"]}, "sentiment.* twice"),
        (MASKING, {"tasks": ["commonsense"]}, "the answers of task 'commonsense' are no classes"),
        (PLAIN, {"backend": "procesess"}, "unknown back end 'procesess'; did you mean 'processes'?"),
        (PLAIN, {"workers": 2}, "back end 'serial' has 1 worker, 2 were asked for"),
        (PLAIN, {"backend": "processes", "workers": 2}, "was given loaded, which stays in its process"),
    ],
)
def test_everything_wrong_is_found_first(part, options, said, with_parts, model, tmp_path):
    """A part that can't be measured is one line before anything is created."""
    with pytest.raises(na.AntagonismError, match=said) as caught:
        na.bench(with_parts(part), **{"model": model, "out": tmp_path / "x", **options})
    assert not isinstance(caught.value, na.RunError)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cached", [False, True])
def test_what_is_found_wrong_late_leaves_nothing(cached, with_parts, model, tmp_path):
    """What the model doesn't allow is found once examples are drawn: these are gone again, what was there stays."""
    cache = tmp_path / "cache" if cached else None
    na.bench(with_parts(PLAIN), model, out=tmp_path / "x", cache=cache)
    before = {file: file.read_bytes() for file in (tmp_path / "x").rglob("*") if file.is_file()}
    wrong = with_parts({**PLAIN, "name": "b", "evaluate": 4}, {**PLAIN, "budget": 73})
    for out in ("x", "y"):
        with pytest.raises(na.AntagonismError, match="K=73"):
            na.bench(wrong, model, out=tmp_path / out, cache=cache)
    assert {file: file.read_bytes() for file in (tmp_path / "x").rglob("*") if file.is_file()} == before
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize("part", [PLAIN, MASKING])
def test_an_edited_model_is_refused(part, with_parts, model, tmp_path):
    """A suite makes its own edits: inside another one nothing is measured or created."""
    edit = na.edit(na.NeuronSet.of([(0, 1)]), "silence", positions="all")
    with model.edited(edit), pytest.raises(na.UsageError, match="accepted: outside"):
        na.bench(with_parts(part), model, out=tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# --- shares of units -----------------------------------------------------------------------------------------------


def attribution(scores: list[list[float]], **more: Any) -> na.Attribution:
    return na.Attribution(torch.tensor(scores), torch.tensor([scores]), **more)


def test_shares_by_hand():
    """The largest share of each layer, strongest first, whatever their sign; ties go to the lower layer and index."""
    a = attribution([[0.1, 0.5, -0.2, 0.3], [-1.0, -0.5, -2.0, -3.0], [0.5, 0.0, 0.0, 7.0]], site="up")
    half = a.top_share(0.5)
    assert list(half) == [(2, 3), (0, 1), (2, 0), (0, 3), (1, 1), (1, 0)]
    assert half.scores.tolist() == pytest.approx([7.0, 0.5, 0.5, 0.3, -0.5, -1.0])
    assert half.site == "up"
    assert list(a.top_share(0.01)) == [(2, 3), (0, 1), (1, 1)]
    assert list(a.top_share(0.75, (1,))) == [(1, 1), (1, 0), (1, 2)]
    assert list(a.top_share(0.5, (2, 0, 2))) == [(2, 3), (0, 1), (2, 0), (0, 3)]
    assert set(a.top_share(1)) == {(layer, unit) for layer in range(3) for unit in range(4)}


@pytest.mark.parametrize(("share", "count"), [(0.29, 29), (0.57, 57), (0.299, 29), (1e-9, 1), (1.0, 100)])
def test_shares_are_taken_as_written(share, count):
    """A share of a hundred units is what its decimals say, rounded down, one at least."""
    assert len(attribution([[float(i) for i in range(100)]] * 2).top_share(share)) == 2 * count


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan, math.inf])
def test_impossible_shares(share):
    """A share is above 0, up to 1."""
    with pytest.raises(na.UsageError, match=r"share is .*; accepted: above 0, up to 1"):
        attribution([[1.0, 2.0]]).top_share(share)


@pytest.mark.parametrize("layers", [(1,), (-1,), (0, 5)])
def test_impossible_layers(layers):
    """Blocks are those that are there."""
    with pytest.raises(na.UsageError, match="accepted: blocks 0 to 0 of this model"):
        attribution([[1.0, 2.0]]).top_share(0.5, layers)
