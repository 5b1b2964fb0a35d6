"""A swarm is cut in two and healed: how long until it is one again, and until all average together?

    python -m benchmarks.partition --cut 60 600 --preset local wan

Real peers, as many on each of two hosts that are network namespaces of this computer, so it needs root and Linux.
While the network is cut every packet between the hosts vanishes. After a round of all they are asked to end at
one moment. The exit code is 0 where each time there were two swarms during the cut, one swarm, with a committed round
of all, at most 30 s after it was healed, and bitwise one model at the end.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.namespaces import SwitchedHosts, address_of, switched_hosts
from benchmarks.peer_processes import GOSSIP, Event, different_models, events_of
from gossiptrain.config import Preset

HEALED_WITHIN_S = 30.0
GENEROUS_S = 240.0
"""Longest wait for what has nothing to do with the cut, such as the start of all peers on a loaded computer."""
POLL_S = 0.1
TRAIN = [*GOSSIP, "train", "digits"]
PACE = ["--threads", "1", "--every-seconds", "1", "--eval-every", "0", "--epochs", "1000000", "--log-format", "plain"]


@dataclass(frozen=True)
class Partition:
    """One cut. None: it did not come about."""

    preset: Preset
    peers: int
    cut_s: float
    parted: bool
    """Whether during the cut each half counted itself alone, and went on averaging."""
    one_swarm_after_s: float | None
    """From healing until every peer counted all others."""
    round_of_all_after_s: float | None
    """From healing until the first committed round of all."""
    models: int
    """How many different ones there were when all had ended."""

    @property
    def is_healed(self) -> bool:
        """Whether all was well."""
        found = (self.one_swarm_after_s, self.round_of_all_after_s)
        return (
            self.parted
            and self.models == 1
            and all(passed is not None and passed <= HEALED_WITHIN_S for passed in found)
        )


@dataclass
class Trainer:
    """One of the peers."""

    process: subprocess.Popen[bytes]
    folder: Path

    def told(self) -> list[Event]:
        """Its events so far."""
        return events_of(self.folder)

    def started(self) -> Event | None:
        """The event with its id and its addresses, once it is there."""
        return next((event for event in self.told() if event["event"] == "started"), None)

    def counts(self) -> int:
        """Living peers as it sees them, itself included."""
        return int(([1] + [event["peers"] for event in self.told() if event["event"] == "peer"])[-1])

    def round_since(self, unix_s: float, *, members: int) -> float | None:
        """When it told the first committed round of so many after that time."""
        rounds = (event for event in self.told() if event["event"] == "round" and event["time"] > unix_s)
        return next((event["time"] for event in rounds if len(event["members"]) == members), None)


def measure(preset: Preset, *, cut_s: float, peers_a_side: int) -> Partition:
    """Cuts a running swarm in two for `cut_s` seconds. Raises OSError where there can be no hosts."""
    with (
        switched_hosts(2) as hosts,
        tempfile.TemporaryDirectory(prefix="gossiptrain-partition-") as folder,
        _trainers(hosts, preset, peers_a_side=peers_a_side, folder=Path(folder)) as trainers,
    ):
        return _cut_and_heal(hosts, trainers, preset=preset, cut_s=cut_s)


def _cut_and_heal(hosts: SwitchedHosts, trainers: Sequence[Trainer], *, preset: Preset, cut_s: float) -> Partition:
    everyone, half = len(trainers), len(trainers) // 2
    began_s = time.time()
    _wait_for(lambda: all(own.round_since(began_s, members=everyone) for own in trainers), "a round of all")
    hosts.cut()
    cut_at_s = time.time()
    time.sleep(cut_s)
    parted = all(
        own.counts() == half and (half == 1 or own.round_since(cut_at_s, members=half) is not None) for own in trainers
    )
    hosts.heal()
    healed_s = time.time()
    limit_s = 4 * HEALED_WITHIN_S
    one_swarm_s = _passed(lambda: all(own.counts() == everyone for own in trainers), healed_s, limit_s=limit_s)
    met_s = _passed(
        lambda: all(own.round_since(healed_s, members=everyone) for own in trainers), healed_s, limit_s=limit_s
    )
    models = _models_at_the_end(trainers)
    return Partition(preset, everyone, cut_s, parted, one_swarm_s, met_s, models)


def _models_at_the_end(trainers: Sequence[Trainer]) -> int:
    for trainer in trainers:
        trainer.process.terminate()
    for trainer in trainers:
        if trainer.process.wait(GENEROUS_S):
            raise RuntimeError(f"a peer ended with {trainer.process.returncode}")
    return different_models([trainer.folder for trainer in trainers])


def _passed(condition: Callable[[], bool], since_s: float, *, limit_s: float) -> float | None:
    """Seconds from the unix time `since_s` until the condition holds; None where it does not within `limit_s`."""
    while time.time() - since_s < limit_s:
        if condition():
            return round(time.time() - since_s, 1)
        time.sleep(POLL_S)
    return None


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    if _passed(condition, time.time(), limit_s=GENEROUS_S) is None:
        raise RuntimeError(f"there was no {what} within {GENEROUS_S:g} s")


@contextmanager
def _trainers(hosts: SwitchedHosts, preset: Preset, *, peers_a_side: int, folder: Path) -> Iterator[list[Trainer]]:
    """Trainers, the first and every second one on host 0; ended by their ids however the block ends."""
    trainers: list[Trainer] = []
    try:
        for number in range(2 * peers_a_side):
            initial: list[str] = []
            if trainers:
                _wait_for(lambda: trainers[0].started() is not None, "first peer")
                initial = ["--initial-peer", (trainers[0].started() or {})["addresses"][0]]
            trainers.append(_start(hosts, number % 2, [*initial, "--preset", preset], out=folder / str(number)))
        yield trainers
    finally:
        for trainer in trainers:
            trainer.process.terminate()
        for trainer in trainers:
            _end(trainer.process)


def _start(hosts: SwitchedHosts, host: int, flags: Sequence[str], *, out: Path) -> Trainer:
    place = ["--host-maddr", f"/ip4/{address_of(host)}/tcp/0", "--out", str(out)]
    command = [*hosts.on(host), *TRAIN, *PACE, *place, *flags]
    return Trainer(subprocess.Popen(command, stdout=subprocess.DEVNULL), out)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(30.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def show(found: Sequence[Partition]) -> None:
    """Prints one line for each cut."""

    def seconds(passed: float | None) -> str:
        return "never" if passed is None else f"{passed:.1f} s"

    rows = [
        [
            f"{own.preset}, {own.peers} peers",
            f"{own.cut_s:g} s",
            "yes" if own.parted else "no",
            seconds(own.one_swarm_after_s),
            seconds(own.round_of_all_after_s),
            str(own.models),
            "yes" if own.is_healed else "NO",
        ]
        for own in found
    ]
    columns = (
        "preset",
        "cut for",
        "two swarms meanwhile",
        "one swarm after",
        "round of all after",
        "models at the end",
        "healed",
    )
    show_table(f"cut in two and healed, at most {HEALED_WITHIN_S:g} s allowed", columns, rows)


def main() -> int:
    """Runs all cuts and prints them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.partition", description=__doc__.splitlines()[0])
    parser.add_argument("--cut", type=whole_number(1, 86_400), nargs="+", default=[60, 600], metavar="SECONDS")
    parser.add_argument("--preset", choices=get_args(Preset), nargs="+", default=["local"])
    parser.add_argument("--peers", type=whole_number(1, 16), default=3, help="on each side")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    # Also who is asked to end takes its processes and namespaces along.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    measured_on = machine()
    found = [measure(preset, cut_s=cut_s, peers_a_side=given.peers) for preset in given.preset for cut_s in given.cut]
    show(found)
    if given.json:
        write_json(given.json, benchmark="partition", measured_on=measured_on, results=found)
    return 0 if all(own.is_healed for own in found) else 1


if __name__ == "__main__":
    sys.exit(main())
