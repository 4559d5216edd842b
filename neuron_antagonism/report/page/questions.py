"""What the explorer of questions shows: prompts, options, and the answers before and after each edit.

The largest part of a page, so that it is packed: what all prompts of a task begin with stands once, probabilities are
thousandths, and what is more than the page can hold is left to questions.jsonl, which the page says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuron_antagonism.report.page.sources import Answers, Asked, RunSource

REPORTED = "evaluate"
MOST_TEXT = 1_500_000
"""Characters of prompts and options on a page."""
MOST_FIGURES = 400_000
"""Probabilities on a page."""
LONGEST = (20_000, 5_000, 2_000, 800, 300)
"""Lengths that prompts are cut to, as far as is needed."""


def explorer(runs: Sequence[RunSource]) -> dict[str, Any] | None:
    """The questions of the evaluation sets of all runs, with their answers; None where there are none."""
    found = []
    for run in runs:
        for task in run.results["tasks"]:
            rows = [row for row in run.questions if row["task"] == task and row["set"] == REPORTED]
            if rows:
                found.append((run.name, task, rows, run.asked.get(task)))
    if not found:
        return None
    share = MOST_TEXT // len(found)
    figures = MOST_FIGURES // len(found)
    packed = [_task(name, task, rows, asked, share, figures) for name, task, rows, asked in found]
    return {"tasks": packed, "runs": list(dict.fromkeys(name for name, *_ in found))}


def _task(
    run: str, task: str, rows: Sequence[Mapping[str, Any]], asked: Asked | None, most: int, figures: int
) -> dict[str, Any]:
    flat = [(n, p, row, proxy) for n, row in enumerate(rows) for p, proxy in enumerate(row["proxies"])]
    prompts = [proxy["prompt"] for _, _, _, proxy in flat]
    start = _start(prompts)
    tails = [prompt[len(start) :] for prompt in prompts]
    for longest in LONGEST:
        cut = [_cut(text, longest) for text in tails]
        options = [[_cut(option, longest) for option in proxy["options"]] for _, _, _, proxy in flat]
        sizes = [len(text) + sum(map(len, own)) for text, own in zip(cut, options, strict=True)]
        if sum(sizes) <= most:
            break
    kept = 0
    while kept < len(flat) and sum(sizes[: kept + 1]) <= most:
        kept += 1
    questions = [
        {"n": n + 1, "p": p + 1, "u": row["understood"], "t": cut[i], "o": options[i], "a": proxy["answer"]}
        | {"l": proxy.get("letters") or []}
        for i, (n, p, row, proxy) in enumerate(flat[:kept])
    ]
    if asked is not None and len(asked.unedited.chosen[0]) != len(flat):
        # of other questions than those: nothing is said of them
        asked = None
    edits: list[dict[str, Any]] = []
    if asked is not None:
        each = [("", "", asked.unedited, 0)]
        each += [(s, mode, one, i) for s, one in asked.edited.items() for i, mode in enumerate(one.where)]
        width = max(len(own) for own in options)
        whole = len(each) * kept * width <= figures
        edits = [_edit(scorer, mode, one, i, kept, whole, questions) for scorer, mode, one, i in each]
    return {
        "run": run,
        "task": task,
        "start": _cut(start, LONGEST[0]),
        "questions": questions,
        "edits": edits,
        "left_out": len(flat) - kept,
        "shortened": sum(a != b for a, b in zip(cut, tails, strict=True)),
    }


def _edit(
    scorer: str, mode: str, one: Answers, i: int, kept: int, whole: bool, questions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {"scorer": scorer, "mode": mode, "c": one.chosen[i][:kept].tolist()}
    if one.probabilities is not None:
        per_mille = (1000 * one.probabilities[i][:kept].astype("float64")).round().astype(int).tolist()
        # of the right option alone where all would be too many
        found["q" if whole else "r"] = (
            [row[: len(q["o"])] for row, q in zip(per_mille, questions, strict=True)]
            if whole
            else [row[q["a"]] for row, q in zip(per_mille, questions, strict=True)]
        )
    return found


def _start(prompts: Sequence[str]) -> str:
    """What all prompts begin with, up to the end of a line."""
    if len(prompts) < 2:
        return ""
    # what the first and the last in order share, all between them share
    first, last = min(prompts), max(prompts)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("\n", 0, same) + 1]


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters more, see questions.jsonl …]\n{text[-half:]}"
