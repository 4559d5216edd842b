"""Rows of a run's results, one a mark of some figure or a line of some table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from neuron_antagonism.metrics.protocols import SHOWN
from neuron_antagonism.report.run_table import MARKED

Results = Mapping[str, Any]
Rows = list[dict[str, Any]]

METRICS = {
    "rac": "RAC, relative change of accuracy (%)",
    "rcc": "RCC, relative change of comprehension (%)",
    "population": "accuracy as examples come (points, signed)",
    "net": "net of random neurons (points)",
}
STATES = {"degrade": "degraded", "enhance": "enhanced"}
UNEDITED = "unedited"
SET_NAMES = {"select": "selection set", "evaluate": "evaluation set"}
N_TENTHS = 10


def levels(results: Results) -> Rows:
    """Accuracy in percent: unedited, enhanced and degraded by each scorer; as examples come where that is known."""
    rows: Rows = []
    for task, found in results["tasks"].items():
        natural, before = found["natural"], found["before"]
        known = natural["acc"] is not None
        base = natural["acc"] if known else before["acc"]
        ends = natural["acc_interval"] if known else None
        for cell in found["cells"][SHOWN]:
            about = {"task": task, "scorer": cell["scorer"], "chance": 100 * natural["chance_acc"]}
            if cell["mode"] == "enhance":
                low, high = (None, None) if ends is None else (100 * ends[0], 100 * ends[1])
                rows.append(about | {"state": UNEDITED, "acc": 100 * base, "low": low, "high": high})
            change, about_it = _change(cell, known)
            low, high = (None, None) if about_it is None else (_bounded(100 * base + end) for end in about_it)
            at = _bounded(100 * base + change)
            rows.append(about | {"state": STATES[cell["mode"]], "acc": at, "low": low, "high": high})
    return rounded(rows)


def _change(cell: Mapping[str, Any], known: bool) -> tuple[float, Sequence[float] | None]:
    name = "population_acc" if known and cell["population_acc"] is not None else "acc_difference"
    return cell[name], cell[f"{name}_interval"]


def _bounded(percent: float) -> float:
    return min(100.0, max(0.0, percent))


def cells(results: Results) -> Rows:
    """One row a protocol, task, mode and scorer, with every figure of the run's table."""
    rows: Rows = []
    for task, found in results["tasks"].items():
        judged = found["natural"]["above_chance"]
        at_all = {(one["scorer"], one["mode"]): one["acc_after"] for one in found["at_all"]}
        net = {(one["method"], one["mode"]): one for one in found["net"] if one["metric"] == "rac"}
        marked = {
            (one["baseline"], one["mode"])
            for one in found["differences"]
            if judged and one["p_holm"] is not None and one["p_holm"] < MARKED
        }
        for protocol, own in sorted(found["cells"].items(), key=lambda item: item[0] != SHOWN):
            for cell in own:
                name = (cell["scorer"], cell["mode"])
                beyond = net.get(name) if protocol == SHOWN else None
                drawn = cell["n_good"] is None
                rows.append(
                    {"task": task, "protocol": protocol, "mode": cell["mode"], "scorer": cell["scorer"]}
                    | {"verdict": _verdict(cell, judged), "acc": cell["acc_after"], "acc_before": cell["acc_before"]}
                    | _with_ends("rac", cell["rac"], cell["rac_interval"])
                    | _with_ends("rcc", cell["rcc"], cell["rcc_interval"])
                    | _with_ends("population", cell["population_acc"], cell["population_acc_interval"])
                    | _with_ends("net", beyond and beyond["points"], beyond and beyond["points_interval"])
                    | {"p_rank": beyond and beyond["p_value"]}
                    | {"touched": "varies over draws" if drawn else f"{cell['n_good']} : {cell['n_bad']}"}
                    | {"at_all": at_all.get(name) if protocol == SHOWN else None}
                    | {"differs": "yes" if name in marked and protocol == SHOWN else ""}
                )
    return rounded(rows)


def _verdict(cell: Mapping[str, Any], judged: bool) -> str:
    if not judged:
        return "no verdict"
    return "Fail" if cell["failed"] else "as meant"


