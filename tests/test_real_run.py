"""The whole of `run` on real input: a real checkpoint and the four real data sets in their official files."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import SHARED

SOURCES = {
    "ner": "fewnerd/inter_test.txt,fewnerd/inter_train_sample.txt",
    "chunking": "conll2000/test.txt,conll2000/train.txt",
    "sentiment": "sst/test.txt,sst/train.txt",
    "commonsense": "commonsenseqa/dev_rand_split.jsonl,commonsenseqa/train_rand_split.jsonl",
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside this checkout")
def test_real_checkpoint_and_real_data(tmp_path):
    """At chance, nothing breaks: the table is whole, what was left out is counted, every figure is a number or n/a."""
    command = [sys.executable, "-m", "neuron_antagonism", "run", "--model", str(SHARED / "stories260k")]
    for task, files in SOURCES.items():
        paths = ",".join(str(SHARED / file) for file in files.split(","))
        command += ["--task", task, "--data", f"{task}={paths}"]
    command += ["--identify", "2", "--select", "4", "--evaluate", "4", "--budget", "20"]
    command += ["--scorer", "ace", "--scorer", "kn", "--scorer", "act", "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert set(results["tasks"]) == set(SOURCES)
    for found in results["tasks"].values():
        assert found["before"]["acc"] <= 0.7
        assert len(found["cells"]["held-out"]) == 6
        assert found["planted"] is None
    # most chunking prompts are longer than this model's 512 tokens: left out, and counted
    assert results["tasks"]["chunking"]["split"]["too_long"] > 100
    assert results["tasks"]["ner"]["split"]["duplicates"] > 900
