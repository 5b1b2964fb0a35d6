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

import torch

from gossiptrain.training.runs.checkpoints import load_checkpoint

GOSSIP = [str(Path(sys.executable).parent / "gossip")]
START_S = 180.0
WHOLE_RUN_S = 3600.0

Event = dict[str, Any]


def train_together(task: str, flags: Sequence[str], *, peers: int, folder: Path) -> list[list[Event]]:
    """The events of so many peers that wait for each other; each sees its share of the data.

    Raises RuntimeError where one of them fails.
    """
    with started_processes() as processes:
        common = [*flags, "--wait-for", str(peers), "--host-maddr", "/ip4/127.0.0.1/tcp/0"]
        for number in range(1, peers + 1):
            own = [*common, "--share", f"{number}/{peers}"]
            if number > 1:
                own += ["--initial-peer", address_of(folder / "1", processes[0])]
            processes.append(start_peer(task, own, out=folder / str(number)))
        return _ended(processes, folder)


def train_alone(task: str, flags: Sequence[str], *, seeds: Sequence[int], folder: Path) -> list[list[Event]]:
    """The events of as many peers as seeds, at the same time, that know nothing of each other; each sees all data."""
    with started_processes() as processes:
        for number, seed in enumerate(seeds, start=1):
            processes.append(start_peer(task, [*flags, "--alone", "--seed", str(seed)], out=folder / str(number)))
        return _ended(processes, folder)


def _ended(processes: Sequence[subprocess.Popen[bytes]], folder: Path) -> list[list[Event]]:
    for process in processes:
        if process.wait(WHOLE_RUN_S):
            raise RuntimeError(f"a peer ended with {process.returncode}")
    return [events_of(folder / str(number)) for number in range(1, len(processes) + 1)]


@contextmanager
def started_processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended, by their ids, however the block ends."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def start_peer(task: str, flags: Sequence[str], *, out: Path, log: Path | None = None) -> subprocess.Popen[bytes]:
    """log: where everything that is logged goes; else warnings go where those of this program do."""
    command = [*GOSSIP, "train", task, *flags, "--out", str(out), "--log-format", "plain"]
    if log is None:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with log.open("wb") as file:
        return subprocess.Popen([*command, "--log-level", "debug"], stdout=subprocess.DEVNULL, stderr=file)


def different_models(folders: Sequence[Path]) -> int:
    """How many different models, bit by bit, the last checkpoints in these run folders hold."""
    different: list[dict[str, torch.Tensor]] = []
    for model in (load_checkpoint(folder).model_state() for folder in folders):
        if not any(all(torch.equal(model[name], other[name]) for name in model) for other in different):
            different.append(model)
    return len(different)


def address_of(out: Path, process: subprocess.Popen[bytes]) -> str:
    """Where others on this computer reach a peer; waits until it is up."""
    return str(wait_for_event(out, "started", process)["addresses"][0])


def wait_for_event(out: Path, name: str, process: subprocess.Popen[bytes]) -> Event:
    """The first event of that name in a run folder. Raises RuntimeError where it does not come."""
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        for event in events_of(out):
            if event["event"] == name:
                return event
        time.sleep(0.05)
    raise RuntimeError(f"the peer in {out.name} told no {name}")


def events_of(out: Path) -> list[Event]:
    """What was written so far in a run folder."""
    metrics = out / "metrics.jsonl"
    if not metrics.exists():
        return []
    return [json.loads(line) for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]