def _with_ends(name: str, value: float | None, ends: Sequence[float] | None) -> dict[str, float | None]:
    low, high = (None, None) if ends is None else ends
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def effects(results: Results) -> Rows:
    """One row a cell and metric, for plots; what is not known has none."""
    rows: Rows = []
    for row in cells(results):
        about = {name: row[name] for name in ("task", "protocol", "mode", "scorer", "verdict")}
        for metric, title in METRICS.items():
            if row[metric] is not None:
                ends = {"low": row[f"{metric}_low"], "high": row[f"{metric}_high"]}
                rows.append(about | {"metric": title, "value": row[metric]} | ends)
    return rows


def sweep(results: Results) -> Rows:
    """Accuracy at every ratio that was asked; of a scorer that draws the mean over its draws."""
    rows: Rows = []
    for task, found in results["tasks"].items():
        before = found["before"]
        chosen = {(cell["scorer"], cell["mode"], cell["tenths"]) for cell in found["cells"][SHOWN]}
        questions = {"evaluate": before["questions"], "select": sum(found["split"]["right_letters"]["select"].values())}

        def at(row: Mapping[str, Any]) -> tuple[str, str, str, int]:
            return row["scorer"], row["set"], row["mode"], row["tenths"]

        for (scorer, name, mode, tenths), own in groupby(sorted(found["sweep"], key=at), key=at):
            right = [row["right"] for row in own]
            if questions[name]:
                rows.append(
                    {"task": task, "set": SET_NAMES[name], "mode": mode, "scorer": scorer, "share": tenths / N_TENTHS}
                    | {"acc": 100 * sum(right) / len(right) / questions[name]}
                    | {"chosen": "chosen" if (scorer, mode, tenths) in chosen else "asked", "draws": len(right)}
                )
    order = {name: i for i, name in enumerate(scorers(results))}
    # the set that holds curves first, not the one with single points
    curves = {name: sum(row["set"] == name for row in rows) for name in SET_NAMES.values()}
    return rounded(sorted(rows, key=lambda row: (-curves[row["set"]], row["mode"] != "enhance", order[row["scorer"]])))


def scorers(results: Results) -> list[str]:
    """Every scorer of a run, in its order."""
    return list(dict.fromkeys(c["scorer"] for f in results["tasks"].values() for c in f["cells"][SHOWN]))


def layers(results: Results) -> Rows:
    """How many good and bad neurons each layer has; bad ones count downwards."""
    return [
        {"task": task, "scorer": scorer, "role": role, "layer": layer, "count": n, "side": n if role == "good" else -n}
        for task, found in results["tasks"].items()
        for scorer, own in found["layers"].items()
        for role in ("good", "bad")
        for layer, n in enumerate(own[role] or ())
    ]


def cross(results: Results) -> Rows:
    """Change of accuracy in points: the task that an edit was chosen for against the task that was asked."""
    rows: Rows = []
    for task, found in results["tasks"].items():
        own = {(cell["scorer"], cell["mode"]): cell["acc_difference"] for cell in found["cells"][SHOWN]}
        for row in found["side_effects"]["rows"]:
            if row["other_tasks"]:
                about = {"scorer": row["scorer"], "mode": row["mode"], "task": task}
                points = {task: own[row["scorer"], row["mode"]], **row["other_tasks"]}
                rows += [about | {"asked": asked, "points": value} for asked, value in points.items()]
    return rounded(rows)


def side_effects(results: Results) -> Rows:
    """What each chosen edit does besides its purpose, beside what it does for it.

    `front`: it does some of what it is for, and no other edit does more at less.
    """
    rows: Rows = []
    for task, found in results["tasks"].items():
        own = {(cell["scorer"], cell["mode"]): cell for cell in found["cells"][SHOWN]}
        here: Rows = []
        judged = found["natural"]["above_chance"]
        for row in found["side_effects"]["rows"]:
            cell = own[row["scorer"], row["mode"]]
            sign = 1 if row["mode"] == "enhance" else -1
            change, _ = _change(cell, found["natural"]["acc"] is not None)
            others = list(row["other_tasks"].values())
            here.append(
                {"task": task, "mode": row["mode"], "scorer": row["scorer"], "purpose": sign * change}
                | {"changed": row["answers_changed"], "kl": row["kl"], "perplexity": row["perplexity_ratio"]}
                | {"others": sum(others) / len(others) if others else None}
                | {"moved": sum(map(abs, others)) / len(others) if others else None}
            )
        for row in here:
            rivals = [other for other in here if other["mode"] == row["mode"]]
            beaten = any(
                other["purpose"] >= row["purpose"]
                and other["kl"] <= row["kl"]
                and (other["purpose"], other["kl"]) != (row["purpose"], row["kl"])
                for other in rivals
            )
            row["front"] = "no" if beaten or row["purpose"] <= 0 or not judged else "yes"
        rows += here
    return rounded(rows)


