"""What a run's chosen edits do besides their purpose: one row for each scorer and direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuron_antagonism.method.edits import Edit
from neuron_antagonism.method.evaluate import evaluate_many
from neuron_antagonism.method.side_effects import Key, chosen_text, other_tasks, plain_text_effects, side_effects
from neuron_antagonism.progress import Progress, prefixed
from neuron_antagonism.runs.identity import identity
from neuron_antagonism.runs.plan import Plan, content_hash
from neuron_antagonism.runs.store import RunDirectory

FILE = "sweeps/side_effects.json"
MOST_TEXTS = 40
"""Of the examples' own texts, so many are read, as many as the embedded sample has."""


def described_edit(edit: Edit) -> list[Any]:
    """What makes an edit: interventions, neurons, positions, site."""
    return [[[identity(part.intervention), list(part.neurons)] for part in edit.parts], edit.positions, edit.site]


def run_side_effects(
    plan: Plan,
    edits: Mapping[str, Mapping[str, Mapping[str, Edit]]],
    directory: RunDirectory | None,
    progress: Progress | None,
) -> dict[str, dict[str, Any]]:
    """By task: the plain text's name (`text`), and `rows` as `side_effects` gives them, with scorer, mode and ties.

    Kept in the run's directory once measured. Scorers that draw are left out: their draws are edits of their own.
    """
    config, model = plan.config, plan.model
    chosen: dict[Key, Edit] = {
        (task, scorer, mode): edit
        for task, scorers in edits.items()
        for scorer, modes in scorers.items()
        if scorer in plan.steady
        for mode, edit in modes.items()
    }
    tasks = {task.name: task for task in plan.tasks}
    keys = [task.key for task in plan.tasks]
    key = content_hash([keys, [[*name, described_edit(edit)] for name, edit in chosen.items()], config.seed])
    stored = directory.read_kept(FILE, key) if directory is not None else None
    if stored is not None:
        kept: dict[str, dict[str, Any]] = stored["effects"]
        return kept
    examples = {name: task.split.evaluate for name, task in tasks.items()}
    how: dict[str, Any] = {"seed": config.seed, "engine": config.engine, "max_tokens": config.max_tokens}
    others = other_tasks(model, chosen, examples, **how, progress=progress)
    found: dict[str, dict[str, Any]] = {}
    for task, asked in examples.items():
        mine = {one: edit for one, edit in chosen.items() if one[0] == task}
        told = prefixed(progress, f"{task}: side effects, ")
        own = [example.item.text for example in asked if example.item is not None]
        texts, name_of_text = chosen_text(model, own[:MOST_TEXTS])
        plain = plain_text_effects(model, texts, list(mine.values()), max_tokens=config.max_tokens, progress=told)
        before, *after = evaluate_many(model, asked, [None, *mine.values()], **how, progress=told)
        rows = [
            {"scorer": one[1], "mode": one[2], "ties": answers.ties} | side_effects(before, answers, text, others[one])
            for one, answers, text in zip(mine, after, plain, strict=True)
        ]
        found[task] = {"text": name_of_text, "rows": rows}
    if directory is not None:
        directory.write_json(FILE, {"key": key, "effects": found})
    return found
