"""Whether real peers that end at about the same time end with one model, in each way to end.

    python -m benchmarks.endings                                   # every way, 40 times
    python -m benchmarks.endings --ways terminated --repetitions 5
    python -m benchmarks.endings --keep failed                     # with run folders and logs of what failed

Four `gossip train` processes learn digits together, each at a speed of its own (by the size of its batches), and end:

    terminated    SIGTERM to all at one moment
    interrupted   SIGINT to one, which is not compared; the others end by --max-steps
    steps         by --max-steps
    seconds       by --max-seconds

Then the models in their last checkpoints are compared bit by bit. Exits with 1 where any differ.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import machine, show_table, whole_number
from benchmarks.peer_processes import address_of, different_models, start_peer, started_processes, wait_for_event

WAYS = ("terminated", "interrupted", "steps", "seconds")
BATCHES = (8, 64, 128, 256)
ENDED_WITHIN_S = 120.0


@dataclass(frozen=True)
class Repetition:
    """models: how many different ones there were at the end. together: peers that say they ended with all others.

    seconds: from the moment at which all had had a round, or were asked to end, until the last one had ended.
    """

    way: str
    models: int
    together: int
    seconds: float


def repeat(way: str, *, peers: int, folder: Path, logged: bool) -> Repetition:
    """One swarm from start to end. logged: whether what its peers log is written to the folder."""
    flags = [
        "--threads",
        "1",
        "--preset",
        "local",
        "--every-steps",
        "50",
        "--eval-every",
        "0",
        "--wait-for",
        str(peers),
    ]
    steps = {"steps": "600", "interrupted": "600"}.get(way, "100000000")
    limit = ["--max-seconds", "5"] if way == "seconds" else ["--max-steps", steps]
    with started_processes() as processes:
        for number in range(peers):
            own = [*flags, *limit, "--batch", str(BATCHES[number % len(BATCHES)])]
            if number:
                own += ["--initial-peer", address_of(folder / "0", processes[0])]
            log = folder / f"{number}.log" if logged else None
            processes.append(start_peer("digits", own, out=folder / str(number), log=log))
        for number, process in enumerate(processes):
            wait_for_event(folder / str(number), "round", process)
        if way == "terminated":
            for process in processes:
                process.send_signal(signal.SIGTERM)
        elif way == "interrupted":
            processes[0].send_signal(signal.SIGINT)
        began_s = time.monotonic()
        for process in processes:
            if process.wait(ENDED_WITHIN_S):
                raise RuntimeError(f"a peer ended with {process.returncode}")
    compared = range(1, peers) if way == "interrupted" else range(peers)
    return judged(way, [folder / str(number) for number in compared], seconds=time.monotonic() - began_s)


def judged(way: str, folders: Sequence[Path], *, seconds: float) -> Repetition:
    """What the run folders of all peers that are compared hold."""
    together = sum(json.loads((folder / "summary.json").read_text())["together"] for folder in folders)
    return Repetition(way, different_models(folders), together, seconds)


def main() -> int:
    """Runs all repetitions, tells each at once, and the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--repetitions", type=whole_number(1), default=40)
    parser.add_argument("--peers", type=whole_number(2), default=4)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where run folders and logs of failures are put")
    given = parser.parse_args()
    found: list[Repetition] = []
    for way in given.ways:
        for number in range(given.repetitions):
            with tempfile.TemporaryDirectory(prefix="gossiptrain-endings-") as folder:
                found.append(repeat(way, peers=given.peers, folder=Path(folder), logged=given.keep is not None))
                if given.keep is not None and found[-1].models > 1:
                    shutil.copytree(folder, given.keep / f"{way}-{number + 1}")
            print(f"{way} {number + 1}: {found[-1].models} models, {found[-1].seconds:.1f} s", flush=True)
    rows = []
    for way in given.ways:
        of_way = [one for one in found if one.way == way]
        equal = sum(one.models == 1 for one in of_way)
        slowest_s = max(one.seconds for one in of_way)
        rows.append([way, str(len(of_way)), str(equal), f"{slowest_s:.1f}"])
    print(machine())
    show_table(f"{given.peers} peers that end", ["way", "times", "all equal", "longest end, s"], rows)
    return int(any(one.models != 1 for one in found))


if __name__ == "__main__":
    sys.exit(main())
