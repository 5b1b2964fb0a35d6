"""Real peers for benchmarks: `gossip train` processes on this computer that begin together.

Owns starting and ending them, and what they have written. Does not know what is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GOSSIP = [str(Path(sys.executable).parent / "gossip")]
START_S = 60.0
WHOLE_RUN_S = 3600.0

Event = dict[str, Any]


def train_together(task: str, flags: Sequence[str], *, peers: int, folder: Path) -> list[list[Event]]:
    """The events of so many peers that wait for each other; each sees its share of the data.

    Raises RuntimeError where one of them fails.
    """
    with _started() as processes:
        common = [*flags, "--wait-for", str(peers), "--host-maddr", "/ip4/127.0.0.1/tcp/0"]
        for number in range(1, peers + 1):
            own = [*common, "--share", f"{number}/{peers}"]
            if number > 1:
                own += ["--initial-peer", _address(folder / "1" / "metrics.jsonl", processes[0])]
            processes.append(_start(task, own, out=folder / str(number)))
        return _ended(processes, folder)


def train_alone(task: str, flags: Sequence[str], *, seeds: Sequence[int], folder: Path) -> list[list[Event]]:
    """The events of as many peers as seeds, at the same time, that know nothing of each other; each sees all data."""
    with _started() as processes:
        for number, seed in enumerate(seeds, start=1):
            processes.append(_start(task, [*flags, "--alone", "--seed", str(seed)], out=folder / str(number)))
        return _ended(processes, folder)


def _ended(processes: Sequence[subprocess.Popen[bytes]], folder: Path) -> list[list[Event]]:
    for process in processes:
        if process.wait(WHOLE_RUN_S):
            raise RuntimeError(f"a peer ended with {process.returncode}")
    return [_events(folder / str(number) / "metrics.jsonl") for number in range(1, len(processes) + 1)]


@contextmanager
def _started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended, by their ids, however the block ends."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(task: str, flags: Sequence[str], *, out: Path) -> subprocess.Popen[bytes]:
    command = [*GOSSIP, "train", task, *flags, "--out", str(out), "--log-format", "plain"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _address(metrics: Path, process: subprocess.Popen[bytes]) -> str:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        for event in _events(metrics):
            if event["event"] == "started":
                return str(event["addresses"][0])
        time.sleep(0.05)
    raise RuntimeError("the first peer did not start")


def _events(metrics: Path) -> list[Event]:
    if not metrics.exists():
        return []
    return [json.loads(line) for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]
