"""Attribution and exact ablation of every neuron of a LLaMA-2-7B-shaped random model on a GPU.

    python benchmarks/engines/gpu.py [--length 200] [--questions 8] [--shape 7b|tiny] [--out FILE]

The weights are random, made on the device in bfloat16: the speed does not depend on their values. First the numbers of
a small model on the device are compared with float64 on the CPU. Times are medians of CUDA events after a warm-up.
Writes JSON. `--shape tiny` with `--device cpu` tries the script itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from models import hooked, question, random_llama

import neuron_antagonism as na

SHAPES = {"7b": (32, 4096, 11008, 32), "tiny": (2, 128, 344, 2)}
SCORERS = ("ace", "tn", "qrnca", "kn")


def timed(work: Callable[[], object], device: str, rounds: int) -> float:
    """Median seconds after a warm-up."""
    work()
    taken = []
    for _ in range(rounds):
        if device == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            work()
            end.record()
            torch.cuda.synchronize()
            taken.append(start.elapsed_time(end) / 1000)
        else:
            before = time.perf_counter()
            work()
            taken.append(time.perf_counter() - before)
    return statistics.median(taken)


def correctness(device: str) -> dict[str, float]:
    """Relative difference of a small model's scores on the device from float64 on the CPU."""
    asked = [question(40, seed) for seed in range(3)]
    plain = random_llama(3, 128, 352)
    truth = na.attribute(hooked(random_llama(3, 128, 352).double()), asked, budget=20).example_scores.double()
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        moved = random_llama(3, 128, 352)
        moved.load_state_dict(plain.state_dict())
        got = na.attribute(hooked(moved.to(device, dtype)), asked, budget=20).example_scores.double()
        found[str(dtype)] = float((got - truth).norm() / truth.norm())
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=list(SHAPES), default="7b")
    parser.add_argument("--length", type=int, default=200, help="tokens of a prompt")
    parser.add_argument("--questions", type=int, default=8, help="questions attributed together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "gpu.json")
    asked = parser.parse_args()
    found: dict[str, object] = {"relative difference from float64": correctness(asked.device)}
    layers, width, ffn, heads = SHAPES[asked.shape]
    model = hooked(random_llama(layers, width, ffn, heads=heads, dtype=torch.bfloat16, device=asked.device))
    several = [question(asked.length, seed) for seed in range(asked.questions)]
    one = several[:1]
    found |= {
        "machine": torch.cuda.get_device_name() if asked.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "neurons": layers * ffn,
        "tokens of a prompt": asked.length,
        "steps": 16,
        "engine": na.attribute(model, one).engine,
    }
    rounds = asked.rounds
    found["attribution, one question, s"] = timed(lambda: na.attribute(model, one), asked.device, rounds)
    many = timed(lambda: na.attribute(model, several), asked.device, rounds)
    found["attribution, a question of several, s"] = many / len(several)
    four = timed(lambda: na.attribute_many(model, several, SCORERS), asked.device, rounds)
    found["four scorers, times ACE alone"] = four / many
    found["exact ablation of every neuron, one question, s"] = timed(lambda: na.ablate(model, one), asked.device, 1)
    reference = timed(lambda: na.attribute(model, one, engine="reference"), asked.device, 1)
    found["reference engine, one question, s"] = reference
    if asked.device == "cuda":
        found["peak memory, GB"] = torch.cuda.max_memory_allocated() / 2**30
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
