"""Runs that are killed at random moments and go on, until nothing is missing.

`python tests/faults.py --kills 50 --backend serial` (or processes, ray) kills so many times; a run that has come to its
end is compared with one that nobody disturbed, and the next one begins.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from directories import FAST, same_results, units

When = Callable[[Path, float], bool]
"""Whether it is time, of a run's directory and the seconds since its start."""

PATIENCE = 600
"""Seconds after which a run is stuck."""


@dataclass
class Kills:
    """What has happened to runs of one command.

    Args:
        command: the words after `neuron-antagonism run`, but for `--out`.
        log: called with a line about every kill and every end.
        signals: how many processes were sent each signal, by its name.
        again: units that were finished and have been written again, which none should be.
    """

    command: list[str]
    log: Callable[[str], object] = print
    signals: dict[str, int] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def start(self, out: Path) -> subprocess.Popen[str]:
        """The run in a process, and a process group, of its own."""
        words = [sys.executable, "-m", "neuron_antagonism", "run", *self.command, "--out", str(out)]
        # threads that wait for one another on a busy machine would take minutes
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        return subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def stop(self, out: Path, when: When, number: int, *, group: bool = False) -> Ended:
        """Go on with a run, and send it a signal.

        Args:
            out: its directory.
            when: asked over and over, until it is true.
            number: the signal.
            group: whether every process of the run gets it, or the driver alone.
        """
        before, process, start = units(out), self.start(out), time.monotonic()
        while process.poll() is None and not when(out, time.monotonic() - start):
            assert time.monotonic() - start < PATIENCE, "stuck"
            time.sleep(0.002)
        sent = time.monotonic()
        if process.poll() is None:
            name = signal.Signals(number).name
            self.signals[name] = self.signals.get(name, 0) + 1
            os.killpg(process.pid, number) if group else process.send_signal(number)
        said, told = process.communicate(timeout=PATIENCE)
        ended = Ended(process.returncode, said, told, time.monotonic() - sent)
        self._compare(before, units(out))
        self.log(f"{sent - start:6.2f} s: exit {ended.code}, {len(before)} -> {len(units(out))} units")
        return ended

    def finish(self, out: Path) -> Ended:
        """Go on with a run, undisturbed."""
        return self.stop(out, lambda *_: False, signal.SIGKILL)

    def _compare(self, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> None:
        # one that is there stays there, as it was
        self.again += [name for name, stat in before.items() if after.get(name) != stat]


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code, what it said on stdout and stderr, and seconds from the signal to its end."""

    code: int
    said: str
    told: str
    seconds: float


def many(model: Path, backend: str, kills: int, seed: int = 0, log: Callable[[str], object] = print) -> Kills:
    """Kill runs of a tiny model at random moments, until there were so many kills.

    Args:
        model: a checkpoint.
        backend: where tasks are carried out.
        kills: how many.
        seed: of the moments.
        log: called with a line about every kill and every end.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "run.json"
        config.write_text(json.dumps({**FAST, "model": str(model)}), encoding="utf-8")
        words = ["--config", str(config), "--quiet", "--backend", backend]
        found = Kills([*words, *(() if backend == "serial" else ("--workers", "2"))], log)
        start = time.monotonic()
        undisturbed = Kills(["--config", str(config), "--quiet"], log)
        assert undisturbed.finish(Path(folder) / "undisturbed").code == 0
        whole, number = time.monotonic() - start, 0
        while found.signals.get("SIGKILL", 0) < kills:
            out = Path(folder) / f"run{number}"
            for moment in _moments(rng, whole):
                # from time to time the machine goes down, workers and all
                code = found.stop(out, moment, signal.SIGKILL, group=rng.random() < 0.3).code
                assert code in (0, -signal.SIGKILL), code
                if code == 0 or found.signals.get("SIGKILL", 0) >= kills:
                    break
            ended = found.finish(out)
            assert ended.code == 0, ended.told
            assert same_results(out, Path(folder) / "undisturbed"), "it says something else than an undisturbed run"
            assert units(out).keys() == units(Path(folder) / "undisturbed").keys()
            log(f"run {number} is whole")
            shutil.rmtree(out)
            number += 1
    return found


def after(some: float) -> When:
    """Some seconds after the start."""
    return lambda _, seconds: seconds > some


def grown(more: int, soon: float = 0.0) -> When:
    """Some seconds after so many more units are there."""
    seen: list[int] = []
    since: list[float] = []

    def when(out: Path, seconds: float) -> bool:
        seen.append(len(units(out)))
        if seen[-1] - seen[0] >= more:
            since.append(seconds)
        return bool(since) and seconds - since[0] >= soon

    return when


def _moments(rng: random.Random, whole: float) -> Iterator[When]:
    while True:
        yield after(rng.uniform(0, whole))
        yield grown(rng.randrange(1, 8), rng.uniform(0, 0.05))


def main() -> None:
    """Kill as often as the command line says, and say what has come of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--backend", default="serial", choices=["serial", "processes", "ray"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    import tiny

    with tempfile.TemporaryDirectory() as folder:
        tiny.saved(Path(folder) / "model")
        found = many(
            Path(folder) / "model", given.backend, given.kills, given.seed, lambda line: print(line, flush=True)
        )
    print(f"{found.signals}, {len(found.again)} finished units were made again")
    sys.exit(bool(found.again))


if __name__ == "__main__":
    main()
