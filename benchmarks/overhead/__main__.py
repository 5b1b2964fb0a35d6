"""How much of the training speed is kept while peers gossip: one process per peer, all on this computer's loopback.

    .venv/bin/python -m benchmarks.overhead
    .venv/bin/python -m benchmarks.overhead --intervals 5 --seconds 20 --windows 2 --json overhead.json

Peers train a ResNet-18 (45 MB of float32) by SGD with momentum on random images, each with one torch thread. With as
many peers as cores nothing is free for the network: what gossip takes, training loses. Systems take turns, in one
order and then in the other, so that a machine that becomes slower or faster meanwhile favours none; each turn is
compared with the plain one of the same window, which is the same processes, all at once, without gossip. A turn lasts
one interval longer than `--seconds`, and at least four; of it counts what lies between the end of a peer's first
round and that of its last, so that whole cycles are counted. Starting, joining and leaving are not counted.

A step's time is that from the end of the step before, so all waiting is in it; `beyond plain` is by how much the
longest step exceeds the longest plain one. `rounds` counts those of all peers in all turns, and those that failed;
`apart` says how far apart they really were: none of the systems counts the round itself into its interval. hivemind
counts samples, not seconds; its epoch is as many as are made plainly in one interval. Memory is that of peers at rest
after a turn (PSS, Linux); what a trainer lays aside for itself is only in `all beyond plain`.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from benchmarks.measure import machine, whole_number, write_json
from benchmarks.overhead.figures import Overhead, row, speed
from benchmarks.overhead.processes import PeerFailedError
from benchmarks.overhead.systems import BATCH, Place, SystemName
from benchmarks.overhead.tables import show_costs, show_speed
from benchmarks.overhead.turn import Cost, Turn, cost, take_turn

SYSTEMS: tuple[SystemName, ...] = get_args(SystemName)
BUSY_CORES = 0.1
"""Where more than this went elsewhere, the figures are called rough."""


@dataclass
class Benchmark:
    """The turns of one run. seconds: what counts of a turn, about."""

    systems: tuple[SystemName, ...]
    peers: int
    seconds: float
    windows: int
    model_mb: int
    turns: dict[tuple[SystemName, float], list[Turn]] = field(default_factory=lambda: defaultdict(list))

    def measure(self, interval_s: float) -> None:
        """All windows of one interval."""
        for window in range(self.windows):
            for system in self.systems if window % 2 == 0 else self.systems[::-1]:
                done = self._turn(system, interval_s)
                self.turns[system, interval_s].append(done)
                rounds = sum(peer.rounds for peer in done.peers)
                print(
                    f"every {interval_s:g} s, window {window + 1} of {self.windows}, {system}: "
                    f"{speed(done.peers):.2f} steps/s, {rounds} rounds, {done.others_cores:.2f} cores busy elsewhere",
                    flush=True,
                )

    def rows(self, interval_s: float) -> list[Overhead]:
        """The systems' rows of one interval."""
        plain = [turn.peers for turn in self.turns["plain", interval_s]]
        return [
            row(system, interval_s, turns=[turn.peers for turn in self.turns[system, interval_s]], plain=plain)
            for system in self.systems
        ]

    def others_cores(self) -> float:
        """The most that anything else took of this machine in a turn."""
        return max(turn.others_cores for turns in self.turns.values() for turn in turns)

    def costs(self) -> list[Cost]:
        """What each system but the plain one costs once."""
        plain = statistics.median(memory.total for turn in self._all("plain") for memory in turn.memory)
        return [cost(system, self._all(system), plain_bytes=plain) for system in self.systems if system != "plain"]

    def _all(self, system: SystemName) -> list[Turn]:
        return [turn for (name, _), turns in self.turns.items() if name == system for turn in turns]

    def _turn(self, system: SystemName, interval_s: float) -> Turn:
        place = Place(
            system=system,
            run=f"overhead-{len(self.turns)}-{len(self.turns[system, interval_s])}",
            model_mb=self.model_mb,
            interval_s=interval_s,
            target_batch=self._target_batch(interval_s),
        )
        seconds = max(self.seconds, 3 * interval_s) + interval_s
        try:
            return take_turn(place, peers=self.peers, seconds=seconds)
        except PeerFailedError as error:
            raise SystemExit(f"{system}, every {interval_s:g} s: {error}") from error

    def _target_batch(self, interval_s: float) -> int:
        plain = [speed(turn.peers) for turn in self.turns["plain", interval_s]]
        return max(1, round(statistics.median(plain) * interval_s * BATCH * self.peers)) if plain else 1


def intervals(text: str) -> tuple[float, ...]:
    """The `type` of a list of seconds."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seconds such as 2,5,10") from None
    if any(not 1 <= seconds <= 3600 for seconds in found):
        raise argparse.ArgumentTypeError("intervals last 1 to 3600 seconds")
    return found


def systems(text: str) -> tuple[SystemName, ...]:
    """The `type` of a list of systems. The plain one is always there, and first: all others are measured by it."""
    given = text.split(",")
    for name in given:
        if name not in SYSTEMS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SYSTEMS)}")
    return tuple(name for name in SYSTEMS if name == "plain" or name in given)


def main() -> None:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--intervals", type=intervals, default=(2.0, 5.0, 10.0, 30.0), metavar="S,S", help="seconds (2,5,10,30)"
    )
    parser.add_argument("--peers", type=whole_number(2, 16), default=2, metavar="N", help="one process each (2)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="length of one turn (60)")
    parser.add_argument("--windows", type=whole_number(1), default=3, metavar="N", help="turns of each system (3)")
    parser.add_argument("--model-mb", type=whole_number(45, 400), default=45, metavar="MB", help="size (45)")
    parser.add_argument("--systems", type=systems, default=SYSTEMS, metavar="NAME,NAME", help=",".join(SYSTEMS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    # Told to end, this process still ends all others.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    where = machine()
    benchmark = Benchmark(given.systems, given.peers, given.seconds, given.windows, given.model_mb)
    for interval_s in given.intervals:
        benchmark.measure(interval_s)
    rows = [own for interval_s in given.intervals for own in benchmark.rows(interval_s)]
    costs = benchmark.costs()
    show_speed(rows)
    show_costs(costs)
    if benchmark.others_cores() > BUSY_CORES:
        print(f"Rough figures: up to {benchmark.others_cores():.2f} cores were busy with something else.")
    if given.json is not None:
        where["others_cores"] = benchmark.others_cores()
        write_json(given.json, benchmark="overhead", measured_on=where, results=[*rows, *costs])


if __name__ == "__main__":
    main()