def letters(results: Results) -> Rows:
    """Accuracy by right letter before and after each chosen edit, in percent."""
    return rounded(
        [
            {"task": task, "scorer": row["scorer"], "mode": row["mode"], "letter": letter, "when": when}
            | {"acc": 100 * one[f"right_{when}"] / one["questions"], "questions": one["questions"]}
            | {"picked": 100 * one[f"chosen_{when}"] / sum(o[f"chosen_{when}"] for o in row["by_letter"].values())}
            for task, found in results["tasks"].items()
            for row in found["side_effects"]["rows"]
            for letter, one in row["by_letter"].items()
            for when in ("before", "after")
            if one["questions"]
        ]
    )


def planted(results: Results) -> Rows:
    """The share of the planted neurons that each scorer finds."""
    return [
        {"task": task, "scorer": _ceiling(scorer, one), "role": role, "found": one[role], "k": one["k"]}
        for task, found in results["tasks"].items()
        for scorer, one in (found["planted"] or {}).items()
        for role in ("good", "bad")
        if one[role] is not None
    ]


def _ceiling(scorer: str, one: Mapping[str, Any]) -> str:
    return f"{scorer} (ceiling)" if one.get("kind") == "ceiling" else scorer


def differences(results: Results) -> Rows:
    """Every comparison between the first scorer and another, corrected for all of them."""
    return rounded(
        [
            {"task": task, "mode": one["mode"], "metric": one["metric"].upper(), "baseline": one["baseline"]}
            | {"method": one["method"], "difference": one["difference"], "p_value": one["p_value"]}
            | dict(zip(("low", "high"), one["interval"] or (None, None), strict=True))
            | {"p_holm": one["p_holm"]}
            for task, found in results["tasks"].items()
            for one in found["differences"]
        ]
    )


def overlaps(neurons: Sequence[Mapping[str, Any]]) -> Rows:
    """Of each pair of tasks, the share of one's neurons that are the other's as well.

    Args:
        neurons: what neurons.csv holds.
    """
    rows: Rows = []
    for (scorer, role), sets in _by_task(neurons):
        if len(sets) > 1:
            rows += [
                {"scorer": scorer, "role": role, "task": one, "other": other, "shared": len(a & b) / len(a)}
                for one, a in sets.items()
                for other, b in sets.items()
            ]
    return rounded(rows)


def common(neurons: Sequence[Mapping[str, Any]]) -> Rows:
    """By layer, how many neurons are chosen for one task, for two, …"""
    rows: Rows = []
    for (scorer, role), sets in _by_task(neurons):
        if len(sets) < 2:
            continue
        times: dict[tuple[int, int], int] = {}
        for own in sets.values():
            for neuron in own:
                times[neuron] = times.get(neuron, 0) + 1
        counts: dict[tuple[int, int], int] = {}
        for (layer, _), tasks in times.items():
            counts[layer, tasks] = counts.get((layer, tasks), 0) + 1
        for (layer, tasks), count in sorted(counts.items()):
            name = "one task" if tasks == 1 else "every task" if tasks == len(sets) else f"{tasks} tasks"
            rows.append({"scorer": scorer, "role": role, "layer": layer, "tasks": name, "order": tasks, "count": count})
    return rows


def _by_task(
    neurons: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[tuple[str, str], dict[str, set[tuple[int, int]]]]]:
    found: dict[tuple[str, str], dict[str, set[tuple[int, int]]]] = {}
    for row in neurons:
        sets = found.setdefault((row["scorer"], row["role"]), {})
        sets.setdefault(row["task"], set()).add((int(row["layer"]), int(row["neuron"])))
    yield from found.items()


def rounded(rows: Rows, digits: int = 5) -> Rows:
    """Rows whose numbers have as many digits as a figure can show."""
    return [
        {name: float(f"{value:.{digits}g}") if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    ]
