"""Whatever bytes a file holds, a reader gives results or one of this package's errors, in bounded time and memory.

    python tests/fuzz.py --inputs 1000000 --seed 0

Inputs are valid files, changed at random, and random bytes; `test_fuzz.py` runs a few of each. What a reader fails on
is shown, and written to a directory where one is given.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Self

import numpy as np

import neuron_antagonism as na
from neuron_antagonism import tensors
from neuron_antagonism.plugin.manager import registry
from neuron_antagonism.runs.config import RunConfig
from neuron_antagonism.runs.runfile import merged, read_run_file
from neuron_antagonism.suites.spec import read_suite
from neuron_antagonism.tasks.load import LoadedTask, load_task
from neuron_antagonism.tasks.splits import Split, SplitReport
from neuron_antagonism.tasks.wording import Wording

SECONDS = 2.0
"""Of processor time for one input, at most."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
"""An input may name a data set on the Hub."""
MEMORY = 512 * 2**20
"""Bytes that all inputs together may add to the process."""

# --- valid files ---------------------------------------------------------------------------------------------------

NER = """The\tO
old\tO
Ada\tperson-scholar
Lovelace\tperson-scholar
met\tO
Babbage\tperson-scholar
in\tO
London\tlocation-GPE

Acme\torganization-company
bought\tO
Zed\tproduct-other
.\tO

Paris\tlocation-GPE
Paris\tperson-actor
slept\tO
"""
CHUNKING = """The DT B-NP
old JJ I-NP
dog NN I-NP
ran VBD B-VP
to TO B-PP
town NN B-NP
and CC O
slept VBD B-VP
. . O

He PRP B-NP
was VBD B-VP
very RB B-ADJP
glad JJ I-ADJP
today NN B-NP
"""
SENTIMENT = r"""(3 (2 It) (4 (2 is) (4 (2 very) (3 good))))
(1 (2 (2 Not) (2 so)) (0 (2 -LRB-) (1 bad\/worse)))
(2 word)
"""
COMMONSENSE = "".join(
    json.dumps(
        {
            "answerKey": key,
            "id": str(number),
            "question": {
                "question_concept": "x",
                "choices": [{"label": label, "text": f"thing {label}{number}"} for label in "ABCDE"],
                "stem": f"Where is it {number}?",
            },
        }
    )
    + "\n"
    for number, key in enumerate("ABE")
)
TASK = """name: topic
data: {test: rows.csv}
columns: {text: question, options: [a, b, c, d], answer: key, meta: {source: paper}}
answers: letter
n_options: 4
role: You sort.
rule: "Reply with one letter only: A, B, C or D."
stems: ["{text}?", "{source}: {text}", 'Say {{x}} {text}']
demonstration: {text: t, answer: w, distractors: [x, y, z], meta: {source: Times}}
"""
LABELS = """data: rows.csv
columns: {text: question, answer: key}
labels: {A: &one world, B: sports, C: business, D: science}
fillers: [weather]
stems:
  - "{text}"
  - |
    Read this: {text}
  - >-
    {text}
    Topic?
"""
HARNESS = """task: topic
dataset_path: csv
dataset_kwargs: {data_files: {test: rows.csv}}
test_split: test
doc_to_text: "{{question}}?{% if paper %} ({{ paper | upper }}){% endif %}"
doc_to_choice: "{{[a, b, c, d]}}"
doc_to_target: "{{'ABCD'.index(key)}}"
fewshot_config: {samples: [{question: t, a: w, b: x, c: y, d: z, key: A, paper: Times}]}
metadata: {version: 1.0}
"""
TASK_TOML = """name = "topic"
data = "rows.csv"
n_options = 4
stems = ["{text}?", "{source}: {text}", '''
of {text}''']
[columns]
text = "question"
options = ["a", "b", "c", "d"]
answer = "key"
meta.source = "paper"
[demonstration]
text = "t"
answer = "w"
distractors = ["x", "y", "z"]
meta = {source = "Times"}
"""
CSV = '''question,a,b,c,d,key,paper
What is it?,red,green,blue,white,A,Times
"Where, then?","in ""town""",out,up,down,C,Post
Why?,"two
lines",2,3,4,D,Times
'''
TSV = "a text;one;two;three;four\nanother;five;six;seven;eight\n"
ARC = """{"question": "What?", "choices": {"text": ["iron", "tin", "lead"], "label": ["1", "2", "3"]}, "answerKey": "3"}
{"question": "Who?", "choices": {"text": ["a", "b", "c", "d"], "label": ["A", "B", "C", "D"]}, "answerKey": "B"}
"""
OBJECTS = """[{"question": "What?", "options": {"A": "iron", "B": "tin", "C": "lead", "D": "gold"}, "answer": "C"},
 {"question": "Who?", "options": [{"key": "A", "text": "one"}, {"key": "B", "text": "two"}], "answer": "B"},
 {"question": "How?", "options": ["A) 70", "B) 80", "C) 90.5", "D) null"], "answer": "D"}]
"""
MARKED = """{"question": "What?", "targets": {"iron is": 1, "tin is": 0, "lead is": 0}}
{"question": "Who?", "targets": {"all": false, "none": true}}
"""
RUN = """model: demo
tasks: [ner, sentiment]
data: {ner: test.txt, sentiment: [test.txt, train.txt]}
scorers: [ace, kn]
options:
  ace: {z: 300, ambiguous: keep}
  kn: {threshold: 0.3}
budget: 40
seed: 0
steps: auto
positions: last
device_map: {"": 0, head: cpu}
trust_remote_code: false
max_tokens: null
"""
RUN_TOML = """tasks = ["ner"]
scorers = ["ace", "kn"]
budget = 40
identify = 1
select = 0x2
evaluate = 1_000
[options]
ace = {z = 3e2, ambiguous = "keep"}
kn.threshold = 0.3
"""
RUN_JSON = json.dumps(
    {"schema": 1, "config": {"tasks": ["ner"], "budget": 40, "options": {"ace": {"z": 3}}, "data": {}, "steps": 16}}
)
SUITE = """name: my-suite
about: measures something
tasks: [sentiment, my.yaml]
form: letters
identify: 5
site: post
parts:
  - {part: masking, name: m, shares: [0.1, 0.3], taus: &taus [2.0, 1e1], inside: mean, layers: [0]}
  - {part: distributions, name: d, share: 0.3}
  - part: gating
    name: g
    taus: *taus
    scorers: [ace, tn]
    ratio: 0.5
  - {part: antagonism, name: a, n: 20, draws: 2, positions: all}
"""
NEURONS = "layer,neuron,score,role,site\n0,17,1.5,good,post\n3,2,-0.5,bad,post\n1,0,,good,\n"
NEURONS_JSON = '[{"layer": 0, "neuron": 17, "score": 1.5}, {"layer": 3, "neuron": 2, "score": -0.5, "site": "post"}]'
QUESTIONS = """{"set": "identify", "understood": true, "item": {"text": "t", "answer": "a", "distractors": ["b", "c", \
"d"], "meta": {"k": "v"}, "part": "", "unit": ""}, "proxies": [{"prompt": "p", "options": ["a", "b", "c", "d"], \
"answer": 0, "letters": ["A", "B", "C", "D"]}]}
{"set": "natural", "right": [3, 0], "proxies": [3, 3], "units": [0, 1], "options": 4, "blind": {"longest": 0.25}}
"""

