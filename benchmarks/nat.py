"""Whether two peers behind routers of every kind come to a round, how soon, and over which path.

    python -m benchmarks.nat                                        # every pair of kinds
    python -m benchmarks.nat --kinds symmetric firewall --repetitions 3

For each pair of kinds three hosts are made on this computer, as root: a helper with a public address, `gossip
bootstrap`, and one `gossip train digits` behind a router of each kind, none with any flag about that. The hosts can
reach each other and nothing else. A pair has met when both have told a committed round of two. Timed from the start of
the trainers, importing torch included, and from when both can be reached. The path is the one that
parameters take in a later round, since the first ones go through the helper while a direct connection is still being
made. Exits with 1 where a pair did not meet.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import get_args

from benchmarks.links.packet_switch import PacketSwitchedHosts
from benchmarks.links.router import RouterKind
from benchmarks.measure import Summary, machine, show_table, summary, whole_number, write_json
from benchmarks.namespaces import Hosts, Link, address_of, built
from benchmarks.peer_processes import GOSSIP, Event, events_of, started_processes

KINDS: tuple[RouterKind, ...] = get_args(RouterKind)
HOME = Link(up_mbit=50.0, down_mbit=100.0, round_trip_ms=20.0)
HELPER_PORT = 4001
GIVE_UP_S = 120.0
SETTLED_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True)
class Meeting:
    """One try. met_s: None where the two did not meet. reachable_s: when both could be reached, torch loaded. Both are
    counted from the start. path: `direct` if in any round within `SETTLED_S` both used a connection of their own, else
    `libp2p`, which is through the relay."""

    met_s: float | None
    path: str
    reachable_s: float = 0.0


@dataclass(frozen=True)
class Row:
    """One pair of kinds. met: in how many of the tries."""

    kinds: tuple[RouterKind, RouterKind]
    tries: int
    met: int
    met_s: Summary | None
    after_reachable_s: Summary | None
    paths: tuple[str, ...]


def measure(kinds: tuple[RouterKind, RouterKind], *, repetitions: int) -> Row:
    """Tries a pair. Raises OSError where there can be no hosts."""
    meetings = [meet(kinds) for _ in range(repetitions)]
    met = [(one.met_s, one.reachable_s) for one in meetings if one.met_s is not None]
    paths = tuple(sorted({one.path for one in meetings if one.met_s is not None}))
    if not met:
        return Row(kinds, repetitions, 0, None, None, paths)
    from_start = summary([met_s for met_s, _ in met])
    from_reachable = summary([met_s - reachable_s for met_s, reachable_s in met])
    return Row(kinds, repetitions, len(met), from_start, from_reachable, paths)


def meet(kinds: tuple[RouterKind, RouterKind]) -> Meeting:
    """One try."""
    hosts = PacketSwitchedHosts([HOME] * 3, routers=["none", *kinds])
    with built(hosts), tempfile.TemporaryDirectory(prefix="gossiptrain-nat-") as name:
        folder = Path(name)
        with helper(hosts, folder) as (initial_peer, _), started_processes() as processes:
            began_s = time.time()
            folders = [folder / "first", folder / "second"]
            for host, out in enumerate(folders, start=1):
                flags = ["--initial-peer", initial_peer]
                processes.append(start(hosts, host, flags, out=out))
            return _meeting(folders, processes, began_s)


def _meeting(folders: Sequence[Path], processes: Sequence[subprocess.Popen[bytes]], began_s: float) -> Meeting:
    while time.time() - began_s < GIVE_UP_S and all(process.poll() is None for process in processes):
        rounds = [_rounds_of_two(out) for out in folders]
        if all(rounds):
            met_s = max(told[0]["time"] for told in rounds) - began_s
            reachable_s = max(_reachable_at_s(out) for out in folders) - began_s
            return Meeting(met_s, _path(folders), reachable_s)
        time.sleep(POLL_S)
    return Meeting(None, "")


def _reachable_at_s(folder: Path) -> float:
    return next(float(event["time"]) for event in events_of(folder) if event["event"] == "started")


def _path(folders: Sequence[Path]) -> str:
    until_s = time.monotonic() + SETTLED_S
    while time.monotonic() < until_s:
        if all(any(set(told["paths"].values()) == {"direct"} for told in _rounds_of_two(out)) for out in folders):
            return "direct"
        time.sleep(POLL_S)
    return "libp2p"


def _rounds_of_two(folder: Path) -> list[Event]:
    return [event for event in events_of(folder) if event["event"] == "round" and len(event["members"]) == 2]


@contextmanager
def helper(hosts: Hosts, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a helper on the first host, which others reach from everywhere, and its process."""
    place = ["--host-maddr", f"/ip4/{address_of(0)}/tcp/{HELPER_PORT}", "--identity", str(folder / "helper.key")]
    said = folder / "helper.txt"
    with started_processes() as processes:
        with said.open("wb") as out:
            processes.append(subprocess.Popen([*hosts.on(0), *GOSSIP, "bootstrap", *place], stdout=out))
        while not (found := re.search(rf"\S+/tcp/{HELPER_PORT}/p2p/\w+\n", said.read_text())):
            if processes[0].poll() is not None:
                raise RuntimeError("the helper ended before it was ready")
            time.sleep(POLL_S)
        yield found[0].strip(), processes[0]


def start(hosts: Hosts, host: int, flags: Sequence[str], *, out: Path) -> subprocess.Popen[bytes]:
    """A peer that trains, as JSON lines in its folder `out` tell."""
    usual = ["--threads", "1", "--device", "cpu", "--max-steps", "100000000", "--log-format", "json", "--out", str(out)]
    return subprocess.Popen([*hosts.on(host), *GOSSIP, "train", "digits", *usual, *flags], stdout=subprocess.DEVNULL)


def show(rows: Sequence[Row]) -> None:
    """One line for each pair."""
    cells = [
        [
            *one.kinds,
            f"{one.met} of {one.tries}",
            "never" if one.met_s is None else f"{one.met_s.median:.1f} s",
            "never" if one.after_reachable_s is None else f"{one.after_reachable_s.median:.1f} s",
            ", ".join(one.paths),
        ]
        for one in rows
    ]
    show_table(
        "medians to a committed round of two",
        ["one", "the other", "met", "from start", "from reachable", "path"],
        cells,
    )


def main() -> int:
    """Tries all pairs and prints them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--repetitions", type=whole_number(1), default=1, metavar="N", help="of each pair (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    # Also who is asked to end takes its processes and namespaces along.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    where, rows = machine(), []
    for kinds in combinations_with_replacement(given.kinds, 2):
        rows.append(measure(kinds, repetitions=given.repetitions))
        print(rows[-1], flush=True)
    show(rows)
    if given.json is not None:
        write_json(given.json, benchmark="nat", measured_on=where, results=rows)
    return int(any(one.met < one.tries for one in rows))


if __name__ == "__main__":
    sys.exit(main())
