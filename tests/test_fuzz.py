"""A few thousand changed files to every reader: results, or one line that says what is wrong; see `fuzz.py`."""

from __future__ import annotations

import random
from pathlib import Path

import fuzz
import pytest

INPUTS = 4000
"""In all; slow readers get fewer."""

pytestmark = pytest.mark.filterwarnings("ignore::neuron_antagonism.errors.AntagonismWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def readers(folder: Path) -> dict[str, fuzz.Target]:
    return {target.name: target for target in fuzz.targets(folder)}


NAMES = (
    *("ner", "chunking", "sentiment", "commonsense", "task-yaml", "task-toml", "rows-csv", "rows-tsv", "rows-arc"),
    *(
        "task-harness",
        "rows-objects",
        "rows-marked",
        "run-yaml",
        "run-toml",
        "run-json",
        "suite",
        "neurons-csv",
        "neurons-json",
    ),
    *("published-csv", "published-json", "unit", "questions"),
)


def test_every_reader_is_tried(readers):
    """The tests below name all of them, and each reads its own seeds: changes start from files that are valid."""
    assert set(NAMES) == set(readers)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_file_holds(name, readers, folder, monkeypatch):
    """Changed files and random bytes give results or an AntagonismError of one line, each within two seconds."""
    for variable, value in fuzz.OFFLINE.items():
        monkeypatch.setenv(variable, value)
    reader, tally = readers[name], fuzz.Tally()
    path = folder / f"input{reader.ending}"
    made = fuzz.inputs(reader, random.Random(f"short|{name}"))
    count = int(INPUTS * reader.share / sum(one.share for one in readers.values()))
    before = fuzz.peak()
    with fuzz.Watch() as watch:
        for seed in reader.files:
            fuzz.feed(reader, seed, path, tally, watch)
        assert tally.read == len(reader.seeds), "a seed is refused"
        for _ in range(count):
            fuzz.feed(reader, next(made), path, tally, watch)
    assert not [(failure.error, failure.data[:500]) for failure in tally.failures]
    assert fuzz.peak() - before < fuzz.MEMORY
    assert tally.refused