ARRAYS = {"scores": np.arange(6, dtype=np.float32).reshape(2, 3), "right": np.array([[1, 0]], dtype=np.uint8)}

# --- readers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A reader, and files that it reads.

    Args:
        name: what is read.
        ending: of the file's name.
        seeds: valid files.
        read: reads a file; raises AntagonismError for what it refuses.
        share: how many inputs it gets, relative to the others: slow readers get fewer.
    """

    name: str
    ending: str
    seeds: tuple[str | bytes, ...]
    read: Callable[[Path], object]
    share: float = 1.0

    @property
    def files(self) -> list[bytes]:
        """What its seeds' files hold."""
        return [seed.encode() if isinstance(seed, str) else seed for seed in self.seeds]


def targets(folder: Path) -> list[Target]:
    """Every reader, with the files beside the input that some need."""

    def items(name: str) -> Callable[[Path], object]:
        task = registry().make(na.Task, name)
        return lambda path: LoadedTask(task, str(path), None).pools(Wording(task), 0, SplitReport())

    def stated(path: Path) -> object:
        loaded = load_task(path)
        return loaded.pools(Wording(loaded.task), 0, SplitReport())

    def table(name: str, text: str) -> Callable[[Path], object]:
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        task = registry().task(folder / f"{name}.yaml")
        return lambda path: LoadedTask(task, str(path), None).pools(Wording(task), 0, SplitReport())

    def run_file(path: Path) -> object:
        return RunConfig.of(**merged(read_run_file(path), {})).model_dump_json()

    def suite(path: Path) -> object:
        return json.dumps(read_suite(path).model_dump(mode="json"), allow_nan=False).encode()

    def published(path: Path) -> object:
        return registry().make(na.Scorer, "neurons", {"file": str(path)})

    (folder / "rows.csv").write_text(CSV, encoding="utf-8")
    options = "data: x\ncolumns: {text: question, options: "
    return [
        Target("ner", ".txt", (NER,), items("ner"), 6),
        Target("chunking", ".txt", (CHUNKING,), items("chunking"), 4),
        Target("sentiment", ".txt", (SENTIMENT,), items("sentiment"), 6),
        Target("commonsense", ".jsonl", (COMMONSENSE,), items("commonsense"), 6),
        Target("task-yaml", ".yaml", (TASK, LABELS), stated, 0.5),
        Target("task-harness", ".yaml", (HARNESS,), stated, 0.2),
        Target("task-toml", ".toml", (TASK_TOML,), stated),
        Target("rows-csv", ".csv", (CSV,), table("csv", options + "[a, b, c, d], answer: key}"), 3),
        Target(
            "rows-tsv",
            ".csv",
            (TSV,),
            table(
                "tsv",
                'data: x.csv\ndelimiter: ";"\nheader: [t, o, p, q, r]\n'
                "columns: {text: t, answer: o, distractors: [p, q, r]}",
            ),
            3,
        ),
        Target("rows-arc", ".jsonl", (ARC,), table("arc", options + "choices.text, answer: answerKey}"), 3),
        Target("rows-objects", ".json", (OBJECTS,), table("objects", options + "options, answer: answer}"), 3),
        Target("rows-marked", ".jsonl", (MARKED,), table("marked", options + "targets, answer: targets}"), 3),
        Target("run-yaml", ".yaml", (RUN,), run_file, 0.5),
        Target("run-toml", ".toml", (RUN_TOML,), run_file, 2),
        Target("run-json", ".json", (RUN_JSON,), run_file, 3),
        Target("suite", ".yaml", (SUITE,), suite, 0.5),
        Target("neurons-csv", ".csv", (NEURONS,), na.NeuronSet.load, 3),
        Target("neurons-json", ".json", (NEURONS_JSON,), na.NeuronSet.load, 3),
        Target("published-csv", ".csv", (NEURONS,), published, 3),
        Target("published-json", ".json", (NEURONS_JSON,), published, 3),
        Target("unit", ".safetensors", (tensors.pack(ARRAYS, {"kind": "x", "rows": [1, None]}),), tensors.read, 3),
        Target("questions", ".jsonl", (QUESTIONS,), Split.load, 3),
    ]


