"""Reports to look at: a small run as it is, grown to a large one, and with hostile names and texts."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from neuron_antagonism.metrics.judges import SCALES, SHARES
from neuron_antagonism.report.page.sources import Answers, Asked, BenchSource, Described, RunSource
from neuron_antagonism.suites.pages import sources_of

MARKUP = "</script><script>window.taken = 1</script><img src=x onerror='window.taken = 2'><!-- {{ 7 * 7 }} ${7} \"&amp;"
HOSTILE = (
    f"{MARKUP} \N{BRAIN}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{MICROSCOPE} \N{RIGHT-TO-LEFT OVERRIDE}مرحبا\N{LINE SEPARATOR}"
)
LONG = HOSTILE + "x" * 10_000
"""What a prompt, an option, or the name of a plugin or file may hold."""


def run_of(path: Path) -> RunSource:
    """What a run's directory gives a report."""
    (source,) = sources_of([path])
    assert isinstance(source, RunSource)
    return source


def renamed(source: RunSource, names: dict[str, str], name: str | None = None) -> RunSource:
    """A run whose tasks, scorers and texts have other names, wherever they stand."""

    def other(value: Any) -> Any:
        if isinstance(value, dict):
            return {names.get(key, key): other(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [other(one) for one in value]
        return names.get(value, value) if isinstance(value, str) else value

    asked = {
        names.get(task, task): Asked(one.unedited, {names.get(s, s): answers for s, answers in one.edited.items()})
        for task, one in source.asked.items()
    }
    return replace(
        source,
        name=source.name if name is None else name,
        manifest=other(source.manifest),
        results=other(source.results),
        questions=other(source.questions),
        neurons=other(source.neurons),
        asked=asked,
        scores={names.get(t, t): {names.get(s, s): a for s, a in own.items()} for t, own in source.scores.items()},
        exact={names.get(task, task): one for task, one in source.exact.items()},
        described={names.get(task, task): one for task, one in source.described.items()},
    )


def with_tokens(source: RunSource, texts: list[str], option: str = "person") -> RunSource:
    """A run whose neurons all promote the same tokens, and suppress them in the other order."""

    def told(one: Described) -> Described:
        places = np.tile(np.arange(len(texts)), (len(one.layers), 1))
        logits = np.tile(np.linspace(3, 1, len(texts)), (len(one.layers), 1)).astype(np.float32)
        groups = [(by, option if by == "option" else name, n) for by, name, n in one.groups]
        sides = (places, logits), (places[:, ::-1], -logits)
        return replace(one, tokens=texts, promoted=sides[0], suppressed=sides[1], groups=groups)

    return replace(source, described={task: [told(one) for one in own] for task, own in source.described.items()})


def with_prompts(source: RunSource, text: str) -> RunSource:
    """A run whose prompts and first options hold a text."""
    rows = json.loads(json.dumps(source.questions))
    for row in (row for row in rows if row["set"] != "natural"):
        for proxy in row["proxies"]:
            proxy["prompt"] = f"{proxy['prompt']}\n{text}"
            proxy["options"][0] = text
    return replace(source, questions=rows)


def above_chance(source: RunSource) -> RunSource:
    """A run whose model is above chance: what it says is not true, but how it is said is the program's."""
    results = json.loads(json.dumps(source.results))
    for found in results["tasks"].values():
        found["natural"] |= {"above_chance": True, "acc": 0.7, "acc_interval": [0.6, 0.8], "chance_acc": 0.25}
        for cell in found["cells"]["held-out"]:
            sign = 1 if cell["mode"] == "enhance" else -1
            ends = sorted((sign * 10.0, sign * 30.0))
            cell |= {"failed": False, "population_acc": sign * 20.0, "population_acc_interval": ends}
        for one in found["net"]:
            one |= {"points": 12.0, "points_interval": [5.0, 20.0]}
    return replace(source, results=results)


def grown(
    source: RunSource, tasks: int = 4, scorers: int = 8, examples: int = 300, shape: tuple[int, int] = (32, 11_008)
) -> RunSource:
    """A run of many tasks, scorers, questions and neurons, each a copy of one that was measured."""
    rng = np.random.default_rng(0)
    results = json.loads(json.dumps(source.results))
    task, found = next(iter(results["tasks"].items()))
    scorer = next(cell["scorer"] for cell in found["cells"]["held-out"] if not cell["draws"])
    names, methods = [f"task{i}" for i in range(tasks)], [f"scorer{i}" for i in range(scorers)]
    found["planted"] = None

    def copied(rows: list[dict[str, Any]], field: str = "scorer") -> list[dict[str, Any]]:
        return [row | {field: name} for name in methods for row in rows if row[field] == scorer]

    layers = {"good": [3] * shape[0], "bad": [3] * shape[0]}
    many = found | {
        "cells": {"held-out": copied(found["cells"]["held-out"])},
        "net": copied(found["net"], "method"),
        "at_all": copied(found["at_all"]),
        "sweep": copied(found["sweep"]),
        "differences": [],
        "layers": dict.fromkeys(methods, layers),
        "attribution": dict.fromkeys(methods, found["attribution"][scorer]),
    }
    sides = copied(found["side_effects"]["rows"])
    results["tasks"] = {
        name: many
        | {
            "side_effects": {
                "text": "",
                "rows": [row | {"other_tasks": {one: 1.5 for one in names if one != name}} for row in sides],
            }
        }
        for name in names
    }
    rows = [row for row in source.questions if row["task"] == task and row["set"] == "evaluate"]
    questions = [rows[i % len(rows)] | {"task": name} for name in names for i in range(examples)]
    n = sum(len(row["proxies"]) for row in questions) // tasks
    width = max(len(proxy["options"]) for row in rows for proxy in row["proxies"])

    def answers(modes: list[str]) -> Answers:
        chosen = rng.integers(0, width, (len(modes), n)).astype(np.int16)
        return Answers(modes, chosen, rng.dirichlet(np.ones(width), (len(modes), n)).astype(np.float16))

    asked = Asked(answers([""]), {name: answers(["enhance", "degrade"]) for name in methods})
    scores = {name: rng.normal(size=shape).astype(np.float32) for name in methods}
    neurons = [
        {"task": name, "scorer": method, "role": role, "rank": str(rank + 1)}
        | {"layer": str(rng.integers(shape[0])), "neuron": str(rng.integers(shape[1])), "score": str(rng.normal())}
        for name in names
        for method in methods
        for role in ("good", "bad")
        for rank in range(100)
    ]

    def described(task: str) -> Described:
        own = [row for row in neurons if row["task"] == task and int(row["rank"]) <= 500 // (2 * scorers) + 1]
        layers, places = ([int(row[name]) for row in own] for name in ("layer", "neuron"))
        groups = [("all", "all", 72), *(("letter", name, 18) for name in "ABCD")]
        groups += [("option", f"label {i}", 9) for i in range(8)]
        shown = rng.normal(size=(2, len(own), len(groups))).astype(np.float32)
        sides = [
            (rng.integers(50_000, size=(len(own), 8)), rng.normal(size=(len(own), 8)).astype(np.float32))
            for _ in range(2)
        ]
        return Described(layers, places, groups, *shown, [f" token{i}" for i in range(50_000)], *sides)

    model = source.manifest["model"] | {"layers": shape[0], "neurons_per_layer": shape[1]}
    return replace(
        source,
        manifest=source.manifest | {"model": model},
        results=results,
        questions=questions,
        neurons=neurons,
        asked=dict.fromkeys(names, asked),
        scores=dict.fromkeys(names, scores),
        exact=dict.fromkeys(names, scores[methods[0]]),
        described={name: [described(name)] for name in names},
    )


def board(scorers: int = 8, tasks: int = 4, *, without: tuple[str, ...] = (), name: str = "scorer") -> BenchSource:
    """A leaderboard of many scorers with the curves of two judges, and budgets.

    Args:
        scorers, tasks: how many.
        without: what the names of judges' figures, left out, begin with.
        name: what the names of scorers begin with.
    """
    rows: list[dict[str, Any]] = []
    budgets: list[dict[str, Any]] = []
    for task, number in product(range(tasks), range(scorers)):
        about = {"model": "demo", "seed": 0, "task": f"task{task}", "scorer": f"{name}{number}"}

        def one(judge: str, value: float, wide: float | None = 0.1, about: dict[str, Any] = about) -> None:
            ends = (None, None) if wide is None else (value - wide, value + wide)
            rows.append(about | {"judge": judge, "value": value, "low": ends[0], "high": ends[1]})

        one("agreement.spearman", 0.1 * number)
        one("dose.good-slope", 1.0)
        for role, scale in product(("good", "bad"), SCALES):
            one(f"dose.{role}@{scale:g}", (1 if role == "good" else -1) * (number + 1) * (scale - 1) / 4)
        for label, share in product(("faithfulness", "faithfulness-absolute"), SHARES):
            one(f"{label}.f@{100 * share:g}%", share ** (1 / (number + 1)), None if share == 0.001 else 0.1)
            one(f"{label}.completeness@{100 * share:g}%", 1 - share, 1e6 if share == 0.002 else 0.1)
            one(f"{label}.comprehensiveness@{100 * share:g}%", 3 * share)
        for mode, budget in product(("enhance", "degrade"), (10, 50, 100)):
            after = 0.5 + (0.4 if mode == "enhance" else -0.4) * budget / 100
            budgets.append(about | {"mode": mode, "budget": budget, "protocol": "held-out", "acc_before": 0.5})
            budgets[-1] |= {"acc_after": after}
    rows = [row for row in rows if not row["judge"].startswith(without or ("-",))]
    parts = [
        {"part": "judging", "name": "board", "evaluate": 48, "target": "log-odds"},
        {"part": "budgets", "name": "budget"},
    ]
    suite = {"name": "mine", "about": "of mine", "parts": parts}
    manifest = {"schema": 2, "key": "k", "version": "1", "suite": suite, "models": [], "seeds": [0], "data": {}}
    manifest |= {"packages": {}, "machine": {}, "timings": {}}
    return BenchSource("x", manifest, {"parts": {"board": rows, "budget": budgets}, "notes": [], "left_out": {}})


class Parsed(HTMLParser):
    """What a page holds.

    Attributes:
        tags: every element and its attributes.
        scripts: what script elements hold.
        sections: names of the sections.
        text: everything that is read, without scripts and styles.
    """

    def __init__(self, page: str) -> None:
        """Read a page."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(page)
        self.close()

    @property
    def sections(self) -> list[str]:
        """In their order."""
        return [str(attributes["id"]) for tag, attributes in self.tags if tag == "section"]

    @property
    def data(self) -> Any:
        """What the page carries."""
        return json.loads(self.scripts[0])

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Some of its rows."""
        found = self.data["rows"][name]
        texts = found["t"]
        return [
            {f: texts[f][v] if f in texts and v is not None else v for f, v in zip(found["f"], values, strict=True)}
            for values in found["r"]
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text += data
