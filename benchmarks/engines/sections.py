"""What is measured; each section returns rows that go into the JSON as they are."""

from __future__ import annotations

import contextlib
import functools
import statistics
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

import torch
from measure import in_turns, peak_megabytes, peak_of, seconds
from models import hooked, question, random_llama
from operations import integrated, matrix_rate
from peers import by_captum, procedure

import neuron_antagonism as na
from neuron_antagonism.engine.base import Path, asked_of
from neuron_antagonism.engine.copies import Copies
from neuron_antagonism.engine.memory import bytes_per_token
from neuron_antagonism.engine.replay import CopiesEngine, Steps

Rows = list[dict[str, Any]]

LARGE = {"layers": 12, "width": 768, "ffn": 2048}
LENGTH, STEPS, ROUNDS = 200, 16, 3
SCORERS = ("ace", "tn", "qrnca", "kn")
TASKS = ("ner", "chunking", "sentiment", "commonsense")
ENGINES = ("replay", "rows", "reference")


def _integrated(engine: str, model: na.HookedModel, length: int = LENGTH, **options: Any) -> torch.Tensor:
    """IG of one question by p(c) over the vocabulary, which is what the peers are asked for."""
    return na.attribute(model, [question(length)], "qrnca", engine=engine, **options).example_scores[0]


@functools.cache
def _large() -> tuple[Any, na.HookedModel]:
    """The bare module and the hooked model, with weights of their own: hooking may take a module over."""
    return random_llama(**LARGE), hooked(random_llama(**LARGE))


def _peer(way: Callable[..., torch.Tensor], **options: Any) -> torch.Tensor:
    encoded = _large()[1].encode(question(LENGTH))
    token = encoded.letters[question(LENGTH).answer]
    return way(_large()[0], torch.tensor([encoded.ids]), token, STEPS, **options)


LARGE_WAYS: Mapping[str, Callable[[], torch.Tensor]] = {
    "replay": lambda: _integrated("replay", _large()[1]),
    "rows": lambda: _integrated("rows", _large()[1]),
    "reference": lambda: _integrated("reference", _large()[1]),
    "public procedure": lambda: _peer(procedure),
    "captum": lambda: _peer(by_captum),
}


def large() -> Rows:
    """Seconds a question: random LLaMA of 12 blocks, d 768, FFN 2,048, vocabulary 32,000, T = 200, m = 16.

    The last row is fifteen questions (five examples' proxies) that share 120 of their 200 tokens, as the prompts of a
    task share role, rule and demonstration.
    """
    scores: dict[str, torch.Tensor] = {}
    several = [question(LENGTH, seed, shared=120) for seed in range(15)]
    together = "replay, a question of fifteen"

    def keep(name: str) -> None:
        scores[name] = LARGE_WAYS[name]()

    ways = {name: functools.partial(keep, name) for name in LARGE_WAYS}
    ways[together] = functools.partial(na.attribute, _large()[1], several, "qrnca", engine="replay")
    for name in ("replay", "rows", together):
        ways[name]()
    taken = in_turns(ways, ROUNDS)
    taken[together] /= len(several)
    truth = scores["public procedure"]
    return [
        {
            "way": name,
            "seconds": taken[name],
            "public procedure / it": taken["public procedure"] / taken[name],
            "captum / it": taken["captum"] / taken[name],
            "relative difference": float((scores[name] - truth).abs().max() / truth.abs().max())
            if name in scores
            else None,
        }
        for name in ways
    ]