# --- changes -------------------------------------------------------------------------------------------------------

ODD = [
    *("", "0", "-1", "1.5", "-0.0", "1e999", "nan", "-inf", "NaN", "Infinity", "9" * 25, "9" * 5000, "0x" + "f" * 5000),
    *("1:1:1:1", "1_000", "0o17", "2024-13-99", "2024-01-01", "null", "~", "true", "false", "yes", "[]", "{}", '""'),
    *("''", "[", "]", "{", "}", ",", ":", ": ", "- ", "? ", "|", ">", "&a ", "*a", "*one", "*taus", "!!int x", "!!set"),
    *("!!binary gA==", "!!timestamp x", "!!bool x", "!!float", "!!python/object:os.system x", "<<: *a", "<<: 1", "%"),
    *("#", '"', "'", '"""', "'''", "\\", "\\u0000", "\\ud83d", '"\\ud83d"', "\\U00110000", "\\x", "a.b.c", "../x"),
    *("\t", "\n", "\r", "\r\n", "\n\n", " ", "\0", "\1", "\x1b", "\x7f", "\x85", "\u00a0", "\u2028", "\ufeff"),
    *("é", "e\u0301", "漢", "😀", "\u200d", "\u202e", "١٢", "²", "Ⅷ", "ı", "ﬁ", "ǅ", "\U0010ffff", "\ufffd", "\ufffe"),
    *("O", "B-", "I-NP", "person-", "-person", "(", ")", "(3 ", "A", "E", "label", "text", "A)", "(B) x", "{text}"),
    *("{text.x}", "{text!r:>9}", "hub:", "file", "config", "schema", "trust_remote_code: true", "x: [", "[[x]]", "x="),
]
ODD_BYTES = [
    *(text.encode() for text in ODD),
    *(b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe2\x80"),
    b"\xff\xfe\0\0",
]
VALUES = [
    *(b"null", b"true", b"[]", b"{}", b'""', b'" "', b"0", b"-1", b"1.5", b"1e400", b"-0.0", b"NaN", b"9" * 400),
    *(b"[[]]", b'{"a": 1}', b'[{"text": "x"}]', b'{"text": ["x", "y"], "label": []}', b'["x", "x"]', b'["x", 1, null]'),
    *(b'{"": ""}', b'{"x": {"y": []}}', b'"\\ud83d"', b'"\\u0000"', b'"A"', b'"a\\nb"', b'"../../x"', b"[1, 0, 0]"),
]
WORD = re.compile(rb"[A-Za-z0-9_.]+")
VALUE = re.compile(rb'"[^"\n]*"|[\w.+-]+|\[[^\[\]]*\]|\{[^{}]*\}')


def changed(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The bytes with one change."""
    kind = rng.randrange(16)
    if not data:
        return rng.choice(ODD_BYTES)
    start = rng.randrange(len(data))
    end = min(len(data), start + int(2 ** (rng.random() * 8)))
    if kind == 0:  # a bit
        return data[:start] + bytes([data[start] ^ 1 << rng.randrange(8)]) + data[start + 1 :]
    if kind == 1:
        return data[:start] + data[end:]
    if kind == 2:
        return data[:start]
    if kind == 3:  # a piece again, a few or very many times
        times = rng.choice((2, 2, 3, 10, 300))
        return data[:start] + data[start:end] * times + data[end:]
    if kind == 4:
        other = rng.choice(others)
        return data[:start] + other[rng.randrange(len(other)) :]
    if kind in (5, 6):
        return data[:start] + rng.choice(ODD_BYTES) + data[start if kind == 5 else end :]
    if kind in (7, 8, 9):  # a word by another, of a list or of its own
        words = [found.span() for found in WORD.finditer(data)]
        if not words:
            return data + rng.choice(ODD_BYTES)
        first, last = rng.choice(words)
        taken = rng.choice(words)
        new = data[slice(*taken)] if kind == 9 else rng.choice(ODD_BYTES)
        return data[:first] + new + data[last:]
    if kind in (14, 15):  # a value of JSON or YAML by one of another kind
        values = [found.span() for found in VALUE.finditer(data)]
        if not values:
            return rng.choice(VALUES)
        first, last = rng.choice(values)
        return data[:first] + rng.choice(VALUES) + data[last:]
    if kind in (10, 11, 12):
        lines = data.split(b"\n")
        here, there = rng.randrange(len(lines)), rng.randrange(len(lines))
        if kind == 10:
            lines.insert(there, lines[here])
        elif kind == 11:
            lines[here], lines[there] = lines[there], lines[here]
        else:
            del lines[here]
        return b"\n".join(lines)
    mark = rng.choice((b"[", b"{", b"(", b'{"a":', b"- ", b"a: ", b"(3 ", b"a.", b"\\", b'"', b"\n", b" ", b"x", b"9"))
    return data[:start] + mark * int(2 ** (rng.random() * 13)) + data[start:]


def inputs(target: Target, rng: random.Random) -> Iterator[bytes]:
    """Inputs for a reader, without end: its seeds changed one or more times, and now and then random bytes."""
    seeds = target.files
    while True:
        if rng.randrange(50) == 0:
            yield rng.randbytes(rng.randrange(200))
            continue
        data = rng.choice(seeds)
        while True:
            data = changed(data, rng, seeds)[: 2**17]
            if rng.random() < 0.6:
                break
        if rng.randrange(200) == 0:
            encoding = rng.choice(("utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"))
            data = data.decode("utf-8", "replace").encode(encoding, "replace")
        yield data


# --- reading them --------------------------------------------------------------------------------------------------


class TooSlow(BaseException):
    """An input took too long; no Exception, so that no reader takes it for one of its own."""


@dataclass
class Failure:
    """What a reader did that it must not."""

    target: str
    error: str
    data: bytes


@dataclass
class Tally:
    """What became of a reader's inputs."""

    fed: int = 0
    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    failures: list[Failure] = field(default_factory=list)


class Watch:
    """Within its context the processor's time for one input, from `begin` to `end`, is limited."""

    PARTS = 4

    def __enter__(self) -> Self:
        self.passed, self.reading = 0, False
        self.before = signal.signal(signal.SIGPROF, self._pass)
        signal.setitimer(signal.ITIMER_PROF, SECONDS / self.PARTS, SECONDS / self.PARTS)
        return self

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self.before)

    def begin(self) -> None:
        self.passed, self.reading = 0, True

    def end(self) -> None:
        self.reading = False

    def _pass(self, number: int, frame: FrameType | None) -> None:
        self.passed += 1
        if self.reading and self.passed > self.PARTS:
            self.reading = False
            raise TooSlow(f"more than {SECONDS} s")


def feed(target: Target, data: bytes, path: Path, tally: Tally, watch: Watch) -> None:
    """Let a reader read one input, and note what it does."""
    path.write_bytes(data)
    tally.fed += 1
    start = time.perf_counter()
    watch.begin()
    try:
        target.read(path)
        tally.read += 1
    except na.AntagonismError as error:
        tally.refused += 1
        # what a plugin does not refuse itself is refused by whoever calls it, as the plugin's own mistake
        wrong = "a mistake" if isinstance(error, na.PluginError) else "" if shown(str(error)) else "no line"
        if wrong:
            tally.failures.append(Failure(target.name, f"{wrong}: {error!s:.300}", data))
    except (Exception, TooSlow) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        tally.failures.append(Failure(target.name, f"{type(error).__name__} at {where}: {error!s:.200}", data))
    watch.end()
    seconds = time.perf_counter() - start
    tally.seconds += seconds
    tally.slowest = max(tally.slowest, seconds)


def shown(line: str) -> bool:
    """Whether a line holds only what a terminal shows."""
    return bool(line) and all(c.isprintable() or unicodedata.category(c) == "Zs" for c in line)


def peak() -> int:
    """The most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """The long form; exit code 1 where a reader failed."""
    parser = argparse.ArgumentParser(description="Feeds changed files to every reader.")
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs in all")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so many, if not done before")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one reader")
    parser.add_argument("--save", type=Path, help="a directory for inputs that a reader failed on")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ |= OFFLINE
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=place) as name, Watch() as watch:
        folder = Path(name)
        chosen = [target for target in targets(folder) if given.only in (None, target.name)]
        tallies = {target.name: Tally() for target in chosen}
        whole = sum(target.share for target in chosen)
        before, start = peak(), time.monotonic()
        done, shown = 0, start
        # in rounds, so that every reader has had its share whenever this is interrupted
        made = {target.name: inputs(target, random.Random(f"{given.seed}|{target.name}")) for target in chosen}
        due = dict.fromkeys(tallies, 0.0)
        while done < given.inputs and time.monotonic() - start < given.seconds:
            for target in chosen:
                due[target.name] += 1000 * target.share / whole
                while due[target.name] >= 1 and done < given.inputs:
                    due[target.name] -= 1
                    tally = tallies[target.name]
                    earlier = len(tally.failures)
                    feed(target, next(made[target.name]), folder / f"input{target.ending}", tally, watch)
                    done += 1
                    for failure in tally.failures[earlier:]:
                        _report(failure, kinds, given.save)
                    if time.monotonic() - shown >= 5:
                        shown = time.monotonic()
                        print(f"{done:,} inputs, {sum(kinds.values())} failures, {shown - start:.0f} s", flush=True)
        for target in chosen:
            one = tallies[target.name]
            counts = f"{one.fed:>9,} inputs: {one.read:>9,} read {one.refused:>9,} refused {len(one.failures):>4} bad"
            print(f"{target.name:15s} {counts} {one.seconds:8.1f} s, slowest {one.slowest:.3f} s")
        grown = peak() - before
        print(f"{done:,} inputs, {sum(kinds.values()):,} failures, {time.monotonic() - start:.0f} s, ", end="")
        print(f"{grown / 2**20:.0f} MiB more than before")
    return 1 if kinds or grown > MEMORY else 0


def _report(failure: Failure, kinds: Counter[str], save: Path | None) -> None:
    """Show each kind of failure once."""
    kind = f"{failure.target}: {failure.error.partition(':')[0]}"
    kinds[kind] += 1
    if kinds[kind] == 1:
        print(f"FAILED {failure.target}: {failure.error}\n  on {failure.data[:200]!r}", flush=True)
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            (save / f"{failure.target}.{len(kinds)}").write_bytes(failure.data)


if __name__ == "__main__":
    sys.exit(main())
