"""A positive control for ranges: models with planted range-coded units, measured with the package's own tools.

    python benchmarks/range_model [--seeds N] [--steps N] [--out DIRECTORY]

One thread. Trains a small model for each seed and writes range_model.json and range_model.md into the directory
(default: benchmarks/results). Three seeds take four to six minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch  # must see the variable above
from intervals import costs
from masks import TAU, TAUS, Answers, masked
from planting import LEVELS, train
from report import markdown
from texts import LABELS, HeldOut, make_tokenizer
from values import found_units, levels, shapes

import neuron_antagonism as na

RESULTS = Path(__file__).parents[1] / "results"
EACH = 100  # held-out texts of each topic in either set


def main() -> None:
    """Train and measure every seed, then write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="models to train")
    parser.add_argument("--steps", type=int, default=1500, help="training steps of each")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where range_model.json and range_model.md go")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    models, answers = [], []
    for seed in range(asked.seeds):
        print(f"seed {seed} …", flush=True)
        model, found = _one(seed, asked.steps)
        models.append(model)
        answers.append(found)
    topics = np.repeat(np.arange(len(LABELS)), EACH)
    report = {"setup": _setup(models, asked), "models": models, **_tables(models, answers, topics)}
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "range_model.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(report)
    (asked.out / "range_model.md").write_text(text, encoding="utf-8")
    print(text, flush=True)


def _one(seed: int, steps: int) -> tuple[dict[str, Any], dict[tuple[Any, ...], Answers]]:
    """A model's own figures, and its answers under every mask."""
    held_out, tokenizer = HeldOut(EACH, seed), make_tokenizer()
    started = time.perf_counter()
    trained, plan = train(held_out, tokenizer, seed, steps)
    seconds = time.perf_counter() - started
    parameters = sum(weight.numel() for weight in trained.parameters())
    model = na.load_model(hf_model=trained, tokenizer=tokenizer)
    figures = {
        "seed": seed,
        "training seconds": seconds,
        "parameters": parameters,
        "width": model.n_neurons,
        "planted": plan.units,
        "sets": found_units(model, held_out, plan),
        "levels": levels(model, held_out, plan),
        "shapes": shapes(model, held_out, plan),
    }
    return figures, masked(model, held_out, plan)


def _tables(
    models: list[dict[str, Any]], answers: list[dict[tuple[Any, ...], Answers]], topics: np.ndarray
) -> dict[str, Any]:
    """The rows of every table of masking; a key is (set, way, positions) or ("tau", τ, positions)."""
    masking, by_seed, by_topic, sweep = [], [], [], []
    for name, way, positions in answers[0]:
        every = [found[name, way, positions] for found in answers]
        row = {"positions": positions, **costs(every, topics)}
        if name == "tau":
            sweep.append({"τ": way, "way": "range", **row})
            continue
        units = [one["units"] for model in models for one in model["sets"] if one["set"] == name]
        masking.append({"set": name, "units": units, "way": way, **row})
        if name == "planted":
            for model, one in zip(models, every, strict=True):
                by_seed.append({"seed": model["seed"], "way": way, "positions": positions, **costs([one], topics)})
            if positions == "all":
                for number, topic in enumerate(LABELS):
                    own = costs(every, topics, number)
                    by_topic.append({"topic": topic, "way": way, "positions": positions, **own})
    return {"masking": masking, "by seed": by_seed, "by topic": by_topic, "sweep": sweep}


def _setup(models: list[dict[str, Any]], asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "command": f"python benchmarks/range_model --seeds {asked.seeds} --steps {asked.steps}",
        "torch": torch.__version__,
        "threads": 1,
        "each": EACH,
        "levels": LEVELS,
        "tau": TAU,
        "taus": TAUS,
        "units": len(models[0]["planted"]),
        "parameters": models[0]["parameters"],
        "width": models[0]["width"],
    }


if __name__ == "__main__":
    main()