def share() -> Rows:
    """Share of the machine's matrix rate, measured in turns: the job's least operations over its seconds.

    `operations.py` has what the least is. Random LLaMA of 12 blocks, d 768, FFN 2,048, vocabulary 32,000, m = 16, one
    question alone. Blocks run every copy of a forward, those from the first changed block on, or each copy from its own
    block on, which is what is used where it is proved.
    """
    rows: Rows = []
    model, target = _large()[1], na.target_of("probability")
    for length in (200, 400):
        one = asked_of(model, [question(length)])
        path = Path.of("right", STEPS, "post")
        ways: dict[Steps, Callable[[], Any]] = {
            steps: functools.partial(
                CopiesEngine("replay", None, steps).integrated_gradients, model, one, [target], path
            )
            for steps in ("all", "late", "growing")
        }
        rates: list[float] = []
        taken: dict[Steps, list[float]] = {steps: [] for steps in ways}
        for run in ways.values():
            run()
        for _ in range(2 * ROUNDS + 1):
            rates.append(matrix_rate())
            for steps, run in ways.items():
                taken[steps].append(seconds(run))
        rate = statistics.median(rates)
        least = integrated(*LARGE.values(), 32_000, length, STEPS)
        for steps, found in taken.items():
            spent = statistics.median(found)
            rows.append(
                {
                    "T": length,
                    "blocks run": RUN[steps],
                    "least GFLOP": least / 1e9,
                    "seconds": spent,
                    "GFLOP/s": least / spent / 1e9,
                    "matrix GFLOP/s": rate / 1e9,
                    "share %": 100 * least / spent / rate,
                }
            )
    return rows


RUN: dict[Steps, str] = {"all": "all", "late": "from the first changed on", "growing": "from each copy's own on"}


def long() -> Rows:
    """Seconds a question of 400 tokens, alone: the large model, m = 16; the public procedure once."""
    encoded = _large()[1].encode(question(400))
    token, ids = encoded.letters[question(400).answer], torch.tensor([encoded.ids])
    ways = {
        "replay": functools.partial(_integrated, "replay", _large()[1], 400),
        "public procedure": functools.partial(procedure, _large()[0], ids, token, STEPS),
    }
    ways["replay"]()
    replay = in_turns({"replay": ways["replay"]}, ROUNDS)["replay"]
    public = in_turns({"public": ways["public procedure"]}, 1)["public"]
    return [
        {"way": "replay", "seconds": replay, "public procedure / it": public / replay},
        {"way": "public procedure", "seconds": public, "public procedure / it": 1.0},
    ]


def answers() -> Rows:
    """Seconds a block against the answer's length (NeuronLLM, Figure 9): one letter, or Σ log p over its tokens.

    The sum takes an attribution for each token, of the prompt and the tokens before it. 4 blocks, d 512, FFN 1,376,
    T = 128, m = 16; means of three runs, of the reference engine one.
    """
    model, rows = hooked(random_llama(4, 512, 1376)), []
    letter = functools.partial(_integrated, "replay", model, 128)
    letter()
    for tokens in (1, 2, 4, 8, 16):
        asked = [question(128 + t) for t in range(tokens)]
        summed = functools.partial(na.attribute, model, asked, "qrnca", engine="replay")
        means = {name: fmean(seconds(way) for _ in range(3)) for name, way in (("one", letter), ("sum", summed))}
        by_reference = seconds(functools.partial(na.attribute, model, asked, "qrnca", engine="reference"))
        rows.append(
            {
                "answer tokens": tokens,
                "one letter s": means["one"] / model.n_layers,
                "sum of log p s": means["sum"] / model.n_layers,
                "sum / letter": means["sum"] / means["one"],
                "sum, reference s": by_reference / model.n_layers,
            }
        )
    return rows


def peak(way: str) -> float:
    """MB beyond the loaded model; for a process of its own."""
    _large()
    _integrated("replay", _large()[1], length=8, steps=1)  # what torch allocates once
    peers = {"public procedure": procedure, "captum": by_captum}
    # they go layer by layer, and the lowest keeps the most
    work = functools.partial(_peer, peers[way], layers=slice(1)) if way in peers else LARGE_WAYS[way]
    return peak_megabytes(work)


