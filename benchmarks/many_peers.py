"""What it costs to be one of many peers: time to form, processor, memory and bytes, from 8 peers to 64.

    .venv/bin/python -m benchmarks.many_peers
    .venv/bin/python -m benchmarks.many_peers --peers 16 --seconds 20 --repetitions 1

So many own loops train a small network on digits, all on this computer, each with a node and a libp2p daemon of its
own. They are started a few at a time with the address of the first, wait until each knows all others, and average in
groups every `--every` seconds. For `--seconds` seconds it is measured what all of them take; the bytes are those that
pass this computer's loopback interface, so nothing else may use it meanwhile. Then all are told to end at one moment,
and must end with bitwise one model. Exits with 1 where they do not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.forked_peers import Ended, ForkedPeer, forked_peers
from benchmarks.measure import Summary, machine, show_table, summary, whole_number, write_json
from benchmarks.overhead.processes import pss
from gossiptrain.net.silent_process import processor_s

PROCESSES = ("trainer", "node", "daemon")


@dataclass(frozen=True)
class Usage:
    """What the processes of one kind take, for one peer. memory_mb: their share of memory, where pages are shared."""

    processor_ms_per_s: float
    memory_mb: float


@dataclass(frozen=True)
class Result:
    """One swarm. formed_s: from the start of the last peer until each knew all others. models: different ones."""

    peers: int
    formed_s: float
    usage: dict[str, Usage]
    kilobytes_per_s: float
    """For one peer: all that passed the loopback interface, divided by the peers."""
    rounds: Summary
    ended_s: float
    models: int
    accuracy: float


def measure(peers: int, *, every_s: float, seconds: float) -> Result:
    """One swarm from start to end. Raises RuntimeError where a peer fails."""
    with forked_peers(peers, every_s=every_s) as (swarm, last_started_s):
        formed_s = max(peer.hear() for peer in swarm) - last_started_s
        time.sleep(every_s)
        before, bytes_before, before_s = _processor_s(swarm), _loopback_bytes(), time.monotonic()
        time.sleep(seconds)
        after, bytes_after, took_s = _processor_s(swarm), _loopback_bytes(), time.monotonic() - before_s
        memory = _memory_mb(swarm)
        usage = {
            kind: Usage(1000 * (after[kind] - before[kind]) / took_s / peers, memory[kind] / peers)
            for kind in PROCESSES
        }
        stopped_s = time.monotonic()
        for peer in swarm:
            peer.stop()
        ended: list[Ended] = [peer.hear() for peer in swarm]
        ended_s = time.monotonic() - stopped_s
        for peer in swarm:
            peer.process.join()
    return Result(
        peers=peers,
        formed_s=formed_s,
        usage=usage,
        kilobytes_per_s=(bytes_after - bytes_before) / took_s / peers / 1000,
        rounds=summary([one.rounds for one in ended]),
        ended_s=ended_s,
        models=len({one.digest for one in ended}),
        accuracy=sum(one.accuracy for one in ended) / peers,
    )


def _pids(peer: ForkedPeer) -> dict[str, list[int]]:
    """The processes of one peer: its node is its child, and the daemon the node's."""
    trainer = peer.process.pid
    assert trainer is not None
    nodes = _children([trainer])
    return {"trainer": [trainer], "node": nodes, "daemon": _children(nodes)}


def _children(parents: Iterable[int]) -> list[int]:
    found: list[int] = []
    for parent in parents:
        for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, tasks.read_text().split())
    return found


def _processor_s(swarm: list[ForkedPeer]) -> dict[str, float]:
    """Seconds of a core that all processes of each kind have taken so far."""
    found = dict.fromkeys(PROCESSES, 0.0)
    for peer in swarm:
        for kind, pids in _pids(peer).items():
            for pid in pids:
                found[kind] += processor_s(pid) or 0.0
    return found


def _memory_mb(swarm: list[ForkedPeer]) -> dict[str, float]:
    found = dict.fromkeys(PROCESSES, 0.0)
    for peer in swarm:
        for kind, pids in _pids(peer).items():
            for pid in pids:
                found[kind] += pss(pid)[0] / 1e6
    return found


def _loopback_bytes() -> int:
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "lo":
            return int(figures.split()[0])
    raise RuntimeError("this computer has no loopback interface")


def show(results: list[Result]) -> None:
    """A table, one row for each swarm."""
    rows = [
        [
            str(one.peers),
            f"{one.formed_s:.1f} s",
            *(f"{one.usage[kind].processor_ms_per_s:.1f}" for kind in PROCESSES),
            *(f"{one.usage[kind].memory_mb:.0f}" for kind in PROCESSES),
            f"{one.kilobytes_per_s:.1f}",
            f"{one.rounds.minimum:.0f}-{one.rounds.maximum:.0f}",
            f"{one.ended_s:.1f} s",
            str(one.models),
            f"{one.accuracy:.1%}",
        ]
        for one in results
    ]
    columns = ["peers", "formed", *(f"{kind}, ms/s" for kind in PROCESSES), *(f"{kind}, MB" for kind in PROCESSES)]
    columns += ["kB/s", "rounds", "ended", "models", "accuracy"]
    show_table("What it costs to be one of many peers", columns, rows)


def main() -> int:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", type=whole_number(2, 64), default=[8, 16, 32, 64], metavar="N")
    parser.add_argument("--every", type=whole_number(1), default=20, metavar="S", help="seconds between rounds (20)")
    parser.add_argument("--seconds", type=whole_number(1), default=60, metavar="S", help="that are measured (60)")
    parser.add_argument("--repetitions", type=whole_number(1), default=1, metavar="N", help="of each swarm (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    where, results = machine(), []
    for peers in given.peers:
        for _ in range(given.repetitions):
            results.append(measure(peers, every_s=given.every, seconds=given.seconds))
            print(results[-1], flush=True)
            if given.json is not None:
                write_json(given.json, benchmark="many_peers", measured_on=where, results=results)
    show(results)
    return int(any(one.models != 1 for one in results))


if __name__ == "__main__":
    sys.exit(main())