def memory() -> Rows:
    """Peak memory of each way on the large model beyond the model itself, and what `replay` and `rows` had planned."""
    model = _large()[1]
    copies = -(-LARGE["layers"] // 4) * (STEPS + 1)
    planned = {kind: copies * bytes_per_token(model, LENGTH, kind, grad=True) / 2**20 for kind in ("replay", "rows")}
    return [{"way": way, "peak MB": peak_of(way), "planned MB": planned.get(way)} for way in LARGE_WAYS]


def scorers() -> Rows:
    """Several scorers together on the large model, against ACE alone."""
    model, asked = _large()[1], [question(LENGTH)]
    ways = {
        n: functools.partial(na.attribute_many, model, asked, SCORERS[:n], engine="replay")
        for n in range(1, len(SCORERS) + 1)
    }
    taken = in_turns(ways, 5)
    return [
        {"scorers": ", ".join(SCORERS[:n]), "seconds": taken[n], "times ACE alone": taken[n] / taken[1]} for n in ways
    ]


def ablation() -> Rows:
    """Exact ablation of every neuron, for one question."""
    demo = na.load_model("demo")
    one = na.load_task("ner").split(identify=1, select=0, evaluate=1).identify[0].proxies[:1]
    small = hooked(random_llama(4, 256, 704))
    rows: Rows = []
    for name, model, asked in (("demo", demo, one), ("random, 4 blocks, d 256", small, [question(LENGTH)])):
        taken = in_turns({e: functools.partial(na.ablate, model, asked, engine=e) for e in ("replay", "reference")}, 1)
        rows.append(
            {
                "model": name,
                "neurons": model.n_layers * model.n_neurons,
                "replay s": taken["replay"],
                "reference s": taken["reference"],
                "reference / replay": taken["reference"] / taken["replay"],
            }
        )
    return rows


def _growth(models: Mapping[int, tuple[na.HookedModel, int, int]], *, reference_rounds: int = 1) -> Rows:
    """Seconds of both engines for each value of what grows; `models` gives model, length and steps."""
    rows: Rows = []
    for value, (model, length, steps) in models.items():
        run = functools.partial(_integrated, model=model, length=length, steps=steps)
        run("replay")
        replay = in_turns({"replay": functools.partial(run, "replay")}, ROUNDS)["replay"]
        ids = model.encode(question(length)).ids
        prefix = in_turns({"prefix": functools.partial(Copies, model, [ids], "replay")}, ROUNDS)["prefix"]
        reference = in_turns({"reference": functools.partial(run, "reference")}, reference_rounds)["reference"]
        rows.append(
            {
                "value": value,
                "replay s": replay,
                "of it prefix s": prefix,
                "after the prefix s": replay - prefix,
                "reference s": reference,
                "reference / replay": reference / replay,
            }
        )
    first = rows[0]
    for row in rows:
        row["growth after the prefix"] = row["after the prefix s"] / first["after the prefix s"]
        row["growth of reference"] = row["reference s"] / first["reference s"]
    return rows


def growth_length() -> Rows:
    """Prompt length T (4 blocks, d 512, FFN 1,376, m = 16)."""
    model = hooked(random_llama(4, 512, 1376))
    return _growth({length: (model, length, STEPS) for length in (64, 128, 256, 512, 1024, 2048)})


def growth_layers() -> Rows:
    """Blocks L (d 256, FFN 704, T = 128, m = 16)."""
    return _growth({n: (hooked(random_llama(n, 256, 704)), 128, STEPS) for n in (2, 4, 8, 16)})


def growth_width() -> Rows:
    """Width d (4 blocks, FFN 2.75 d, T = 128, m = 16)."""
    return _growth({d: (hooked(random_llama(4, d, d * 11 // 4)), 128, STEPS) for d in (128, 256, 512, 1024)})


def growth_steps() -> Rows:
    """Steps m (4 blocks, d 256, FFN 704, T = 128)."""
    model = hooked(random_llama(4, 256, 704))
    return _growth({steps: (model, 128, steps) for steps in (4, 16, 64)})


def demo() -> Rows:
    """The demonstration model's sixty identification questions, four scorers together."""
    model = na.load_model("demo")
    splits = [na.load_task(task).split(identify=5, select=0, evaluate=1) for task in TASKS]
    scores: dict[str, torch.Tensor] = {}

    def run(engine: str) -> None:
        found = [na.attribute_many(model, split.identify, SCORERS, engine=engine)["ace"].scores for split in splits]
        scores[engine] = torch.stack(found)

    run("replay")
    taken = in_turns({engine: functools.partial(run, engine) for engine in ENGINES}, ROUNDS)
    truth = scores["reference"]
    return [
        {
            "engine": engine,
            "seconds": taken[engine],
            "reference / engine": taken["reference"] / taken[engine],
            "relative difference": float((scores[engine] - truth).abs().max() / truth.abs().max()),
        }
        for engine in ENGINES
    ]


def precision() -> Rows:
    """IG in float32, bfloat16 and float16 against float64: relative L2 error and shared neurons of the top 100."""
    split = na.load_task("ner").split(identify=5, select=0, evaluate=1)
    questions = [question(40, seed) for seed in range(6)]
    models = {
        "demo": (lambda dtype: na.load_model("demo", dtype=dtype), split.identify),
        "random, 4 blocks, d 256": (lambda dtype: hooked(random_llama(4, 256, 704).to(dtype)), questions),
    }
    rows: Rows = []
    for name, (load, asked) in models.items():
        truth = na.attribute_many(load(torch.float64), asked, SCORERS, engine="replay")
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            got = na.attribute_many(load(dtype), asked, SCORERS, engine="replay")
            for scorer in SCORERS:
                a, b = got[scorer].example_scores.double(), truth[scorer].example_scores.double()
                rows.append(
                    {
                        "model": name,
                        "dtype": str(dtype).removeprefix("torch."),
                        "scorer": scorer,
                        "relative error": float((a - b).norm() / b.norm()),
                        "top 100 shared, good": _shared(got[scorer].scores, truth[scorer].scores),
                        "top 100 shared, bad": _shared(-got[scorer].scores, -truth[scorer].scores),
                    }
                )
    return rows


def edits() -> Rows:
    """What an edit at all positions costs: whole forwards of eight prompts of 200 tokens, in units of an unedited one.

    The large model and the demonstration model (its own prompts of its questions); `range` learned from the prompts.
    """
    rows: Rows = []
    demo, split = na.load_model("demo"), na.load_task("ner").split(identify=8, select=0, evaluate=1)
    asked = {"large": [question(LENGTH, seed) for seed in range(8)], "demo": [e.proxies[0] for e in split.identify]}
    for name, model in (("large", _large()[1]), ("demo", demo)):
        prompts = [model.encode(q).ids for q in asked[name]]
        every = na.attribute(model, asked[name], "act")
        for units, chosen in (("100", every.good(100)), ("30 %", every.top_share(0.3))):
            options = {"answered": "all"}
            made = {
                "none": None,
                "silence": na.edit(chosen, "silence", positions="all"),
                "range": na.edit(chosen, "range", positions="all", options=options).fit(model, asked[name]),
                "range, soft": na.edit(chosen, "range", positions="all", options={**options, "inside": "soft"}).fit(
                    model, asked[name]
                ),
            }
            ways = {way: functools.partial(_forward, model, prompts, edit) for way, edit in made.items()}
            taken = in_turns(ways, 4 * ROUNDS)
            rows += [
                {
                    "model": name,
                    "units": units,
                    "edit": way,
                    "seconds": taken[way],
                    "it / unedited": taken[way] / taken["none"],
                }
                for way in ways
            ]
    return rows


def _forward(model: na.HookedModel, prompts: list[tuple[int, ...]], edit: na.Edit | None) -> None:
    with torch.no_grad(), model.edited(edit) if edit is not None else contextlib.nullcontext():
        model.last_logits(prompts)


def _shared(a: torch.Tensor, b: torch.Tensor, k: int = 100) -> int:
    top = [set(scores.flatten().topk(k).indices.tolist()) for scores in (a, b)]
    return len(top[0] & top[1])


SECTIONS: Mapping[str, Callable[[], Rows]] = {
    "large": large,
    "share": share,
    "long": long,
    "answers": answers,
    "memory": memory,
    "scorers": scorers,
    "demo": demo,
    "ablation": ablation,
    "length": growth_length,
    "layers": growth_layers,
    "width": growth_width,
    "steps": growth_steps,
    "precision": precision,
    "edits": edits,
}
